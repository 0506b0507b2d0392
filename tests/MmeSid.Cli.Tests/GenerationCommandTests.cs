using System.Globalization;
using System.Text.Json.Nodes;
using MmeSid.Engine;
using MmeSid.Engine.Embeddings;
using MmeSid.Engine.Files;
using MmeSid.Engine.Sids;
using MmeSid.Engine.Tests.Generation;
using MmeSid.Llama;
using MmeSid.Llama.Tests;

namespace MmeSid.Cli.Tests;

/// <summary><c>recommend</c> and <c>evaluate</c> on models that run on a tiny Llama.</summary>
public sealed class GenerationCommandTests : IDisposable
{
    private const int kItems = 40, kDimension = 32, kCodes = 6, kLength = 5;
    private readonly ScratchFolder _scratch = new();

    public GenerationCommandTests() => Assert.SkipUnless(LlamaLibrary.UnavailableReason is null, LlamaLibrary.UnavailableReason ?? "");

    public void Dispose() => _scratch.Dispose();

    // Items 2i and 2i + 1 of the first ten share a SID.
    private static SidTable Sids()
    {
        var random = new RandomSource(3);
        ushort[] codes = [.. Enumerable.Range(0, kItems * 3).Select(_ => (ushort)random.NextLong(kCodes))];
        for (int item = 0; item < 10; item += 2)
            codes.AsSpan(item * 3, 3).CopyTo(codes.AsSpan((item + 1) * 3));
        return new SidTable(3, codes);
    }

    private string SidModel(string name = "M", bool inside = true, SidTable? sids = null, Action<Dictionary<string, string>>? change = null, int dimension = kDimension)
    {
        string file = new TinyLlama().Write(_scratch["base.gguf"]);
        var options = new Dictionary<string, string>
        {
            ["codes"] = $"{kCodes},{kCodes},{kCodes}",
            ["length"] = kLength.ToString(CultureInfo.InvariantCulture),
            ["prefix"] = "hello",
            ["base"] = file,
            ["base-sha256"] = ModelFolder.HashOf(file),
        };
        change?.Invoke(options);
        return TrainedFolders.Write(_scratch[name], "sid-lm", ItemIds.Sequential(kItems), options,
            [TrainedFolders.Gaussian("sid.embeddings", 1, (3 * kCodes) + 1, dimension), TrainedFolders.Gaussian("sid.head", 2, 3 * kCodes, dimension)],
            sids ?? Sids(), inside ? new Dictionary<string, string> { ["base.gguf"] = file } : null);
    }

    private string ScoringModel()
    {
        string file = new TinyLlama().Write(_scratch["base.gguf"]);
        return TrainedFolders.Write(_scratch["S"], "mme-sid", ItemIds.Sequential(kItems),
            new Dictionary<string, string> { ["length"] = "5", ["prefix"] = TinyLlama.Begin, ["suffix"] = "he", ["base"] = file, ["base-sha256"] = ModelFolder.HashOf(file) },
            [TrainedFolders.Gaussian("items.input", 1, kItems, kDimension), TrainedFolders.Gaussian("items.output", 2, kItems, kDimension)]);
    }

    private string Sequences() => _scratch.Text("sequences.txt",
        string.Join('\n', Enumerable.Range(0, 30).Select(user => $"u{user} {string.Join(' ', Enumerable.Range(user, 3 + (user % 5)).Select(item => (item % kItems) + 1))}")) + "\n");

    private static JsonNode[] Lines(Outcome outcome) => [.. outcome.Succeeded().Output.Split('\n', StringSplitOptions.RemoveEmptyEntries).Select(line => JsonNode.Parse(line)!)];

    private static string[] Texts(JsonNode? list) => [.. list!.AsArray().Select(value => value!.ToString())];

