using System.Buffers.Binary;
using System.Runtime.InteropServices;
using System.Text;
using FsCheck;
using FsCheck.Fluent;
using MmeSid.Engine.Embeddings;
using MmeSid.Engine.Files;

namespace MmeSid.Engine.Tests.Files;

public sealed class SafetensorsFileTests : IDisposable
{
    private readonly ScratchFolder _folder = new();

    public void Dispose() => _folder.Dispose();

    [Fact]
    public void Bytes_are_those_of_the_format()
    {
        using var stream = new MemoryStream();
        SafetensorsFile.Write(stream, [SafetensorsTensor.From<float>("codebook.0", [1, 2], 1, 2)], new Dictionary<string, string> { ["kind"] = "rq" });
        string head = """{"__metadata__":{"kind":"rq"},"codebook.0":{"dtype":"F32","shape":[1,2],"data_offsets":[0,8]}}""";
        head = head.PadRight((head.Length + 7) / 8 * 8);
        byte[] expected = new byte[8 + head.Length + 8];
        BinaryPrimitives.WriteInt64LittleEndian(expected, head.Length);
        Encoding.ASCII.GetBytes(head, expected.AsSpan(8));
        BinaryPrimitives.WriteSingleLittleEndian(expected.AsSpan(8 + head.Length), 1);
        BinaryPrimitives.WriteSingleLittleEndian(expected.AsSpan(12 + head.Length), 2);
        Assert.Equal(expected, stream.ToArray());
    }

    [Fact]
    public void Tensors_come_back_and_bfloat16_widens_exactly()
    {
        Prop.ForAll<ulong, byte>((seed, size) =>
        {
            var random = new RandomSource(seed);
            int columns = 1 + size % 23, rows = random.NextInt(9);
            float[] floats = [.. Enumerable.Range(0, rows * columns).Select(_ => (float)random.NextGaussian())];
            ushort[] brain = [.. floats.Select(value => (ushort)(BitConverter.SingleToUInt32Bits(value) >> 16))];
            Half[] halves = [.. floats.Select(value => (Half)value)];
            using (FileStream stream = File.Create(_folder["x.safetensors"]))
            {
                SafetensorsFile.Write(stream,
                [
                    SafetensorsTensor.From<float>("single", floats, rows, columns),
                    new SafetensorsTensor("brain", ElementType.BFloat16, [rows, columns], MemoryMarshal.AsBytes(brain.AsSpan()).ToArray()),
                    SafetensorsTensor.From<Half>("half", halves, rows, columns),
                    SafetensorsTensor.From<double>("scalar", [0.5]),
                    SafetensorsTensor.From<long>("none", [], 0, 3),
                ]);
            }
            using SafetensorsFile file = SafetensorsFile.Open(_folder["x.safetensors"]);
            Assert.Equal(floats, file.Read<float>("single"));
            Assert.Equal([0.5], file.Read<double>("scalar"));
            Assert.Empty(file.Read<long>("none"));
            Assert.Equal(floats, ReadTable("single", rows * columns));
            Assert.Equal(halves.Select(value => (float)value), ReadTable("half", rows * columns));
            Assert.Equal(brain.Select(bits => BitConverter.UInt32BitsToSingle((uint)bits << 16)), ReadTable("brain", rows * columns));
        }).Check(Config.QuickThrowOnFailure.WithMaxTest(40));
    }

    private float[] ReadTable(string tensor, int count)
    {
        using EmbeddingTable table = EmbeddingTable.Open([_folder["x.safetensors"]], new EmbeddingOptions { Tensor = tensor });
        var values = new float[count];
        table.Read(0, (int)table.Count, values);
        return values;
    }

    [Theory]
    [InlineData("{}", 0, "has 0 2-D tensors, expected one, or the name of the one to take")]
    [InlineData("""{"a":{"dtype":"F32","shape":[1,1],"data_offsets":[0,4]},"b":{"dtype":"F32","shape":[1,1],"data_offsets":[4,8]}}""", 8, "has 2 2-D tensors, expected one, or the name of the one to take: a, b")]
    [InlineData("""{"a":{"dtype":"F32","shape":[1,1],"data_offsets":[0,4]}}""", 3, "tensor 'a' ends at byte 4 of the data, the file holds 3: truncated")]
    [InlineData("""{"a":{"dtype":"F32","shape":[1,1],"data_offsets":[0,4]}}""", 5, "too long: its tensors end at byte 68, the file at 69")]
    [InlineData("""{"a":{"dtype":"F32","shape":[1,1],"data_offsets":[1,5]}}""", 5, "tensor 'a' starts at byte 65, expected 64: tensors overlap or leave a gap")]
    [InlineData("""{"a":{"dtype":"F32","shape":[2,1],"data_offsets":[0,4]}}""", 4, "tensor 'a' has shape [2, 1] of Float32, which does not take the 4 bytes of its data_offsets")]
    [InlineData("""{"a":{"dtype":"F8","shape":[1,1],"data_offsets":[0,4]}}""", 4, "tensor 'a' has the type F8, which is not supported")]
    [InlineData("""{"a":{"dtype":"I64","shape":[1,1],"data_offsets":[0,8]}}""", 8, "tensor 'a' is Int64, expected float16, bfloat16, float32, float64, uint8 or int8")]
    [InlineData("""{"a":{"dtype":"F32","shape":[1,-1],"data_offsets":[0,4]}}""", 4, "tensor 'a' has a shape that is no list of sizes")]
    [InlineData("""{"a":{"dtype":"F32","shape":[1,1],"data_offsets":[0,1e30]}}""", 4, "tensor 'a' has data_offsets that are no range")]
    [InlineData("""{"a":{"dtype":"F32","shape":[1,1]}}""", 4, "tensor 'a' lacks a proper dtype, shape or data_offsets")]
    [InlineData("[1]", 0, "the head is no JSON object")]
    [InlineData("{", 0, "the head is no valid JSON")]
    public void A_table_that_is_not_one_is_refused(string head, int dataBytes, string message)
    {
        byte[] text = Encoding.UTF8.GetBytes(head);
        byte[] file = new byte[8 + text.Length + dataBytes];
        BinaryPrimitives.WriteInt64LittleEndian(file, text.Length);
        text.CopyTo(file, 8);
        string path = _folder.Write("x.safetensors", file);
        Assert.Equal($"{path}: {message}", Assert.Throws<InvalidDataException>(() => EmbeddingTable.Open(path)).Message);
    }

    [Fact]
    public void Names_that_are_missing_or_twice_are_refused()
    {
        using (FileStream stream = File.Create(_folder["x.safetensors"]))
            SafetensorsFile.Write(stream, [SafetensorsTensor.From<float>("a", [1], 1, 1)]);
        using SafetensorsFile file = SafetensorsFile.Open(_folder["x.safetensors"]);
        Assert.Equal($"{file.Path}: has no tensor 'b'; it has: a", Assert.Throws<InvalidDataException>(() => file.Read<float>("b")).Message);
        Assert.Equal($"{file.Path}: tensor a is Float32, expected Float64", Assert.Throws<InvalidDataException>(() => file.Read<double>("a")).Message);
        SafetensorsTensor twice = SafetensorsTensor.From<float>("a", [1], 1);
        Assert.Throws<ArgumentException>(() => SafetensorsFile.Write(Stream.Null, [twice, twice]));
        Assert.Throws<ArgumentException>(() => SafetensorsTensor.From<float>("a", [1], 2));
    }
}
