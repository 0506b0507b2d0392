using MmeSid.Engine.Files;
using MmeSid.Kernels;

namespace MmeSid.Llama;

/// <summary>How the hidden states of a text's tokens become one vector.</summary>
public enum LlamaPooling
{
    /// <summary>As the model's file says.</summary>
    FromModel = -1,

    /// <summary>Their mean.</summary>
    Mean = 1,

    /// <summary>That of the first token.</summary>
    First = 2,

    /// <summary>That of the last token.</summary>
    Last = 3,
}

/// <summary>Options of <see cref="LlamaTextEncoder.Load"/>.</summary>
public sealed record LlamaTextEncoderOptions
{
    /// <summary>How token vectors are put together; a model that was not made for embeddings has to be told.</summary>
    public LlamaPooling Pooling { get; init; } = LlamaPooling.FromModel;

    /// <summary>Tokens of a text that are read, those that the model expects around it among them; 0: as many as the model was trained for. Of a longer text the end is left out.</summary>
    public int MaximumTokens { get; init; } = 512;

    /// <summary>Threads; 0: all cores.</summary>
    public int Threads { get; init; }
}

/// <summary>
/// Vectors of texts by a GGUF model of any architecture that llama.cpp embeds with (BERT, Nomic, Qwen, Gemma, Llama …). They are the model's own, not
/// normalised. For one thread at a time.
/// </summary>
public sealed unsafe class LlamaTextEncoder : IDisposable
{
    private const int kNone = 0, kRank = 4;

    private readonly LlamaModel _model;
    private readonly ContextHandle _handle;
    private readonly nint _memory;
    private readonly int[] _positions, _sequence, _counts;
    private readonly nint[] _sequencePointers;
    private readonly sbyte[] _outputs;
    private readonly int _closing;

    private LlamaTextEncoder(LlamaModel model, ContextHandle handle, int maximumTokens)
    {
        _model = model;
        _handle = handle;
        _memory = LlamaNative.llama_get_memory(handle);
        MaximumTokens = maximumTokens;
        Dimension = LlamaNative.llama_model_n_embd_out(model.Handle);
        Pooling = (LlamaPooling)LlamaNative.llama_pooling_type(handle);
        _positions = GC.AllocateArray<int>(maximumTokens, pinned: true);
        _sequence = GC.AllocateArray<int>(1, pinned: true);
        _counts = GC.AllocateArray<int>(maximumTokens, pinned: true);
        _outputs = GC.AllocateArray<sbyte>(maximumTokens, pinned: true);
        _sequencePointers = GC.AllocateArray<nint>(maximumTokens, pinned: true);
        _counts.AsSpan().Fill(1);
        _outputs.AsSpan().Fill(1);
        _sequencePointers.AsSpan().Fill((nint)LlamaContext.First(_sequence));
        for (int i = 0; i < maximumTokens; i++)
            _positions[i] = i;
        // How many of the tokens around a text stand behind it.
        int[] bare = model.Tokenize("a", addSpecial: false, parseSpecial: false), whole = model.Tokenize("a", addSpecial: true, parseSpecial: false);
        int before = whole.AsSpan().IndexOf(bare);
        _closing = before < 0 ? 0 : whole.Length - before - bare.Length;
    }

    /// <summary>Values per vector.</summary>
    public int Dimension { get; }

    /// <summary>Tokens of a text that are read.</summary>
    public int MaximumTokens { get; }

    /// <summary>How token vectors are put together.</summary>
    public LlamaPooling Pooling { get; }

