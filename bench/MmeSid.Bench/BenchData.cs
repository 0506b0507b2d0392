using System.IO.Compression;
using System.Numerics.Tensors;
using MmeSid.Engine;
using MmeSid.Engine.Embeddings;
using MmeSid.Engine.Synthesis;
using MmeSid.Kernels;

namespace MmeSid.Bench;

/// <summary>The rows that figures are taken on; each has a name that the tables show.</summary>
internal static class BenchData
{
    /// <summary>Name of <see cref="Synth"/> in the tables.</summary>
    public const string SynthName = "synth";

    /// <summary>Name of <see cref="Isotropic"/> in the tables.</summary>
    public const string IsotropicName = "isotropic random";

    /// <summary>The synthetic catalogue at its default: clustered in a hierarchy, power-law spectrum.</summary>
    public static RowMatrix Synth(long count, int dimension, ulong seed = 1) =>
        new SyntheticCatalogue(new SyntheticOptions { Items = count, Dimension = dimension, Seed = seed }).ToRows();

    /// <summary>Independent normal values: no structure at all, the hardest data to decide.</summary>
    public static RowMatrix Isotropic(long count, int dimension, ulong seed = 1)
    {
        const int kRowsPerBlock = 1024;
        var rows = new RowMatrix(count, dimension);
        Parallel.For(0, (count + kRowsPerBlock - 1) / kRowsPerBlock, block =>
        {
            RandomSource random = new RandomSource(seed).Split((ulong)block);
            foreach (ref float value in rows.Rows(block * kRowsPerBlock, (int)Math.Min(kRowsPerBlock, count - block * kRowsPerBlock)))
                value = (float)random.NextGaussian();
        });
        return rows;
    }

    /// <summary>Name of <see cref="Hostile"/> in the tables.</summary>
    public const string HostileName = "two clusters, ± 5";

    /// <summary>Two clusters so far from each other that on the first level int8 of one step per row tells nothing apart inside of them; float32 does.</summary>
    public static RowMatrix Hostile(long count, int dimension, ulong seed = 1)
    {
        const float kDistance = 5;
        RowMatrix rows = Isotropic(count, dimension, seed);
        Parallel.For(0, (int)count, i =>
        {
            Span<float> row = rows.Rows(i, 1);
            TensorPrimitives.Add(row, i % 2 == 0 ? kDistance : -kDistance, row);
        });
        return rows;
    }

    private const string BeautyText = "Beauty text (LSA)";

    private static readonly (string Name, string File, int SkipRows)[] s_tables =
    [
        (BeautyText, "amazon-beauty/items.tsv", 0),
        ("Beauty collaborative (SASRec)", "amazon-beauty/collaborative_sasrec64.npy", 1),
        ("lastfm-2k text (MiniLM)", "lastfm-2k/text_minilm.npy", 0),
        ("lastfm-2k audio (Whisper)", "lastfm-2k/audio_whisper.npy", 0),
        ("lastfm-2k audio (VGGish)", "lastfm-2k/audio_vggish.npy", 0),
        ("ml-1m posters", "ml-1m/poster_features.npy", 0),
        ("MNIST", "vectors/mnist_63000x784_u8.npy.gz", 0),
    ];

    /// <summary>Names of the real tables, whether or not they are here.</summary>
    public static IReadOnlyList<string> RealTables { get; } = [.. s_tables.Select(table => table.Name)];

    /// <summary>The real tables that are here, one after the other: each lives until the next. Of the others the page says that they were skipped.</summary>
    public static IEnumerable<(string Name, RowMatrix Rows)> RealOnes(BenchContext context)
    {
        foreach (string name in RealTables)
        {
            using RowMatrix? rows = Real(context, name);
            if (rows is null)
                context.Remarks.Add($"{name} is skipped, its file is not in the data folder (MMESID_DATA)");
            else
                yield return (name, rows);
        }
    }

    /// <summary>Reads a real table, or returns null where its file is absent.</summary>
    public static RowMatrix? Real(BenchContext context, string name)
    {
        (_, string file, int skip) = s_tables.Single(table => table.Name == name);
        if (context.DataFolder is null || !File.Exists(Path.Combine(context.DataFolder, file)))
            return null;
        string path = Path.Combine(context.DataFolder, file);
        if (name == BeautyText)
            return TextEmbedder.Embed(TextItems.ReadFile(path, textColumns: ["title", "attributes"])).Rows;
        if (path.EndsWith(".gz", StringComparison.Ordinal))
        {
            string unpacked = context.TemporaryFile(Path.GetFileNameWithoutExtension(path));
            using var packed = new GZipStream(File.OpenRead(path), CompressionMode.Decompress);
            using FileStream plain = File.Create(unpacked);
            packed.CopyTo(plain);
            path = unpacked;
        }
        using EmbeddingTable table = EmbeddingTable.Open([path], new EmbeddingOptions { SkipRows = skip });
        return table.ReadAll();
    }
}
