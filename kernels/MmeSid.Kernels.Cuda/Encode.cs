using System.Collections.Concurrent;
using System.Diagnostics;
using System.Runtime.InteropServices;
using MmeSid.Kernels.Scalar;
using MmeSid.Kernels.Simd;

namespace MmeSid.Kernels.Cuda;

/// <summary>How an encoder screens.</summary>
/// <param name="Screen">For all levels.</param>
/// <param name="ShareOperand">Whether one operand serves all levels where the tables between them are small.</param>
internal sealed record Screening(Screen Screen, bool ShareOperand);

/// <summary>
/// encode: codes[i, l] = argmin_k of the real-number distances of EncodePlan          oracle: Scalar/Encode.cs
/// <code>
///   in    rows (n, d) row-major f32, f16 or bf16 in host memory, widened by the kernels · plan, uploaded once
///   out   codes (n, L) u16 · errors (n) f32 = ‖r_{L+1}‖²
///   does  per batch and level three kernels: prepare (residuals in the screen's format, and each row's margin 2E), screen (products, scores,
///         the codes within the margin), recheck (float64 distances of the rows that stay open); what float64 leaves open, and only that,
///         is encoded again by the oracle. Where K·L is small, prepare and screen run once for all levels: the operand is the row, tables
///         hold what earlier codes add, and recheck opens again what stood on a code that was not the row's
///   why   |ŝ − s| ≤ E for every k (CudaLevel.Operands), so the argmin of s is among the codes within 2E of the smallest ŝ
///   ties  decided by the oracle, the smallest k
///   work  kSlots batches on streams of their own: one is copied in while another computes; a batch's operands stay in the second-level cache
/// </code>
/// Which screens do the work is measured on the first whole batch; codes do not depend on it.
/// </summary>
internal sealed class CudaEncoder : HostRowsEncoder
{
    private const int kPrepareThreads = 256, kPrepareRows = kPrepareThreads / 32;
    private const int kRecheckThreads = 256, kErrorThreads = 128, kErrorRows = kErrorThreads / 8;
    // Rows that keep a multiprocessor busy.
    private const int kRowsPerMultiprocessor = 256;
    private const int kRecheckBlocksPerMultiprocessor = 4;
    private const int kSlots = 3;
    private const long kMostBatchBytes = 256L << 20;

    private readonly CudaDevice _device;
    private readonly CudaStream _stream;
    private readonly CudaPlan _plan;
    // The same with tables between all levels; null where they would be too large.
    private readonly CudaPlan? _shared;
    private readonly DeviceMemory<float> _centre;
    private readonly DeviceMemory<nint> _subtrahends, _norms, _codebooks;
    private EncodePlan _current;
    private double[] _largestNorms;
    private readonly EncodeOptions _options;
    private readonly bool _wide;
    private readonly int _threads;
    private readonly int _batchRows;
    private readonly TileCache _tiles;
    private Pass[] _passes;
    private readonly CudaKernel[] _prepare;
    private readonly CudaKernel _recheck, _errors;
    // Encodes the rows that a shadow leaves open; prepared when the first comes.
    private Lazy<IEncoder> _host;
    private readonly Lock _calibration = new();
    private volatile bool _calibrated;
    private readonly ConcurrentBag<Slot> _idle = [];
    private bool _disposed;

