namespace MmeSid.Training.Recommendation;

/// <summary>What SASRec is trained to do at every position of a sequence.</summary>
public enum SequenceLoss
{
    /// <summary>Cross-entropy of the next item over the whole catalogue.</summary>
    CrossEntropy,

    /// <summary>The original paper's: the next item against one item drawn uniformly from those the user never took in training, each by itself.</summary>
    BinaryCrossEntropy,
}

/// <summary>Shape and loss of <see cref="SasRec"/>. The defaults are those that well-trained references use on the Amazon 5-core data.</summary>
public sealed record SasRecOptions
{
    /// <summary>Values per item embedding, d: what <c>embed collaborative</c> gives.</summary>
    public int Dimension { get; init; } = 64;

    /// <summary>Values in the hidden layer of the feed-forward parts.</summary>
    public int FeedForward { get; init; } = 256;

    /// <summary>Transformer blocks.</summary>
    public int Blocks { get; init; } = 2;

    /// <summary>Attention heads; must divide <see cref="Dimension"/>.</summary>
    public int Heads { get; init; } = 2;

    /// <summary>Events of a user that are looked at, the last ones.</summary>
    public int Length { get; init; } = 50;

    /// <summary>Share of values dropped in training, 0 … 1.</summary>
    public double Dropout { get; init; } = 0.5;

    /// <summary>What is learned at each position.</summary>
    public SequenceLoss Loss { get; init; }

    /// <summary>Users per step.</summary>
    public int BatchUsers { get; init; } = 256;

    /// <summary>Refuses options outside their range.</summary>
    /// <exception cref="ArgumentException">Which option, its value, what was expected.</exception>
    public void Validate()
    {
        AtLeastOne(Dimension, "the dimension");
        AtLeastOne(FeedForward, "the width of the feed-forward part");
        AtLeastOne(Blocks, "the number of blocks");
        AtLeastOne(Heads, "the number of heads");
        AtLeastOne(Length, "the length of a sequence");
        AtLeastOne(BatchUsers, "the number of users per step");
        if (Dimension % Heads != 0)
            throw new ArgumentException($"{Heads} heads do not divide the dimension {Dimension}");
        if (Dropout is not (>= 0 and < 1))
            throw new ArgumentException(FormattableString.Invariant($"the dropout is {Dropout}, expected 0 up to but not 1"));
    }

    private static void AtLeastOne(int value, string what)
    {
        if (value < 1)
            throw new ArgumentException($"{what} is {value}, expected at least 1");
    }
}
