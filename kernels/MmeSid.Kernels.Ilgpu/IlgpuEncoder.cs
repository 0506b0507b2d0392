using System.Collections.Concurrent;
using ILGPU;
using ILGPU.Runtime;
using MmeSid.Kernels.Simd;

namespace MmeSid.Kernels.Ilgpu;

/// <summary>
/// The host side of <see cref="EncodeKernel"/>: batches of rows on streams of their own, one copied in while another computes. What the device
/// leaves open is encoded again by the host's vectors, whose certificate ends in exact arithmetic.
/// </summary>
internal sealed class IlgpuEncoder : IEncoder
{
    private const int kSlots = 2;
    private const int kBlocksPerMultiprocessor = 2, kRecheckBlocksPerMultiprocessor = 16;
    private const long kMostBatchBytes = 256L << 20;

    private readonly IlgpuDevice _device;
    private readonly SimdBackend _host;
    private readonly EncodeOptions _options;
    private readonly AcceleratorStream _stream;
    private readonly IlgpuLevel[] _levels;
    private readonly List<IDisposable> _owned = [];
    private readonly ArrayView<float> _centre, _codebooks;
    private readonly ArrayView<long> _offsets;
    private readonly double[] _largestNorms;
    private readonly bool _wide;
    private readonly int _stride, _batchRows;
    private readonly Lazy<IEncoder> _exact;
    private readonly ConcurrentBag<Slot> _idle = [];
    private bool _disposed;

    public IlgpuEncoder(IlgpuDevice device, EncodePlan plan, EncodeOptions options, SimdBackend host)
    {
        Plan = plan;
        _device = device;
        _host = host;
        _options = options;
        _wide = plan.Kind == PlanKind.PrefixSemantic && ScreenLevel.TableBytes(plan) > options.TableBytes;
        _stride = ProductTile.PaddedDepth(plan.Dimension * (_wide ? 2 : 1));
        _largestNorms = Recheck.LargestNorms(plan);
        _exact = new Lazy<IEncoder>(() => _host.CreateEncoder(Plan, _options));
        float[] centre = SimdEncoder.Centre(plan);
        lock (device.Gate)
        {
            try
            {
                device.Accelerator.Bind();
                _stream = Own(device.Accelerator.CreateStream());
                _levels = new IlgpuLevel[plan.Levels];
                long[] offsets = new long[plan.Levels];
                long values = 0;
                for (int level = 0; level < plan.Levels; level++)
                {
                    _levels[level] = Own(new IlgpuLevel(device, _stream, plan, level, centre, _wide ? EncodeForm.Wide : EncodeForm.Residual, host.Threads));
                    offsets[level] = values;
                    values += plan.Codebook(level).Length;
                }
                _centre = Own(device.Allocate<float>(_stream, centre)).View;
                _offsets = Own(device.Allocate<long>(_stream, offsets)).View;
                _codebooks = Own(device.Allocate<float>(values)).View;
                for (int level = 0; level < plan.Levels; level++)
                    _stream.Upload(_codebooks.SubView(offsets[level]), plan.Codebook(level));
                _stream.Synchronize();
            }
            catch (Exception error)
            {
                DisposeOwned();
                if (error is AcceleratorException failure)
                    throw IlgpuDevice.Translate(failure);
                throw;
            }
        }
        long rowBytes = sizeof(float) * ((long)plan.Dimension + _stride) + 64;
        long whole = (long)device.Accelerator.NumMultiprocessors * kBlocksPerMultiprocessor * EncodeKernel.kRows;
        _batchRows = (int)Math.Max(EncodeKernel.kRows, Math.Min(whole, kMostBatchBytes / rowBytes / EncodeKernel.kRows * EncodeKernel.kRows));
    }

    public EncodePlan Plan { get; }

