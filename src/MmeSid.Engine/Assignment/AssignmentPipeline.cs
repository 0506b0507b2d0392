using System.Diagnostics;
using System.Runtime.InteropServices;
using MmeSid.Engine.Embeddings;
using MmeSid.Engine.Quantization;
using MmeSid.Kernels;

namespace MmeSid.Engine.Assignment;

/// <summary>Takes a block of assigned rows. Called for consecutive blocks in row order, never by two threads at once.</summary>
/// <param name="firstRow">Row of the block's first row.</param>
/// <param name="codes">[rows, L].</param>
/// <param name="squaredErrors">[rows], squared distance of each row to its reconstruction; empty where codes come from a shadow, which does not tell.</param>
public delegate void AssignedRows(long firstRow, ReadOnlySpan<ushort> codes, ReadOnlySpan<float> squaredErrors);

/// <summary>What an assignment took.</summary>
/// <param name="Rows">Rows assigned.</param>
/// <param name="Encoding">What certification cost.</param>
/// <param name="SquaredError">Sum over the rows of the squared distance to the reconstruction, added in row order in float64; NaN where codes come from a shadow.</param>
/// <param name="Elapsed">Wall time of the whole pipeline.</param>
/// <param name="KernelTime">Wall time inside the encoder, per call that it takes at once: what is left after reading and writing are hidden.</param>
public readonly record struct AssignmentReport(long Rows, EncodeReport Encoding, double SquaredError, TimeSpan Elapsed, TimeSpan KernelTime)
{
    /// <summary>What the fast pass calculated in, see <see cref="IQuantizerEncoder.Screen"/>; empty where that is not known.</summary>
    public string Screen { get; init; } = "";

    /// <summary>Rows that a shadow left open, and that were read from the table itself; null where no shadow was read.</summary>
    public long? OpenRows { get; init; }
}

/// <summary>
/// Rows of a table in, codes out, through a ring of bounded buffers: readers fill blocks, the encoder takes them in order, the receiver takes
/// codes in order, all three at the same time. Memory is 48 MB per slot whatever the length of the table. Values that a table stores in 16 bits
/// stay as they are on the whole way where the encoder takes them; of a table with a shadow, the shadow is read where the encoder takes that.
/// The result does not depend on timing or on the size of the machine.
/// </summary>
public static class AssignmentPipeline
{
    private const int kBytesPerBlock = 48 << 20;
    private const int kCoresPerReader = 8;
    private const int kMostReaders = 4;

    /// <summary>Assigns every row.</summary>
    /// <param name="table">[n, d], n ≥ 0; read once, from several threads.</param>
    /// <param name="encoder">The prepared quantizer, its <see cref="IQuantizerEncoder.Dimension"/> the table's d.</param>
    /// <param name="receive">Takes the codes.</param>
    /// <param name="cancellation">Ends the work between blocks.</param>
    /// <exception cref="ArgumentException">Table and encoder differ in dimension.</exception>
    /// <exception cref="InvalidDataException">A value of the table is not finite, or overflows float32 when its row is rotated or passes a network; file and row named.</exception>
    public static AssignmentReport Run(EmbeddingTable table, IQuantizerEncoder encoder, AssignedRows receive, CancellationToken cancellation = default)
    {
        ArgumentNullException.ThrowIfNull(table);
        ArgumentNullException.ThrowIfNull(encoder);
        ArgumentNullException.ThrowIfNull(receive);
        if (table.Dimension != encoder.Dimension)
            throw new ArgumentException($"{table.Name}: rows have dimension {table.Dimension}, the {(encoder.Quantizer.Kind.IsLearned() ? "encoder" : "quantizer")} has {encoder.Dimension}");
        long start = Stopwatch.GetTimestamp();
        using var ring = new Ring(table, encoder, receive, cancellation);
        AssignmentReport report = ring.Run();
        return report with { Elapsed = Stopwatch.GetElapsedTime(start) };
    }