    /// <summary>Loads a model.</summary>
    /// <exception cref="InvalidDataException">The file is no model, or does not say how its vectors are pooled and the options do not either.</exception>
    /// <exception cref="BackendUnavailableException">llama.cpp is not here.</exception>
    /// <exception cref="NativeException">llama.cpp refuses the model, or memory does not suffice.</exception>
    public static LlamaTextEncoder Load(string path, LlamaTextEncoderOptions? options = null)
    {
        options ??= new LlamaTextEncoderOptions();
        if (!Enum.IsDefined(options.Pooling))
            throw new ArgumentOutOfRangeException(nameof(options), $"pooling: {options.Pooling} does not exist");
        if (options.MaximumTokens is < 0 or > 1 << 20)
            throw new ArgumentOutOfRangeException(nameof(options), $"maximum tokens: {options.MaximumTokens}, expected 0 to {1 << 20}");
        if (options.Threads is < 0 or > 512)
            throw new ArgumentOutOfRangeException(nameof(options), $"threads: {options.Threads}, expected 0 to 512");
        LlamaModel model = LlamaModel.Load(path, new LlamaModelOptions { AnyArchitecture = true });
        try
        {
            int asked = options.Pooling == LlamaPooling.FromModel ? Stored(path, model.Architecture) : (int)options.Pooling;
            int tokens = options.MaximumTokens == 0 ? model.TrainedContext : Math.Min(options.MaximumTokens, model.TrainedContext);
            int threads = options.Threads == 0 ? Environment.ProcessorCount : options.Threads;
            LlamaNative.ContextParameters parameters = LlamaNative.llama_context_default_params();
            parameters.Capacity = (uint)tokens;
            parameters.BatchSize = (uint)tokens;
            // Attention to both sides needs the whole text at once.
            parameters.PhysicalBatchSize = (uint)tokens;
            parameters.Threads = threads;
            parameters.BatchThreads = threads;
            parameters.FlashAttention = 0;
            parameters.KeyType = 0;
            parameters.ValueType = 0;
            parameters.Pooling = asked;
            parameters.Embeddings = 1;
            LlamaLog.Clear();
            ContextHandle handle = LlamaNative.llama_init_from_model(model.Handle, parameters);
            if (handle.IsInvalid)
                throw new NativeException("llama.cpp", nameof(LlamaNative.llama_init_from_model), 0, LlamaLog.Text());
            handle.Hold(model.Handle);
            int pooling = LlamaNative.llama_pooling_type(handle);
            if (pooling is kNone or kRank)
            {
                handle.Dispose();
                throw new InvalidDataException(pooling == kRank
                    ? $"{path}: ranks pairs of texts, it does not embed them"
                    : $"{path}: does not say how the vectors of tokens become one: it was not made for embeddings; name a pooling (mean, first or last)");
            }
            return new LlamaTextEncoder(model, handle, Math.Min(tokens, (int)LlamaNative.llama_n_batch(handle)));
        }
        catch
        {
            model.Dispose();
            throw;
        }
    }

    /// <summary>What the file says, which llama.cpp itself only reads for some architectures; −1 where it says nothing.</summary>
    private static int Stored(string path, string architecture)
    {
        string key = $"{architecture}.pooling_type";
        using GgufFile file = GgufFile.Open(path);
        try
        {
            return file.Metadata.Integer(key) switch
            {
                null => (int)LlamaPooling.FromModel,
                >= kNone and <= kRank and { } value => (int)value,
                { } value => throw new InvalidDataException($"key '{key}' is {value}, expected {kNone} to {kRank}"),
            };
        }
        catch (InvalidDataException exception)
        {
            throw new InvalidDataException($"{path}: {exception.Message}", exception);
        }
    }

    /// <summary>Embeds a text.</summary>
    /// <param name="text">Any text.</param>
    /// <param name="destination"><see cref="Dimension"/> values.</param>
    /// <returns>Tokens of the text that were left out because it is too long.</returns>
    /// <exception cref="ArgumentException">The destination has another length, or the text has no token at all.</exception>
    /// <exception cref="NativeException">The computation failed.</exception>
    public int Encode(string text, Span<float> destination)
    {
        ObjectDisposedException.ThrowIf(_handle.IsClosed, this);
        if (destination.Length != Dimension)
            throw new ArgumentException($"the destination has {destination.Length} values, expected {Dimension}", nameof(destination));
        int[] tokens = _model.Tokenize(text, addSpecial: true, parseSpecial: false);
        int left = Math.Max(0, tokens.Length - MaximumTokens);
        int closing = Math.Min(_closing, MaximumTokens - 1);
        if (left > 0)
            tokens = [.. tokens[..(MaximumTokens - closing)], .. tokens[(tokens.Length - closing)..]];
        if (tokens.Length == 0)
            throw new ArgumentException("the text has no token", nameof(text));
        if (_memory != 0)
            LlamaNative.llama_memory_clear(_memory, 0);
        LlamaLog.Clear();
        fixed (int* token = tokens)
        {
            int status = LlamaNative.llama_decode(_handle, new LlamaNative.Batch
            {
                Count = tokens.Length,
                Tokens = token,
                Positions = LlamaContext.First(_positions),
                SequenceCounts = LlamaContext.First(_counts),
                Sequences = (int**)LlamaContext.First(_sequencePointers),
                Outputs = LlamaContext.First(_outputs),
            });
            if (status != 0)
                throw new NativeException("llama.cpp", nameof(LlamaNative.llama_decode), status, LlamaLog.Text());
        }
        float* values = LlamaNative.llama_get_embeddings_seq(_handle, 0);
        if (values == null)
            throw new NativeException("llama.cpp", nameof(LlamaNative.llama_get_embeddings_seq), 0, LlamaLog.Text());
        new ReadOnlySpan<float>(values, Dimension).CopyTo(destination);
        return left;
    }

    /// <summary>Frees the context and the model.</summary>
    public void Dispose()
    {
        _handle.Dispose();
        _model.Dispose();
    }
}
