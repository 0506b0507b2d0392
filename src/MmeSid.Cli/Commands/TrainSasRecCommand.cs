using System.CommandLine;
using MmeSid.Cli.Terminal;
using MmeSid.Engine.Embeddings;
using MmeSid.Engine.Evaluation;
using MmeSid.Engine.Files;
using MmeSid.Training;
using MmeSid.Training.Optimization;
using MmeSid.Training.Recommendation;
using TorchSharp;

namespace MmeSid.Cli.Commands;

/// <summary><c>mmesid train sasrec</c>: user sequences in, a sequential recommender out.</summary>
internal static class TrainSasRecCommand
{
    private const string kScore = "ndcg@10";

    public static Command Create()
    {
        var defaults = new SasRecOptions();
        Option<string> output = OutputOptions.Out("The model, a folder.");
        Option<int> dimension = Number("--dimension", "Values per item embedding.", defaults.Dimension);
        Option<int> feedForward = Number("--feed-forward", "Hidden values of the feed-forward parts.", defaults.FeedForward);
        Option<int> blocks = Number("--blocks", "Transformer blocks.", defaults.Blocks);
        Option<int> heads = Number("--heads", "Attention heads; must divide the dimension.", defaults.Heads);
        Option<int> length = Number("--length", "Last events of a user that are looked at.", defaults.Length);
        Option<int> batch = Number("--batch", "Users per step.", defaults.BatchUsers);
        var dropout = new Option<double>("--dropout") { Description = "Share of values dropped in training.", DefaultValueFactory = _ => defaults.Dropout, HelpName = "share" };
        var loss = new Option<string>("--loss")
        {
            Description = "ce: cross-entropy over all items; bce: the original paper's, each next item against one drawn at random.",
            DefaultValueFactory = _ => "ce",
        }.AcceptOnlyFromAmong("ce", "bce");
        var loop = new TrainingLoopOptions(new LoopOptions { Epochs = 200, LearningRate = 1e-3, Patience = 20 });
        var command = new Command("sasrec", "SASRec: a causal transformer over each user's items. The last event of a user (test) is never seen, the last but one (validation) only judges the epochs.")
        {
            SequenceFile.Option, output, dimension, feedForward, blocks, heads, length, dropout, loss, batch, OutputOptions.Force,
        };
        loop.AddTo(command);
        command.SetAction(parsed => CommandRun.Execute(parsed, run =>
        {
            string path = run.Need(output);
            using OutputFolder folder = OutputFolder.Create(path, run.Force, ModelFolder.DescriptionName);
            var options = new SasRecOptions
            {
                Dimension = run.Need(dimension),
                FeedForward = run.Need(feedForward),
                Blocks = run.Need(blocks),
                Heads = run.Need(heads),
                Length = run.Need(length),
                Dropout = run.Need(dropout),
                Loss = run.Need(loss) == "ce" ? SequenceLoss.CrossEntropy : SequenceLoss.BinaryCrossEntropy,
                BatchUsers = run.Need(batch),
            };
            options.Validate();
            string hash = ModelFolder.HashOf(run.Need(SequenceFile.Option));
            InteractionSequences sequences = SequenceFile.Read(run);
            OptionTexts texts = Texts(options);
            LoopOptions loopOptions = loop.Read(run, path, "sasrec", texts.ToString(), hash);
            torch.Device device = loop.Start(run);
            using SasRec model = new SasRec(sequences.Items.Count, options).to(device);
            LoopResult trained = TrainingLoopOptions.Train(run, new SasRecLearner(model, sequences, options, run.Seed), loopOptions, kScore);
            run.Cancellation.ThrowIfCancellationRequested();
            double? score = trained.Epochs[trained.KeptEpoch - 1].Score;
            model.WriteModel(folder, new ModelDescription
            {
                Kind = SasRecModel.Kind,
                Options = texts.Add(TrainingLoopOptions.Texts(loopOptions)).Add("seed", run.Seed).All,
                Metrics = score is { } measured ? new Dictionary<string, double> { [$"validation {kScore}"] = measured } : [],
                Inputs = new Dictionary<string, string> { [Path.GetFileName(run.Need(SequenceFile.Option))] = hash },
            }, sequences.Items);
            folder.Commit();
            run.DeleteCheckpoint(loopOptions.CheckpointPath);
            run.Results.Value("out", path);
            run.Results.Value("users", sequences.Users.Count);
            run.Results.Value("items", sequences.Items.Count);
            run.Results.Value("events", sequences.EventCount);
            run.Results.Value("parameters", model.parameters().Sum(parameter => parameter.numel()));
            TrainingLoopOptions.Report(run, trained, kScore);
            if (score is not null)
                run.Results.Value("validation_ndcg@10", score, label: $"validation {kScore}");
        }));
        return command;
    }

    private static OptionTexts Texts(SasRecOptions options) => new OptionTexts()
        .Add("dimension", options.Dimension).Add("feed-forward", options.FeedForward).Add("blocks", options.Blocks).Add("heads", options.Heads).Add("length", options.Length)
        .Add("dropout", options.Dropout).Add("loss", options.Loss == SequenceLoss.CrossEntropy ? "ce" : "bce").Add("batch", options.BatchUsers);

    private static Option<int> Number(string name, string description, int value) => new(name) { Description = description, DefaultValueFactory = _ => value, HelpName = "count" };
}
