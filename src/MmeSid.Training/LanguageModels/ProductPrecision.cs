using static TorchSharp.torch;

namespace MmeSid.Training.LanguageModels;

/// <summary>What the factors of products with weight matrices are rounded to.</summary>
public enum ProductPrecision
{
    /// <summary>Nothing: float32.</summary>
    Float32,

    /// <summary>bfloat16, 8 bits of mantissa: twice the speed or more where the device multiplies it, and half the memory of a frozen matrix while it is dequantized.</summary>
    BFloat16,
}

/// <summary><see cref="ProductPrecision"/> in libtorch.</summary>
public static class ProductPrecisions
{
    /// <summary>As <see cref="Llama.Precision"/> takes it.</summary>
    public static ScalarType? Type(this ProductPrecision precision) => precision == ProductPrecision.BFloat16 ? ScalarType.BFloat16 : null;
}
