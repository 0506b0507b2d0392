using System.Diagnostics;
using System.Text.Json.Nodes;
using MmeSid.Engine;
using MmeSid.Training;

namespace MmeSid.Cli.Tests;

/// <summary>train ranker → evaluate → rank.</summary>
public sealed class RankerCommandTests
{
    private const int kItems = 24;
    private static readonly string[] s_small = ["--dimension", "8", "--activation-width", "8", "--hidden", "8", "--batch", "64", "--device", "cpu", "--threads", "1"];

    private static void RequireLibtorch() => Assert.SkipWhen(TorchRuntime.UnavailableReason is not null, TorchRuntime.UnavailableReason ?? "");

    // Users of even number take odd items, the others even ones.
    private static string Sequences(ScratchFolder scratch, int users = 120, string name = "S.txt")
    {
        var random = new RandomSource(3);
        return scratch.Text(name, string.Join('\n', Enumerable.Range(0, users).Select(user => $"u{user} {string.Join(' ', Enumerable.Range(0, 6 + user % 3).Select(_ => 1 + user % 2 + (2 * random.NextInt(kItems / 2))))}")) + "\n");
    }

    // A bundle of all items in a modality.
    private static string Bundle(ScratchFolder scratch, string name, ulong seed, int items = kItems)
    {
        string table = scratch.Table($"{name}.npy", items, 6, seed);
        Mmesid.Run("train", "psrq", "--embeddings", table, "--codes", "4", "--levels", "2", "--threads", "1", "--out", scratch[name]).Succeeded();
        return scratch[name];
    }

