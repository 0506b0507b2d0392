namespace MmeSid.Kernels.Simd;

public partial class SimdBackend
{
    /// <inheritdoc/>
    public void SinkhornAssign(RowView rows, RowView codewords, SinkhornOptions options, Span<ushort> codes, Span<double> potentials) => new Scalar.ScalarBackend().SinkhornAssign(rows, codewords, options, codes, potentials);
    /// <inheritdoc/>
    public void TopInnerProducts(RowView queries, RowView items, int count, Span<int> indices, Span<float> scores) => new Scalar.ScalarBackend().TopInnerProducts(queries, items, count, indices, scores);
}
