using System.Runtime.InteropServices;
using MmeSid.Engine;
using TorchSharp;
using static TorchSharp.torch;

namespace MmeSid.Training.LanguageModels;

/// <summary>
/// Dropout of a step: masks of 0 and 1/(1 − p), four values of 16 bits from each number of a seeded generator. A mask depends on the seed, the step and its place alone;
/// p counts in steps of 2⁻¹⁶.
/// </summary>
/// <param name="share">p, 0 up to but not 1.</param>
/// <param name="random">Of the step.</param>
internal sealed class DropoutMasks(double share, RandomSource random)
{
    private ulong _place;

    /// <summary>The next mask, or null where nothing is dropped.</summary>
    public Tensor? Next(long rows, long columns, ScalarType type, Device device)
    {
        if (share == 0)
            return null;
        using DisposeScope scope = NewDisposeScope();
        Tensor mask = empty(rows, columns, dtype: float32);
        Fill(MemoryMarshal.Cast<byte, float>(mask.bytes), random.Split(_place++));
        return mask.to(type, device).MoveToOuterDisposeScope();
    }

    private void Fill(Span<float> mask, RandomSource source)
    {
        uint dropped = (uint)Math.Round(share * 65536);
        float kept = (float)(1 / (1 - (dropped / 65536.0)));
        for (int i = 0; i < mask.Length; i += 4)
        {
            ulong bits = source.NextUInt64();
            for (int j = i; j < Math.Min(i + 4, mask.Length); j++, bits >>= 16)
                mask[j] = (bits & 0xFFFF) < dropped ? 0 : kept;
        }
    }
}
