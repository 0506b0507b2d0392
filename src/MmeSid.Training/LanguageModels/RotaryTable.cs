using TorchSharp;
using static TorchSharp.torch;

namespace MmeSid.Training.LanguageModels;

/// <summary>
/// Rotary position embeddings as llama.cpp takes them for Llama: values 2i and 2i + 1 of a head are a complex number, which position p multiplies by
/// <code>
/// e^{i·p·ω_i},   ω_i = θ^(−2i/s) / f_i        f: the factors of the file, or 1
/// </code>
/// One complex product in place rotates all heads; its conjugate takes a gradient back.
/// </summary>
internal sealed class RotaryTable(LlamaShape shape)
{
    /// <summary>The rotations of some positions.</summary>
    /// <param name="positions">[N].</param>
    /// <param name="type">Of the values to rotate: float32 or float64.</param>
    /// <param name="device">Theirs.</param>
    /// <param name="back">Whether the rotations are those of gradients: the other way round.</param>
    /// <param name="scale">What else every value is multiplied by.</param>
    /// <returns>[N, 1, s/2] complex.</returns>
    public Tensor At(long[] positions, ScalarType type, Device device, bool back = false, double scale = 1)
    {
        int pairs = shape.HeadSize / 2;
        // Angles in float64: at position 100,000 a float32 angle is off by 0.004.
        long last = positions.Max();
        var turns = new double[(last + 1) * pairs * 2];
        for (int pair = 0; pair < pairs; pair++)
        {
            double frequency = Math.Pow(shape.RopeBase, -2.0 * pair / shape.HeadSize) / (shape.RopeFactors?[pair] ?? 1);
            for (long position = 0; position <= last; position++)
            {
                (double sine, double cosine) = Math.SinCos(position * frequency);
                turns[(position * pairs + pair) * 2] = scale * cosine;
                turns[(position * pairs + pair) * 2 + 1] = scale * (back ? -sine : sine);
            }
        }
        using DisposeScope scope = NewDisposeScope();
        Tensor table = tensor(turns, [last + 1, pairs, 2], dtype: type, device: device);
        return view_as_complex(table.index_select(0, tensor(positions, device: device)).unsqueeze(1)).MoveToOuterDisposeScope();
    }

    /// <summary>Rotates heads in place.</summary>
    /// <param name="heads">[N, heads · s], rows may be part of longer ones.</param>
    /// <param name="turns">Of <see cref="At"/>.</param>
    public void Rotate(Tensor heads, Tensor turns)
    {
        using DisposeScope scope = NewDisposeScope();
        _ = view_as_complex(heads.view(heads.shape[0], heads.shape[1] / shape.HeadSize, shape.HeadSize / 2, 2)).mul_(turns);
    }
}
