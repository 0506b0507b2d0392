using System.Globalization;
using MmeSid.Kernels;

namespace MmeSid.Bench;

/// <summary>Figures of a peer beside ours, and the ratios between them.</summary>
internal static class PeerFigures
{
    /// <summary>A peer encodes the same rows with the same codebooks; one figure per variant.</summary>
    /// <param name="run">Keeps the files that the peer reads.</param>
    /// <param name="peer">Runs a job.</param>
    /// <param name="job">Operation of the script: <c>rq</c> or <c>flat</c>.</param>
    /// <param name="operation">Name in the table.</param>
    /// <param name="data">Name of the data.</param>
    /// <param name="rowsFile">The rows as a file.</param>
    /// <param name="rows">The same rows.</param>
    /// <param name="plan">Our codebooks.</param>
    /// <param name="codes">Our codes.</param>
    public static IEnumerable<Figure> Encode(
        BenchRun run, Func<Dictionary<string, object>, IEnumerable<PeerTime>> peer, string job, string operation, string data, string rowsFile, RowMatrix rows, EncodePlan plan, ushort[] codes)
    {
        string[] codebooks =
        [
            .. Enumerable.Range(0, plan.Levels).Select(level => run.WriteArray($"codebook.{level}.npy", plan.Codebook(level), plan.CodeCount(level), plan.Dimension)),
        ];
        double operations = 2.0 * rows.Count * rows.Dimension * Enumerable.Range(0, plan.Levels).Sum(plan.CodeCount);
        return peer(new()
        {
            ["operation"] = job,
            ["rows"] = rowsFile,
            ["codebooks"] = codebooks,
            ["codes"] = run.WriteArray<ushort>("codes.npy", codes, rows.Count, plan.Levels),
            ["runs"] = run.Size(5, 2),
        }).Select(time => new Figure
        {
            Operation = $"{operation}, {time.Variant}",
            Backend = time.Library,
            Device = time.Device,
            Data = data,
            Rows = rows.Count,
            Dimension = rows.Dimension,
            Codes = plan.CodeCount(0),
            Levels = plan.Levels,
            Time = Timing.Of(time.Seconds),
            Operations = operations,
            Note = string.Create(CultureInfo.InvariantCulture, $"{time.Differing:N0} rows get other codes than the exact ones"),
            Headline = true,
        });
    }

    /// <summary>A peer searches the same items for the same queries; one figure per variant.</summary>
    /// <param name="context">Runs FAISS and keeps the files that it reads.</param>
    /// <param name="operation">Name in the table.</param>
    /// <param name="data">Name of the data.</param>
    /// <param name="queries">[q, d].</param>
    /// <param name="items">[n, d].</param>
    /// <param name="count">k.</param>
    /// <param name="indices">[q, k] ours.</param>
    public static IEnumerable<Figure> Top(BenchContext context, string operation, string data, RowMatrix queries, RowMatrix items, int count, int[] indices) =>
        context.Faiss!.Run(new()
        {
            ["operation"] = "top",
            ["rows"] = context.WriteRows("queries.npy", queries),
            ["items"] = context.WriteRows("items.npy", items),
            ["indices"] = context.WriteArray<int>("indices.npy", indices, queries.Count, count),
            ["runs"] = context.Size(5, 2),
        }).Select(time => new Figure
        {
            Operation = $"{operation}, {time.Variant}",
            Backend = time.Library,
            Device = time.Device,
            Data = data,
            Rows = items.Count,
            Dimension = items.Dimension,
            Time = Timing.Of(time.Seconds),
            Operations = 2.0 * queries.Count * items.Count * items.Dimension,
            Note = string.Create(CultureInfo.InvariantCulture, $"{time.Differing:N0} queries get other items than the exact ones, or in another order"),
            Headline = true,
        });

    /// <summary>Our figure with the ratio of medians to FAISS as it comes (its first figure) and to the fastest.</summary>
    public static Figure Compare(Figure ours, IReadOnlyList<Figure> peers)
    {
        if (peers.Count == 0)
            return ours;
        string ratios = string.Create(CultureInfo.InvariantCulture,
            $"{peers[0].Time.Median / ours.Time.Median:F2} × FAISS as it comes, {peers.Min(peer => peer.Time.Median) / ours.Time.Median:F2} × FAISS at its best");
        return ours with { Note = ours.Note.Length == 0 ? ratios : $"{ours.Note}; {ratios}" };
    }
}
