using System.Runtime.InteropServices;

namespace MmeSid.Kernels.Cuda;

/// <summary>An encoder that takes rows from the host in whatever form they are stored: arguments are checked and memory is fixed here, once for all forms.</summary>
internal abstract class HostRowsEncoder : IEncoder
{
    public abstract EncodePlan Plan { get; }

    public abstract int CallsAtOnce { get; }

    public bool TakesNarrowRows => true;

    public bool TakesShadows(ShadowFormat format) => format == ShadowFormat.Float16;

    public abstract IDisposable? Pin(RowMatrix rows);

    public unsafe EncodeReport Encode(RowView rows, Span<ushort> codes, Span<float> squaredErrors = default)
    {
        EncodeArguments.Check(Plan, rows, codes, squaredErrors);
        fixed (float* first = rows.Values)
            return Encode(new HostRows(first, rows), codes, squaredErrors);
    }

    public unsafe EncodeReport Encode(NarrowRows rows, Span<ushort> codes, Span<float> squaredErrors = default)
    {
        EncodeArguments.Check(Plan, rows.Count, rows.Dimension, codes, squaredErrors);
        fixed (ushort* first = rows.Bits)
            return Encode(new HostRows(first, rows), codes, squaredErrors);
    }

    public unsafe EncodeReport EncodeShadow(ShadowRows shadow, ReadRow readRow, Span<ushort> codes)
    {
        EncodeArguments.Check(Plan, shadow.Count, shadow.Dimension, codes, default);
        if (!TakesShadows(shadow.Format))
        {
            using RowMatrix rows = shadow.ReadRows(readRow);
            return Encode(rows.View(0, shadow.Count), codes);
        }
        var halves = new NarrowRows(MemoryMarshal.Cast<byte, ushort>(shadow.Bytes), shadow.Dimension, NarrowElement.Float16);
        fixed (ushort* first = halves.Bits)
            return Encode(new HostRows(first, halves, isShadow: true), codes, default, readRow);
    }

    /// <summary>The same for arguments that have been checked.</summary>
    /// <param name="rows">[n, d].</param>
    /// <param name="codes">[n, L].</param>
    /// <param name="squaredErrors">[n] or empty.</param>
    /// <param name="readRow">Reads the row behind a shadow, by its <see cref="HostRows.Number"/>; for shadows and for nothing else.</param>
    public abstract EncodeReport Encode(HostRows rows, Span<ushort> codes, Span<float> squaredErrors, ReadRow? readRow = null);

    public abstract void Dispose();
}
