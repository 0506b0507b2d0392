using MmeSid.Training.LanguageModels;

namespace MmeSid.Training.Ranking;

/// <summary>How items of a history are weighed against the target.</summary>
public enum RankerKind
{
    /// <summary>As DIN (Zhou et al. 2018): each set of codes of the history against the same set of the target, here without the product of both in the activation unit.</summary>
    Din,

    /// <summary>MCCA (arXiv 2508.20359): each set of codes of the history against the joint codes of the target, which alone stand for it.</summary>
    Mcca,
}

/// <summary>What MCCA goes without.</summary>
public enum RankerAblation
{
    /// <summary>Nothing.</summary>
    None,

    /// <summary>Codes of single modalities: the joint ones alone are left.</summary>
    ModalityCodes,

    /// <summary>Joint codes: each modality's codes are weighed against the target's own of that modality, as in DIN.</summary>
    JointCodes,
}

/// <summary>The shape of a <see cref="Ranker"/>.</summary>
public sealed record RankerOptions
{
    /// <summary>The name of the joint set of codes.</summary>
    public const string Joint = "joint";

    /// <summary>DIN or MCCA.</summary>
    public RankerKind Kind { get; init; }

    /// <summary>Of MCCA.</summary>
    public RankerAblation Without { get; init; }

    /// <summary>Values per embedding, d'.</summary>
    public int Dimension { get; init; } = 64;

    /// <summary>Last clicks of a user that are looked at.</summary>
    public int History { get; init; } = 20;

    /// <summary>Hidden values of the network that weighs an item of the history, H.</summary>
    public int ActivationWidth { get; init; } = 64;

    /// <summary>Hidden values of the layers above.</summary>
    public IReadOnlyList<int> Hidden { get; init; } = [200, 80];

    /// <summary>Where code tables start.</summary>
    public SidEmbeddingStart Codes { get; init; } = SidEmbeddingStart.Random;

    /// <summary>Refuses options outside their range.</summary>
    /// <exception cref="ArgumentException">Which option, its value, what was expected.</exception>
    public void Validate()
    {
        AtLeast(1, Dimension, "the dimension");
        AtLeast(1, History, "the length of a history");
        AtLeast(1, ActivationWidth, "the width of the activation unit");
        foreach (int width in Hidden)
            AtLeast(1, width, "the width of a hidden layer");
        if (Without != RankerAblation.None && Kind != RankerKind.Mcca)
            throw new ArgumentException($"{Kind} has nothing of MCCA to go without");
        if (Codes == SidEmbeddingStart.Base)
            throw new ArgumentException("code tables start at random or at codebooks, there is no base");
    }

    /// <summary>Which sets of codes take part, in order, and which of them is the query of each and stands for the target.</summary>
    /// <param name="sets">Names of the sets that there are.</param>
    /// <returns>Names of those that take part, and for each the name of the set whose target it is weighed against.</returns>
    /// <exception cref="ArgumentException">MCCA lacks a set, or two have one name.</exception>
    public IReadOnlyList<(string Set, string Query)> Weighed(IReadOnlyList<string> sets)
    {
        ArgumentNullException.ThrowIfNull(sets);
        if (sets.Distinct().Count() < sets.Count)
            throw new ArgumentException($"the codes given are {List(sets)}, expected a name of its own for each");
        if (Kind == RankerKind.Din)
            return [.. sets.Select(set => (set, set))];
        if (Without != RankerAblation.JointCodes && !sets.Contains(Joint))
            throw new ArgumentException($"MCCA weighs items against '{Joint}' codes, the codes given are {List(sets)}");
        if (Without != RankerAblation.ModalityCodes && sets.All(set => set == Joint))
            throw new ArgumentException($"MCCA has codes of modalities beside '{Joint}', the codes given are {List(sets)}");
        return Without switch
        {
            RankerAblation.ModalityCodes => [(Joint, Joint)],
            RankerAblation.JointCodes => [.. sets.Where(set => set != Joint).Select(set => (set, set))],
            // The joint codes behind those of the modalities, as the paper lists them.
            _ => [.. sets.Where(set => set != Joint).Append(Joint).Select(set => (set, Joint))],
        };
    }

    private static string List(IReadOnlyList<string> sets) => sets.Count == 0 ? "none" : string.Join(", ", sets.Select(set => $"'{set}'"));

    internal static void AtLeast(int least, int value, string what)
    {
        if (value < least)
            throw new ArgumentException($"{what} is {value}, expected at least {least}");
    }
}
