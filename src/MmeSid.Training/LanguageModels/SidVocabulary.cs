using MmeSid.Engine.Quantization;
using MmeSid.Engine.Sids;

namespace MmeSid.Training.LanguageModels;

/// <summary>The codes of all levels as rows of one table: code k of level l is row offset_l + k, offset_l = Σ_{j&lt;l} K_j; the row behind them, T, is the begin vector.</summary>
public sealed class SidVocabulary
{
    private readonly int[] _offsets;

    /// <summary>Numbers the codes.</summary>
    /// <param name="codes">K_l of every level.</param>
    public SidVocabulary(IReadOnlyList<int> codes)
    {
        ArgumentNullException.ThrowIfNull(codes);
        if (codes.Count == 0 || codes.Min() < 1)
            throw new ArgumentException($"[{string.Join(", ", codes)}] codes, expected at least one level of at least one code", nameof(codes));
        Codes = codes;
        _offsets = new int[codes.Count];
        for (int level = 1; level < codes.Count; level++)
            _offsets[level] = _offsets[level - 1] + codes[level - 1];
        Tokens = _offsets[^1] + codes[^1];
    }

    /// <summary>K_l.</summary>
    public IReadOnlyList<int> Codes { get; }

    /// <summary>L.</summary>
    public int Levels => Codes.Count;

    /// <summary>T = Σ K_l, which is also the row of the begin vector.</summary>
    public int Tokens { get; }

    /// <summary>First row of a level.</summary>
    public int Offset(int level) => _offsets[level];

    /// <summary>The row of a code.</summary>
    public int Row(int level, int code) => _offsets[level] + code;

    /// <summary>The codes and the begin vector as words of a model, such as <c>&lt;a_12&gt;</c>, in the order of the rows, [T + 1].</summary>
    public string[] Words() => [.. Codes.SelectMany((count, level) => Enumerable.Range(0, count).Select(code => SidText.Token(level, (ushort)code))), LlamaFiles.Begin];

    /// <summary>The codes that a quantizer gives, before collisions are settled.</summary>
    public static SidVocabulary Of(Quantizer quantizer)
    {
        ArgumentNullException.ThrowIfNull(quantizer);
        return new([.. Enumerable.Range(0, quantizer.Levels).Select(quantizer.CodeCount)]);
    }

    /// <summary>The codes of a bundle's settled SIDs: those of its codebooks and, where SIDs have a digit more, as many as it uses.</summary>
    public static SidVocabulary Of(SidBundle bundle)
    {
        ArgumentNullException.ThrowIfNull(bundle);
        return new([.. Enumerable.Range(0, bundle.Levels).Select(level => level < bundle.Quantizer.Levels
            ? bundle.Quantizer.CodeCount(level)
            : bundle.Sids.Level(level).Max() + 1)]);
    }
}
