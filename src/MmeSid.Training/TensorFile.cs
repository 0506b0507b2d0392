using MmeSid.Engine.Files;
using TorchSharp;
using static TorchSharp.torch;

namespace MmeSid.Training;

/// <summary>Tensors by name in <c>.safetensors</c> files, every type bit for bit.</summary>
public static class TensorFile
{
    // Values of a tensor that go through memory at once: a tensor may be larger than the largest span.
    private const long kValuesPerBlock = 1 << 20;

    /// <summary>Writes tensors of any shape, type and device. The file appears whole or not at all and replaces the one there.</summary>
    /// <param name="path">File to write.</param>
    /// <param name="tensors">Uniquely named; written in this order.</param>
    /// <param name="metadata">Free texts, or null.</param>
    public static void Save(string path, IEnumerable<(string Name, Tensor Tensor)> tensors, IReadOnlyDictionary<string, string>? metadata = null)
    {
        using OutputFile file = OutputFile.Create(path, force: true);
        SafetensorsFile.Write(file.Stream, [.. tensors.Select(entry => Stored(entry.Name, entry.Tensor))], metadata);
        file.Commit();
    }

    /// <summary>Reads all tensors of an opened file, on the CPU.</summary>
    public static Dictionary<string, Tensor> Load(SafetensorsFile file)
    {
        ArgumentNullException.ThrowIfNull(file);
        return file.Tensors.ToDictionary(entry => entry.Key, entry => Read(file, entry.Key), StringComparer.Ordinal);
    }

    /// <summary>Reads one tensor, on the CPU.</summary>
    /// <exception cref="InvalidDataException">There is none of this name, or libtorch has no such type.</exception>
    public static Tensor Read(SafetensorsFile file, string name)
    {
        ArgumentNullException.ThrowIfNull(file);
        SafetensorsEntry entry = file.Entry(name);
        Tensor tensor = empty([.. entry.Shape], TypeOf(entry.Type) ?? throw new InvalidDataException($"{file.Path}: tensor {name} is {entry.Type}, which libtorch has not"));
        long start = 0;
        ForEachBlock(tensor, block =>
        {
            file.ReadBytes(name, start, block);
            start += block.Length;
        });
        return tensor;
    }

    /// <summary>Copies a loaded tensor into a model's and takes it out of those that are left.</summary>
    /// <param name="path">Where they come from, for messages.</param>
    /// <param name="tensors">What <see cref="Load"/> gave, less what was taken.</param>
    /// <param name="name">Of both.</param>
    /// <param name="target">Written over.</param>
    /// <exception cref="InvalidDataException">There is none of this name, or its shape or type differs.</exception>
    public static void Take(string path, Dictionary<string, Tensor> tensors, string name, Tensor target)
    {
        ArgumentNullException.ThrowIfNull(tensors);
        ArgumentNullException.ThrowIfNull(target);
        if (!tensors.Remove(name, out Tensor? source) || !source.shape.SequenceEqual(target.shape) || source.dtype != target.dtype)
            throw new InvalidDataException($"{path}: {name} is {(source is null ? "missing" : Shape(source))}, the model has {Shape(target)}");
        target.copy_(source);

        static string Shape(Tensor tensor) => $"{tensor.dtype} [{string.Join(", ", tensor.shape)}]";
    }

    private static SafetensorsTensor Stored(string name, Tensor tensor)
    {
        ElementType type = Enum.GetValues<ElementType>().First(candidate => TypeOf(candidate) == tensor.dtype);
        return new SafetensorsTensor(name, type, tensor.shape, stream =>
        {
            using DisposeScope scope = NewDisposeScope();
            ForEachBlock(tensor.detach().cpu().contiguous(), block => stream.Write(block));
        });
    }

    private static void ForEachBlock(Tensor contiguous, Action<Span<byte>> use)
    {
        using Tensor values = contiguous.view(-1);
        for (long first = 0; first < values.numel(); first += kValuesPerBlock)
        {
            using Tensor block = values.narrow(0, first, Math.Min(kValuesPerBlock, values.numel() - first));
            use(block.bytes);
        }
    }

    private static ScalarType? TypeOf(ElementType type) => type switch
    {
        ElementType.Boolean => ScalarType.Bool,
        ElementType.UInt8 => ScalarType.Byte,
        ElementType.Int8 => ScalarType.Int8,
        ElementType.Int16 => ScalarType.Int16,
        ElementType.Int32 => ScalarType.Int32,
        ElementType.Int64 => ScalarType.Int64,
        ElementType.Float16 => ScalarType.Float16,
        ElementType.BFloat16 => ScalarType.BFloat16,
        ElementType.Float32 => ScalarType.Float32,
        ElementType.Float64 => ScalarType.Float64,
        _ => null,
    };
}
