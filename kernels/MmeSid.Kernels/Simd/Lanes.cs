using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;
using System.Runtime.Intrinsics.X86;

namespace MmeSid.Kernels.Simd;

/// <summary>
/// A register of float32 lanes. Kernels are written once against it and instantiated for the widest register of the processor
/// (<see cref="Lanes512"/>, <see cref="Lanes256"/>, <see cref="Lanes128"/>); all members compile to single instructions or short sequences.
/// </summary>
internal unsafe interface ILanes<TSelf>
    where TSelf : struct, ILanes<TSelf>
{
    /// <summary>Lanes in the register.</summary>
    static abstract int Count { get; }

    static abstract TSelf Load(float* source);

    static abstract TSelf Create(float value);

    static abstract TSelf operator +(TSelf left, TSelf right);

    static abstract TSelf operator -(TSelf left, TSelf right);

    static abstract TSelf operator *(TSelf left, TSelf right);

    /// <summary>left · right + addend, fused where the processor can.</summary>
    static abstract TSelf MultiplyAdd(TSelf left, TSelf right, TSelf addend);

    static abstract TSelf Max(TSelf left, TSelf right);

    static abstract TSelf Min(TSelf left, TSelf right);

    /// <summary>Nearest integers.</summary>
    static abstract TSelf Round(TSelf value);

    /// <summary>2^value for integers −126 … 127.</summary>
    static abstract TSelf PowerOfTwo(TSelf value);

    /// <summary>Bit i is set where lane i of left ≥ lane i of right.</summary>
    static abstract uint AtLeast(TSelf left, TSelf right);

    void Store(float* destination);

    /// <summary>Sum of the lanes, in a fixed order.</summary>
    float Sum();

    /// <summary>Largest lane.</summary>
    float Largest();

    /// <summary>Smallest lane.</summary>
    float Smallest();
}

/// <summary>Functions of lanes built from <see cref="ILanes{TSelf}"/>.</summary>
internal static class Lanes
{
    /// <summary>Arguments below it are taken for it: the result stays a normal float32, 1.2e−38.</summary>
    public const float kLeastExponent = -87.3f;

    /// <summary>
    /// e^x for x ≤ 0 (and up to 88). x = n·ln 2 + r with |r| ≤ ½ ln 2 (two-step reduction), e^r by the degree-7 polynomial of Cephes' expf.
    /// Relative error at most <see cref="Bounds.Exp32"/> on −87.3 … 0; below, the value at −87.3.
    /// </summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static TLanes Exp<TLanes>(TLanes x)
        where TLanes : struct, ILanes<TLanes>
    {
        x = TLanes.Max(x, TLanes.Create(kLeastExponent));
        TLanes n = TLanes.Round(x * TLanes.Create(1.44269504f));
        TLanes r = TLanes.MultiplyAdd(n, TLanes.Create(-0.693359375f), x);
        r = TLanes.MultiplyAdd(n, TLanes.Create(2.12194440e-4f), r);
        TLanes p = TLanes.MultiplyAdd(TLanes.Create(1.9875691500e-4f), r, TLanes.Create(1.3981999507e-3f));
        p = TLanes.MultiplyAdd(p, r, TLanes.Create(8.3334519073e-3f));
        p = TLanes.MultiplyAdd(p, r, TLanes.Create(4.1665795894e-2f));
        p = TLanes.MultiplyAdd(p, r, TLanes.Create(1.6666665459e-1f));
        p = TLanes.MultiplyAdd(p, r, TLanes.Create(5.0000001201e-1f));
        p = TLanes.MultiplyAdd(p, r * r, r) + TLanes.Create(1);
        return p * TLanes.PowerOfTwo(n);
    }
}

/// <summary>16 lanes, AVX-512.</summary>
internal readonly unsafe struct Lanes512(Vector512<float> value) : ILanes<Lanes512>
{
    private readonly Vector512<float> _value = value;

    public static int Count => 16;

    /// <summary>Whether this process runs it.</summary>
    public static bool IsSupported => Vector512.IsHardwareAccelerated && Avx512F.IsSupported;

    public static Lanes512 Load(float* source) => new(Vector512.Load(source));

    public static Lanes512 Create(float value) => new(Vector512.Create(value));

    public static Lanes512 operator +(Lanes512 left, Lanes512 right) => new(left._value + right._value);

    public static Lanes512 operator -(Lanes512 left, Lanes512 right) => new(left._value - right._value);

    public static Lanes512 operator *(Lanes512 left, Lanes512 right) => new(left._value * right._value);

    public static Lanes512 MultiplyAdd(Lanes512 left, Lanes512 right, Lanes512 addend) => new(Vector512.FusedMultiplyAdd(left._value, right._value, addend._value));

    public static Lanes512 Max(Lanes512 left, Lanes512 right) => new(Vector512.MaxNative(left._value, right._value));

    public static Lanes512 Min(Lanes512 left, Lanes512 right) => new(Vector512.MinNative(left._value, right._value));

    public static Lanes512 Round(Lanes512 value) => new(Vector512.Round(value._value));

    public static Lanes512 PowerOfTwo(Lanes512 value) =>
        new(Vector512.ShiftLeft(Vector512.ConvertToInt32Native(value._value) + Vector512.Create(127), 23).AsSingle());

    public static uint AtLeast(Lanes512 left, Lanes512 right) => (uint)Vector512.GreaterThanOrEqual(left._value, right._value).ExtractMostSignificantBits();

    public void Store(float* destination) => _value.Store(destination);

    public float Sum() => Vector512.Sum(_value);

    public float Largest()
    {
        Vector256<float> half = Vector256.MaxNative(_value.GetLower(), _value.GetUpper());
        return new Lanes256(half).Largest();
    }

    public float Smallest() => new Lanes256(Vector256.MinNative(_value.GetLower(), _value.GetUpper())).Smallest();
}

