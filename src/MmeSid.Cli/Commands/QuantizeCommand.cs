using System.CommandLine;
using MmeSid.Cli.Terminal;
using MmeSid.Engine.Files;
using MmeSid.Engine.Generation;
using MmeSid.Llama;

namespace MmeSid.Cli.Commands;

/// <summary><c>mmesid quantize</c>: a trained recommender with its Llama stored in fewer bits.</summary>
internal static class QuantizeCommand
{
    public static Command Create()
    {
        Option<string> model = ModelOption.Create($"{SidLanguageModel.Kind} or {MmeSidModel.Kind}");
        Option<string> size = new Option<string>("--to")
        {
            Description = "Size of the Llama's weights: f16 16, q8_0 8.5, q5_k_m about 5.7, q4_k_m about 4.8 bits each (rows that do not fit a size are stored in a larger one). Vectors of codes and items stay float32.",
            HelpName = "size",
            Required = true,
        }.AcceptOnlyFromAmong("f16", "q8_0", "q5_k_m", "q4_k_m");
        Option<string> output = OutputOptions.Out("The model, a folder. It appears whole or not at all.");
        var command = new Command("quantize", "Store the Llama of a trained model in fewer bits. The model must hold it whole: a base outside is quantized by 'import model', and trained on as it then is.")
        {
            model, size, output, OutputOptions.Force,
        };
        command.SetAction(parsed => CommandRun.Execute(parsed, run => Write(run, run.Need(model), run.Need(size), run.Need(output))));
        return command;
    }

    private static void Write(CommandRun run, string from, string size, string path)
    {
        ModelFolder folder = ModelFolder.Open(from);
        if (!folder.Has(LanguageModelFiles.BaseName))
            throw new InvalidDataException($"{from}: has no {LanguageModelFiles.BaseName} to quantize, expected a model that was trained from scratch");
        LlamaLibrary.Require();
        string whole = LanguageModelFiles.Locate(folder).Base;
        using OutputFolder output = OutputFolder.Create(path, run.Force, ModelFolder.DescriptionName);
        foreach (string name in folder.Files.Where(name => name != LanguageModelFiles.BaseName))
            File.Copy(folder.PathOf(name), Path.Combine(output.Path, name));
        string quantized = Path.Combine(output.Path, LanguageModelFiles.BaseName);
        run.Progress.Step("quantize", 0, "", _ => LlamaQuantizer.Quantize(whole, quantized, Enum.Parse<LlamaFileType>(size, ignoreCase: true), new LlamaQuantizerOptions { Threads = GlobalOptions.ThreadCount(run.Parsed) }));
        var options = new Dictionary<string, string>(folder.Description.Options) { ["quantize"] = size, [LanguageModelFiles.HashOption] = ModelFolder.HashOf(quantized) };
        ModelFolder.Write(output, folder.Description with { Options = options }, folder.Items, [.. folder.Others]);
        run.Cancellation.ThrowIfCancellationRequested();
        long before = new FileInfo(whole).Length, after = new FileInfo(quantized).Length;
        output.Commit();
        run.Results.Value("out", path);
        run.Results.Value("bytes_before", before, $"{before / 1e6:N1} MB");
        run.Results.Value("bytes", after, $"{after / 1e6:N1} MB");
    }
}
