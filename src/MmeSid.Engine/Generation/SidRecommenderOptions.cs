namespace MmeSid.Engine.Generation;

/// <summary>What the probability of a code is a share of.</summary>
public enum SidScores
{
    /// <summary>All K codes of the level: the product over the levels is the model's probability of the SID.</summary>
    Raw,

    /// <summary>The codes that go on from the prefix in the catalogue: the probabilities of all SIDs of the catalogue sum to 1.</summary>
    Renormalised,
}

/// <summary>Options of <see cref="SidRecommender"/>.</summary>
public sealed record SidRecommenderOptions
{
    /// <summary>W, prefixes followed at each level; at least the number of items wanted. As many as the catalogue has SIDs make the search exhaustive.</summary>
    public int Beams { get; init; } = 20;

    /// <summary>What the probability of a code is a share of.</summary>
    public SidScores Scores { get; init; }

    /// <summary><see cref="LanguageModelContextOptions.SkipsUnseen"/>: a user sees none of the cells of the others. A small model answers nearly twice as many users then.</summary>
    public bool SkipsUnseen { get; init; }

    /// <summary>Most users searched for together; fewer where their beams need more sequences than a context has.</summary>
    public int Users { get; init; } = 4;

    /// <summary>Most entries of one call of the language model.</summary>
    public int BatchSize { get; init; } = 512;

    /// <summary>Threads of the language model; 0: all cores.</summary>
    public int Threads { get; init; }
}
