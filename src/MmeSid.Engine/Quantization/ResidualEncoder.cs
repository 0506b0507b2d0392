using MmeSid.Kernels;

namespace MmeSid.Engine.Quantization;

/// <summary>Encoder of vq, rq-kmeans and psrq: one plan holds all levels.</summary>
internal sealed class ResidualEncoder(Quantizer quantizer, IEncoder encoder) : IQuantizerEncoder
{
    public Quantizer Quantizer { get; } = quantizer;

    public string Screen => encoder.Screen;

    public int CallsAtOnce => encoder.CallsAtOnce;

    public IDisposable? Pin(RowMatrix rows) => encoder.Pin(rows);

    public EncodeReport Encode(RowView rows, Span<ushort> codes, Span<float> squaredErrors = default) => encoder.Encode(rows, codes, squaredErrors);

    public bool TakesNarrowRows => encoder.TakesNarrowRows;

    public EncodeReport Encode(NarrowRows rows, Span<ushort> codes, Span<float> squaredErrors = default) => encoder.Encode(rows, codes, squaredErrors);

    public bool TakesShadows(ShadowFormat format) => encoder.TakesShadows(format);

    public EncodeReport EncodeShadow(ShadowRows shadow, ReadRow readRow, Span<ushort> codes) => encoder.EncodeShadow(shadow, readRow, codes);

    public void Dispose() => encoder.Dispose();
}
