using ILGPU;
using ILGPU.Runtime;

namespace MmeSid.Kernels.Ilgpu;

/// <summary>A level of a plan on the device: what its screen reads, and the screen's error bound as a function of a row.</summary>
internal sealed class IlgpuLevel : IDisposable
{
    // Above it a float32 intermediate of the screen could overflow.
    private const double kOverflow = 1e37;

    private readonly List<IDisposable> _owned = [];

    public IlgpuLevel(IlgpuDevice device, AcceleratorStream stream, EncodePlan plan, int level, float[] centre, EncodeForm form, int threads)
    {
        var screen = new ScreenLevel(plan, level, centre, form, threads, EncodeKernel.kCodes);
        Depth = screen.Depth;
        PaddedCodes = screen.PaddedCodes;
        TableCount = screen.Tables;
        SubtrahendRounding = (form == EncodeForm.Wide ? 2 : 1) * (screen.IsFirst ? Bounds.Float32 * screen.MaximumNorm : 0);
        SetBound(screen);
        int d = plan.Dimension, stride = ProductTile.PaddedDepth(Depth);
        try
        {
            float[] codewords = new float[checked(PaddedCodes * stride)], subtrahends = new float[checked(screen.CodeCount * d)];
            for (int k = 0; k < screen.CodeCount; k++)
            {
                screen.Operand(k).CopyTo(codewords.AsSpan(k * stride));
                screen.Subtrahend(k)[..d].CopyTo(subtrahends.AsSpan(k * d));
            }
            Codewords = Own(device.Allocate<float>(stream, codewords)).View.BaseView.Cast<Float4>();
            Subtrahends = Own(device.Allocate<float>(stream, subtrahends)).View;
            Biases = Own(device.Allocate(stream, screen.BiasValues)).View.BaseView.Cast<Float4>();
            long[] offsets = new long[TableCount];
            long length = 0;
            for (int j = 0; j < TableCount; j++)
            {
                offsets[j] = length / 4;
                length += screen.Table(j).Length;
            }
            MemoryBuffer1D<float, Stride1D.Dense> tables = Own(device.Allocate<float>(length));
            for (int j = 0; j < TableCount; j++)
                stream.Upload(tables.View.BaseView.SubView(offsets[j] * 4), screen.Table(j));
            // A view of Float4 needs one whole.
            Tables = TableCount > 0 ? tables.View.BaseView.Cast<Float4>() : Biases;
            TableOffsets = Own(device.Allocate<long>(stream, offsets)).View;
        }
        catch
        {
            Dispose();
            throw;
        }
    }

    /// <summary>w, [PaddedCodes, PaddedDepth].</summary>
    public ArrayView<Float4> Codewords { get; }

    /// <summary>What a row loses with a code, [K, d].</summary>
    public ArrayView<float> Subtrahends { get; }

    public ArrayView<Float4> Biases { get; }

    public ArrayView<Float4> Tables { get; }

    public ArrayView<long> TableOffsets { get; }

    public int TableCount { get; }

    public int PaddedCodes { get; }

    /// <summary>Values of an operand row: d, or 2d in the wide form.</summary>
    public int Depth { get; }

    /// <summary>E = Constant + PerNorm ‖r̂‖ + PerError ‖r̂ − r‖.</summary>
    public double Constant { get; private set; }

    public double PerNorm { get; private set; }

    public double PerError { get; private set; }

    /// <summary>Rows with a larger ‖r̂‖ are not trusted to the screen.</summary>
    public double LargestNorm { get; private set; }

    /// <summary>What the roundings of the subtrahends themselves add to ‖r̂ − r‖ of the next level.</summary>
    public double SubtrahendRounding { get; }

    public void Dispose()
    {
        foreach (IDisposable memory in _owned)
            memory.Dispose();
    }

    // docs/exactness.md §4, term by term; roundings of a score: one per table, which is float32 here, and that of the limit ŝ_min + 2E, which the kernel forms in float32.
    private void SetBound(ScreenLevel screen)
    {
        const double u = Bounds.Float32;
        double slack = Bounds.NormSlack(ProductTile.PaddedDepth(Depth)), sums = screen.MaximumBias + screen.TableMaximum, roundings = (2 + screen.Tables) * u;
        Constant = slack * (u * sums + roundings * sums + screen.TableEvaluationError) + Bounds.Underflow(ProductTile.PaddedDepth(Depth));
        PerNorm = slack * 2 * (Bounds.Product(Depth) + screen.OperandRounding + roundings) * screen.MaximumNorm;
        PerError = slack * 2 * screen.MaximumNorm;
        LargestNorm = sums < kOverflow ? Math.Min(float.MaxValue, (kOverflow - sums) / Math.Max(2 * screen.MaximumNorm, 1e-30)) : -1;
    }

    private T Own<T>(T memory)
        where T : IDisposable
    {
        _owned.Add(memory);
        return memory;
    }
}
