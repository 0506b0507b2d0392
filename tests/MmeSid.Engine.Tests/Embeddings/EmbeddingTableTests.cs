using System.Runtime.InteropServices;
using System.Security.Cryptography;
using System.Text;
using FsCheck;
using FsCheck.Fluent;
using MmeSid.Engine.Embeddings;
using MmeSid.Engine.Files;
using MmeSid.Kernels;

namespace MmeSid.Engine.Tests.Embeddings;

public sealed class EmbeddingTableTests : IDisposable
{
    private readonly ScratchFolder _folder = new();

    public void Dispose() => _folder.Dispose();

    private static float[] ReadAll(EmbeddingTable table)
    {
        var values = new float[table.Count * table.Dimension];
        table.Read(0, (int)table.Count, values);
        return values;
    }

    private static float[] ReadAll(string path)
    {
        using EmbeddingTable table = EmbeddingTable.Open(path);
        return ReadAll(table);
    }

    [Fact]
    public void Every_npy_type_is_rounded_once_to_float32()
    {
        Prop.ForAll<ulong, byte>((seed, size) =>
        {
            var random = new RandomSource(seed);
            int columns = 1 + size % 37, count = columns * (1 + random.NextInt(40));
            double[] wide = [.. Enumerable.Range(0, count).Select(_ => random.NextGaussian() * Math.Pow(10, random.NextInt(60) - 30))];
            Half[] half = [.. wide.Select(value => (Half)(value % 1000))];
            byte[] unsigned = [.. wide.Select(_ => (byte)random.NextInt(256))];
            sbyte[] signed = [.. wide.Select(_ => (sbyte)(random.NextInt(256) - 128))];
            Assert.Equal(wide.Select(value => (float)value), ReadAll(_folder.Matrix("f8.npy", columns, wide)));
            Assert.Equal(wide.Select(value => (float)value), ReadAll(_folder.Matrix("f4.npy", columns, [.. wide.Select(value => (float)value)])));
            Assert.Equal(half.Select(value => (float)value), ReadAll(_folder.Matrix("f2.npy", columns, half)));
            Assert.Equal(unsigned.Select(value => (float)value), ReadAll(_folder.Matrix("u1.npy", columns, unsigned)));
            Assert.Equal(signed.Select(value => (float)value), ReadAll(_folder.Matrix("i1.npy", columns, signed)));
        }).Check(Config.QuickThrowOnFailure.WithMaxTest(30));
    }

    [Fact]
    public void Ties_between_float32_neighbours_round_to_even()
    {
        double[] ties = [.. Enumerable.Range(0, 40).Select(i => 1 + (2 * i + 1) * Math.Pow(2, -24))];
        Assert.Equal(ties.Select(value => (float)value), ReadAll(_folder.Matrix("ties.npy", 8, ties)));
        Assert.Equal(1f, ReadAll(_folder.Matrix("ties.npy", 8, ties))[0]);
    }

    [Theory]
    [InlineData(float.NaN, "NaN")]
    [InlineData(float.PositiveInfinity, "infinity")]
    [InlineData(float.NegativeInfinity, "-infinity")]
    public void A_value_that_is_not_finite_is_named_by_row_and_column(float value, string name)
    {
        // Positions in every part of the vector loops, across read pieces, and in each type that can hold the value.
        foreach ((int columns, int rows, int bad) in new[] { (1, 1, 0), (5, 7, 34), (64, 3, 100), (101, 2000, 201_999), (101, 2000, 65_536), (768, 200, 77_777) })
        {
            var values = new float[columns * rows];
            values[bad] = value;
            string at = $"row {bad / columns}, column {bad % columns} is {name}, expected a finite number";
            string single = _folder.Matrix("x.npy", columns, values), wide = _folder.Matrix("w.npy", columns, Array.ConvertAll(values, v => (double)v)), half = _folder.Matrix("h.npy", columns, Array.ConvertAll(values, v => (Half)v));
            foreach (string path in (string[])[single, wide, half])
                Assert.Equal($"{path}: {at}", Assert.Throws<InvalidDataException>(() => ReadAll(path)).Message);
        }
    }

