using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;
using System.Text;
using LLama.Exceptions;
using LLama.Native;
using MmeSid.Engine.Generation;
using MmeSid.Kernels;

namespace MmeSid.Llama.LLamaSharp;

/// <summary>A GGUF model run by llama.cpp through the package LLamaSharp: the same as <see cref="LlamaModel"/>, with the same checks.</summary>
public sealed class LLamaSharpModel : ILanguageModel
{
    private readonly SafeLlamaModelHandle _handle;
    private readonly List<LLamaSharpAdapter> _adapters = [];
    private readonly Lock _lock = new();
    private int _users = 1;
    private bool _disposed;

    private LLamaSharpModel(string path, SafeLlamaModelHandle handle, string architecture)
    {
        Path = path;
        _handle = handle;
        Architecture = architecture;
        VocabularySize = handle.Vocab.Count;
        EmbeddingDimension = handle.EmbeddingSize;
        TrainedContext = handle.ContextSize;
        Layers = handle.LayerCount;
        BeginToken = (int?)handle.Vocab.BOS;
        EndToken = (int?)handle.Vocab.EOS;
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

    internal SafeLlamaModelHandle Handle
    {
        get
        {
            ObjectDisposedException.ThrowIf(_disposed, this);
            return _handle;
        }
    }

    /// <summary>Loads a GGUF model.</summary>
    /// <exception cref="InvalidDataException">The file is corrupt, or no model that llama.cpp can run.</exception>
    /// <exception cref="BackendUnavailableException">The package finds no native library.</exception>
    /// <exception cref="NativeException">llama.cpp refuses the file, or memory does not suffice.</exception>
    public static LLamaSharpModel Load(string path, LlamaModelOptions? options = null)
    {
        ArgumentException.ThrowIfNullOrEmpty(path);
        options ??= new LlamaModelOptions();
        ArgumentOutOfRangeException.ThrowIfLessThan(options.GpuLayers, -1, "GPU layers");
        string architecture = LlamaFileCheck.Model(path, options.AnyArchitecture ? null : LlamaFileCheck.Llama);
        LLamaSharpLibrary.Require();
        LLamaModelParams parameters = LLamaModelParams.Default();
        parameters.n_gpu_layers = options.GpuLayers;
        parameters.use_mmap = options.MemoryMap;
        if (LlamaFileCheck.HasRowsOfOneBlock(path))
            parameters.use_extra_bufts = false;
        LlamaLog.Clear();
        try
        {
            return new LLamaSharpModel(path, SafeLlamaModelHandle.LoadFromFile(path, parameters), architecture);
        }
        catch (LoadWeightsFailedException)
        {
            throw new NativeException("llama.cpp", $"loading {path}", 0, LlamaLog.Text());
        }
    }

    /// <inheritdoc/>
    public int[] Tokenize(string text, bool addSpecial, bool parseSpecial)
    {
        ArgumentNullException.ThrowIfNull(text);
        return [.. Handle.Tokenize(text, addSpecial, parseSpecial, Encoding.UTF8).Select(token => (int)token)];
    }

    /// <inheritdoc/>
    public string Detokenize(ReadOnlySpan<int> tokens, bool special = false)
    {
        var bytes = new List<byte>(tokens.Length * 4);
        byte[] piece = new byte[64];
        foreach (int token in tokens)
        {
            if ((uint)token >= (uint)VocabularySize)
                throw new ArgumentException($"token {token} does not exist, the model has 0 to {VocabularySize - 1}", nameof(tokens));
            int length = (int)Handle.TokenToSpan(token, piece, special: special);
            if (length > piece.Length)
            {
                piece = new byte[length];
                length = (int)Handle.TokenToSpan(token, piece, special: special);
            }
            bytes.AddRange(piece.AsSpan(0, length));
        }
        return Encoding.UTF8.GetString(CollectionsMarshal.AsSpan(bytes));
    }

    /// <inheritdoc/>
    public ILanguageModelAdapter LoadAdapter(string path)
    {
        ArgumentException.ThrowIfNullOrEmpty(path);
        LlamaFileCheck.Adapter(path, Architecture);
        lock (_lock)
        {
            LlamaLog.Clear();
            LoraAdapter native = Handle.LoadLoraFromFile(path);
            // The package hands out an adapter even where llama.cpp refused the file.
            if (Pointer(native) == 0)
                throw new InvalidDataException($"{path}: does not fit the model {Path}: {LlamaLog.Text()}");
            var adapter = new LLamaSharpAdapter(path, native);
            _adapters.Add(adapter);
            return adapter;
        }
    }

    /// <inheritdoc/>
    public ILanguageModelContext CreateContext(LanguageModelContextOptions? options = null)
    {
        options ??= new LanguageModelContextOptions();
        LlamaModel.CheckOptions(options);
        lock (_lock)
        {
            var context = new LLamaSharpContext(this, options, [.. _adapters]);
            _users++;
            return context;
        }
    }

    /// <summary>Frees the model once its contexts are gone too.</summary>
    public void Dispose()
    {
        lock (_lock)
        {
            if (_disposed)
                return;
            _disposed = true;
        }
        Release();
    }

    /// <summary>The package refuses to use a context whose model handle is closed, so the handle stays open for the last of them.</summary>
    internal void Release()
    {
        lock (_lock)
        {
            if (--_users == 0)
                _handle.Dispose();
        }
    }

    [UnsafeAccessor(UnsafeAccessorKind.Method, Name = "get_Pointer")]
    private static extern nint Pointer(LoraAdapter adapter);
}

/// <summary>An adapter of a <see cref="LLamaSharpModel"/>.</summary>
internal sealed class LLamaSharpAdapter(string path, LoraAdapter native) : ILanguageModelAdapter
{
    public string Path { get; } = path;

    public LoraAdapter Native { get; } = native;
}
