using System.Buffers.Binary;
using System.Runtime.InteropServices;
using System.Text;
using FsCheck;
using FsCheck.Fluent;
using MmeSid.Engine.Files;

namespace MmeSid.Engine.Tests.Files;

public sealed class GgufFileTests : IDisposable
{
    private readonly ScratchFolder _folder = new();

    public void Dispose() => _folder.Dispose();

    [Fact]
    public void Bytes_are_those_of_the_format()
    {
        using var stream = new MemoryStream();
        GgufWriter.Write(stream, new GgufMetadata { ["n"] = 7u, ["t"] = new[] { "a", "bc" } }, [GgufWriter.Singles("w", [1, 2], 2, 1), GgufWriter.Singles("b", [3], 1)]);
        using var expected = new MemoryStream();
        using (var binary = new BinaryWriter(expected, Encoding.UTF8, leaveOpen: true))
        {
            binary.Write("GGUF"u8);
            binary.Write(3);
            binary.Write(2L);
            binary.Write(2L);
            Text("n");
            binary.Write(4);
            binary.Write(7);
            Text("t");
            binary.Write(9);
            binary.Write(8);
            binary.Write(2L);
            Text("a");
            Text("bc");
            Text("w");
            binary.Write(2);
            // Innermost first.
            binary.Write(1L);
            binary.Write(2L);
            binary.Write(0);
            binary.Write(0L);
            Text("b");
            binary.Write(1);
            binary.Write(1L);
            binary.Write(0);
            binary.Write(32L);
            Align();
            binary.Write(1f);
            binary.Write(2f);
            Align();
            binary.Write(3f);
            Align();

            void Text(string text)
            {
                binary.Write((long)text.Length);
                binary.Write(Encoding.ASCII.GetBytes(text));
            }

            void Align()
            {
                binary.Flush();
                while (expected.Length % 32 != 0)
                    binary.Write((byte)0);
            }
        }
        Assert.Equal(expected.ToArray(), stream.ToArray());
    }

    [Fact]
    public void Metadata_and_tensors_come_back()
    {
        Prop.ForAll<ulong>(seed =>
        {
            var random = new RandomSource(seed);
            float[] values = [.. Enumerable.Range(0, 6).Select(_ => (float)random.NextGaussian())];
            Half[] halves = [.. values.Select(value => (Half)value)];
            ushort[] brain = [.. values.Select(value => (ushort)(BitConverter.SingleToUInt32Bits(value) >> 16))];
            var metadata = new GgufMetadata
            {
                ["a"] = (byte)1,
                ["b"] = (sbyte)-1,
                ["c"] = (ushort)2,
                ["d"] = (short)-2,
                ["e"] = 3u,
                ["f"] = -3,
                ["g"] = 4UL,
                ["h"] = -4L,
                ["i"] = 0.5f,
                ["j"] = -0.25,
                ["k"] = true,
                ["l"] = "ä€𝄞",
                ["m"] = new string('x', 100_000),
                ["A"] = new byte[] { 1, 2 },
                ["B"] = new sbyte[] { -1 },
                ["C"] = new ushort[] { 2 },
                ["D"] = new short[] { -2 },
                ["E"] = new[] { 3u },
                ["F"] = new[] { -3, 5 },
                ["G"] = new[] { 4UL },
                ["H"] = new[] { -4L },
                ["I"] = new[] { 0.5f },
                ["J"] = new[] { -0.25 },
                ["K"] = new[] { true, false },
                ["L"] = new[] { "", "é" },
                ["M"] = Array.Empty<string>(),
            };
            if (seed % 2 == 1)
                metadata[GgufFile.AlignmentKey] = 1u << random.NextInt(10);
            using (FileStream stream = File.Create(_folder["x.gguf"]))
            {
                GgufWriter.Write(stream, metadata,
                [
                    GgufWriter.Singles("single", values, 2, 3),
                    (new GgufTensor("half", GgufTensorType.F16, [3, 2]), MemoryMarshal.AsBytes(halves.AsSpan()).ToArray()),
                    (new GgufTensor("brain", GgufTensorType.BF16, [1, 1, 6]), MemoryMarshal.AsBytes(brain.AsSpan()).ToArray()),
                    GgufWriter.Singles("scalar", [0.5f]),
                ]);
            }
            using GgufFile file = GgufFile.Open(_folder["x.gguf"]);
            Assert.Equal(metadata.Keys, file.Metadata.Keys);
            foreach ((string key, object value) in metadata)
                Assert.Equal(value, file.Metadata[key]);
            Assert.Equal(["single", "half", "brain", "scalar"], file.Tensors.Keys);
            Assert.Equal([2, 3], file.Entry("single").Shape);
            Assert.Equal(values, file.ReadSingles("single"));
            Assert.Equal(halves.Select(value => (float)value), file.ReadSingles("half"));
            Assert.Equal(brain.Select(bits => BitConverter.UInt32BitsToSingle((uint)bits << 16)), file.ReadSingles("brain"));
            Assert.Equal([0.5f], file.ReadSingles("scalar"));
            byte[] part = new byte[4];
            file.ReadBytes("single", 8, part);
            Assert.Equal(values[2], BinaryPrimitives.ReadSingleLittleEndian(part));
        }).Check(Config.QuickThrowOnFailure.WithMaxTest(10));
    }

