using MmeSid.Engine.Files;
using MmeSid.Kernels;

namespace MmeSid.Engine.Embeddings;

/// <summary>One or several files as one table, rows one after the other, perhaps without the first few.</summary>
internal sealed class FileTable : EmbeddingTable
{
    private readonly RowSource[] _sources;

    /// <summary>Row of the joined files at which each source starts; the last entry is the total.</summary>
    private readonly long[] _starts;
    private readonly long _skip;

    private FileTable(RowSource[] sources, long[] starts, long skip, ItemIds items)
    {
        _sources = sources;
        _starts = starts;
        _skip = skip;
        Items = items;
        Name = sources.Length == 1 ? sources[0].Path : $"{sources[0].Path} and {sources.Length - 1} more";
    }

    public override string Name { get; }

    public override long Count => _starts[^1] - _skip;

    public override int Dimension => _sources[0].Dimension;

    public override ItemIds Items { get; }

    public override IReadOnlyList<string> Files => Array.ConvertAll(_sources, source => source.Path);

    public static FileTable OpenFiles(IReadOnlyList<string> paths, EmbeddingOptions options)
    {
        ArgumentNullException.ThrowIfNull(paths);
        ArgumentOutOfRangeException.ThrowIfNegative(options.SkipRows, "skip rows");
        if (options is { ItemsFile: not null, IdColumn: not null })
            throw new ArgumentException("item ids come from an items file or from a column, not from both");
        List<string> files = Expand(paths);
        var sources = new List<RowSource>(files.Count);
        try
        {
            var starts = new long[files.Count + 1];
            foreach (string file in files)
            {
                RowSource source = OpenSource(file, options);
                sources.Add(source);
                if (source.Dimension != sources[0].Dimension)
                    throw new InvalidDataException($"{file}: rows have dimension {source.Dimension}, expected {sources[0].Dimension} as in {sources[0].Path}");
                starts[sources.Count] = starts[sources.Count - 1] + source.Count;
            }
            if (options.SkipRows > starts[^1])
                throw new InvalidDataException($"{files[0]}: {options.SkipRows} rows should be skipped, the table has {starts[^1]}");
            ItemIds items = NameRows(sources, starts, options);
            return new FileTable([.. sources], starts, options.SkipRows, items);
        }
        catch
        {
            foreach (RowSource source in sources)
                source.Dispose();
            throw;
        }
    }

    public override string Place(long row)
    {
        int source = SourceOf(row + _skip);
        return _sources[source].Place(row + _skip - _starts[source]);
    }

    // One format for all of them, or a block could hold two.
    public override NarrowElement? Narrow => _sources.All(source => source.Narrow == _sources[0].Narrow) ? _sources[0].Narrow : null;

    protected override void ReadRows(long firstRow, int rows, Span<float> destination)
        => Read(firstRow, rows, destination, (source, first, count, values) => source.Read(first, count, values));

    protected override void ReadNarrowRows(long firstRow, int rows, Span<ushort> destination)
        => Read(firstRow, rows, destination, (source, first, count, bits) => source.ReadNarrow(first, count, bits));

    protected override void Dispose(bool disposing)
    {
        foreach (RowSource source in _sources)
            source.Dispose();
    }

    private delegate void SourceRead<T>(RowSource source, long firstRow, int rows, Span<T> destination);

    private void Read<T>(long firstRow, int rows, Span<T> destination, SourceRead<T> read)
    {
        long row = firstRow + _skip;
        for (int source = SourceOf(row); rows > 0; source++)
        {
            int here = (int)Math.Min(rows, _starts[source + 1] - row);
            if (here == 0)
                continue;
            read(_sources[source], row - _starts[source], here, destination[..(here * Dimension)]);
            destination = destination[(here * Dimension)..];
            row += here;
            rows -= here;
        }
    }

    private int SourceOf(long row)
    {
        int found = Array.BinarySearch(_starts, row);
        if (found < 0)
            return ~found - 1;
        // Empty files share their start with the next one: take the last that starts here.
        while (found + 1 < _starts.Length && _starts[found + 1] == row)
            found++;
        return Math.Min(found, _sources.Length - 1);
    }

    private static RowSource OpenSource(string path, EmbeddingOptions options)
    {
        if (!File.Exists(path))
            throw Directory.Exists(path) ? new InvalidDataException($"{path}: is a folder, expected a file") : new FileNotFoundException($"{path}: no such file", path);
        string extension = Path.GetExtension(path).ToLowerInvariant();
        return extension switch
        {
            ".npy" => DenseRows.OpenNpy(path),
            ".safetensors" => DenseRows.OpenSafetensors(path, options.Tensor),
            ".fvecs" => DenseRows.OpenFvecs(path),
            ".fbin" => DenseRows.OpenFbin(path),
            ".csv" or ".tsv" => CsvRows.Read(path, options),
            ".parquet" => ParquetFile.ReadRows(path, options),
            _ => throw new InvalidDataException($"{path}: unknown kind of file, expected .npy, .safetensors, .fvecs, .fbin, .csv, .tsv or .parquet"),
        };
    }

    private static ItemIds NameRows(List<RowSource> sources, long[] starts, EmbeddingOptions options)
    {
        long count = starts[^1] - options.SkipRows;
        if (options.ItemsFile is { } path)
        {
            ItemIds ids = ItemIds.ReadFile(path);
            if (ids.Count != count)
                throw new InvalidDataException($"{path}: names {ids.Count} items, the table {sources[0].Path} has {count} rows{(options.SkipRows > 0 ? $" after skipping {options.SkipRows}" : "")}");
            return ids;
        }
        if (sources.TrueForAll(source => source.Names is null))
            return ItemIds.Sequential(count);
        if (sources.Find(source => source.Names is null) is { } nameless)
            throw new InvalidDataException($"{nameless.Path}: holds no item ids, other files of the table do");
        string[] names = [.. sources.SelectMany(source => source.Names!).Skip(checked((int)options.SkipRows))];
        return ItemIds.Create(names, Error, "row", checked((int)options.SkipRows));

        Exception Error(int row, string message)
        {
            long joined = row + options.SkipRows;
            int source = sources.Count - 1;
            while (starts[source] > joined)
                source--;
            return new InvalidDataException($"{sources[source].Place(joined - starts[source])}: {message}");
        }
    }

    /// <summary>Replaces patterns by the files they match, in ordinal order of their names.</summary>
    private static List<string> Expand(IReadOnlyList<string> paths)
    {
        var files = new List<string>();
        foreach (string path in paths)
        {
            ArgumentException.ThrowIfNullOrEmpty(path, nameof(paths));
            string pattern = Path.GetFileName(path);
            if (pattern.AsSpan().IndexOfAny('*', '?') < 0 || File.Exists(path))
            {
                files.Add(path);
                continue;
            }
            string folder = Path.GetDirectoryName(path) ?? "";
            string[] matches = Directory.GetFiles(folder.Length == 0 ? "." : folder, pattern);
            if (matches.Length == 0)
                throw new FileNotFoundException($"{path}: no file matches", path);
            Array.Sort(matches, StringComparer.Ordinal);
            files.AddRange(folder.Length == 0 ? matches.Select(match => Path.GetFileName(match)) : matches);
        }
        if (files.Count == 0)
            throw new ArgumentException("an embedding table needs at least one file", nameof(paths));
        return files;
    }
}
