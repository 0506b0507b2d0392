using MmeSid.Engine.Generation;
using MmeSid.Kernels;

namespace MmeSid.Llama;

/// <summary>
/// A context of a <see cref="LlamaModel"/>. Keys and values are kept in float32 and attention is computed in its plain form: both lose nothing against
/// a float32 reference, and the fused form is slower for beams on a CPU.
/// </summary>
internal sealed unsafe class LlamaContext : ILanguageModelContext
{
    private const int kFloat32 = 0;
    private const int kWherePossible = -1;

    private readonly LlamaModel _model;
    private readonly ContextHandle _handle;
    private readonly LlamaAdapter[] _adapters;
    private readonly SequenceLengths _lengths;
    private readonly nint _memory;
    private readonly int[] _tokens, _positions, _sequences, _counts;
    private readonly nint[] _sequencePointers;
    private readonly sbyte[] _outputs;
    private int[] _rows = [];
    private bool _hasHiddenStates;

    public LlamaContext(LlamaModel model, LanguageModelContextOptions options, LlamaAdapter[] adapters)
    {
        _model = model;
        _adapters = adapters;
        int threads = options.Threads == 0 ? Environment.ProcessorCount : options.Threads;
        LlamaNative.ContextParameters parameters = LlamaNative.llama_context_default_params();
        parameters.Capacity = (uint)options.Capacity;
        parameters.BatchSize = (uint)Math.Min(options.BatchSize, options.Capacity);
        parameters.PhysicalBatchSize = parameters.BatchSize;
        parameters.Sequences = (uint)options.Sequences;
        parameters.Threads = threads;
        parameters.BatchThreads = threads;
        parameters.FlashAttention = options.SkipsUnseen ? kWherePossible : 0;
        parameters.KeyType = kFloat32;
        parameters.ValueType = kFloat32;
        parameters.UnifiedCache = 1;
        LlamaLog.Clear();
        _handle = LlamaNative.llama_init_from_model(model.Handle, parameters);
        if (_handle.IsInvalid)
            throw new NativeException("llama.cpp", nameof(LlamaNative.llama_init_from_model), 0, LlamaLog.Text());
        _handle.Hold(model.Handle);
        _memory = LlamaNative.llama_get_memory(_handle);
        if (_memory == 0)
        {
            _handle.Dispose();
            throw new ArgumentException($"{model.Path}: an '{model.Architecture}' model only embeds texts, it has no memory to generate with");
        }
        Capacity = (int)LlamaNative.llama_n_ctx(_handle);
        BatchSize = (int)LlamaNative.llama_n_batch(_handle);
        Sequences = options.Sequences;
        _lengths = new SequenceLengths(model, Sequences, BatchSize);
        _tokens = GC.AllocateArray<int>(BatchSize, pinned: true);
        _positions = GC.AllocateArray<int>(BatchSize, pinned: true);
        _sequences = GC.AllocateArray<int>(BatchSize, pinned: true);
        _counts = GC.AllocateArray<int>(BatchSize, pinned: true);
        _counts.AsSpan().Fill(1);
        _outputs = GC.AllocateArray<sbyte>(BatchSize, pinned: true);
        _sequencePointers = GC.AllocateArray<nint>(BatchSize, pinned: true);
        for (int i = 0; i < BatchSize; i++)
            _sequencePointers[i] = (nint)First(_sequences) + (i * sizeof(int));
    }

    public ILanguageModel Model => _model;

    public int Capacity { get; }

    public int BatchSize { get; }

    public int Sequences { get; }

    public int Length(int sequence) => _lengths[sequence];

