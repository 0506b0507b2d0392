using System.Runtime.InteropServices;
using MmeSid.Engine.Embeddings;
using MmeSid.Engine.Files;

namespace MmeSid.Engine.Tests.Files;

/// <summary>Damaged files of every binary format: the reader refuses them with one line or reads them; it never crashes and never allocates by their word.</summary>
public sealed class FuzzTests : IDisposable
{
    private const int kMutations = 1500;
    private readonly ScratchFolder _folder = new();

    public void Dispose() => _folder.Dispose();

    [Fact]
    public void Damaged_npy() => Fuzz(".npy", stream => NpyFile.Write<float>(stream, [1, 2, 3, 4, 5, 6], 2, 3));

    [Fact]
    public void Damaged_npy_version_2() => Fuzz(".npy", stream => stream.Write(Npy.Bytes<double>("<f8", "(2, 3)", [1, 2, 3, 4, 5, 6], version: 2)));

    [Fact]
    public void Damaged_safetensors() => Fuzz(".safetensors", stream => SafetensorsFile.Write(stream,
        [SafetensorsTensor.From<float>("x", [1, 2, 3, 4, 5, 6], 2, 3), SafetensorsTensor.From<Half>("y", [(Half)1], 1)], new Dictionary<string, string> { ["a"] = "é" }));

    [Fact]
    public void Damaged_fvecs() => Fuzz(".fvecs", stream =>
    {
        foreach (int row in (int[])[0, 1])
        {
            stream.Write(BitConverter.GetBytes(3));
            stream.Write(MemoryMarshal.AsBytes<float>([row, 2, 3]));
        }
    });

    [Fact]
    public void Damaged_fbin() => Fuzz(".fbin", stream =>
    {
        stream.Write(BitConverter.GetBytes(2));
        stream.Write(BitConverter.GetBytes(3));
        stream.Write(MemoryMarshal.AsBytes<float>([1, 2, 3, 4, 5, 6]));
    });

    [Fact]
    public void Damaged_csv() => Fuzz(".csv", stream => stream.Write("item,a,b\nx,1,2\n\"y\"\"z\",-3e2,0.5\nw,7,8\n"u8));

    [Fact]
    public void Damaged_parquet()
    {
        Assert.SkipUnless(DuckDb.DuckDbLibrary.UnavailableReason is null, DuckDb.DuckDbLibrary.UnavailableReason ?? "");
        string path = _folder["valid.parquet"];
        using (var database = new DuckDb.DuckDbDatabase())
            database.Execute($"COPY (SELECT 'i' || i AS item, [i, 0.5::FLOAT, 3] AS vector FROM range(50) t(i)) TO '{path}' (FORMAT parquet)");
        byte[] valid = File.ReadAllBytes(path);
        Fuzz(".parquet", stream => stream.Write(valid), mutations: 60);
    }

    [Fact]
    public void Damaged_gguf() => Fuzz(".gguf", stream => GgufWriter.Write(stream, new GgufMetadata
    {
        ["general.architecture"] = "llama",
        ["tokens"] = new[] { "a", "é", "" },
        ["scores"] = new[] { 1f, 2f },
        ["flags"] = new[] { true, false },
        ["wide"] = new[] { 1L, 2L },
        ["count"] = 3u,
    }, [GgufWriter.Singles("x", [1, 2, 3, 4, 5, 6], 2, 3), (new GgufTensor("q", GgufTensorType.Q8_0, [2, 32]), new byte[68])]), openAndRead: path =>
    {
        using GgufFile file = GgufFile.Open(path);
        foreach ((string name, GgufEntry entry) in file.Tensors)
        {
            if (GgufBlocks.CanDequantize(entry.Type))
                Assert.Equal(entry.Count, file.ReadSingles(name).Length);
        }
    });

    private void Fuzz(string extension, Action<Stream> write, int mutations = kMutations, Action<string>? openAndRead = null)
    {
        openAndRead ??= OpenAndRead;
        using var stream = new MemoryStream();
        write(stream);
        byte[] valid = stream.ToArray();
        string path = _folder["x" + extension];
        openAndRead(_folder.Write("x" + extension, valid));
        for (int seed = 0; seed < mutations; seed++)
        {
            byte[] damaged = Damage(valid, new RandomSource((ulong)seed));
            File.WriteAllBytes(path, damaged);
            long before = GC.GetAllocatedBytesForCurrentThread();
            try
            {
                openAndRead(path);
            }
            catch (InvalidDataException exception)
            {
                Assert.DoesNotContain('\n', exception.Message);
                Assert.Contains(path, exception.Message);
            }
            catch (Exception exception)
            {
                Assert.Fail($"seed {seed}: {exception}");
            }
            Assert.True(GC.GetAllocatedBytesForCurrentThread() - before < 4 << 20, $"seed {seed}: allocated {GC.GetAllocatedBytesForCurrentThread() - before} bytes for a file of {damaged.Length}");
        }
    }

    private static void OpenAndRead(string path)
    {
        using EmbeddingTable table = EmbeddingTable.Open(path);
        Assert.InRange(table.Dimension, 1, EmbeddingTable.MaximumDimension);
        Assert.True(table.Count * table.Dimension < 1 << 16);
        table.Read(0, (int)table.Count, new float[table.Count * table.Dimension]);
    }

    private static byte[] Damage(byte[] valid, RandomSource random)
    {
        var bytes = new List<byte>(valid);
        for (int count = 1 + random.NextInt(4); count > 0; count--)
        {
            int at = random.NextInt(bytes.Count + 1);
            switch (random.NextInt(6))
            {
                case 0 when at < bytes.Count:
                    bytes[at] ^= (byte)(1 << random.NextInt(8));
                    break;
                case 1 when at < bytes.Count:
                    bytes[at] = (byte)random.NextInt(256);
                    break;
                case 2:
                    bytes.RemoveRange(at, bytes.Count - at);
                    break;
                case 3:
                    bytes.InsertRange(at, [.. Enumerable.Range(0, random.NextInt(9)).Select(_ => (byte)random.NextInt(256))]);
                    break;
                case 4 when at + 4 <= bytes.Count:
                    // Sizes and lengths are little-endian numbers: make some of them enormous or negative.
                    byte[] number = BitConverter.GetBytes(random.NextInt(2) == 0 ? int.MaxValue : -1);
                    for (int i = 0; i < 4; i++)
                        bytes[at + i] = number[i];
                    break;
                case 5 when at < bytes.Count:
                    bytes[at] = (byte)"0123456789()[]{}',\":-"[random.NextInt(21)];
                    break;
            }
        }
        return [.. bytes];
    }
}
