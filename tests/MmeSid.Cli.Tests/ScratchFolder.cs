using System.Text;

namespace MmeSid.Cli.Tests;

/// <summary>A folder of one test, deleted with it.</summary>
public sealed class ScratchFolder : IDisposable
{
    public ScratchFolder() => Path = Directory.CreateTempSubdirectory("mmesid-test-").FullName;

    public string Path { get; }

    /// <summary>Path of a file in it.</summary>
    public string this[string name] => System.IO.Path.Combine(Path, name);

    /// <summary>Names of everything in it, hidden files too.</summary>
    public string[] Names => [.. Directory.EnumerateFileSystemEntries(Path).Select(path => System.IO.Path.GetFileName(path)).Order(StringComparer.Ordinal)];

    /// <summary>Writes a float32 table.</summary>
    public string Table(string name, int rows, int dimension, Func<int, int, float> value)
    {
        var bytes = new byte[(long)rows * dimension * sizeof(float)];
        for (int i = 0; i < rows * dimension; i++)
            BitConverter.TryWriteBytes(bytes.AsSpan(i * sizeof(float)), value(i / dimension, i % dimension));
        return Npy(name, $"{{'descr': '<f4', 'fortran_order': False, 'shape': ({rows}, {dimension}), }}", bytes);
    }

    /// <summary>A float32 table of different pseudo-random rows.</summary>
    public string Table(string name, int rows, int dimension, ulong seed = 1)
    {
        var random = new MmeSid.Engine.RandomSource(seed);
        return Table(name, rows, dimension, (_, _) => (float)random.NextGaussian());
    }

    /// <summary>Writes a <c>.npy</c> of any header and content.</summary>
    public string Npy(string name, string header, byte[] content)
    {
        int length = (10 + header.Length + 1 + 63) / 64 * 64 - 10;
        byte[] text = Encoding.ASCII.GetBytes(header.PadRight(length - 1) + "\n");
        File.WriteAllBytes(this[name], [0x93, .. "NUMPY"u8, 1, 0, (byte)(length & 255), (byte)(length >> 8), .. text, .. content]);
        return this[name];
    }

    /// <summary>Writes a text file.</summary>
    public string Text(string name, string content)
    {
        File.WriteAllText(this[name], content);
        return this[name];
    }

    public void Dispose() => Directory.Delete(Path, recursive: true);
}
