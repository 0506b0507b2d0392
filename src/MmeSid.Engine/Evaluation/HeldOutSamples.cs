namespace MmeSid.Engine.Evaluation;

/// <summary>How the samples of a test are made.</summary>
public sealed record HeldOutSampleOptions
{
    /// <summary>Which click of a user is tested.</summary>
    public HeldOut Which { get; init; } = HeldOut.Test;

    /// <summary>What is drawn where the log does not say what was not clicked.</summary>
    public NegativeItems Negatives { get; init; }

    /// <summary>Items drawn for each click, at least 1.</summary>
    public int NegativesPerClick { get; init; } = 4;

    /// <summary>Most users, drawn at random; 0 takes all.</summary>
    public int MaximumUsers { get; init; }

    /// <summary>Of the draws: the same for all models that are compared.</summary>
    public ulong Seed { get; init; } = 1;
}

/// <summary>
/// The samples that models are tested on: of every user who has one the held-out click and what was not clicked with it, passed over or drawn among what the user did not click up to then. They depend on the log and
/// the options alone, so that all models see the same. Those of the validation are drawn by numbers of their own and without knowing the click behind it: an epoch that they choose is chosen without the test.
/// </summary>
public static class HeldOutSamples
{
    private const ulong kUsers = 1UL << 40, kParts = 1UL << 41;

    /// <summary>Makes the samples, user by user, the click first.</summary>
    /// <param name="log">Clicks and their split.</param>
    /// <param name="options">Which, how many.</param>
    /// <exception cref="ArgumentException">An option is out of range.</exception>
    /// <exception cref="InvalidDataException">A user took everything there is, or no user has a held-out click.</exception>
    public static ClickSample[] Draw(ClickLog log, HeldOutSampleOptions options)
    {
        ArgumentNullException.ThrowIfNull(log);
        ArgumentNullException.ThrowIfNull(options);
        if (options.NegativesPerClick < 1)
            throw new ArgumentException($"{options.NegativesPerClick} items are to be drawn for a click, expected at least 1", nameof(options));
        if (options.MaximumUsers < 0)
            throw new ArgumentException($"the number of users is {options.MaximumUsers}, expected at least 0", nameof(options));
        RandomSource random = new RandomSource(options.Seed).Split(kParts + (ulong)options.Which);
        int[] users = [.. log.Split.Evaluated];
        if (users.Length == 0)
            throw new InvalidDataException($"no user has {LeaveOneOut.LeastEvents} clicks, so there is nothing to test");
        if (options.MaximumUsers > 0 && options.MaximumUsers < users.Length)
        {
            random.Split(kUsers).Shuffle<int>(users);
            Array.Resize(ref users, options.MaximumUsers);
            Array.Sort(users);
        }
        NegativeSampling? sampling = log.HasPassed ? null : new NegativeSampling(log, options.Negatives);
        var samples = new List<ClickSample>();
        var drawn = new int[options.NegativesPerClick];
        foreach (int user in users)
        {
            ClickSample click = log.HeldOutClickOf(user, options.Which);
            samples.Add(click);
            if (sampling is null)
            {
                samples.AddRange(log.HeldOutPassedOf(user, options.Which));
                continue;
            }
            int[] taken = log.Clicks[user][..(click.Seen + 1)].ToArray();
            Array.Sort(taken);
            sampling.Draw(user, taken, random.Split((ulong)user), drawn);
            samples.AddRange(drawn.Select(item => click with { Item = item, IsClicked = false }));
        }
        return [.. samples];
    }
}
