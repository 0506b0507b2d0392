using MmeSid.Engine.Embeddings;
using MmeSid.Engine.Files;

namespace MmeSid.Engine.Quantization;

/// <summary>Where the networks of an encoder stand.</summary>
public enum EncoderKind
{
    /// <summary>One network before the first level: RQ-VAE and MM-RQ-VAE.</summary>
    Mlp,

    /// <summary>One network before each level, from the code width to the code width: HVQ.</summary>
    Hierarchical,
}

/// <summary>How the parts of a row become one vector before the first network.</summary>
public enum InputFusion
{
    /// <summary>The row is taken as it is, its parts side by side.</summary>
    None,

    /// <summary><c>Σ_t w_t·(P_t·x_t + b_t) / Σ_t w_t</c> over the parts t of the preprocessing.</summary>
    Mean,

    /// <summary><c>P_0·[x_1 ; x_2 ; …] + b_0</c>.</summary>
    Concat,
}

/// <summary>The names of <see cref="EncoderKind"/> and <see cref="InputFusion"/> in manifests.</summary>
public static class EncoderName
{
    private static readonly string[] s_kinds = ["mlp", "hierarchical"];
    private static readonly string[] s_fusions = ["none", "mean", "concat"];

    /// <summary><c>mlp</c> or <c>hierarchical</c>.</summary>
    public static string Of(EncoderKind kind) => (int)kind is >= 0 and var index && index < s_kinds.Length ? s_kinds[index] : throw new ArgumentException($"{(int)kind} is no kind of encoder", nameof(kind));

    /// <summary><c>none</c>, <c>mean</c> or <c>concat</c>.</summary>
    public static string Of(InputFusion fusion) => (int)fusion is >= 0 and var index && index < s_fusions.Length ? s_fusions[index] : throw new ArgumentException($"{(int)fusion} is no fusion", nameof(fusion));

    /// <summary>The kind of a name.</summary>
    /// <exception cref="ArgumentException">The name is unknown; the message lists those that exist.</exception>
    public static EncoderKind ParseKind(string name) => (EncoderKind)IndexOf(name, s_kinds, "kind of encoder");

    /// <summary>The fusion of a name.</summary>
    /// <exception cref="ArgumentException">The name is unknown; the message lists those that exist.</exception>
    public static InputFusion ParseFusion(string name) => (InputFusion)IndexOf(name, s_fusions, "fusion");

    private static int IndexOf(string name, string[] names, string what) => Array.IndexOf(names, name) is >= 0 and var index
        ? index : throw new ArgumentException($"unknown {what} '{name}', expected one of {string.Join(", ", names)}", nameof(name));
}

/// <summary>What a manifest says of an encoder; its tensors are a file of their own.</summary>
/// <param name="Kind">Where its networks stand.</param>
/// <param name="InputDimension">Length of the rows it takes, d.</param>
/// <param name="Fusion">How the parts of a row become one vector.</param>
/// <param name="FusionWeights">w_t of <see cref="InputFusion.Mean"/>, one per part, positive and finite; else empty.</param>
public sealed record EncoderDescription(EncoderKind Kind, int InputDimension, InputFusion Fusion, IReadOnlyList<double> FusionWeights);

