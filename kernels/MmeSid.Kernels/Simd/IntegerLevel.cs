using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;

namespace MmeSid.Kernels.Simd;

/// <summary>
/// A level as <see cref="IntegerPass"/> sees it: its codewords as float32, rotated where rows are, for what the integers leave open; and, rounded to integers,
/// those codewords or, with a <see cref="PrefixBasis"/>, what it keeps of them, and all of them beside it for what that leaves open.
/// </summary>
internal sealed unsafe class IntegerLevel : IDisposable
{
    // Above it a float32 intermediate of the screen could overflow.
    private const double kOverflow = 1e37;

    // [K, Width] and, with a basis, [K, p]. Pinned.
    private readonly float[] _codewords, _prefixes;
    // [PaddedCodes], with a basis. Pinned.
    private readonly float[] _outside;
    // Of Whole.
    private readonly CodeFactor[] _factors;
    private readonly ScreenLevel _level;
    private readonly PrefixBasis? _basis;
    private readonly double _largestOutside;

    /// <summary>Prepares a level.</summary>
    /// <param name="level">Its mathematics, <see cref="EncodeForm.Residual"/>; lives as long as this.</param>
    /// <param name="format">What codewords are rounded to.</param>
    /// <param name="rotation">Of rows and codewords, or null.</param>
    /// <param name="basis">What is kept of both for the integers, or null for all.</param>
    /// <param name="threads">That prepare.</param>
    public IntegerLevel(ScreenLevel level, IntegerFormat format, HadamardRotation? rotation, PrefixBasis? basis, int threads)
    {
        _level = level;
        _basis = basis;
        Width = rotation?.Width ?? IntegerRows.Padded(format, level.Depth);
        _codewords = GC.AllocateArray<float>(checked(CodeCount * Width), pinned: true);
        LargePages.Advise(Codeword(0), (nuint)_codewords.Length * sizeof(float));
        Parallel.For(0, CodeCount, new ParallelOptions { MaxDegreeOfParallelism = threads }, k =>
        {
            level.Subtrahend(k).CopyTo(_codewords.AsSpan(k * Width));
            rotation?.Apply(Codeword(k));
        });
        double rounding = Bounds.Float32 * (1 + (rotation is null ? 0 : HadamardRotation.kDepth));
        CodewordRounding = rounding * _level.MaximumNorm + Width * (double)float.Epsilon;
        ScreenedRounding = CodewordRounding;
        _prefixes = basis is null ? [] : GC.AllocateUninitializedArray<float>(checked(CodeCount * basis.Width), pinned: true);
        _factors = basis is null ? [] : new CodeFactor[CodeCount];
        _outside = basis is null ? [] : GC.AllocateArray<float>(PaddedCodes, pinned: true);
        if (basis is not null)
        {
            RowProducts.Multiply(CodeCount, (code, to) => new ReadOnlySpan<float>(Codeword(code), to.Length).CopyTo(to), basis.Packed,
                (code, first, products) => products.CopyTo(new Span<float>(Screened(code) + first, products.Length)), threads);
            Whole = new IntegerCodewords(format, Codeword(0), CodeCount, CodeCount, Width, rounding, panel: 1, threads);
            double wholeRounding = rounding;
            rounding = basis.Rounding + (1 + basis.Deviation) * wholeRounding;
            ScreenedRounding = rounding * _level.MaximumNorm + 2 * Width * (double)float.Epsilon;
            for (int k = 0; k < CodeCount; k++)
            {
                double norm = EncodeLevel.OperandNorm(new(Codeword(k), Width)), outside = basis.Outside(norm, wholeRounding * norm, EncodeLevel.OperandNorm(new(Screened(k), basis.Width)), rounding * norm);
                _factors[k] = new CodeFactor(Biases[k], Whole.Steps[k], Whole.Norms[k]);
                _outside[k] = MathF.BitIncrement((float)outside);
                _largestOutside = Math.Max(_largestOutside, outside);
            }
        }
        Integers = new IntegerCodewords(format, Screened(0), CodeCount, PaddedCodes, basis?.Width ?? Width, rounding, IntegerProduct.kCodesPerPanel, threads);
    }

    /// <summary>Values of an operand row: d, padded with zeros.</summary>
    public int Width { get; }

    /// <summary>What rows are multiplied with.</summary>
    public IntegerCodewords Integers { get; }

    /// <summary>With a basis: the codewords in all dimensions, one after the other.</summary>
    public IntegerCodewords? Whole { get; }

    /// <summary>What makes a score of a product with a codeword of <see cref="Whole"/>: one cache line.</summary>
    public readonly record struct CodeFactor(float Bias, float Step, float Norm);

    /// <summary>Of a codeword of <see cref="Whole"/>.</summary>
    public ref readonly CodeFactor Factor(int code) => ref _factors[code];

    /// <summary>Asks for a codeword of <see cref="Whole"/> before it is multiplied.</summary>
    public void Prefetch(int code)
    {
        Simd.Prefetch.Lines(Whole!.Codeword(code), Whole.Words * sizeof(int));
        Simd.Prefetch.Lines(Unsafe.AsPointer(ref _factors[code]), 1);
    }

