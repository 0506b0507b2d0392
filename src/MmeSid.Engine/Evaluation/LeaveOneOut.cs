using MmeSid.Engine.Embeddings;

namespace MmeSid.Engine.Evaluation;

/// <summary>
/// The protocol of sequential recommendation: a user's last item is the test, the last but one the validation, what comes before is trained on.
/// Users with fewer than three events have neither and train whole.
/// </summary>
public sealed class LeaveOneOut
{
    /// <summary>Events that a user needs to have a validation and a test item.</summary>
    public const int LeastEvents = 3;

    private readonly InteractionSequences _sequences;

    /// <summary>Splits sequences; they are viewed, not copied.</summary>
    public LeaveOneOut(InteractionSequences sequences)
    {
        ArgumentNullException.ThrowIfNull(sequences);
        _sequences = sequences;
        Evaluated = [.. Enumerable.Range(0, sequences.Users.Count).Where(user => sequences[user].Length >= LeastEvents)];
    }

    /// <summary>Users, numbered as in the sequences, who have a validation and a test item; ascending.</summary>
    public IReadOnlyList<int> Evaluated { get; }

    /// <summary>What a model may see of a user while it is trained.</summary>
    public ReadOnlySpan<int> Training(int user)
    {
        ReadOnlySpan<int> events = _sequences[user];
        return events.Length < LeastEvents ? events : events[..^2];
    }

    /// <summary>What comes before the validation item, and that item.</summary>
    /// <exception cref="ArgumentException">The user has too few events.</exception>
    public (int[] History, int Target) Validation(int user) => Split(user, 2);

    /// <summary>What comes before the test item, the validation item included, and that item.</summary>
    /// <exception cref="ArgumentException">The user has too few events.</exception>
    public (int[] History, int Target) Test(int user) => Split(user, 1);

    private (int[] History, int Target) Split(int user, int fromEnd)
    {
        ReadOnlySpan<int> events = _sequences[user];
        if (events.Length < LeastEvents)
            throw new ArgumentException($"user {_sequences.Users[user]} has {events.Length} events, expected at least {LeastEvents}", nameof(user));
        return (events[..^fromEnd].ToArray(), events[^fromEnd]);
    }
}
