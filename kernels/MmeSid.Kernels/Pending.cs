namespace MmeSid.Kernels.Scalar
{
    public partial class ScalarBackend
    {
        /// <inheritdoc/>
        public void Accumulate(RowView rows, ReadOnlySpan<ushort> codes, int codeCount, Span<double> sums, Span<long> counts) => throw new NotSupportedException();
        /// <inheritdoc/>
        public MmdSums MmdSums(RowView source, RowView target, MmdKernel kernel) => throw new NotSupportedException();
        /// <inheritdoc/>
        public void SinkhornAssign(RowView rows, RowView codewords, SinkhornOptions options, Span<ushort> codes, Span<double> potentials) => throw new NotSupportedException();
        /// <inheritdoc/>
        public void TopInnerProducts(RowView queries, RowView items, int count, Span<int> indices, Span<float> scores) => throw new NotSupportedException();
    }
}

namespace MmeSid.Kernels.Simd
{
    public partial class SimdBackend
    {
        /// <inheritdoc/>
        public IEncoder CreateEncoder(EncodePlan plan, EncodeOptions? options = null) => new Scalar.ScalarBackend().CreateEncoder(plan, options);
        /// <inheritdoc/>
        public void Accumulate(RowView rows, ReadOnlySpan<ushort> codes, int codeCount, Span<double> sums, Span<long> counts) => throw new NotSupportedException();
        /// <inheritdoc/>
        public MmdSums MmdSums(RowView source, RowView target, MmdKernel kernel) => throw new NotSupportedException();
        /// <inheritdoc/>
        public void SinkhornAssign(RowView rows, RowView codewords, SinkhornOptions options, Span<ushort> codes, Span<double> potentials) => throw new NotSupportedException();
        /// <inheritdoc/>
        public void TopInnerProducts(RowView queries, RowView items, int count, Span<int> indices, Span<float> scores) => throw new NotSupportedException();
    }
}
