using System.Buffers.Binary;

namespace MmeSid.Engine.Files;

/// <summary>
/// The numbers behind stored blocks. A block starts with half-precision scales d (and minima m); q are small integers. With x the value:
/// <code>
///            F16, BF16   x = the number itself, widened exactly
/// 32 values  Q8_0  x = d·q                 q in −128 … 127
///            Q4_0  x = d·(q − 8)           q in 0 … 15: value i &lt; 16 is the low half of byte i, value 16 + i its high half
///            Q4_1  x = d·q + m
///            Q5_0  x = d·(q − 16)          q in 0 … 31: the fifth bit of value i is bit i of a 32-bit word
///            Q5_1  x = d·q + m
/// 256 values Q4_K  x = d·s_j·q − m·t_j     8 groups j of 32 values, s and t 6-bit, q in 0 … 15
///            Q5_K  the same                q in 0 … 31
///            Q6_K  x = d·s_j·(q − 32)      16 groups j of 16 values, s signed 8-bit, q in 0 … 63
/// </code>
/// Products are taken in float32 in the order that ggml takes them, so values are those that llama.cpp computes with.
/// </summary>
public static class GgufBlocks
{
    private const int kSuperBlock = 256;

    /// <summary>The types that <see cref="Dequantize"/> takes, for messages.</summary>
    internal const string Dequantizable = "F32, F16, BF16, Q4_0, Q4_1, Q5_0, Q5_1, Q8_0, Q4_K, Q5_K or Q6_K";

    /// <summary>Whether <see cref="Dequantize"/> takes the type.</summary>
    public static bool CanDequantize(GgufTensorType type) => type is GgufTensorType.F32 or GgufTensorType.F16 or GgufTensorType.BF16
        or GgufTensorType.Q4_0 or GgufTensorType.Q4_1 or GgufTensorType.Q5_0 or GgufTensorType.Q5_1 or GgufTensorType.Q8_0
        or GgufTensorType.Q4_K or GgufTensorType.Q5_K or GgufTensorType.Q6_K;

    /// <summary>Widens whole blocks to float32.</summary>
    /// <param name="type">How they are stored.</param>
    /// <param name="blocks">Their bytes.</param>
    /// <param name="values">As many as the blocks hold.</param>
    /// <exception cref="ArgumentException">The type is not among those above, or the lengths do not fit each other.</exception>
    public static void Dequantize(GgufTensorType type, ReadOnlySpan<byte> blocks, Span<float> values)
    {
        if (!CanDequantize(type))
            throw new ArgumentException($"{type} cannot be widened to float32, expected {Dequantizable}", nameof(type));
        int blockBytes = type.BlockBytes(), blockValues = type.BlockValues();
        if (blocks.Length % blockBytes != 0 || (long)blocks.Length / blockBytes * blockValues != values.Length)
            throw new ArgumentException($"{blocks.Length} bytes of {type} blocks ({blockBytes} bytes for {blockValues} values) do not hold {values.Length} values", nameof(values));
        for (; !blocks.IsEmpty; blocks = blocks[blockBytes..], values = values[blockValues..])
        {
            switch (type)
            {
                case GgufTensorType.F32: values[0] = BinaryPrimitives.ReadSingleLittleEndian(blocks); break;
                case GgufTensorType.F16: values[0] = Half(blocks); break;
                case GgufTensorType.BF16: values[0] = BitConverter.UInt32BitsToSingle((uint)BinaryPrimitives.ReadUInt16LittleEndian(blocks) << 16); break;
                case GgufTensorType.Q4_0: Q4_0(blocks, values); break;
                case GgufTensorType.Q4_1: Q4_1(blocks, values); break;
                case GgufTensorType.Q5_0: Q5_0(blocks, values); break;
                case GgufTensorType.Q5_1: Q5_1(blocks, values); break;
                case GgufTensorType.Q8_0: Q8_0(blocks, values); break;
                case GgufTensorType.Q4_K: Q4_K(blocks, values); break;
                case GgufTensorType.Q5_K: Q5_K(blocks, values); break;
                default: Q6_K(blocks, values); break;
            }
        }
    }

    private static float Half(ReadOnlySpan<byte> bytes) => (float)BinaryPrimitives.ReadHalfLittleEndian(bytes);

    private static void Q4_0(ReadOnlySpan<byte> block, Span<float> values)
    {
        float d = Half(block);
        for (int i = 0; i < 16; i++)
        {
            values[i] = ((block[2 + i] & 15) - 8) * d;
            values[16 + i] = ((block[2 + i] >> 4) - 8) * d;
        }
    }

    private static void Q4_1(ReadOnlySpan<byte> block, Span<float> values)
    {
        float d = Half(block), m = Half(block[2..]);
        for (int i = 0; i < 16; i++)
        {
            values[i] = ((block[4 + i] & 15) * d) + m;
            values[16 + i] = ((block[4 + i] >> 4) * d) + m;
        }
    }

