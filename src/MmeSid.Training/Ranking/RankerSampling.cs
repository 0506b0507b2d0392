using MmeSid.Engine.Evaluation;

namespace MmeSid.Training.Ranking;

/// <summary>What a <see cref="Ranker"/> is trained on, and how much of it at once.</summary>
public sealed record RankerSampling
{
    /// <summary>What is drawn where the data does not say what was not clicked.</summary>
    public NegativeItems Negatives { get; init; }

    /// <summary>Items drawn for each click.</summary>
    public int NegativesPerClick { get; init; } = 1;

    /// <summary>Samples per step.</summary>
    public int Batch { get; init; } = 512;

    /// <summary>Users whose validation click judges an epoch, drawn at random; 0 takes all.</summary>
    public int ValidationUsers { get; init; }

    /// <summary>Refuses options outside their range.</summary>
    /// <exception cref="ArgumentException">Which option, its value, what was expected.</exception>
    public void Validate()
    {
        RankerOptions.AtLeast(1, NegativesPerClick, "the number of negatives per positive");
        RankerOptions.AtLeast(1, Batch, "the number of samples per step");
        RankerOptions.AtLeast(0, ValidationUsers, "the number of users who judge an epoch");
    }
}
