namespace MmeSid.Engine.Evaluation;

/// <summary>
/// The area under the ROC curve: the share of pairs of a clicked and another sample in which the clicked one has the larger score, equal scores counting half. Pairs are counted in whole
/// numbers, so that the order of the samples changes nothing.
/// <code>
/// AUC = Σ_{i clicked, j not} ([s_i &gt; s_j] + ½ [s_i = s_j]) / (clicked · not clicked)        in O(n log n): sorted by score, each group of equal scores at once
/// </code>
/// </summary>
public static class AreaUnderCurve
{
    /// <summary>The area.</summary>
    /// <param name="scores">[n], larger is better.</param>
    /// <param name="isClicked">[n].</param>
    /// <returns>0 … 1; NaN where all samples have one label.</returns>
    /// <exception cref="ArgumentException">Lengths differ, or a score is NaN.</exception>
    public static double Measure(ReadOnlySpan<double> scores, ReadOnlySpan<bool> isClicked)
    {
        int[] order = Order(scores, isClicked.Length);
        var pairs = new Pairs();
        for (int i = 0; i < order.Length; i++)
        {
            pairs.Add(isClicked[order[i]], 1);
            if (EndsGroup(scores, order, i))
                pairs.EndGroup();
        }
        return pairs.Area;
    }

    /// <summary>Numbers of the samples by ascending score, equal ones in any order.</summary>
    internal static int[] Order(ReadOnlySpan<double> scores, int labels)
    {
        if (scores.Length != labels)
            throw new ArgumentException($"{scores.Length} scores have {labels} labels, expected as many", nameof(scores));
        var order = new int[scores.Length];
        for (int i = 0; i < order.Length; i++)
        {
            if (double.IsNaN(scores[i]))
                throw new ArgumentException($"the score of sample {i} is NaN, expected a number", nameof(scores));
            order[i] = i;
        }
        scores.ToArray().AsSpan().Sort(order.AsSpan());
        return order;
    }

    /// <summary>Whether the sample at a place of the order is the last of its score.</summary>
    internal static bool EndsGroup(ReadOnlySpan<double> scores, int[] order, int place) => place + 1 == order.Length || scores[order[place + 1]] != scores[order[place]];

    /// <summary>Pairs counted so far, twice: below 2⁶² for fewer than 2³¹ samples.</summary>
    internal struct Pairs
    {
        private long _clicked, _others, _newClicked, _newOthers, _twice;

        /// <summary>Adds a sample of the group of equal scores under way.</summary>
        public void Add(bool isClicked, int weight)
        {
            if (isClicked)
                _newClicked += weight;
            else
                _newOthers += weight;
        }

        /// <summary>The next sample has a larger score.</summary>
        public void EndGroup()
        {
            _twice += _newClicked * ((2 * _others) + _newOthers);
            _clicked += _newClicked;
            _others += _newOthers;
            _newClicked = _newOthers = 0;
        }

        /// <summary>The area, NaN where one label is missing.</summary>
        public readonly double Area => _clicked == 0 || _others == 0 ? double.NaN : _twice / (2.0 * _clicked * _others);
    }
}
