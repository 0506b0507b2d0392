using MmeSid.Engine;
using MmeSid.Engine.Evaluation;

namespace MmeSid.Training.Ranking;

/// <summary>
/// What a ranker is trained on: every click of the training parts with the clicks before it as history, and what was not clicked, passed over or drawn anew in every epoch among what the user did not click in
/// training. Of the held-out clicks nothing is used, not even to keep them out of the draws. Users who took everything that can be drawn are left out. An epoch shuffles clicks and others together.
/// </summary>
internal sealed class RankerSamples
{
    private const ulong kNegatives = 1UL << 32;

    private readonly ClickSample[] _known;
    private readonly NegativeSampling? _sampling;
    private readonly int[][] _taken;
    private readonly int _batch, _perClick;
    private readonly RandomSource _random;
    private int _epoch = -1;
    private int[] _order = [];

    /// <param name="log">Clicks.</param>
    /// <param name="options">Draws and batches.</param>
    /// <param name="seed">Of draws and shuffles.</param>
    /// <exception cref="ArgumentException">Nobody clicked anything in training.</exception>
    /// <exception cref="InvalidDataException">Every user took everything there is, so that nothing can be drawn.</exception>
    public RankerSamples(ClickLog log, RankerSampling options, ulong seed)
    {
        (_batch, _random) = (options.Batch, new RandomSource(seed));
        int[] users = [.. Enumerable.Range(0, log.Clicks.Users.Count).Where(user => log.TrainingClicksOf(user).Concat(log.TrainingPassedOf(user)).Any())];
        if (!users.Any(user => log.TrainingClicksOf(user).Any()))
            throw new ArgumentException("there is no click to train on: the last two of a user with three or more are held out");
        _taken = [.. Enumerable.Range(0, log.Clicks.Users.Count).Select(user =>
        {
            int[] own = log.Split.Training(user).ToArray();
            Array.Sort(own);
            return own;
        })];
        if (!log.HasPassed)
        {
            (_sampling, _perClick) = (new NegativeSampling(log, options.Negatives), options.NegativesPerClick);
            int[] drawable = [.. users.Where(user => _sampling.CanDraw(_taken[user]))];
            if (drawable.Length == 0)
                throw new InvalidDataException($"each of the {users.Length} users took all {_sampling.Drawable.Count} items that can be drawn: there is none that was not clicked");
            (UsersLeftOut, users) = (users.Length - drawable.Length, drawable);
        }
        _known = [.. users.SelectMany(user => log.TrainingClicksOf(user).Concat(log.TrainingPassedOf(user)))];
    }

    /// <summary>Users who took everything that can be drawn.</summary>
    public int UsersLeftOut { get; }

    /// <summary>Samples of an epoch.</summary>
    public int Count => checked(_known.Length * (1 + _perClick));

    /// <summary>Steps of an epoch.</summary>
    public int Steps => (Count + _batch - 1) / _batch;

    /// <summary>The samples of a step; the same for the same seed, epoch and step.</summary>
    public ClickSample[] this[int epoch, int step]
    {
        get
        {
            if (epoch != _epoch)
            {
                _order = [.. Enumerable.Range(0, Count)];
                _random.Split((ulong)epoch).Shuffle<int>(_order);
                _epoch = epoch;
            }
            RandomSource negatives = _random.Split(kNegatives + (ulong)epoch);
            int first = step * _batch;
            var samples = new ClickSample[Math.Min(_batch, Count - first)];
            Span<int> drawn = stackalloc int[1];
            for (int i = 0; i < samples.Length; i++)
            {
                int number = _order[first + i];
                samples[i] = _known[number / (1 + _perClick)];
                if (number % (1 + _perClick) == 0)
                    continue;
                int user = samples[i].User;
                _sampling!.Draw(user, _taken[user], negatives.Split((ulong)number), drawn);
                samples[i] = samples[i] with { Item = drawn[0], IsClicked = false };
            }
            return samples;
        }
    }
}