/// <summary>
/// The learned encoder before a quantizer, as data: networks of linear layers with ReLU between them and none after the last. What evaluates it is in
/// <c>MmeSid.Training</c>. Immutable.
/// <para>
/// File (float32, weights [outputs, inputs], biases [outputs]): <c>projection.t.weight/bias</c> of the fusion; <c>encoder.i.weight/bias</c>, i = 0 …, or under
/// <see cref="EncoderKind.Hierarchical"/> <c>encoder.level.i.weight/bias</c>; <c>decoder.i.weight/bias</c> where it was kept, for training that goes on.
/// </para>
/// </summary>
public sealed class EncoderNetwork
{
    /// <summary>Validates how the layers follow each other.</summary>
    /// <param name="kind">Where the networks stand.</param>
    /// <param name="networks">
    /// Layers of each network, at least one: one network under <see cref="EncoderKind.Mlp"/>; one per level, each from the code width to itself, under
    /// <see cref="EncoderKind.Hierarchical"/>.
    /// </param>
    /// <param name="decoder">Layers from the code width back to what the first network takes, or to the row; null or empty where none is kept.</param>
    /// <param name="fusion">How the parts of a row become one vector.</param>
    /// <param name="projections">One per part of the preprocessing under <see cref="InputFusion.Mean"/>, all of the same outputs; one under <see cref="InputFusion.Concat"/>.</param>
    /// <param name="fusionWeights">One per part under <see cref="InputFusion.Mean"/>, positive and finite; null: all 1.</param>
    /// <exception cref="ArgumentException">Layers do not fit each other; the message says which and carries both numbers.</exception>
    public EncoderNetwork(EncoderKind kind, IReadOnlyList<IReadOnlyList<LinearLayer>> networks, IReadOnlyList<LinearLayer>? decoder = null,
        InputFusion fusion = InputFusion.None, IReadOnlyList<LinearLayer>? projections = null, IReadOnlyList<double>? fusionWeights = null)
    {
        ArgumentNullException.ThrowIfNull(networks);
        _ = EncoderName.Of(kind);
        Networks = [.. networks.Select(layers => (IReadOnlyList<LinearLayer>)[.. layers])];
        Decoder = [.. decoder ?? []];
        Projections = [.. projections ?? []];
        if (Networks.Count == 0 || (kind == EncoderKind.Mlp && Networks.Count != 1))
            throw new ArgumentException($"the encoder has {Networks.Count} networks, expected {(kind == EncoderKind.Mlp ? "1" : "one per level")}", nameof(networks));
        for (int network = 0; network < Networks.Count; network++)
            RequireChain(Networks[network], kind == EncoderKind.Mlp ? "encoder" : $"encoder.{network}", nameof(networks));
        CodeWidth = Networks[0][^1].Outputs;
        FusedWidth = Networks[0][0].Inputs;
        if (kind == EncoderKind.Hierarchical)
        {
            for (int level = 0; level < Networks.Count; level++)
            {
                if (Networks[level][0].Inputs != CodeWidth || Networks[level][^1].Outputs != CodeWidth)
                    throw new ArgumentException($"encoder.{level} leads from {Networks[level][0].Inputs} to {Networks[level][^1].Outputs} values, expected {CodeWidth} and {CodeWidth}", nameof(networks));
            }
        }
        double[] weights = CheckFusion(fusion, fusionWeights);
        int inputDimension = Projections.Count > 0 ? checked(Projections.Sum(projection => projection.Inputs)) : FusedWidth;
        Description = new EncoderDescription(kind, inputDimension, fusion, weights);
        if (Decoder.Count > 0)
        {
            RequireChain(Decoder, "decoder", nameof(decoder));
            if (Decoder[0].Inputs != CodeWidth || (Decoder[^1].Outputs != FusedWidth && Decoder[^1].Outputs != inputDimension))
                throw new ArgumentException($"the decoder leads from {Decoder[0].Inputs} to {Decoder[^1].Outputs} values, expected {CodeWidth} and {inputDimension}", nameof(decoder));
        }
    }

    /// <summary>An encoder of one network, without fusion.</summary>
    /// <param name="layers">At least one.</param>
    /// <param name="decoder">Layers from the code width back to the row, or null.</param>
    /// <exception cref="ArgumentException">Layers do not fit each other.</exception>
    public static EncoderNetwork Mlp(IReadOnlyList<LinearLayer> layers, IReadOnlyList<LinearLayer>? decoder = null) => new(EncoderKind.Mlp, [layers], decoder);

    /// <summary>What the manifest says of it.</summary>
    public EncoderDescription Description { get; }

    /// <summary>Where the networks stand.</summary>
    public EncoderKind Kind => Description.Kind;

    /// <summary>Length of the rows it takes, d.</summary>
    public int InputDimension => Description.InputDimension;

    /// <summary>Length of what the first network takes: d, or the projections' outputs.</summary>
    public int FusedWidth { get; }

    /// <summary>Length of what is quantized, the dimension of the quantizer behind it.</summary>
    public int CodeWidth { get; }

    /// <summary>Layers of each network: one network, or one per level.</summary>
    public IReadOnlyList<IReadOnlyList<LinearLayer>> Networks { get; }

    /// <summary>Layers from the code width back; empty where none was kept.</summary>
    public IReadOnlyList<LinearLayer> Decoder { get; }

    /// <summary>Linear maps of the fusion; empty where there is none.</summary>
    public IReadOnlyList<LinearLayer> Projections { get; }

