using FsCheck;
using FsCheck.Fluent;
using MmeSid.Engine.Embeddings;
using MmeSid.Engine.Files;

namespace MmeSid.Engine.Tests.Files;

public sealed class NpyFileTests : IDisposable
{
    private readonly ScratchFolder _folder = new();

    public void Dispose() => _folder.Dispose();

    [Fact]
    public void Bytes_are_what_numpy_writes()
    {
        using var stream = new MemoryStream();
        NpyFile.Write<float>(stream, [1, 2, 3, 4, 5, 6], 3, 2);
        // numpy.lib.format.write_array of the same array: 128 bytes of head, then the values.
        string head = "{'descr': '<f4', 'fortran_order': False, 'shape': (3, 2), }".PadRight(128 - 10 - 1) + "\n";
        Assert.Equal([0x93, .. "NUMPY"u8, 1, 0, 118, 0, .. System.Text.Encoding.ASCII.GetBytes(head)], stream.ToArray()[..128]);
        Assert.Equal(128 + 24, stream.Length);
    }

    [Theory, InlineData(1), InlineData(2), InlineData(3)]
    public void Every_version_is_read(int version)
    {
        string path = _folder.Write("x.npy", Npy.Bytes<ushort>("<u2", "(1, 3)", [7, 8, 9], version));
        NpyArray<ushort> array = NpyFile.Read<ushort>(path);
        Assert.Equal([1, 3], array.Shape);
        Assert.Equal([7, 8, 9], array.Values);
    }

    [Theory]
    [InlineData("{\"shape\":(2,),\"fortran_order\":False,\"descr\":\"|u1\"}")]
    [InlineData("  {'shape' : (2L,), 'descr': '|u1' , 'fortran_order':False }   ")]
    [InlineData("{'descr': 'u1', 'fortran_order': False, 'shape': (2),}")]
    public void Other_spellings_of_the_dictionary_are_read(string dictionary)
        => Assert.Equal([1, 2], NpyFile.Read<byte>(_folder.Write("x.npy", Npy.Raw(dictionary, [1, 2]))).Values);

    [Fact]
    public void A_streamed_matrix_equals_one_written_at_once()
    {
        using var whole = new MemoryStream();
        using var streamed = new MemoryStream();
        int[] values = [.. Enumerable.Range(0, 35)];
        NpyFile.Write<int>(whole, values, 7, 5);
        var writer = new NpyWriter<int>(streamed, 7, 5);
        writer.Write(values.AsSpan(0, 5));
        Assert.Throws<InvalidOperationException>(writer.Complete);
        writer.Write(values.AsSpan(5));
        writer.Complete();
        Assert.Equal(whole.ToArray(), streamed.ToArray());
        Assert.Throws<ArgumentException>(() => writer.Write([1]));
        Assert.Throws<ArgumentException>(() => NpyFile.Write<int>(whole, values, 7, 6));
    }

    [Fact]
    public void Values_come_back_for_every_type_and_shape()
    {
        RoundTrip<float>();
        RoundTrip<double>();
        RoundTrip<byte>();
        RoundTrip<sbyte>();
        RoundTrip<ushort>();
        RoundTrip<long>();
        RoundTrip<Half>(value => (Half)(float)value.NextGaussian());
    }

    private void RoundTrip<T>(Func<RandomSource, T>? make = null)
        where T : unmanaged
    {
        Prop.ForAll<byte, byte, ulong>((rows, columns, seed) =>
        {
            var random = new RandomSource(seed);
            var values = new T[rows % 20 * (columns % 20)];
            if (make is null)
            {
                foreach (ref byte b in System.Runtime.InteropServices.MemoryMarshal.AsBytes(values.AsSpan()))
                    b = (byte)random.NextInt(256);
            }
            else
            {
                for (int i = 0; i < values.Length; i++)
                    values[i] = make(random);
            }
            using (FileStream stream = File.Create(_folder["x.npy"]))
                NpyFile.Write<T>(stream, values, rows % 20, columns % 20);
            NpyArray<T> array = NpyFile.Read<T>(_folder["x.npy"]);
            return array.Shape.SequenceEqual([rows % 20, columns % 20])
                && System.Runtime.InteropServices.MemoryMarshal.AsBytes(values.AsSpan()).SequenceEqual(System.Runtime.InteropServices.MemoryMarshal.AsBytes(array.Values.AsSpan()));
        }).Check(Config.QuickThrowOnFailure.WithMaxTest(50));
    }

