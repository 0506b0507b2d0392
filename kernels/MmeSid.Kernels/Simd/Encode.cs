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
    // Rows that a pass is tried on: these multiply-adds per thread, but no more than so many rows.
    private const double kTrialOperations = 1e9;
    private const int kMostTrialRows = 4096;
    private const int kRounds = 2;

    // Trials begin when as many rows have come as this many trials take: who encodes few rows is not made to prepare passes.
    private const int kTrialsWorth = 12;

    // An integer screen that gains less is not worth its memory.
    private const double kLeastGain = 1.05;

    private readonly EncodePlan _plan;
    private readonly float[] _centre;
    private readonly double[] _largestNorms;
    private readonly int _threads;
    private readonly int _trialRows;
    // Integer screens that may be tried.
    private readonly SimdScreen[] _screens;
    private readonly Lock _trying = new();
    // Serves until one is chosen, maybe on another thread, and lives as long as the encoder.
    private readonly FloatPass? _float;
    // Those that are tried, that one first.
    private IEncodePass[] _tried = [];
    private readonly List<double> _seconds = [];
    private long _rowsSeen;
    private volatile IEncodePass? _chosen;
    private bool _disposed;

    public SimdEncoder(EncodePlan plan, EncodeOptions options, int threads, SimdScreen screen = SimdScreen.Fastest)
    {
        _plan = plan;
        _threads = threads;
        _centre = Centre(plan, threads);
        _largestNorms = Recheck.LargestNorms(plan, threads);
        bool isWide = plan.Kind == PlanKind.PrefixSemantic && ScreenLevel.TableBytes(plan) > options.TableBytes;
        _screens = isWide ? [] : [.. Wanted(screen).Where(IsSupported).Where(wanted => wanted == screen || wanted != SimdScreen.Int8Prefix || IntegerPass.MayGainFromPrefix(plan))];
        if (_screens.Length == 0 || screen == SimdScreen.Fastest)
            _float = new FloatPass(plan, _centre, _largestNorms, isWide ? EncodeForm.Wide : EncodeForm.Residual, threads);
        _chosen = _screens.Length == 0 ? _float : screen == SimdScreen.Fastest ? null : CreatePass(_screens[0]);
        double operations = Enumerable.Range(0, plan.Levels).Sum(level => (double)plan.Dimension * plan.CodeCount(level));
        _trialRows = Product.PaddedRows((int)Math.Clamp(kTrialOperations * threads / operations, 4 * threads * Product.kRowsPerTile, kMostTrialRows));
    }

    public EncodePlan Plan => _plan;

    public string Screen => _chosen?.Name ?? "";

    public EncodeReport Encode(RowView rows, Span<ushort> codes, Span<float> squaredErrors = default)
    {
        ObjectDisposedException.ThrowIf(_disposed, this);
        EncodeArguments.Check(_plan, rows, codes, squaredErrors);
        EncodeReport report = default;
        int tried = 0;
        if (_chosen is null)
        {
            lock (_trying)
                tried = Try(rows, codes, squaredErrors, ref report);
        }
        return report + Run(_chosen ?? _float!, rows, codes, squaredErrors, tried, rows.Count - tried);
    }

    public void Dispose()
    {
        _disposed = true;
        _float?.Dispose();
        _chosen?.Dispose();
        foreach (IEncodePass pass in _tried)
            pass.Dispose();
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

    // In the order in which they are tried, or taken.
    private static SimdScreen[] Wanted(SimdScreen screen) => screen switch
    {
        SimdScreen.Float32 => [],
        SimdScreen.Fastest => [SimdScreen.Int8, SimdScreen.Int8Prefix, SimdScreen.Int16],
        SimdScreen.Int8Prefix => [SimdScreen.Int8Prefix, SimdScreen.Int8],
        _ => [screen],
    };

    private bool IsSupported(SimdScreen screen) =>
        screen == SimdScreen.Int8Prefix ? IntegerPass.SupportsPrefix(_plan) : IntegerPass.Supports(_plan, screen == SimdScreen.Int8 ? IntegerFormat.Int8 : IntegerFormat.Int16);

    private IntegerPass CreatePass(SimdScreen screen)
    {
        IReadOnlyList<ScreenLevel> levels = _float?.Levels
            ?? [.. Enumerable.Range(0, _plan.Levels).Select(level => new ScreenLevel(_plan, level, _centre, EncodeForm.Residual, _threads, PackedCodewords.kCodesMultiple))];
        return new(_plan, _centre, _largestNorms, levels, screen == SimdScreen.Int16 ? IntegerFormat.Int16 : IntegerFormat.Int8, screen == SimdScreen.Int8Prefix, _threads);
    }

    // Encodes the first rows by one pass after the other, each twice, over several calls where one has too few; returns how many rows that were.
    private int Try(RowView rows, Span<ushort> codes, Span<float> squaredErrors, ref EncodeReport report)
    {
        _rowsSeen += rows.Count;
        if (_rowsSeen < (long)kTrialsWorth * _trialRows)
            return 0;
        if (_tried.Length == 0)
            _tried = [_float!, .. _screens.Select(CreatePass)];
        int tried = 0;
        for (; _chosen is null && rows.Count - tried >= _trialRows; tried += _trialRows)
        {
            long start = Stopwatch.GetTimestamp();
            report += Run(_tried[_seconds.Count % _tried.Length], rows, codes, squaredErrors, tried, _trialRows);
            _seconds.Add(Stopwatch.GetElapsedTime(start).TotalSeconds);
            if (_seconds.Count == kRounds * _tried.Length)
                Choose();
        }
        return tried;
    }

    private void Choose()
    {
        double Best(int pass) => Enumerable.Range(0, kRounds).Min(round => _seconds[round * _tried.Length + pass]);
        int best = Enumerable.Range(0, _tried.Length).MinBy(Best);
        if (Best(best) * kLeastGain > Best(0))
            best = 0;
        foreach (IEncodePass pass in _tried.Skip(1).Where(pass => pass != _tried[best]))
            pass.Dispose();
        _chosen = _tried[best];
        _tried = [];
    }

    private EncodeReport Run(IEncodePass pass, RowView rows, Span<ushort> codes, Span<float> squaredErrors, int first, int count) =>
        EncodeBlocks.Run(_plan.Levels, rows.Slice(first, count), codes.Slice(first * _plan.Levels, count * _plan.Levels),
            squaredErrors.IsEmpty ? default : squaredErrors.Slice(first, count), pass.RowsPerBlock, _threads, pass.Encode, first);
}
