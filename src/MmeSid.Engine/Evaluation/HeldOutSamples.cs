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
public sealed class HeldOutSamples
{
    private const ulong kUsers = 1UL << 40, kParts = 1UL << 41;

    private HeldOutSamples(ClickSample[] samples, int usersLeftOut) => (Samples, UsersLeftOut) = (samples, usersLeftOut);

    /// <summary>User by user, the click first; none where no user has a held-out click.</summary>
    public ClickSample[] Samples { get; }

    /// <summary>Users with a held-out click who took everything that can be drawn, so that there is nothing to tell it from.</summary>
    public int UsersLeftOut { get; }

    /// <summary>Makes the samples.</summary>
    /// <param name="log">Clicks and their split.</param>
    /// <param name="options">Which, how many.</param>
    /// <exception cref="ArgumentException">An option is out of range.</exception>
    public static HeldOutSamples Draw(ClickLog log, HeldOutSampleOptions options)
    {
        ArgumentNullException.ThrowIfNull(log);
        ArgumentNullException.ThrowIfNull(options);
        if (options.NegativesPerClick < 1)
            throw new ArgumentException($"{options.NegativesPerClick} items are to be drawn for a click, expected at least 1", nameof(options));
        if (options.MaximumUsers < 0)
            throw new ArgumentException($"the number of users is {options.MaximumUsers}, expected at least 0", nameof(options));
        RandomSource random = new RandomSource(options.Seed).Split(kParts + (ulong)options.Which);
        NegativeSampling? sampling = log.HasPassed ? null : new NegativeSampling(log, options.Negatives);
        int[] users = [.. log.Split.Evaluated.Where(user => sampling is null || sampling.CanDraw(Taken(user)))];
        int leftOut = log.Split.Evaluated.Count - users.Length;
        if (options.MaximumUsers > 0 && options.MaximumUsers < users.Length)
        {
            random.Split(kUsers).Shuffle<int>(users);
            Array.Resize(ref users, options.MaximumUsers);
            Array.Sort(users);
        }
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
            sampling.Draw(user, Taken(user), random.Split((ulong)user), drawn);
            samples.AddRange(drawn.Select(item => click with { Item = item, IsClicked = false }));
        }
        return new HeldOutSamples([.. samples], leftOut);

        // Up to the held-out click, ascending.
        int[] Taken(int user)
        {
            int[] taken = log.Clicks[user][..(log.HeldOutClickOf(user, options.Which).Seen + 1)].ToArray();
            Array.Sort(taken);
            return taken;
        }
    }
}
