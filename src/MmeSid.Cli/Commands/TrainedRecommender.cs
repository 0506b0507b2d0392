using System.CommandLine;
using MmeSid.Cli.Terminal;
using MmeSid.Engine.Embeddings;
using MmeSid.Engine.Evaluation;
using MmeSid.Engine.Files;
using MmeSid.Engine.Generation;
using MmeSid.Kernels;
using MmeSid.Llama;
using MmeSid.Training;
using MmeSid.Training.Ranking;
using MmeSid.Training.Recommendation;

namespace MmeSid.Cli.Commands;

/// <summary>A trained model of any kind that recommends, opened by its folder, with the options that say how.</summary>
internal sealed class TrainedRecommender : IDisposable
{
    /// <summary>The kinds, for people.</summary>
    public const string Kinds = $"{SasRecModel.Kind}, {SidLanguageModel.Kind} or {MmeSidModel.Kind}";

    private static readonly Option<string?> s_base = new("--base")
    {
        Description = "The GGUF file of the base model, where it is elsewhere than when the model was trained. It must be the same file.",
        HelpName = "file",
    };

    private static readonly Option<int?> s_beam = new("--beam")
    {
        Description = $"Prefixes followed at each level of a {SidLanguageModel.Kind} model. As many as there are SIDs make the search exhaustive. [default: {new SidRecommenderOptions().Beams}, or as many as items are wanted]",
        HelpName = "count",
    };

    private static readonly Option<string> s_scores = new Option<string>("--scores")
    {
        Description = $"What the probability of a code is a share of in a {SidLanguageModel.Kind} model: raw, all codes of its level; renormalised, those that go on in the catalogue.",
        DefaultValueFactory = _ => "raw",
    }.AcceptOnlyFromAmong("raw", "renormalised");

    private static readonly Option<string> s_attention = new Option<string>("--attention")
    {
        Description = $"Of a {SidLanguageModel.Kind} model: exact, in float32; or fast, which rounds queries to half precision and passes over what a user does not see, so that a small model answers nearly twice as many users.",
        DefaultValueFactory = _ => "exact",
    }.AcceptOnlyFromAmong("exact", "fast");

    private readonly Stack<IDisposable> _owned = new();

    private TrainedRecommender()
    {
    }

    /// <summary>What it gives.</summary>
    public INextItemRecommender Recommender { get; private set; } = null!;

    /// <summary>The scores of all items, or null where the model only generates the best.</summary>
    public INextItemScorer? Scorer { get; private set; }

    /// <summary>The SIDs that it generates, or null.</summary>
    public SidLanguageModel? Sids { get; private set; }

    /// <summary>Items of a history that it looks at.</summary>
    public int MaximumHistory { get; private set; }

    /// <summary>The items by row.</summary>
    public ItemIds Items => Recommender.Items;

    /// <summary>Adds the options to a command.</summary>
    public static void AddOptions(Command command)
    {
        foreach (Option option in (Option[])[s_base, s_beam, s_scores, s_attention])
            command.Options.Add(option);
    }

    /// <summary>Refuses all options that are given, of a model that does not recommend.</summary>
    /// <exception cref="ArgumentException">Which option.</exception>
    public static void RefuseOptions(CommandRun run, ModelFolder folder)
    {
        Refuse(run, folder, true, s_base, $"{SidLanguageModel.Kind} and {MmeSidModel.Kind}");
        foreach (Option option in (Option[])[s_beam, s_scores, s_attention])
            Refuse(run, folder, true, option, SidLanguageModel.Kind);
    }

