namespace MmeSid.Kernels.Simd;

/// <summary>Float32 rows of a block that are rounded to integers, with what that needs to know of them.</summary>
/// <param name="rows">First row.</param>
/// <param name="stride">Values between two.</param>
/// <param name="width">Values of one.</param>
/// <param name="norms">‖ẑ‖ of each.</param>
/// <param name="errors">Bound of ‖ẑ − z‖ of each.</param>
internal sealed unsafe class IntegerOperands(float* rows, int stride, int width, double[] norms, double[] errors)
{
    private readonly float[] _largest = new float[norms.Length], _zeros = new float[width];

    /// <summary>Values of a row.</summary>
    public int Width => width;

    /// <summary>‖ẑ‖ of each row.</summary>
    public double[] Norms => norms;

    /// <summary>Bound of ‖ẑ − z‖ of each row.</summary>
    public double[] Errors => errors;

    /// <summary>What the integers of each row make of products, once they are rounded.</summary>
    public RowFactors[] Factors { get; } = new RowFactors[norms.Length];

    /// <summary>E of each row, once they are rounded.</summary>
    public double[] SharedErrors { get; } = new double[norms.Length];

    /// <summary>A row.</summary>
    public float* Row(int index) => rows + (nint)index * stride;

    /// <summary>A row.</summary>
    public Span<float> Values(int index) => new(Row(index), width);

    /// <summary>row −= other; its norm is known then.</summary>
    public double Subtract(int index, float* other) => norms[index] = IntegerRows.Subtract(Row(index), other, width, out _largest[index]);

    /// <summary>The norm of a row that was written.</summary>
    public double Measure(int index)
    {
        fixed (float* zeros = _zeros)
            return Subtract(index, zeros);
    }

    /// <summary>Rounds a row to integers.</summary>
    /// <returns>‖row − step · integers‖.</returns>
    public double Round(IntegerFormat format, int index, int* integers, out float step) =>
        IntegerRows.Round(format, Row(index), width, _largest[index], norms[index], integers, out step, out _);

    /// <summary>Rounds a row to integers, and says what its scores may be off.</summary>
    /// <param name="format">To what.</param>
    /// <param name="index">Which row.</param>
    /// <param name="level">Of the scores.</param>
    /// <param name="codewords">That it is multiplied with.</param>
    /// <param name="dotError">As of <see cref="IntegerLevel.Reach"/>.</param>
    /// <param name="outside">As there.</param>
    /// <param name="integers">[width] s8 or s16.</param>
    public void Round(IntegerFormat format, int index, IntegerLevel level, IntegerCodewords codewords, double dotError, double outside, int* integers)
    {
        double lost = IntegerRows.Round(format, Row(index), width, _largest[index], norms[index], integers, out float step, out int sum);
        float reach = level.Reach(codewords, norms[index], errors[index], lost, dotError, outside, out SharedErrors[index]);
        // Codewords of int8 are stored as 128 more.
        Factors[index] = new RowFactors(128 * sum, -2 * step, reach, 2 * MathF.BitIncrement((float)outside));
    }
}
