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
///   which measured: of long enough calls the first rows are encoded by each pass in turn that may win, and the fastest has the rest, and all calls that follow
///   ties  decided exactly in Recheck, the smallest k: all passes give the same codes
/// </code>
/// </summary>
internal sealed class SimdEncoder : IEncoder
{
    // Rows of a trial: these multiply-adds per thread, but no more than so many rows. A few more come first, for the compiler.
    private const double kTrialOperations = 6e8;
    private const int kMostTrialRows = 2048;

    // Trials of a pass, the best counts. The first ones are slow because they are first; a screen's are parts of a trial, and end there where they were so much slower
    // than the best.
    private const int kTrials = 5;
    private const int kFirstTrials = 2;
    private const int kFirstPart = 8;
    private const double kFarBehind = 2;

    // Trials begin when as many rows have come as this many trials take: who encodes few rows is not made to prepare passes.
    private const int kTrialsWorth = 24;

    // An integer screen that gains less is not worth its memory.
    private const double kLeastGain = 1.05;

    // int16 multiplies at twice the rate of float32 at best.
    private const double kMostGainOfInt16 = 2;

    private readonly EncodePlan _plan;
    private readonly float[] _centre;
    private readonly double[] _largestNorms;
    private readonly int _threads;
    private readonly int _trialRows;
    private readonly int _warmRows;
    // Integer screens that may be tried, and how many of them have been prepared or passed over.
    private readonly SimdScreen[] _screens;
    private int _prepared;
    private readonly Lock _trying = new();
    // Serves until one is chosen, maybe on another thread, and lives as long as the encoder.
    private readonly FloatPass? _float;
    // That one first.
    private readonly List<Trial> _trials = [];
    private long _rowsSeen;
    private volatile IEncodePass? _chosen;
    // Of the chosen pass.
    private SimdScreen _chosenScreen;
    private bool _disposed;

    public SimdEncoder(EncodePlan plan, EncodeOptions options, int threads, SimdScreen screen = SimdScreen.Fastest)
    {
        if (options.ChoiceOf is SimdEncoder { _chosen: not null } other)
            screen = other._chosenScreen;
        _plan = plan;
        _threads = threads;
        _centre = Centre(plan, threads);
        _largestNorms = Recheck.LargestNorms(plan, threads);
        bool isWide = plan.Kind == PlanKind.PrefixSemantic && ScreenLevel.TableBytes(plan, narrow: true) > options.TableBytes;
        _screens = isWide ? [] : [.. Wanted(screen).Where(IsSupported).Where(wanted => wanted == screen || wanted != SimdScreen.Int8Prefix || IntegerPass.MayGainFromPrefix(plan))];
        if (_screens.Length == 0 || screen == SimdScreen.Fastest)
            _float = new FloatPass(plan, _centre, _largestNorms, isWide ? EncodeForm.Wide : EncodeForm.Residual, threads);
        _chosenScreen = _screens.Length == 0 ? SimdScreen.Float32 : _screens[0];
        _chosen = _screens.Length == 0 ? _float : screen == SimdScreen.Fastest ? null : CreatePass(_screens[0]);
        double operations = Enumerable.Range(0, plan.Levels).Sum(level => (double)plan.Dimension * plan.CodeCount(level));
        _warmRows = threads * Product.kRowsPerTile;
        _trialRows = Product.PaddedRows(Math.Max(4 * threads * Product.kRowsPerTile, (int)Math.Min(kMostTrialRows, kTrialOperations * threads / operations)));
    }

    public EncodePlan Plan => _plan;

    public string Screen => _chosen?.Name ?? "";

    public bool TakesShadows(ShadowFormat format) => true;

    public EncodeReport Encode(RowView rows, Span<ushort> codes, Span<float> squaredErrors = default)
    {
        ObjectDisposedException.ThrowIf(_disposed, this);
        EncodeArguments.Check(_plan, rows, codes, squaredErrors);
        return Encode(new Work { Rows = rows, Codes = codes, SquaredErrors = squaredErrors });
    }

    public EncodeReport EncodeShadow(ShadowRows shadow, ReadRow readRow, Span<ushort> codes)
    {
        ObjectDisposedException.ThrowIf(_disposed, this);
        ArgumentNullException.ThrowIfNull(readRow);
        EncodeArguments.Check(_plan, shadow.Count, shadow.Dimension, codes, default);
        return Encode(new Work { Shadow = shadow, ReadRow = readRow, Codes = codes });
    }

    private EncodeReport Encode(Work work)
    {
        EncodeReport report = default;
        int tried = 0;
        if (_chosen is null)
        {
            lock (_trying)
                tried = Try(work, ref report);
        }
        return report + Run(_chosen ?? _float!, work, tried, work.Count - tried);
    }

