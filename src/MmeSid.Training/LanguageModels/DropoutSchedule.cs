using MmeSid.Engine;

namespace MmeSid.Training.LanguageModels;

/// <summary>Dropout of every step: what is dropped depends on the seed, the epoch and the step alone.</summary>
/// <param name="options">The shares.</param>
/// <param name="random">Of the run.</param>
internal sealed class DropoutSchedule(LlamaTrainingOptions options, RandomSource random)
{
    private const ulong kStream = 1UL << 32;
    private const ulong kUpdates = 1UL << 34;

    /// <summary>Masks of the input vectors and of what layers add.</summary>
    public DropoutMasks Stream(int epoch, int step) => new(options.Dropout, random.Split(kStream + (ulong)epoch).Split((ulong)step));

    /// <summary>Masks of the input of low-rank updates; null where there are none.</summary>
    public DropoutMasks? Updates(int epoch, int step) => options.Lora is { } lora ? new DropoutMasks(lora.Dropout, random.Split(kUpdates + (ulong)epoch).Split((ulong)step)) : null;
}
