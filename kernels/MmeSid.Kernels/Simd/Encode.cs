using System.Diagnostics;
using System.Numerics.Tensors;

namespace MmeSid.Kernels.Simd;

public sealed partial class SimdBackend
{
    /// <inheritdoc/>
    public IEncoder CreateEncoder(EncodePlan plan, EncodeOptions? options = null)
    {
        ArgumentNullException.ThrowIfNull(plan);
        options ??= new EncodeOptions();
        ArgumentOutOfRangeException.ThrowIfLessThan(options.Beam, 1);
        return options.Beam == 1 ? new SimdEncoder(plan, options, Threads, Screen) : new SimdBeamEncoder(plan, options, Threads);
    }
}

/// <summary>
/// encode: codes[i, l] = argmin_k of the real-number distances of EncodePlan          oracle: Scalar/Encode.cs
/// <code>
///   in    rows (n, d) row-major f32 · plan
///   out   codes (n, L) u16 · errors (n) f32 = ‖r_{L+1}‖²
///   does  blocks of rows, each by one worker for all levels, by one of three passes: a screen in float32, int16 or int8 leaves the codes that
///         may be nearest (FloatPass, IntegerPass); one survivor is proven, several go to Recheck
///   which measured: of a long enough call the first rows are encoded by each pass in turn, and the fastest has the rest, and all calls that follow
///   ties  decided exactly in Recheck, the smallest k: all passes give the same codes
/// </code>
/// </summary>
internal sealed class SimdEncoder : IEncoder
{
    // Multiply-adds of the rows that a pass is tried on, per thread; and how many rows that is at most.
    private const double kTrialOperations = 1e9;
    private const int kMostTrialRows = 4096;

    // A call is long enough when its rows are this many times those of a trial.
    private const int kTrialsPerCall = 12;

    // An integer screen that gains less is not worth its memory.
    private const double kLeastGain = 1.05;

    private readonly EncodePlan _plan;
    private readonly float[] _centre;
    private readonly double[] _largestNorms;
    private readonly int _threads;
    private readonly IntegerFormat[] _formats;
    private readonly Lock _trying = new();
    private readonly EncodeForm _form;
    // Null until the first call.
    private IEncodePass? _pass;
    private bool _isChosen;
    private bool _disposed;

    public SimdEncoder(EncodePlan plan, EncodeOptions options, int threads, SimdScreen screen = SimdScreen.Fastest)
    {
        _plan = plan;
        _threads = threads;
        _centre = Centre(plan, threads);
        _largestNorms = Recheck.LargestNorms(plan, threads);
        bool isWide = plan.Kind == PlanKind.PrefixSemantic && ScreenLevel.TableBytes(plan) > options.TableBytes;
        _form = isWide ? EncodeForm.Wide : EncodeForm.Residual;
        _formats = isWide ? [] : [.. Wanted(screen).Where(format => IntegerPass.Supports(plan, format))];
        if (screen is not (SimdScreen.Fastest or SimdScreen.Float32) && _formats.Length > 0)
            Choose(CreatePass(_formats[0]));
        else if (_formats.Length == 0)
            Choose(CreatePass(null));
    }

    public EncodePlan Plan => _plan;

    public string Screen => _isChosen ? _pass!.Name : "";

    public EncodeReport Encode(RowView rows, Span<ushort> codes, Span<float> squaredErrors = default)
    {
        ObjectDisposedException.ThrowIf(_disposed, this);
        EncodeArguments.Check(_plan, rows, codes, squaredErrors);
        EncodeReport report = default;
        int tried = 0;
        if (!_isChosen)
        {
            lock (_trying)
            {
                if (!_isChosen && rows.Count / kTrialsPerCall >= TrialRows)
                    tried = Try(rows, codes, squaredErrors, ref report);
                _pass ??= CreatePass(null);
            }
        }
        return report + Run(_pass!, rows, codes, squaredErrors, tried, rows.Count - tried);
    }

    public void Dispose()
    {
        _disposed = true;
        _pass?.Dispose();
    }

