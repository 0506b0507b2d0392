using MmeSid.Kernels;

namespace MmeSid.Engine.Quantization;

/// <summary>A quantizer prepared by a backend. Thread-safe; hold it as long as rows are encoded.</summary>
public interface IQuantizerEncoder : IDisposable
{
    /// <summary>The quantizer it encodes with.</summary>
    Quantizer Quantizer { get; }

    /// <summary>Length of the rows that it takes, d: the quantizer's own unless something learned stands before it.</summary>
    int Dimension => Quantizer.Dimension;

    /// <summary>For people: what the fast pass of the search calculates in, see <see cref="IEncoder.Screen"/>.</summary>
    string Screen => "";

    /// <summary>Calls of <see cref="Encode(RowView, Span{ushort}, Span{float})"/> that should run at the same time, see <see cref="IEncoder.CallsAtOnce"/>.</summary>
    int CallsAtOnce { get; }

    /// <summary>Prepares memory from which rows will be read many times, see <see cref="IEncoder.Pin"/>.</summary>
    IDisposable? Pin(RowMatrix rows);

    /// <summary>
    /// Exact codes of the rows: the argmin of the real-number distances, ties to the smallest code, whatever backend, batch size and
    /// thread count. For <see cref="QuantizerKind.Opq"/> the row that is searched is R·x, computed in float64 and rounded once to float32; of learned
    /// kinds it is what the network makes of the row, and only that is searched exactly.
    /// </summary>
    /// <param name="rows">[n, <see cref="Dimension"/>], finite values.</param>
    /// <param name="codes">[n, L].</param>
    /// <param name="squaredErrors">
    /// [n] squared distance of the row (under OPQ of the rotated, behind a network of the encoded row) to its reconstruction, or empty. For PQ and OPQ the sum of the
    /// sub-spaces' float32 values, added in float64.
    /// </param>
    /// <returns>How many decisions had to be re-checked.</returns>
    /// <exception cref="ArgumentException">A length does not fit, or a value is NaN or infinite (row and column named).</exception>
    EncodeReport Encode(RowView rows, Span<ushort> codes, Span<float> squaredErrors = default);

    /// <summary>Whether rows of 16-bit values are taken as they are, see <see cref="IEncoder.TakesNarrowRows"/>.</summary>
    bool TakesNarrowRows => false;

    /// <summary>Whether codes of float32 rows can be had from their shadow of this format, see <see cref="IEncoder.TakesShadows"/>.</summary>
    bool TakesShadows(ShadowFormat format) => false;

    /// <summary>Exact codes of float32 rows from their shadow, see <see cref="IEncoder.EncodeShadow"/>.</summary>
    /// <exception cref="NotSupportedException"><see cref="TakesShadows"/> is false.</exception>
    EncodeReport EncodeShadow(ShadowRows shadow, ReadRow readRow, Span<ushort> codes) => throw new NotSupportedException();

    /// <summary>The same for rows of 16-bit values: bit for bit what their float32 values get.</summary>
    EncodeReport Encode(NarrowRows rows, Span<ushort> codes, Span<float> squaredErrors = default)
    {
        using RowMatrix wide = rows.Widen();
        return Encode(wide.View(0, rows.Count), codes, squaredErrors);
    }
}
