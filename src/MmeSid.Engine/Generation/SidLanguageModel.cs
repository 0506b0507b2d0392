using MmeSid.Engine.Embeddings;
using MmeSid.Engine.Files;
using MmeSid.Engine.Sids;
using MmeSid.Kernels;

namespace MmeSid.Engine.Generation;

/// <summary>
/// What makes a language model of dimension H generate SIDs: an input vector and a row of the head for each code of each level, and the catalogue. Codes are numbered through the levels:
/// code k of level l is row <c>offset_l + k</c>, offset_l = K_1 + … + K_{l−1}, of T = K_1 + … + K_L rows.
/// <para>
/// The language model reads the tokens of a prefix, the begin vector and, oldest first, the L code vectors of each item of the history. With h the hidden state after the final norm of the last entry,
/// <c>head[offset_1 + k] · h</c> is the logit of code k of the first level of the next item; after reading that code's vector the new h scores the second level, and so on.
/// </para>
/// Immutable; reading is thread-safe.
/// </summary>
public sealed class SidLanguageModel : IDisposable
{
    /// <summary>Its kind in <c>model.json</c>.</summary>
    public const string Kind = "sid-lm";

    /// <summary>Name of the input vectors in <see cref="ModelFolder.WeightsName"/>, [T + 1, H].</summary>
    public const string EmbeddingsName = "sid.embeddings";

    /// <summary>Name of what scores codes, [T, H].</summary>
    public const string HeadName = "sid.head";

    /// <summary>The SIDs that it was trained on, uint16 [n, L].</summary>
    public const string SidsName = "sids.npy";

    private readonly RowMatrix _embeddings, _head;
    private readonly int[] _codes, _offsets;

    /// <summary>Puts a model together.</summary>
    /// <param name="items">n ≥ 1 items.</param>
    /// <param name="sids">[n, L], the SID of each item.</param>
    /// <param name="codes">K_1 … K_L.</param>
    /// <param name="embeddings">[T + 1, H], the begin vector last; owned from here on.</param>
    /// <param name="head">[T, H]; owned from here on.</param>
    /// <param name="length">Most items of a history that are looked at, the last ones.</param>
    /// <param name="prefix">Text before the history, perhaps empty. Names of special tokens in it stand for these tokens.</param>
    /// <exception cref="ArgumentException">Shapes do not fit, or a code is outside of its level.</exception>
    public SidLanguageModel(ItemIds items, SidTable sids, IReadOnlyList<int> codes, RowMatrix embeddings, RowMatrix head, int length, string prefix = "")
    {
        ArgumentNullException.ThrowIfNull(items);
        ArgumentNullException.ThrowIfNull(sids);
        ArgumentNullException.ThrowIfNull(codes);
        ArgumentNullException.ThrowIfNull(embeddings);
        ArgumentNullException.ThrowIfNull(head);
        ArgumentNullException.ThrowIfNull(prefix);
        _codes = [.. codes];
        _offsets = new int[_codes.Length];
        for (int level = 1; level < _offsets.Length; level++)
            _offsets[level] = checked(_offsets[level - 1] + _codes[level - 1]);
        Check(items, sids, embeddings, head, length);
        (Items, Sids, Length, Prefix) = (items, sids, length, prefix);
        (_embeddings, _head) = (embeddings, head);
        Trie = SidTrie.Build(sids);
    }

    /// <summary>The items by row.</summary>
    public ItemIds Items { get; }

    /// <summary>SIDs by row.</summary>
    public SidTable Sids { get; }

    /// <summary>The catalogue: every SID that an item has.</summary>
    public SidTrie Trie { get; }

    /// <summary>L.</summary>
    public int Levels => _codes.Length;

    /// <summary>H.</summary>
    public int Dimension => _head.Dimension;

    /// <summary>Most items of a history that are looked at, the last ones.</summary>
    public int Length { get; }

    /// <summary>Text before the history.</summary>
    public string Prefix { get; }

    /// <summary>Vector before the history, [H].</summary>
    public ReadOnlySpan<float> BeginVector => _embeddings.Rows(_embeddings.Count - 1, 1);

    /// <summary>K of a level, counted from 0.</summary>
    public int Codes(int level) => _codes[level];

    /// <summary>Input vector of a code, [H].</summary>
    public ReadOnlySpan<float> CodeVector(int level, int code) => _embeddings.Rows(_offsets[level] + code, 1);

    /// <summary>Rows of the head of a level, [K, H].</summary>
    public RowView Head(int level) => _head.View(_offsets[level], _codes[level]);

    /// <summary>Reads a model of kind <see cref="Kind"/>.</summary>
    /// <exception cref="InvalidDataException">It is of another kind, or its files do not fit each other.</exception>
    public static SidLanguageModel Open(ModelFolder folder)
    {
        ArgumentNullException.ThrowIfNull(folder);
        ModelDescription description = folder.Description;
        if (description.Kind != Kind)
            throw new InvalidDataException($"{folder.Path}: the model is of kind '{description.Kind}', expected '{Kind}'");
        int[] codes = Array.ConvertAll(description.Option<string>("codes").Split(','), text => int.TryParse(text, out int count) && count is > 0 and <= ushort.MaxValue + 1
            ? count
            : throw new InvalidDataException($"{folder.Path}: the model's option 'codes' is '{description.Options["codes"]}', expected the codes of each level, such as 256,256"));
        SidTable sids = SidTable.ReadNpy(folder.PathOf(SidsName));
        using SafetensorsFile weights = SafetensorsFile.Open(folder.PathOf(ModelFolder.WeightsName));
        RowMatrix embeddings = WeightTensors.ReadMatrix(weights, EmbeddingsName, codes.Sum(count => (long)count) + 1, 0);
        RowMatrix? head = null;
        try
        {
            head = WeightTensors.ReadMatrix(weights, HeadName, embeddings.Count - 1, embeddings.Dimension);
            return new SidLanguageModel(folder.Items, sids, codes, embeddings, head, description.Option<int>("length"), description.Options.GetValueOrDefault("prefix", ""));
        }
        catch (Exception problem)
        {
            head?.Dispose();
            embeddings.Dispose();
            throw problem is ArgumentException ? new InvalidDataException($"{folder.Path}: {problem.Message}", problem) : problem;
        }
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        _embeddings.Dispose();
        _head.Dispose();
        Trie.Dispose();
    }

    private void Check(ItemIds items, SidTable sids, RowMatrix embeddings, RowMatrix head, int length)
    {
        if (items.Count == 0)
            throw new ArgumentException("the model has no items");
        if (sids.Count != items.Count)
            throw new ArgumentException($"there are {sids.Count} SIDs for {items.Count} items");
        if (sids.Levels != _codes.Length)
            throw new ArgumentException($"SIDs have {sids.Levels} levels, the model has {_codes.Length} ({string.Join(", ", _codes)} codes)");
        for (int level = 0; level < _codes.Length; level++)
        {
            int largest = sids.Level(level).Max();
            if (largest >= _codes[level])
                throw new ArgumentException($"SIDs have code {largest} on level {level}, the model has codes 0 to {_codes[level] - 1} there");
        }
        int total = _offsets[^1] + _codes[^1];
        if (embeddings.Count != total + 1 || head.Count != total || head.Dimension != embeddings.Dimension)
            throw new ArgumentException($"{total} codes need embeddings [{total + 1}, H] and a head [{total}, H], found [{embeddings.Count}, {embeddings.Dimension}] and [{head.Count}, {head.Dimension}]");
        if (length < 1)
            throw new ArgumentException($"the length of a history is {length}, expected at least 1");
    }
}