    [Fact]
    public void ARankerIsTrainedEvaluatedComparedAndRanks()
    {
        RequireLibtorch();
        using var scratch = new ScratchFolder();
        string sequences = Sequences(scratch);
        string[] sids = ["--sids", $"text={Bundle(scratch, "text", 1)}", "--sids", $"audio={Bundle(scratch, "audio", 2)}", "--sids", $"joint={Bundle(scratch, "joint", 3)}"];
        string[] loop = ["--epochs", "6", "--learning-rate", "0.01", "--json"];
        JsonNode trained = JsonNode.Parse(Mmesid.Run(["train", "ranker", "--kind", "mcca", "--sequences", sequences, .. sids, "--out", scratch["M"], .. loop, .. s_small]).Succeeded().Output)!;
        Assert.Equal(kItems, (int)trained["items"]!);
        Assert.Equal(6, (int)trained["epochs"]!);
        Assert.Equal(["items.txt", "model.json", "weights.safetensors"], Directory.GetFiles(scratch["M"]).Select(file => Path.GetFileName(file)!).Order(StringComparer.Ordinal));
        JsonNode model = JsonNode.Parse(File.ReadAllText(scratch["M/model.json"]))!;
        Assert.Equal(("ranker", "mcca", "text,audio,joint"), ((string)model["kind"]!, (string)model["options"]!["kind"]!, (string)model["options"]!["sets"]!));
        Assert.Equal(["S.txt", "sids text", "sids audio", "sids joint"], model["inputs"]!.AsObject().Select(input => input.Key));

        // It stands alone: the bundles may go.
        foreach (string name in (string[])["text", "audio", "joint"])
            Directory.Delete(scratch[name], recursive: true);
        JsonObject test = JsonNode.Parse(Mmesid.Run("evaluate", "--model", scratch["M"], "--sequences", sequences, "--per-sample", scratch["M.scores"], "--json").Succeeded().Output)!.AsObject();
        Assert.Equal(["auc", "auc-cold", "gauc", "logloss"], test.Select(entry => entry.Key).Take(4));
        Assert.Equal((120, 600, 120), ((int)test["users"]!, (int)test["samples"]!, (int)test["clicks"]!));
        // Half of what is drawn is of the user's own kind.
        Assert.True((double)test["auc"]! > 0.65, test.ToJsonString());
        Assert.True((double)test["auc_margin"]! is > 0 and < 0.1, test.ToJsonString());
        Assert.Equal(601, File.ReadAllLines(scratch["M.scores"]).Length);
        Assert.Contains("AUC of cold items", Mmesid.Run("evaluate", "--model", scratch["M"], "--sequences", sequences).Succeeded().Output, StringComparison.Ordinal);

        // All models see the same samples.
        Mmesid.Run(["train", "ranker", "--kind", "din", "--sequences", sequences, "--out", scratch["D"], .. s_small]).Succeeded();
        JsonNode compared = JsonNode.Parse(Mmesid.Run("evaluate", "--model", scratch["D"], "--sequences", sequences, "--against", scratch["M.scores"], "--json").Succeeded().Output)!;
        Assert.Equal((double)compared["auc"]! - (double)test["auc"]!, (double)compared["auc_difference"]!, 1e-12);
        Assert.True((double)compared["auc_difference_low"]! <= (double)compared["auc_difference"]!);
        Mmesid.Run("evaluate", "--model", scratch["D"], "--sequences", sequences, "--against", scratch["M.scores"], "--seed", "2").FailedWith("M.scores: line", "same samples");
        Mmesid.Run("evaluate", "--model", scratch["D"], "--sequences", sequences, "--per-sample", scratch["M.scores"]).FailedWith("exists", "--force");
        Mmesid.Run("evaluate", "--model", scratch["D"], "--sequences", sequences, "--per-sample", sequences, "--force").FailedWith("S.txt: is read here and would be replaced");

        // Candidates as 'recommend' writes them, and plain ones; the best come first whatever their order was. Who is not asked for may have clicked what nobody knows, who is asked for nothing at all.
        string histories = scratch.Text("H.txt", File.ReadAllText(sequences) + "new\nstranger 98 99\n");
        string candidates = scratch.Text("c.jsonl", """{"user":"u0","items":["2","1","4","3"],"scores":[4,3,2,1],"sids":["a","b","c","d"],"note":"kept"}""" + "\n\n" + """{"user":"u1","items":[1,2]}""" + "\n" + """{"user":"new","items":[1,2]}""" + "\n");
        string[] lines = Mmesid.Run("rank", "--model", scratch["M"], "--histories", histories, "--candidates", candidates).Succeeded().Output.Split('\n', StringSplitOptions.RemoveEmptyEntries);
        JsonNode[] ranked = [.. lines.Select(line => JsonNode.Parse(line)!)];
        Assert.Equal(["user", "items", "scores", "sids", "note"], ranked[0].AsObject().Select(entry => entry.Key));
        string[] items = Texts(ranked[0]["items"]!), beside = Texts(ranked[0]["sids"]!);
        Assert.Equal(["1", "3"], items.Take(2).Order(StringComparer.Ordinal));
        Assert.Equal(items.Select(item => item switch { "2" => "a", "1" => "b", "4" => "c", _ => "d" }), beside);
        double[] scores = [.. ranked[0]["scores"]!.AsArray().Select(score => (double)score!)];
        Assert.Equal(scores.OrderDescending(), scores);
        Assert.Equal(2, (int)ranked[1]["items"]![0]!);
        Assert.Equal(("new", 2), ((string)ranked[2]["user"]!, ranked[2]["scores"]!.AsArray().Count));
        string plain = scratch.Text("c.txt", "u0 2 1 4 3\n");
        JsonNode fromPlain = JsonNode.Parse(Mmesid.Run("rank", "--model", scratch["M"], "--histories", histories, "--candidates", plain, "--top", "2").Succeeded().Output)!;
        Assert.Equal(items.Take(2), Texts(fromPlain["items"]!));

        static string[] Texts(JsonNode array) => [.. array.AsArray().Select(item => (string)item!)];
    }

    [Fact]
    public void SamplesThatSayWhatWasNotClickedAreTrainedOn()
    {
        RequireLibtorch();
        using var scratch = new ScratchFolder();
        var random = new RandomSource(4);
        // Items of the user's kind are clicked, the others are not.
        string samples = scratch.Text("C.tsv", "user\titem\tlabel\n" + string.Concat(Enumerable.Range(0, 60).SelectMany(user => Enumerable.Range(0, 12).Select(_ => 1 + random.NextInt(kItems)).Select(item => $"u{user}\t{item}\t{(item % 2 == user % 2 ? 1 : 0)}\n"))));
        string[] train = ["train", "ranker", "--kind", "din", "--samples", samples, "--out", scratch["M"], .. s_small];
        Mmesid.Run([.. train, "--epochs", "15", "--learning-rate", "0.01"]).Succeeded();
        JsonNode test = JsonNode.Parse(Mmesid.Run("evaluate", "--model", scratch["M"], "--samples", samples, "--json").Succeeded().Output)!;
        Assert.True((double)test["auc"]! > 0.8, test.ToJsonString());
        Assert.True((int)test["clicks"]! == (int)test["users"]!, test.ToJsonString());
        Assert.Equal(2, Mmesid.Run([.. train, "--negatives", "uniform", "--force"]).ExitCode);
        Mmesid.Run("evaluate", "--model", scratch["M"], "--samples", samples, "--negatives", "uniform").FailedWith("--samples say what was not clicked");
        Assert.Equal(2, Mmesid.Run("evaluate", "--model", scratch["M"]).ExitCode);
        // Its training says nothing of how items would be drawn.
        string[] drawn = ["evaluate", "--model", scratch["M"], "--sequences", Sequences(scratch, 10)];
        Mmesid.Run(drawn).FailedWith("--negatives is missing");
        Mmesid.Run([.. drawn, "--negatives", "popularity"]).Succeeded();
    }

