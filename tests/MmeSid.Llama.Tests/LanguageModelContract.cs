using MmeSid.Engine;
using MmeSid.Engine.Files;
using MmeSid.Engine.Generation;
using MmeSid.Engine.Tests;
using MmeSid.Kernels;

namespace MmeSid.Llama.Tests;

/// <summary>What every provider of <see cref="ILanguageModel"/> does, whichever library is behind it. A tiny model is written, run, and held against float64 loops.</summary>
public abstract class LanguageModelContract : IDisposable
{
    /// <summary>
    /// Largest difference from the reference in units of the largest value: two layers of float32 sums of up to 48 products each, whose rounding errors
    /// (6e-8 each) grow with the square root of their number and with the depth. Measured: 1e-6.
    /// </summary>
    private const double kFloat32 = 1e-5;

    protected ScratchFolder Folder { get; } = new();

    /// <summary>Why the provider cannot run here, or null.</summary>
    protected abstract string? UnavailableReason { get; }

    public void Dispose()
    {
        Folder.Dispose();
        GC.SuppressFinalize(this);
    }

    protected abstract ILanguageModel Load(string path, LlamaModelOptions? options = null);

    private protected ILanguageModel Load(TinyLlama tiny)
    {
        Assert.SkipUnless(UnavailableReason is null, UnavailableReason ?? "");
        return Load(tiny.Write(Folder["tiny.gguf"]));
    }

    private static LanguageModelContextOptions Options(int sequences = 1) => new() { Capacity = 256, BatchSize = 64, Sequences = sequences, Threads = 1 };

    private static void Close(double[] expected, float[] actual, double bound = kFloat32)
    {
        Assert.Equal(expected.Length, actual.Length);
        double largest = expected.Max(Math.Abs), difference = expected.Zip(actual, (e, a) => Math.Abs(e - a)).Max();
        Assert.True(difference <= bound * largest, $"differs by {difference / largest:E1} of the largest value");
    }

    private static float[] Logits(ILanguageModelContext context, int entry)
    {
        var values = new float[context.Model.VocabularySize];
        context.ReadLogits(entry, values);
        return values;
    }

    private static float[] HiddenState(ILanguageModelContext context, int entry)
    {
        var values = new float[context.Model.EmbeddingDimension];
        context.ReadHiddenState(entry, values);
        return values;
    }

    /// <summary>Appends tokens to a sequence and returns the logits after the last.</summary>
    private static float[] Read(ILanguageModelContext context, int sequence, params int[] tokens)
    {
        var batch = new LanguageModelBatch();
        int last = batch.AddText(tokens, sequence, outputLast: true);
        context.Decode(batch);
        return Logits(context, last);
    }

    [Fact]
    public void Facts_are_those_of_the_file()
    {
        using ILanguageModel model = Load(new TinyLlama());
        Assert.Equal("llama", model.Architecture);
        Assert.Equal(32, model.EmbeddingDimension);
        Assert.Equal(TinyLlama.VocabularySize, model.VocabularySize);
        Assert.Equal(512, model.TrainedContext);
        Assert.Equal(2, model.Layers);
        Assert.Equal(TinyLlama.BeginToken, model.BeginToken);
        Assert.Equal(TinyLlama.EndToken, model.EndToken);
    }

    [Theory]
    [InlineData("")]
    [InlineData("hello")]
    [InlineData("he said: Größe 𝄞\n\thell")]
    public void Text_comes_back(string text)
    {
        using ILanguageModel model = Load(new TinyLlama());
        int[] tokens = model.Tokenize(text, addSpecial: false, parseSpecial: false);
        Assert.Equal(text, model.Detokenize(tokens));
        int[] special = model.Tokenize(text, addSpecial: true, parseSpecial: false);
        Assert.Equal([TinyLlama.BeginToken, .. tokens], special);
        Assert.Equal(text, model.Detokenize(special));
        Assert.Equal(TinyLlama.Begin + text, model.Detokenize(special, special: true));
    }

    [Fact]
    public void Merges_and_special_tokens_are_heeded()
    {
        using ILanguageModel model = Load(new TinyLlama());
        Assert.Equal([259], model.Tokenize("hello", addSpecial: false, parseSpecial: false));
        Assert.Equal([TinyLlama.EndToken], model.Tokenize(TinyLlama.End, addSpecial: false, parseSpecial: true));
        Assert.True(model.Tokenize(TinyLlama.End, addSpecial: false, parseSpecial: false).Length > 1);
        Assert.Throws<ArgumentException>(() => model.Detokenize([TinyLlama.VocabularySize]));
        Assert.Throws<ArgumentException>(() => model.Detokenize([-1]));
    }

