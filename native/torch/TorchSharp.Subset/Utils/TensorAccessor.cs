using System.Collections;

namespace TorchSharp.Utils;

/// <summary>The values of a tensor on the CPU, in the order of its rows whatever its strides. Valid while the tensor is.</summary>
public sealed unsafe class TensorAccessor<T> : IDisposable, IEnumerable<T>
    where T : unmanaged
{
    private readonly torch.Tensor _tensor;
    private readonly T* _first;
    private readonly long[] _sizes;
    private readonly long[] _strides;

    internal TensorAccessor(torch.Tensor tensor)
    {
        if (tensor.device_type != DeviceType.CPU)
            throw new InvalidOperationException($"the values of {tensor} were asked for, expected a tensor on the CPU: move it there first");
        if (tensor.dtype != torch.TypeOf<T>())
            throw new ArgumentException($"values of type {typeof(T).Name} were asked for of {tensor}");
        _tensor = tensor;
        _sizes = tensor.shape;
        _strides = tensor.stride();
        _first = (T*)tensor.DataPointer;
        IsContiguous = tensor.is_contiguous();
    }

    /// <summary>Number of values.</summary>
    public long Count => _tensor.NumberOfElements;

    private bool IsContiguous { get; }

    /// <summary>The value at one index per dimension, or of one index into the values in order.</summary>
    public T this[params long[] indices]
    {
        get => _first[Offset(indices)];
        set => _first[Offset(indices)] = value;
    }

    public T[] ToArray()
    {
        var values = new T[Count];
        CopyTo(values);
        return values;
    }

    /// <summary>Copies as many values as the array takes.</summary>
    public void CopyTo(T[] array, int arrayIndex = 0, long tensorIndex = 0) => CopyTo(array.AsSpan(), arrayIndex, tensorIndex);

    /// <summary>Copies as many values as the span takes.</summary>
    public void CopyTo(Span<T> array, int arrayIndex = 0, long tensorIndex = 0)
    {
        Span<T> destination = array[arrayIndex..];
        int count = (int)Math.Min(destination.Length, Count - tensorIndex);
        if (IsContiguous)
        {
            new ReadOnlySpan<T>(_first + tensorIndex, count).CopyTo(destination);
            return;
        }
        for (int i = 0; i < count; i++)
            destination[i] = _first[Offset(tensorIndex + i)];
    }

    /// <summary>Writes as many values as there are.</summary>
    public void CopyFrom(T[] array, int arrayIndex = 0, long tensorIndex = 0) => CopyFrom((ReadOnlySpan<T>)array, arrayIndex, tensorIndex);

    /// <summary>Writes as many values as there are.</summary>
    public void CopyFrom(ReadOnlySpan<T> array, int arrayIndex = 0, long tensorIndex = 0)
    {
        ReadOnlySpan<T> source = array[arrayIndex..];
        int count = (int)Math.Min(source.Length, Count - tensorIndex);
        if (IsContiguous)
        {
            source[..count].CopyTo(new Span<T>(_first + tensorIndex, count));
            return;
        }
        for (int i = 0; i < count; i++)
            _first[Offset(tensorIndex + i)] = source[i];
    }

    public IEnumerator<T> GetEnumerator()
    {
        for (long i = 0; i < Count; i++)
            yield return this[i];
    }

    IEnumerator IEnumerable.GetEnumerator() => GetEnumerator();

    public void Dispose() => GC.KeepAlive(_tensor);

    private long Offset(long[] indices)
    {
        if (indices.Length == 1)
            return Offset(indices[0]);
        if (indices.Length != _sizes.Length)
            throw new ArgumentException($"{indices.Length} indices for {_tensor}");
        long offset = 0;
        for (int i = 0; i < indices.Length; i++)
        {
            if ((ulong)indices[i] >= (ulong)_sizes[i])
                throw new ArgumentOutOfRangeException(nameof(indices), $"index {indices[i]} in dimension {i} of {_tensor}");
            offset += indices[i] * _strides[i];
        }
        return offset;
    }

    private long Offset(long index)
    {
        if ((ulong)index >= (ulong)Count)
            throw new ArgumentOutOfRangeException(nameof(index), $"value {index} of {_tensor}");
        if (IsContiguous)
            return index;
        long offset = 0;
        for (int i = _sizes.Length - 1; i >= 0; i--)
        {
            (index, long inDimension) = Math.DivRem(index, _sizes[i]);
            offset += inDimension * _strides[i];
        }
        return offset;
    }
}
