using System.IO.Compression;
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

    [Theory]
    [InlineData("amazon-beauty/collaborative_sasrec64.npy")]
    [InlineData("lastfm-2k/text_minilm.npy")]
    [InlineData("lastfm-2k/audio_whisper.npy")]
    [InlineData("lastfm-2k/audio_vggish.npy")]
    [InlineData("ml-1m/poster_features.npy")]
    [InlineData("vectors/mnist_63000x784_u8.npy.gz")]
    public void Simd_codes_equal_the_oracles_on_every_row(string file)
    {
        using EmbeddingTable table = Open(SharedData.Require(file));
        using RowMatrix rows = table.ReadAll();
        foreach (QuantizerKind kind in (QuantizerKind[])[QuantizerKind.RqKMeans, QuantizerKind.Psrq])
        {
            TrainingOptions options = new() { Kind = kind, Levels = 3, Codes = [64], Iterations = 4, TrainRows = Math.Min(5000, table.Count), Seed = 1 };
            Quantizer quantizer = QuantizerTrainer.Train(table, options, new SimdBackend(), null, TestContext.Current.CancellationToken).Quantizer;

            ushort[] expected = Encode(quantizer, new ScalarBackend(), rows), actual = Encode(quantizer, new SimdBackend(1), rows);

            Assert.True(expected.AsSpan().SequenceEqual(actual), $"{kind} on {file}: row {expected.AsSpan().CommonPrefixLength(actual) / 3} differs");
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

    private static EmbeddingTable Open(string path)
    {
        if (!path.EndsWith(".gz", StringComparison.Ordinal))
            return EmbeddingTable.Open(path);
        string unpacked = Path.Combine(Directory.CreateTempSubdirectory("mmesid-tests-").FullName, Path.GetFileNameWithoutExtension(path));
        using (GZipStream source = new(File.OpenRead(path), CompressionMode.Decompress))
        using (FileStream destination = File.Create(unpacked))
            source.CopyTo(destination);
        return EmbeddingTable.Open(unpacked);
    }
}
