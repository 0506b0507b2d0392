using System.Globalization;
using System.Text.Json;
using System.Text.Json.Nodes;

namespace MmeSid.Training.Optimization;

/// <summary>Where a run stands between two steps, apart from what is in tensors. Travels as text in a checkpoint.</summary>
internal sealed class LoopState
{
    /// <summary>Epoch under way, from 0.</summary>
    public int Epoch { get; set; }

    /// <summary>Steps of it that are done.</summary>
    public int Step { get; set; }

    /// <summary>Epoch, from 1, of the best parameters so far; 0 before any.</summary>
    public int BestEpoch { get; set; }

    /// <summary>Its score.</summary>
    public double BestScore { get; set; } = double.NegativeInfinity;

    /// <summary>Sums over the done steps of the epoch under way: the total under the empty name, the parts under theirs.</summary>
    public OrderedDictionary<string, double> Sums { get; } = [];

    /// <summary>Seconds that those steps took.</summary>
    public double Seconds { get; set; }

    /// <summary>Finished epochs.</summary>
    public List<EpochReport> Epochs { get; } = [];

    /// <summary>Text from which <see cref="Parse"/> makes the same state, every number bit for bit.</summary>
    public string Format() => new JsonObject
    {
        ["epoch"] = Epoch,
        ["step"] = Step,
        ["best_epoch"] = BestEpoch,
        ["best_score"] = Text(BestScore),
        ["seconds"] = Text(Seconds),
        ["sums"] = Object(Sums),
        ["epochs"] = new JsonArray([.. Epochs.Select(report => new JsonObject
        {
            ["epoch"] = report.Epoch,
            ["loss"] = Text(report.Loss),
            ["parts"] = Object(report.Parts),
            ["score"] = report.Score is { } score ? Text(score) : null,
            ["rate"] = Text(report.LearningRate),
            ["seconds"] = Text(report.Seconds),
        })]),
    }.ToJsonString();

    /// <summary>Reads a state.</summary>
    /// <param name="path">Where the text comes from, for messages.</param>
    /// <param name="text">Of <see cref="Format"/>.</param>
    /// <exception cref="InvalidDataException">The text is none of <see cref="Format"/>'s.</exception>
    public static LoopState Parse(string path, string text)
    {
        try
        {
            JsonNode json = JsonNode.Parse(text)!;
            var state = new LoopState
            {
                Epoch = (int)json["epoch"]!,
                Step = (int)json["step"]!,
                BestEpoch = (int)json["best_epoch"]!,
                BestScore = Number(json["best_score"]),
                Seconds = Number(json["seconds"]),
            };
            foreach ((string name, JsonNode? sum) in json["sums"]!.AsObject())
                state.Sums[name] = Number(sum);
            foreach (JsonNode? report in json["epochs"]!.AsArray())
            {
                state.Epochs.Add(new EpochReport((int)report!["epoch"]!, Number(report["loss"]), report["parts"]!.AsObject().ToDictionary(part => part.Key, part => Number(part.Value)),
                    report["score"] is { } score ? Number(score) : null, Number(report["rate"]), Number(report["seconds"])));
            }
            return state;
        }
        catch (Exception problem) when (problem is JsonException or NullReferenceException or InvalidOperationException or FormatException)
        {
            throw new InvalidDataException($"{path}: is no checkpoint of a training loop; delete it to start over", problem);
        }
    }

    private static JsonObject Object(IEnumerable<KeyValuePair<string, double>> numbers) => new(numbers.Select(entry => KeyValuePair.Create(entry.Key, (JsonNode?)Text(entry.Value))));

    // As text, because JSON has no infinity.
    private static string Text(double value) => value.ToString("R", CultureInfo.InvariantCulture);

    private static double Number(JsonNode? text) => double.Parse((string)text!, CultureInfo.InvariantCulture);
}
