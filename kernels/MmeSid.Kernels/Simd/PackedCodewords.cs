using System.Runtime.InteropServices;

namespace MmeSid.Kernels.Simd;

/// <summary>Codewords laid out for <see cref="Product"/>: [depth block][panel][k][CodesPerPanel], zero codewords after the last.</summary>
internal sealed unsafe class PackedCodewords : SafeHandle
{
    /// <summary>K is padded to a multiple of it on every machine, so that what walks a row of products needs no tail.</summary>
    public const int kCodesMultiple = 64;

    private readonly int _panels;

    /// <summary>Packs <paramref name="count"/> codewords of <paramref name="depth"/> values.</summary>
    /// <param name="codewords">First codeword.</param>
    /// <param name="stride">Values between two codewords.</param>
    /// <param name="count">K ≥ 1.</param>
    /// <param name="depth">Values per codeword.</param>
    public PackedCodewords(float* codewords, nint stride, int count, int depth)
        : base(0, ownsHandle: true)
    {
        Count = count;
        Depth = depth;
        _panels = Padded(count) / Product.CodesPerPanel;
        nuint bytes = checked((nuint)PaddedCount * (nuint)depth * sizeof(float));
        SetHandle((nint)NativeMemory.AlignedAlloc(bytes, 64));
        LargePages.Advise((void*)handle, bytes);
        Pack(codewords, stride, count);
    }

    /// <summary>K.</summary>
    public int Count { get; }

    /// <summary>Values per codeword.</summary>
    public int Depth { get; }

    /// <summary>K rounded up to a multiple of <see cref="kCodesMultiple"/>.</summary>
    public int PaddedCount => _panels * Product.CodesPerPanel;

    /// <inheritdoc/>
    public override bool IsInvalid => handle == 0;

    /// <summary>Replaces the codewords by as many or fewer, without allocating; what is left over becomes zero.</summary>
    public void Pack(float* codewords, nint stride, int count)
    {
        // A cache line of every codeword of a panel is read once, even where the stride would put them all into one set of the cache.
        const int line = 16;
        int width = Product.CodesPerPanel;
        float* lines = stackalloc float[width * line];
        for (int depthStart = 0; depthStart < Depth; depthStart += Product.kDepthPerBlock)
        {
            int depth = Math.Min(Product.kDepthPerBlock, Depth - depthStart);
            for (int panel = 0; panel < _panels; panel++)
            {
                float* packed = Panel(depthStart, panel);
                int live = Math.Clamp(count - panel * width, 0, width);
                if (live < width)
                    new Span<float>(packed, depth * width).Clear();
                float* first = codewords + (nint)panel * width * stride + depthStart;
                for (int k = 0; k < depth; k += line)
                {
                    int values = Math.Min(line, depth - k);
                    for (int j = 0; j < live; j++)
                        new ReadOnlySpan<float>(first + j * stride + k, values).CopyTo(new Span<float>(lines + j * line, values));
                    for (int i = 0; i < values; i++)
                    {
                        float* to = packed + (k + i) * width;
                        for (int j = 0; j < live; j++)
                            to[j] = lines[j * line + i];
                    }
                }
            }
        }
    }

    /// <summary>A number of codes rounded up to a multiple of <see cref="kCodesMultiple"/>.</summary>
    public static int Padded(int codes) => (codes + kCodesMultiple - 1) / kCodesMultiple * kCodesMultiple;

    /// <summary>First value of a panel inside the depth block that starts at <paramref name="depthStart"/>.</summary>
    public float* Panel(int depthStart, int panel)
    {
        int depth = Math.Min(Product.kDepthPerBlock, Depth - depthStart);
        return (float*)handle + (nint)PaddedCount * depthStart + (nint)panel * depth * Product.CodesPerPanel;
    }

    /// <inheritdoc/>
    protected override bool ReleaseHandle()
    {
        NativeMemory.AlignedFree((void*)handle);
        return true;
    }
}