    /// <summary>m: the mean of the first level's codewords, float64 sums rounded once. Any finite vector gives the same codes.</summary>
    internal static float[] Centre(EncodePlan plan, int threads = 1)
    {
        // Columns that are added together: each column's sum is formed in the order of the codes, whoever forms it.
        const int kColumns = 64;
        int d = plan.Dimension, count = plan.CodeCount(0);
        float[] centre = new float[d];
        Parallel.For(0, (d + kColumns - 1) / kColumns, new ParallelOptions { MaxDegreeOfParallelism = threads }, block =>
        {
            int first = block * kColumns, columns = Math.Min(kColumns, d - first);
            double[] sums = new double[columns], values = new double[columns];
            for (int k = 0; k < count; k++)
            {
                TensorPrimitives.ConvertTruncating(plan.Codeword(0, k).Slice(first, columns), values.AsSpan());
                TensorPrimitives.Add<double>(sums, values, sums);
            }
            for (int i = 0; i < columns; i++)
                centre[first + i] = (float)(sums[i] / count);
        });
        return centre;
    }

    private static IntegerFormat[] Wanted(SimdScreen screen) => screen switch
    {
        SimdScreen.Float32 => [],
        SimdScreen.Int8 => [IntegerFormat.Int8],
        SimdScreen.Int16 => [IntegerFormat.Int16],
        _ => [IntegerFormat.Int8, IntegerFormat.Int16],
    };

    private int TrialRows
    {
        get
        {
            double operations = 0;
            for (int level = 0; level < _plan.Levels; level++)
                operations += (double)_plan.Dimension * _plan.CodeCount(level);
            return Product.PaddedRows((int)Math.Clamp(kTrialOperations * _threads / operations, 4 * _threads * Product.kRowsPerTile, kMostTrialRows));
        }
    }

    private IEncodePass CreatePass(IntegerFormat? format) => format is { } integers
        ? new IntegerPass(_plan, _centre, _largestNorms, integers, _threads)
        : new FloatPass(_plan, _centre, _largestNorms, _form, _threads);

    private void Choose(IEncodePass pass)
    {
        _pass = pass;
        Volatile.Write(ref _isChosen, true);
    }

    // Encodes the first rows by each pass in turn, twice, and keeps the fastest; returns how many rows that were.
    private int Try(RowView rows, Span<ushort> codes, Span<float> squaredErrors, ref EncodeReport report)
    {
        const int kRounds = 2;
        IEncodePass[] passes = [CreatePass(null), .. _formats.Select(format => CreatePass(format))];
        double[] seconds = [.. passes.Select(_ => double.PositiveInfinity)];
        int tried = 0;
        try
        {
            for (int round = 0; round < kRounds; round++)
            {
                for (int i = 0; i < passes.Length; i++)
                {
                    long start = Stopwatch.GetTimestamp();
                    report += Run(passes[i], rows, codes, squaredErrors, tried, TrialRows);
                    seconds[i] = Math.Min(seconds[i], Stopwatch.GetElapsedTime(start).TotalSeconds);
                    tried += TrialRows;
                }
            }
        }
        catch
        {
            foreach (IEncodePass pass in passes)
                pass.Dispose();
            throw;
        }
        int best = seconds.IndexOf(seconds.Min());
        if (seconds[best] * kLeastGain > seconds[0])
            best = 0;
        for (int i = 0; i < passes.Length; i++)
        {
            if (i != best)
                passes[i].Dispose();
        }
        Choose(passes[best]);
        return tried;
    }

    private EncodeReport Run(IEncodePass pass, RowView rows, Span<ushort> codes, Span<float> squaredErrors, int first, int count) =>
        EncodeBlocks.Run(_plan.Levels, rows.Slice(first, count), codes.Slice(first * _plan.Levels, count * _plan.Levels),
            squaredErrors.IsEmpty ? default : squaredErrors.Slice(first, count), pass.RowsPerBlock, _threads, pass.Encode, first);
}
