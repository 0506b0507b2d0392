namespace MmeSid.Training.LanguageModels;

/// <summary>Which weights of a frozen model get low-rank updates, and of what rank. The defaults are those of MME-SID.</summary>
public sealed record LoraOptions
{
    /// <summary>Names of what can be updated: gate, up and down of the feed-forward part, q, k, v and output of the attention.</summary>
    public static IReadOnlyList<string> Known { get; } = ["gate", "up", "down", "q", "k", "v", "output"];

    /// <summary>r.</summary>
    public int Rank { get; init; } = 8;

    /// <summary>α: an update counts α/r.</summary>
    public double Alpha { get; init; } = 16;

    /// <summary>Share of the input of an update that is dropped in training, 0 up to but not 1.</summary>
    public double Dropout { get; init; } = 0.05;

    /// <summary>Which of <see cref="Known"/>.</summary>
    public IReadOnlyList<string> Targets { get; init; } = ["gate", "up", "down"];

    /// <summary>Refuses options outside their range.</summary>
    /// <exception cref="ArgumentException">Which option, its value, what was expected.</exception>
    public void Validate()
    {
        if (Rank < 1)
            throw new ArgumentException($"the rank of LoRA is {Rank}, expected at least 1");
        if (!(Alpha > 0) || !double.IsFinite(Alpha))
            throw new ArgumentException(FormattableString.Invariant($"α of LoRA is {Alpha}, expected a positive number"));
        if (Dropout is not (>= 0 and < 1))
            throw new ArgumentException(FormattableString.Invariant($"the dropout of LoRA is {Dropout}, expected 0 up to but not 1"));
        if (Targets.FirstOrDefault(target => !Known.Contains(target)) is { } other)
            throw new ArgumentException($"'{other}' gets no LoRA, expected some of {string.Join(", ", Known)}");
        if (Targets.Count == 0 || Targets.Distinct().Count() < Targets.Count)
            throw new ArgumentException($"LoRA of '{string.Join(',', Targets)}', expected each of some of {string.Join(", ", Known)} once");
    }
}
