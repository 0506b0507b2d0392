using System.Collections.Concurrent;
using System.Globalization;
using System.Text;

namespace MmeSid.Engine.Embeddings;

/// <summary>Options of <see cref="TextEmbedder"/>.</summary>
public sealed record TextOptions
{
    /// <summary>d, at most the number of texts and of terms.</summary>
    public int Dimension { get; init; } = 128;

    /// <summary>Terms that occur in fewer texts are left out; 1 keeps all.</summary>
    public int MinimumTexts { get; init; } = 2;

    /// <summary>At most this many terms, those in the most texts first (ties in ordinal order); 0: all.</summary>
    public int MaximumTerms { get; init; } = 100_000;

    /// <summary>Term frequency 1 + ln count in place of the count.</summary>
    public bool SublinearFrequency { get; init; } = true;

    /// <summary>Items without a known term.</summary>
    public EmptyItems Empty { get; init; } = EmptyItems.Zero;

    /// <summary>Seed of the randomized decomposition.</summary>
    public ulong Seed { get; init; }

    /// <summary>Threads; 0: all cores. Changes no value.</summary>
    public int Threads { get; init; }
}

/// <summary>
/// Latent semantic analysis: texts → TF-IDF → truncated SVD, rows U_d·Σ_d.
/// <para>
/// A term is a maximal run of Unicode letters, marks and digits, in lower case. <c>tf</c> = 1 + ln count (or the count);
/// <c>idf</c> = ln((1 + n)/(1 + texts with the term)) + 1; each text's row tf·idf is divided by its Euclidean norm.
/// </para>
/// Deterministic for a seed, whatever the number of threads.
/// </summary>
public static class TextEmbedder
{
    private const int kTextsPerBlock = 256;

    /// <summary>Embeds texts.</summary>
    /// <exception cref="InvalidDataException">There are fewer texts or terms than dimensions; or an item has no known term under <see cref="EmptyItems.Refuse"/>.</exception>
    /// <exception cref="ArgumentException">An option is out of range, or ids and texts differ in number.</exception>
    public static EmbeddingResult Embed(TextItems items, TextOptions? options = null, CancellationToken cancellation = default)
    {
        ArgumentNullException.ThrowIfNull(items);
        options ??= new TextOptions();
        ArgumentOutOfRangeException.ThrowIfLessThan(options.Dimension, 1, "dimension");
        ArgumentOutOfRangeException.ThrowIfNegative(options.MaximumTerms, "maximum terms");
        ArgumentOutOfRangeException.ThrowIfNegative(options.Threads, "threads");
        if (items.Items.Count != items.Texts.Count)
            throw new ArgumentException($"{items.Items.Count} item ids and {items.Texts.Count} texts", nameof(items));
        var parallel = new ParallelOptions { MaxDegreeOfParallelism = options.Threads == 0 ? Environment.ProcessorCount : options.Threads, CancellationToken = cancellation };

        (string Term, int Count)[][] counted = CountTerms(items.Texts, parallel);
        Dictionary<string, int> columns = Vocabulary(counted, options, out double[] weights);
        var rows = new List<(int[] Columns, float[] Values)>(counted.Length);
        foreach ((string Term, int Count)[] terms in counted)
            rows.Add(WeightedRow(terms, columns, weights, options.SublinearFrequency));
        int known = rows.Count(row => row.Columns.Length > 0);
        if (known < options.Dimension || columns.Count < options.Dimension)
            throw new InvalidDataException($"{known} texts (of {rows.Count}) with {columns.Count} known terms cannot be embedded in {options.Dimension} dimensions, expected at least as many of each");
        return Factorization.Embed(rows, items.Items, columns.Count, options.Dimension, power: 1, options.Empty, "no known term in their text", new RandomSource(options.Seed), options.Threads, cancellation);
    }

    /// <summary>The terms of a text, in order.</summary>
    internal static IEnumerable<string> Terms(string text)
    {
        var term = new StringBuilder();
        foreach (Rune rune in text.EnumerateRunes())
        {
            bool belongs = Rune.IsLetterOrDigit(rune)
                || Rune.GetUnicodeCategory(rune) is UnicodeCategory.NonSpacingMark or UnicodeCategory.SpacingCombiningMark;
            if (belongs)
            {
                term.Append(Rune.ToLowerInvariant(rune));
            }
            else if (term.Length > 0)
            {
                yield return term.ToString();
                term.Clear();
            }
        }
        if (term.Length > 0)
            yield return term.ToString();
    }

    private static (string Term, int Count)[][] CountTerms(IReadOnlyList<string> texts, ParallelOptions parallel)
    {
        var counted = new (string, int)[texts.Count][];
        // One string per distinct term, whoever meets it first.
        var distinct = new ConcurrentDictionary<string, string>(StringComparer.Ordinal);
        Parallel.ForEach(Partitioner.Create(0, Math.Max(1, texts.Count), kTextsPerBlock), parallel, range =>
        {
            var counts = new Dictionary<string, int>(StringComparer.Ordinal);
            for (int i = range.Item1; i < Math.Min(range.Item2, texts.Count); i++)
            {
                counts.Clear();
                foreach (string term in Terms(texts[i]))
                    counts[term] = counts.GetValueOrDefault(term) + 1;
                counted[i] = [.. counts.Select(pair => (distinct.GetOrAdd(pair.Key, pair.Key), pair.Value))];
            }
        });
        return counted;
    }

    /// <summary>Columns of the kept terms, in ordinal order, and their idf.</summary>
    private static Dictionary<string, int> Vocabulary((string Term, int Count)[][] counted, TextOptions options, out double[] weights)
    {
        var texts = new Dictionary<string, int>(StringComparer.Ordinal);
        foreach ((string Term, int Count)[] terms in counted)
        {
            foreach ((string term, _) in terms)
                texts[term] = texts.GetValueOrDefault(term) + 1;
        }
        IEnumerable<KeyValuePair<string, int>> kept = texts.Where(pair => pair.Value >= options.MinimumTexts);
        if (options.MaximumTerms > 0)
            kept = kept.OrderByDescending(pair => pair.Value).ThenBy(pair => pair.Key, StringComparer.Ordinal).Take(options.MaximumTerms);
        string[] vocabulary = [.. kept.Select(pair => pair.Key).Order(StringComparer.Ordinal)];
        weights = [.. vocabulary.Select(term => Math.Log((1.0 + counted.Length) / (1.0 + texts[term])) + 1)];
        var columns = new Dictionary<string, int>(vocabulary.Length, StringComparer.Ordinal);
        foreach (string term in vocabulary)
            columns.Add(term, columns.Count);
        return columns;
    }

    private static (int[] Columns, float[] Values) WeightedRow((string Term, int Count)[] terms, Dictionary<string, int> columns, double[] weights, bool sublinear)
    {
        var entries = new List<(int Column, double Value)>(terms.Length);
        foreach ((string term, int count) in terms)
        {
            if (columns.TryGetValue(term, out int column))
                entries.Add((column, (sublinear ? 1 + Math.Log(count) : count) * weights[column]));
        }
        entries.Sort((left, right) => left.Column.CompareTo(right.Column));
        double norm = Math.Sqrt(entries.Sum(entry => entry.Value * entry.Value));
        return ([.. entries.Select(entry => entry.Column)], [.. entries.Select(entry => (float)(entry.Value / norm))]);
    }
}
