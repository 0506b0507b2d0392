using MmeSid.Engine;
using MmeSid.Engine.Files;

namespace MmeSid.Llama.Tests;

/// <summary>
/// A Llama of a few thousand random weights with a byte-level tokenizer, and its forward pass as plain loops in float64. Weights are in llama.cpp's
/// order: rotary pairs lie side by side.
/// </summary>
internal sealed class TinyLlama
{
    public const string Begin = "<|begin_of_text|>", End = "<|end_of_text|>";
    private const double kEpsilon = 1e-5;

    public TinyLlama(ulong seed = 1, int dimension = 32, int heads = 4, int keyHeads = 2, int hidden = 48, int layers = 2, bool tied = false)
    {
        (Dimension, Heads, KeyHeads, Hidden, Layers) = (dimension, heads, keyHeads, hidden, layers);
        var random = new RandomSource(seed);
        Add("token_embd.weight", 1, VocabularySize, dimension);
        for (int layer = 0; layer < layers; layer++)
        {
            Add($"blk.{layer}.attn_norm.weight", 0, dimension);
            Add($"blk.{layer}.attn_q.weight", dimension, heads * HeadSize, dimension);
            Add($"blk.{layer}.attn_k.weight", dimension, keyHeads * HeadSize, dimension);
            Add($"blk.{layer}.attn_v.weight", dimension, keyHeads * HeadSize, dimension);
            Add($"blk.{layer}.attn_output.weight", dimension, dimension, heads * HeadSize);
            Add($"blk.{layer}.ffn_norm.weight", 0, dimension);
            Add($"blk.{layer}.ffn_gate.weight", dimension, hidden, dimension);
            Add($"blk.{layer}.ffn_up.weight", dimension, hidden, dimension);
            Add($"blk.{layer}.ffn_down.weight", hidden, dimension, hidden);
        }
        Add("output_norm.weight", 0, dimension);
        if (!tied)
            Add("output.weight", dimension, VocabularySize, dimension);

        // A vector near one, or a matrix that keeps the size of what it is applied to.
        void Add(string name, int fanIn, params long[] shape)
        {
            var values = new float[shape.Aggregate(1L, (product, size) => product * size)];
            for (int i = 0; i < values.Length; i++)
                values[i] = fanIn == 0 ? 1 + (0.1f * (float)random.NextGaussian()) : (float)(random.NextGaussian() / Math.Sqrt(fanIn));
            Weights.Add(name, (values, shape));
        }
    }

    public int Dimension { get; }

    public int Heads { get; }

    public int KeyHeads { get; }

    public int Hidden { get; }

    public int Layers { get; }

    public int HeadSize => Dimension / Heads;

    public double RopeBase { get; init; } = 10000;

    /// <summary>What each rotary frequency is divided by, or null.</summary>
    public float[]? RopeFactors { get; init; }

    public Dictionary<string, (float[] Values, long[] Shape)> Weights { get; } = [];

    public static string[] Merges { get; } = ["h e", "l l", "he ll", "hell o"];

    /// <summary>One token for each byte, one for each merge, two special ones.</summary>
    public static string[] Tokens { get; } = [.. Enumerable.Range(0, 256).Select(value => ByteLetter((byte)value)), .. Merges.Select(merge => merge.Replace(" ", "", StringComparison.Ordinal)), Begin, End];

    public static int VocabularySize => Tokens.Length;

    public static int BeginToken => VocabularySize - 2;

    public static int EndToken => VocabularySize - 1;

