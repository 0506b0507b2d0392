using MmeSid.Engine.Embeddings;
using MmeSid.Engine.Files;
using MmeSid.Engine.Sids;

namespace MmeSid.Engine.Tests.Generation;

/// <summary>Writes models as training does, of any content.</summary>
internal static class TrainedFolders
{
    /// <summary>Writes a folder; <paramref name="others"/> are files that are copied into it, by name.</summary>
    public static string Write(
        string path, string kind, ItemIds items, IReadOnlyDictionary<string, string> options, IReadOnlyList<SafetensorsTensor> weights, SidTable? sids = null, IReadOnlyDictionary<string, string>? others = null)
    {
        using OutputFolder output = OutputFolder.Create(path, force: true, ModelFolder.DescriptionName);
        using (FileStream stream = File.Create(Path.Combine(output.Path, ModelFolder.WeightsName)))
            SafetensorsFile.Write(stream, weights);
        var names = new List<string>();
        if (sids is not null)
        {
            using FileStream stream = File.Create(Path.Combine(output.Path, "sids.npy"));
            NpyFile.Write(stream, sids.Codes, sids.Count, sids.Levels);
            names.Add("sids.npy");
        }
        foreach ((string name, string source) in others ?? new Dictionary<string, string>())
        {
            File.Copy(source, Path.Combine(output.Path, name));
            names.Add(name);
        }
        ModelFolder.Write(output, new ModelDescription { Kind = kind, Options = options }, items, names);
        output.Commit();
        return path;
    }

    /// <summary>A matrix of normal values.</summary>
    public static SafetensorsTensor Gaussian(string name, ulong seed, params long[] shape)
    {
        var random = new RandomSource(seed);
        return SafetensorsTensor.From<float>(name, [.. Enumerable.Range(0, (int)shape.Aggregate(1L, (product, size) => product * size)).Select(_ => (float)random.NextGaussian())], shape);
    }
}
