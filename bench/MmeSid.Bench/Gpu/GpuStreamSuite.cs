using MmeSid.Kernels;
using MmeSid.Kernels.Cuda;

namespace MmeSid.Bench;

/// <summary>Rows that come from the host's memory, against what the link carries: from memory that is pinned for good, and from any other.</summary>
internal static class GpuStreamSuite
{
    /// <summary>A way for rows to get to the device.</summary>
    /// <param name="Name">In the table.</param>
    /// <param name="BytesPerValue">On the link.</param>
    /// <param name="Pinned">Whether the rows lie in pinned memory.</param>
    private sealed record Source(string Name, int BytesPerValue, bool Pinned);

    // Rows of fewer bytes, an fp16 shadow say, are one more entry.
    private static readonly Source[] s_sources = [new("pinned float32 rows", sizeof(float), Pinned: true), new("float32 rows, not pinned", sizeof(float), Pinned: false)];

    public static IEnumerable<Figure> Run(GpuContext context)
    {
        (int dimension, int rowCount) = (context.Size(768, 40), context.Size(Cases.GpuRows, 150));
        using RowMatrix rows = context.Synth(rowCount, dimension);
        foreach ((int levels, int codeCount) in context.Quick ? [(3, 32)] : new[] { (4, 256), (3, 4096) })
        {
            EncodePlan plan = TrainedPlans.Residual(rows, levels, codeCount);
            ushort[]? before = null;
            foreach (Source source in s_sources)
            {
                using IEncoder encoder = context.Backend.CreateEncoder(plan);
                using IDisposable? pin = source.Pinned ? encoder.Pin(rows) : null;
                if (source.Pinned && pin is null)
                {
                    context.Remarks.Add("The system does not let rows be pinned where they lie");
                    continue;
                }
                ushort[] codes = new ushort[rows.Count * levels];
                EncodeReport report = encoder.Encode(rows.View(0, (int)rows.Count), codes);
                string check = before is null ? EncodeRun.Check(rows, rows.Count, plan, codes, EncodeRun.SampleRows(plan))
                    : codes.AsSpan().SequenceEqual(before) ? "all codes as above" : throw new InvalidOperationException("two ways to the device give different codes; nothing is timed");
                before = codes;
                Timing time = context.Time(() => encoder.Encode(rows.View(0, (int)rows.Count), codes)) with { AllocatedBytes = null };
                double bytes = (double)source.BytesPerValue * rows.Count * dimension, operations = 2.0 * rows.Count * dimension * codeCount * levels;
                var figure = new Figure
                {
                    Operation = $"rq {levels} × {codeCount}, {source.Name}",
                    Backend = context.Backend.Name,
                    Device = context.Backend.Device,
                    Data = BenchData.SynthName,
                    Rows = rows.Count,
                    Dimension = dimension,
                    Codes = codeCount,
                    Levels = levels,
                    Time = time,
                    Bytes = bytes,
                    Ceiling = context.Ceilings.HostToDeviceBytes / 1e9,
                    Rechecked = report.RecheckedShare,
                    Check = check,
                    Note = GpuContext.Text($"{Report.Bytes(bytes / time.Median)}/s, {operations / time.Median / 1e12:F0} TFLOP/s; the ceiling is the link"),
                    Headline = source.Pinned,
                };
                if (source.Pinned && codeCount == 256)
                    context.Compare($"RQ 4 × 256, d 768 from {source.Name}", "≥ 90 % of the measured link", GpuContext.Text($"{100 * figure.CeilingShare:F0} %"), figure.CeilingShare >= 0.9);
                yield return figure;
            }
        }
    }
}