    public GgufMetadata Metadata => new()
    {
        ["general.architecture"] = "llama",
        ["general.type"] = "model",
        ["general.name"] = "tiny",
        ["general.file_type"] = 0u,
        ["llama.context_length"] = 512u,
        ["llama.embedding_length"] = (uint)Dimension,
        ["llama.block_count"] = (uint)Layers,
        ["llama.feed_forward_length"] = (uint)Hidden,
        ["llama.attention.head_count"] = (uint)Heads,
        ["llama.attention.head_count_kv"] = (uint)KeyHeads,
        ["llama.attention.layer_norm_rms_epsilon"] = (float)kEpsilon,
        ["llama.rope.dimension_count"] = (uint)HeadSize,
        ["llama.rope.freq_base"] = (float)RopeBase,
        ["llama.vocab_size"] = (uint)VocabularySize,
        ["tokenizer.ggml.model"] = "gpt2",
        ["tokenizer.ggml.pre"] = "llama-bpe",
        ["tokenizer.ggml.tokens"] = Tokens,
        ["tokenizer.ggml.token_type"] = Enumerable.Range(0, VocabularySize).Select(token => token < VocabularySize - 2 ? 1 : 3).ToArray(),
        ["tokenizer.ggml.merges"] = Merges,
        ["tokenizer.ggml.bos_token_id"] = (uint)BeginToken,
        ["tokenizer.ggml.eos_token_id"] = (uint)EndToken,
        ["tokenizer.ggml.add_bos_token"] = true,
    };

    /// <summary>The letter that stands for a byte in byte-level tokenizers: itself where it can be printed, else one from 256 on.</summary>
    public static string ByteLetter(byte value)
    {
        static bool Printable(int letter) => letter is (>= '!' and <= '~') or (>= 0xA1 and <= 0xAC) or (>= 0xAE and <= 0xFF);
        return ((char)(Printable(value) ? value : 256 + Enumerable.Range(0, value).Count(letter => !Printable(letter)))).ToString();
    }

    public string Write(string path, GgufMetadata? metadata = null)
    {
        using FileStream stream = File.Create(path);
        var tensors = Weights.Select(weight => GgufWriter.Singles(weight.Key, weight.Value.Values, weight.Value.Shape)).ToList();
        if (RopeFactors is not null)
            tensors.Add(GgufWriter.Singles("rope_freqs.weight", RopeFactors, RopeFactors.Length));
        GgufWriter.Write(stream, metadata ?? Metadata, tensors);
        return path;
    }

    /// <summary>The matrices but the embeddings as Q8_0: of each 32 values of a row d = max |x| / 127 as a half, then x / d as signed bytes.</summary>
    public string WriteQ8(string path)
    {
        GgufMetadata metadata = Metadata;
        metadata["general.file_type"] = 7u;
        using FileStream stream = File.Create(path);
        GgufWriter.Write(stream, metadata,
        [
            .. Weights.Select(weight => weight.Value.Shape.Length == 1 || weight.Key == "token_embd.weight"
                ? GgufWriter.Singles(weight.Key, weight.Value.Values, weight.Value.Shape)
                : (new GgufTensor(weight.Key, GgufTensorType.Q8_0, weight.Value.Shape), weight.Value.Values.Chunk(32).SelectMany(Block).ToArray())),
        ]);
        return path;

        static byte[] Block(float[] values)
        {
            var scale = (Half)(values.Max(MathF.Abs) / 127);
            return [.. BitConverter.GetBytes(scale), .. values.Select(value => (byte)(sbyte)MathF.Round(value / (float)scale))];
        }
    }

    public ReadOnlySpan<float> Embedding(int token) => Weights["token_embd.weight"].Values.AsSpan(token * Dimension, Dimension);

    /// <summary>The same model with W + s · (α/r) · B A in place of W.</summary>
    public TinyLlama Merged(IEnumerable<LoraUpdate> updates, double factor)
    {
        var merged = new TinyLlama(1, Dimension, Heads, KeyHeads, Hidden, Layers) { RopeBase = RopeBase, RopeFactors = RopeFactors };
        foreach ((string name, (float[] values, long[] shape)) in Weights)
            merged.Weights[name] = ([.. values], shape);
        foreach (LoraUpdate update in updates)
        {
            (float[] weight, long[] shape) = merged.Weights[update.Weight];
            for (int row = 0; row < shape[0]; row++)
            {
                for (int column = 0; column < shape[1]; column++)
                {
                    double sum = 0;
                    for (int k = 0; k < update.Rank; k++)
                        sum += (double)update.B.Span[(row * update.Rank) + k] * update.A.Span[(k * (int)shape[1]) + column];
                    weight[(row * shape[1]) + column] += (float)(factor * sum);
                }
            }
        }
        return merged;
    }

