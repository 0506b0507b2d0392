using MmeSid.Engine.Generation;
using MmeSid.Kernels;

namespace MmeSid.Engine.Tests.Generation;

/// <summary>
/// A language model that can be computed by hand: h_t = tanh(A h_{t−1} + x_t) in float64, h_0 = 0, A random. The order of what is read and all of it matter, as in a real one. The cache is as strict as
/// llama.cpp's: cells are shared by copies, and there are no more than the capacity.
/// </summary>
internal sealed class RecurrentLanguageModel(int dimension, ulong seed = 1) : ILanguageModel
{
    private readonly double[] _mixing = [.. Enumerable.Range(0, dimension * dimension).Select(i => new RandomSource(seed).Split((ulong)i).NextGaussian() / Math.Sqrt(dimension))];

    public string Architecture => "recurrent";

    public int EmbeddingDimension => dimension;

    public int VocabularySize => 128;

    public int TrainedContext { get; init; } = 1000;

    public int Layers => 1;

    public int? BeginToken => null;

    public int? EndToken => null;

    /// <summary>What was done so far.</summary>
    public int Decodes { get; private set; }

    public int EntriesRead { get; private set; }

    /// <summary>Decodes that succeed before one fails; null or less than 0: none fails.</summary>
    public int? DecodesUntilFailure { get; set; }

    public LanguageModelContextOptions? LastOptions { get; private set; }

    public int[] Tokenize(string text, bool addSpecial, bool parseSpecial) => [.. text.Select(letter => (int)letter)];

    public string Detokenize(ReadOnlySpan<int> tokens, bool special = false) => throw new NotSupportedException();

    public ILanguageModelAdapter LoadAdapter(string path) => throw new NotSupportedException();

    public ILanguageModelContext CreateContext(LanguageModelContextOptions? options = null) => new Context(this, LastOptions = options!);

    public void Dispose()
    {
    }

    /// <summary>Embedding of a token.</summary>
    public float[] Embedding(int token) => [.. Enumerable.Range(0, dimension).Select(i => (float)new RandomSource(99).Split((ulong)((token * dimension) + i)).NextGaussian())];

    public double[] Next(double[] state, ReadOnlySpan<float> input)
    {
        var next = new double[dimension];
        for (int i = 0; i < dimension; i++)
        {
            double sum = input[i];
            for (int j = 0; j < dimension; j++)
                sum += _mixing[(i * dimension) + j] * state[j];
            next[i] = Math.Tanh(sum);
        }
        return next;
    }

    private sealed class Context(RecurrentLanguageModel model, LanguageModelContextOptions options) : ILanguageModelContext
    {
        private readonly List<double[]>[] _cells = [.. Enumerable.Range(0, options.Sequences).Select(_ => new List<double[]>())];
        private readonly Dictionary<int, double[]> _outputs = [];

        public ILanguageModel Model => model;

        public int Capacity => options.Capacity;

        public int BatchSize => options.BatchSize;

        public int Sequences => options.Sequences is >= 1 and <= 256 ? options.Sequences : throw new ArgumentException($"{options.Sequences} sequences");

        public int Length(int sequence) => _cells[sequence].Count;

        public void Decode(LanguageModelBatch batch, LanguageModelOutputs outputs = LanguageModelOutputs.Logits)
        {
            Assert.InRange(batch.Count, 1, BatchSize);
            if (model.DecodesUntilFailure-- == 0)
                throw new NativeException("recurrent", "decode", 2, "as the test wanted");
            _outputs.Clear();
            for (int entry = 0; entry < batch.Count; entry++)
            {
                List<double[]> cells = _cells[batch.Sequences[entry]];
                ReadOnlySpan<float> input = batch.Dimension == 0 ? model.Embedding(batch.Tokens[entry]) : batch.Vectors.Slice(entry * batch.Dimension, batch.Dimension);
                cells.Add(model.Next(cells.Count == 0 ? new double[model.EmbeddingDimension] : cells[^1], input));
                Assert.True(cells.Count <= model.TrainedContext, $"position {cells.Count} of {model.TrainedContext}");
                if (batch.Outputs[entry] && outputs == LanguageModelOutputs.LogitsAndHiddenStates)
                    _outputs.Add(entry, cells[^1]);
            }
            int used = _cells.SelectMany(cells => cells).Distinct(ReferenceEqualityComparer.Instance).Count();
            if (used > Capacity)
                throw new NativeException("recurrent", "decode", 1, $"{used} cells of {Capacity}");
            model.Decodes++;
            model.EntriesRead += batch.Count;
        }

        public void ReadLogits(int entry, Span<float> destination) => throw new NotSupportedException();

        public void ReadHiddenState(int entry, Span<float> destination)
        {
            double[] state = _outputs[entry];
            for (int i = 0; i < destination.Length; i++)
                destination[i] = (float)state[i];
        }

        public void Clear() => throw new NotSupportedException();

        public void Copy(int from, int to)
        {
            double[][] cells = [.. _cells[from]];
            _cells[to].Clear();
            _cells[to].AddRange(cells);
        }

        public void Remove(int sequence, int from = 0) => _cells[sequence].RemoveRange(from, _cells[sequence].Count - from);

        public void Attach(params ReadOnlySpan<(ILanguageModelAdapter Adapter, float Scale)> adapters) => throw new NotSupportedException();

        public void Dispose()
        {
        }
    }
}