    [Fact]
    public void A_history_gets_items_that_it_lacks_with_their_SIDs()
    {
        string model = SidModel();
        JsonNode line = Assert.Single(Lines(Mmesid.Run("recommend", "--model", model, "--user-history", "3 1 4", "--top", "7")));
        Assert.Equal(["user", "items", "scores", "sids"], line.AsObject().Select(entry => entry.Key));
        Assert.Null(line["user"]);
        string[] items = Texts(line["items"]);
        Assert.Equal(7, items.Distinct().Count());
        Assert.Empty(items.Intersect(["3", "1", "4"]));
        double[] scores = [.. line["scores"]!.AsArray().Select(value => (double)value!)];
        Assert.Equal(scores.OrderDescending(), scores);
        Assert.All(scores, score => Assert.True(score < 0));
        SidTable sids = Sids();
        Assert.Equal(items.Select(item => SidText.Numbers(sids[int.Parse(item) - 1])), Texts(line["sids"]));

        // Everything, seen items too: who shares a SID shares a score and comes in order.
        JsonNode all = Assert.Single(Lines(Mmesid.Run("recommend", "--model", model, "--user-history", "3 1 4", "--top", "1000", "--allow-seen", "--json")));
        Assert.Equal(Enumerable.Range(1, kItems), Texts(all["items"]).Select(int.Parse).Order());
        string[] order = Texts(all["items"]);
        for (int item = 1; item <= 10; item += 2)
            Assert.Equal(Array.IndexOf(order, $"{item}") + 1, Array.IndexOf(order, $"{item + 1}"));
        JsonNode share = Assert.Single(Lines(Mmesid.Run("recommend", "--model", model, "--user-history", "3 1 4", "--top", "1000", "--allow-seen", "--scores", "renormalised")));
        Assert.Equal(1, Texts(share["sids"]).Zip(share["scores"]!.AsArray()).DistinctBy(pair => pair.First).Sum(pair => Math.Exp((double)pair.Second!)), 1e-6);
    }

    [Fact]
    public void Users_of_a_file_get_a_line_each_with_titles_and_words()
    {
        string texts = _scratch.Text("items.csv", "item_id,title,more\n" + string.Concat(Enumerable.Range(1, kItems).Select(item => $"{item},Thing {item},\"{(item % 2 == 0 ? "even" : "odd")} words\"\n")));
        JsonNode[] lines = Lines(Mmesid.Run("recommend", "--model", SidModel(), "--histories", Sequences(), "--top", "3", "--titles", texts, "--explain", texts, "--columns", "more"));
        Assert.Equal(Enumerable.Range(0, 30).Select(user => $"u{user}"), lines.Select(line => (string)line["user"]!));
        foreach (JsonNode line in lines)
        {
            Assert.Equal(Texts(line["items"]).Select(item => $"Thing {item}"), Texts(line["titles"]));
            for (int i = 0; i < 3; i++)
            {
                JsonArray codes = line["explanations"]![i]!.AsArray();
                ushort[] sid = SidText.Parse((string)line["sids"]![i]!);
                Assert.Equal(sid.Select((code, level) => SidText.Token(level, code)), codes.Select(code => (string)code!["code"]!));
                Assert.Contains("words", Texts(codes[0]!["words"]));
            }
        }
        Outcome noted = Mmesid.RunVerbatim("recommend", "--model", SidModel(), "--user-history", "1 99 2 3 4 5 6 x", "--unknown", "skip");
        Assert.Single(Lines(noted));
        Assert.Contains("2 events of items that the model does not know were skipped", noted.Error);
        Assert.Contains("1 of 1 histories are longer than the 5 items", noted.Error);
        string Seen(string history) => Mmesid.Run("recommend", "--model", SidModel(), "--user-history", history, "--allow-seen").Succeeded().Output;
        Assert.Equal(Seen("2 3 4 5 6"), Seen("40 2 3 4 5 6"));
    }

    [Fact]
    public void Models_are_evaluated_on_items()
    {
        string sequences = Sequences();
        JsonObject wide = JsonNode.Parse(Mmesid.Run("evaluate", "--model", SidModel(), "--sequences", sequences, "--json").Succeeded().Output)!.AsObject();
        Assert.Equal(["hr@5", "hr@10", "hr@20", "ndcg@5", "ndcg@10", "ndcg@20", "mrr@5", "mrr@10", "mrr@20", "users"], wide.Select(entry => entry.Key).Take(10));
        Assert.Equal(30, (int)wide["users"]!);
        Assert.InRange((double)wide["hr@20"]!, 0.2, 0.9);

        // The same from the lines of recommend: those of the history without the last event.
        string shorter = _scratch.Text("shorter.txt", string.Join('\n', File.ReadAllLines(sequences).Select(line => line[..line.LastIndexOf(' ')])) + "\n");
        JsonNode[] lines = Lines(Mmesid.Run("recommend", "--model", SidModel(), "--histories", shorter, "--top", "40", "--beam", "40"));
        double hits = 0;
        foreach ((JsonNode line, string all) in lines.Zip(File.ReadAllLines(sequences)))
        {
            string[] items = Texts(line["items"]), sids = Texts(line["sids"]);
            int place = Array.IndexOf(items, all.Split(' ')[^1]), first = Array.IndexOf(sids, sids[place]), size = sids.Count(sid => sid == sids[place]);
            hits += Math.Clamp((20.0 - first) / size, 0, 1);
        }
        JsonNode full = JsonNode.Parse(Mmesid.Run("evaluate", "--model", SidModel(), "--sequences", sequences, "--json", "--beam", "40").Succeeded().Output)!;
        Assert.Equal(hits / 30, (double)full["hr@20"]!, 1e-9);

        JsonNode scored = JsonNode.Parse(Mmesid.Run("evaluate", "--model", ScoringModel(), "--sequences", sequences, "--json").Succeeded().Output)!;
        JsonNode[] best = Lines(Mmesid.Run("recommend", "--model", ScoringModel(), "--histories", shorter, "--top", "20"));
        Assert.Equal(["user", "items", "scores"], best[0].AsObject().Select(entry => entry.Key));
        Assert.Equal(best.Zip(File.ReadAllLines(sequences)).Count(pair => Texts(pair.First["items"]).Contains(pair.Second.Split(' ')[^1])) / 30.0, (double)scored["hr@20"]!, 1e-9);
    }