    [Theory]
    [InlineData(1)]
    [InlineData(2)]
    [InlineData(17)]
    public void Logits_and_hidden_states_are_those_of_the_reference(int length)
    {
        var tiny = new TinyLlama();
        using ILanguageModel model = Load(tiny);
        using ILanguageModelContext context = model.CreateContext(Options());
        int[] tokens = [.. Enumerable.Range(0, length).Select(i => (i * 37) % TinyLlama.VocabularySize)];
        (double[][] hidden, double[][] logits) = tiny.Forward(tokens);
        Close(logits[^1], Read(context, 0, tokens));
        context.Clear();
        var batch = new LanguageModelBatch();
        foreach (int token in tokens)
            batch.Add(token, 0, output: true);
        context.Decode(batch, LanguageModelOutputs.LogitsAndHiddenStates);
        for (int i = 0; i < length; i++)
        {
            Close(logits[i], Logits(context, i));
            Close(hidden[i], HiddenState(context, i));
        }
        Assert.Equal(length, context.Length(0));
    }

    [Fact]
    public void Rotary_factors_are_heeded()
    {
        var tiny = new TinyLlama { RopeBase = 500000, RopeFactors = [1, 2, 4, 8] };
        using ILanguageModel model = Load(tiny);
        using ILanguageModelContext context = model.CreateContext(Options());
        Close(tiny.Forward(5, 6, 7, 8, 9).Logits[^1], Read(context, 0, 5, 6, 7, 8, 9));
    }

    /// <summary>Rows of one block, 64 tokens in one batch: where llama.cpp repacks weights for AMX, it gives not-a-number for them.</summary>
    [Fact]
    public void Rows_of_one_block_are_multiplied_right()
    {
        Assert.SkipUnless(UnavailableReason is null, UnavailableReason ?? "");
        var tiny = new TinyLlama(hidden: 64);
        using ILanguageModel model = Load(tiny.WriteQ8(Folder["q8.gguf"]));
        using ILanguageModelContext context = model.CreateContext(Options());
        int[] tokens = [.. Enumerable.Range(1, 64)];
        Close(tiny.Forward(tokens).Logits[^1], Read(context, 0, tokens), 5e-2);
    }

    [Fact]
    public void A_vector_in_place_of_a_token_is_the_same()
    {
        var tiny = new TinyLlama();
        using ILanguageModel model = Load(tiny);
        using ILanguageModelContext context = model.CreateContext(Options(2));
        int[] tokens = [3, 1, 4, 1, 5];
        float[] byToken = Read(context, 0, tokens);
        var batch = new LanguageModelBatch();
        foreach (int token in tokens)
            batch.Add(tiny.Embedding(token), 1, output: batch.Count == tokens.Length - 1);
        context.Decode(batch);
        Assert.Equal(byToken, Logits(context, 4));
        context.Clear();
        context.Decode(batch, LanguageModelOutputs.LogitsAndHiddenStates);
        Close(tiny.Forward(tokens).Hidden[4], HiddenState(context, 4));
    }

    [Fact]
    public void Prompts_in_one_batch_are_the_same_as_each_alone()
    {
        var tiny = new TinyLlama();
        using ILanguageModel model = Load(tiny);
        using ILanguageModelContext context = model.CreateContext(Options(3));
        int[][] prompts = [[1, 2, 3, 4, 5], [9], [7, 7, 7]];
        var batch = new LanguageModelBatch();
        int[] last = [.. prompts.Select((prompt, sequence) => batch.AddText(prompt, sequence, outputLast: true))];
        context.Decode(batch, LanguageModelOutputs.LogitsAndHiddenStates);
        for (int i = 0; i < prompts.Length; i++)
        {
            Close(tiny.Forward(prompts[i]).Logits[^1], Logits(context, last[i]));
            Close(tiny.Forward(prompts[i]).Hidden[^1], HiddenState(context, last[i]));
            Assert.Equal(prompts[i].Length, context.Length(i));
        }
        Assert.Throws<ArgumentException>(() => Logits(context, 0));
    }

    [Fact]
    public void Outputs_before_entries_without_are_right_too()
    {
        var tiny = new TinyLlama();
        using ILanguageModel model = Load(tiny);
        using ILanguageModelContext context = model.CreateContext(Options());
        var batch = new LanguageModelBatch();
        batch.Add(1, 0);
        batch.Add(2, 0, output: true);
        batch.Add(3, 0);
        context.Decode(batch, LanguageModelOutputs.LogitsAndHiddenStates);
        Close(tiny.Forward(1, 2).Hidden[^1], HiddenState(context, 1));
        Assert.Throws<ArgumentException>(() => HiddenState(context, 2));
        Close(tiny.Forward(1, 2, 3, 4).Logits[^1], Read(context, 0, 4));
    }