    /// <summary>Opens a model.</summary>
    /// <param name="run">The options.</param>
    /// <param name="folder">The model.</param>
    /// <param name="count">Most items that will be wanted for a user.</param>
    /// <param name="beside">Another model that the options are for as well; null where there is none.</param>
    /// <exception cref="InvalidDataException">The model recommends nothing, or its files do not fit each other.</exception>
    /// <exception cref="ArgumentException">An option is for models of another kind, or out of range.</exception>
    public static TrainedRecommender Open(CommandRun run, ModelFolder folder, int count, ModelFolder? beside = null)
    {
        string kind = folder.Description.Kind;
        string[] kinds = [kind, .. beside is null ? (string[])[] : [beside.Description.Kind]];
        Refuse(run, folder, kinds.All(own => own == SasRecModel.Kind), s_base, $"{SidLanguageModel.Kind} and {MmeSidModel.Kind}");
        foreach (Option option in (Option[])[s_beam, s_scores, s_attention])
            Refuse(run, folder, !kinds.Contains(SidLanguageModel.Kind), option, SidLanguageModel.Kind);
        var opened = new TrainedRecommender();
        try
        {
            switch (kind)
            {
                case SasRecModel.Kind:
                    opened.OpenSasRec(run, folder);
                    break;
                case SidLanguageModel.Kind:
                    opened.OpenSids(run, folder, count);
                    break;
                case MmeSidModel.Kind:
                    opened.OpenMmeSid(run, folder);
                    break;
                default:
                    throw new InvalidDataException($"{folder.Path}: is a model of kind '{kind}', which recommends nothing{(kind == RankerModel.Kind ? " ('mmesid rank' orders candidates by it)" : "")}; expected {Kinds}");
            }
            return opened;
        }
        catch
        {
            opened.Dispose();
            throw;
        }
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        while (_owned.TryPop(out IDisposable? owned))
            owned.Dispose();
    }

    private static void Refuse(CommandRun run, ModelFolder folder, bool useless, Option option, string kinds)
    {
        if (useless && run.Parsed.GetResult(option) is { Implicit: false })
            throw new ArgumentException($"{option.Name} is for models of kind {kinds}, {folder.Path} is '{folder.Description.Kind}'");
    }

    private T Own<T>(T part)
        where T : IDisposable
    {
        _owned.Push(part);
        return part;
    }

    private void OpenSasRec(CommandRun run, ModelFolder folder)
    {
        TorchRuntime.Start(GlobalOptions.ThreadCount(run.Parsed));
        SasRecModel model = Own(SasRecModel.Open(folder));
        (Scorer, Recommender, MaximumHistory) = (model.Scorer, new FullRanking(model.Scorer), folder.Description.Option<int>("length"));
    }

    private void OpenSids(CommandRun run, ModelFolder folder, int count)
    {
        int beams = run.Get(s_beam) ?? Math.Max(count, new SidRecommenderOptions().Beams);
        if (beams < count)
            throw new ArgumentException($"{s_beam.Name} is {beams}, expected at least the {count} items that are wanted");
        Sids = Own(SidLanguageModel.Open(folder));
        SidRecommender recommender = Own(new SidRecommender(Sids, LoadLanguageModel(run, folder), new SidRecommenderOptions
        {
            Beams = beams,
            Scores = Enum.Parse<SidScores>(run.Need(s_scores), ignoreCase: true),
            SkipsUnseen = run.Need(s_attention) == "fast",
            Threads = GlobalOptions.ThreadCount(run.Parsed),
        }));
        (Recommender, MaximumHistory) = (recommender, recommender.MaximumHistory);
    }

    private void OpenMmeSid(CommandRun run, ModelFolder folder)
    {
        MmeSidModel model = Own(MmeSidModel.Open(folder));
        AdaptedLanguageModel language = LoadLanguageModel(run, folder);
        IBackend backend = GlobalOptions.CreateBackend(run.Parsed);
        if (backend is IDisposable disposable)
            Own(disposable);
        ScoringRecommender recommender = Own(new ScoringRecommender(model, language, backend, new ScoringRecommenderOptions { Threads = GlobalOptions.ThreadCount(run.Parsed) }));
        (Scorer, Recommender, MaximumHistory) = (recommender, recommender, recommender.MaximumHistory);
    }

    private AdaptedLanguageModel LoadLanguageModel(CommandRun run, ModelFolder folder)
    {
        LanguageModelFiles files = run.Progress.Step("check base model", () => LanguageModelFiles.Locate(folder, run.Get(s_base)));
        return Own(run.Progress.Step("load model", () => AdaptedLanguageModel.Load(files, path => LlamaModel.Load(path))));
    }
}