    [Fact]
    public void A_file_is_written_in_pieces()
    {
        using var whole = new MemoryStream();
        using var pieces = new MemoryStream();
        byte[] bytes = [.. Enumerable.Range(0, 68).Select(value => (byte)value)];
        var tensor = new GgufTensor("q", GgufTensorType.Q8_0, [2, 32]);
        GgufWriter.Write(whole, [], [(tensor, bytes)]);
        var writer = new GgufWriter(pieces, [], [tensor]);
        writer.Write(bytes.AsSpan(0, 1));
        Assert.Equal("tensor q has 1 of 68 bytes", Assert.Throws<InvalidOperationException>(writer.Complete).Message);
        Assert.StartsWith("68 bytes for tensor q, which takes 67 more", Assert.Throws<ArgumentException>(() => writer.Write(bytes)).Message);
        writer.Write(bytes.AsSpan(1));
        writer.Complete();
        Assert.Equal(whole.ToArray(), pieces.ToArray());
        Assert.Throws<ArgumentException>(() => writer.Write([1]));
    }

    public static TheoryData<string, string> Corruptions() => new()
    {
        { "short", "has 20 bytes, a GGUF file has at least 24" },
        { "magic", "is no GGUF file: it does not start with 'GGUF'" },
        { "big-endian", "is a big-endian GGUF file, expected little-endian" },
        { "version", "has GGUF version 1, expected 2 or 3" },
        { "keys", "claims 9223372036854775809 keys and 1 tensors, which do not fit the 104 bytes that are left" },
        { "key type", "key 'k' has type 13, which does not exist" },
        { "array", "key 'k' claims 4611686018427387908 values, the file has 79 bytes left" },
        { "nested", "key 'k' holds arrays in an array, which is not supported" },
        { "dimensions", "tensor 'w' has 5 dimensions, at most 4 are supported" },
        { "zero", "tensor 'w' has a size of 0, expected 1 to 2⁶³ − 1" },
        { "huge", "tensor 'w' has shape [2305843009213693952], which is too large" },
        { "type", "tensor 'w' has the type 4, which is not supported" },
        { "rows", "tensor 'w' has rows of 2 values, expected a multiple of 32 for Q8_0" },
        { "offset", "tensor 'w' starts at byte 32 of the data, expected 0: tensors overlap or leave a gap" },
        { "truncated", "tensor 'w' ends at byte 104, the file at 103: truncated" },
    };