    public EncodeReport Encode(RowView rows, Span<ushort> codes, Span<float> squaredErrors = default)
    {
        ObjectDisposedException.ThrowIf(_disposed, this);
        EncodeArguments.Check(Plan, rows, codes, squaredErrors);
        var report = new EncodeReport((long)rows.Count * Plan.Levels, 0, 0, 0);
        lock (_device.Gate)
        {
            var running = new Queue<Slot>();
            try
            {
                _device.Accelerator.Bind();
                for (int start = 0; start < rows.Count; start += _batchRows)
                {
                    Slot slot = running.Count == kSlots ? running.Dequeue() : _idle.TryTake(out Slot? idle) ? idle : new Slot(this);
                    running.Enqueue(slot);
                    report += Collect(slot, rows, codes, squaredErrors);
                    Start(slot, rows.Slice(start, Math.Min(_batchRows, rows.Count - start)), start, !squaredErrors.IsEmpty);
                }
                while (running.TryPeek(out Slot? slot))
                {
                    report += Collect(slot, rows, codes, squaredErrors);
                    _idle.Add(running.Dequeue());
                }
            }
            catch (AcceleratorException error)
            {
                throw IlgpuDevice.Translate(error);
            }
            finally
            {
                // After an error: what still runs writes into buffers that nobody may take before it ends.
                foreach (Slot slot in running)
                    slot.Dispose();
            }
        }
        return report;
    }

    public void Dispose()
    {
        if (_disposed)
            return;
        _disposed = true;
        lock (_device.Gate)
        {
            _device.Accelerator.Bind();
            while (_idle.TryTake(out Slot? slot))
                slot.Dispose();
            DisposeOwned();
        }
        if (_exact.IsValueCreated)
            _exact.Value.Dispose();
    }

    private void DisposeOwned()
    {
        for (int i = _owned.Count - 1; i >= 0; i--)
            _owned[i].Dispose();
    }

    private T Own<T>(T owned)
        where T : IDisposable
    {
        _owned.Add(owned);
        return owned;
    }

    // Copies a batch in, queues everything that is to be done with it, and returns.
    private void Start(Slot slot, RowView rows, int first, bool errors)
    {
        AcceleratorStream stream = slot.Stream;
        int count = rows.Count, blocks = (count + EncodeKernel.kRows - 1) / EncodeKernel.kRows, levels = Plan.Levels;
        slot.Begin(rows, first, errors, _host.Threads);
        var batch = new EncodeRows
        {
            Values = slot.Values.View, Codes = slot.Codes.View, Count = count, Dimension = Plan.Dimension, Levels = levels,
            Codebooks = _codebooks, Offsets = _offsets, Width = Plan.Kind == PlanKind.PrefixSemantic ? 2 * Plan.Dimension : Plan.Dimension,
        };
        for (int index = 0; index < levels; index++)
        {
            IlgpuLevel level = _levels[index], before = _levels[Math.Max(0, index - 1)];
            _device.Kernel<PrepareArguments>(EncodeKernel.Prepare)(stream, ((count + EncodeKernel.kPrepareRows - 1) / EncodeKernel.kPrepareRows, EncodeKernel.kPrepareThreads), new PrepareArguments
            {
                Rows = batch, Centre = _centre, Subtrahends = before.Subtrahends,
                Operands = slot.Operands.View, Errors = slot.RowErrors.View, Margins = slot.Margins.View, Counters = slot.Counters.View,
                Constant = level.Constant, PerNorm = level.PerNorm, PerError = level.PerError, Rounding = before.SubtrahendRounding, LargestNorm = level.LargestNorm,
                Level = index, Depth = level.Depth, Stride = _stride,
            });
            _device.Kernel<ScreenArguments>(EncodeKernel.Screen)(stream, (blocks, EncodeKernel.kScreenThreads), new ScreenArguments
            {
                Rows = batch, Operands = slot.Operands.View.BaseView.Cast<Float4>(), Codewords = level.Codewords, Biases = level.Biases,
                Tables = level.Tables, TableOffsets = level.TableOffsets, Margins = slot.Margins.View,
                Open = slot.Open.View, CandidateCounts = slot.CandidateCounts.View, Candidates = slot.Candidates.View, Counters = slot.Counters.View,
                OperandStride = _stride / 4, CodewordStride = ProductTile.PaddedDepth(level.Depth) / 4, Depth = ProductTile.PaddedDepth(level.Depth),
                PaddedCodes = level.PaddedCodes, Level = index, TableCount = level.TableCount,
            });
            _device.Kernel<RecheckArguments>(EncodeKernel.Recheck)(stream, (Math.Min(count, _device.Accelerator.NumMultiprocessors * kRecheckBlocksPerMultiprocessor), EncodeKernel.kRecheckThreads), new RecheckArguments
            {
                Rows = batch, Open = slot.Open.View, CandidateCounts = slot.CandidateCounts.View, Counters = slot.Counters.View, Candidates = slot.Candidates.View,
                Undecided = slot.Undecided.View, CodewordNorms = _largestNorms[index], Level = index,
            });
        }
        if (errors)
            _device.Kernel<EncodeRows, ArrayView<float>>(EncodeKernel.SquaredErrors)(stream, ((count + EncodeKernel.kErrorRows - 1) / EncodeKernel.kErrorRows, EncodeKernel.kErrorThreads), batch, slot.Errors.View);
        slot.End();
    }