    /// <summary>K.</summary>
    public int CodeCount => _level.CodeCount;

    /// <summary>K rounded up.</summary>
    public int PaddedCodes => _level.PaddedCodes;

    /// <summary>Number of tables.</summary>
    public int Tables => _level.Tables;

    /// <summary>β, [PaddedCodes].</summary>
    public float* Biases => _level.Biases;

    /// <summary>T_j[code, ·], [PaddedCodes].</summary>
    public TableRow TableRow(int j, int code) => _level.TableRow(j, code);

    /// <summary>A codeword as the float32 operand rows meet it, [Width].</summary>
    public float* Codeword(int code) => (float*)Unsafe.AsPointer(ref MemoryMarshal.GetArrayDataReference(_codewords)) + (nint)code * Width;

    /// <summary>A codeword as the rows that are rounded to integers meet it: P w with a basis, else <see cref="Codeword"/>.</summary>
    public float* Screened(int code) => _basis is null ? Codeword(code) : (float*)Unsafe.AsPointer(ref MemoryMarshal.GetArrayDataReference(_prefixes)) + (nint)code * _basis.Width;

    /// <summary>At least ‖w − Pᵀ P w‖ of each codeword, [PaddedCodes]; null without a basis.</summary>
    public float* Outside => _basis is null ? null : (float*)Unsafe.AsPointer(ref MemoryMarshal.GetArrayDataReference(_outside));

    /// <summary>Bound of ‖w − Codeword‖: centring and each addition of the rotation round once.</summary>
    public double CodewordRounding { get; }

    /// <summary>The same of <see cref="Screened"/>.</summary>
    public double ScreenedRounding { get; }

    /// <summary>
    /// What the integer scores of a row may be off, |ŝ[k] − s[k]| ≤ reach · Norms[k] + 2 outside · Outside[k] + E (docs/exactness.md §8).
    /// </summary>
    /// <param name="codewords"><see cref="Integers"/> or <see cref="Whole"/>.</param>
    /// <param name="norm">‖ẑ‖ of the float32 row that was rounded to integers.</param>
    /// <param name="rowError">Bound of ‖ẑ − z‖.</param>
    /// <param name="integerError">‖ẑ − x̂‖, x̂ the row as integers times its step.</param>
    /// <param name="dotError">What a product of the real z and w is off from that of the row and the codeword themselves, besides outside.</param>
    /// <param name="outside">At least the norm of the row's part that z does not have.</param>
    /// <param name="error">E: what does not depend on the codeword.</param>
    public float Reach(IntegerCodewords codewords, double norm, double rowError, double integerError, double dotError, double outside, out double error)
    {
        // |z·w − x̂·ŵ| ≤ ‖z − x̂‖‖w‖ + ‖x̂‖‖w − ŵ‖; the exact product is converted to float32 and multiplied by the codeword's step.
        double lost = codewords.LostShare, rounded = norm + integerError, reach = rowError + integerError + rounded * (lost + 2 * Bounds.Float32 * (1 + lost));
        error = Error(dotError, (rounded * (1 + lost) + reach) * codewords.LargestNorm + outside * _largestOutside);
        return MathF.BitIncrement((float)(2 * Bounds.NormSlack(Width) * reach));
    }

    /// <summary>What a basis that is not quite orthonormal adds to products of a row.</summary>
    /// <param name="norm">‖P r‖ or more.</param>
    public double DeviationError(double norm) => _basis is null ? 0 : _basis.Deviation < 1 ? _basis.Deviation / (1 - _basis.Deviation) * norm * Integers.LargestNorm : double.PositiveInfinity;

    /// <summary>E of float32 scores of single codewords.</summary>
    /// <param name="norm">‖r̂‖ of the float32 operand row.</param>
    /// <param name="rowError">Bound of ‖r̂ − r‖.</param>
    public double Float32Error(double norm, double rowError)
    {
        double product = norm * _level.MaximumNorm;
        // TensorPrimitives.Dot adds in an order of its own.
        return Error(Bounds.Chain(Width) * product + norm * CodewordRounding + rowError * _level.MaximumNorm, product);
    }

    public void Dispose()
    {
        Integers.Dispose();
        Whole?.Dispose();
    }

    // What scores of any kind lose besides their products; +∞ where an intermediate could come near float32's overflow.
    private double Error(double dot, double product)
    {
        double magnitude = _level.MaximumBias + 2 * product + _level.TableMaximum;
        double assembly = Bounds.Float32 * (_level.MaximumBias + _level.TableMaximum) + (5 + 2 * Tables) * Bounds.Float32 * magnitude + _level.TableEvaluationError;
        double error = Bounds.NormSlack(Width) * (2 * dot + assembly) + Bounds.Underflow(Width);
        return magnitude < kOverflow && error < kOverflow ? error : double.PositiveInfinity;
    }
}
