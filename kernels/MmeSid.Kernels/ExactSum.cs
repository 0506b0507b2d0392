namespace MmeSid.Kernels;

/// <summary>
/// The exact sum of products of two float32 values: a fixed-point superaccumulator (Kulisch).
/// A product of two float32 is exact in float64 and a multiple of 2⁻²⁹⁸ below 2²⁵⁶; the digits below cover 2⁻³⁵² … 2⁴¹⁶
/// (float64 carries 52 places below its leading one, zeros or not), so no sum that fits memory can overflow, and nothing is ever rounded.
/// </summary>
internal sealed class ExactSum
{
    private const int kDigitBits = 32;
    private const int kLowestExponent = -352;
    private const int kDigits = 24;

    // Each digit is a signed 64-bit integer that receives at most 2^32 per addition: 2^30 additions leave room for the carry.
    private const int kAdditionsBeforeCarry = 1 << 30;

    private readonly long[] _digits = new long[kDigits];
    private int _additions;

    /// <summary>Sets the sum to zero.</summary>
    public void Clear()
    {
        Array.Clear(_digits);
        _additions = 0;
    }

    /// <summary>Adds <c>factor · left · right</c>; the factor is ±1 or ±2, so that the product stays exact.</summary>
    public void AddProduct(int factor, float left, float right) => Add(factor * ((double)left * right));

    private void Add(double value)
    {
        if (value == 0)
            return;
        long bits = BitConverter.DoubleToInt64Bits(value);
        // Normal by construction: the smallest non-zero product is 2^-298.
        int position = (int)((bits >> 52) & 0x7FF) - 1075 - kLowestExponent;
        ulong mantissa = ((ulong)bits & 0xF_FFFF_FFFF_FFFF) | (1UL << 52);
        int digit = position / kDigitBits;
        UInt128 shifted = (UInt128)mantissa << (position % kDigitBits);
        long low = (long)(uint)shifted, middle = (long)(uint)(shifted >> 32), high = (long)(uint)(shifted >> 64);
        if (bits < 0)
        {
            _digits[digit] -= low;
            _digits[digit + 1] -= middle;
            _digits[digit + 2] -= high;
        }
        else
        {
            _digits[digit] += low;
            _digits[digit + 1] += middle;
            _digits[digit + 2] += high;
        }
        if (++_additions == kAdditionsBeforeCarry)
            Carry();
    }

    /// <summary>Sign of the exact sum: −1, 0 or 1.</summary>
    public int Sign()
    {
        Carry();
        for (int i = kDigits - 1; i >= 0; i--)
        {
            if (_digits[i] != 0)
                return Math.Sign(_digits[i]);
        }
        return 0;
    }

    // After it every digit but the top one is in [0, 2^32), so the sign of the top non-zero digit is the sign of the sum.
    private void Carry()
    {
        long carry = 0;
        for (int i = 0; i < kDigits - 1; i++)
        {
            long digit = _digits[i] + carry;
            carry = digit >> kDigitBits;
            _digits[i] = digit - (carry << kDigitBits);
        }
        _digits[kDigits - 1] += carry;
        _additions = 0;
    }
}
