using MmeSid.Engine.Assignment;
using MmeSid.Engine.Embeddings;
using MmeSid.Engine.Quantization;
using MmeSid.Kernels;
using MmeSid.Kernels.Scalar;

namespace MmeSid.Engine.Tests.Assignment;

public sealed class AssignmentPipelineTests
{
    private const int kDimension = 40_000;
    private static readonly Quantizer s_quantizer = new(QuantizerKind.Vq, kDimension, [[.. Enumerable.Range(0, 3 * kDimension).Select(i => (float)(i / kDimension))]]);

    /// <summary>Rows so wide that a block holds few of them: many blocks, a ring that turns several times.</summary>
    [Theory]
    [InlineData(0)]
    [InlineData(1)]
    [InlineData(1900)]
    public void EveryRowArrivesOnceInOrder(int rows)
    {
        using var table = new StepTable(rows);
        using IQuantizerEncoder encoder = s_quantizer.CreateEncoder(new ScalarBackend());
        var codes = new List<ushort>();
        AssignmentReport report = AssignmentPipeline.Run(table, encoder, (first, block, errors) =>
        {
            Assert.Equal(codes.Count, first);
            Assert.Equal(block.Length, errors.Length);
            codes.AddRange(block);
        }, TestContext.Current.CancellationToken);
        Assert.Equal(Enumerable.Range(0, rows).Select(row => (ushort)(row % 3)), codes);
        Assert.Equal(rows, report.Rows);
        Assert.Equal(rows, report.Encoding.Decisions);
        Assert.Equal(0, report.SquaredError);
    }

    [Theory]
    [InlineData(true, 0)]
    [InlineData(true, 1)]
    [InlineData(true, 1901)]
    [InlineData(false, 700)]
    public void RowsOf16BitsTravelAsTheyAreWhereTheEncoderTakesThem(bool takes, int rows)
    {
        using var table = new NarrowStepTable(rows);
        using var encoder = new CountingEncoder(s_quantizer.CreateEncoder(new ScalarBackend()), takes);
        var codes = new List<ushort>();
        AssignmentReport report = AssignmentPipeline.Run(table, encoder, (_, block, _) => codes.AddRange(block), TestContext.Current.CancellationToken);
        Assert.Equal(Enumerable.Range(0, rows).Select(row => (ushort)(row % 3)), codes);
        Assert.Equal(0, report.SquaredError);
        Assert.Equal((takes ? rows : 0, takes ? 0 : rows), (encoder.NarrowRows, encoder.WideRows));
        Assert.Equal(takes ? rows : 0, table.NarrowRowsRead);
    }

    [Theory]
    [InlineData(0)]
    [InlineData(700)]
    [InlineData(1899)]
    public void AFailingReaderStopsEverything(int badRow)
    {
        using var table = new StepTable(1900, badRow);
        using IQuantizerEncoder encoder = s_quantizer.CreateEncoder(new ScalarBackend());
        var problem = Assert.Throws<InvalidDataException>(() => AssignmentPipeline.Run(table, encoder, (_, _, _) => { }, TestContext.Current.CancellationToken));
        Assert.Equal($"row {badRow} is bad", problem.Message);
    }

    [Fact]
    public void AFailingReceiverStopsEverything()
    {
        using var table = new StepTable(1900);
        using IQuantizerEncoder encoder = s_quantizer.CreateEncoder(new ScalarBackend());
        Assert.Throws<IOException>(() => AssignmentPipeline.Run(table, encoder, (first, _, _) => throw new IOException("disk full"), TestContext.Current.CancellationToken));
    }

    [Fact]
    public void CancellationEndsIt()
    {
        using var table = new StepTable(1900);
        using IQuantizerEncoder encoder = s_quantizer.CreateEncoder(new ScalarBackend());
        using var stop = new CancellationTokenSource();
        Assert.ThrowsAny<OperationCanceledException>(() => AssignmentPipeline.Run(table, encoder, (_, _, _) => stop.Cancel(), stop.Token));
    }

