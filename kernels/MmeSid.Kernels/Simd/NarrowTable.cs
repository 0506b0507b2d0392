using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;
using System.Runtime.Intrinsics;

namespace MmeSid.Kernels.Simd;

/// <summary>
/// A table between levels in int16, a step per row: half the memory to make and to read of float32. The step follows from norms, |T[q, k]| ≤ ‖c̃[q]‖ · max ‖2v‖, so
/// that products are rounded as they come; half of it, 1.6 · 10⁻⁵ of the norms, is what the float32 product of 768 values may be off.
/// </summary>
internal sealed unsafe class NarrowTable
{
    // A little less than 32,767: what a product is off has room.
    private const double kLargest = 32_000;

    // Far above where 1 / step overflows.
    private const double kSmallestStep = 1e-30;

    // Half a step, and the roundings of value / step.
    private const double kRounding = 0.51;

    // [rows, stride], pinned.
    private readonly short[] _values;
    private readonly float[] _steps;
    private readonly int _stride;

    /// <summary>Reserves a table of zeros.</summary>
    /// <param name="rows">Codes of the earlier level.</param>
    /// <param name="stride">Values of a row.</param>
    public NarrowTable(int rows, int stride)
    {
        _stride = stride;
        _steps = new float[rows];
        _values = GC.AllocateArray<short>(checked(rows * stride), pinned: true);
        LargePages.Advise(Values, (nuint)_values.Length * sizeof(short));
    }

    private short* Values => (short*)Unsafe.AsPointer(ref MemoryMarshal.GetArrayDataReference(_values));

    /// <summary>Of a row.</summary>
    public TableRow Row(int code) => new(Values + (nint)code * _stride, _steps[code]);

    /// <summary>Fixes the step of a row whose values are at most so large in magnitude; returns what one of them loses at most when it is rounded.</summary>
    public double SetStep(int row, double largest)
    {
        _steps[row] = MathF.BitIncrement((float)Math.Max(largest / kLargest, kSmallestStep));
        return kRounding * _steps[row];
    }

    /// <summary>Rounds some values of a row whose step is fixed.</summary>
    public void Set(int row, int first, ReadOnlySpan<float> values)
    {
        float inverse = 1 / _steps[row];
        short* to = Values + (nint)row * _stride + first;
        fixed (float* from = values)
            Round(from, values.Length, inverse, to);
    }

    [MethodImpl(MethodImplOptions.NoInlining | MethodImplOptions.AggressiveOptimization)]
    private static void Round(float* values, int count, float inverse, short* to)
    {
        Vector512<float> scale = Vector512.Create(inverse);
        int i = 0;
        for (; i + 32 <= count; i += 32)
        {
            Vector512<int> low = Vector512.ConvertToInt32Native(Vector512.Round(Vector512.Load(values + i) * scale));
            Vector512<int> high = Vector512.ConvertToInt32Native(Vector512.Round(Vector512.Load(values + i + 16) * scale));
            Vector512.Narrow(low, high).Store(to + i);
        }
        for (; i < count; i++)
            to[i] = (short)MathF.Round(values[i] * inverse);
    }
}

/// <summary>A row of a <see cref="NarrowTable"/>: T[k] = step · values[k].</summary>
/// <param name="values">[PaddedCodes].</param>
/// <param name="step">Of the row.</param>
internal readonly unsafe struct TableRow(short* values, float step)
{
    public short* Values => values;

    public float Step => step;

    /// <summary>T[code].</summary>
    public float this[int code] => step * values[code];

    /// <summary>The same row from a code on.</summary>
    public TableRow From(int code) => new(values + code, step);

    /// <summary>sum + T[code … code + 15].</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public Vector512<float> AddTo(Vector512<float> sum, int code) =>
        Vector512.MultiplyAddEstimate(Vector512.ConvertToSingle(Vector512.WidenLower(Vector256.Load(values + code).ToVector512Unsafe())), Vector512.Create(step), sum);
}