    /// <summary>Block b lives in slot b mod S; each slot passes from reader to encoder to receiver and back.</summary>
    private sealed class Ring : IDisposable
    {
        private readonly EmbeddingTable _table;
        private readonly IQuantizerEncoder _encoder;
        private readonly AssignedRows _receive;
        private readonly CancellationTokenSource _stop;
        private readonly int _levels;
        private readonly NarrowElement? _narrow;
        private readonly ShadowedTable? _shadowed;
        private readonly int _rowsPerBlock;
        private readonly long _blocks;
        private readonly int _readers;
        private readonly int _encoders;
        private readonly Slot[] _slots;
        private long _openRows;

        public Ring(EmbeddingTable table, IQuantizerEncoder encoder, AssignedRows receive, CancellationToken cancellation)
        {
            (_table, _encoder, _receive) = (table, encoder, receive);
            _stop = CancellationTokenSource.CreateLinkedTokenSource(cancellation);
            _levels = encoder.Quantizer.Levels;
            _narrow = encoder.TakesNarrowRows ? table.Narrow : null;
            _shadowed = table is ShadowedTable shadowed && encoder.TakesShadows(shadowed.Format) ? shadowed : null;
            int rowBytes = _shadowed?.RowBytes ?? table.Dimension * (_narrow is null ? sizeof(float) : sizeof(ushort));
            int widest = Math.Max(rowBytes, _levels * sizeof(ushort));
            _rowsPerBlock = (int)Math.Max(1, Math.Min(kBytesPerBlock / widest, table.Count));
            _blocks = (table.Count + _rowsPerBlock - 1) / _rowsPerBlock;
            _readers = (int)Math.Min(_blocks, Math.Clamp(Environment.ProcessorCount / kCoresPerReader, 1, kMostReaders));
            _encoders = (int)Math.Min(_blocks, encoder.CallsAtOnce);
            _slots = new Slot[Math.Min(_blocks, _readers + _encoders + 1)];
            for (int s = 0; s < _slots.Length; s++)
                _slots[s] = new Slot(_rowsPerBlock, rowBytes, _levels, encoder);
        }

        public AssignmentReport Run()
        {
            var encoded = new (EncodeReport Report, TimeSpan Time)[_encoders];
            double squaredError = 0;
            Task[] tasks =
            [
                .. Enumerable.Range(0, _readers).Select(reader => Start(() => Read(reader))),
                .. Enumerable.Range(0, _encoders).Select(encoder => Start(() => encoded[encoder] = Encode(encoder))),
                Start(() => squaredError = Receive()),
            ];
            try
            {
                Task.WaitAll(tasks);
            }
            catch (AggregateException many)
            {
                // A failed stage stops the others; their cancellation is not what went wrong.
                Exception first = many.InnerExceptions.FirstOrDefault(inner => inner is not OperationCanceledException) ?? many.InnerExceptions[0];
                System.Runtime.ExceptionServices.ExceptionDispatchInfo.Throw(first);
            }
            EncodeReport report = encoded.Aggregate(default(EncodeReport), (sum, part) => sum + part.Report);
            TimeSpan time = encoded.Aggregate(TimeSpan.Zero, (sum, part) => sum + part.Time) / Math.Max(1, _encoders);
            return new AssignmentReport(_table.Count, report, squaredError, default, time) { Screen = _encoder.Screen, OpenRows = _shadowed is null ? null : _openRows };
        }

        private Task Start(Action stage) => Task.Factory.StartNew(() =>
        {
            try
            {
                stage();
            }
            catch
            {
                _stop.Cancel();
                throw;
            }
        }, CancellationToken.None, TaskCreationOptions.LongRunning, TaskScheduler.Default);

        private void Read(int reader)
        {
            for (long block = reader; block < _blocks; block += _readers)
            {
                Slot slot = _slots[block % _slots.Length];
                slot.Free.Wait(_stop.Token);
                int rows = RowsOf(block);
                if (_shadowed is not null)
                    _shadowed.ReadShadow(block * _rowsPerBlock, rows, slot.Bytes(rows));
                else if (_narrow is null)
                    _table.Read(block * _rowsPerBlock, rows, slot.Values(rows));
                else
                    _table.ReadNarrow(block * _rowsPerBlock, rows, slot.Bits(rows));
                slot.Filled.Release();
            }
        }