    public void Dispose()
    {
        _disposed = true;
        _float?.Dispose();
        _chosen?.Dispose();
        foreach (Trial trial in _trials)
            trial.Pass.Dispose();
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
            ?? [.. Enumerable.Range(0, _plan.Levels).Select(level => new ScreenLevel(_plan, level, _centre, EncodeForm.Residual, _threads, PackedCodewords.kCodesMultiple, narrow: true))];
        return new(_plan, _centre, _largestNorms, levels, screen == SimdScreen.Int16 ? IntegerFormat.Int16 : IntegerFormat.Int8, screen == SimdScreen.Int8Prefix, _threads);
    }

    // Encodes the first rows by one pass after the other, over several calls where one has too few; returns how many rows that were.
    private int Try(Work work, ref EncodeReport report)
    {
        _rowsSeen += work.Count;
        if (_rowsSeen < (long)kTrialsWorth * _trialRows)
            return 0;
        int tried = 0;
        while (_chosen is null && work.Count - tried >= _warmRows + _trialRows)
        {
            if (NextTrial() is not { } trial)
            {
                Choose();
                break;
            }
            if (trial.Count == 0)
            {
                report += Run(trial.Pass, work, tried, _warmRows);
                tried += _warmRows;
            }
            int rows = trial.Count < kFirstTrials && trial != _trials[0] ? Math.Max(_warmRows, Product.PaddedRows(_trialRows / kFirstPart)) : _trialRows;
            long start = Stopwatch.GetTimestamp();
            report += Run(trial.Pass, work, tried, rows);
            trial.Add(Stopwatch.GetElapsedTime(start).TotalSeconds / rows);
            tried += rows;
        }
        return tried;
    }

    private double LeastSeconds => _trials.Min(trial => trial.Seconds);

    private Trial? NextTrial()
    {
        if (_trials.Count == 0)
            _trials.Add(new Trial(_float!, SimdScreen.Float32));
        // First trials of one pass after the other, then in turn, so that all of them have the same machine.
        if (_trials.Find(trial => trial.Count < kFirstTrials) is { } begun)
            return begun;
        while (_prepared < _screens.Length)
        {
            SimdScreen screen = _screens[_prepared++];
            if (!MayWin(screen))
                continue;
            _trials.Add(new Trial(CreatePass(screen), screen));
            return _trials[^1];
        }
        return _trials.Where(trial => trial.Count < kTrials && trial.Seconds <= kFarBehind * LeastSeconds).MinBy(trial => trial.Count);
    }

    private bool MayWin(SimdScreen screen) => screen != SimdScreen.Int16 || LeastSeconds * kMostGainOfInt16 > _trials[0].Seconds;

    private void Choose()
    {
        Trial best = _trials.MinBy(trial => trial.Seconds)!;
        if (best.Seconds * kLeastGain > _trials[0].Seconds)
            best = _trials[0];
        _chosenScreen = best.Screen;
        _chosen = best.Pass;
        foreach (Trial trial in _trials.Skip(1).Where(trial => trial != best))
            trial.Pass.Dispose();
        _trials.Clear();
    }

    private EncodeReport Run(IEncodePass pass, Work work, int first, int count)
    {
        Span<ushort> codes = work.Codes.Slice(first * _plan.Levels, count * _plan.Levels);
        if (work.ReadRow is not null)
            return ShadowBlocks.Run(_plan.Levels, work.Shadow.Slice(first, count), work.ReadRow, codes, pass, _threads, first);
        return EncodeBlocks.Run(_plan.Levels, work.Rows.Slice(first, count), codes,
            work.SquaredErrors.IsEmpty ? default : work.SquaredErrors.Slice(first, count), pass.RowsPerBlock, _threads, pass.Encode, first);
    }

    // Rows, or their shadow and what reads them.
    private readonly ref struct Work
    {
        public RowView Rows { get; init; }

        public ShadowRows Shadow { get; init; }

        public ReadRow? ReadRow { get; init; }

        public Span<ushort> Codes { get; init; }

        public Span<float> SquaredErrors { get; init; }

        public int Count => ReadRow is null ? Rows.Count : Shadow.Count;
    }

    // What a pass took for a row, at best.
    private sealed class Trial(IEncodePass pass, SimdScreen screen)
    {
        public IEncodePass Pass => pass;

        public SimdScreen Screen => screen;

        public int Count { get; private set; }

        public double Seconds { get; private set; } = double.PositiveInfinity;

        public void Add(double seconds)
        {
            Count++;
            Seconds = Math.Min(Seconds, seconds);
        }
    }
}
