using MmeSid.Engine.Files;
using MmeSid.Kernels;

namespace MmeSid.Bench;

/// <summary>What suites on every kind of device share: sizes, remarks, and a folder for files that peers read.</summary>
internal abstract class BenchRun : IDisposable
{
    private readonly string _temporary = Directory.CreateTempSubdirectory("mmesid-bench-").FullName;

    /// <summary>Tiny shapes and two runs: shows that the bench works, measures nothing.</summary>
    public required bool Quick { get; init; }

    /// <summary>What the current suite could not do and why; stands over its table.</summary>
    public List<string> Remarks { get; } = [];

    /// <summary>All cores.</summary>
    public static int AllThreads => Environment.ProcessorCount;

    /// <summary>The full size, or a tiny one.</summary>
    public int Size(int full, int quick) => Quick ? quick : full;

    /// <summary>Times work with the runs that this bench takes.</summary>
    public Timing Time(Action work) => Timing.Of(work, Quick);

    /// <summary>Says on standard error what is going on.</summary>
    public static void Say(string line) => Console.Error.WriteLine(line);

    /// <summary>A path for a file that peers read; gone when the bench ends.</summary>
    public string TemporaryFile(string name) => Path.Combine(_temporary, name);

    /// <summary>Writes rows as <c>.npy</c> for a peer and returns the path; a file of that name is replaced.</summary>
    public string WriteRows(string name, RowMatrix rows)
    {
        string path = TemporaryFile(name);
        using FileStream stream = File.Create(path);
        var writer = new NpyWriter<float>(stream, rows.Count, rows.Dimension);
        for (long first = 0; first < rows.Count;)
        {
            int count = (int)Math.Min(rows.Count - first, 4096);
            writer.Write(rows.Rows(first, count));
            first += count;
        }
        writer.Complete();
        return path;
    }

    /// <summary>Writes an array as <c>.npy</c> for a peer and returns the path.</summary>
    public string WriteArray<T>(string name, ReadOnlySpan<T> values, params ReadOnlySpan<long> shape)
        where T : unmanaged
    {
        string path = TemporaryFile(name);
        using FileStream stream = File.Create(path);
        NpyFile.Write(stream, values, shape);
        return path;
    }

    public virtual void Dispose() => Directory.Delete(_temporary, recursive: true);
}