    /// <summary>Uploads a plan.</summary>
    /// <param name="device">Encodes.</param>
    /// <param name="plan">The plan.</param>
    /// <param name="options">Its tables, where PSRQ needs them, take at most what these allow.</param>
    /// <param name="threads">Host threads.</param>
    /// <param name="screening">Which screens do the work; null measures.</param>
    public CudaEncoder(CudaDevice device, EncodePlan plan, EncodeOptions options, int threads, Screening? screening)
    {
        _current = plan;
        _device = device;
        _threads = threads;
        _options = options;
        _host = Host();
        _wide = plan.Kind == PlanKind.PrefixSemantic && ScreenLevel.TableBytes(plan) > options.TableBytes;
        _largestNorms = Recheck.LargestNorms(plan, threads);
        _tiles = TileCache.Of(device);
        float[] centre = SimdEncoder.Centre(plan, threads);
        _prepare = [.. Screens.Kinds.Select(kind => device.Kernel("prepare", $"prepare_{kind.Lower()}", kPrepareThreads))];
        _recheck = device.Kernel("recheck", "recheck", kRecheckThreads, Screens.kRecheckSharedBytes);
        _errors = device.Kernel("recheck", "squared_errors", kErrorThreads);
        _stream = CudaStream.Create(device);
        try
        {
            _plan = new CudaPlan(_stream, plan, centre, _wide ? EncodeForm.Wide : EncodeForm.Residual, threads);
            if (!_wide && CudaPlan.CanShareOperand(plan) && screening is not { ShareOperand: false })
                _shared = new CudaPlan(_stream, plan, centre, EncodeForm.Tables, threads);
            _centre = DeviceMemory<float>.From(_stream, centre);
            _subtrahends = Pointers(level => level.Subtrahends?.Value ?? 0);
            _norms = Pointers(level => level.Norms?.Value ?? 0);
            _codebooks = Pointers(level => level.Codebook.Value);
            _passes = Passes(screening ?? new Screening(Screen.Default(ScreenKind.Float16), ShareOperand: false));
        }
        catch
        {
            DisposePlan();
            throw;
        }
        _calibrated = screening is not null;
        long rowBytes = 4L * plan.Dimension * (_wide ? 2 : 1) * 2 + 64;
        long whole = (long)device.Multiprocessors * kRowsPerMultiprocessor;
        _batchRows = (int)Math.Max(Screen.kMostRows, Math.Min(whole, kMostBatchBytes / rowBytes / Screen.kMostRows * Screen.kMostRows));
    }

    public override EncodePlan Plan => _current;

    /// <summary>
    /// Takes the codebooks of a plan of the same shape in the place of its own. The device's buffers and the choice of screens stay. No call may be running.
    /// </summary>
    /// <param name="plan">The plan: the host prepares the screens' operands from it, whose bounds its float64 arithmetic certifies.</param>
    /// <param name="codebooks">The same codebooks where they are on the device already.</param>
    internal void Replace(EncodePlan plan, IReadOnlyList<DeviceMemory<float>> codebooks)
    {
        ObjectDisposedException.ThrowIf(_disposed, this);
        Debug.Assert(plan.Kind == Plan.Kind && plan.Dimension == Plan.Dimension && Enumerable.Range(0, Plan.Levels).All(level => plan.CodeCount(level) == Plan.CodeCount(level)), "shapes differ");
        _current = plan;
        _largestNorms = Recheck.LargestNorms(plan, _threads);
        float[] centre = SimdEncoder.Centre(plan, _threads);
        _plan.Replace(plan, centre, codebooks);
        _shared?.Replace(plan, centre, codebooks);
        _stream.Write<float>(_centre, centre);
        if (_host.IsValueCreated)
        {
            _host.Value.Dispose();
            _host = Host();
        }
    }

    // One call is copied to the device while another computes and a third is copied back.
    public override int CallsAtOnce => kSlots;

    public override unsafe IDisposable? Pin(RowMatrix rows) => PinnedRange.TryPin(_device, rows.DangerousGetHandle(), rows.Count * rows.Dimension * sizeof(float));

    /// <summary>Whether <see cref="Choice"/> has been measured, or was given.</summary>
    internal bool IsCalibrated => _calibrated;

    /// <summary>The screens that do the work: one for each level, or one for all. Measured once a whole batch has come.</summary>
    internal IReadOnlyList<Screen> Choice => [.. _passes.Select(pass => pass.Screen)];

    /// <summary>Rows that the device takes at a time.</summary>
    internal int BatchRows => _batchRows;

    public override EncodeReport Encode(HostRows rows, Span<ushort> codes, Span<float> squaredErrors, ReadRow? readRow = null)
    {
        ObjectDisposedException.ThrowIf(_disposed, this);
        var report = new EncodeReport((long)rows.Count * Plan.Levels, 0, 0, 0);
        var running = new Queue<Slot>();
        try
        {
            for (long start = 0; start < rows.Count || running.Count > 0; start += _batchRows)
            {
                if (start >= rows.Count || running.Count == kSlots)
                {
                    report += readRow is null ? Collect(running.Peek(), rows, codes, squaredErrors) : CollectShadow(running.Peek(), rows, readRow, codes);
                    _idle.Add(running.Dequeue());
                }
                if (start < rows.Count)
                {
                    int first = (int)start;
                    Slot slot = Take(rows.Count);
                    running.Enqueue(slot);
                    slot.Copy(rows.Slice(first, Math.Min(_batchRows, rows.Count - first)), first, !squaredErrors.IsEmpty, _threads);
                    Queue(slot);
                }
            }
        }
        finally
        {
            // After an error: what still runs writes into buffers that nobody may take before it ends.
            foreach (Slot slot in running)
                slot.Dispose();
        }
        return report;
    }