    [Fact]
    public void A_model_is_compared_with_another_for_the_same_users()
    {
        JsonNode Figures(params string[] arguments) => JsonNode.Parse(Mmesid.Run(["evaluate", "--sequences", Sequences(), "--json", .. arguments]).Succeeded().Output)!;
        JsonNode generated = Figures("--model", SidModel()), scored = Figures("--model", ScoringModel()), compared = Figures("--model", SidModel(), "--against", ScoringModel(), "--beam", "20");
        foreach (string figure in (string[])["hr@5", "ndcg@10", "mrr@20", "hr@20_margin", "users"])
            Assert.Equal((double)generated[figure]!, (double)compared[figure]!);
        foreach (string figure in (string[])["hr@5", "ndcg@10", "mrr@20"])
            Assert.Equal((double)generated[figure]! - (double)scored[figure]!, (double)compared[$"gain_{figure}"]!, 1e-12);
        Assert.InRange((double)compared["overlap@20"]!, 0.1, 0.99);
        JsonNode same = Figures("--model", SidModel(), "--against", SidModel());
        Assert.Equal((0, 0, 1, 0), ((double)same["gain_hr@10"]!, (double)same["gain_hr@10_margin"]!, (double)same["overlap@5"]!, (double)same["score_difference"]!));
        Mmesid.Run("evaluate", "--model", SidModel(), "--sequences", Sequences(), "--against", _scratch["none"]).FailedWith("none");
        Mmesid.Run("evaluate", "--model", ScoringModel(), "--sequences", Sequences(), "--against", ScoringModel(), "--beam", "20").FailedWith("--beam is for models of kind sid-lm");
    }

    [Fact]
    public void An_outside_base_is_found_checked_and_overridden()
    {
        string model = SidModel(inside: false);
        string[] recommend = ["recommend", "--model", model, "--user-history", "1 2"];
        string expected = Mmesid.Run(recommend).Succeeded().Output;
        File.Move(_scratch["base.gguf"], _scratch["moved.gguf"]);
        Mmesid.Run(recommend).FailedWith("base.gguf is not there", "--base");
        Assert.Equal(expected, Mmesid.Run([.. recommend, "--base", _scratch["moved.gguf"]]).Succeeded().Output);
        new TinyLlama(seed: 2).Write(_scratch["other.gguf"]);
        Mmesid.Run([.. recommend, "--base", _scratch["other.gguf"]]).FailedWith("other.gguf: is not the base model that", "SHA-256");
        Mmesid.Run("evaluate", "--model", model, "--sequences", Sequences(), "--base", _scratch["other.gguf"]).FailedWith("other.gguf: is not the base model that");
        byte[] bytes = File.ReadAllBytes(Path.Combine(model, "sids.npy"));
        bytes[^1] ^= 1;
        File.WriteAllBytes(Path.Combine(model, "sids.npy"), bytes);
        Mmesid.Run(recommend).FailedWith("sids.npy", "SHA-256 differs");
    }

