using MmeSid.Engine.Files;

namespace MmeSid.Training.LanguageModels;

/// <summary>The tokens around every sequence of a recommender, as the base's own vectors of them. They are not trained.</summary>
/// <param name="Prefix">Tokens before a sequence.</param>
/// <param name="Suffix">Tokens behind it.</param>
/// <param name="Vectors">[Prefix + Suffix, H] row-major.</param>
public sealed record LlamaPrompt(int Prefix, int Suffix, float[] Vectors)
{
    private const string kEmbeddings = "token_embd.weight";

    /// <summary>No tokens.</summary>
    public static LlamaPrompt None { get; } = new(0, 0, []);

    /// <summary>Number of tokens.</summary>
    public int Count => Prefix + Suffix;

    /// <summary>Reads the vectors of tokens, bit for bit what llama.cpp reads of the file.</summary>
    /// <param name="file">The base.</param>
    /// <param name="prefix">Tokens before a sequence.</param>
    /// <param name="suffix">Tokens behind it.</param>
    /// <exception cref="InvalidDataException">The base has no such token, or its vectors cannot be widened.</exception>
    public static LlamaPrompt Read(GgufFile file, IReadOnlyList<int> prefix, IReadOnlyList<int> suffix)
    {
        ArgumentNullException.ThrowIfNull(file);
        ArgumentNullException.ThrowIfNull(prefix);
        ArgumentNullException.ThrowIfNull(suffix);
        int[] tokens = [.. prefix, .. suffix];
        if (tokens.Length == 0)
            return None;
        GgufEntry entry = file.Entry(kEmbeddings);
        if (entry.Shape is not [var rows, var dimension] || !GgufBlocks.CanDequantize(entry.Type))
            throw new InvalidDataException($"{file.Path}: tensor {kEmbeddings} is {entry.Type} of shape [{string.Join(", ", entry.Shape)}], expected a row of numbers per token");
        int width = (int)dimension;
        var vectors = new float[checked(tokens.Length * width)];
        var row = new byte[entry.Bytes / rows];
        for (int i = 0; i < tokens.Length; i++)
        {
            if (tokens[i] < 0 || tokens[i] >= rows)
                throw new InvalidDataException($"{file.Path}: has tokens 0 to {rows - 1}, not {tokens[i]}");
            file.ReadBytes(kEmbeddings, (long)tokens[i] * row.Length, row);
            GgufBlocks.Dequantize(entry.Type, row, vectors.AsSpan(i * width, width));
        }
        return new LlamaPrompt(prefix.Count, suffix.Count, vectors);
    }
}
