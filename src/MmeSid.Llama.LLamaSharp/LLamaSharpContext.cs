using System.Runtime.CompilerServices;
using LLama.Exceptions;
using LLama.Native;
using MmeSid.Engine.Generation;
using MmeSid.Kernels;

namespace MmeSid.Llama.LLamaSharp;

/// <summary>A context of a <see cref="LLamaSharpModel"/>, with the settings of the project's own binding. The package decodes for one context at a time.</summary>
internal sealed class LLamaSharpContext : ILanguageModelContext
{
    private readonly LLamaSharpModel _model;
    private readonly SafeLLamaContextHandle _handle;
    private readonly LLamaSharpAdapter[] _adapters;
    private readonly SequenceLengths _lengths;
    private readonly nint _memory;
    private int[] _rows = [];
    private bool _hasHiddenStates;
    private bool _disposed;

    public LLamaSharpContext(LLamaSharpModel model, LanguageModelContextOptions options, LLamaSharpAdapter[] adapters)
    {
        _model = model;
        _adapters = adapters;
        int threads = options.Threads == 0 ? Environment.ProcessorCount : options.Threads;
        LLamaContextParams parameters = LLamaContextParams.Default();
        parameters.n_ctx = (uint)options.Capacity;
        parameters.n_batch = (uint)Math.Min(options.BatchSize, options.Capacity);
        parameters.n_ubatch = parameters.n_batch;
        parameters.n_seq_max = (uint)options.Sequences;
        parameters.n_threads = threads;
        parameters.n_threads_batch = threads;
        parameters.llama_flash_attn_type = options.SkipsUnseen ? LLamaFlashAttentionType.LLAMA_FLASH_ATTENTION_TYPE_AUTO : LLamaFlashAttentionType.LLAMA_FLASH_ATTENTION_TYPE_DISABLED;
        parameters.type_k = GGMLType.GGML_TYPE_F32;
        parameters.type_v = GGMLType.GGML_TYPE_F32;
        parameters.kv_unified = true;
        LlamaLog.Clear();
        _handle = SafeLLamaContextHandle.Create(model.Handle, parameters);
        if (_handle.IsInvalid)
            throw new NativeException("llama.cpp", "llama_init_from_model", 0, LlamaLog.Text());
        _memory = Memory(null, _handle);
        if (_memory == 0)
        {
            _handle.Dispose();
            throw new ArgumentException($"{model.Path}: an '{model.Architecture}' model only embeds texts, it has no memory to generate with");
        }
        Capacity = (int)_handle.ContextSize;
        BatchSize = (int)_handle.BatchSize;
        Sequences = options.Sequences;
        _lengths = new SequenceLengths(model, Sequences, BatchSize);
    }

    public ILanguageModel Model => _model;

    public int Capacity { get; }

    public int BatchSize { get; }

    public int Sequences { get; }

    public int Length(int sequence) => _lengths[sequence];

    public void Decode(LanguageModelBatch batch, LanguageModelOutputs outputs = LanguageModelOutputs.Logits)
    {
        ObjectDisposedException.ThrowIf(_disposed, this);
        _lengths.Check(batch);
        if (!Enum.IsDefined(outputs))
            throw new ArgumentOutOfRangeException(nameof(outputs));
        int[] before = _lengths.Snapshot();
        _rows = new int[batch.Count];
        _rows.AsSpan().Fill(-1);
        _hasHiddenStates = outputs == LanguageModelOutputs.LogitsAndHiddenStates;
        int[][] calls = SequenceLengths.Calls(batch, outputs);
        for (int call = 0; call < calls.Length; call++)
        {
            DecodeResult result = DecodeSome(batch, calls[call], call == calls.Length - 1 && _hasHiddenStates);
            if (result == DecodeResult.Ok)
                continue;
            string reason = LlamaLog.Text();
            _rows = [];
            for (int sequence = 0; sequence < Sequences; sequence++)
            {
                if (_lengths[sequence] > before[sequence])
                    _handle.MemorySequenceRemove((LLamaSeqId)sequence, before[sequence], -1);
            }
            _lengths.Restore(before);
            throw new NativeException("llama.cpp", "llama_decode", (int)result, result == DecodeResult.NoKvSlot
                ? $"the cache of {Capacity} cells has no room for {batch.Count} more entries"
                : reason);
        }
    }

    public void ReadLogits(int entry, Span<float> destination)
    {
        int row = Row(entry, destination.Length, _model.VocabularySize);
        try
        {
            _handle.GetLogitsIth(row).CopyTo(destination);
        }
        catch (GetLogitsInvalidIndexException)
        {
            throw new NativeException("llama.cpp", "llama_get_logits_ith", 0, LlamaLog.Text());
        }
    }

