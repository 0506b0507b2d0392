using System.CommandLine;
using MmeSid.Cli.Terminal;
using MmeSid.Engine.Embeddings;
using MmeSid.Engine.Files;
using MmeSid.Kernels;
using MmeSid.Llama;
using MmeSid.Training;
using MmeSid.Training.Recommendation;

namespace MmeSid.Cli.Commands;

/// <summary><c>mmesid embed text|interactions|collaborative</c>: tables from words, from behaviour, and from a model of behaviour.</summary>
internal static class EmbedCommand
{
    private static readonly Option<string> s_empty = new Option<string>("--empty")
    {
        Description = "Items about which nothing is known: zero gives a row of zeros (which cannot be normalised), drop leaves the item out, refuse stops.",
        DefaultValueFactory = _ => "zero",
    }.AcceptOnlyFromAmong("zero", "drop", "refuse");

    public static Command Create() => new("embed", "Make embeddings from texts, from user sequences, or out of a trained model.")
    {
        CreateText(),
        CreateInteractions(),
        CreateCollaborative(),
    };

    private static Command CreateText()
    {
        Option<string> input = Input("Items with texts: .csv or .tsv, the first line names the columns.");
        var columns = new Option<string?>("--columns") { Description = "Columns whose texts are joined, such as title,attributes. [default: all but the id]", HelpName = "names" };
        var dimension = new Option<int>("--dimension", "-d") { Description = "Values per row.", DefaultValueFactory = _ => new TextOptions().Dimension, HelpName = "count" };
        var texts = new Option<int>("--min-texts") { Description = "Terms in fewer texts are left out.", DefaultValueFactory = _ => new TextOptions().MinimumTexts, HelpName = "count" };
        var terms = new Option<int>("--max-terms") { Description = "At most this many terms, the most frequent; 0 keeps all.", DefaultValueFactory = _ => new TextOptions().MaximumTerms, HelpName = "count" };
        var model = new Option<string?>("--model", "-m") { Description = "A GGUF embedding model that llama.cpp runs, in place of latent semantic analysis; it decides the dimension.", HelpName = "file" };
        Option<string> pooling = new Option<string>("--pooling")
        {
            Description = "With --model: how token vectors become one. 'model' takes what its file says.",
            DefaultValueFactory = _ => "model",
        }.AcceptOnlyFromAmong("model", "mean", "first", "last");
        var tokens = new Option<int>("--max-tokens") { Description = "With --model: tokens of a text that are read; 0 reads as many as the model was trained for.", DefaultValueFactory = _ => new LlamaTextEncoderOptions().MaximumTokens, HelpName = "count" };
        Option<string> output = Output();
        var command = new Command("text", "Latent semantic analysis (TF-IDF of the words, then a truncated singular value decomposition), or with --model the vectors of a language model.")
        {
            input, columns, TableOptions.IdColumn, dimension, texts, terms, model, pooling, tokens, s_empty, output, OutputOptions.Force,
        };
        Option[] ofModel = [pooling, tokens], ofAnalysis = [dimension, texts, terms];
        command.Validators.Add(parsed =>
        {
            bool withModel = parsed.GetValue(model) is not null;
            foreach (Option option in withModel ? ofAnalysis : ofModel)
            {
                if (parsed.GetResult(option) is { Implicit: false })
                    parsed.AddError(withModel ? $"{option.Name} does nothing with --model" : $"{option.Name} needs --model");
            }
        });
        command.SetAction(parsed => CommandRun.Execute(parsed, run =>
        {
            if (run.Get(model) is { } file)
                WithModel(run, file);
            else
                Analyse(run);
        }));
        return command;

        TextItems Read(CommandRun run) => run.Progress.Step("read", () => TextItems.ReadFile(run.Need(input), run.Get(TableOptions.IdColumn), run.Get(columns)?.Split(',')));

        void Analyse(CommandRun run) => Write(run, run.Need(output), () =>
        {
            TextItems items = Read(run);
            return run.Progress.Step("embed text", () => TextEmbedder.Embed(items, new TextOptions
            {
                Dimension = run.Need(dimension),
                MinimumTexts = run.Need(texts),
                MaximumTerms = run.Need(terms),
                Empty = EmptyOf(run),
                Seed = run.Seed,
                Threads = GlobalOptions.ThreadCount(run.Parsed),
            }, run.Cancellation));
        });

        void WithModel(CommandRun run, string file)
        {
            string path = run.Need(output);
            ModelEmbedding? made = null;
            EmbeddingFiles.Write(run, path, () =>
            {
                TextItems items = Read(run);
                using LlamaTextEncoder encoder = run.Progress.Step("load model", () => LlamaTextEncoder.Load(file, new LlamaTextEncoderOptions
                {
                    Pooling = run.Need(pooling) == "model" ? LlamaPooling.FromModel : Enum.Parse<LlamaPooling>(run.Need(pooling), ignoreCase: true),
                    MaximumTokens = run.Need(tokens),
                    Threads = GlobalOptions.ThreadCount(run.Parsed),
                }));
                made = run.Progress.Step("embed text", items.Texts.Count, "texts", step => ModelEmbedding.Of(items, encoder, EmptyOf(run), step, run.Cancellation));
                return (made.Rows, made.Items);
            });
            made!.Rows.Dispose();
            ReportFiles(run, path, made.Items.Count, made.Rows.Dimension);
            run.Results.Value("empty_items", made.EmptyCount, $"{made.EmptyCount:N0} ({run.Need(s_empty)})");
            run.Results.Value("cut_items", made.CutCount, $"{made.CutCount:N0} longer than the model reads");
        }
    }