    /// <summary>Hidden states after the final norm and logits of every position.</summary>
    public (double[][] Hidden, double[][] Logits) Forward(params int[] tokens)
    {
        double[][] x = [.. tokens.Select(token => Embedding(token).ToArray().Select(value => (double)value).ToArray())];
        for (int layer = 0; layer < Layers; layer++)
        {
            double[][] normed = [.. x.Select(row => Norm(row, $"blk.{layer}.attn_norm.weight"))];
            double[][] q = [.. normed.Select((row, position) => Rotate(Apply($"blk.{layer}.attn_q.weight", row), position))];
            double[][] k = [.. normed.Select((row, position) => Rotate(Apply($"blk.{layer}.attn_k.weight", row), position))];
            double[][] v = [.. normed.Select(row => Apply($"blk.{layer}.attn_v.weight", row))];
            for (int position = 0; position < x.Length; position++)
            {
                var attended = new double[Heads * HeadSize];
                for (int head = 0; head < Heads; head++)
                {
                    int shared = head / (Heads / KeyHeads);
                    double[] scores = [.. Enumerable.Range(0, position + 1).Select(other =>
                        Enumerable.Range(0, HeadSize).Sum(i => q[position][(head * HeadSize) + i] * k[other][(shared * HeadSize) + i]) / Math.Sqrt(HeadSize))];
                    double largest = scores.Max(), total = scores.Sum(score => Math.Exp(score - largest));
                    for (int other = 0; other <= position; other++)
                    {
                        for (int i = 0; i < HeadSize; i++)
                            attended[(head * HeadSize) + i] += Math.Exp(scores[other] - largest) / total * v[other][(shared * HeadSize) + i];
                    }
                }
                x[position] = Sum(x[position], Apply($"blk.{layer}.attn_output.weight", attended));
            }
            for (int position = 0; position < x.Length; position++)
            {
                double[] row = Norm(x[position], $"blk.{layer}.ffn_norm.weight");
                double[] gate = Apply($"blk.{layer}.ffn_gate.weight", row), up = Apply($"blk.{layer}.ffn_up.weight", row);
                x[position] = Sum(x[position], Apply($"blk.{layer}.ffn_down.weight", [.. gate.Zip(up, (g, u) => g / (1 + Math.Exp(-g)) * u)]));
            }
        }
        double[][] hidden = [.. x.Select(row => Norm(row, "output_norm.weight"))];
        string output = Weights.ContainsKey("output.weight") ? "output.weight" : "token_embd.weight";
        return (hidden, [.. hidden.Select(row => Apply(output, row))]);
    }

    private static double[] Sum(double[] left, double[] right) => [.. left.Zip(right, (l, r) => l + r)];

    private double[] Norm(double[] row, string weight)
    {
        double scale = 1 / Math.Sqrt((row.Sum(value => value * value) / row.Length) + kEpsilon);
        return [.. row.Select((value, i) => value * scale * Weights[weight].Values[i])];
    }

    private double[] Apply(string weight, double[] row)
    {
        (float[] values, long[] shape) = Weights[weight];
        return [.. Enumerable.Range(0, (int)shape[0]).Select(output => Enumerable.Range(0, row.Length).Sum(input => values[(output * row.Length) + input] * row[input]))];
    }

    private double[] Rotate(double[] row, int position)
    {
        double[] rotated = [.. row];
        for (int i = 0; i < row.Length; i += 2)
        {
            int pair = i % HeadSize / 2;
            double angle = position * Math.Pow(RopeBase, -2.0 * pair / HeadSize) / (RopeFactors?[pair] ?? 1);
            rotated[i] = (row[i] * Math.Cos(angle)) - (row[i + 1] * Math.Sin(angle));
            rotated[i + 1] = (row[i] * Math.Sin(angle)) + (row[i + 1] * Math.Cos(angle));
        }
        return rotated;
    }
}