    [Fact]
    public void A_float64_beyond_float32_is_refused()
    {
        string path = _folder.Matrix("x.npy", 2, 1.0, 2.0, 3.0, -1e39);
        Assert.Equal($"{path}: row 1, column 1 is -1E+39, which overflows float32 (at most 3.4028235E+38)", Assert.Throws<InvalidDataException>(() => ReadAll(path)).Message);
        // The largest double that still rounds down to float.MaxValue.
        Assert.Equal([float.MaxValue], ReadAll(_folder.Matrix("y.npy", 1, 3.4028235677973362e38)));
    }

    [Fact]
    public void Values_stored_in_16_bits_can_be_read_as_they_are()
    {
        Half[] values = [.. Enumerable.Range(0, 700 * 201).Select(i => (Half)(i % 2048 - 1024))];
        ushort[] bits = Array.ConvertAll(values, BitConverter.HalfToUInt16Bits);
        foreach ((NarrowElement element, EmbeddingTable table) in new[]
        {
            (NarrowElement.Float16, EmbeddingTable.Open(_folder.Matrix("x.npy", 201, values))),
            (NarrowElement.Float16, EmbeddingTable.Open(Tensor("x.safetensors", ElementType.Float16, 201, bits))),
            (NarrowElement.BFloat16, EmbeddingTable.Open(Tensor("y.safetensors", ElementType.BFloat16, 201, bits))),
        })
        {
            using (table)
            {
                Assert.Equal(element, table.Narrow);
                foreach ((int first, int rows) in new[] { (0, 700), (0, 0), (699, 1), (13, 650) })
                {
                    var block = new ushort[rows * 201];
                    table.ReadNarrow(first, rows, block);
                    Assert.Equal(bits.AsSpan(first * 201, rows * 201).ToArray(), block);
                    var wide = new float[rows * 201];
                    table.Read(first, rows, wide);
                    Assert.Equal(wide, Array.ConvertAll(block, value => element.Widen(value)));
                }
                Assert.Throws<ArgumentOutOfRangeException>(() => table.ReadNarrow(699, 2, new ushort[402]));
                Assert.Throws<ArgumentException>(() => table.ReadNarrow(0, 1, new ushort[202]));
            }
        }
    }

    [Theory]
    [InlineData(ElementType.Float16, 0x7E00, "NaN")]
    [InlineData(ElementType.Float16, 0x7C00, "infinity")]
    [InlineData(ElementType.BFloat16, 0xFF80, "-infinity")]
    [InlineData(ElementType.BFloat16, 0x7FC0, "NaN")]
    public void A_stored_value_of_16_bits_that_is_not_finite_is_named_by_row_and_column(ElementType type, int value, string name)
    {
        foreach ((int columns, int rows, int bad) in new[] { (1, 1, 0), (5, 7, 34), (101, 2000, 201_999), (101, 2000, 131_072), (768, 200, 77_777) })
        {
            var bits = new ushort[columns * rows];
            bits[bad] = (ushort)value;
            using EmbeddingTable table = EmbeddingTable.Open(Tensor("x.safetensors", type, columns, bits));
            Assert.Equal($"{table.Name}: row {bad / columns}, column {bad % columns} is {name}, expected a finite number",
                Assert.Throws<InvalidDataException>(() => table.ReadNarrow(0, rows, new ushort[columns * rows])).Message);
            bits[bad] = (ushort)((type == ElementType.Float16 ? NarrowElement.Float16 : NarrowElement.BFloat16).Infinity() - 1);
            using EmbeddingTable finite = EmbeddingTable.Open(Tensor("y.safetensors", type, columns, bits));
            finite.ReadNarrow(0, rows, new ushort[columns * rows]);
        }
    }