    /// <summary>The same for rows that are on the device, and stay there with their codes.</summary>
    /// <param name="rows">[count, d].</param>
    /// <param name="count">n.</param>
    /// <param name="codes">[count, L].</param>
    public EncodeReport Encode(DeviceMemory<float> rows, int count, DeviceMemory<ushort> codes)
    {
        ObjectDisposedException.ThrowIf(_disposed, this);
        var report = new EncodeReport((long)count * Plan.Levels, 0, 0, 0);
        var running = new Queue<Slot>();
        try
        {
            // A batch waits behind the one that runs, so that the device has work while the host collects.
            for (long start = 0; start < count || running.Count > 0; start += _batchRows)
            {
                if (start >= count || running.Count == kSlots)
                {
                    report += Collect(running.Peek(), rows, codes);
                    _idle.Add(running.Dequeue());
                }
                if (start < count)
                {
                    int first = (int)start;
                    Slot slot = Take(count);
                    running.Enqueue(slot);
                    slot.Point(rows, codes, first, Math.Min(_batchRows, count - first));
                    Queue(slot);
                }
            }
        }
        finally
        {
            foreach (Slot slot in running)
                slot.Dispose();
        }
        return report;
    }

    public override void Dispose()
    {
        _disposed = true;
        while (_idle.TryTake(out Slot? slot))
            slot.Dispose();
        if (_host.IsValueCreated)
            _host.Value.Dispose();
        DisposePlan();
    }

    private Lazy<IEncoder> Host() => new(() => new SimdBackend(_threads).CreateEncoder(Plan, _options));

    private void DisposePlan()
    {
        foreach (IDisposable? memory in (IDisposable?[])[_plan, _shared, _centre, _subtrahends, _norms, _codebooks, _stream])
            memory?.Dispose();
    }

    private DeviceMemory<nint> Pointers(Func<CudaLevel, nint> pointer) => DeviceMemory<nint>.From(_stream, [.. _plan.Levels.Select(pointer)]);

    // A slot for the batches of a call; one that is too small for them is replaced.
    private Slot Take(int rows)
    {
        int capacity = (Math.Min(_batchRows, rows) + Screen.kMostRows - 1) / Screen.kMostRows * Screen.kMostRows;
        if (_idle.TryTake(out Slot? slot))
        {
            if (slot.Capacity >= capacity)
                return slot;
            slot.Dispose();
        }
        return new Slot(this, capacity);
    }

    // Queues everything that is to be done with a batch, and returns.
    private void Queue(Slot slot)
    {
        if (!_calibrated && slot.Rows.Count == _batchRows)
        {
            lock (_calibration)
            {
                if (!_calibrated)
                    Calibrate(slot);
                _calibrated = true;
            }
        }
        slot.Clear();
        foreach (Pass pass in _passes)
            Queue(slot, pass);
        if (slot.WantsErrors)
        {
            slot.Stream.Launch(_errors, (slot.Rows.Count + kErrorRows - 1) / kErrorRows, new ErrorArguments
            {
                Rows = slot.Rows, Codebooks = _codebooks.Value, Errors = slot.Errors.Value, PrefixLevels = Prefix(),
            });
        }
        slot.End();
    }

    /// <summary>Milliseconds that a batch takes, the device's re-check included; the median of some runs.</summary>
    /// <param name="rows">[count, d].</param>
    /// <param name="count">n, at most <see cref="BatchRows"/>.</param>
    /// <param name="codes">[count, L]; rows that float64 leaves open get any.</param>
    /// <param name="repeats">Runs.</param>
    internal double Time(DeviceMemory<float> rows, int count, DeviceMemory<ushort> codes, int repeats)
    {
        Slot slot = Take(count);
        try
        {
            slot.Point(rows, codes, 0, count);
            double[] times = [.. Enumerable.Range(0, repeats).Select(_ => Time(slot, _passes))];
            Array.Sort(times);
            return times[repeats / 2];
        }
        finally
        {
            slot.Dispose();
        }
    }