/// <summary>8 lanes, AVX2.</summary>
internal readonly unsafe struct Lanes256(Vector256<float> value) : ILanes<Lanes256>
{
    private readonly Vector256<float> _value = value;

    public static int Count => 8;

    /// <summary>Whether this process runs it.</summary>
    public static bool IsSupported => Vector256.IsHardwareAccelerated && Fma.IsSupported;

    public static Lanes256 Load(float* source) => new(Vector256.Load(source));

    public static Lanes256 Create(float value) => new(Vector256.Create(value));

    public static Lanes256 operator +(Lanes256 left, Lanes256 right) => new(left._value + right._value);

    public static Lanes256 operator -(Lanes256 left, Lanes256 right) => new(left._value - right._value);

    public static Lanes256 operator *(Lanes256 left, Lanes256 right) => new(left._value * right._value);

    public static Lanes256 MultiplyAdd(Lanes256 left, Lanes256 right, Lanes256 addend) => new(Vector256.FusedMultiplyAdd(left._value, right._value, addend._value));

    public static Lanes256 Max(Lanes256 left, Lanes256 right) => new(Vector256.MaxNative(left._value, right._value));

    public static Lanes256 Min(Lanes256 left, Lanes256 right) => new(Vector256.MinNative(left._value, right._value));

    public static Lanes256 Round(Lanes256 value) => new(Vector256.Round(value._value));

    public static Lanes256 PowerOfTwo(Lanes256 value) =>
        new(Vector256.ShiftLeft(Vector256.ConvertToInt32Native(value._value) + Vector256.Create(127), 23).AsSingle());

    public static uint AtLeast(Lanes256 left, Lanes256 right) => Vector256.GreaterThanOrEqual(left._value, right._value).ExtractMostSignificantBits();

    public void Store(float* destination) => _value.Store(destination);

    public float Sum() => Vector256.Sum(_value);

    public float Largest() => new Lanes128(Vector128.MaxNative(_value.GetLower(), _value.GetUpper())).Largest();

    public float Smallest() => new Lanes128(Vector128.MinNative(_value.GetLower(), _value.GetUpper())).Smallest();
}

/// <summary>4 lanes on any processor.</summary>
internal readonly unsafe struct Lanes128(Vector128<float> value) : ILanes<Lanes128>
{
    private readonly Vector128<float> _value = value;

    public static int Count => 4;

    public static Lanes128 Load(float* source) => new(Vector128.Load(source));

    public static Lanes128 Create(float value) => new(Vector128.Create(value));

    public static Lanes128 operator +(Lanes128 left, Lanes128 right) => new(left._value + right._value);

    public static Lanes128 operator -(Lanes128 left, Lanes128 right) => new(left._value - right._value);

    public static Lanes128 operator *(Lanes128 left, Lanes128 right) => new(left._value * right._value);

    public static Lanes128 MultiplyAdd(Lanes128 left, Lanes128 right, Lanes128 addend) => new(Vector128.MultiplyAddEstimate(left._value, right._value, addend._value));

    public static Lanes128 Max(Lanes128 left, Lanes128 right) => new(Vector128.MaxNative(left._value, right._value));

    public static Lanes128 Min(Lanes128 left, Lanes128 right) => new(Vector128.MinNative(left._value, right._value));

    public static Lanes128 Round(Lanes128 value) => new(Vector128.Round(value._value));

    public static Lanes128 PowerOfTwo(Lanes128 value) =>
        new(Vector128.ShiftLeft(Vector128.ConvertToInt32Native(value._value) + Vector128.Create(127), 23).AsSingle());

    public static uint AtLeast(Lanes128 left, Lanes128 right) => Vector128.GreaterThanOrEqual(left._value, right._value).ExtractMostSignificantBits();

    public void Store(float* destination) => _value.Store(destination);

    public float Sum() => Vector128.Sum(_value);

    public float Largest() => MathF.Max(MathF.Max(_value[0], _value[1]), MathF.Max(_value[2], _value[3]));

    public float Smallest() => MathF.Min(MathF.Min(_value[0], _value[1]), MathF.Min(_value[2], _value[3]));
}
