using System.Buffers;
using MmeSid.Kernels;

namespace MmeSid.Engine.Quantization;

/// <summary>
/// Encoder of pq and opq: one single-level plan per sub-space, searched on the columns of that sub-space through a row stride.
/// Rows are walked in blocks, so that codes of one sub-space (and rotated rows) stay in cache until they are scattered.
/// </summary>
internal sealed class ProductEncoder(Quantizer quantizer, IEncoder[] encoders, RowRotation? rotation) : IQuantizerEncoder
{
    private const int kRowsPerBlock = 8192;

    public Quantizer Quantizer { get; } = quantizer;

    public string Screen => string.Join("; ", encoders.Select(encoder => encoder.Screen).Distinct());

    public int CallsAtOnce => encoders[0].CallsAtOnce;

    public IDisposable? Pin(RowMatrix rows) => encoders[0].Pin(rows);

    public EncodeReport Encode(RowView rows, Span<ushort> codes, Span<float> squaredErrors = default)
    {
        int levels = Quantizer.Levels, dimension = Quantizer.Dimension, width = dimension / levels;
        if (rows.Dimension != dimension)
            throw new ArgumentException($"the quantizer has dimension {dimension}, rows have {rows.Dimension}", nameof(rows));
        if (codes.Length != (long)rows.Count * levels)
            throw new ArgumentException($"{rows.Count} rows of {levels} levels need {(long)rows.Count * levels} codes, the span has {codes.Length}", nameof(codes));
        if (!squaredErrors.IsEmpty && squaredErrors.Length != rows.Count)
            throw new ArgumentException($"{rows.Count} rows need as many squared errors, the span has {squaredErrors.Length}", nameof(squaredErrors));
        RequireFinite(rows);

        EncodeReport report = default;
        int blockRows = Math.Min(kRowsPerBlock, rows.Count);
        ushort[] blockCodes = ArrayPool<ushort>.Shared.Rent(Math.Max(1, blockRows));
        float[] blockErrors = ArrayPool<float>.Shared.Rent(Math.Max(1, blockRows));
        double[] errorSums = ArrayPool<double>.Shared.Rent(Math.Max(1, blockRows));
        using RowMatrix? rotated = rotation is null ? null : new RowMatrix(blockRows, dimension);
        for (int start = 0; start < rows.Count; start += kRowsPerBlock)
        {
            int count = Math.Min(kRowsPerBlock, rows.Count - start);
            RowView block = rows.Slice(start, count);
            if (rotation is not null && rotated is not null)
            {
                rotation.Apply(block, rotated.Rows(0, count), start);
                block = rotated.View(0, count);
            }
            Span<double> sums = errorSums.AsSpan(0, count);
            sums.Clear();
            for (int s = 0; s < levels; s++)
            {
                var columns = new RowView(block.Values[(s * width)..], count, width, block.Stride);
                Span<float> errors = squaredErrors.IsEmpty ? default : blockErrors.AsSpan(0, count);
                report += encoders[s].Encode(columns, blockCodes.AsSpan(0, count), errors);
                for (int i = 0; i < count; i++)
                    codes[(start + i) * levels + s] = blockCodes[i];
                for (int i = 0; i < errors.Length; i++)
                    sums[i] += errors[i];
            }
            for (int i = 0; !squaredErrors.IsEmpty && i < count; i++)
                squaredErrors[start + i] = (float)sums[i];
        }
        ArrayPool<ushort>.Shared.Return(blockCodes);
        ArrayPool<float>.Shared.Return(blockErrors);
        ArrayPool<double>.Shared.Return(errorSums);
        return report;
    }

    public void Dispose()
    {
        foreach (IEncoder encoder in encoders)
            encoder.Dispose();
    }

    /// <summary>Sub-spaces are searched one by one, so a bad value would be reported at the column inside its sub-space; here it is named in the whole row.</summary>
    private static void RequireFinite(RowView rows)
    {
        for (int i = 0; i < rows.Count; i++)
        {
            ReadOnlySpan<float> row = rows[i];
            if (System.Numerics.Tensors.TensorPrimitives.IsFiniteAll(row))
                continue;
            for (int j = 0; j < row.Length; j++)
            {
                if (!float.IsFinite(row[j]))
                    throw new ArgumentException($"row {i}, column {j} is {row[j]}, expected a finite value", nameof(rows));
            }
        }
    }
}