    [Fact]
    public void An_adapter_changes_the_scores()
    {
        string file = new TinyLlama().Write(_scratch["base.gguf"]);
        var random = new RandomSource(5);
        float[] Gaussian(int count) => [.. Enumerable.Range(0, count).Select(_ => (float)random.NextGaussian())];
        using (FileStream stream = File.Create(_scratch["adapter.gguf"]))
            GgufLora.Write(stream, "llama", 4, [new LoraUpdate("blk.0.ffn_down.weight", Gaussian(2 * 48), Gaussian(kDimension * 2), 2)]);
        string With(string name, string scale, bool adapted) => TrainedFolders.Write(_scratch[name], "mme-sid", ItemIds.Sequential(kItems),
            new Dictionary<string, string> { ["length"] = "5", ["base"] = file, ["base-sha256"] = ModelFolder.HashOf(file), ["lora-scale"] = scale },
            [TrainedFolders.Gaussian("items.input", 1, kItems, kDimension), TrainedFolders.Gaussian("items.output", 2, kItems, kDimension)],
            others: adapted ? new Dictionary<string, string> { ["adapter.gguf"] = _scratch["adapter.gguf"] } : null);
        string Output(string model) => Mmesid.Run("recommend", "--model", model, "--user-history", "1 2").Succeeded().Output;
        string plain = Output(With("plain", "1", false));
        Assert.NotEqual(plain, Output(With("adapted", "1", true)));
        Assert.Equal(plain, Output(With("silent", "0", true)));
    }

    [Fact]
    public void Wrong_input_is_one_line()
    {
        string model = SidModel(), sequences = Sequences();
        string[] recommend = ["recommend", "--model", model];
        Mmesid.Run([.. recommend, "--user-history", "1 99"]).FailedWith("item '99' is none of the 40", "--unknown skip");
        Mmesid.Run([.. recommend, "--user-history", "98 99", "--unknown", "skip"]).FailedWith("none of the 2 items of the history is known");
        Mmesid.Run([.. recommend, "--user-history", " "]).FailedWith("the history is empty");
        Mmesid.Run([.. recommend, "--histories", _scratch.Text("h.txt", "a 1 2\nb\n")]).FailedWith("user 'b': the history is empty");
        Mmesid.Run([.. recommend, "--histories", _scratch.Text("h.txt", "a 1 2\nb 3 77\n")]).FailedWith("user 'b': item '77'");
        Mmesid.Run([.. recommend, "--histories", _scratch["none.txt"]]).FailedWith("none.txt");
        Mmesid.Run([.. recommend, "--user-history", "1", "--top", "0"]).FailedWith("--top is 0");
        Mmesid.Run([.. recommend, "--user-history", "1", "--beam", "5"]).FailedWith("--beam is 5", "10 items");
        Mmesid.Run([.. recommend, "--user-history", "1", "--titles", _scratch.Text("t.csv", "item_id,title\nx,y\n")]).FailedWith("t.csv", "none of the 40 items");
        Mmesid.Run([.. recommend, "--user-history", "1", "--titles", _scratch.Text("t.csv", "item_id,name\n1,y\n")]).FailedWith("t.csv", "'title'");
        Mmesid.Run("recommend", "--model", ScoringModel(), "--user-history", "1", "--explain", _scratch["t.csv"]).FailedWith("--explain", "mme-sid");
        Mmesid.Run("recommend", "--model", ScoringModel(), "--user-history", "1", "--beam", "50").FailedWith("--beam is for models of kind sid-lm", "mme-sid");
        Mmesid.Run("recommend", "--model", _scratch["N"], "--user-history", "1").FailedWith("N: no such folder");
        Mmesid.Run("recommend", "--model", SidModel("L", sids: new SidTable(2, new ushort[kItems * 2])), "--user-history", "1").FailedWith("SIDs have 2 levels, the model has 3");
        Mmesid.Run("recommend", "--model", SidModel("D", dimension: 16), "--user-history", "1").FailedWith("the language model has dimension 32, the SID vectors have 16");
        Mmesid.Run("recommend", "--model", TrainedFolders.Write(_scratch["K"], "rq-vae", ItemIds.Sequential(2), new Dictionary<string, string>(), [TrainedFolders.Gaussian("x", 1, 2, 2)]), "--user-history", "1")
            .FailedWith("kind 'rq-vae', which recommends nothing", "sasrec, sid-lm or mme-sid");
        Mmesid.Run("evaluate", "--model", model, "--sequences", _scratch.Text("s.txt", "a 1 2 3\nb 1 99 3\n")).FailedWith("user 'b': item '99' is none of the 40");
        Mmesid.Run("evaluate", "--model", model, "--sequences", sequences, "--beam", "10").FailedWith("--beam is 10", "20 items");
        foreach (string[] usage in (string[][])[[], ["--user-history", "1", "--histories", sequences], ["--user-history", "1", "--columns", "x"]])
            Assert.Equal(2, Mmesid.Run([.. recommend, .. usage]).ExitCode);
    }
}