    private static void Q5_0(ReadOnlySpan<byte> block, Span<float> values)
    {
        float d = Half(block);
        uint high = BinaryPrimitives.ReadUInt32LittleEndian(block[2..]);
        for (int i = 0; i < 16; i++)
        {
            values[i] = (((block[6 + i] & 15) | (int)((high >> i) & 1) << 4) - 16) * d;
            values[16 + i] = (((block[6 + i] >> 4) | (int)((high >> (16 + i)) & 1) << 4) - 16) * d;
        }
    }

    private static void Q5_1(ReadOnlySpan<byte> block, Span<float> values)
    {
        float d = Half(block), m = Half(block[2..]);
        uint high = BinaryPrimitives.ReadUInt32LittleEndian(block[4..]);
        for (int i = 0; i < 16; i++)
        {
            values[i] = (((block[8 + i] & 15) | (int)((high >> i) & 1) << 4) * d) + m;
            values[16 + i] = (((block[8 + i] >> 4) | (int)((high >> (16 + i)) & 1) << 4) * d) + m;
        }
    }

    private static void Q8_0(ReadOnlySpan<byte> block, Span<float> values)
    {
        float d = Half(block);
        for (int i = 0; i < 32; i++)
            values[i] = (sbyte)block[2 + i] * d;
    }

    /// <summary>d, m, 12 bytes of 6-bit pairs, then 32 bytes for each two groups: group 2g in the low halves, 2g + 1 in the high halves.</summary>
    private static void Q4_K(ReadOnlySpan<byte> block, Span<float> values)
    {
        float d = Half(block), m = Half(block[2..]);
        ReadOnlySpan<byte> pairs = block.Slice(4, 12), quants = block.Slice(16, kSuperBlock / 2);
        for (int group = 0; group < 8; group++)
        {
            (int s, int t) = ScaleAndMinimum(pairs, group);
            float scale = d * s, minimum = m * t;
            ReadOnlySpan<byte> bytes = quants.Slice(group / 2 * 32, 32);
            int shift = group % 2 * 4;
            for (int i = 0; i < 32; i++)
                values[(group * 32) + i] = (scale * ((bytes[i] >> shift) & 15)) - minimum;
        }
    }

    /// <summary>As Q4_K, with 32 bytes in front of the quants: bit j of byte i is the fifth bit of value i in group j.</summary>
    private static void Q5_K(ReadOnlySpan<byte> block, Span<float> values)
    {
        float d = Half(block), m = Half(block[2..]);
        ReadOnlySpan<byte> pairs = block.Slice(4, 12), high = block.Slice(16, 32), quants = block.Slice(48, kSuperBlock / 2);
        for (int group = 0; group < 8; group++)
        {
            (int s, int t) = ScaleAndMinimum(pairs, group);
            float scale = d * s, minimum = m * t;
            ReadOnlySpan<byte> bytes = quants.Slice(group / 2 * 32, 32);
            int shift = group % 2 * 4;
            for (int i = 0; i < 32; i++)
                values[(group * 32) + i] = (scale * (((bytes[i] >> shift) & 15) + (((high[i] >> group) & 1) << 4))) - minimum;
        }
    }

    /// <summary>
    /// 128 bytes with the low 4 bits, 64 with the high 2, 16 scales, d. Each half of the block has four runs r of 32 values: run r takes its low bits from the
    /// low (r &lt; 2) or high halves of bytes 32·(r mod 2) + i, and its high bits from bits 2r, 2r + 1 of byte i.
    /// </summary>
    private static void Q6_K(ReadOnlySpan<byte> block, Span<float> values)
    {
        float d = Half(block[208..]);
        for (int half = 0; half < 2; half++)
        {
            ReadOnlySpan<byte> low = block.Slice(half * 64, 64), high = block.Slice(128 + (half * 32), 32), scales = block.Slice(192 + (half * 8), 8);
            for (int run = 0; run < 4; run++)
            {
                for (int i = 0; i < 32; i++)
                {
                    int q = ((low[(run % 2 * 32) + i] >> (run / 2 * 4)) & 15) | (((high[i] >> (2 * run)) & 3) << 4);
                    values[(half * 128) + (run * 32) + i] = d * (sbyte)scales[(2 * run) + (i / 16)] * (q - 32);
                }
            }
        }
    }

    /// <summary>The 6-bit scale and minimum of a group: the first four in the low bits of bytes j and 4 + j, the others split over the halves of byte 4 + j and the top bits of the first eight.</summary>
    private static (int Scale, int Minimum) ScaleAndMinimum(ReadOnlySpan<byte> pairs, int group)
        => group < 4
            ? (pairs[group] & 63, pairs[group + 4] & 63)
            : ((pairs[group + 4] & 15) | (pairs[group - 4] >> 6 << 4), (pairs[group + 4] >> 4) | (pairs[group] >> 6 << 4));
}
