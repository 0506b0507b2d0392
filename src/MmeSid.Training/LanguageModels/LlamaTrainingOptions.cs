namespace MmeSid.Training.LanguageModels;

/// <summary>Shape and batches of a recommender on a Llama. Layers, dimension, heads and feed-forward part are those of a transformer that is trained from scratch.</summary>
public abstract record LlamaTrainingOptions
{
    /// <summary>Transformer layers.</summary>
    public int Layers { get; init; } = 4;

    /// <summary>H, values of a vector; the heads must divide it.</summary>
    public int Dimension { get; init; } = 256;

    /// <summary>Attention heads.</summary>
    public int Heads { get; init; } = 4;

    /// <summary>F, hidden values of the feed-forward parts.</summary>
    public int FeedForward { get; init; } = 768;

    /// <summary>Share of values dropped in training, of the input vectors and of what each half of a layer adds; 0 up to but not 1.</summary>
    public double Dropout { get; init; } = 0.2;

    /// <summary>Items of a history that are looked at, the last ones.</summary>
    public int Length { get; init; } = 50;

    /// <summary>Items that a step predicts.</summary>
    public int BatchItems { get; init; } = 1024;

    /// <summary>What is trained of a frozen base beside the vectors of items; null for nothing, and from scratch.</summary>
    public LoraOptions? Lora { get; init; }

    /// <summary>The type that factors are rounded to for products with weight matrices; all else is float32.</summary>
    public ProductPrecision Precision { get; init; }

    /// <summary>Users whose validation item judges an epoch, drawn with the seed; 0 takes all.</summary>
    public int ValidationUsers { get; init; } = 4096;

    /// <summary>Refuses options outside their range.</summary>
    /// <exception cref="ArgumentException">Which option, its value, what was expected.</exception>
    public virtual void Validate()
    {
        AtLeastOne(Layers, "the number of layers");
        AtLeastOne(Dimension, "the dimension");
        AtLeastOne(Heads, "the number of heads");
        AtLeastOne(FeedForward, "the width of the feed-forward part");
        AtLeastOne(Length, "the length of a history");
        AtLeastOne(BatchItems, "the number of items per step");
        if (Dimension % Heads != 0)
            throw new ArgumentException($"{Heads} heads do not divide the dimension {Dimension}");
        if (Dimension / Heads % 2 != 0)
            throw new ArgumentException($"{Heads} heads of a dimension {Dimension} have {Dimension / Heads} values each, expected an even number: values are rotated in pairs");
        if (Dropout is not (>= 0 and < 1))
            throw new ArgumentException(FormattableString.Invariant($"the dropout is {Dropout}, expected 0 up to but not 1"));
        Lora?.Validate();
        if (ValidationUsers < 0)
            throw new ArgumentException($"the number of validation users is {ValidationUsers}, expected at least 0");
    }

    /// <summary>The shape of a transformer from scratch that reads so many entries.</summary>
    protected LlamaShape ShapeOf(int context) => new()
    {
        Dimension = Dimension,
        Layers = Layers,
        Heads = Heads,
        KeyHeads = Heads,
        HeadSize = Dimension / Heads,
        FeedForward = FeedForward,
        Context = context,
    };

    /// <summary>Refuses a transformer whose context is shorter than what it has to read.</summary>
    /// <param name="shape">Of the transformer.</param>
    /// <param name="needed">Entries.</param>
    /// <param name="what">That has so many, in the plural.</param>
    /// <exception cref="ArgumentException">The context and what is needed.</exception>
    protected static void RequireContext(LlamaShape shape, int needed, string what)
    {
        ArgumentNullException.ThrowIfNull(shape);
        if (shape.Context < needed)
            throw new ArgumentException($"the model reads {shape.Context} entries, {what} have {needed}: choose a smaller length");
    }

    private static void AtLeastOne(int value, string what)
    {
        if (value < 1)
            throw new ArgumentException($"{what} is {value}, expected at least 1");
    }
}