    [Fact]
    public void RecommendationsAreRankedThroughAPipe()
    {
        RequireLibtorch();
        Assert.SkipWhen(OperatingSystem.IsWindows(), "the pipe is one of /bin/sh");
        using var scratch = new ScratchFolder();
        string sequences = Sequences(scratch, 20), program = Path.Combine(AppContext.BaseDirectory, "mmesid");
        Mmesid.Run("train", "sasrec", "--sequences", sequences, "--out", scratch["R"], "--epochs", "1", "--dimension", "8", "--feed-forward", "8", "--blocks", "1", "--device", "cpu", "--threads", "1").Succeeded();
        Mmesid.Run(["train", "ranker", "--kind", "din", "--sequences", sequences, "--out", scratch["M"], .. s_small]).Succeeded();
        using Process shell = Process.Start(new ProcessStartInfo("/bin/sh", ["-c",
            $"'{program}' recommend --model '{scratch["R"]}' --histories '{sequences}' --top 5 --quiet | '{program}' rank --model '{scratch["M"]}' --histories '{sequences}' --quiet"]) { RedirectStandardOutput = true })!;
        string[] lines = shell.StandardOutput.ReadToEnd().Split('\n', StringSplitOptions.RemoveEmptyEntries);
        shell.WaitForExit();
        Assert.Equal(0, shell.ExitCode);
        Assert.Equal(20, lines.Length);
        Assert.All(lines, line => Assert.Equal(5, JsonNode.Parse(line)!["items"]!.AsArray().Count));
        Mmesid.Run("recommend", "--model", scratch["M"], "--user-history", "1 2").FailedWith("of kind 'ranker'", "mmesid rank");
        Mmesid.Run("evaluate", "--model", scratch["R"], "--sequences", sequences, "--cold-below", "5").FailedWith("--cold-below", "'sasrec'");
        Mmesid.Run("evaluate", "--model", scratch["M"], "--sequences", sequences, "--beam", "5").FailedWith("--beam", "'ranker'");
        Mmesid.Run("rank", "--model", scratch["R"], "--histories", sequences, "--candidates", sequences).FailedWith("of kind 'sasrec', expected 'ranker'");
    }

    [Fact]
    public void KilledTrainingGoesOnToTheSameBytes()
    {
        RequireLibtorch();
        Assert.SkipWhen(OperatingSystem.IsWindows(), "signals are sent with kill");
        using var scratch = new ScratchFolder();
        Mmesid.InterruptedTrainingEndsWithTheSameBytes(scratch, ["weights.safetensors", "model.json"], ["train", "ranker", "--kind", "din", "--sequences", Sequences(scratch, 400), "--epochs", "24", .. s_small, "--out"]);
    }