    [Fact]
    public void Rows_are_handed_out_as_they_are_only_where_nothing_is_done_to_them()
    {
        string half = _folder.Matrix("h.npy", 2, (Half)1, (Half)2, (Half)3, (Half)4), single = _folder.Matrix<float>("s.npy", 2, 5, 6), more = _folder.Matrix("m.npy", 2, (Half)7, (Half)8);
        using (EmbeddingTable two = EmbeddingTable.Open([half, more], new EmbeddingOptions { SkipRows = 1 }))
        {
            Assert.Equal(NarrowElement.Float16, two.Narrow);
            var bits = new ushort[4];
            two.ReadNarrow(0, 2, bits);
            Assert.Equal([3f, 4, 7, 8], Array.ConvertAll(bits, value => NarrowElement.Float16.Widen(value)));
        }
        using (EmbeddingTable mixed = EmbeddingTable.Open([half, single]))
        {
            Assert.Null(mixed.Narrow);
            Assert.Throws<InvalidOperationException>(() => mixed.ReadNarrow(0, 1, new ushort[2]));
        }
        Assert.Equal(NarrowElement.Float16, Combined(normalize: false, 1, half));
        Assert.Null(Combined(normalize: true, 1, half));
        Assert.Null(Combined(normalize: false, 2, half));
        Assert.Null(Combined(normalize: false, 1, half, half));
        Assert.Null(Combined(normalize: false, 1, single));

        static NarrowElement? Combined(bool normalize, double weight, params string[] paths)
        {
            var parts = new Preprocessing([.. paths.Select(path => new TablePart(2, normalize, weight))]);
            using EmbeddingTable table = EmbeddingTable.Combine([.. paths.Select(EmbeddingTable.Open)], parts);
            if (table.Narrow is not null)
            {
                var bits = new ushort[2];
                table.ReadNarrow(1, 1, bits);
                Assert.Equal([3f, 4], Array.ConvertAll(bits, value => NarrowElement.Float16.Widen(value)));
            }
            return table.Narrow;
        }
    }

    private string Tensor(string name, ElementType type, int columns, ushort[] bits)
    {
        using FileStream stream = File.Create(_folder[name]);
        SafetensorsFile.Write(stream, [new SafetensorsTensor("x", type, [bits.Length / columns, columns], MemoryMarshal.AsBytes(bits.AsSpan()).ToArray())]);
        return _folder[name];
    }

    [Fact]
    public void Any_block_of_rows_can_be_read_from_any_thread()
    {
        float[] values = [.. Enumerable.Range(0, 1009 * 67).Select(i => (float)i)];
        using EmbeddingTable table = EmbeddingTable.Open(_folder.Matrix("x.npy", 67, values));
        Parallel.For(0, 200, i =>
        {
            int first = i * 5, rows = i % 9;
            var block = new float[rows * 67];
            table.Read(first, rows, block);
            Assert.Equal(values.AsSpan(first * 67, rows * 67).ToArray(), block);
        });
        table.Read(1009, 0, []);
        Assert.Throws<ArgumentOutOfRangeException>(() => table.Read(1008, 2, new float[134]));
        Assert.Throws<ArgumentException>(() => table.Read(0, 1, new float[68]));
    }