    // Waits for a batch, hands its codes over, and lets the host decide what is left. Nothing where the slot is not at work.
    private EncodeReport Collect(Slot slot, RowView rows, Span<ushort> codes, Span<float> squaredErrors)
    {
        if (slot.Count == 0)
            return default;
        slot.Stream.Synchronize();
        int first = slot.First, count = slot.Count, levels = Plan.Levels;
        slot.Count = 0;
        ReadOnlySpan<int> counters = slot.CountersOnHost.Span, more = counters[levels..];
        int bad = more[(int)EncodeCounter.BadRow], undecided = more[(int)EncodeCounter.Undecided];
        if (bad != int.MaxValue)
            EncodeArguments.CheckFinite(rows[first + bad], first + bad);
        slot.CodesOnHost.Span[..(count * levels)].CopyTo(codes[(first * levels)..]);
        if (!squaredErrors.IsEmpty)
            slot.ErrorsOnHost.Span[..count].CopyTo(squaredErrors[first..]);
        long rechecked = 0;
        foreach (int open in counters[..levels])
            rechecked += open;
        var report = new EncodeReport(0, rechecked, more[(int)EncodeCounter.Candidates], 0);
        if (undecided == 0)
            return report;
        int[] left = new int[undecided];
        slot.Stream.Download(left.AsSpan(), slot.Undecided.View);
        return report + EncodeAgain([.. left.Distinct().Order().Select(row => first + row)], rows, codes, squaredErrors);
    }

    private EncodeReport EncodeAgain(int[] indices, RowView rows, Span<ushort> codes, Span<float> squaredErrors)
    {
        int d = Plan.Dimension, levels = Plan.Levels;
        using var left = new RowMatrix(indices.Length, d);
        for (int i = 0; i < indices.Length; i++)
            rows[indices[i]].CopyTo(left.Rows(i, 1));
        ushort[] again = new ushort[indices.Length * levels];
        float[] errors = new float[squaredErrors.IsEmpty ? 0 : indices.Length];
        EncodeReport report = _exact.Value.Encode(left.View(0, indices.Length), again, errors);
        for (int i = 0; i < indices.Length; i++)
        {
            again.AsSpan(i * levels, levels).CopyTo(codes[(indices[i] * levels)..]);
            if (errors.Length > 0)
                squaredErrors[indices[i]] = errors[i];
        }
        return new EncodeReport(0, 0, report.Candidates, report.Exact);
    }

    /// <summary>The buffers of a batch, and the stream on which it is copied in, encoded and copied back.</summary>
    private sealed class Slot : IDisposable
    {
        private readonly IlgpuEncoder _encoder;
        private readonly List<IDisposable> _owned = [];
        private bool _errors;