    [Fact]
    public void WrongInputIsOneLine()
    {
        RequireLibtorch();
        using var scratch = new ScratchFolder();
        string sequences = Sequences(scratch, 20), text = Bundle(scratch, "text", 1), fewer = Bundle(scratch, "fewer", 2, kItems - 3);
        string[] din = ["train", "ranker", "--kind", "din", "--sequences", sequences, "--out", scratch["M"], .. s_small];
        Mmesid.Run([.. din, "--sids", text]).FailedWith("is a bundle without the name of its modality", $"text={text}");
        Mmesid.Run([.. din, "--sids", $"text={text}", "--sids", $"text={text}"]).FailedWith("two modalities text");
        Mmesid.Run([.. din, "--sids", $"text={fewer}"]).FailedWith("of the", "items of the clicks are not in", "fewer");
        // A folder of bundles: their names are those of modalities.
        Directory.CreateDirectory(scratch["all"]);
        Directory.Move(text, scratch["all/a,b"]);
        Mmesid.Run([.. din, "--sids", scratch["all"]]).FailedWith("'a,b' is no name of a modality");
        Mmesid.Run("train", "ranker", "--kind", "din", "--sequences", sequences, "--out", scratch["M"], "--hidden", "8,x").FailedWith("--hidden is '8,x'");
        Mmesid.Run([.. din, "--learning-rate", "1e30", "--epochs", "9"]).FailedWith("try a smaller learning rate");
        Assert.DoesNotContain(scratch.Names, name => name.StartsWith('M'));

        // Items without codes go on, known by their ids alone. What is read is not replaced.
        Mmesid.Run([.. din, "--sids", $"text={fewer}", "--uncoded", "zero", "--codes", "codebooks"]).Succeeded();
        Mmesid.Run([.. din, "--sids", $"text={fewer}"]).FailedWith("exists", "--force");
        File.Copy(sequences, scratch["M/S.txt"]);
        Mmesid.Run("train", "ranker", "--kind", "din", "--sequences", scratch["M/S.txt"], "--out", scratch["M"], "--force").FailedWith("S.txt: lies in", "would be replaced");
        string[] evaluate = ["evaluate", "--model", scratch["M"], "--sequences"];
        Mmesid.Run([.. evaluate, scratch.Text("strangers.txt", "a 1 2 3 4\nb 1 2 99 4\nc 1 2 3 99\n")]).FailedWith("item '99' is none of the 24", "--unknown skip");
        // Who clicked what the model does not know is left out with all samples.
        JsonNode known = JsonNode.Parse(Mmesid.Run([.. evaluate, scratch["strangers.txt"], "--unknown", "skip", "--json"]).Succeeded().Output)!;
        Assert.Equal((2, 2), ((int)known["users"]!, (int)known["clicks"]!));
        Mmesid.Run([.. evaluate, scratch.Text("two.txt", "a 1 2\n")]).FailedWith("two.txt", "3 clicks");
        Mmesid.Run([.. evaluate, scratch.Text("all.txt", "a 1 2 2\n")]).FailedWith("all.txt: each of the 1 users", "took all items");
        string[] rank = ["rank", "--model", scratch["M"], "--histories", sequences, "--candidates"];
        Mmesid.Run([.. rank, scratch.Text("1", "u0 1 99\n")]).FailedWith("1: line 1: item '99'", "--unknown skip");
        Assert.Equal("""["1"]""", JsonNode.Parse(Mmesid.Run([.. rank, scratch["1"], "--unknown", "skip"]).Succeeded().Output)!["items"]!.ToJsonString());
        Mmesid.Run([.. rank, scratch.Text("2", "u0 1\nstranger 1\n")]).FailedWith("2: line 2: user 'stranger' has no history");
        Mmesid.Run([.. rank, scratch.Text("4", "{\"user\":\"u0\",\"items\":[{}]}\n")]).FailedWith("4: line 1", "no item id");
        Mmesid.Run([.. rank, scratch.Text("5", "{\"user\":\"u0\",\"items\":[\"\\ud800\"]}\n")]).FailedWith("5: line 1: is no JSON object");
        Mmesid.Run("rank", "--model", scratch["M"], "--histories", scratch.Text("none.txt", ""), "--candidates", scratch["1"]).FailedWith("none.txt: is empty, expected lines");
        Mmesid.Run("rank", "--model", scratch["M"], "--user-history", "1 2 3", "--candidates", scratch.Text("7", "{\"items\":[\"1\"]}\n")).Succeeded();

        // Damage of any kind is one line.
        byte[] candidates = """{"user":"u0","items":["1","2"],"scores":[1,2]}"""u8.ToArray();
        var random = new RandomSource(6);
        for (int i = 0; i < 2; i++)
        {
            byte[] damaged = [.. candidates];
            damaged[random.NextInt(damaged.Length)] = (byte)random.NextInt(256);
            File.WriteAllBytes(scratch["8"], damaged);
            Outcome outcome = Mmesid.Run([.. rank, scratch["8"]]);
            if (outcome.ExitCode != 0)
                outcome.FailedWith("8: line");
        }
    }
}
