using System.CommandLine;
using System.Text.Encodings.Web;
using System.Text.Json;
using MmeSid.Cli.Terminal;
using MmeSid.Engine.Embeddings;
using MmeSid.Engine.Evaluation;
using MmeSid.Engine.Files;
using MmeSid.Engine.Sids;

namespace MmeSid.Cli.Commands;

/// <summary><c>mmesid recommend</c>: histories in, the items most likely to come next out, one JSON object a line.</summary>
internal static class RecommendCommand
{
    private const int kUsersPerCall = 32;
    private static readonly JsonWriterOptions s_json = new() { Encoder = JavaScriptEncoder.UnsafeRelaxedJsonEscaping };

    public static Command Create()
    {
        Option<string> model = ModelOption.Create(TrainedRecommender.Kinds);
        var history = new Option<string?>("--user-history") { Description = "Item ids of one user, oldest first, separated by blanks.", HelpName = "ids" };
        var histories = new Option<string?>("--histories", "-s") { Description = "Whole histories of users: lines 'user item item …', oldest event first; .gz is unpacked.", HelpName = "file" };
        var top = new Option<int>("--top") { Description = "Items per user.", DefaultValueFactory = _ => 10, HelpName = "count" };
        var seen = new Option<bool>("--allow-seen") { Description = "Recommend items of the history as well." };
        var unknown = new Option<string>("--unknown")
        {
            Description = "Items that the model does not know: refuse stops, skip goes on without them and says how many they were.",
            DefaultValueFactory = _ => "refuse",
        }.AcceptOnlyFromAmong("refuse", "skip");
        var explain = new Option<string?>("--explain") { Description = "Texts of items, .csv or .tsv: adds the words that name each code of each SID.", HelpName = "file" };
        var columns = new Option<string?>("--columns") { Description = "With --explain: columns whose words name codes. [default: all but the id]", HelpName = "names" };
        var titles = new Option<string?>("--titles") { Description = "Items with a column 'title', .csv or .tsv: adds the titles.", HelpName = "file" };
        var command = new Command("recommend", "The items most likely to come next, one JSON object a line for each user: items, their scores and, of a model that generates them, SIDs. "
            + "Items that share a SID share a score and follow each other in the order of the model's items.")
        {
            model, history, histories, top, seen, unknown, explain, columns, TableOptions.IdColumn, titles,
        };
        TrainedRecommender.AddOptions(command);
        command.Validators.Add(parsed =>
        {
            if (parsed.GetValue(history) is null == parsed.GetValue(histories) is null)
                parsed.AddError("expected either --user-history or --histories");
            if (parsed.GetValue(columns) is not null && parsed.GetValue(explain) is null)
                parsed.AddError("--columns needs --explain");
        });
        command.SetAction(parsed => CommandRun.Execute(parsed, run =>
        {
            if (run.Need(top) < 1)
                throw new ArgumentException($"{top.Name} is {run.Need(top)}, expected at least 1");
            ModelFolder folder = ModelFolder.Open(run.Need(model));
            bool skip = run.Need(unknown) == "skip";
            Histories users = run.Get(history) is { } ids
                ? Histories.Of(ids, folder.Items, skip)
                : Histories.Of(run.Progress.Step("read", () => InteractionSequences.ReadFile(run.Get(histories)!)), folder.Items, skip);
            int count = (int)Math.Min(run.Need(top), folder.Items.Count);
            using TrainedRecommender trained = TrainedRecommender.Open(run, folder, count);
            var lines = new Lines(
                trained,
                run.Get(titles) is { } file ? Texts(file, run, ["title"], trained.Items) : null,
                run.Get(explain) is { } texts ? Words(texts, run, run.Get(columns)?.Split(','), trained, folder) : null,
                count);
            users.Report(run, trained.MaximumHistory);
            using Stream output = Console.OpenStandardOutput();
            run.Progress.Step("recommend", users.Rows.Count, "users", step =>
            {
                for (int first = 0; first < users.Rows.Count; first += kUsersPerCall)
                {
                    run.Cancellation.ThrowIfCancellationRequested();
                    int[][] rows = [.. users.Rows.Skip(first).Take(kUsersPerCall)];
                    IReadOnlyList<RankedGroup[]> results = trained.Recommender.Recommend([.. rows.Select(own => new NextItemQuery(own, run.Get(seen) ? [] : own))], count);
                    for (int i = 0; i < rows.Length; i++)
                        lines.Write(output, users.Users[first + i], results[i]);
                    output.Flush();
                    step.Advance(rows.Length);
                }
            });
        }));
        return command;
    }

    private static SidWords Words(string file, CommandRun run, IReadOnlyList<string>? columns, TrainedRecommender trained, ModelFolder folder) => trained.Sids is { } sids
        ? new SidWords(sids.Trie, Texts(file, run, columns, trained.Items))
        : throw new ArgumentException($"--explain names the codes of SIDs, {folder.Path} is of kind '{folder.Description.Kind}', which generates none");

    // Texts by row of the model, empty for items that the file lacks.
    private static string[] Texts(string file, CommandRun run, IReadOnlyList<string>? columns, ItemIds items)
    {
        TextItems texts = TextItems.ReadFile(file, run.Get(TableOptions.IdColumn), columns);
        string[] byRow = [.. items.Select(id => texts.Items.TryFind(id, out long row) ? texts.Texts[(int)row] : "")];
        return items.Any(id => texts.Items.TryFind(id, out _)) ? byRow : throw new InvalidDataException($"{file}: has none of the {items.Count} items of the model, the first of which is '{items[0]}'");
    }

    /// <summary>Writes what was found for a user as one line.</summary>
    private sealed class Lines(TrainedRecommender trained, string[]? titles, SidWords? words, int count)
    {
        public void Write(Stream output, string? user, RankedGroup[] groups)
        {
            (int Row, double Score)[] found = [.. groups.SelectMany(group => group.Items.Select(row => (row, group.Score))).Take(count)];
            using (var json = new Utf8JsonWriter(output, s_json))
            {
                json.WriteStartObject();
                json.WriteString("user", user);
                Array("items", row => json.WriteStringValue(trained.Items[row]));
                json.WriteStartArray("scores");
                foreach ((_, double score) in found)
                    json.WriteNumberValue(score);
                json.WriteEndArray();
                if (trained.Sids is { } sids)
                    Array("sids", row => json.WriteStringValue(SidText.Numbers(sids.Sids[row])));
                if (titles is not null)
                    Array("titles", row => json.WriteStringValue(titles[row]));
                if (words is not null)
                    Array("explanations", row => Explain(json, trained.Sids!.Sids[row], words));
                json.WriteEndObject();

                void Array(string name, Action<int> write)
                {
                    json.WriteStartArray(name);
                    foreach ((int row, _) in found)
                        write(row);
                    json.WriteEndArray();
                }
            }
            output.WriteByte((byte)'\n');
        }

        private static void Explain(Utf8JsonWriter json, ReadOnlySpan<ushort> sid, SidWords words)
        {
            IReadOnlyList<string[]> names = words.Of(sid);
            json.WriteStartArray();
            for (int level = 0; level < sid.Length; level++)
            {
                json.WriteStartObject();
                json.WriteString("code", SidText.Token(level, sid[level]));
                json.WriteStartArray("words");
                foreach (string word in names[level])
                    json.WriteStringValue(word);
                json.WriteEndArray();
                json.WriteEndObject();
            }
            json.WriteEndArray();
        }
    }
}
