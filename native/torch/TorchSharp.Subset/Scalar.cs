using TorchSharp.Interop;

namespace TorchSharp;

/// <summary>A number or truth value, as operators take them: integers stay integers, the rest is float64.</summary>
public sealed class Scalar
{
    internal Scalar(Shim.Kind kind, long bits)
    {
        Kind = kind;
        Bits = bits;
    }

    internal Shim.Kind Kind { get; }

    internal long Bits { get; }

    public static implicit operator Scalar(byte value) => new(Shim.Kind.Int, value);

    public static implicit operator Scalar(short value) => new(Shim.Kind.Int, value);

    public static implicit operator Scalar(int value) => new(Shim.Kind.Int, value);

    public static implicit operator Scalar(long value) => new(Shim.Kind.Int, value);

    public static implicit operator Scalar(float value) => new(Shim.Kind.Double, BitConverter.DoubleToInt64Bits(value));

    public static implicit operator Scalar(double value) => new(Shim.Kind.Double, BitConverter.DoubleToInt64Bits(value));

    public static implicit operator Scalar(bool value) => new(Shim.Kind.Bool, value ? 1 : 0);

    internal double ToDouble() => Kind == Shim.Kind.Double ? BitConverter.Int64BitsToDouble(Bits) : Bits;

    internal long ToInt64() => Kind == Shim.Kind.Double ? (long)BitConverter.Int64BitsToDouble(Bits) : Bits;
}