    public void ReadHiddenState(int entry, Span<float> destination)
    {
        if (!_hasHiddenStates)
            throw new ArgumentException("the last batch kept no hidden states", nameof(entry));
        _handle.GetEmbeddingsIth(Row(entry, destination.Length, _model.EmbeddingDimension)).CopyTo(destination);
    }

    public void Clear()
    {
        ObjectDisposedException.ThrowIf(_disposed, this);
        _handle.MemoryClear(data: false);
        _lengths.Clear();
    }

    public void Copy(int from, int to)
    {
        ObjectDisposedException.ThrowIf(_disposed, this);
        int length = _lengths[from];
        _lengths.Check(to);
        if (from == to)
            return;
        _handle.MemorySequenceRemove((LLamaSeqId)to, -1, -1);
        _handle.MemorySequenceCopy((LLamaSeqId)from, (LLamaSeqId)to, -1, -1);
        _lengths.Set(to, length);
    }

    public void Remove(int sequence, int from = 0)
    {
        ObjectDisposedException.ThrowIf(_disposed, this);
        _lengths.CheckStart(sequence, from);
        // The package's own method drops the answer.
        if (!NativeApi.llama_memory_seq_rm(_memory, (LLamaSeqId)sequence, from, -1))
            throw new NativeException("llama.cpp", nameof(NativeApi.llama_memory_seq_rm), 0, "this model's memory cannot be cut");
        _lengths.Set(sequence, from);
    }

    public void Attach(params ReadOnlySpan<(ILanguageModelAdapter Adapter, float Scale)> adapters)
    {
        ObjectDisposedException.ThrowIf(_disposed, this);
        var native = new (LoraAdapter Adapter, float Scale)[adapters.Length];
        for (int i = 0; i < adapters.Length; i++)
        {
            (ILanguageModelAdapter adapter, float scale) = adapters[i];
            if (adapter is not LLamaSharpAdapter own || !_adapters.Contains(own))
                throw new ArgumentException($"the adapter {adapter?.Path} is of another model, or was loaded after the context was created", nameof(adapters));
            if (native.Take(i).Any(other => other.Adapter == own.Native))
                throw new ArgumentException($"the adapter {own.Path} is given twice", nameof(adapters));
            if (!float.IsFinite(scale))
                throw new ArgumentException($"the adapter {own.Path} has the scale {scale}", nameof(adapters));
            native[i] = (own.Native, scale);
        }
        _handle.SetLoraAdapters(native.AsSpan());
    }

    public void Dispose()
    {
        if (_disposed)
            return;
        _disposed = true;
        _handle.Dispose();
        _model.Release();
    }

    private DecodeResult DecodeSome(LanguageModelBatch batch, int[] entries, bool hiddenStates)
    {
        _handle.SetEmbeddings(hiddenStates);
        LLamaBatch? tokens = batch.Dimension == 0 ? new LLamaBatch() : null;
        LLamaBatchEmbeddings? vectors = batch.Dimension == 0 ? null : new LLamaBatchEmbeddings(batch.Dimension);
        for (int i = 0; i < entries.Length; i++)
        {
            int entry = entries[i], sequence = batch.Sequences[entry], position = _lengths.Append(sequence);
            // A call that keeps hidden states computes them for all its entries.
            bool output = hiddenStates || batch.Outputs[entry];
            if (tokens is not null)
                tokens.Add(batch.Tokens[entry], position, (LLamaSeqId)sequence, output);
            else
                vectors!.Add(batch.Vectors.Slice(entry * batch.Dimension, batch.Dimension), position, (LLamaSeqId)sequence, output);
            if (batch.Outputs[entry])
                _rows[entry] = i;
        }
        LlamaLog.Clear();
        return tokens is not null ? _handle.Decode(tokens) : _handle.Decode(vectors!);
    }

    private int Row(int entry, int length, int expected)
    {
        ObjectDisposedException.ThrowIf(_disposed, this);
        if ((uint)entry >= (uint)_rows.Length || _rows[entry] < 0)
            throw new ArgumentException($"entry {entry} was no output of the last batch", nameof(entry));
        return length == expected ? _rows[entry] : throw new ArgumentException($"the destination has {length} values, expected {expected}");
    }

    [UnsafeAccessor(UnsafeAccessorKind.StaticMethod, Name = "llama_get_memory")]
    private static extern nint Memory(SafeLLamaContextHandle? type, SafeLLamaContextHandle context);
}
