using System.CommandLine;
using System.Text.Encodings.Web;
using System.Text.Json;
using System.Text.Json.Nodes;
using MmeSid.Cli.Terminal;
using MmeSid.Engine.Embeddings;
using MmeSid.Engine.Files;
using MmeSid.Training;
using MmeSid.Training.Ranking;

namespace MmeSid.Cli.Commands;

/// <summary><c>mmesid rank</c>: candidates in, the same in the order of a ranker out.</summary>
internal static class RankCommand
{
    private const int kLinesPerCall = 64;
    private const string kUser = "user", kItems = "items", kScores = "scores", kStandardInput = "-";
    private static readonly JsonSerializerOptions s_json = new() { Encoder = JavaScriptEncoder.UnsafeRelaxedJsonEscaping };

    public static Command Create()
    {
        Option<string> model = ModelOption.Create(RankerModel.Kind);
        var candidates = new Option<string>("--candidates", "-c")
        {
            Description = $"Candidates of users: JSON lines as 'recommend' writes them, or lines 'user item item …'; {kStandardInput} is standard input.",
            DefaultValueFactory = _ => kStandardInput,
            HelpName = "file",
        };
        var history = new Option<string?>("--user-history") { Description = "Item ids of the one user of all candidates, oldest first, separated by blanks.", HelpName = "ids" };
        var histories = new Option<string?>("--histories", "-s") { Description = "Whole histories of users, those of the candidates among them: lines 'user item item …', oldest event first, a user alone has none yet; .gz is unpacked.", HelpName = "file" };
        var top = new Option<int>("--top") { Description = "Items per user that are kept; 0 keeps all.", DefaultValueFactory = _ => 0, HelpName = "count" };
        var unknown = new Option<string>("--unknown")
        {
            Description = "Items that the model does not know: refuse stops, skip goes on without them and says how many they were.",
            DefaultValueFactory = _ => "refuse",
        }.AcceptOnlyFromAmong("refuse", "skip");
        var command = new Command("rank", "Orders candidates by a ranker, one JSON object a line for each user: items, best first, and their scores, logits of a click. What else stands beside the items of a line is put in the same order; "
            + "equal scores keep the order of the candidates.")
        {
            model, candidates, histories, history, top, unknown,
        };
        command.Validators.Add(parsed =>
        {
            if (parsed.GetValue(history) is null == parsed.GetValue(histories) is null)
                parsed.AddError("expected either --user-history or --histories");
        });
        command.SetAction(parsed => CommandRun.Execute(parsed, run =>
        {
            if (run.Need(top) < 0)
                throw new ArgumentException($"{top.Name} is {run.Need(top)}, expected at least 0");
            string file = run.Need(candidates);
            using TextReader input = file == kStandardInput ? Console.In : File.OpenText(file);
            bool skip = run.Need(unknown) == "skip";
            Func<string?, IReadOnlyList<string>?> idsOf = run.Get(history) is { } ids ? _ => Histories.Ids(ids) : Reader(run, run.Get(histories)!);
            TorchRuntime.Start(GlobalOptions.ThreadCount(run.Parsed));
            using RankerModel ranker = RankerModel.Open(ModelFolder.Open(run.Need(model)));
            var ranking = new Ranking(ranker, idsOf, file == kStandardInput ? "standard input" : file, run.Need(top), skip);
            using Stream output = Console.OpenStandardOutput();
            run.Progress.Step("rank", 0, "users", step =>
            {
                while (ranking.Read(input, kLinesPerCall) is { Count: > 0 } lines)
                {
                    run.Cancellation.ThrowIfCancellationRequested();
                    ranking.Write(output, lines);
                    step.Advance(lines.Count);
                }
            });
            ranking.Report(run);
        }));
        return command;
    }

    // Histories by user; null where there is none. Those of users who are not asked for do not matter.
    private static Func<string?, IReadOnlyList<string>?> Reader(CommandRun run, string path)
    {
        InteractionSequences sequences = run.Progress.Step("read", () => InteractionSequences.ReadFile(path));
        if (sequences.Users.Count == 0)
            throw new InvalidDataException($"{path}: is empty, expected lines 'user item item …'");
        Dictionary<string, int> users = sequences.Users.Index().ToDictionary(user => user.Item, user => user.Index, StringComparer.Ordinal);
        return user => user is not null && users.TryGetValue(user, out int number) ? Histories.Ids(sequences, number) : null;
    }

    /// <summary>Candidates of a user: places in the line's arrays with the rows of the model.</summary>
    private sealed record Candidates(JsonObject Line, int Count, int[] History, (int Place, int Row)[] Known);