    [Fact]
    public void Several_files_are_one_table()
    {
        _folder.Matrix<float>("part-0.npy", 2, 1, 2, 3, 4);
        _folder.Matrix<float>("part-1.npy", 2);
        _folder.Matrix<double>("part-2.npy", 2, 5, 6);
        _folder.Matrix<Half>("part-3.npy", 2, (Half)7, (Half)8, (Half)9, (Half)10);
        using (EmbeddingTable table = EmbeddingTable.Open(_folder["part-?.npy"]))
        {
            Assert.Equal(5, table.Count);
            Assert.Equal([1f, 2, 3, 4, 5, 6, 7, 8, 9, 10], ReadAll(table));
            for (int first = 0; first < 5; first++)
            {
                for (int rows = 0; rows <= 5 - first; rows++)
                {
                    var block = new float[rows * 2];
                    table.Read(first, rows, block);
                    Assert.Equal(Enumerable.Range(first * 2 + 1, rows * 2).Select(value => (float)value), block);
                }
            }
            // The second file is empty: row 2 is the third file's first.
            Assert.Equal($"{_folder["part-2.npy"]}: row 0", table.Place(2));
            Assert.Equal($"{_folder["part-3.npy"]}: row 1", table.Place(4));
            Assert.Equal(["1", "2", "3", "4", "5"], table.Items);
        }
        using (EmbeddingTable skipped = EmbeddingTable.Open([_folder["part-0.npy"], _folder["part-3.npy"]], new EmbeddingOptions { SkipRows = 1 }))
        {
            Assert.Equal([3f, 4, 7, 8, 9, 10], ReadAll(skipped));
            Assert.Equal(["1", "2", "3"], skipped.Items);
            Assert.Equal($"{_folder["part-0.npy"]}: row 1", skipped.Place(0));
        }
        string wider = _folder.Matrix<float>("part-4.npy", 3, 1, 2, 3);
        Assert.Equal($"{wider}: rows have dimension 3, expected 2 as in {_folder["part-0.npy"]}", Assert.Throws<InvalidDataException>(() => EmbeddingTable.Open(_folder["part-*.npy"])).Message);
        Assert.Equal($"{_folder["none-*.npy"]}: no file matches", Assert.Throws<FileNotFoundException>(() => EmbeddingTable.Open(_folder["none-*.npy"])).Message);
        Assert.Equal($"{_folder["none.npy"]}: no such file", Assert.Throws<FileNotFoundException>(() => EmbeddingTable.Open(_folder["none.npy"])).Message);
        Assert.Equal($"{_folder["part-0.npy"]}: 3 rows should be skipped, the table has 2",
            Assert.Throws<InvalidDataException>(() => EmbeddingTable.Open([_folder["part-0.npy"]], new EmbeddingOptions { SkipRows = 3 })).Message);
        string unknown = _folder.Write("x.bin", "x");
        Assert.StartsWith($"{unknown}: unknown kind of file", Assert.Throws<InvalidDataException>(() => EmbeddingTable.Open(unknown)).Message);
    }

    [Fact]
    public void Vector_files_are_read_and_checked()
    {
        byte[] Row(int dimension, params float[] values) => [.. BitConverter.GetBytes(dimension), .. MemoryMarshal.AsBytes(values.AsSpan())];
        Assert.Equal([1f, 2, 3, 4], ReadAll(_folder.Write("x.fvecs", [.. Row(2, 1, 2), .. Row(2, 3, 4)])));
        string path = _folder.Write("x.fvecs", [.. Row(2, 1, 2), .. Row(1, 3, 4)]);
        Assert.Equal($"{path}: row 1 has dimension 1, expected 2 as in row 0", Assert.Throws<InvalidDataException>(() => ReadAll(path)).Message);
        path = _folder.Write("x.fvecs", [.. Row(2, 1, 2), .. Row(2, 3, float.NaN)]);
        Assert.Equal($"{path}: row 1, column 1 is NaN, expected a finite number", Assert.Throws<InvalidDataException>(() => ReadAll(path)).Message);
        path = _folder.Write("x.fvecs", Row(2, 1));
        Assert.Equal($"{path}: truncated: rows of dimension 2 take 12 bytes each, the file has 8, which is no multiple", Assert.Throws<InvalidDataException>(() => ReadAll(path)).Message);
        path = _folder.Write("x.fvecs", []);
        Assert.Equal($"{path}: has 0 bytes, so it holds no row and its dimension is unknown", Assert.Throws<InvalidDataException>(() => ReadAll(path)).Message);

        byte[] Head(int count, int dimension) => [.. BitConverter.GetBytes(count), .. BitConverter.GetBytes(dimension)];
        byte[] six = MemoryMarshal.AsBytes<float>([1, 2, 3, 4, 5, 6]).ToArray();
        Assert.Equal([1f, 2, 3, 4, 5, 6], ReadAll(_folder.Write("x.fbin", [.. Head(3, 2), .. six])));
        Assert.Empty(ReadAll(_folder.Write("x.fbin", Head(0, 5))));
        path = _folder.Write("x.fbin", [.. Head(4, 2), .. six]);
        Assert.Equal($"{path}: truncated: 4 rows of dimension 2 take 40 bytes, the file has 32", Assert.Throws<InvalidDataException>(() => ReadAll(path)).Message);
        path = _folder.Write("x.fbin", [.. Head(2, 2), .. six]);
        Assert.Equal($"{path}: too long: 2 rows of dimension 2 take 24 bytes, the file has 32", Assert.Throws<InvalidDataException>(() => ReadAll(path)).Message);
        path = _folder.Write("x.fbin", [.. Head(-1, 2), .. six]);
        Assert.Equal($"{path}: says it has -1 rows", Assert.Throws<InvalidDataException>(() => ReadAll(path)).Message);
    }

