using System.Diagnostics.CodeAnalysis;
using MmeSid.Engine.Files;
using MmeSid.Kernels;

namespace MmeSid.Llama;

/// <summary>The sizes in which a model is stored; the names are llama.cpp's. Vectors stay float32 in all of them.</summary>
[SuppressMessage("Naming", "CA1707", Justification = "llama.cpp's own names, by which options call them.")]
public enum LlamaFileType
{
    /// <summary>float32.</summary>
    F32 = 0,

    /// <summary>float16.</summary>
    F16 = 1,

    /// <summary>8.5 bits a weight.</summary>
    Q8_0 = 7,

    /// <summary>About 4.8 bits a weight: Q4_K, half of the attention values and down projections Q6_K. Rows that are no multiple of 256 fall back to Q5_0 and Q8_0.</summary>
    Q4_K_M = 15,

    /// <summary>About 5.7 bits a weight: Q5_K, half of the attention values and down projections Q6_K. Rows that are no multiple of 256 fall back to Q5_1 and Q8_0.</summary>
    Q5_K_M = 17,

    /// <summary>bfloat16.</summary>
    BF16 = 32,
}

/// <summary>Options of <see cref="LlamaQuantizer.Quantize"/>.</summary>
public sealed record LlamaQuantizerOptions
{
    /// <summary>How token embeddings are stored; null leaves it to llama.cpp. F32 keeps a token equal to its embedding in the unquantized model.</summary>
    public GgufTensorType? TokenEmbeddings { get; init; } = GgufTensorType.F32;

    /// <summary>Whether a file that is quantized already may be quantized again, which loses more than quantizing the original.</summary>
    public bool Again { get; init; }

    /// <summary>Threads; 0: all cores. Changes no byte.</summary>
    public int Threads { get; init; }

    /// <summary>Whether an existing file is replaced.</summary>
    public bool Force { get; init; }
}

/// <summary>Stores a model in another size, through llama.cpp.</summary>
public static class LlamaQuantizer
{
    /// <summary>Writes a model anew.</summary>
    /// <param name="input">A GGUF model.</param>
    /// <param name="output">The file to make; it appears when it is complete.</param>
    /// <param name="type">Its size.</param>
    /// <param name="options">How.</param>
    /// <exception cref="InvalidDataException">The input is no model, or quantized already.</exception>
    /// <exception cref="IOException">The output cannot be written, or exists.</exception>
    /// <exception cref="BackendUnavailableException">llama.cpp is not here.</exception>
    /// <exception cref="NativeException">llama.cpp gives up.</exception>
    public static unsafe void Quantize(string input, string output, LlamaFileType type, LlamaQuantizerOptions? options = null)
    {
        ArgumentException.ThrowIfNullOrEmpty(input);
        options ??= new LlamaQuantizerOptions();
        ArgumentOutOfRangeException.ThrowIfNegative(options.Threads, "threads");
        if (!Enum.IsDefined(type))
            throw new ArgumentOutOfRangeException(nameof(type));
        LlamaFileCheck.Model(input, architecture: null);
        CheckTensors(input, type, options.Again);
        LlamaLibrary.Require();
        LlamaNative.QuantizeParameters parameters = LlamaNative.llama_model_quantize_default_params();
        parameters.FileType = (int)type;
        parameters.Threads = options.Threads == 0 ? Environment.ProcessorCount : options.Threads;
        parameters.AllowRequantize = options.Again ? (byte)1 : (byte)0;
        if (options.TokenEmbeddings is { } embeddings)
            parameters.TokenEmbeddingType = (int)embeddings;
        using OutputFile file = OutputFile.Create(output, options.Force);
        LlamaLog.Clear();
        uint status = LlamaNative.llama_model_quantize(input, file.HandOver(), &parameters);
        if (status != 0)
            throw new NativeException("llama.cpp", $"quantizing {input}", (int)status, LlamaLog.Text());
        file.Commit();
    }

    private static void CheckTensors(string input, LlamaFileType type, bool again)
    {
        using GgufFile file = GgufFile.Open(input);
        foreach ((string name, GgufEntry entry) in file.Tensors)
        {
            if (!again && entry.Type.BlockValues() > 1)
                throw new InvalidDataException($"{input}: tensor {name} is {entry.Type}: a model that is quantized already loses more the second time; start from the F32, F16 or BF16 one");
            // Types of larger blocks fall back to smaller ones, this one to nothing.
            if (type == LlamaFileType.Q8_0 && entry.Shape.Count > 1 && entry.Shape[^1] % GgufTensorType.Q8_0.BlockValues() != 0)
                throw new InvalidDataException($"{input}: tensor {name} has rows of {entry.Shape[^1]} values, {type} takes multiples of {GgufTensorType.Q8_0.BlockValues()}");
        }
    }
}