    /// <summary>Refuses a quantizer or a preprocessing that the encoder does not stand between.</summary>
    /// <exception cref="ArgumentException">The kind, a dimension, the number of levels or of parts differs; the message carries both.</exception>
    public void RequireFit(Quantizer quantizer, Preprocessing? preprocessing = null)
    {
        ArgumentNullException.ThrowIfNull(quantizer);
        string name = QuantizerName.Of(quantizer.Kind);
        if (!quantizer.Kind.IsLearned())
            throw new ArgumentException($"{name} takes no encoder", nameof(quantizer));
        if (Kind != (quantizer.Kind == QuantizerKind.Hvq ? EncoderKind.Hierarchical : EncoderKind.Mlp))
            throw new ArgumentException($"the encoder of {name} is {EncoderName.Of(Kind)}, expected {(quantizer.Kind == QuantizerKind.Hvq ? "hierarchical" : "mlp")}", nameof(quantizer));
        if (CodeWidth != quantizer.Dimension)
            throw new ArgumentException($"the encoder makes {CodeWidth} values, the quantizer has dimension {quantizer.Dimension}", nameof(quantizer));
        if (Kind == EncoderKind.Hierarchical && Networks.Count != quantizer.Levels)
            throw new ArgumentException($"the encoder has {Networks.Count} networks, the quantizer {quantizer.Levels} levels", nameof(quantizer));
        if (preprocessing is null)
            return;
        if (preprocessing.Dimension != InputDimension)
            throw new ArgumentException($"the preprocessing makes rows of dimension {preprocessing.Dimension}, the encoder takes {InputDimension}", nameof(preprocessing));
        if (Description.Fusion != InputFusion.Mean)
            return;
        if (preprocessing.Parts.Count != Projections.Count)
            throw new ArgumentException($"the encoder fuses {Projections.Count} parts, the preprocessing has {preprocessing.Parts.Count}", nameof(preprocessing));
        for (int part = 0; part < Projections.Count; part++)
        {
            if (Projections[part].Inputs != preprocessing.Parts[part].Dimension)
                throw new ArgumentException($"projection.{part} takes {Projections[part].Inputs} values, the part has {preprocessing.Parts[part].Dimension}", nameof(preprocessing));
        }
    }

    /// <summary>Writes the tensors as <c>.safetensors</c>. Equal networks give equal bytes.</summary>
    public void Write(Stream stream) => SafetensorsFile.Write(stream, [.. Named().SelectMany(entry => (SafetensorsTensor[])
    [
        SafetensorsTensor.From($"{entry.Name}.weight", entry.Layer.Weight, entry.Layer.Outputs, entry.Layer.Inputs),
        SafetensorsTensor.From($"{entry.Name}.bias", entry.Layer.Bias, entry.Layer.Outputs),
    ])]);

    /// <summary>Reads the tensors that <see cref="Write"/> wrote.</summary>
    /// <param name="path">The file.</param>
    /// <param name="description">What the manifest says.</param>
    /// <param name="levels">Levels of the quantizer behind it.</param>
    /// <exception cref="InvalidDataException">A tensor is missing, unknown, of another type or shape, not finite, or does not fit the description.</exception>
    public static EncoderNetwork Read(string path, EncoderDescription description, int levels)
    {
        ArgumentNullException.ThrowIfNull(description);
        using var file = SafetensorsFile.Open(path);
        try
        {
            var network = new EncoderNetwork(
                description.Kind,
                description.Kind == EncoderKind.Mlp ? [Layers(file, "encoder")] : [.. Enumerable.Range(0, levels).Select(level => Layers(file, $"encoder.{level}"))],
                Layers(file, "decoder", optional: true),
                description.Fusion,
                Layers(file, "projection", optional: true),
                description.Fusion == InputFusion.Mean ? description.FusionWeights : null);
            if (network.InputDimension != description.InputDimension)
                throw new ArgumentException($"the encoder takes {network.InputDimension} values, the manifest says {description.InputDimension}", nameof(description));
            var known = network.Named().SelectMany(entry => (string[])[$"{entry.Name}.weight", $"{entry.Name}.bias"]).ToHashSet(StringComparer.Ordinal);
            if (file.Tensors.Keys.Order(StringComparer.Ordinal).FirstOrDefault(name => !known.Contains(name)) is { } unknown)
                throw new ArgumentException($"tensor {unknown} is no part of this encoder", nameof(path));
            return network;
        }
        catch (ArgumentException problem)
        {
            string message = problem.ParamName is { } name ? problem.Message.Replace($" (Parameter '{name}')", "", StringComparison.Ordinal) : problem.Message;
            throw new InvalidDataException($"{path}: {message}", problem);
        }
    }

