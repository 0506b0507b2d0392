namespace MmeSid.Training.LanguageModels;

/// <summary>Where the vectors of codes start.</summary>
public enum SidEmbeddingStart
{
    /// <summary>The bundle's codewords, projected where their width is another.</summary>
    Codebooks,

    /// <summary>Normally distributed.</summary>
    Random,

    /// <summary>Those of a base whose words are the same codes.</summary>
    Base,
}

/// <summary>Shape and batches of a <see cref="SidLlama"/>.</summary>
public sealed record SidLlamaOptions : LlamaTrainingOptions
{
    /// <summary>Where the vectors of codes start; at random as N(0, 0.02²).</summary>
    public SidEmbeddingStart Start { get; init; }

    /// <summary>Whether codes are scored by their input vectors; otherwise by vectors of their own.</summary>
    public bool Tied { get; init; } = true;

    /// <summary>The shape of the transformer for SIDs of so many codes.</summary>
    public LlamaShape Shape(int levels) => ShapeOf(Needed(levels));

    /// <summary>Refuses a base whose context is shorter than the prefix, the begin vector, a whole history and the item behind it.</summary>
    /// <param name="shape">Of the base.</param>
    /// <param name="levels">Codes of a SID.</param>
    /// <param name="prefix">Tokens before the begin vector.</param>
    /// <exception cref="ArgumentException">The context and what is needed.</exception>
    public void RequireRoom(LlamaShape shape, int levels, int prefix = 0) =>
        RequireContext(shape, prefix + Needed(levels), $"a history of {Length} items of {levels} codes and the item behind it{(prefix > 0 ? $", behind a prefix of {prefix} tokens," : "")}");

    private int Needed(int levels) => 1 + (levels * (Length + 1));
}