    // A screen for every level, and one for all together where that is possible: of each arithmetic the shape that was tuned for this GPU.
    // What is fastest on the batch at hand does the work from now on.
    private void Calibrate(Slot slot)
    {
        var each = new List<(Pass Pass, double Time)>();
        for (int level = 0; level < Plan.Levels; level++)
            each.Add(Fastest(slot, _plan, level, 1));
        _passes = [.. each.Select(level => level.Pass)];
        if (_shared is not null && Fastest(slot, _shared, 0, Plan.Levels) is var all && all.Time < each.Sum(level => level.Time))
            _passes = [all.Pass];
    }

    private (Pass Pass, double Time) Fastest(Slot slot, CudaPlan plan, int first, int count)
    {
        // float32 fits everywhere.
        var best = (Pass: new Pass(plan, first, count, Screen.Default(ScreenKind.Float32)), Time: double.PositiveInfinity);
        foreach (ScreenKind kind in Screens.Kinds)
        {
            Pass pass = best.Pass with { Screen = _tiles.Screen(kind, plan.Levels[first].Depth, plan.Levels[first].PaddedCodes) };
            if (!pass.Fits(_device))
                continue;
            // The first run pays for what the driver does only once.
            Time(slot, [pass]);
            double time = Time(slot, [pass]);
            if (time < best.Time)
                best = (pass, time);
        }
        return best;
    }

    private double Time(Slot slot, Pass[] passes)
    {
        using var begin = CudaEvent.Create(_device);
        using var end = CudaEvent.Create(_device);
        slot.Clear();
        slot.Stream.Record(begin);
        foreach (Pass pass in passes)
            Queue(slot, pass);
        slot.Stream.Record(end);
        end.Synchronize();
        return begin.MillisecondsTo(end);
    }

    // Where the screen does not fit, the one that always does.
    private Pass[] Passes(Screening screening)
    {
        if (screening.ShareOperand && _shared is not null)
            return [Fitting(new Pass(_shared, 0, Plan.Levels, screening.Screen))];
        return [.. Enumerable.Range(0, Plan.Levels).Select(level => Fitting(new Pass(_plan, level, 1, screening.Screen)))];

        Pass Fitting(Pass pass) => pass.Fits(_device) ? pass : pass with { Screen = Screen.Default(ScreenKind.Float32) };
    }

    private void Queue(Slot slot, Pass pass)
    {
        ScreenKind kind = pass.Screen.Kind;
        CudaPlan.Operands operands = pass.Plan[kind];
        CudaLevel.Operands[] levels = [.. pass.Levels.Select(level => level[kind])];
        int count = slot.Rows.Count, depth = levels[0].Depth;
        nint counts = slot.Counts.Value;
        slot.Stream.Launch(_prepare[(int)kind], (count + kPrepareRows - 1) / kPrepareRows, new PrepareArguments
        {
            Rows = slot.Rows,
            Centre = _centre.Value, Subtrahends = _subtrahends.Value, Norms = _norms.Value,
            Operands = slot.Operands.Value, Scales = slot.Scales.Value, Margins = slot.Margins.Value,
            BadRow = counts + BatchCounts.kBadRowOffset,
            Bounds = operands.Bounds.Value + pass.First * Marshal.SizeOf<ScreenBound>(),
            LargestNorm = levels.Min(level => level.LargestNorm), SmallestNorm = levels.Max(level => level.LeastNorm), NormSlack = Bounds.NormSlack(depth),
            Level = pass.First, BoundCount = pass.Count, Depth = depth, Wide = _wide ? 1 : 0,
        });
        CudaKernel screen = _device.Kernel(pass.Screen.File, pass.Screen.Name, Screen.kThreads, pass.Screen.SharedBytes);
        slot.Stream.Launch(screen, (count + pass.Screen.Rows - 1) / pass.Screen.Rows, new ScreenArguments
        {
            Operands = slot.Operands.Value, Levels = operands.Levels.Value, Scales = slot.Scales.Value, Margins = slot.Margins.Value,
            Codes = slot.Rows.Codes, Open = slot.Open.Value, OpenCounts = slot.OpenCounts.Value, OpenCapacity = slot.OpenCapacity,
            Count = count, Depth = depth, FirstLevel = pass.First, LevelCount = pass.Count, TotalLevels = Plan.Levels,
        });
        for (int index = pass.First; index < pass.First + pass.Count; index++)
        {
            CudaLevel level = pass.Plan.Levels[index];
            slot.Stream.Launch(_recheck, Math.Min(count, slot.RecheckBlocks), new RecheckArguments
            {
                Rows = slot.Rows, Codebooks = _codebooks.Value, Biases = level.Biases.Value,
                Open = slot.Open.Value, OpenCounts = slot.OpenCounts.Value, Changed = slot.Changed.Value, OpenCapacity = slot.OpenCapacity,
                Undecided = slot.Undecided.Value, UndecidedCount = counts + BatchCounts.kUndecidedOffset, Candidates = counts, Scratch = slot.Scratch.Value,
                CodewordNorms = _largestNorms[index], Slack = Bounds.Slack,
                Level = index, EndLevel = pass.First + pass.Count, CodeCount = level.CodeCount,
                PrefixSemantic = index > 0 ? Prefix() : 0, PrefixLevels = Prefix(),
            });
        }
    }

