using MmeSid.Kernels;

namespace MmeSid.Engine.Embeddings;

/// <summary>The rows of one file. Thread-safe.</summary>
internal abstract class RowSource : IDisposable
{
    /// <summary>Path as the user gave it.</summary>
    public abstract string Path { get; }

    public abstract long Count { get; }

    public abstract int Dimension { get; }

    /// <summary>Ids that the file itself holds, one per row, not yet checked; null when it holds none.</summary>
    public virtual string[]? Names => null;

    /// <summary>How messages name a row of the file.</summary>
    public virtual string Place(long row) => $"{Path}: row {row}";

    /// <summary>Reads rows that exist; destination has exactly rows × Dimension values.</summary>
    /// <exception cref="InvalidDataException">A value is not a finite float32.</exception>
    public abstract void Read(long firstRow, int rows, Span<float> destination);

    /// <summary>Format of the values where they are stored in 16 bits and <see cref="ReadNarrow"/> hands them out as they are; else null.</summary>
    public virtual NarrowElement? Narrow => null;

    /// <summary>The same rows as they are stored, where <see cref="Narrow"/> is not null.</summary>
    /// <exception cref="InvalidDataException">A value is NaN or infinite.</exception>
    public virtual void ReadNarrow(long firstRow, int rows, Span<ushort> destination) => throw new InvalidOperationException($"{Path}: values are not stored in 16 bits");

    public abstract void Dispose();
}
