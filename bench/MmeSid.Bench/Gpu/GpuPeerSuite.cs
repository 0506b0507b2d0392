using MmeSid.Kernels;

namespace MmeSid.Bench;

/// <summary>RQ beside PyTorch on the same GPU, rows and codebooks, rows on the device for both.</summary>
internal static class GpuPeerSuite
{
    public static IEnumerable<Figure> Run(GpuContext context)
    {
        if (context.Torch is not { IsPresent: true })
        {
            context.Remarks.Add("PyTorch is skipped: no python3 here has a PyTorch that sees the GPU");
            yield break;
        }
        foreach ((int dimension, int levels, int codeCount) in context.Quick ? [new(40, 3, 32)] : Cases.GpuEncodeBench.Where(shape => shape.Dimension == 768))
        {
            // PyTorch has the same rows on the device again.
            using RowMatrix host = BenchData.Synth(context.Fit(context.Size(Cases.GpuRows, 200), 2 * sizeof(float) * (long)dimension, 2 * sizeof(float) * (long)dimension), dimension);
            EncodePlan plan = TrainedPlans.Residual(host, levels, codeCount);
            string operation = $"rq {levels} × {codeCount}";
            ushort[]? codes = null;
            Figure ours;
            using (GpuRows rows = GpuRows.Upload(context.Gpu, host))
                ours = GpuEncodeRun.Measure(context, operation, rows, (int)host.Count, plan, null, ref codes) with { Headline = true };
            yield return ours;
            List<Figure> peers = [];
            foreach (Figure peer in PeerFigures.Encode(context, context.Torch.Run, "rq", operation, BenchData.SynthName, context.WriteRows("rows.npy", host), host, plan, codes!))
            {
                peers.Add(peer);
                yield return peer with { Note = GpuContext.Text($"{peer.Time.Median / ours.Time.Median:F2} × our time; {peer.Note}") };
            }
            Compare(context, operation, "best fp32", 8, ours, peers.Where(peer => peer.Operation.Contains("fp32", StringComparison.Ordinal)));
            Compare(context, operation, "best TF32, which is not exact", 1, ours, peers.Where(peer => peer.Operation.Contains("tf32", StringComparison.Ordinal)));
        }
    }

    private static void Compare(GpuContext context, string operation, string what, double factor, Figure ours, IEnumerable<Figure> peers)
    {
        double best = peers.Select(peer => peer.Time.Median).DefaultIfEmpty(double.NaN).Min();
        context.Compare($"{operation} beside PyTorch's {what}", GpuContext.Text($"≥ {factor:F0} × its speed"), GpuContext.Text($"{best / ours.Time.Median:F1} ×"), best / ours.Time.Median >= factor);
    }
}