    [Fact]
    public void ARowThatCannotBeRotatedIsNamedInItsTable()
    {
        float half = MathF.Sqrt(0.5f);
        var quantizer = new Quantizer(QuantizerKind.Opq, 2, [[0, 0, 1, 1]], [half, half, -half, half]);
        var rows = new RowMatrix(3, 2);
        rows.Rows(2, 1).Fill(3e38f);
        using EmbeddingTable table = EmbeddingTable.FromRows(rows, ItemIds.Sequential(3), "vast");
        using IQuantizerEncoder encoder = quantizer.CreateEncoder(new ScalarBackend());
        var problem = Assert.Throws<InvalidDataException>(() => AssignmentPipeline.Run(table, encoder, (_, _, _) => { }, TestContext.Current.CancellationToken));
        Assert.Equal("vast: row 2 overflows float32 when it is rotated", problem.Message);
    }

    [Fact]
    public void AnotherDimensionIsRefused()
    {
        using EmbeddingTable table = EmbeddingTable.FromRows(new RowMatrix(2, 5), ItemIds.Sequential(2), "narrow");
        using IQuantizerEncoder encoder = s_quantizer.CreateEncoder(new ScalarBackend());
        Assert.Contains("narrow: rows have dimension 5", Assert.Throws<ArgumentException>(() => AssignmentPipeline.Run(table, encoder, (_, _, _) => { }, TestContext.Current.CancellationToken)).Message, StringComparison.Ordinal);
    }

    /// <summary>Row i is filled with i mod 3.</summary>
    private sealed class StepTable(long count, long badRow = -1) : EmbeddingTable
    {
        public override string Name => "steps";

        public override long Count { get; } = count;

        public override int Dimension => kDimension;

        public override ItemIds Items { get; } = ItemIds.Sequential(count);

        protected override void ReadRows(long firstRow, int rows, Span<float> destination)
        {
            for (int i = 0; i < rows; i++)
            {
                if (firstRow + i == badRow)
                    throw new InvalidDataException($"row {badRow} is bad");
                destination.Slice(i * kDimension, kDimension).Fill((firstRow + i) % 3);
            }
        }

        protected override void Dispose(bool disposing)
        {
        }
    }

    /// <summary>The same, stored as float16.</summary>
    private sealed class NarrowStepTable(long count) : EmbeddingTable
    {
        private int _narrowRowsRead;

        public int NarrowRowsRead => _narrowRowsRead;

        public override string Name => "steps";

        public override long Count { get; } = count;

        public override int Dimension => kDimension;

        public override ItemIds Items { get; } = ItemIds.Sequential(count);

        public override NarrowElement? Narrow => NarrowElement.Float16;

        protected override void ReadRows(long firstRow, int rows, Span<float> destination)
        {
            for (int i = 0; i < rows; i++)
                destination.Slice(i * kDimension, kDimension).Fill((firstRow + i) % 3);
        }

        protected override void ReadNarrowRows(long firstRow, int rows, Span<ushort> destination)
        {
            Interlocked.Add(ref _narrowRowsRead, rows);
            for (int i = 0; i < rows; i++)
                destination.Slice(i * kDimension, kDimension).Fill(BitConverter.HalfToUInt16Bits((Half)((firstRow + i) % 3)));
        }

        protected override void Dispose(bool disposing)
        {
        }
    }

    /// <summary>Counts the rows of each form that it is given.</summary>
    private sealed class CountingEncoder(IQuantizerEncoder inner, bool takesNarrowRows) : IQuantizerEncoder
    {
        public int WideRows { get; private set; }

        public int NarrowRows { get; private set; }

        public Quantizer Quantizer => inner.Quantizer;

        public int CallsAtOnce => inner.CallsAtOnce;

        public bool TakesNarrowRows => takesNarrowRows;

        public IDisposable? Pin(RowMatrix rows) => inner.Pin(rows);

        public EncodeReport Encode(RowView rows, Span<ushort> codes, Span<float> squaredErrors)
        {
            WideRows += rows.Count;
            return inner.Encode(rows, codes, squaredErrors);
        }

        public EncodeReport Encode(NarrowRows rows, Span<ushort> codes, Span<float> squaredErrors)
        {
            NarrowRows += rows.Count;
            return inner.Encode(rows, codes, squaredErrors);
        }

        public void Dispose() => inner.Dispose();
    }
}
