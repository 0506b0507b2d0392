using MmeSid.Engine.Embeddings;
using MmeSid.Engine.Quantization;
using MmeSid.Engine.Sids;

namespace MmeSid.Engine.Evaluation;

/// <summary>A user's history and the item that comes after it, as rows of a table.</summary>
/// <param name="History">Rows; repeated ones count once.</param>
/// <param name="Target">Row of the target (test) item.</param>
public sealed record UserHistory(IReadOnlyList<long> History, long Target);

/// <summary>
/// How well another embedding keeps the order of distances (MME-SID's measure of forgetting). For each user, over all pairs of different
/// history items: τ = (concordant − discordant) / pairs, where a pair is concordant when both embeddings order its distances to the target
/// alike; a tie in either counts 0 (τ-a). Squared Euclidean distances in float64.
/// </summary>
/// <param name="Mean">Mean of τ over the users with at least two different history items; 0 when there is none.</param>
/// <param name="StandardError">Standard deviation over users / √users; 0 for fewer than two.</param>
/// <param name="Users">Users that entered.</param>
public sealed record KendallTau(double Mean, double StandardError, long Users)
{
    /// <summary>Compares the rows with what their SIDs stand for.</summary>
    /// <param name="rows">[n, d].</param>
    /// <param name="quantizer">What the codes mean.</param>
    /// <param name="sids">[n, L or L + 1].</param>
    /// <param name="users">Histories.</param>
    /// <param name="threads">0 for all cores; changes nothing in the result.</param>
    public static KendallTau Measure(EmbeddingTable rows, Quantizer quantizer, SidTable sids, IReadOnlyList<UserHistory> users, int threads = 0)
    {
        ArgumentNullException.ThrowIfNull(quantizer);
        ArgumentNullException.ThrowIfNull(sids);
        return Measure(rows, quantizer.Dimension, (row, values) => quantizer.Reconstruct(sids[row][..quantizer.Levels], values), users, threads);
    }

    /// <summary>Compares two embeddings of the same items.</summary>
    /// <param name="original">[n, d].</param>
    /// <param name="other">[n, d'], the same rows.</param>
    /// <param name="users">Histories.</param>
    /// <param name="threads">0 for all cores; changes nothing in the result.</param>
    public static KendallTau Measure(EmbeddingTable original, EmbeddingTable other, IReadOnlyList<UserHistory> users, int threads = 0)
    {
        ArgumentNullException.ThrowIfNull(other);
        return Measure(original, other.Dimension, (row, values) => other.Read(row, 1, values), users, threads);
    }

    private static KendallTau Measure(EmbeddingTable original, int otherDimension, RowReader other, IReadOnlyList<UserHistory> users, int threads)
    {
        ArgumentNullException.ThrowIfNull(original);
        ArgumentNullException.ThrowIfNull(users);
        var taus = new double[users.Count];
        Parallel.For(0, users.Count, new ParallelOptions { MaxDegreeOfParallelism = threads > 0 ? threads : Environment.ProcessorCount }, index =>
        {
            UserHistory user = users[index];
            long[] history = [.. user.History.Distinct()];
            if (history.Length < 2)
            {
                taus[index] = double.NaN;
                return;
            }
            double[] first = Distances(history, user.Target, original.Dimension, (row, values) => original.Read(row, 1, values));
            double[] second = Distances(history, user.Target, otherDimension, other);
            long balance = 0;
            for (int i = 0; i < history.Length; i++)
            {
                for (int j = 0; j < i; j++)
                    balance += Math.Sign(first[i] - first[j]) * Math.Sign(second[i] - second[j]);
            }
            taus[index] = balance / (history.Length * (history.Length - 1.0) / 2);
        });
        double[] entered = [.. taus.Where(tau => !double.IsNaN(tau))];
        if (entered.Length == 0)
            return new KendallTau(0, 0, 0);
        double mean = entered.Average();
        double error = entered.Length < 2 ? 0 : Math.Sqrt(entered.Sum(tau => (tau - mean) * (tau - mean)) / (entered.Length - 1.0) / entered.Length);
        return new KendallTau(mean, error, entered.Length);
    }

    private static double[] Distances(long[] rows, long target, int dimension, RowReader read)
    {
        var center = new float[dimension];
        var row = new float[dimension];
        read(target, center);
        var distances = new double[rows.Length];
        for (int i = 0; i < rows.Length; i++)
        {
            read(rows[i], row);
            for (int j = 0; j < dimension; j++)
                distances[i] += ((double)row[j] - center[j]) * ((double)row[j] - center[j]);
        }
        return distances;
    }
}
