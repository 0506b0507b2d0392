namespace MmeSid.Engine.Evaluation;

/// <summary>How well clicks are told from what was not clicked. NaN where a measure has nothing to compare.</summary>
/// <param name="Auc">Area under the ROC curve over all samples (<see cref="AreaUnderCurve"/>).</param>
/// <param name="ColdAuc">The same over the samples whose item is cold.</param>
/// <param name="GroupedAuc">Mean of each user's own area, weighted by the user's samples, over users with both labels.</param>
/// <param name="LogLoss">Mean of −log of the probability that was given to the label.</param>
public readonly record struct ClickMeasures(double Auc, double ColdAuc, double GroupedAuc, double LogLoss)
{
    /// <summary>Each measure less that of another model.</summary>
    public static ClickMeasures operator -(ClickMeasures first, ClickMeasures second) =>
        new(first.Auc - second.Auc, first.ColdAuc - second.ColdAuc, first.GroupedAuc - second.GroupedAuc, first.LogLoss - second.LogLoss);

    /// <summary>The measures in the order of their declaration.</summary>
    public double[] ToArray() => [Auc, ColdAuc, GroupedAuc, LogLoss];
}

/// <summary>
/// The scores that a model gave to samples, ready to be measured again and again with users weighted by how often a resample drew them. Immutable; measuring is thread-safe.
/// </summary>
public sealed class ClickScores
{
    private readonly int[] _order;
    private readonly bool[] _endsGroup, _isClicked, _isCold;
    private readonly int[] _users;
    private readonly double[] _areaOfUser, _lossOfUser;
    private readonly long[] _samplesOfUser;

    /// <summary>Takes samples and their scores.</summary>
    /// <param name="samples">[n], the samples of a user behind each other.</param>
    /// <param name="scores">[n] logits: σ(score) is the probability of a click.</param>
    /// <param name="isCold">Whether an item, numbered as in the samples, is cold.</param>
    /// <exception cref="ArgumentException">Lengths differ, a score is not finite, or samples of a user are apart.</exception>
    public ClickScores(IReadOnlyList<ClickSample> samples, IReadOnlyList<double> scores, Func<int, bool> isCold)
    {
        ArgumentNullException.ThrowIfNull(samples);
        ArgumentNullException.ThrowIfNull(scores);
        ArgumentNullException.ThrowIfNull(isCold);
        double[] values = [.. scores];
        int[] order = AreaUnderCurve.Order(values, samples.Count);
        int[] users = Number(samples);
        (Samples, Users) = (samples.Count, users.Length == 0 ? 0 : users[^1] + 1);
        _order = order;
        // By place of the order, so that a measurement reads them one after the other.
        _users = [.. order.Select(sample => users[sample])];
        _isClicked = [.. order.Select(sample => samples[sample].IsClicked)];
        _isCold = [.. order.Select(sample => isCold(samples[sample].Item))];
        _endsGroup = [.. order.Select((_, place) => AreaUnderCurve.EndsGroup(values, order, place))];
        (ColdSamples, Clicks) = (_isCold.Count(cold => cold), _isClicked.Count(clicked => clicked));
        (_areaOfUser, _lossOfUser, _samplesOfUser) = (new double[Users], new double[Users], new long[Users]);
        for (int first = 0; first < values.Length;)
        {
            int user = users[first], count = 1;
            while (first + count < values.Length && users[first + count] == user)
                count++;
            int start = first;
            _areaOfUser[user] = AreaUnderCurve.Measure(values.AsSpan(first, count), [.. Enumerable.Range(first, count).Select(sample => samples[sample].IsClicked)]);
            _lossOfUser[user] = Enumerable.Range(start, count).Sum(sample => Loss(values[sample], samples[sample].IsClicked));
            _samplesOfUser[user] = count;
            first += count;
        }
        if (_lossOfUser.Any(double.IsNaN) || values.Any(double.IsInfinity))
            throw new ArgumentException("a score is infinite, expected numbers", nameof(scores));
    }

    /// <summary>Number of samples.</summary>
    public int Samples { get; }

    /// <summary>Those that were clicked.</summary>
    public int Clicks { get; }

    /// <summary>Those whose item is cold.</summary>
    public int ColdSamples { get; }

    /// <summary>Users with samples; in the order of the samples they are numbered from 0 here.</summary>
    public int Users { get; }

    /// <summary>The measures over all samples.</summary>
    public ClickMeasures Measure() => Measure([]);

    /// <summary>The measures where each user's samples count several times.</summary>
    /// <param name="weights">[<see cref="Users"/>], or empty for once each.</param>
    public ClickMeasures Measure(ReadOnlySpan<int> weights)
    {
        if (weights.Length > 0 && weights.Length != Users)
            throw new ArgumentException($"{weights.Length} weights, expected one for each of the {Users} users", nameof(weights));
        AreaUnderCurve.Pairs all = new(), cold = new();
        for (int place = 0; place < _order.Length; place++)
        {
            int weight = weights.Length == 0 ? 1 : weights[_users[place]];
            all.Add(_isClicked[place], weight);
            if (_isCold[place])
                cold.Add(_isClicked[place], weight);
            if (_endsGroup[place])
            {
                all.EndGroup();
                cold.EndGroup();
            }
        }
        double areas = 0, losses = 0;
        long grouped = 0, samples = 0;
        for (int user = 0; user < Users; user++)
        {
            long weight = (weights.Length == 0 ? 1 : weights[user]) * _samplesOfUser[user];
            samples += weight;
            losses += (weights.Length == 0 ? 1 : weights[user]) * _lossOfUser[user];
            if (double.IsNaN(_areaOfUser[user]))
                continue;
            grouped += weight;
            areas += weight * _areaOfUser[user];
        }
        return new ClickMeasures(all.Area, cold.Area, grouped == 0 ? double.NaN : areas / grouped, samples == 0 ? double.NaN : losses / samples);
    }

    // −log σ(s) of a click, −log(1 − σ(s)) of another: max(0, ∓s) + log(1 + e^−|s|), which neither overflows nor loses small values.
    private static double Loss(double score, bool isClicked) => Math.Max(0, isClicked ? -score : score) + LogOnePlus(Math.Exp(-Math.Abs(score)));

    // log(1 + x) without losing x where 1 + x rounds it off (Kahan): the error of 1 + x divides out.
    private static double LogOnePlus(double x)
    {
        double sum = 1 + x;
        return sum == 1 ? x : Math.Log(sum) * x / (sum - 1);
    }

    private static int[] Number(IReadOnlyList<ClickSample> samples)
    {
        var numbers = new int[samples.Count];
        var seen = new HashSet<int>();
        for (int i = 0; i < numbers.Length; i++)
        {
            bool begins = i == 0 || samples[i].User != samples[i - 1].User;
            if (begins && !seen.Add(samples[i].User))
                throw new ArgumentException($"sample {i} is of user {samples[i].User}, whose other samples are not next to it", nameof(samples));
            numbers[i] = seen.Count - 1;
        }
        return numbers;
    }
}
