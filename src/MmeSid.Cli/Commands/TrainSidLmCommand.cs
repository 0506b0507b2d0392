using System.CommandLine;
using MmeSid.Cli.Terminal;
using MmeSid.Engine.Embeddings;
using MmeSid.Engine.Files;
using MmeSid.Engine.Generation;
using MmeSid.Engine.Sids;
using MmeSid.Llama;
using MmeSid.Training.LanguageModels;
using MmeSid.Training.Optimization;
using TorchSharp;

namespace MmeSid.Cli.Commands;

/// <summary><c>mmesid train sid-lm</c>: a bundle and user sequences in, a language model that generates SIDs out.</summary>
internal static class TrainSidLmCommand
{
    private const string kScore = "log-probability";
    private const string kCodebooks = "codebooks", kRandom = "random", kBase = "base", kTied = "tied", kOwn = "own";

    public static Command Create()
    {
        var bundle = new Option<string>("--bundle", "-b") { Description = "The bundle whose SIDs are generated.", HelpName = "folder", Required = true };
        Option<string> output = OutputOptions.Out("The model, a folder.");
        var llama = new LlamaRecommenderOptions(new SidLlamaOptions(), "the bundle has not", suffix: false);
        Option<string> embeddings = new Option<string>("--embeddings")
        {
            Description = "Where the vectors of codes start: the bundle's codewords, projected to the dimension; random; or those of a base that was itself trained on SIDs of the same codes.",
            DefaultValueFactory = _ => kCodebooks,
        }.AcceptOnlyFromAmong(kCodebooks, kRandom, kBase);
        Option<string> head = new Option<string>("--head")
        {
            Description = "What scores codes: their input vectors, or vectors of their own.",
            DefaultValueFactory = _ => kTied,
        }.AcceptOnlyFromAmong(kTied, kOwn);
        var loop = new TrainingLoopOptions(LlamaRecommenderOptions.Loop);
        var command = new Command(SidLanguageModel.Kind, "A language model on the SIDs of each user's items: a small Llama trained from scratch, as a GGUF file, or a frozen --base with LoRA. The last event of a user (test) is never seen, the last but one (validation) only judges the epochs.")
        {
            bundle, SequenceFile.Option, output, embeddings, head, OutputOptions.Force,
        };
        llama.AddTo(command);
        loop.AddTo(command);
        command.Validators.Add(parsed =>
        {
            if (parsed.GetValue(embeddings) == kBase && !llama.Base.IsGiven(parsed))
                parsed.AddError($"{embeddings.Name} {kBase} needs a --base");
        });
        command.SetAction(parsed => CommandRun.Execute(parsed, run =>
        {
            string path = run.Need(output);
            using OutputFolder folder = OutputFolder.Create(path, run.Force, ModelFolder.DescriptionName);
            SidLlamaOptions options = llama.Read(run, new SidLlamaOptions
            {
                Start = Enum.Parse<SidEmbeddingStart>(run.Need(embeddings), ignoreCase: true),
                Tied = run.Need(head) == kTied,
            });
            LlamaFileType size = llama.SizeOf(run, options);
            foreach (string? input in (string?[])[run.Need(bundle), llama.Base.PathOf(run)])
            {
                if (input is not null)
                    folder.RequireOutside(input);
            }
            string hash = ModelFolder.HashOf(run.Need(SequenceFile.Option));
            SidBundle sids = SidBundle.Open(run.Need(bundle));
            InteractionSequences events = SequenceFile.Read(run);
            var sequences = new SidSequences(events, sids, llama.SkipsUnknown(run));
            OptionTexts texts = llama.Texts(run, options).Add("embeddings", run.Need(embeddings)).Add("head", run.Need(head)).Add("codes", string.Join(',', sequences.Vocabulary.Codes));
            string? baseHash = llama.Base.HashOf(run);
            LoopOptions loopOptions = loop.Read(run, path, SidLanguageModel.Kind, texts.ToString(), hash, sids.Fingerprint, baseHash ?? "");
            torch.Device device = loop.Start(run);
            LlamaPrompt prompt = llama.Base.ReadPrompt(run);
            Training.LanguageModels.Llama transformer = llama.Transformer(run, options, options.Shape(sequences.Vocabulary.Levels));
            (float[] vectors, float[]? headVectors) = options.Start == SidEmbeddingStart.Base
                ? SidVectors.OfBase(llama.Base.PathOf(run)!, sequences.Vocabulary)
                : (SidVectors.Draw(sids, sequences.Vocabulary, transformer.Shape.Dimension, options.Start, run.Seed), null);
            if (headVectors is not null && options.Tied)
                throw new ArgumentException($"{llama.Base.PathOf(run)}: scores codes by vectors of their own, expected {head.Name} {kOwn} with {embeddings.Name} {kBase}");
            using SidLlama model = new SidLlama(sequences.Vocabulary, transformer, vectors, options.Tied, prompt, headVectors).to(device);
            options.RequireRoom(transformer.Shape, sequences.Vocabulary.Levels, prompt.Prefix);
            var learner = new SidLlamaLearner(model, sequences, options, run.Seed);
            LoopResult trained = TrainingLoopOptions.Train(run, learner, loopOptions, kScore);
            run.Cancellation.ThrowIfCancellationRequested();
            IReadOnlyList<string> others = llama.WriteTransformer(run, folder.Path, transformer, options.Lora, size, model.WriteGguf);
            var inputs = new Dictionary<string, string> { [Path.GetFileName(run.Need(SequenceFile.Option))] = hash, ["bundle"] = sids.Fingerprint };
            if (baseHash is not null)
                inputs["base"] = baseHash;
            model.WriteModel(folder, new ModelDescription
            {
                Kind = SidLanguageModel.Kind,
                Options = texts.Add(llama.FileTexts(run, folder.Path, baseHash)).Add(TrainingLoopOptions.Texts(loopOptions)).Add("seed", run.Seed).All,
                Metrics = LlamaRecommenderOptions.Metrics(trained, kScore),
                Inputs = inputs,
            }, sids, others);
            folder.Commit();
            run.DeleteCheckpoint(loopOptions.CheckpointPath);
            LlamaRecommenderOptions.Report(run, path, sequences, ("codes", learner.CodesPerEpoch), learner, trained, kScore);
        }));
        return command;
    }
}
