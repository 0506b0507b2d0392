using MmeSid.Kernels;

namespace MmeSid.Bench;

/// <summary>One level alone, over the shapes that codebooks come in. FAISS's flat index does the same search without a certificate.</summary>
internal static class AssignSuite
{
    private const int kPeerDimension = 768;

    /// <summary>Bounds the memory of a shape; the row count is in the table.</summary>
    private const double kValuesInMemory = 1 << 29;

    public static IEnumerable<Figure> Run(BenchContext context)
    {
        foreach (int dimension in context.Quick ? Cases.AssignDimensions.Take(2).Append(kPeerDimension) : Cases.AssignDimensions)
        {
            using RowMatrix all = BenchData.Synth(context.Size((int)Math.Min(Cases.EncodeRows, kValuesInMemory / dimension), 3000), dimension);
            string? rowsFile = dimension == kPeerDimension && context.HasFaiss() ? context.WriteRows("rows.npy", all) : null;
            foreach (int codeCount in context.Quick ? Cases.AssignCodes.Take(2) : Cases.AssignCodes)
            {
                EncodePlan plan = TrainedPlans.Vq(all, codeCount);
                int count = BenchContext.RowsWithin(2.0 * dimension * codeCount, all.Count);
                using RowMatrix? fewer = count == all.Count ? null : BenchData.Synth(count, dimension);
                RowMatrix rows = fewer ?? all;
                ushort[] codes = new ushort[rows.Count];
                string operation = $"vq {codeCount}";
                List<Figure> ours = [];
                foreach (int threads in dimension == kPeerDimension ? BenchContext.ThreadCounts : [BenchContext.AllThreads])
                    ours.Add(EncodeRun.Measure(context, operation, BenchData.SynthName, rows, plan, threads, codes) with { Headline = dimension == kPeerDimension });
                IReadOnlyList<Figure> peers = rowsFile is null ? [] :
                [
                    .. PeerFigures.Encode(
                        context, context.Faiss!.Run, "flat", operation, BenchData.SynthName, fewer is null ? rowsFile : context.WriteRows("fewer.npy", fewer), rows, plan, codes),
                ];
                yield return PeerFigures.Compare(ours[0], peers);
                foreach (Figure figure in ours.Skip(1).Concat(peers))
                    yield return figure;
            }
        }
    }
}
