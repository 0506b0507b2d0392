using System.Text.Json.Nodes;
using MmeSid.Cli.Terminal;
using MmeSid.Engine.Embeddings;
using MmeSid.Engine.Evaluation;
using MmeSid.Engine.Files;
using MmeSid.Engine.Generation;
using MmeSid.Engine.Sids;
using MmeSid.Engine.Synthesis;
using MmeSid.Llama;
using MmeSid.Training;
using MmeSid.Training.LanguageModels;
using MmeSid.Training.Optimization;
using TorchSharp;

namespace MmeSid.Cli.Commands;

/// <summary>The end of the demo: a tiny Llama learns the SIDs of the users' histories, is stored in Q8_0, and llama.cpp recommends by it.</summary>
internal static class DemoRecommendations
{
    private const int kEpochs = 4;
    private const int kTestedUsers = 500;
    private const int kShownUsers = 3;
    private const int kShownEvents = 2;
    private const int kShownItems = 2;
    private const int kTop = 10;
    private const string kScore = "log-probability";

    private static readonly SidLlamaOptions s_options = new() { Layers = 2, Dimension = 64, Heads = 2, FeedForward = 192, Length = 20, Dropout = 0.1, ValidationUsers = 500 };
    private static readonly LoopOptions s_loop = LlamaRecommenderOptions.Loop with { Epochs = kEpochs, LearningRate = 5e-3, WarmUpSteps = 20, Patience = 0 };

    /// <summary>Trains, stores, tests and shows; says why where libtorch or llama.cpp is not here.</summary>
    /// <param name="run">The command.</param>
    /// <param name="path">The model, a new folder.</param>
    /// <param name="shown">Where it will be in the end.</param>
    /// <param name="bundle">The SIDs.</param>
    /// <param name="sequences">The users.</param>
    /// <param name="store">Whose titles.</param>
    public static void Show(CommandRun run, string path, string shown, SidBundle bundle, InteractionSequences sequences, SyntheticStore store)
    {
        if ((TorchRuntime.UnavailableReason ?? LlamaLibrary.UnavailableReason) is { } reason)
        {
            run.Results.Text($"No recommendations: {reason}");
            return;
        }
        (long bytes, long parameters) = Train(run, path, bundle, sequences);
        using SidLanguageModel model = SidLanguageModel.Open(ModelFolder.Open(path));
        using AdaptedLanguageModel language = AdaptedLanguageModel.Load(LanguageModelFiles.Locate(ModelFolder.Open(path)), file => LlamaModel.Load(file));
        using var recommender = new SidRecommender(model, language, new SidRecommenderOptions { Beams = kTop, Threads = GlobalOptions.ThreadCount(run.Parsed) });
        var split = new LeaveOneOut(sequences);
        (int[] History, int Target)[] users = [.. split.Evaluated.Take(kTestedUsers).Select(split.Test).Select(user => (Rows(user.History), Row(user.Target)))];
        IReadOnlyList<RankedGroup[]> found = run.Progress.Step("recommend", () => recommender.Recommend([.. users.Select(user => new NextItemQuery(user.History, user.History))], kTop));
        run.Results.Value("language_model", shown, $"{parameters:N0} parameters, {bytes / 1e3:N0} kB as Q8_0, run by llama.cpp");
        run.Results.Value("hit_rate_at_10", HitRate(i => [.. found[i].SelectMany(group => group.Items)]), $"{HitRate(i => [.. found[i].SelectMany(group => group.Items)]):F3} of {users.Length:N0} users find their next item among {kTop} of {bundle.Count:N0}");
        int[] popular = Popular();
        run.Results.Value("hit_rate_at_10_by_popularity", HitRate(i => [.. popular.Except(users[i].History).Take(kTop)]), $"{HitRate(i => [.. popular.Except(users[i].History).Take(kTop)]):F3} when everyone gets the items that most have");
        run.Results.Table("recommendations", ["user", "last_events", "recommended", "next"], Enumerable.Range(0, kShownUsers).Select(i => (IReadOnlyList<ResultSheet.Cell>)
        [
            sequences.Users[split.Evaluated[i]],
            Titles(users[i].History[^Math.Min(kShownEvents, users[i].History.Length)..]),
            Titles([.. found[i].SelectMany(group => group.Items).Take(kShownItems)]),
            Titles([users[i].Target]),
        ]), "What the model recommends to users whose last event it has not seen, and that event:");

        double HitRate(Func<int, int[]> items) => users.Length == 0 ? 0 : Enumerable.Range(0, users.Length).Count(i => items(i).Contains(users[i].Target)) / (double)users.Length;

        int[] Popular() => [.. Enumerable.Range(0, sequences.Users.Count).SelectMany(user => split.Training(user).ToArray()).CountBy(item => item).OrderByDescending(entry => entry.Value).Take(kTop + 64).Select(entry => Row(entry.Key))];

        int[] Rows(int[] items) => [.. items.Select(Row)];

        int Row(int item) => bundle.Items.TryFind(sequences.Items[item], out long row) ? (int)row : throw new InvalidOperationException($"item {sequences.Items[item]} has no SID");

        ResultSheet.Cell Titles(int[] rows) => new(new JsonArray([.. rows.Select(row => (JsonNode?)bundle.Items[row])]), string.Join(" | ", rows.Select(row => store.Title(long.Parse(bundle.Items[row]) - 1))), false);
    }

    private static (long Bytes, long Parameters) Train(CommandRun run, string path, SidBundle bundle, InteractionSequences events)
    {
        // Matrices this small wait longer for a second thread than it helps.
        TorchRuntime.Start(1);
        _ = torch.manual_seed(unchecked((long)run.Seed));
        var sequences = new SidSequences(events, bundle, skipUnknown: false);
        SidVocabulary vocabulary = sequences.Vocabulary;
        using var model = new SidLlama(vocabulary, new Training.LanguageModels.Llama(s_options.Shape(vocabulary.Levels)),
            SidVectors.Draw(bundle, vocabulary, s_options.Dimension, s_options.Start, run.Seed), s_options.Tied);
        var learner = new SidLlamaLearner(model, sequences, s_options, run.Seed);
        LoopResult trained = TrainingLoopOptions.Train(run, learner, s_loop, kScore);
        using OutputFolder output = OutputFolder.Create(path, force: false, ModelFolder.DescriptionName);
        LlamaRecommenderOptions.WriteBase(run, output.Path, LlamaFileType.Q8_0, model.WriteGguf);
        string weights = Path.Combine(output.Path, LanguageModelFiles.BaseName);
        model.WriteModel(output, new ModelDescription
        {
            Kind = SidLanguageModel.Kind,
            Options = new OptionTexts().Add("codes", string.Join(',', vocabulary.Codes)).Add("length", s_options.Length).Add("prefix", "")
                .Add(LanguageModelFiles.HashOption, ModelFolder.HashOf(weights)).Add(TrainingLoopOptions.Texts(s_loop)).Add("seed", run.Seed).All,
            Metrics = LlamaRecommenderOptions.Metrics(trained, kScore),
            Inputs = new Dictionary<string, string> { ["bundle"] = bundle.Fingerprint },
        }, bundle, [LanguageModelFiles.BaseName]);
        output.Commit();
        return (new FileInfo(Path.Combine(path, LanguageModelFiles.BaseName)).Length, model.parameters().Sum(parameter => parameter.numel()));
    }
}