    private int Prefix() => Plan.Kind == PlanKind.PrefixSemantic ? 1 : 0;

    // Waits for a batch, hands its codes over, and lets the oracle decide what is left.
    private EncodeReport Collect(Slot slot, HostRows rows, Span<ushort> codes, Span<float> squaredErrors)
    {
        EncodeReport report = slot.Wait(out int badRow, out int[] undecided);
        int first = slot.First, count = slot.Rows.Count, levels = Plan.Levels;
        if (badRow >= 0)
            EncodeArguments.CheckFinite(rows.Widened(first + badRow), rows.Number + first + badRow);
        slot.CodesOnHost.Values[..(count * levels)].CopyTo(codes[(first * levels)..]);
        if (!squaredErrors.IsEmpty)
            slot.ErrorsOnHost.Values[..count].CopyTo(squaredErrors[first..]);
        if (undecided.Length > 0)
        {
            using IEncoder oracle = new ScalarBackend().CreateEncoder(Plan);
            foreach (int row in undecided)
                oracle.Encode(new RowView(rows.Widened(first + row), rows.Dimension), codes.Slice((first + row) * levels, levels), squaredErrors.IsEmpty ? default : squaredErrors.Slice(first + row, 1));
        }
        return report;
    }

    // The same for a shadow: the rows that it leaves open are encoded from what it was made of.
    private EncodeReport CollectShadow(Slot slot, HostRows shadow, ReadRow readRow, Span<ushort> codes)
    {
        EncodeReport report = slot.Wait(out _, out int[] open) with { Exact = 0 };
        int levels = Plan.Levels;
        Span<ushort> batch = codes.Slice(slot.First * levels, slot.Rows.Count * levels);
        slot.CodesOnHost.Values[..batch.Length].CopyTo(batch);
        if (open.Length == 0)
            return report;
        using var rows = new RowMatrix(open.Length, Plan.Dimension);
        for (int i = 0; i < open.Length; i++)
            readRow(shadow.Number + slot.First + open[i], rows.Rows(i, 1));
        ushort[] found = new ushort[open.Length * levels];
        EncodeReport onHost = _host.Value.Encode(rows.View(0, open.Length), found);
        for (int i = 0; i < open.Length; i++)
            found.AsSpan(i * levels, levels).CopyTo(batch[(open[i] * levels)..]);
        return report with { Candidates = onHost.Candidates, Exact = onHost.Exact };
    }

    // The same with rows and codes on the device.
    private EncodeReport Collect(Slot slot, DeviceMemory<float> rows, DeviceMemory<ushort> codes)
    {
        EncodeReport report = slot.Wait(out int badRow, out int[] undecided);
        float[] row = new float[Plan.Dimension];
        ushort[] path = new ushort[Plan.Levels];
        if (badRow >= 0)
        {
            Fetch(slot.First + badRow);
            EncodeArguments.CheckFinite(row, slot.First + badRow);
        }
        if (undecided.Length > 0)
        {
            using IEncoder oracle = new ScalarBackend().CreateEncoder(Plan);
            foreach (int index in undecided)
            {
                Fetch(slot.First + index);
                oracle.Encode(new RowView(row, row.Length), path);
                slot.Stream.Write<ushort>(codes, path, (long)(slot.First + index) * path.Length);
            }
        }
        return report;

        void Fetch(int index) => slot.Stream.Read(row.AsSpan(), rows, (long)index * row.Length);
    }

