using System.Globalization;
using System.IO.Compression;
using System.Text.Json;
using MmeSid.Engine.Embeddings;
using MmeSid.Engine.Quantization;
using MmeSid.Kernels;
using MmeSid.Kernels.Scalar;
using MmeSid.Kernels.Simd;

namespace MmeSid.Engine.Tests;

/// <summary>The promise of exact codes, on every row of every real table.</summary>
public sealed class RealTableTests
{
    private const int kRowsPerSlice = 512;

    /// <summary>Every table there is, the embeddings made in-box of the texts and events included, and how it becomes rows.</summary>
    private static readonly Dictionary<string, Func<RowMatrix>> s_tables = new()
    {
        ["Beauty collaborative"] = () => File("amazon-beauty/collaborative_sasrec64.npy"),
        ["Beauty text"] = () => TextEmbedder.Embed(TextItems.ReadFile(SharedData.Require("amazon-beauty/items.tsv"), textColumns: ["title", "attributes"])).Rows,
        ["Beauty events"] = () => InteractionEmbedder.Embed(InteractionSequences.ReadFile(SharedData.Require("amazon-beauty/sequences.txt"))).Rows,
        ["Scientific text"] = ScientificTexts,
        ["lastfm-2k text"] = () => File("lastfm-2k/text_minilm.npy"),
        ["lastfm-2k audio, Whisper"] = () => File("lastfm-2k/audio_whisper.npy"),
        ["lastfm-2k audio, VGGish"] = () => File("lastfm-2k/audio_vggish.npy"),
        ["ml-1m posters"] = () => File("ml-1m/poster_features.npy"),
        ["ml-1m text"] = MovieTexts,
        ["ml-1m events"] = () => InteractionEmbedder.Embed(InteractionSequences.ReadFile(SharedData.Require("ml-1m/sequences.txt.gz"))).Rows,
        ["MNIST"] = () => File("vectors/mnist_63000x784_u8.npy.gz"),
        ["SIFT"] = Sift,
    };

    public static TheoryData<string> Tables => [.. s_tables.Keys];

    [Theory]
    [MemberData(nameof(Tables))]
    public void Simd_codes_equal_the_oracles_on_every_row(string name)
    {
        using RowMatrix rows = s_tables[name]();
        EmbeddingTable table = EmbeddingTable.FromRows(rows, ItemIds.Sequential(rows.Count), name);
        foreach (QuantizerKind kind in (QuantizerKind[])[QuantizerKind.RqKMeans, QuantizerKind.Psrq])
        {
            TrainingOptions options = new() { Kind = kind, Levels = 3, Codes = [64], Iterations = 4, TrainRows = Math.Min(5000, table.Count), Seed = 1 };
            Quantizer quantizer = QuantizerTrainer.Train(table, options, new SimdBackend(), null, TestContext.Current.CancellationToken).Quantizer;

            ushort[] expected = Encode(quantizer, new ScalarBackend(), rows);

            foreach (SimdScreen screen in (SimdScreen[])[SimdScreen.Float32, SimdScreen.Int16, SimdScreen.Int8, SimdScreen.Int8Prefix])
            {
                ushort[] actual = Encode(quantizer, new SimdBackend(1, screen), rows);
                Assert.True(expected.AsSpan().SequenceEqual(actual), $"{kind} on {name}, {screen}: row {expected.AsSpan().CommonPrefixLength(actual) / 3} differs");
            }
        }
    }

    private static ushort[] Encode(Quantizer quantizer, IBackend backend, RowMatrix rows)
    {
        var codes = new ushort[rows.Count * quantizer.Levels];
        int slices = (int)((rows.Count + kRowsPerSlice - 1) / kRowsPerSlice);
        using IQuantizerEncoder encoder = quantizer.CreateEncoder(backend);
        Parallel.For(0, slices, slice =>
        {
            int first = slice * kRowsPerSlice, count = (int)Math.Min(kRowsPerSlice, rows.Count - first);
            encoder.Encode(rows.View(first, count), codes.AsSpan(first * quantizer.Levels, count * quantizer.Levels), default);
        });
        return codes;
    }

    private static RowMatrix File(string file)
    {
        string path = SharedData.Require(file);
        if (path.EndsWith(".gz", StringComparison.Ordinal))
        {
            string unpacked = Path.Combine(Directory.CreateTempSubdirectory("mmesid-tests-").FullName, Path.GetFileNameWithoutExtension(path));
            using (GZipStream source = new(System.IO.File.OpenRead(path), CompressionMode.Decompress))
            using (FileStream destination = System.IO.File.Create(unpacked))
                source.CopyTo(destination);
            path = unpacked;
        }
        using EmbeddingTable table = EmbeddingTable.Open(path);
        return table.ReadAll();
    }

    private static RowMatrix ScientificTexts()
    {
        using JsonDocument items = JsonDocument.Parse(System.IO.File.ReadAllBytes(SharedData.Require("amazon-scientific/Scientific.item.json")));
        return Texts([.. items.RootElement.EnumerateObject().Select(item => string.Join(' ', item.Value.EnumerateObject().Select(field => field.Value.ToString())))]);
    }

    private static RowMatrix MovieTexts()
    {
        using var lines = new StreamReader(new GZipStream(System.IO.File.OpenRead(SharedData.Require("ml-1m/items.jsonl.gz")), CompressionMode.Decompress));
        var texts = new List<string>();
        while (lines.ReadLine() is { } line)
        {
            using JsonDocument movie = JsonDocument.Parse(line);
            texts.Add(movie.RootElement.ToString());
        }
        return Texts([.. texts]);
    }

    private static RowMatrix Texts(string[] texts) => TextEmbedder.Embed(new TextItems(ItemIds.Sequential(texts.Length), texts)).Rows;

    private static RowMatrix Sift()
    {
        float[][] rows = [.. System.IO.File.ReadLines(SharedData.Require("vectors/sift-5k-ngt.tsv")).Select(line =>
            line.Split('\t', StringSplitOptions.RemoveEmptyEntries).Select(value => float.Parse(value, CultureInfo.InvariantCulture)).ToArray())];
        var matrix = new RowMatrix(rows.Length, rows[0].Length);
        for (int row = 0; row < rows.Length; row++)
            rows[row].CopyTo(matrix.Rows(row, 1));
        return matrix;
    }
}
