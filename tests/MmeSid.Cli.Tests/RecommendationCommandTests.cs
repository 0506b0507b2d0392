using System.Text.Json.Nodes;
using MmeSid.Engine.Files;
using MmeSid.Training;

namespace MmeSid.Cli.Tests;

/// <summary>train sasrec → evaluate → embed collaborative.</summary>
public sealed class RecommendationCommandTests
{
    private static readonly string[] s_small = ["--dimension", "8", "--feed-forward", "8", "--blocks", "1", "--heads", "2", "--length", "6", "--batch", "16", "--device", "cpu", "--threads", "1"];

    private static void RequireLibtorch() => Assert.SkipWhen(TorchRuntime.UnavailableReason is not null, TorchRuntime.UnavailableReason ?? "");

    // User u takes items u, u + 1, … of 1 … 15, again and again from the start.
    private static string Sequences(ScratchFolder scratch, int users = 60) => scratch.Text("S.txt",
        string.Join('\n', Enumerable.Range(0, users).Select(user => $"u{user} {string.Join(' ', Enumerable.Range(user, 4 + user % 4).Select(item => item % 15 + 1))}")) + "\n");

    [Fact]
    public void AModelIsTrainedEvaluatedAndEmbedded()
    {
        RequireLibtorch();
        using var scratch = new ScratchFolder();
        string sequences = Sequences(scratch);
        JsonNode trained = JsonNode.Parse(Mmesid.Run(["train", "sasrec", "--sequences", sequences, "--out", scratch["M"], "--epochs", "30", "--learning-rate", "0.01", "--dropout", "0.1", "--json", .. s_small])
            .Succeeded().Output)!;
        Assert.Equal(15, (int)trained["items"]!);
        Assert.True(trained["loss_curve"]!.AsArray().Count is > 0 and <= 30);
        Assert.Equal(["items.txt", "model.json", "weights.safetensors"], Directory.GetFiles(scratch["M"]).Select(file => Path.GetFileName(file)!).Order(StringComparer.Ordinal));
        Assert.False(File.Exists(scratch["M.checkpoint.safetensors"]));

        JsonObject test = JsonNode.Parse(Mmesid.Run("evaluate", "--model", scratch["M"], "--sequences", sequences, "--json").Succeeded().Output)!.AsObject();
        Assert.Equal(["hr@5", "hr@10", "hr@20", "ndcg@5", "ndcg@10", "ndcg@20", "mrr@5", "mrr@10", "mrr@20", "users"], test.Select(entry => entry.Key).Take(10));
        Assert.Equal(60, (int)test["users"]!);
        Assert.True((double)test["ndcg@10"]! > 0.7, test.ToJsonString());
        Assert.True((double)test["hr@5"]! <= (double)test["hr@10"]!);
        JsonNode validation = JsonNode.Parse(Mmesid.Run("evaluate", "--model", scratch["M"], "--sequences", sequences, "--split", "validation", "--json").Succeeded().Output)!;
        Assert.Equal((double)trained["validation_ndcg@10"]!, (double)validation["ndcg@10"]!, 1e-12);

        JsonNode recommended = JsonNode.Parse(Mmesid.Run("recommend", "--model", scratch["M"], "--user-history", "3 4 5", "--top", "1").Succeeded().Output)!;
        Assert.Equal("6", (string)recommended["items"]![0]!);

        Mmesid.Run("embed", "collaborative", "--model", scratch["M"], "--out", scratch["c.npy"]).Succeeded();
        Assert.Equal([15, 8], NpyFile.ReadHeader(scratch["c.npy"]).Shape);
        Assert.Equal(File.ReadAllBytes(scratch["M/items.txt"]), File.ReadAllBytes(scratch["c.items.txt"]));
        Mmesid.Run("train", "rq-kmeans", "--embeddings", scratch["c.npy"], "--codes", "4", "--levels", "2", "--out", scratch["B"]).Succeeded();
    }

    [Fact]
    public void KilledTrainingGoesOnToTheSameBytes()
    {
        RequireLibtorch();
        Assert.SkipWhen(OperatingSystem.IsWindows(), "signals are sent with kill");
        using var scratch = new ScratchFolder();
        Mmesid.InterruptedTrainingEndsWithTheSameBytes(scratch, ["weights.safetensors", "model.json"], ["train", "sasrec", "--sequences", Sequences(scratch, 2000), "--epochs", "12", .. s_small, "--out"]);
    }

    [Fact]
    public void WrongInputIsOneLine()
    {
        RequireLibtorch();
        using var scratch = new ScratchFolder();
        string sequences = Sequences(scratch), shorts = scratch.Text("short.txt", "a 1 2 3\nb 3 2 1\n"), strangers = scratch.Text("strangers.txt", "a 1 2 3 4\nb 1 2 99 4\n");
        string[] train = ["train", "sasrec", "--out", scratch["M"], "--sequences"];
        Mmesid.Run([.. train, scratch["none.txt"]]).FailedWith("none.txt");
        Mmesid.Run([.. train, shorts]).FailedWith("no user has two events left to train on");
        Mmesid.Run([.. train, scratch.Text("bad.txt", "a 1 x\n")]).FailedWith("bad.txt: line 1", "'x'");
        Mmesid.Run([.. train, sequences, "--heads", "5"]).FailedWith("5 heads do not divide the dimension 64");
        Mmesid.Run([.. train, sequences, "--dropout", "1"]).FailedWith("dropout is 1");
        Mmesid.Run([.. train, sequences, "--epochs", "0"]).FailedWith("epochs is 0");
        Mmesid.Run([.. train, sequences, "--learning-rate", "1e30", "--epochs", "9", .. s_small]).FailedWith("the loss is", "try a smaller learning rate");
        // One step an epoch: no later loss shows what the step did.
        Mmesid.Run([.. train, sequences, "--learning-rate", "1e30", "--epochs", "9", "--dimension", "8", "--threads", "1", "--device", "cpu"]).FailedWith("epoch 1", "try a smaller learning rate");
        Assert.DoesNotContain("M", scratch.Names);

        Mmesid.Run([.. train, sequences, "--epochs", "1", .. s_small, "--checkpoint", "none"]).Succeeded();
        Mmesid.Run([.. train, sequences, "--epochs", "1", .. s_small]).FailedWith("exists", "--force");
        string[] evaluate = ["evaluate", "--model", scratch["M"], "--sequences"];
        Mmesid.Run([.. evaluate, strangers]).FailedWith("user 'b': item '99'", "15");
        Mmesid.Run([.. evaluate, scratch.Text("two.txt", "a 1 2\n")]).FailedWith("two.txt", "3 events");
        Mmesid.Run("evaluate", "--model", scratch.Path, "--sequences", sequences).FailedWith("is no model");
        Mmesid.Run("embed", "collaborative", "--model", scratch["N"], "--out", scratch["c.npy"]).FailedWith("N: no such folder");
        Assert.False(File.Exists(scratch["c.npy"]));
    }

    [Fact]
    public void WithoutLibtorchTheReasonIsOneLine()
    {
        using var scratch = new ScratchFolder();
        Mmesid.RunWith(TorchRuntime.HideVariable, "1", "train", "sasrec", "--sequences", Sequences(scratch), "--out", scratch["M"]).FailedWith("training needs libtorch", TorchRuntime.HideVariable);
        Assert.DoesNotContain("M", scratch.Names);
    }
}