    [Fact]
    public void Items_come_from_a_file_of_ids()
    {
        string table = _folder.Matrix<float>("x.npy", 1, 0, 1, 2);
        string ids = _folder.Write("ids.txt", "b\na\n");
        using (EmbeddingTable named = EmbeddingTable.Open([table], new EmbeddingOptions { ItemsFile = ids, SkipRows = 1 }))
        {
            Assert.Equal(["b", "a"], named.Items);
            Assert.True(named.Items.TryFind("a", out long row));
            Assert.Equal(1, row);
            Assert.False(named.Items.TryFind("c", out _));
        }
        Assert.Equal($"{ids}: names 2 items, the table {table} has 3 rows", Assert.Throws<InvalidDataException>(() => EmbeddingTable.Open([table], new EmbeddingOptions { ItemsFile = ids })).Message);
        Assert.Equal($"{ids}: names 2 items, the table {table} has 1 rows after skipping 2",
            Assert.Throws<InvalidDataException>(() => EmbeddingTable.Open([table], new EmbeddingOptions { ItemsFile = ids, SkipRows = 2 })).Message);
        Assert.Throws<ArgumentException>(() => EmbeddingTable.Open([table], new EmbeddingOptions { ItemsFile = ids, IdColumn = "item" }));
    }

    [Fact]
    public void Fingerprints_are_those_of_the_values()
    {
        float[] values = [.. Enumerable.Range(0, 35).Select(i => i - 7.5f)];
        string expected = Convert.ToHexStringLower(SHA256.HashData([.. Encoding.ASCII.GetBytes("float32[7,5]\n"), .. MemoryMarshal.AsBytes(values.AsSpan())]));
        using EmbeddingTable single = EmbeddingTable.Open(_folder.Matrix("x.npy", 5, values));
        using EmbeddingTable half = EmbeddingTable.Open(_folder.Matrix("h.npy", 5, Array.ConvertAll(values, value => (Half)value)));
        using EmbeddingTable other = EmbeddingTable.Open(_folder.Matrix("o.npy", 7, values));
        Assert.Equal(expected, single.Fingerprint());
        Assert.Equal(expected, half.Fingerprint());
        Assert.NotEqual(expected, other.Fingerprint());
    }

    [Fact]
    public void A_matrix_in_memory_is_a_table()
    {
        var matrix = new RowMatrix(3, 2);
        matrix.Rows(1, 1).Fill(4);
        using EmbeddingTable table = EmbeddingTable.FromRows(matrix, ItemIds.FromStrings(["x", "y", "z"]), "made");
        Assert.Equal([0f, 0, 4, 4, 0, 0], ReadAll(table));
        using RowMatrix copy = table.ReadAll();
        Assert.Equal(ReadAll(table), copy.Rows(0, 3).ToArray());
        matrix.Rows(2, 1)[1] = float.NaN;
        Assert.Equal("made: row 2, column 1 is NaN, expected a finite number", Assert.Throws<InvalidDataException>(() => ReadAll(table)).Message);
        Assert.Throws<ArgumentException>(() => EmbeddingTable.FromRows(matrix, ItemIds.Sequential(2), "made"));
    }
}