    private static List<LinearLayer> Layers(SafetensorsFile file, string prefix, bool optional = false)
    {
        var layers = new List<LinearLayer>();
        for (int i = 0; (i == 0 && !optional) || file.Tensors.ContainsKey($"{prefix}.{i}.weight"); i++)
        {
            string name = $"{prefix}.{i}";
            IReadOnlyList<long> weight = file.Entry($"{name}.weight").Shape, bias = file.Entry($"{name}.bias").Shape;
            if (weight.Count != 2 || weight.Any(size => size is < 1 or > int.MaxValue))
                throw new ArgumentException($"{name}.weight has shape ({string.Join(", ", weight)}), expected (outputs, inputs)");
            if (!bias.SequenceEqual([weight[0]]))
                throw new ArgumentException($"{name}.bias has shape ({string.Join(", ", bias)}), expected ({weight[0]})");
            try
            {
                layers.Add(new LinearLayer((int)weight[1], (int)weight[0], file.Read<float>($"{name}.weight"), file.Read<float>($"{name}.bias")));
            }
            catch (ArgumentException problem)
            {
                throw new ArgumentException($"{name}: {problem.Message}", problem.ParamName, problem);
            }
        }
        return layers;
    }

    private IEnumerable<(string Name, LinearLayer Layer)> Named()
    {
        for (int network = 0; network < Networks.Count; network++)
        {
            for (int i = 0; i < Networks[network].Count; i++)
                yield return (Kind == EncoderKind.Mlp ? $"encoder.{i}" : $"encoder.{network}.{i}", Networks[network][i]);
        }
        for (int i = 0; i < Projections.Count; i++)
            yield return ($"projection.{i}", Projections[i]);
        for (int i = 0; i < Decoder.Count; i++)
            yield return ($"decoder.{i}", Decoder[i]);
    }

    private double[] CheckFusion(InputFusion fusion, IReadOnlyList<double>? weights)
    {
        _ = EncoderName.Of(fusion);
        if (fusion == InputFusion.Mean ? Projections.Count == 0 : Projections.Count != (fusion == InputFusion.Concat ? 1 : 0))
            throw new ArgumentException($"fusion {EncoderName.Of(fusion)} is given {Projections.Count} projections, expected {fusion switch { InputFusion.None => "none", InputFusion.Mean => "one per part", _ => "1" }}", nameof(fusion));
        for (int part = 0; part < Projections.Count; part++)
        {
            if (Projections[part].Outputs != FusedWidth)
                throw new ArgumentException($"projection.{part} makes {Projections[part].Outputs} values, encoder takes {FusedWidth}", nameof(fusion));
        }
        if (fusion != InputFusion.Mean)
            return weights is null or { Count: 0 } ? [] : throw new ArgumentException($"fusion {EncoderName.Of(fusion)} is given {weights.Count} weights, expected none", nameof(weights));
        double[] all = weights is null ? [.. Projections.Select(_ => 1.0)] : [.. weights];
        if (all.Length != Projections.Count)
            throw new ArgumentException($"{all.Length} weights for {Projections.Count} projections", nameof(weights));
        if (Array.FindIndex(all, weight => !double.IsFinite(weight) || weight <= 0) is >= 0 and var index)
            throw new ArgumentException($"weight {index + 1} of the fusion is {all[index]}, expected a positive number", nameof(weights));
        return all;
    }

    private static void RequireChain(IReadOnlyList<LinearLayer> layers, string name, string parameter)
    {
        if (layers.Count == 0)
            throw new ArgumentException($"{name} has no layers, expected at least one", parameter);
        for (int i = 1; i < layers.Count; i++)
        {
            if (layers[i].Inputs != layers[i - 1].Outputs)
                throw new ArgumentException($"{name}.{i} takes {layers[i].Inputs} values, the layer before it makes {layers[i - 1].Outputs}", parameter);
        }
    }
}
