using System.CommandLine;
using System.CommandLine.Parsing;
using MmeSid.Cli.Terminal;
using MmeSid.Engine.Files;
using MmeSid.Engine.Generation;
using MmeSid.Kernels;
using MmeSid.Llama;
using MmeSid.Training.LanguageModels;

namespace MmeSid.Cli.Commands;

/// <summary>Options of commands that train on top of a frozen language model.</summary>
/// <param name="suffix">Whether words may come behind a history.</param>
internal sealed class BaseModelOptions(bool suffix = false)
{
    private static readonly LoraOptions s_defaults = new();

    private readonly Option<string?> _base = new("--base")
    {
        Description = "A GGUF file of a Llama, of any size that is read here. It stays as it is; its weights are kept in the file's blocks and widened when they are used.",
        HelpName = "file",
    };

    private readonly Option<bool> _lora = new("--lora") { Description = "Train low-rank updates of the base's weights beside the vectors of codes and items." };

    private readonly Option<int> _rank = new("--lora-r") { Description = "Rank of the updates.", DefaultValueFactory = _ => s_defaults.Rank, HelpName = "count" };

    private readonly Option<double> _alpha = new("--lora-alpha") { Description = "An update counts alpha/r.", DefaultValueFactory = _ => s_defaults.Alpha, HelpName = "number" };

    private readonly Option<double> _dropout = new("--lora-dropout") { Description = "Share of the input of an update that is dropped in training.", DefaultValueFactory = _ => s_defaults.Dropout, HelpName = "share" };

    private readonly Option<string> _targets = new("--lora-targets")
    {
        Description = $"Weights that are updated, of {string.Join(", ", LoraOptions.Known)}.",
        DefaultValueFactory = _ => string.Join(',', s_defaults.Targets),
        HelpName = "names",
    };

    private readonly Option<string> _prefix = Words("--prefix", "before");

    private readonly Option<string>? _suffix = suffix ? Words("--suffix", "behind") : null;

    /// <summary>Adds the options to a command; those of LoRA need <c>--lora</c>, which needs <c>--base</c>, and so do the words around a history.</summary>
    public void AddTo(Command command)
    {
        foreach (Option? option in (Option?[])[_base, _lora, _rank, _alpha, _dropout, _targets, _prefix, _suffix])
        {
            if (option is not null)
                command.Add(option);
        }
        command.Validators.Add(parsed =>
        {
            foreach (Option? option in (Option?[])[_lora, _prefix, _suffix])
            {
                if (option is not null && parsed.GetResult(option) is { Implicit: false } && parsed.GetResult(_base) is null)
                    parsed.AddError($"{option.Name} needs a --base{(option == _lora ? "" : ": a model that is trained from scratch has no words")}");
            }
            foreach (Option option in (Option[])[_rank, _alpha, _dropout, _targets])
            {
                if (parsed.GetResult(option) is { Implicit: false } && parsed.GetResult(_lora) is not { Implicit: false })
                    parsed.AddError($"{option.Name} needs --lora");
            }
        });
    }

    /// <summary>Refuses options that shape a model of one's own beside a base.</summary>
    public void RefuseBeside(Command command, params Option[] options) => command.Validators.Add(parsed =>
    {
        foreach (Option option in options)
        {
            if (parsed.GetResult(_base) is not null && parsed.GetResult(option) is { Implicit: false })
                parsed.AddError($"{option.Name} is of a model trained from scratch and cannot stand beside --base");
        }
    });

    /// <summary>Whether there is a base.</summary>
    public bool IsGiven(CommandRun run) => run.Get(_base) is not null;

    /// <summary>The same, for a validator.</summary>
    public bool IsGiven(CommandResult parsed) => parsed.GetResult(_base) is not null;

    /// <summary>The base as given, or null.</summary>
    public string? PathOf(CommandRun run) => run.Get(_base);

    /// <summary>SHA-256 of the base, or null where there is none.</summary>
    public string? HashOf(CommandRun run) => run.Get(_base) is { } path ? run.Progress.Step("hash", () => ModelFolder.HashOf(path)) : null;

    /// <summary>The options of LoRA, or null where none is asked for.</summary>
    public LoraOptions? ReadLora(CommandRun run) => run.Get(_lora) ? new LoraOptions
    {
        Rank = run.Need(_rank),
        Alpha = run.Need(_alpha),
        Dropout = run.Need(_dropout),
        Targets = run.Need(_targets).Split(',', StringSplitOptions.TrimEntries),
    }
    : null;

    /// <summary>The options by name, for the description of what was trained.</summary>
    public OptionTexts Texts(CommandRun run, LoraOptions? lora)
    {
        var texts = new OptionTexts();
        if (run.Get(_base) is { } path)
            texts.Add(LanguageModelFiles.BaseOption, path);
        if (lora is not null)
            texts.Add("lora-r", lora.Rank).Add("lora-alpha", lora.Alpha).Add("lora-dropout", lora.Dropout).Add("lora-targets", string.Join(',', lora.Targets)).Add(LanguageModelFiles.ScaleOption, 1);
        return texts;
    }

    /// <summary>The frozen base, or null where there is none.</summary>
    public Training.LanguageModels.Llama? Load(CommandRun run, LoraOptions? lora)
    {
        if (run.Get(_base) is not { } path)
            return null;
        using GgufFile file = GgufFile.Open(path);
        return run.Progress.Step("load", () => Training.LanguageModels.Llama.Freeze(file, lora));
    }

    /// <summary>The words before a history, perhaps none.</summary>
    public string PrefixOf(CommandRun run) => run.Need(_prefix);

    /// <summary>The words behind a history, perhaps none.</summary>
    public string SuffixOf(CommandRun run) => _suffix is null ? "" : run.Need(_suffix);

    /// <summary>The vectors of the words around a history, from the base; split into tokens by llama.cpp, as when the model recommends.</summary>
    /// <exception cref="BackendUnavailableException">There are words and llama.cpp is not here.</exception>
    public LlamaPrompt ReadPrompt(CommandRun run)
    {
        string prefix = PrefixOf(run), suffix = SuffixOf(run);
        if (run.Get(_base) is not { } path || (prefix.Length == 0 && suffix.Length == 0))
            return LlamaPrompt.None;
        return run.Progress.Step("read words", () =>
        {
            using GgufFile file = GgufFile.Open(path);
            using LlamaModel model = LlamaModel.Load(path, new LlamaModelOptions { GpuLayers = 0 });
            return LlamaPrompt.Read(file, Tokens(prefix), Tokens(suffix));

            int[] Tokens(string text) => text.Length == 0 ? [] : model.Tokenize(text, addSpecial: false, parseSpecial: true);
        });
    }

    private static Option<string> Words(string name, string where) => new(name)
    {
        Description = $"With --base: text {where} every history. Names of special tokens in it stand for these tokens.",
        DefaultValueFactory = _ => "",
        HelpName = "text",
    };
}
