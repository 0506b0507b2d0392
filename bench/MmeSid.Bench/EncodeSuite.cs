using System.Globalization;
using MmeSid.Kernels;

namespace MmeSid.Bench;

/// <summary>Whole residual quantizers: RQ and PSRQ of the same shape beside each other, RQ beside FAISS.</summary>
internal static class EncodeSuite
{
    private const int kPeerDimension = 768;
    // One thread of large codebooks takes minutes and says nothing that small ones do not.
    private const int kMostCodesOfOneThread = 256;

    public static IEnumerable<Figure> Run(BenchContext context)
    {
        foreach ((int dimension, int levels, int codeCount) in context.Quick ? [new(96, 3, 32)] : Cases.EncodeBench)
        {
            using RowMatrix rows = BenchData.Synth(context.Size(Cases.EncodeRows, 3000), dimension);
            ushort[] codes = new ushort[rows.Count * levels];
            string shape = $"{levels} × {codeCount}";
            EncodePlan residual = TrainedPlans.Residual(rows, levels, codeCount), prefix = TrainedPlans.PrefixSemantic(rows, levels, codeCount);
            bool withPeer = (dimension == kPeerDimension || context.Quick) && context.HasFaiss();
            foreach (int threads in dimension == kPeerDimension && codeCount <= kMostCodesOfOneThread ? BenchContext.ThreadCounts : [BenchContext.AllThreads])
            {
                Figure psrq = EncodeRun.Measure(context, $"psrq {shape}", BenchData.SynthName, rows, prefix, threads, codes);
                Figure rq = EncodeRun.Measure(context, $"rq {shape}", BenchData.SynthName, rows, residual, threads, codes) with { Headline = true };
                IReadOnlyList<Figure> peers = withPeer && threads == BenchContext.AllThreads
                    ? [.. PeerFigures.Encode(context, context.Faiss!.Run, "rq", $"rq {shape}", BenchData.SynthName, context.WriteRows("rows.npy", rows), rows, residual, codes)]
                    : [];
                yield return PeerFigures.Compare(rq, peers);
                yield return psrq with
                {
                    Headline = true,
                    Note = string.Create(CultureInfo.InvariantCulture, $"{psrq.Time.Median / rq.Time.Median:F2} × the time of RQ"),
                };
                foreach (Figure peer in peers)
                    yield return peer;
            }
        }
    }
}
