using MmeSid.Engine.Assignment;
using MmeSid.Engine.Embeddings;
using MmeSid.Engine.Quantization;
using MmeSid.Kernels;
using MmeSid.Kernels.Scalar;

namespace MmeSid.Engine.Tests.Embeddings;

public sealed class ShadowedTableTests : IDisposable
{
    private const int kRows = 900, kDimension = 1500;
    private readonly ScratchFolder _folder = new();
    private readonly string _table, _shadow;
    private readonly float[] _values;

    public ShadowedTableTests()
    {
        var random = new RandomSource(3);
        _values = [.. Enumerable.Range(0, kRows * kDimension).Select(_ => (float)(random.NextGaussian() * Math.Pow(10, random.NextInt(15) - 9)))];
        _table = _folder.Matrix("x.npy", kDimension, _values);
        _shadow = _folder["x.f16.npy"];
        Make();
    }

    public void Dispose() => _folder.Dispose();

    [Fact]
    public void The_shadow_is_the_rounding_of_the_rows()
    {
        using ShadowedTable table = Open();
        var bits = new ushort[kRows * kDimension];
        table.ReadShadow(0, kRows, bits);
        Assert.Equal(Array.ConvertAll(_values, value => BitConverter.HalfToUInt16Bits((Half)value)), bits);
        Assert.Contains(bits, value => value is 0x7C00 or 0xFC00);
        var some = new ushort[7 * kDimension];
        table.ReadShadow(500, 7, some);
        Assert.Equal(bits.AsSpan(500 * kDimension, some.Length).ToArray(), some);
        var row = new float[kDimension];
        table.ReadMaster(17, bits.AsSpan(17 * kDimension, kDimension), row);
        Assert.Equal(_values.AsSpan(17 * kDimension, kDimension).ToArray(), row);
        // Nobody may take it for the rows.
        Assert.Null(table.Narrow);
    }

    [Fact]
    public void The_pipeline_reads_the_shadow_where_the_encoder_takes_it_and_the_rows_elsewhere()
    {
        Quantizer quantizer = new(QuantizerKind.Vq, kDimension, [_values[..(20 * kDimension)]]);
        foreach (bool takes in (bool[])[true, false])
        {
            using ShadowedTable table = Open();
            using var encoder = new ShadowEncoder(quantizer.CreateEncoder(new ScalarBackend()), takes);
            var codes = new List<ushort>();
            AssignmentReport report = AssignmentPipeline.Run(table, encoder, (first, block, errors) =>
            {
                Assert.Equal(codes.Count, first);
                Assert.Equal(takes ? 0 : block.Length, errors.Length);
                codes.AddRange(block);
            }, TestContext.Current.CancellationToken);
            Assert.Equal(Enumerable.Range(0, 20).Select(code => (ushort)code), codes.Take(20));
            Assert.Equal(kRows, codes.Count);
            Assert.Equal(takes, double.IsNaN(report.SquaredError));
            Assert.Equal(takes ? kRows : 0, encoder.Shadows);
        }
    }

    [Fact]
    public void A_shadow_of_other_rows_is_refused()
    {
        DateTime changed = File.GetLastWriteTimeUtc(_table);
        File.SetLastWriteTimeUtc(_table, changed.AddSeconds(1));
        Refused(() => Open().Dispose(), $"{_table} has changed since it was made of x.npy");
        File.SetLastWriteTimeUtc(_table, changed);
        Open().Dispose();

        changed = File.GetLastWriteTimeUtc(_shadow);
        byte[] bytes = File.ReadAllBytes(_shadow);
        File.WriteAllBytes(_shadow, bytes);
        Refused(() => Open().Dispose(), $"{_shadow} has changed since");
        // Changed behind the system's back: the last row of a block is compared, and every row that is read itself.
        bytes[^1] ^= 1;
        File.WriteAllBytes(_shadow, bytes);
        File.SetLastWriteTimeUtc(_shadow, changed);
        using (ShadowedTable table = Open())
        {
            var bits = new ushort[kRows * kDimension];
            Refused(() => table.ReadShadow(0, kRows, bits), $"row {kRows - 1}, column {kDimension - 1} is", $"{_table}: row {kRows - 1} has");
            table.ReadShadow(0, kRows - 1, bits.AsSpan(0, (kRows - 1) * kDimension));
            bits[5] ^= 1;
            Refused(() => table.ReadMaster(0, bits.AsSpan(0, kDimension), new float[kDimension]), "row 0, column 5 is");
        }

        using (EmbeddingTable other = EmbeddingTable.Open([_table], new EmbeddingOptions { SkipRows = 1 }))
            Refused(() => ShadowedTable.Open(other, _shadow), $"it was made of {kRows} rows of dimension {kDimension}, {_table} has {kRows - 1} of {kDimension}");
        File.WriteAllText(ShadowedTable.NotePath(_shadow), "{}");
        Assert.Contains("is no note of a shadow", Assert.Throws<InvalidDataException>(() => Open()).Message, StringComparison.Ordinal);
        File.Delete(ShadowedTable.NotePath(_shadow));
        Assert.Contains("make both with 'mmesid shadow'", Assert.Throws<FileNotFoundException>(() => Open()).Message, StringComparison.Ordinal);

        static void Refused(Action action, params string[] fragments)
        {
            string message = Assert.Throws<InvalidDataException>(action).Message;
            Assert.Contains("make it again with 'mmesid shadow'", message, StringComparison.Ordinal);
            Assert.All(fragments, fragment => Assert.Contains(fragment, message, StringComparison.Ordinal));
        }
    }

    [Fact]
    public void Values_of_16_bits_need_no_shadow()
    {
        using EmbeddingTable half = EmbeddingTable.Open(_folder.Matrix("h.npy", 1, (Half)1));
        Assert.Contains("16 bits already", Assert.Throws<InvalidDataException>(() => ShadowedTable.Write(half, Stream.Null, _ => { }, TestContext.Current.CancellationToken)).Message, StringComparison.Ordinal);
    }

    private ShadowedTable Open() => ShadowedTable.Open(EmbeddingTable.Open(_table), _shadow);

    private void Make()
    {
        using EmbeddingTable master = EmbeddingTable.Open(_table);
        long rows = 0;
        using (FileStream stream = File.Create(_shadow))
            ShadowedTable.Write(master, stream, written => rows += written, TestContext.Current.CancellationToken);
        Assert.Equal(kRows, rows);
        using FileStream note = File.Create(ShadowedTable.NotePath(_shadow));
        ShadowedTable.WriteNote(master, _shadow, note);
    }

    /// <summary>Reads every row behind a shadow, as an encoder may.</summary>
    private sealed class ShadowEncoder(IQuantizerEncoder inner, bool takes) : IQuantizerEncoder
    {
        public int Shadows { get; private set; }

        public Quantizer Quantizer => inner.Quantizer;

        public int CallsAtOnce => 1;

        public bool TakesShadows(ShadowFormat format) => takes;

        public IDisposable? Pin(RowMatrix rows) => null;

        public EncodeReport Encode(RowView rows, Span<ushort> codes, Span<float> squaredErrors) => inner.Encode(rows, codes, squaredErrors);

        public EncodeReport EncodeShadow(ShadowRows shadow, ReadRow readRow, Span<ushort> codes)
        {
            Shadows += shadow.Count;
            using var rows = new RowMatrix(shadow.Count, shadow.Dimension);
            for (int row = 0; row < shadow.Count; row++)
                readRow(row, rows.Rows(row, 1));
            return inner.Encode(rows.View(0, shadow.Count), codes);
        }

        public void Dispose() => inner.Dispose();
    }
}
