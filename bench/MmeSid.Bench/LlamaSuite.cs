using System.Globalization;
using MmeSid.Engine;
using MmeSid.Engine.Files;
using MmeSid.Engine.Generation;
using MmeSid.Llama;
using MmeSid.Llama.Tests;
using MmeSid.Training;
using MmeSid.Training.LanguageModels;
using static TorchSharp.torch;

namespace MmeSid.Bench;

/// <summary>
/// The Llama that is trained beside llama.cpp that runs it, on the same files at several sizes of their weights: how long a forward pass takes, and how far logits are apart, of the two on one file and
/// of each size from float32. Weights are random, so that logits are spread as those of no trained model are; what fewer bits change for users is in recommendations.md.
/// </summary>
internal static class LlamaSuite
{
    private const int kDimension = 256;
    private const string kData = "random weights and tokens";

    public static IEnumerable<Figure> Run(BenchContext context)
    {
        if ((LlamaLibrary.UnavailableReason ?? TorchRuntime.UnavailableReason) is { } reason)
        {
            context.Remarks.Add(reason);
            yield break;
        }
        const int threads = 1;
        TorchRuntime.Start(threads);
        string whole = new TinyLlama(1, kDimension, heads: 8, keyHeads: 4, hidden: 768, layers: 4).Write(context.TemporaryFile("f32.gguf"));
        int[][] prompts = Prompts(context.Size(32, 2), 64);
        context.Remarks.Add($"A Llama of 4 layers, {kDimension} values; {prompts[0].Length} tokens a prompt, logits of all of them. Rows are tokens. Apart: root mean square of the differences of logits in units of the logits' own");
        using Forward reference = Native(whole, prompts, threads);
        float[] exact = reference.Logits();
        foreach (LlamaFileType type in (LlamaFileType[])[LlamaFileType.F32, LlamaFileType.F16, LlamaFileType.Q8_0, LlamaFileType.Q5_K_M, LlamaFileType.Q4_K_M])
        {
            string path = whole;
            if (type != LlamaFileType.F32)
                LlamaQuantizer.Quantize(whole, path = context.TemporaryFile($"{type}.gguf"), type, new() { Threads = threads, Force = true });
            using Forward torch = Torch(path, prompts), native = Native(path, prompts, threads);
            float[] trained = torch.Logits(), run = native.Logits();
            string apart = string.Create(CultureInfo.InvariantCulture, $"{Apart(trained, run):E1} apart on this file, {Apart(exact, run):E1} from F32; {Report.Bytes(new FileInfo(path).Length)}");
            yield return Make("llama.cpp", type, Timing.Of(() => native.Logits(), context.Quick), apart);
            if (type == LlamaFileType.F32)
                yield return Make("Torch", type, Timing.Of(() => torch.Logits(), context.Quick), "");
        }

        Figure Make(string backend, LlamaFileType type, Timing time, string note) => new()
        {
            Operation = $"logits, {type}",
            Backend = backend,
            Device = "CPU, 1 thread",
            Data = kData,
            Rows = prompts.Length * prompts[0].Length,
            Dimension = kDimension,
            Time = time,
            Note = note,
        };
    }

    private static double Apart(float[] expected, float[] actual) =>
        Math.Sqrt(expected.Zip(actual, (e, a) => Math.Pow((double)e - a, 2)).Sum() / expected.Sum(value => (double)value * value));

    private static int[][] Prompts(int count, int length)
    {
        var random = new RandomSource(3);
        return [.. Enumerable.Range(0, count).Select(_ => (int[])[.. Enumerable.Range(0, length).Select(_ => (int)random.NextLong(TinyLlama.VocabularySize))])];
    }

    private static Forward Torch(string path, int[][] prompts)
    {
        using GgufFile file = GgufFile.Open(path);
        Training.LanguageModels.Llama model = Training.LanguageModels.Llama.Load(file);
        Tensor embeddings = tensor(file.ReadSingles("token_embd.weight"), [TinyLlama.VocabularySize, kDimension]), head = tensor(file.ReadSingles("output.weight"), [TinyLlama.VocabularySize, kDimension]).t();
        Tensor tokens = tensor(prompts.SelectMany(prompt => prompt.Select(token => (long)token)).ToArray());
        int[] lengths = [.. prompts.Select(prompt => prompt.Length)];
        return new(
            () =>
            {
                using TorchSharp.DisposeScope scope = NewDisposeScope();
                return model.HiddenStates(embeddings.index_select(0, tokens).view(prompts.Length, prompts[0].Length, kDimension), lengths).matmul(head).contiguous().data<float>().ToArray();
            },
            model, embeddings, head, tokens);
    }

    private static Forward Native(string path, int[][] prompts, int threads)
    {
        LlamaModel model = LlamaModel.Load(path);
        int size = prompts[0].Length;
        ILanguageModelContext context = model.CreateContext(new LanguageModelContextOptions { Capacity = size, BatchSize = size, Threads = threads });
        var logits = new float[prompts.Length * size * TinyLlama.VocabularySize];
        return new(
            () =>
            {
                var batch = new LanguageModelBatch();
                for (int i = 0; i < prompts.Length; i++)
                {
                    context.Clear();
                    batch.Clear();
                    foreach (int token in prompts[i])
                        batch.Add(token, 0, output: true);
                    context.Decode(batch);
                    for (int entry = 0; entry < size; entry++)
                        context.ReadLogits(entry, logits.AsSpan(((i * size) + entry) * TinyLlama.VocabularySize, TinyLlama.VocabularySize));
                }
                return logits;
            },
            context, model);
    }

    /// <summary>A way to compute the logits of all prompts, [prompts · tokens, V], with what it holds.</summary>
    private sealed class Forward(Func<float[]> logits, params IDisposable[] owned) : IDisposable
    {
        public float[] Logits() => logits();

        public void Dispose()
        {
            foreach (IDisposable part in owned)
                part.Dispose();
        }
    }
}
