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
                Figure compared = PeerFigures.Compare(rq, peers);
                yield return peers.Count == 0 ? compared : compared with { Note = Text($"{compared.Note}, {peers.Min(peer => peer.Time.Median) / rq.FirstCall:F2} × with our preparation") };
                (double prepared, double firstCalls) = EncodeRun.Ratios(context, rows, prefix, residual, threads);
                yield return psrq with
                {
                    Headline = true,
                    Note = Text($"in turn with RQ {prepared:F2} × its time, {firstCalls:F2} × with preparation"),
                };
                foreach (Figure peer in peers)
                    yield return peer;
            }
        }
    }

    private static string Text(FormattableString text) => text.ToString(CultureInfo.InvariantCulture);
}