    [Theory]
    [InlineData("{'descr': '>f4', 'fortran_order': False, 'shape': (1, 1), }", "values are big-endian (>f4), expected little-endian")]
    [InlineData("{'descr': '|O', 'fortran_order': False, 'shape': (1, 1), }", "holds Python objects, expected numbers")]
    [InlineData("{'descr': [('a', '<f4')], 'fortran_order': False, 'shape': (1,), }", "holds a structured array, expected plain numbers")]
    [InlineData("{'descr': '<c8', 'fortran_order': False, 'shape': (1, 1), }", "values of type '<c8', expected f2, f4, f8 or an integer type")]
    [InlineData("{'descr': '<f4', 'fortran_order': True, 'shape': (1, 1), }", "values are in Fortran (column) order, expected C (row) order; save it with numpy.ascontiguousarray")]
    [InlineData("{'descr': '<f4', 'fortran_order': False, 'shape': (1,), }", "the array has 1 dimensions ((1,)), expected 2: rows and columns")]
    [InlineData("{'descr': '<f4', 'fortran_order': True, 'shape': (1,), }", "the array has 1 dimensions ((1,)), expected 2: rows and columns")]
    [InlineData("{'descr': '<f4', 'fortran_order': False, 'shape': (), }", "the array has 0 dimensions (()), expected 2: rows and columns")]
    [InlineData("{'descr': '<f4', 'fortran_order': False, 'shape': (1, 1, 1), }", "the array has 3 dimensions ((1, 1, 1)), expected 2: rows and columns")]
    [InlineData("{'descr': '<i4', 'fortran_order': False, 'shape': (1, 1), }", "values are Int32, expected float16, float32, float64, uint8 or int8")]
    [InlineData("{'descr': '<f4', 'fortran_order': False, 'shape': (2, 1), }", "truncated: shape (2, 1) of Float32 takes 8 bytes, the file holds 4")]
    [InlineData("{'descr': '<f2', 'fortran_order': False, 'shape': (1, 1), }", "too long: shape (1, 1) of Float16 takes 2 bytes, the file holds 4")]
    [InlineData("{'descr': '<f4', 'fortran_order': False, 'shape': (9223372036854775807, 9223372036854775807), }", "shape (9223372036854775807, 9223372036854775807) is too large")]
    [InlineData("{'descr': '<f4', 'fortran_order': False, 'shape': (99999999999999999999, 1), }", "the head of the .npy format has a shape that is no tuple of sizes")]
    [InlineData("{'descr': '<f4', 'fortran_order': False, 'shape': (-1, 1), }", "the head of the .npy format has a shape that is no tuple of sizes")]
    [InlineData("{'descr': '<f4', 'fortran_order': False, }", "the head of the .npy format lacks shape")]
    [InlineData("{'descr': '<f4', 'fortran_order': 0, 'shape': (1, 1), }", "the head of the .npy format has a fortran_order that is neither True nor False")]
    [InlineData("{'descr': '<f4', 'fortran_order': False, 'shape': (1, 1), 'extra': 1}", "the head of the .npy format has the unexpected key 'extra'")]
    [InlineData("{'descr': '<f4', 'fortran_order': False, 'shape': (1, 1), } x", "the head of the .npy format goes on after its closing brace")]
    [InlineData("[1]", "the head of the .npy format lacks '{' at character 0")]
    public void A_table_that_is_not_one_is_refused(string dictionary, string message)
    {
        string path = _folder.Write("x.npy", Npy.Raw(dictionary, [0, 0, 0, 0]));
        Assert.Equal($"{path}: {message}", Assert.Throws<InvalidDataException>(() => EmbeddingTable.Open(path)).Message);
    }

    [Theory]
    [InlineData("(0, 0)", "rows have dimension 0, expected 1 to 1048576")]
    [InlineData("(0, 1048577)", "rows have dimension 1048577, expected 1 to 1048576")]
    [InlineData("(0, 9223372036854775807)", "shape (0, 9223372036854775807) is too large")]
    public void An_impossible_dimension_is_refused_even_without_rows(string shape, string message)
    {
        string path = _folder.Write("x.npy", Npy.Bytes<float>("<f4", shape, []));
        Assert.Equal($"{path}: {message}", Assert.Throws<InvalidDataException>(() => EmbeddingTable.Open(path)).Message);
    }

    [Fact]
    public void A_head_longer_than_the_file_or_than_any_real_one_is_refused_before_it_is_allocated()
    {
        byte[] huge = [0x93, .. "NUMPY"u8, 2, 0, 0xFF, 0xFF, 0xFF, 0xFF, (byte)'{'];
        string path = _folder.Write("x.npy", huge);
        Assert.Equal($"{path}: the head should take 4294967295 bytes, the file has 1 left", Assert.Throws<InvalidDataException>(() => NpyFile.ReadHeader(path)).Message);
        using (FileStream sparse = File.OpenWrite(path))
            sparse.SetLength(5L << 30);
        Assert.Equal($"{path}: the head takes 4294967295 bytes, at most 1048576 are expected", Assert.Throws<InvalidDataException>(() => NpyFile.ReadHeader(path)).Message);
    }

    [Fact]
    public void Another_type_or_order_than_asked_is_refused()
    {
        string path = _folder.Matrix<float>("x.npy", 2, 1, 2);
        Assert.Equal($"{path}: values are Float32, expected UInt16", Assert.Throws<InvalidDataException>(() => NpyFile.Read<ushort>(path)).Message);
        path = _folder.Write("f.npy", Npy.Bytes<ushort>("<u2", "(2, 2)", [1, 2, 3, 4], fortran: true));
        Assert.Contains("Fortran", Assert.Throws<InvalidDataException>(() => NpyFile.Read<ushort>(path)).Message);
    }
}
