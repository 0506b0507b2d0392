using MmeSid.Engine.Assignment;
using MmeSid.Engine.Embeddings;
using MmeSid.Engine.Quantization;
using MmeSid.Kernels;
using MmeSid.Kernels.Scalar;
using MmeSid.Kernels.Simd;

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
        _shadow = _folder["x.shadow.npy"];
    }

    public static TheoryData<ShadowFormat> Formats() => [.. Enum.GetValues<ShadowFormat>()];

    public void Dispose() => _folder.Dispose();

    [Theory, MemberData(nameof(Formats))]
    public void The_shadow_is_the_rounding_of_the_rows(ShadowFormat format)
    {
        Make(format);
        using ShadowedTable table = Open();
        Assert.Equal(format, table.Format);
        int rowBytes = table.RowBytes;
        Assert.Equal(format == ShadowFormat.Float16 ? 2 * kDimension : kDimension + 8, rowBytes);
        var bytes = new byte[kRows * rowBytes];
        table.ReadShadow(0, kRows, bytes);
        byte[] expected = new byte[bytes.Length];
        for (int i = 0; i < kRows; i++)
            format.Round(_values.AsSpan(i * kDimension, kDimension), expected.AsSpan(i * rowBytes, rowBytes));
        Assert.Equal(expected, bytes);
        Assert.Equal(bytes, File.ReadAllBytes(_shadow)[^bytes.Length..]);
        var some = new byte[7 * rowBytes];
        table.ReadShadow(500, 7, some);
        Assert.Equal(bytes.AsSpan(500 * rowBytes, some.Length).ToArray(), some);
        var row = new float[kDimension];
        table.ReadMaster(17, bytes.AsSpan(17 * rowBytes, rowBytes), row);
        Assert.Equal(_values.AsSpan(17 * kDimension, kDimension).ToArray(), row);
        // Nobody may take it for the rows.
        Assert.Null(table.Narrow);
    }

    /// <summary>NumPy's own text for such records, so that numpy.load reads them.</summary>
    [Fact]
    public void The_head_is_numpys()
    {
        Make(ShadowFormat.Int8);
        string head = System.Text.Encoding.ASCII.GetString(File.ReadAllBytes(_shadow).AsSpan(10, 118));
        Assert.Equal("{'descr': [('step', '<f4'), ('error', '<f4'), ('values', '|i1', (1500,))], 'fortran_order': False, 'shape': (900,), }", head.TrimEnd());
        Make(ShadowFormat.Float16);
        head = System.Text.Encoding.ASCII.GetString(File.ReadAllBytes(_shadow).AsSpan(10, 118));
        Assert.StartsWith("{'descr': '<f2', 'fortran_order': False, 'shape': (900, 1500), }", head, StringComparison.Ordinal);
    }

    [Theory, MemberData(nameof(Formats))]
    public void The_pipeline_reads_the_shadow_where_the_encoder_takes_it_and_the_rows_elsewhere(ShadowFormat format)
    {
        Make(format);
        Quantizer quantizer = new(QuantizerKind.Vq, kDimension, [_values[..(20 * kDimension)]]);
        foreach (bool takes in (bool[])[true, false])
        {
            using ShadowedTable table = Open();
            using var encoder = new ShadowEncoder(quantizer.CreateEncoder(new ScalarBackend()), takes ? format : null);
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
            Assert.Equal(takes ? kRows : null, report.OpenRows);
        }
    }

    [Theory, MemberData(nameof(Formats))]
    public void Simd_reads_few_rows_behind_a_shadow_that_proves_codes(ShadowFormat format)
    {
        // Far-apart rows as codewords, and rows near them.
        const int rows = 400, d = 30;
        var random = new RandomSource(4);
        float[] codewords = [.. Enumerable.Range(0, 20 * d).Select(_ => (float)random.NextGaussian())];
        float[] values = [.. Enumerable.Range(0, rows * d).Select(i => codewords[i / d % 20 * d + i % d] + (float)(0.01 * random.NextGaussian()))];
        using EmbeddingTable master = EmbeddingTable.Open(_folder.Matrix("near.npy", d, values));
        string shadow = _folder["near.shadow.npy"];
        Make(master, shadow, format);
        using ShadowedTable table = ShadowedTable.Open(EmbeddingTable.Open(master.Files[0]), shadow);
        using IQuantizerEncoder encoder = new Quantizer(QuantizerKind.Vq, d, [codewords]).CreateEncoder(new SimdBackend(2));
        var codes = new List<ushort>();
        AssignmentReport report = AssignmentPipeline.Run(table, encoder, (_, block, _) => codes.AddRange(block), TestContext.Current.CancellationToken);
        Assert.Equal(Enumerable.Range(0, rows).Select(row => (ushort)(row % 20)), codes);
        Assert.Equal(0, report.OpenRows);
        Assert.True(double.IsNaN(report.SquaredError));
    }

    [Theory, MemberData(nameof(Formats))]
    public void A_shadow_of_other_rows_is_refused(ShadowFormat format)
    {
        Make(format);
        int rowBytes = format.RowBytes(kDimension);
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
            var shadow = new byte[kRows * rowBytes];
            Refused(() => table.ReadShadow(0, kRows, shadow), $"row {kRows - 1}, column {kDimension - 1} is", $"{_table}: row {kRows - 1} has");
            table.ReadShadow(0, kRows - 1, shadow.AsSpan(0, (kRows - 1) * rowBytes));
            shadow[format == ShadowFormat.Float16 ? 10 : 8 + 5] ^= 1;
            Refused(() => table.ReadMaster(0, shadow.AsSpan(0, rowBytes), new float[kDimension]), "row 0, column 5 is");
            if (format == ShadowFormat.Int8)
            {
                // Only the bound is another one.
                shadow[8 + 5] ^= 1;
                shadow[4] ^= 1;
                Refused(() => table.ReadMaster(0, shadow.AsSpan(0, rowBytes), new float[kDimension]), "row 0 is off by at most", $"{_table}: row 0 by");
            }
        }
        // With a note that says so, too, neither a cut file nor another kind passes.
        foreach ((byte[] content, string problem) in new[]
        {
            (bytes[..^1], $"truncated: shape ({kRows},"),
            ([.. bytes, 0], "too long: shape"),
            (File.ReadAllBytes(_table), "holds no shadow of 900 rows of dimension 1500"),
            (bytes[..50], "the head should take"),
        })
        {
            File.WriteAllBytes(_shadow, content);
            using (EmbeddingTable master = EmbeddingTable.Open(_table))
            using (FileStream note = File.Create(ShadowedTable.NotePath(_shadow)))
                ShadowedTable.WriteNote(master, _shadow, note);
            Assert.StartsWith($"{_shadow}: {problem}", Assert.Throws<InvalidDataException>(() => Open()).Message, StringComparison.Ordinal);
        }
        Make(format);

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
        Assert.Contains("16 bits already", Assert.Throws<InvalidDataException>(() => ShadowedTable.Write(half, ShadowFormat.Float16, Stream.Null, _ => { }, TestContext.Current.CancellationToken)).Message, StringComparison.Ordinal);
        using var shadow = new MemoryStream();
        ShadowedTable.Write(half, ShadowFormat.Int8, shadow, _ => { }, TestContext.Current.CancellationToken);
        Assert.Equal(9, shadow.Length % 64);
    }

    private ShadowedTable Open() => ShadowedTable.Open(EmbeddingTable.Open(_table), _shadow);

    private void Make(ShadowFormat format)
    {
        using EmbeddingTable master = EmbeddingTable.Open(_table);
        Make(master, _shadow, format);
    }

    private static void Make(EmbeddingTable master, string shadow, ShadowFormat format)
    {
        long rows = 0;
        using (FileStream stream = File.Create(shadow))
            ShadowedTable.Write(master, format, stream, written => rows += written, TestContext.Current.CancellationToken);
        Assert.Equal(master.Count, rows);
        using FileStream note = File.Create(ShadowedTable.NotePath(shadow));
        ShadowedTable.WriteNote(master, shadow, note);
    }

    /// <summary>Reads every row behind a shadow, as an encoder may.</summary>
    private sealed class ShadowEncoder(IQuantizerEncoder inner, ShadowFormat? takes) : IQuantizerEncoder
    {
        public int Shadows { get; private set; }

        public Quantizer Quantizer => inner.Quantizer;

        public int CallsAtOnce => 1;

        public bool TakesShadows(ShadowFormat format) => format == takes;

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
