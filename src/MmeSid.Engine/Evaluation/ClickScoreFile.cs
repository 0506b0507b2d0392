using System.Globalization;
using System.Text;
using MmeSid.Engine.Embeddings;
using MmeSid.Engine.Files;

namespace MmeSid.Engine.Evaluation;

/// <summary>Samples and the scores that a model gave them as lines of fields with tabs between, whatever the file is called, with the columns <c>user</c>, <c>item</c>, <c>label</c> and <c>score</c>, so that models can be compared sample by sample.</summary>
public static class ClickScoreFile
{
    /// <summary>Writes the table; scores as .NET reads them back, bit for bit.</summary>
    /// <param name="stream">Destination.</param>
    /// <param name="clicks">Names users and items.</param>
    /// <param name="samples">[n].</param>
    /// <param name="scores">[n].</param>
    public static void Write(Stream stream, InteractionSequences clicks, IReadOnlyList<ClickSample> samples, IReadOnlyList<double> scores)
    {
        ArgumentNullException.ThrowIfNull(clicks);
        ArgumentNullException.ThrowIfNull(samples);
        ArgumentNullException.ThrowIfNull(scores);
        using var writer = new StreamWriter(stream, new UTF8Encoding(encoderShouldEmitUTF8Identifier: false), 1 << 16, leaveOpen: true) { NewLine = "\n" };
        writer.WriteLine("user\titem\tlabel\tscore");
        for (int i = 0; i < samples.Count; i++)
            writer.WriteLine(string.Create(CultureInfo.InvariantCulture, $"{clicks.Users[samples[i].User]}\t{clicks.Items[samples[i].Item]}\t{(samples[i].IsClicked ? 1 : 0)}\t{scores[i]:R}"));
    }

    /// <summary>Reads the scores of a table that was written for the same samples.</summary>
    /// <param name="path">The table.</param>
    /// <param name="clicks">Names users and items.</param>
    /// <param name="samples">[n], expected in this order.</param>
    /// <returns>[n].</returns>
    /// <exception cref="InvalidDataException">A line is of another sample or holds no number; the line is named.</exception>
    public static double[] Read(string path, InteractionSequences clicks, IReadOnlyList<ClickSample> samples)
    {
        ArgumentNullException.ThrowIfNull(clicks);
        ArgumentNullException.ThrowIfNull(samples);
        using var text = new DelimitedText(path, tabs: true);
        string[] expected = ["user", "item", "label", "score"];
        if (!text.Columns.SequenceEqual(expected))
            throw new InvalidDataException($"{path}: has the columns {OneLine.Of(string.Join(", ", text.Columns))}, expected {string.Join(", ", expected)}");
        var scores = new List<double>();
        while (text.Read())
        {
            string[] own = scores.Count == samples.Count ? [] : [clicks.Users[samples[scores.Count].User], clicks.Items[samples[scores.Count].Item], samples[scores.Count].IsClicked ? "1" : "0"];
            if (own.Length == 0 || own[0] != text[0] || own[1] != text[1] || own[2] != text[2])
                throw new InvalidDataException($"{text.Place}: is user '{OneLine.Of(text[0])}', item '{OneLine.Of(text[1])}', label {OneLine.Of(text[2])}, expected {(own.Length == 0 ? "no more lines" : $"'{own[0]}', '{own[1]}', {own[2]}")}: only scores of the same samples can be compared");
            if (!double.TryParse(text[3], NumberStyles.Float, CultureInfo.InvariantCulture, out double score) || !double.IsFinite(score))
                throw new InvalidDataException($"{text.Place}: score '{OneLine.Of(text[3])}' is no finite number");
            scores.Add(score);
        }
        return scores.Count == samples.Count ? [.. scores] : throw new InvalidDataException($"{path}: has {scores.Count} samples, expected {samples.Count}: only scores of the same samples can be compared");
    }
}