        private (EncodeReport Report, TimeSpan Time) Encode(int encoder)
        {
            (EncodeReport report, TimeSpan time) = (default(EncodeReport), TimeSpan.Zero);
            for (long block = encoder; block < _blocks; block += _encoders)
            {
                Slot slot = _slots[block % _slots.Length];
                slot.Filled.Wait(_stop.Token);
                int rows = RowsOf(block);
                long start = Stopwatch.GetTimestamp();
                try
                {
                    report += Encode(slot, block * _rowsPerBlock, rows);
                }
                catch (UnfitRowException unfit)
                {
                    throw new InvalidDataException($"{_table.Place(block * _rowsPerBlock + unfit.Row)} {unfit.Problem}", unfit);
                }
                time += Stopwatch.GetElapsedTime(start);
                slot.Coded.Release();
            }
            return (report, time);
        }

        private EncodeReport Encode(Slot slot, long firstRow, int rows)
        {
            int d = _table.Dimension;
            Span<ushort> codes = slot.Codes.AsSpan(0, rows * _levels);
            Span<float> errors = slot.SquaredErrors.AsSpan(0, rows);
            if (_shadowed is not null)
            {
                int rowBytes = _shadowed.RowBytes;
                return _encoder.EncodeShadow(new ShadowRows(slot.Bytes(rows), d, _shadowed.Format), (row, destination) =>
                {
                    Interlocked.Increment(ref _openRows);
                    _shadowed.ReadMaster(firstRow + row, slot.Bytes(rows).Slice(row * rowBytes, rowBytes), destination);
                }, codes);
            }
            return _narrow is { } element
                ? _encoder.Encode(new NarrowRows(slot.Bits(rows), d, element), codes, errors)
                : _encoder.Encode(new RowView(slot.Values(rows), d), codes, errors);
        }

        private double Receive()
        {
            double sum = _shadowed is null ? 0 : double.NaN;
            for (long block = 0; block < _blocks; block++)
            {
                Slot slot = _slots[block % _slots.Length];
                slot.Coded.Wait(_stop.Token);
                int rows = RowsOf(block);
                Span<float> errors = slot.SquaredErrors.AsSpan(0, _shadowed is null ? rows : 0);
                foreach (float error in errors)
                    sum += error;
                _receive(block * _rowsPerBlock, slot.Codes.AsSpan(0, rows * _levels), errors);
                slot.Free.Release();
            }
            return sum;
        }

        private int RowsOf(long block) => (int)Math.Min(_rowsPerBlock, _table.Count - block * _rowsPerBlock);

        public void Dispose()
        {
            foreach (Slot slot in _slots)
                slot.Dispose();
            _stop.Dispose();
        }
    }

    private sealed class Slot : IDisposable
    {
        private readonly RowMatrix _rows;
        private readonly int _rowBytes;
        private readonly IDisposable? _pin;

        public Slot(int rows, int rowBytes, int levels, IQuantizerEncoder encoder)
        {
            _rowBytes = rowBytes;
            _rows = new RowMatrix(((long)rows * rowBytes + sizeof(float) - 1) / sizeof(float), 1);
            Codes = new ushort[rows * levels];
            SquaredErrors = new float[rows];
            _pin = encoder.Pin(_rows);
        }

        public Span<byte> Bytes(int rows) => MemoryMarshal.AsBytes(_rows.Rows(0, (int)_rows.Count))[..(rows * _rowBytes)];

        public Span<float> Values(int rows) => MemoryMarshal.Cast<byte, float>(Bytes(rows));

        public Span<ushort> Bits(int rows) => MemoryMarshal.Cast<byte, ushort>(Bytes(rows));

        public ushort[] Codes { get; }

        public float[] SquaredErrors { get; }

        public SemaphoreSlim Free { get; } = new(1);

        public SemaphoreSlim Filled { get; } = new(0);

        public SemaphoreSlim Coded { get; } = new(0);

        public void Dispose()
        {
            _pin?.Dispose();
            _rows.Dispose();
            Free.Dispose();
            Filled.Dispose();
            Coded.Dispose();
        }
    }
}
