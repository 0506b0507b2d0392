using System.Runtime.InteropServices;
using System.Text;
using MmeSid.Engine.Generation;
using MmeSid.Kernels;

namespace MmeSid.Llama;

/// <summary>Options of <see cref="LlamaModel.Load"/>.</summary>
public sealed record LlamaModelOptions
{
    /// <summary>Layers whose weights are put on GPUs, where the library has one that it can use; −1: all.</summary>
    public int GpuLayers { get; init; } = -1;

    /// <summary>Whether weights stay in the file and are mapped into memory, so that processes share them.</summary>
    public bool MemoryMap { get; init; } = true;

    /// <summary>Whether any architecture that llama.cpp knows is taken, not only Llama: for text embeddings.</summary>
    public bool AnyArchitecture { get; init; }
}

/// <summary>A GGUF model run by llama.cpp through this project's own binding.</summary>
public sealed class LlamaModel : ILanguageModel
{
    private readonly ModelHandle _handle;
    private readonly nint _vocabulary;
    private readonly List<LlamaAdapter> _adapters = [];
    private readonly Lock _lock = new();

    private LlamaModel(string path, ModelHandle handle, string architecture)
    {
        Path = path;
        _handle = handle;
        Architecture = architecture;
        _vocabulary = LlamaNative.llama_model_get_vocab(handle);
        VocabularySize = LlamaNative.llama_vocab_n_tokens(_vocabulary);
        EmbeddingDimension = LlamaNative.llama_model_n_embd(handle);
        TrainedContext = LlamaNative.llama_model_n_ctx_train(handle);
        Layers = LlamaNative.llama_model_n_layer(handle);
        BeginToken = TokenOrNull(LlamaNative.llama_vocab_bos(_vocabulary));
        EndToken = TokenOrNull(LlamaNative.llama_vocab_eos(_vocabulary));
    }

    /// <summary>Path as given.</summary>
    public string Path { get; }

    /// <inheritdoc/>
    public string Architecture { get; }

    /// <inheritdoc/>
    public int EmbeddingDimension { get; }

    /// <inheritdoc/>
    public int VocabularySize { get; }

    /// <inheritdoc/>
    public int TrainedContext { get; }

    /// <inheritdoc/>
    public int Layers { get; }

    /// <inheritdoc/>
    public int? BeginToken { get; }

    /// <inheritdoc/>
    public int? EndToken { get; }

    internal ModelHandle Handle
    {
        get
        {
            ObjectDisposedException.ThrowIf(_handle.IsClosed, this);
            return _handle;
        }
    }

    /// <summary>Loads a GGUF model.</summary>
    /// <exception cref="InvalidDataException">The file is corrupt, or no model that llama.cpp can run.</exception>
    /// <exception cref="BackendUnavailableException">llama.cpp is not here.</exception>
    /// <exception cref="NativeException">llama.cpp refuses the file, or memory does not suffice.</exception>
    public static LlamaModel Load(string path, LlamaModelOptions? options = null)
    {
        ArgumentException.ThrowIfNullOrEmpty(path);
        options ??= new LlamaModelOptions();
        ArgumentOutOfRangeException.ThrowIfLessThan(options.GpuLayers, -1, "GPU layers");
        string architecture = LlamaFileCheck.Model(path, options.AnyArchitecture ? null : LlamaFileCheck.Llama);
        LlamaLibrary.Require();
        LlamaNative.ModelParameters parameters = LlamaNative.llama_model_default_params();
        parameters.GpuLayers = options.GpuLayers;
        parameters.MemoryMap = options.MemoryMap ? (byte)1 : (byte)0;
        if (LlamaFileCheck.HasRowsOfOneBlock(path))
            parameters.ExtraBuffers = 0;
        LlamaLog.Clear();
        ModelHandle handle = LlamaNative.llama_model_load_from_file(path, parameters);
        if (handle.IsInvalid)
            throw new NativeException("llama.cpp", $"loading {path}", 0, LlamaLog.Text());
        return new LlamaModel(path, handle, architecture);
    }

