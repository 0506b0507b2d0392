using MmeSid.Engine.Embeddings;
using MmeSid.Engine.Evaluation;
using MmeSid.Engine.Generation;
using MmeSid.Engine.Sids;
using MmeSid.Kernels;

namespace MmeSid.Engine.Tests.Generation;

/// <summary>A SID language model of random weights, and the score of every item by plain loops: the oracle of the search.</summary>
internal sealed class SidCatalogue
{
    public SidCatalogue(int items, int[] codes, int dimension, ulong seed = 1, int length = 50, string prefix = "", double scale = 1, ushort[]? sids = null)
    {
        Random = new RandomSource(seed);
        sids ??= [.. Enumerable.Range(0, items * codes.Length).Select(i => (ushort)Random.NextLong(codes[i % codes.Length]))];
        (Codes, Sids) = (codes, new SidTable(codes.Length, sids));
        RowMatrix Matrix(int rows)
        {
            var matrix = new RowMatrix(rows, dimension);
            foreach (ref float value in matrix.Rows(0, rows))
                value = (float)(scale * Random.NextGaussian());
            return matrix;
        }
        Model = new SidLanguageModel(ItemIds.Sequential(items), Sids, codes, Matrix(codes.Sum() + 1), Matrix(codes.Sum()), length, prefix);
    }

    public RandomSource Random { get; }

    public int[] Codes { get; }

    public SidTable Sids { get; }

    public SidLanguageModel Model { get; }

    /// <summary>Histories of 1 to 8 random items.</summary>
    public int[][] Histories(int count) =>
        [.. Enumerable.Range(0, count).Select(_ => Enumerable.Range(0, 1 + (int)Random.NextLong(8)).Select(_ => (int)Random.NextLong(Sids.Count)).ToArray())];

    /// <summary>Log-probability of every item, one item after the other and every code read anew.</summary>
    public double[] Exhaustive(RecurrentLanguageModel language, int[] history, SidScores scores)
    {
        double[] state = new double[language.EmbeddingDimension];
        foreach (char letter in Model.Prefix)
            state = language.Next(state, language.Embedding(letter));
        state = language.Next(state, Model.BeginVector);
        foreach (int item in history)
        {
            for (int level = 0; level < Model.Levels; level++)
                state = language.Next(state, Model.CodeVector(level, Sids[item][level]));
        }
        return [.. Enumerable.Range(0, (int)Sids.Count).Select(item =>
        {
            double[] h = state;
            double score = 0;
            for (int level = 0; level < Model.Levels; level++)
            {
                double[] logits = [.. Enumerable.Range(0, Codes[level]).Select(code => Dot(Model.Head(level)[code], h))];
                int code = Sids[item][level];
                IEnumerable<int> all = scores == SidScores.Raw
                    ? Enumerable.Range(0, Codes[level])
                    : Enumerable.Range(0, (int)Sids.Count).Where(other => Sids[other][..level].SequenceEqual(Sids[item][..level])).Select(other => (int)Sids[other][level]).Distinct();
                score += logits[code] - Math.Log(all.Sum(other => Math.Exp(logits[other])));
                h = language.Next(h, Model.CodeVector(level, code));
            }
            return score;
        })];
    }

    /// <summary>The ranking by those scores: groups of items that share a SID, best first, equal scores by SID.</summary>
    public RankedGroup[] Ranking(double[] scores, IReadOnlyCollection<int> leftOut) =>
    [
        .. Enumerable.Range(0, scores.Length).GroupBy(item => SidText.Numbers(Sids[item]))
            .OrderByDescending(group => scores[group.First()]).ThenBy(group => string.Concat(Sids[group.First()].ToArray().Select(code => code.ToString("D5"))), StringComparer.Ordinal)
            .Select(group => new RankedGroup([.. group.Where(item => !leftOut.Contains(item))], scores[group.First()])).Where(group => group.Items.Length > 0),
    ];

    private static double Dot(ReadOnlySpan<float> row, double[] h)
    {
        double sum = 0;
        for (int i = 0; i < row.Length; i++)
            sum += row[i] * h[i];
        return sum;
    }
}
