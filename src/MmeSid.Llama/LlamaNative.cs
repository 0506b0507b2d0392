using System.Runtime.InteropServices;

namespace MmeSid.Llama;

/// <summary>The functions of llama.h (and one of ggml-backend.h) that are used, in its order, as of release b8390. Booleans are bytes.</summary>
internal static unsafe partial class LlamaNative
{
    public const string Library = "llama";

    /// <summary>Its functions lie in a library of their own beside the other.</summary>
    public const string BackendLibrary = "ggml";

    /// <summary>Value type number that stands for "as the library sees fit" in <see cref="QuantizeParameters"/>: one more than the last.</summary>
    public const int NoTensorType = 41;

    /// <summary>llama_batch: 56 bytes.</summary>
    [StructLayout(LayoutKind.Sequential)]
    public struct Batch
    {
        public int Count;
        public int* Tokens;
        public float* Vectors;
        public int* Positions;
        public int* SequenceCounts;
        public int** Sequences;
        public sbyte* Outputs;
    }

    /// <summary>llama_model_params: 72 bytes.</summary>
    [StructLayout(LayoutKind.Sequential)]
    public struct ModelParameters
    {
        public nint Devices;
        public nint BufferOverrides;
        public int GpuLayers;
        public int SplitMode;
        public int MainGpu;
        public nint TensorSplit;
        public nint Progress;
        public nint ProgressData;
        public nint KeyOverrides;
        public byte VocabularyOnly;
        public byte MemoryMap;
        public byte DirectIo;
        public byte LockMemory;
        public byte CheckTensors;
        public byte ExtraBuffers;
        public byte NoHost;
        public byte NoAllocation;
    }

    /// <summary>llama_context_params: 136 bytes.</summary>
    [StructLayout(LayoutKind.Sequential)]
    public struct ContextParameters
    {
        public uint Capacity;
        public uint BatchSize;
        public uint PhysicalBatchSize;
        public uint Sequences;
        public int Threads;
        public int BatchThreads;
        public int RopeScaling;
        public int Pooling;
        public int Attention;
        public int FlashAttention;
        public float RopeBase;
        public float RopeScale;
        public float YarnExtension;
        public float YarnAttention;
        public float YarnFast;
        public float YarnSlow;
        public uint YarnContext;
        public float Defragmentation;
        public nint Evaluation;
        public nint EvaluationData;
        public int KeyType;
        public int ValueType;
        public nint Abort;
        public nint AbortData;
        public byte Embeddings;
        public byte OffloadCache;
        public byte NoTimings;
        public byte OffloadOperations;
        public byte FullWindow;
        public byte UnifiedCache;
        public nint Samplers;
        public nuint SamplerCount;
    }

    /// <summary>llama_model_quantize_params: 56 bytes.</summary>
    [StructLayout(LayoutKind.Sequential)]
    public struct QuantizeParameters
    {
        public int Threads;
        public int FileType;
        public int OutputType;
        public int TokenEmbeddingType;
        public byte AllowRequantize;
        public byte QuantizeOutput;
        public byte OnlyCopy;
        public byte Pure;
        public byte KeepSplit;
        public byte DryRun;
        public nint Importance;
        public nint KeyOverrides;
        public nint TensorTypes;
        public nint PrunedLayers;
    }

    [LibraryImport(BackendLibrary, StringMarshalling = StringMarshalling.Utf8)]
    public static partial void ggml_backend_load_all_from_path(string folder);

    [LibraryImport(Library)]
    public static partial ModelParameters llama_model_default_params();

    [LibraryImport(Library)]
    public static partial ContextParameters llama_context_default_params();

    [LibraryImport(Library)]
    public static partial QuantizeParameters llama_model_quantize_default_params();

    [LibraryImport(Library)]
    public static partial void llama_backend_init();

    [LibraryImport(Library, StringMarshalling = StringMarshalling.Utf8)]
    public static partial ModelHandle llama_model_load_from_file(string path, ModelParameters parameters);

    [LibraryImport(Library)]
    public static partial void llama_model_free(nint model);

    [LibraryImport(Library)]
    public static partial ContextHandle llama_init_from_model(ModelHandle model, ContextParameters parameters);

    [LibraryImport(Library)]
    public static partial void llama_free(nint context);

    [LibraryImport(Library)]
    public static partial uint llama_n_ctx(ContextHandle context);

    [LibraryImport(Library)]
    public static partial uint llama_n_batch(ContextHandle context);

    [LibraryImport(Library)]
    public static partial nint llama_get_memory(ContextHandle context);

    [LibraryImport(Library)]
    public static partial int llama_pooling_type(ContextHandle context);

    [LibraryImport(Library)]
    public static partial nint llama_model_get_vocab(ModelHandle model);

    [LibraryImport(Library)]
    public static partial int llama_model_n_ctx_train(ModelHandle model);

    [LibraryImport(Library)]
    public static partial int llama_model_n_embd(ModelHandle model);

    [LibraryImport(Library)]
    public static partial int llama_model_n_embd_out(ModelHandle model);

    [LibraryImport(Library)]
    public static partial int llama_model_n_layer(ModelHandle model);

    [LibraryImport(Library)]
    public static partial int llama_vocab_n_tokens(nint vocabulary);

    [LibraryImport(Library, StringMarshalling = StringMarshalling.Utf8)]
    public static partial uint llama_model_quantize(string input, string output, QuantizeParameters* parameters);

    [LibraryImport(Library, StringMarshalling = StringMarshalling.Utf8)]
    public static partial nint llama_adapter_lora_init(ModelHandle model, string path);

    [LibraryImport(Library)]
    public static partial int llama_set_adapters_lora(ContextHandle context, nint* adapters, nuint count, float* scales);

    [LibraryImport(Library)]
    public static partial void llama_memory_clear(nint memory, byte data);

    [LibraryImport(Library)]
    public static partial byte llama_memory_seq_rm(nint memory, int sequence, int from, int to);

    [LibraryImport(Library)]
    public static partial void llama_memory_seq_cp(nint memory, int source, int destination, int from, int to);

    [LibraryImport(Library)]
    public static partial int llama_decode(ContextHandle context, Batch batch);

    [LibraryImport(Library)]
    public static partial void llama_set_embeddings(ContextHandle context, byte embeddings);

    [LibraryImport(Library)]
    public static partial void llama_synchronize(ContextHandle context);

    [LibraryImport(Library)]
    public static partial float* llama_get_logits_ith(ContextHandle context, int entry);

    [LibraryImport(Library)]
    public static partial float* llama_get_embeddings_ith(ContextHandle context, int entry);

    [LibraryImport(Library)]
    public static partial float* llama_get_embeddings_seq(ContextHandle context, int sequence);

    [LibraryImport(Library)]
    public static partial int llama_vocab_bos(nint vocabulary);

    [LibraryImport(Library)]
    public static partial int llama_vocab_eos(nint vocabulary);

    [LibraryImport(Library)]
    public static partial int llama_tokenize(nint vocabulary, byte* text, int length, int* tokens, int capacity, byte addSpecial, byte parseSpecial);

    [LibraryImport(Library)]
    public static partial int llama_token_to_piece(nint vocabulary, int token, byte* text, int capacity, int skippedSpaces, byte special);

    [LibraryImport(Library)]
    public static partial nint llama_print_system_info();

    [LibraryImport(Library)]
    public static partial void llama_log_set(delegate* unmanaged[Cdecl]<int, nint, nint, void> callback, nint data);
}