    /// <inheritdoc/>
    public unsafe int[] Tokenize(string text, bool addSpecial, bool parseSpecial)
    {
        ArgumentNullException.ThrowIfNull(text);
        _ = Handle;
        byte[] bytes = Encoding.UTF8.GetBytes(text);
        // Rarely more tokens than bytes, plus those around the text.
        int[] tokens = new int[bytes.Length + 8];
        fixed (byte* source = bytes)
        {
            int count = Fill(source);
            if (count < 0)
            {
                if (count == int.MinValue)
                    throw new ArgumentException($"a text of {bytes.Length} bytes is too long", nameof(text));
                tokens = new int[-count];
                count = Fill(source);
            }
            GC.KeepAlive(_handle);
            return count >= 0 ? tokens[..count] : throw new NativeException("llama.cpp", nameof(LlamaNative.llama_tokenize), count, "the number of tokens changed");
        }

        int Fill(byte* source)
        {
            fixed (int* destination = tokens)
                return LlamaNative.llama_tokenize(_vocabulary, source, bytes.Length, destination, tokens.Length, addSpecial ? (byte)1 : (byte)0, parseSpecial ? (byte)1 : (byte)0);
        }
    }

    /// <inheritdoc/>
    public unsafe string Detokenize(ReadOnlySpan<int> tokens, bool special = false)
    {
        _ = Handle;
        var bytes = new List<byte>(tokens.Length * 4);
        byte[] piece = new byte[64];
        foreach (int token in tokens)
        {
            if ((uint)token >= (uint)VocabularySize)
                throw new ArgumentException($"token {token} does not exist, the model has 0 to {VocabularySize - 1}", nameof(tokens));
            int length = Fill(token);
            if (length < 0)
            {
                piece = new byte[-length];
                length = Fill(token);
            }
            bytes.AddRange(piece.AsSpan(0, length));
        }
        GC.KeepAlive(_handle);
        return Encoding.UTF8.GetString(CollectionsMarshal.AsSpan(bytes));

        int Fill(int token)
        {
            fixed (byte* destination = piece)
                return LlamaNative.llama_token_to_piece(_vocabulary, token, destination, piece.Length, 0, special ? (byte)1 : (byte)0);
        }
    }

    /// <inheritdoc/>
    public ILanguageModelAdapter LoadAdapter(string path)
    {
        ArgumentException.ThrowIfNullOrEmpty(path);
        LlamaFileCheck.Adapter(path, Architecture);
        lock (_lock)
        {
            LlamaLog.Clear();
            nint pointer = LlamaNative.llama_adapter_lora_init(Handle, path);
            if (pointer == 0)
                throw new InvalidDataException($"{path}: does not fit the model {Path}: {LlamaLog.Text()}");
            var adapter = new LlamaAdapter(path, pointer);
            _adapters.Add(adapter);
            return adapter;
        }
    }

    /// <inheritdoc/>
    public ILanguageModelContext CreateContext(LanguageModelContextOptions? options = null)
    {
        options ??= new LanguageModelContextOptions();
        CheckOptions(options);
        // Room for adapters is set aside when a context is made.
        lock (_lock)
            return new LlamaContext(this, options, [.. _adapters]);
    }

    /// <summary>Frees the model once its contexts are gone too.</summary>
    public void Dispose() => _handle.Dispose();

    internal static void CheckOptions(LanguageModelContextOptions options)
    {
        const int mostSequences = 256, mostCells = 1 << 28;
        Range(options.Capacity, mostCells, "capacity");
        Range(options.BatchSize, mostCells, "batch size");
        Range(options.Sequences, mostSequences, "sequences");
        if (options.Threads is < 0 or > 512)
            throw new ArgumentOutOfRangeException(nameof(options), $"threads: {options.Threads}, expected 0 to 512");

        static void Range(int value, int maximum, string what)
        {
            if (value < 1 || value > maximum)
                throw new ArgumentOutOfRangeException(nameof(options), $"{what}: {value}, expected 1 to {maximum}");
        }
    }

    private int? TokenOrNull(int token) => token >= 0 && token < VocabularySize ? token : null;
}

/// <summary>An adapter of a <see cref="LlamaModel"/>.</summary>
internal sealed class LlamaAdapter(string path, nint pointer) : ILanguageModelAdapter
{
    public string Path { get; } = path;

    public nint Pointer { get; } = pointer;
}