    private static Command CreateInteractions()
    {
        Option<string> input = Input("User sequences: lines 'user item item …', oldest event first, items numbered from 1; .gz is unpacked.");
        var dimension = new Option<int>("--dimension", "-d") { Description = "Values per row.", DefaultValueFactory = _ => new InteractionOptions().Dimension, HelpName = "count" };
        var holdout = new Option<int>("--holdout")
        {
            Description = "Last events of each user that are not looked at: 2 keeps test and validation out, 0 uses everything.",
            DefaultValueFactory = _ => new InteractionOptions().Holdout,
            HelpName = "events",
        };
        var window = new Option<int>("--window") { Description = "Events at most this far apart occur together; 0 takes the whole sequence.", DefaultValueFactory = _ => new InteractionOptions().Window, HelpName = "events" };
        Option<string> output = Output();
        var command = new Command("interactions", "Collaborative embeddings: which items occur together (positive pointwise mutual information), then a truncated singular value decomposition.")
        {
            input, dimension, holdout, window, s_empty, output, OutputOptions.Force,
        };
        command.SetAction(parsed => CommandRun.Execute(parsed, run => Write(run, run.Need(output), () =>
        {
            InteractionSequences sequences = run.Progress.Step("read", () => InteractionSequences.ReadFile(run.Need(input)));
            return run.Progress.Step("embed interactions", () => InteractionEmbedder.Embed(sequences, new InteractionOptions
            {
                Dimension = run.Need(dimension),
                Holdout = run.Need(holdout),
                Window = run.Need(window),
                Empty = EmptyOf(run),
                Seed = run.Seed,
                Threads = GlobalOptions.ThreadCount(parsed),
            }, run.Cancellation));
        })));
        return command;
    }

    private static Command CreateCollaborative()
    {
        Option<string> model = ModelOption.Create(SasRecModel.Kind);
        Option<string> output = Output();
        var command = new Command("collaborative", "The item embeddings of a trained SASRec. It has not seen the last two events of any user, so SIDs made from them are free of what they are tested on.")
        {
            model, output, OutputOptions.Force,
        };
        command.SetAction(parsed => CommandRun.Execute(parsed, run =>
        {
            string path = run.Need(output);
            ModelFolder folder = ModelFolder.Open(run.Need(model));
            TorchRuntime.Start(GlobalOptions.ThreadCount(parsed));
            using SasRecModel trained = SasRecModel.Open(folder);
            using RowMatrix rows = trained.ItemEmbeddings();
            EmbeddingFiles.Write(run, path, () => (rows, folder.Items));
            ReportFiles(run, path, folder.Items.Count, rows.Dimension);
        }));
        return command;
    }

    private static Option<string> Input(string description) => new("--input", "-i") { Description = description, HelpName = "file", Required = true };

    private static Option<string> Output() => OutputOptions.Out("The table, .npy, float32; the item ids go beside it, into the same name with .items.txt (for --items).");

    private static EmptyItems EmptyOf(CommandRun run) => Enum.Parse<EmptyItems>(run.Need(s_empty), ignoreCase: true);

    private static void Write(CommandRun run, string path, Func<EmbeddingResult> embed)
    {
        EmbeddingResult result = EmbeddingFiles.Write(run, path, embed);
        ReportFiles(run, path, result.Items.Count, result.SingularValues.Count);
        run.Results.Value("features", result.Features);
        run.Results.Value("entries", result.Entries);
        run.Results.Value("empty_items", result.EmptyCount, $"{result.EmptyCount:N0} ({run.Need(s_empty)})");
        run.Results.Value("largest_singular_value", result.SingularValues[0]);
        run.Results.Value("smallest_singular_value", result.SingularValues[^1]);
    }

    private static void ReportFiles(CommandRun run, string path, long items, int dimension)
    {
        run.Results.Value("out", path);
        run.Results.Value("items_out", EmbeddingFiles.ItemsPath(path));
        run.Results.Value("items", items);
        run.Results.Value("dimension", dimension);
    }
}