    public void Decode(LanguageModelBatch batch, LanguageModelOutputs outputs = LanguageModelOutputs.Logits)
    {
        ThrowIfDisposed();
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
            bool last = call == calls.Length - 1;
            int status = DecodeSome(batch, calls[call], last && _hasHiddenStates);
            if (status == 0)
                continue;
            string reason = LlamaLog.Text();
            _rows = [];
            // What made it into the cache, of this call or the one before, goes out again.
            for (int sequence = 0; sequence < Sequences; sequence++)
            {
                if (_lengths[sequence] > before[sequence])
                    _ = LlamaNative.llama_memory_seq_rm(_memory, sequence, before[sequence], -1);
            }
            _lengths.Restore(before);
            throw new NativeException("llama.cpp", nameof(LlamaNative.llama_decode), status, status == 1
                ? $"the cache of {Capacity} cells has no room for {batch.Count} more entries"
                : reason);
        }
    }

    public void ReadLogits(int entry, Span<float> destination)
    {
        int row = Row(entry, destination.Length, _model.VocabularySize);
        float* values = LlamaNative.llama_get_logits_ith(_handle, row);
        Copy(values, destination, nameof(LlamaNative.llama_get_logits_ith));
    }

    public void ReadHiddenState(int entry, Span<float> destination)
    {
        if (!_hasHiddenStates)
            throw new ArgumentException("the last batch kept no hidden states", nameof(entry));
        int row = Row(entry, destination.Length, _model.EmbeddingDimension);
        float* values = LlamaNative.llama_get_embeddings_ith(_handle, row);
        Copy(values, destination, nameof(LlamaNative.llama_get_embeddings_ith));
    }

    public void Clear()
    {
        ThrowIfDisposed();
        LlamaNative.llama_memory_clear(_memory, 0);
        _lengths.Clear();
    }

    public void Copy(int from, int to)
    {
        ThrowIfDisposed();
        int length = _lengths[from];
        _lengths.Check(to);
        if (from == to)
            return;
        _ = LlamaNative.llama_memory_seq_rm(_memory, to, -1, -1);
        LlamaNative.llama_memory_seq_cp(_memory, from, to, -1, -1);
        _lengths.Set(to, length);
    }

    public void Remove(int sequence, int from = 0)
    {
        ThrowIfDisposed();
        _lengths.CheckStart(sequence, from);
        if (LlamaNative.llama_memory_seq_rm(_memory, sequence, from, -1) == 0)
            throw new NativeException("llama.cpp", nameof(LlamaNative.llama_memory_seq_rm), 0, "this model's memory cannot be cut");
        _lengths.Set(sequence, from);
    }

    public void Attach(params ReadOnlySpan<(ILanguageModelAdapter Adapter, float Scale)> adapters)
    {
        ThrowIfDisposed();
        var pointers = new nint[adapters.Length];
        var scales = new float[adapters.Length];
        for (int i = 0; i < adapters.Length; i++)
        {
            (ILanguageModelAdapter adapter, float scale) = adapters[i];
            if (adapter is not LlamaAdapter own || !_adapters.Contains(own))
                throw new ArgumentException($"the adapter {adapter?.Path} is of another model, or was loaded after the context was created", nameof(adapters));
            if (pointers.AsSpan(0, i).Contains(own.Pointer))
                throw new ArgumentException($"the adapter {own.Path} is given twice", nameof(adapters));
            if (!float.IsFinite(scale))
                throw new ArgumentException($"the adapter {own.Path} has the scale {scale}", nameof(adapters));
            pointers[i] = own.Pointer;
            scales[i] = scale;
        }
        fixed (nint* pointer = pointers)
        fixed (float* scale = scales)
        {
            int status = LlamaNative.llama_set_adapters_lora(_handle, pointer, (nuint)adapters.Length, scale);
            if (status != 0)
                throw new NativeException("llama.cpp", nameof(LlamaNative.llama_set_adapters_lora), status, LlamaLog.Text());
        }
    }

    public void Dispose() => _handle.Dispose();

    internal static T* First<T>(T[] pinned)
        where T : unmanaged
        => (T*)System.Runtime.InteropServices.Marshal.UnsafeAddrOfPinnedArrayElement(pinned, 0);

    private void ThrowIfDisposed() => ObjectDisposedException.ThrowIf(_handle.IsClosed, this);

    private int DecodeSome(LanguageModelBatch batch, int[] entries, bool hiddenStates)
    {
        int dimension = batch.Dimension;
        float[]? gathered = dimension != 0 && entries.Length < batch.Count ? new float[entries.Length * dimension] : null;
        for (int i = 0; i < entries.Length; i++)
        {
            int entry = entries[i];
            if (dimension == 0)
                _tokens[i] = batch.Tokens[entry];
            else if (gathered is not null)
                batch.Vectors.Slice(entry * dimension, dimension).CopyTo(gathered.AsSpan(i * dimension));
            _sequences[i] = batch.Sequences[entry];
            _positions[i] = _lengths.Append(_sequences[i]);
            // A call that keeps hidden states computes them for all its entries.
            _outputs[i] = hiddenStates || batch.Outputs[entry] ? (sbyte)1 : (sbyte)0;
            if (batch.Outputs[entry])
                _rows[entry] = i;
        }
        LlamaNative.llama_set_embeddings(_handle, hiddenStates ? (byte)1 : (byte)0);
        fixed (float* vectors = gathered is null ? batch.Vectors : gathered)
        {
            LlamaLog.Clear();
            int status = LlamaNative.llama_decode(_handle, new LlamaNative.Batch
            {
                Count = entries.Length,
                Tokens = dimension == 0 ? First(_tokens) : null,
                Vectors = dimension == 0 ? null : vectors,
                Positions = First(_positions),
                SequenceCounts = First(_counts),
                Sequences = (int**)First(_sequencePointers),
                Outputs = First(_outputs),
            });
            // On a GPU the call may come back before it has read the vectors.
            if (dimension != 0)
                LlamaNative.llama_synchronize(_handle);
            return status;
        }
    }

    private int Row(int entry, int length, int expected)
    {
        ThrowIfDisposed();
        if ((uint)entry >= (uint)_rows.Length || _rows[entry] < 0)
            throw new ArgumentException($"entry {entry} was no output of the last batch", nameof(entry));
        return length == expected ? _rows[entry] : throw new ArgumentException($"the destination has {length} values, expected {expected}");
    }

    private static void Copy(float* values, Span<float> destination, string function)
    {
        if (values == null)
            throw new NativeException("llama.cpp", function, 0, LlamaLog.Text());
        new ReadOnlySpan<float>(values, destination.Length).CopyTo(destination);
    }
}