    [Fact]
    public void Copied_and_cut_sequences_are_the_same_as_read_anew()
    {
        var tiny = new TinyLlama();
        using ILanguageModel model = Load(tiny);
        using ILanguageModelContext context = model.CreateContext(Options(4));
        Read(context, 0, 10, 11, 12);
        Read(context, 2, 99);
        context.Copy(0, 1);
        context.Copy(0, 2);
        Assert.Equal([3, 3, 3, 0], Enumerable.Range(0, 4).Select(context.Length));
        var beams = new LanguageModelBatch();
        for (int sequence = 0; sequence < 3; sequence++)
            beams.Add(20 + sequence, sequence, output: true);
        context.Decode(beams);
        for (int sequence = 0; sequence < 3; sequence++)
            Close(tiny.Forward(10, 11, 12, 20 + sequence).Logits[^1], Logits(context, sequence));
        context.Remove(0, 1);
        context.Remove(1);
        Assert.Equal([1, 0, 4, 0], Enumerable.Range(0, 4).Select(context.Length));
        Close(tiny.Forward(10, 50).Logits[^1], Read(context, 0, 50));
        Close(tiny.Forward(60, 61).Logits[^1], Read(context, 1, 60, 61));
        Close(tiny.Forward(10, 11, 12, 22, 70).Logits[^1], Read(context, 2, 70));
        context.Clear();
        Close(tiny.Forward(70).Logits[^1], Read(context, 2, 70));
    }

    [Fact]
    public void An_adapter_is_the_same_as_merged_weights()
    {
        var tiny = new TinyLlama();
        var random = new RandomSource(5);
        LoraUpdate[] updates = [.. new[] { "blk.0.ffn_gate", "blk.0.ffn_down", "blk.1.ffn_up", "blk.1.attn_q" }.Select(name =>
        {
            long[] shape = tiny.Weights[name + ".weight"].Shape;
            float[] Gaussian(long count) => [.. Enumerable.Range(0, (int)count).Select(_ => 0.3f * (float)random.NextGaussian())];
            return new LoraUpdate(name + ".weight", Gaussian(3 * shape[1]), Gaussian(shape[0] * 3), 3);
        })];
        using ILanguageModel model = Load(tiny);
        using (FileStream stream = File.Create(Folder["lora.gguf"]))
            GgufLora.Write(stream, "llama", alpha: 6, updates);
        ILanguageModelAdapter adapter = model.LoadAdapter(Folder["lora.gguf"]);
        using ILanguageModelContext context = model.CreateContext(Options());
        int[] tokens = [1, 2, 3, 4];
        foreach (float scale in (float[])[1, 0.5f, 0])
        {
            context.Attach((adapter, scale));
            context.Clear();
            Close(tiny.Merged(updates, 2 * scale).Forward(tokens).Logits[^1], Read(context, 0, tokens));
        }
        context.Attach((adapter, 1));
        context.Attach();
        context.Clear();
        Close(tiny.Forward(tokens).Logits[^1], Read(context, 0, tokens));
        Assert.Throws<ArgumentException>(() => context.Attach((adapter, float.NaN)));
        Assert.Throws<ArgumentException>(() => context.Attach((adapter, 1), (adapter, 1)));
        ILanguageModelAdapter late = model.LoadAdapter(Folder["lora.gguf"]);
        Assert.Contains("loaded after", Assert.Throws<ArgumentException>(() => context.Attach((late, 1))).Message);
    }

    [Fact]
    public void An_adapter_that_does_not_fit_is_refused()
    {
        using ILanguageModel model = Load(new TinyLlama());
        void Refused(string message, string architecture, params LoraUpdate[] updates)
        {
            using (FileStream stream = File.Create(Folder["lora.gguf"]))
                GgufLora.Write(stream, architecture, 1, updates);
            string actual = Assert.Throws<InvalidDataException>(() => model.LoadAdapter(Folder["lora.gguf"])).Message;
            Assert.StartsWith(Folder["lora.gguf"], actual);
            Assert.Contains(message, actual);
            Assert.DoesNotContain('\n', actual);
        }
        Refused("is an adapter for architecture 'bert', the model has 'llama'", "bert", new LoraUpdate("blk.0.ffn_up.weight", new float[32], new float[48], 1));
        Refused("does not exist in base model", "llama", new LoraUpdate("blk.7.ffn_up.weight", new float[32], new float[48], 1));
        Refused("incorrect shape", "llama", new LoraUpdate("blk.0.ffn_up.weight", new float[16], new float[48], 1));
        new TinyLlama().Write(Folder["lora.gguf"]);
        Assert.Equal($"{Folder["lora.gguf"]}: is no LoRA adapter", Assert.Throws<InvalidDataException>(() => model.LoadAdapter(Folder["lora.gguf"])).Message);
    }

