using System.CommandLine;
using MmeSid.Cli.Terminal;
using MmeSid.Engine.Files;
using MmeSid.Llama;

namespace MmeSid.Cli.Commands;

/// <summary><c>mmesid import model</c>: a language model as one GGUF file, in the size that is wanted.</summary>
internal static class ImportModelCommand
{
    private const string kAsItIs = "no";

    public static Command Create()
    {
        var from = new Option<string>("--from")
        {
            Description = "A Hugging Face folder of a Llama 3, 3.1 or 3.2 (config.json, tokenizer.json, model.safetensors), or a GGUF file that is not quantized.",
            HelpName = "path",
            Required = true,
        };
        Option<string> quantize = new Option<string>("--quantize")
        {
            Description = "Size of the weights: 'no' keeps them; f16 16, q8_0 8.5, q5_k_m about 5.7, q4_k_m about 4.8 bits each. Token embeddings become float32.",
            DefaultValueFactory = _ => kAsItIs,
        }.AcceptOnlyFromAmong(kAsItIs, "f16", "q8_0", "q5_k_m", "q4_k_m");
        Option<string> output = OutputOptions.Out("The GGUF file.");
        var command = new Command("model", "Write a language model as one GGUF file, which llama.cpp runs.")
        {
            from, quantize, output, OutputOptions.Force,
        };
        command.SetAction(parsed => CommandRun.Execute(parsed, run => Write(run, run.Need(from), run.Need(quantize), run.Need(output))));
        return command;
    }

    private static void Write(CommandRun run, string from, string quantize, string path)
    {
        bool folder = Directory.Exists(from);
        if (!folder && !File.Exists(from))
            throw new FileNotFoundException($"{from}: does not exist, expected a Hugging Face folder or a GGUF file", from);
        if (!folder && quantize == kAsItIs)
            throw new ArgumentException($"{from}: is a file already; name the size that it shall have with --quantize");
        if (quantize != kAsItIs)
            LlamaLibrary.Require();
        if (!folder)
        {
            Quantize(from);
        }
        else
        {
            using OutputFile converted = OutputFile.Create(quantize == kAsItIs ? path : path + ".unquantized", run.Force);
            run.Progress.Step("convert", 0, "", _ => HuggingFaceLlama.WriteGguf(from, converted.Stream, run.Cancellation));
            run.Cancellation.ThrowIfCancellationRequested();
            if (quantize == kAsItIs)
                converted.Commit();
            else
                // Never gets its name: it goes when it has been read.
                Quantize(converted.HandOver());
        }
        using GgufFile file = GgufFile.Open(path);
        run.Results.Value("out", path);
        run.Results.Value("name", file.Metadata.Text("general.name") ?? "");
        run.Results.Value("tensors", file.Tensors.Count);
        run.Results.Value("parameters", file.Tensors.Values.Sum(entry => entry.Count));
        run.Results.Value("bytes", file.Tensors.Values.Sum(entry => entry.Bytes), $"{file.Tensors.Values.Sum(entry => entry.Bytes) / 1e6:N1} MB");

        void Quantize(string input) => run.Progress.Step("quantize", 0, "", _ => LlamaQuantizer.Quantize(input, path, Enum.Parse<LlamaFileType>(quantize, ignoreCase: true),
            new LlamaQuantizerOptions { Force = run.Force, Threads = GlobalOptions.ThreadCount(run.Parsed) }));
    }
}