    [Theory]
    [MemberData(nameof(Corruptions))]
    public void A_file_that_is_not_one_is_refused(string corruption, string message)
    {
        // 24 bytes of head; key at 24: length 8, 'k', type at 33, array type at 37, count at 41, 4 bytes; tensor at 53: length 8, 'w', dimensions at 62, size at 66, type at 74, offset at 78, data at 96.
        using var stream = new MemoryStream();
        GgufWriter.Write(stream, new GgufMetadata { ["k"] = new byte[] { 1, 2, 3, 4 } }, [GgufWriter.Singles("w", [1, 2], 2)]);
        byte[] file = stream.ToArray();
        switch (corruption)
        {
            case "short": file = file[..20]; break;
            case "magic": file[0] = (byte)'X'; break;
            case "big-endian": Array.Reverse(file, 4, 4); break;
            case "version": file[4] = 1; break;
            case "keys": file[23] = 0x80; break;
            case "key type": file[33] = 13; break;
            case "array": file[48] = 0x40; break;
            case "nested": file[37] = 9; break;
            case "dimensions": file[62] = 5; break;
            case "zero": file[66] = 0; break;
            case "huge": file[66] = 0; file[73] = 0x20; break;
            case "type": file[74] = 4; break;
            case "rows": file[74] = 8; break;
            case "offset": file[78] = 32; break;
            case "truncated": file = file[..103]; break;
        }
        string path = _folder.Write("x.gguf", file);
        Assert.Equal($"{path}: {message}", Assert.Throws<InvalidDataException>(() => GgufFile.Open(path)).Message);
    }

    [Fact]
    public void What_the_format_does_not_store_is_refused_by_the_writer()
    {
        Assert.Throws<ArgumentException>(() => new GgufMetadata { ["x"] = 1m });
        Assert.Throws<ArgumentException>(() => new GgufMetadata { ["x"] = new int[1, 1] });
        Assert.Throws<ArgumentException>(() => new GgufMetadata { ["x"] = DayOfWeek.Monday });
        Assert.Throws<ArgumentException>(() => GgufWriter.Write(Stream.Null, [], [GgufWriter.Singles("a", [1], 1), GgufWriter.Singles("a", [1], 1)]));
        Assert.Throws<ArgumentException>(() => GgufWriter.Write(Stream.Null, [], [GgufWriter.Singles(new string('a', 64), [1], 1)]));
        Assert.Throws<ArgumentException>(() => GgufWriter.Write(Stream.Null, [], [(new GgufTensor("a", GgufTensorType.Q4_K, [1, 32]), new byte[18])]));
        Assert.Throws<ArgumentException>(() => GgufWriter.Write(Stream.Null, new GgufMetadata { [GgufFile.AlignmentKey] = 33u }, []));
    }

    [Fact]
    public void A_key_of_another_type_says_what_it_holds()
    {
        var metadata = new GgufMetadata { ["t"] = new[] { 1, 2 }, ["n"] = 3u };
        Assert.Equal(3, metadata.Integer("n"));
        Assert.Null(metadata.Integer("none"));
        Assert.Equal("key 't' holds 2 values of Int32, expected texts", Assert.Throws<InvalidDataException>(() => metadata.Texts("t")).Message);
        Assert.Equal("key 'n' holds a UInt32, expected a number", Assert.Throws<InvalidDataException>(() => metadata.Number("n")).Message);
    }

    [Fact]
    public void Blocks_of_zeros_are_zeros_and_lengths_are_checked()
    {
        foreach (GgufTensorType type in Enum.GetValues<GgufTensorType>().Where(GgufBlocks.CanDequantize))
        {
            var values = new float[type.BlockValues()];
            values.AsSpan().Fill(1);
            GgufBlocks.Dequantize(type, new byte[type.BlockBytes()], values);
            Assert.All(values, value => Assert.Equal(0, value));
            Assert.Throws<ArgumentException>(() => GgufBlocks.Dequantize(type, new byte[type.BlockBytes()], new float[type.BlockValues() + 1]));
        }
        Assert.Throws<ArgumentException>(() => GgufBlocks.Dequantize(GgufTensorType.IQ1_S, new byte[50], new float[256]));
    }
}