    /// <summary>Levels that one screen serves.</summary>
    private sealed record Pass(CudaPlan Plan, int First, int Count, Screen Screen)
    {
        public IEnumerable<CudaLevel> Levels => Plan.Levels.Skip(First).Take(Count);

        public bool Fits(CudaDevice device) => Levels.All(level => Screen.Fits(device, level));
    }

    /// <summary>The buffers of a batch, and the stream on which it is copied in, encoded and copied back.</summary>
    private sealed class Slot : IDisposable
    {
        private readonly CudaEncoder _encoder;
        private readonly List<IDisposable> _owned = [];
        // Only for rows that come from the host.
        private PinnedMemory<byte>? _inputOnHost;
        private DeviceMemory<byte>? _input;
        private bool _onHost;
        private bool _busy;

        public Slot(CudaEncoder encoder, int rows)
        {
            (_encoder, Capacity) = (encoder, rows);
            CudaDevice device = encoder._device;
            EncodePlan plan = encoder.Plan;
            int d = plan.Dimension;
            long operandBytes = encoder._plan.Levels.Max(level => Screens.Kinds.Max(kind => (long)Screens.RowBytes(kind, level.Depth)));
            try
            {
                Stream = Own(CudaStream.Create(device));
                Operands = Own(DeviceMemory<byte>.Allocate(device, rows * operandBytes));
                Scales = Own(DeviceMemory<float>.Allocate(device, rows));
                Margins = Own(DeviceMemory<float>.Allocate(device, (long)rows * plan.Levels));
                Codes = Own(DeviceMemory<ushort>.Allocate(device, (long)rows * plan.Levels));
                CodesOnHost = Own(PinnedMemory<ushort>.Allocate(device, checked(rows * plan.Levels)));
                Errors = Own(DeviceMemory<float>.Allocate(device, rows));
                ErrorsOnHost = Own(PinnedMemory<float>.Allocate(device, rows));
                OpenCapacity = 2 * rows;
                Open = Own(DeviceMemory<OpenRow>.Allocate(device, (long)OpenCapacity * plan.Levels));
                Changed = Own(DeviceMemory<int>.Allocate(device, rows));
                OpenCounts = Own(DeviceMemory<int>.Allocate(device, plan.Levels));
                OpenCountsOnHost = Own(PinnedMemory<int>.Allocate(device, plan.Levels));
                Undecided = Own(DeviceMemory<int>.Allocate(device, (long)rows * plan.Levels));
                Counts = Own(DeviceMemory<BatchCounts>.Allocate(device, 1));
                CountsOnHost = Own(PinnedMemory<BatchCounts>.Allocate(device, 1));
                RecheckBlocks = Math.Min(rows, device.Multiprocessors * kRecheckBlocksPerMultiprocessor);
                Scratch = Own(DeviceMemory<double>.Allocate(device, 2L * d * RecheckBlocks));
            }
            catch
            {
                Dispose();
                throw;
            }
        }

        /// <summary>Rows of a batch at most.</summary>
        public int Capacity { get; }

        public CudaStream Stream { get; } = null!;

        public DeviceMemory<byte> Operands { get; } = null!;

        public DeviceMemory<float> Scales { get; } = null!;

        public DeviceMemory<float> Margins { get; } = null!;

        public DeviceMemory<ushort> Codes { get; } = null!;

        public PinnedMemory<ushort> CodesOnHost { get; } = null!;

        public DeviceMemory<float> Errors { get; } = null!;

        public PinnedMemory<float> ErrorsOnHost { get; } = null!;

        /// <summary>Of every level: each row once, and again where it stood on a code that was not the row's.</summary>
        public DeviceMemory<OpenRow> Open { get; } = null!;

        /// <summary>Rows that a level's list has room for.</summary>
        public int OpenCapacity { get; }

        /// <summary>The first level of which the likeliest code was wrong, larger than any where none was.</summary>
        public DeviceMemory<int> Changed { get; } = null!;

        public DeviceMemory<int> OpenCounts { get; } = null!;

        public PinnedMemory<int> OpenCountsOnHost { get; } = null!;

        public DeviceMemory<int> Undecided { get; } = null!;

        public DeviceMemory<BatchCounts> Counts { get; } = null!;

        public PinnedMemory<BatchCounts> CountsOnHost { get; } = null!;