    [Fact]
    public void A_full_cache_is_an_error_that_changes_nothing()
    {
        var tiny = new TinyLlama();
        using ILanguageModel model = Load(tiny);
        using ILanguageModelContext context = model.CreateContext(Options(2));
        int[] tokens = [.. Enumerable.Range(0, 60)];
        for (int i = 0; i < 4; i++)
            Read(context, 0, tokens);
        Assert.Equal(256, context.Capacity);
        var batch = new LanguageModelBatch();
        batch.AddText(tokens, 1, outputLast: true);
        foreach (LanguageModelOutputs outputs in Enum.GetValues<LanguageModelOutputs>())
        {
            NativeException problem = Assert.Throws<NativeException>(() => context.Decode(batch, outputs));
            Assert.Equal(1, problem.Status);
            Assert.Contains("the cache of 256 cells has no room for 60 more entries", problem.Message);
            Assert.Equal(0, context.Length(1));
            Assert.Throws<ArgumentException>(() => Logits(context, 59));
        }
        Close(tiny.Forward(1, 2, 3).Logits[^1], Read(context, 1, 1, 2, 3));
        context.Remove(0);
        context.Decode(batch);
    }

    [Fact]
    public void What_llama_cpp_would_end_the_process_over_is_refused()
    {
        using ILanguageModel model = Load(new TinyLlama());
        using ILanguageModelContext context = model.CreateContext(Options(2));
        void Refused(string message, Action<LanguageModelBatch> fill)
        {
            var batch = new LanguageModelBatch();
            Assert.Contains(message, Assert.ThrowsAny<ArgumentException>(() =>
            {
                fill(batch);
                context.Decode(batch);
            }).Message);
        }
        Refused("has 0 entries, expected 1 to 64", _ => { });
        Refused("has 65 entries, expected 1 to 64", batch => batch.AddText(new int[65], 0));
        Refused($"token {TinyLlama.VocabularySize} does not exist", batch => batch.Add(TinyLlama.VocabularySize, 0));
        Refused("token -1 does not exist", batch => batch.Add(-1, 0));
        Refused("sequence 2 does not exist, the context has 0 to 1", batch => batch.Add(0, 2));
        Refused("vectors of 31 values, the model 32", batch => batch.Add(new float[31], 0));
        Refused("not both", batch =>
        {
            batch.Add(0, 0);
            batch.Add(new float[32], 0);
        });
        Assert.ThrowsAny<ArgumentException>(() => context.Copy(0, 2));
        Assert.ThrowsAny<ArgumentException>(() => context.Copy(-1, 0));
        Assert.ThrowsAny<ArgumentException>(() => context.Remove(2));
        Assert.ThrowsAny<ArgumentException>(() => context.Remove(0, 1));
        Read(context, 0, 1);
        Assert.Throws<ArgumentException>(() => HiddenState(context, 0));
        Assert.Throws<ArgumentException>(() => context.ReadLogits(0, new float[1]));
        Assert.Throws<ArgumentException>(() => Logits(context, 1));
        foreach (LanguageModelContextOptions options in (LanguageModelContextOptions[])[new() { Capacity = 0 }, new() { BatchSize = 0 }, new() { Sequences = 257 }, new() { Threads = -1 }])
            Assert.ThrowsAny<ArgumentException>(() => model.CreateContext(options));
    }

    [Fact]
    public void A_model_that_only_embeds_makes_no_context()
    {
        Assert.SkipUnless(UnavailableReason is null, UnavailableReason ?? "");
        using ILanguageModel model = Load(TinyBert.Write(Folder["bert.gguf"]), new LlamaModelOptions { AnyArchitecture = true });
        Assert.Contains("only embeds texts", Assert.Throws<ArgumentException>(() => model.CreateContext()).Message);
    }

    [Fact]
    public void A_context_outlives_its_model()
    {
        var tiny = new TinyLlama();
        ILanguageModel model = Load(tiny);
        ILanguageModelContext context = model.CreateContext(Options());
        model.Dispose();
        Close(tiny.Forward(1, 2).Logits[^1], Read(context, 0, 1, 2));
        context.Dispose();
        context.Dispose();
        model.Dispose();
        Assert.Throws<ObjectDisposedException>(() => Read(context, 0, 1));
        Assert.Throws<ObjectDisposedException>(() => model.CreateContext());
    }
}