        public Slot(IlgpuEncoder encoder)
        {
            _encoder = encoder;
            IlgpuDevice device = encoder._device;
            int rows = encoder._batchRows, levels = encoder.Plan.Levels, d = encoder.Plan.Dimension, counters = levels + (int)EncodeCounter.Count;
            try
            {
                Stream = Own(device.Accelerator.CreateStream());
                ValuesOnHost = Own(device.Accelerator.AllocatePageLocked1D<float>((long)rows * d, uninitialized: true));
                Values = Own(device.Allocate<float>((long)rows * d));
                Operands = Own(device.Allocate<float>((long)rows * encoder._stride));
                RowErrors = Own(device.Allocate<double>(rows));
                Margins = Own(device.Allocate<float>(rows));
                Codes = Own(device.Allocate<ushort>((long)rows * levels));
                CodesOnHost = Own(device.Accelerator.AllocatePageLocked1D<ushort>((long)rows * levels, uninitialized: true));
                Errors = Own(device.Allocate<float>(rows));
                ErrorsOnHost = Own(device.Accelerator.AllocatePageLocked1D<float>(rows, uninitialized: true));
                Open = Own(device.Allocate<int>(rows));
                CandidateCounts = Own(device.Allocate<int>(rows));
                Candidates = Own(device.Allocate<ushort>((long)rows * EncodeKernel.kCandidates));
                Undecided = Own(device.Allocate<int>((long)rows * levels));
                Counters = Own(device.Allocate<int>(counters));
                CountersOnHost = Own(device.Accelerator.AllocatePageLocked1D<int>(counters, uninitialized: true));
            }
            catch
            {
                Dispose();
                throw;
            }
        }

        public AcceleratorStream Stream { get; } = null!;

        public PageLockedArray1D<float> ValuesOnHost { get; } = null!;

        public MemoryBuffer1D<float, Stride1D.Dense> Values { get; } = null!;

        public MemoryBuffer1D<float, Stride1D.Dense> Operands { get; } = null!;

        public MemoryBuffer1D<double, Stride1D.Dense> RowErrors { get; } = null!;

        public MemoryBuffer1D<float, Stride1D.Dense> Margins { get; } = null!;

        public MemoryBuffer1D<ushort, Stride1D.Dense> Codes { get; } = null!;

        public PageLockedArray1D<ushort> CodesOnHost { get; } = null!;

        public MemoryBuffer1D<float, Stride1D.Dense> Errors { get; } = null!;

        public PageLockedArray1D<float> ErrorsOnHost { get; } = null!;

        public MemoryBuffer1D<int, Stride1D.Dense> Open { get; } = null!;

        public MemoryBuffer1D<int, Stride1D.Dense> CandidateCounts { get; } = null!;

        public MemoryBuffer1D<ushort, Stride1D.Dense> Candidates { get; } = null!;

        public MemoryBuffer1D<int, Stride1D.Dense> Undecided { get; } = null!;

        public MemoryBuffer1D<int, Stride1D.Dense> Counters { get; } = null!;

        public PageLockedArray1D<int> CountersOnHost { get; } = null!;

        /// <summary>Rows of the batch at work; 0 where the stream rests.</summary>
        public int Count { get; set; }

        /// <summary>Its first row among the caller's.</summary>
        public int First { get; private set; }

        public void Begin(RowView rows, int first, bool errors, int threads)
        {
            int d = rows.Dimension, levels = _encoder.Plan.Levels;
            RowCopy.Copy(rows, ValuesOnHost.Span, d, threads);
            CountersOnHost.Span.Clear();
            CountersOnHost[levels + (int)EncodeCounter.BadRow] = int.MaxValue;
            Count = rows.Count;
            First = first;
            _errors = errors;
            Stream.Upload(Values.View, ValuesOnHost.Span[..(rows.Count * d)]);
            Stream.Upload<int>(Counters.View, CountersOnHost.Span);
        }

        public void End()
        {
            Stream.Download(CodesOnHost, Codes.View, Count * _encoder.Plan.Levels);
            if (_errors)
                Stream.Download(ErrorsOnHost, Errors.View, Count);
            Stream.Download(CountersOnHost, Counters.View, CountersOnHost.Span.Length);
        }

        public void Dispose()
        {
            try
            {
                if (Count > 0)
                    Stream.Synchronize();
            }
            catch (AcceleratorException)
            {
                // A device that is lost cannot be waited for; its memory is gone with it.
            }
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
