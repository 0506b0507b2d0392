using MmeSid.Engine;
using MmeSid.Engine.Evaluation;

namespace MmeSid.Training.Ranking;

/// <summary>
/// What a ranker is trained on: every click of the training parts with the clicks before it as history, and what was not clicked, passed over or drawn anew in every epoch among what the user did not click in
/// training. Of the held-out clicks nothing is used, not even to keep them out of the draws. An epoch shuffles clicks and others together.
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
    /// <exception cref="InvalidDataException">A user took everything there is, so that nothing can be drawn.</exception>
    public RankerSamples(ClickLog log, RankerOptions options, ulong seed)
    {
        (_batch, _random) = (options.Batch, new RandomSource(seed));
        int users = log.Clicks.Users.Count;
        _known = [.. Enumerable.Range(0, users).SelectMany(user => log.TrainingClicksOf(user).Concat(log.TrainingPassedOf(user)))];
        if (!_known.Any(sample => sample.IsClicked))
            throw new ArgumentException("there is no click to train on: the last two of a user with three or more are held out");
        _taken = [.. Enumerable.Range(0, users).Select(user =>
        {
            int[] own = log.Split.Training(user).ToArray();
            Array.Sort(own);
            return own;
        })];
        if (log.HasPassed)
            return;
        (_sampling, _perClick) = (new NegativeSampling(log, options.Negatives), options.NegativesPerClick);
        // Who took everything is found before the work, not in the middle of it.
        int[] most = [.. Enumerable.Range(0, users).Where(user => _taken[user].Length >= _sampling.Drawable.Count)];
        foreach (int user in most)
            _sampling.Draw(user, _taken[user], new RandomSource(seed), new int[1]);
    }

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
