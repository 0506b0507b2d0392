using MmeSid.Engine.Embeddings;
using MmeSid.Engine.Quantization;
using MmeSid.Engine.Sids;

namespace MmeSid.Training.Tests.LanguageModels;

/// <summary>Bundles of 4, 3 and 2 codes whose first twelve items have different SIDs; every fifth was given its last code when collisions were settled.</summary>
internal static class CodeBundle
{
    public static readonly int[] Codes = [4, 3, 2];

    /// <summary>Writes one.</summary>
    /// <param name="path">Its folder.</param>
    /// <param name="items">Item number i − seed has SID (i mod 4, i/4 mod 3, 7i/5 mod 2).</param>
    /// <param name="dimension">Values of a codeword.</param>
    /// <param name="seed">Of the codewords and of which item has which codes, at least 0.</param>
    public static SidBundle Write(string path, ItemIds items, int dimension = 8, int seed = 0)
    {
        var quantizer = new Quantizer(QuantizerKind.RqKMeans, dimension, [.. Codes.Select((count, level) => Libtorch.Numbers(seed + level + 1, count * dimension, -1, 1).Select(value => (float)value).ToArray())]);
        SidTable Sids(Func<int, int> last) => new(3, [.. Enumerable.Range(seed, (int)items.Count).SelectMany(item => (ushort[])[(ushort)(item % 4), (ushort)(item / 4 % 3), (ushort)last(item)])]);
        SidBundle.Write(path, new BundleContent
        {
            Quantizer = quantizer,
            Preprocessing = new Preprocessing([new TablePart(dimension, false, 1)]),
            Items = items,
            Codes = Sids(item => item % 5 == 3 ? 1 - Last(item) : Last(item)),
            Sids = Sids(Last),
        }, force: false);
        return SidBundle.Open(path);

        static int Last(int item) => item * 7 / 5 % 2;
    }
}
