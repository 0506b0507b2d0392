namespace MmeSid.Kernels.Simd;

public partial class SimdBackend
{
    /// <inheritdoc/>
    public void SinkhornAssign(RowView rows, RowView codewords, SinkhornOptions options, Span<ushort> codes, Span<double> potentials) => new Scalar.ScalarBackend().SinkhornAssign(rows, codewords, options, codes, potentials);
}
