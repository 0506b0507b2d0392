using MmeSid.Engine.Embeddings;

namespace MmeSid.Engine.Sids;

/// <summary>
/// Names the codes of a SID by words of the items that share it: what each code adds to the prefix before it.
/// <para>
/// A word w of a prefix that m items have scores <c>(items of the prefix whose text has w) / m · idf(w)</c>, with <c>idf(w) = ln((1 + n)/(1 + texts with w)) + 1</c> over all n items: in many of these
/// items, in few others. Words are those of <see cref="TextEmbedder"/>, of at least two characters and one letter, in at least two texts; a word that names a shorter prefix of the SID does not name a
/// longer one again. Ties: ordinal order.
/// </para>
/// For one thread at a time; names are kept.
/// </summary>
public sealed class SidWords
{
    private const int kLeastTexts = 2, kLeastLength = 2;

    private readonly SidTrie _trie;
    private readonly string[][] _words;
    private readonly Dictionary<string, int> _texts = new(StringComparer.Ordinal);
    private readonly Dictionary<TrieNode, string[]> _names = [];
    private readonly int _count;

    /// <summary>Reads the texts.</summary>
    /// <param name="trie">The catalogue.</param>
    /// <param name="texts">Of its items by row, perhaps empty.</param>
    /// <param name="count">Most words for a code.</param>
    /// <exception cref="ArgumentException">There is another number of texts than of items.</exception>
    public SidWords(SidTrie trie, IReadOnlyList<string> texts, int count = 5)
    {
        ArgumentNullException.ThrowIfNull(trie);
        ArgumentNullException.ThrowIfNull(texts);
        ArgumentOutOfRangeException.ThrowIfLessThan(count, 1);
        if (texts.Count != trie.Count)
            throw new ArgumentException($"there are {texts.Count} texts for {trie.Count} items", nameof(texts));
        (_trie, _count) = (trie, count);
        _words = [.. texts.Select(text => TextEmbedder.Terms(text).Where(word => word.Length >= kLeastLength && word.Any(char.IsLetter)).Distinct(StringComparer.Ordinal).ToArray())];
        foreach (string word in _words.SelectMany(words => words))
            _texts[word] = _texts.GetValueOrDefault(word) + 1;
    }

    /// <summary>The words of each code of a SID or of the beginning of one, best first; none where its items have no texts.</summary>
    /// <exception cref="ArgumentException">No item has that SID.</exception>
    public IReadOnlyList<string[]> Of(ReadOnlySpan<ushort> sid)
    {
        var names = new string[sid.Length][];
        for (int level = 0; level < sid.Length; level++)
        {
            if (!_trie.TryFind(sid[..(level + 1)], out TrieNode node))
                throw new ArgumentException($"no item has the SID {SidText.Numbers(sid)}", nameof(sid));
            if (!_names.TryGetValue(node, out string[]? found))
                _names.Add(node, found = Name(node, names[..level]));
            names[level] = found;
        }
        return names;
    }

    private string[] Name(TrieNode node, string[][] before)
    {
        var counts = new Dictionary<string, int>(StringComparer.Ordinal);
        foreach (int row in _trie.Items(node))
        {
            foreach (string word in _words[row])
                counts[word] = counts.GetValueOrDefault(word) + 1;
        }
        return [.. counts.Where(entry => _texts[entry.Key] >= kLeastTexts && !before.Any(names => names.Contains(entry.Key)))
            .OrderByDescending(entry => entry.Value * (Math.Log((1.0 + _words.Length) / (1.0 + _texts[entry.Key])) + 1)).ThenBy(entry => entry.Key, StringComparer.Ordinal)
            .Take(_count).Select(entry => entry.Key)];
    }
}