    /// <summary>Reads lines, scores and writes them.</summary>
    private sealed class Ranking(RankerModel ranker, Func<string?, IReadOnlyList<string>?> idsOf, string place, int top, bool skipUnknown)
    {
        private readonly KnownItems _candidates = new(ranker.Items, skipUnknown), _clicked = new(ranker.Items, skipUnknown);
        private long _line, _users, _cut;

        private string Where => $"{place}: line {_line}: ";

        /// <summary>Says what was left out.</summary>
        public void Report(CommandRun run)
        {
            Histories.Report(run, _clicked.Skipped, _cut, _users, ranker.Options.History);
            if (_candidates.Skipped > 0)
                run.Progress.Note($"{_candidates.Skipped} candidates that the model does not know were skipped");
        }

        /// <summary>The candidates of the next users; none at the end.</summary>
        public List<Candidates> Read(TextReader input, int most)
        {
            var lines = new List<Candidates>();
            while (lines.Count < most && input.ReadLine() is { } line)
            {
                _line++;
                if (!string.IsNullOrWhiteSpace(line))
                    lines.Add(Parse(line));
            }
            return lines;
        }

        public void Write(Stream output, List<Candidates> lines)
        {
            double[] scores = ranker.Scorer.Score([.. lines.SelectMany(line => line.Known.Select(candidate => ((ReadOnlyMemory<int>)line.History, candidate.Row)))]);
            int first = 0;
            foreach (Candidates line in lines)
            {
                (int Place, double Score)[] order = [.. line.Known.Select((candidate, i) => (candidate.Place, Score: scores[first + i])).OrderByDescending(candidate => candidate.Score)];
                first += line.Known.Length;
                if (top > 0 && top < order.Length)
                    order = order[..top];
                JsonSerializer.Serialize(output, Ordered(line, order), s_json);
                output.WriteByte((byte)'\n');
            }
            output.Flush();
        }

        // Arrays as long as that of the items stand beside them; of what else the line has nothing changes.
        private static JsonObject Ordered(Candidates line, (int Place, double Score)[] order)
        {
            var result = new JsonObject();
            foreach ((string name, JsonNode? value) in line.Line)
            {
                result[name] = value is JsonArray beside && beside.Count == line.Count ? new JsonArray([.. order.Select(candidate => beside[candidate.Place]?.DeepClone())]) : value?.DeepClone();
                // The scores behind the items, where 'recommend' has them.
                if (name == kItems)
                    result[kScores] = null;
            }
            result[kScores] = new JsonArray([.. order.Select(candidate => JsonValue.Create(candidate.Score))]);
            return result;
        }

        private Candidates Parse(string text)
        {
            JsonObject line = text.TrimStart().StartsWith('{') ? ParseJson(text) : ParsePlain(text);
            string?[] items = line[kItems] is JsonArray array ? [.. array.Select(Text)] : throw Problem($"has no array '{kItems}'");
            if (items.Contains(null))
                throw Problem($"'{kItems}' holds what is no item id");
            var known = new List<(int, int)>();
            foreach ((int place, string? item) in items.Index())
            {
                if (_candidates.TryFind(Where, item!, out int row))
                    known.Add((place, row));
            }
            return new Candidates(line, items.Length, HistoryOf(Text(line[kUser])), [.. known]);
        }

        private int[] HistoryOf(string? user)
        {
            IReadOnlyList<string> ids = idsOf(user) ?? throw Problem(user is null ? $"has no '{kUser}', whose history it would be" : $"user '{OneLine.Of(user)}' has no history");
            int[] rows = _clicked.Find(Histories.WhereOf(user), ids);
            _users++;
            _cut += rows.Length > ranker.Options.History ? 1 : 0;
            return rows;
        }

        private JsonObject ParseJson(string text)
        {
            try
            {
                JsonObject line = JsonNode.Parse(text) as JsonObject ?? throw Problem("is no JSON object");
                // A name that is given twice is found only when names are looked up, half a letter only when it is written.
                _ = line.Count;
                _ = line.ToJsonString();
                return line;
            }
            catch (Exception problem) when (problem is JsonException or ArgumentException or InvalidOperationException)
            {
                throw Problem("is no JSON object");
            }
        }

        private static JsonObject ParsePlain(string text)
        {
            string[] fields = text.Split((char[]?)null, StringSplitOptions.RemoveEmptyEntries);
            return new JsonObject { [kUser] = fields[0], [kItems] = new JsonArray([.. fields.Skip(1).Select(item => JsonValue.Create(item))]) };
        }

        private static string? Text(JsonNode? node) => node is JsonValue value ? value.TryGetValue(out string? text) ? text : value.TryGetValue(out long number) ? $"{number}" : null : null;

        private InvalidDataException Problem(string what) => new(Where + what);
    }
}
