using System.Runtime.InteropServices;
using System.Text;
using static TorchSharp.torch;

namespace TorchSharp.Interop;

/// <summary>One argument of an operator: whatever converts to it, nothing included.</summary>
internal readonly struct Value
{
    private readonly long _bits;
    private readonly object? _reference;

    private Value(Shim.Kind kind, long bits, object? reference = null)
    {
        Kind = kind;
        _bits = bits;
        _reference = reference;
    }

    public Shim.Kind Kind { get; }

    /// <summary>8-byte words that the native form needs beside itself, at most.</summary>
    public int Words => _reference is Array list ? list.Length : 0;

    public static Value None => default;

    public static implicit operator Value(Tensor? tensor) => tensor is null ? default : new(Shim.Kind.Tensor, 0, tensor);

    public static implicit operator Value(long number) => new(Shim.Kind.Int, number);

    public static implicit operator Value(int number) => new(Shim.Kind.Int, number);

    public static implicit operator Value(double number) => new(Shim.Kind.Double, BitConverter.DoubleToInt64Bits(number));

    public static implicit operator Value(bool flag) => new(Shim.Kind.Bool, flag ? 1 : 0);

    public static implicit operator Value(long? number) => number is { } given ? given : default(Value);

    public static implicit operator Value(ScalarType type) => new(Shim.Kind.Int, (long)type);

    public static implicit operator Value(ScalarType? type) => type is { } given ? given : default(Value);

    public static implicit operator Value(Scalar? scalar) => scalar is null ? default : new(scalar.Kind, scalar.Bits);

    public static implicit operator Value(long[]? numbers) => numbers is null ? default : new(Shim.Kind.Ints, 0, numbers);

    public static implicit operator Value(Tensor[] tensors) => new(Shim.Kind.Tensors, 0, tensors);

    public static implicit operator Value(string text) => new(Shim.Kind.Text, 0, Encoding.UTF8.GetBytes(text));

    public static implicit operator Value(Device device) => new(Shim.Kind.Device, ((long)device.type << 32) | (uint)device.index);

    public static implicit operator Value(Generator? generator) => generator is null ? default : new(Shim.Kind.Generator, 0, generator);

    /// <summary>A list in which null stands for no tensor.</summary>
    public static Value OptionalTensors(Tensor?[] tensors) => new(Shim.Kind.OptionalTensors, 0, tensors);

    /// <summary>Writes the native form, with lists at <paramref name="room"/>, and takes a reference of every handle in it.</summary>
    /// <param name="native">Where to write.</param>
    /// <param name="room">Pinned, at least <see cref="Words"/> words.</param>
    /// <param name="held">Takes what must be released after the call.</param>
    public unsafe void Write(ref Shim.NativeValue native, long* room, HeldHandles held)
    {
        native.Kind = Kind;
        native.Payload = _bits;
        switch (_reference)
        {
            case Tensor tensor:
                native.Payload = held.Add(tensor.Handle);
                break;
            case Generator generator:
                native.Payload = held.Add(generator.Handle);
                break;
            case long[] numbers:
                numbers.CopyTo(new Span<long>(room, numbers.Length));
                native.Count = numbers.Length;
                native.Payload = (long)room;
                break;
            case byte[] text:
                text.CopyTo(new Span<byte>(room, text.Length));
                native.Count = text.Length;
                native.Payload = (long)room;
                break;
            case Tensor?[] tensors:
                for (int i = 0; i < tensors.Length; i++)
                    room[i] = tensors[i] is { } given ? held.Add(given.Handle) : 0;
                native.Count = tensors.Length;
                native.Payload = (long)room;
                break;
        }
    }

    /// <summary>For error messages.</summary>
    public override string ToString() => _reference switch
    {
        Tensor tensor => Describe(tensor),
        Tensor?[] tensors => "{" + string.Join(", ", tensors.Select(tensor => tensor is null ? "none" : Describe(tensor))) + "}",
        long[] numbers => $"[{string.Join(", ", numbers)}]",
        byte[] text => $"\"{Encoding.UTF8.GetString(text)}\"",
        Generator => "generator",
        _ => Kind switch
        {
            Shim.Kind.None => "none",
            Shim.Kind.Double => BitConverter.Int64BitsToDouble(_bits).ToString(System.Globalization.CultureInfo.InvariantCulture),
            Shim.Kind.Bool => _bits != 0 ? "true" : "false",
            Shim.Kind.Device => $"{(DeviceType)(int)(_bits >> 32)}",
            _ => _bits.ToString(System.Globalization.CultureInfo.InvariantCulture),
        },
    };

    private static string Describe(Tensor tensor) => tensor.IsInvalid ? "a disposed tensor" : $"{tensor.dtype} [{string.Join(", ", tensor.shape)}]";
}

/// <summary>Handles that a call uses, kept from being released while it runs. One per thread, used by one call at a time.</summary>
internal sealed class HeldHandles
{
    [ThreadStatic]
    private static HeldHandles? t_instance;

    private readonly List<SafeHandle> _handles = [];

    public static HeldHandles OfThread => t_instance ??= new();

    public nint Add(SafeHandle handle)
    {
        bool added = false;
        handle.DangerousAddRef(ref added);
        _handles.Add(handle);
        return handle.DangerousGetHandle();
    }

    public void Release()
    {
        foreach (SafeHandle handle in _handles)
            handle.DangerousRelease();
        _handles.Clear();
    }
}