        public DeviceMemory<double> Scratch { get; } = null!;

        public int RecheckBlocks { get; }

        /// <summary>The batch at hand.</summary>
        public EncodeRows Rows { get; private set; }

        /// <summary>Its first row among the caller's.</summary>
        public int First { get; private set; }

        /// <summary>Whether squared errors are asked for.</summary>
        public bool WantsErrors { get; private set; }

        /// <summary>Takes a batch from the host: rows go to the device behind the caller's back, through pinned memory unless that is where they lie.</summary>
        public unsafe void Copy(HostRows rows, int first, bool errors, int threads)
        {
            // Whatever comes next, float32 is the widest.
            int most = checked(Capacity * rows.Dimension * sizeof(float)), bytes = (int)(rows.Count * rows.RowBytes);
            _input ??= Own(DeviceMemory<byte>.Allocate(_encoder._device, most));
            Take(_input.Value, rows.Element, Codes.Value, first, rows.Count, errors, onHost: true);
            if (rows.IsContiguous && PinnedRange.Covers((nint)rows.Row(0), bytes))
            {
                Stream.Upload(_input, new ReadOnlySpan<byte>(rows.Row(0), bytes));
                return;
            }
            _inputOnHost ??= Own(PinnedMemory<byte>.Allocate(_encoder._device, most));
            Span<byte> input = _inputOnHost.Values[..bytes];
            RowCopy.Copy(rows, input, threads);
            Stream.Upload<byte>(_input, input);
        }

        /// <summary>Takes a batch that is on the device already.</summary>
        public void Point(DeviceMemory<float> rows, DeviceMemory<ushort> codes, int first, int count)
        {
            EncodePlan plan = _encoder.Plan;
            Take(rows.Value + (nint)first * plan.Dimension * sizeof(float), element: 0, codes.Value + (nint)first * plan.Levels * sizeof(ushort), first, count, errors: false, onHost: false);
        }

        private void Take(nint values, int element, nint codes, int first, int count, bool errors, bool onHost)
        {
            EncodePlan plan = _encoder.Plan;
            (First, WantsErrors, _onHost, _busy) = (first, errors, onHost, true);
            Rows = new EncodeRows { Values = values, Stride = plan.Dimension, Codes = codes, Count = count, Dimension = plan.Dimension, Element = element, Levels = plan.Levels };
        }

        public void Clear()
        {
            Stream.Fill(OpenCounts, 0, OpenCounts.Length);
            Stream.Fill(Changed, 0x7f, Rows.Count);
            CountsOnHost.Values[0] = new BatchCounts { BadRow = uint.MaxValue };
            Stream.Upload<BatchCounts>(Counts, CountsOnHost.Values);
        }

        public void End()
        {
            if (_onHost)
                Stream.Download(CodesOnHost.Values[..(Rows.Count * Rows.Levels)], Codes);
            if (WantsErrors)
                Stream.Download(ErrorsOnHost.Values[..Rows.Count], Errors);
            Stream.Download(OpenCountsOnHost.Values, OpenCounts);
            Stream.Download(CountsOnHost.Values, Counts);
        }

        /// <summary>Waits until the batch is encoded.</summary>
        /// <param name="badRow">First row of the batch that holds NaN or infinity, or −1.</param>
        /// <param name="undecided">Rows of the batch that float64 left open.</param>
        public EncodeReport Wait(out int badRow, out int[] undecided)
        {
            Stream.Synchronize();
            BatchCounts counts = CountsOnHost.Values[0];
            badRow = counts.BadRow == uint.MaxValue ? -1 : (int)counts.BadRow;
            undecided = new int[counts.Undecided];
            Stream.Read(undecided.AsSpan(), Undecided);
            _busy = false;
            undecided = [.. undecided.Distinct()];
            long rechecked = 0;
            foreach (int open in OpenCountsOnHost.Values)
                rechecked += open;
            return new EncodeReport(0, rechecked, (long)counts.Candidates, counts.Undecided);
        }

        public void Dispose()
        {
            // A device that is lost cannot be waited for; its memory is gone with it.
            if (_busy && Stream is not null)
                Stream.TrySynchronize();
            for (int i = _owned.Count - 1; i >= 0; i--)
                _owned[i].Dispose();
        }

        private T Own<T>(T owned)
            where T : IDisposable
        {
            _owned.Add(owned);
            return owned;
        }
    }
}
