using MmeSid.Engine.Sids;

namespace MmeSid.Engine.Tests.Sids;

public sealed class SidWordsTests
{
    private static readonly string[] s_texts = ["red lip balm", "red lip gloss", "blue Nail polish 15", "blue nail file", "", "red nail polish 15 x"];

    private static SidTrie Trie() => SidTrie.Build(new SidTable(2, [0, 0, 0, 1, 1, 0, 1, 1, 2, 0, 1, 0]));

    [Fact]
    public void Each_code_is_named_by_what_it_adds()
    {
        var words = new SidWords(Trie(), s_texts, count: 2);
        // "lip" is in both items and nowhere else, "red" in one more; "balm" is in one text alone.
        IReadOnlyList<string[]> lips = words.Of([0, 0]);
        Assert.Equal(["lip", "red"], lips[0]);
        Assert.Empty(lips[1]);
        // "nail" in three of three, "blue" in two of three; then "polish" in both of the prefix, "red" in one.
        IReadOnlyList<string[]> nails = words.Of([1, 0]);
        Assert.Equal(["nail", "blue"], nails[0]);
        Assert.Equal(["polish", "red"], nails[1]);
        Assert.Equal(["nail", "blue"], words.Of([1])[0]);
        Assert.Empty(words.Of([2, 0])[0]);
    }

    [Fact]
    public void Other_numbers_of_texts_and_unknown_SIDs_are_refused()
    {
        Assert.Contains("2 texts for 6 items", Assert.Throws<ArgumentException>(() => new SidWords(Trie(), ["a", "b"])).Message);
        Assert.Contains("SID 0-2", Assert.Throws<ArgumentException>(() => new SidWords(Trie(), s_texts).Of([0, 2])).Message);
    }
}
