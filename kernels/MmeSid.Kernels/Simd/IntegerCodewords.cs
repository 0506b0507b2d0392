using System.Numerics.Tensors;
using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;

namespace MmeSid.Kernels.Simd;

/// <summary>Codewords rounded to integers of a step each, <c>w[k] = step_k · q_k + δ_k</c>, laid out for <see cref="IntegerProduct"/>.</summary>
internal sealed unsafe class IntegerCodewords : SafeHandle
{
    // Of the largest.
    private const float kLeastNorm = 1e-4f;

    private readonly float[] _steps, _norms;

    /// <summary>Rounds and packs.</summary>
    /// <param name="format">To what.</param>
    /// <param name="codewords">[count, width] float32.</param>
    /// <param name="count">K.</param>
    /// <param name="paddedCount">K rounded up to whole chunks of scores; what is added multiplies to anything.</param>
    /// <param name="width">A multiple of 64 (int8) or 32 (int16).</param>
    /// <param name="rounding">Bound of the distance of a codeword from the real one, relative to its norm.</param>
    /// <param name="panel">Codewords of a panel, whose words alternate: IntegerProduct.kCodesPerPanel for whole tiles; 1 for one codeword after the other.</param>
    /// <param name="threads">That do it.</param>
    public IntegerCodewords(IntegerFormat format, float* codewords, int count, int paddedCount, int width, double rounding, int panel, int threads)
        : base(0, ownsHandle: true)
    {
        Words = width / IntegerProduct.ValuesPerWord(format);
        _steps = GC.AllocateArray<float>(paddedCount, pinned: true);
        _norms = GC.AllocateArray<float>(paddedCount, pinned: true);
        nuint bytes = checked((nuint)paddedCount * (nuint)Words * sizeof(int));
        SetHandle((nint)NativeMemory.AlignedAlloc(bytes, 64));
        LargePages.Advise((void*)handle, bytes);
        NativeMemory.Clear((void*)handle, bytes);
        // What values below float32's normal range lose besides.
        double underflow = width * (double)float.Epsilon;
        double[] losses = new double[count];
        Parallel.For(0, count, new ParallelOptions { MaxDegreeOfParallelism = threads }, () => new int[Words], (k, loop, words) =>
        {
            float* codeword = codewords + (nint)k * width;
            ReadOnlySpan<float> values = new(codeword, width);
            double norm = EncodeLevel.OperandNorm(values);
            fixed (int* integers = words)
            {
                losses[k] = IntegerRows.Round(format, codeword, width, MathF.Abs(TensorPrimitives.MaxMagnitude(values)), norm, integers, out _steps[k], out _) + underflow;
                _norms[k] = MathF.BitIncrement((float)(norm * Bounds.NormSlack(width) * (1 + rounding) + underflow));
                int* packed = Panels + (nint)(k / panel) * Words * panel + k % panel;
                // int8 is stored as u8, 128 more.
                for (int i = 0; i < Words; i++)
                    packed[i * panel] = format == IntegerFormat.Int8 ? integers[i] ^ unchecked((int)0x80808080) : integers[i];
            }
            return words;
        }, _ => { });
        LargestNorm = TensorPrimitives.Max<float>(_norms);
        // A codeword that is next to nothing may lose all of itself: it is taken for larger rather than all others for as bad.
        float least = kLeastNorm * TensorPrimitives.Max<float>(_norms);
        for (int k = 0; k < count; k++)
        {
            _norms[k] = MathF.Max(_norms[k], least);
            LostShare = Math.Max(LostShare, losses[k] / _norms[k] + rounding);
        }
    }

    /// <inheritdoc/>
    public override bool IsInvalid => handle == 0;

    /// <summary>32-bit words of a codeword.</summary>
    public int Words { get; }

    /// <summary>First panel.</summary>
    public int* Panels => (int*)handle;

    /// <summary>An int16 value of a codeword of whole panels.</summary>
    public int Int16(int code, int index) =>
        ((short*)(Panels + ((nint)(code / IntegerProduct.kCodesPerPanel) * Words + index / 2) * IntegerProduct.kCodesPerPanel + code % IntegerProduct.kCodesPerPanel))[index % 2];

    /// <summary>A codeword of panels of one.</summary>
    public int* Codeword(int code) => Panels + (nint)code * Words;

    /// <summary>step_k, [paddedCount].</summary>
    public float* Steps => (float*)Unsafe.AsPointer(ref MemoryMarshal.GetArrayDataReference(_steps));

    /// <summary>At least the norm of each real codeword, [paddedCount].</summary>
    public float* Norms => (float*)Unsafe.AsPointer(ref MemoryMarshal.GetArrayDataReference(_norms));

    /// <summary>The largest of <see cref="Norms"/>.</summary>
    public double LargestNorm { get; }

    /// <summary>At least ‖w − step_k q_k‖ of every codeword, as a share of its norm.</summary>
    public double LostShare { get; }

    /// <inheritdoc/>
    protected override bool ReleaseHandle()
    {
        NativeMemory.AlignedFree((void*)handle);
        return true;
    }
}
