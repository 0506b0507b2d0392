namespace MmeSid.Engine.Quantization;

/// <summary>How a quantizer turns a row into codes.</summary>
public enum QuantizerKind
{
    /// <summary>Vector quantization: one codebook, one code per row.</summary>
    Vq,

    /// <summary>Product quantization: S sub-spaces of d/S consecutive columns, each with its own codebook. A level is a sub-space.</summary>
    Pq,

    /// <summary>Product quantization of <c>y = R·x</c>, R orthogonal and learned (optimized product quantization).</summary>
    Opq,

    /// <summary>Residual quantization with k-means codebooks: level l quantizes what the levels before it left over.</summary>
    RqKMeans,

    /// <summary>PSRQ (arXiv 2508.20359): from level 2 on the search sees the residual and what was already subtracted; only the residual half is subtracted.</summary>
    Psrq,

    /// <summary>RQ-VAE: residual quantization of what a learned encoder makes of a row; codes are searched among the encoded rows as for <see cref="RqKMeans"/>.</summary>
    RqVae,

    /// <summary>MM-RQ-VAE (arXiv 2509.02017): as <see cref="RqVae"/>, one of several modalities trained together.</summary>
    MmRqVae,

    /// <summary>
    /// HVQ: a network before each level. Level l searches <c>z_l = MLP_l(x_l)</c>, and what the next level sees is <c>x_{l+1} = x_l − c_l[k_l]</c>; x_1 is
    /// the row, after the fusion of its parts where there is one.
    /// </summary>
    Hvq,
}

/// <summary>What the kinds have in common.</summary>
public static class QuantizerKinds
{
    /// <summary>The kinds whose codebooks <see cref="QuantizerTrainer"/> trains by k-means, in the order of <see cref="QuantizerKind"/>.</summary>
    public static IReadOnlyList<QuantizerKind> KMeans { get; } = [.. Enum.GetValues<QuantizerKind>().Where(kind => !kind.IsLearned())];

    /// <summary>Whether the codebooks stand behind a learned encoder (<see cref="EncoderNetwork"/>), so that rows must pass it first.</summary>
    public static bool IsLearned(this QuantizerKind kind) => kind is QuantizerKind.RqVae or QuantizerKind.MmRqVae or QuantizerKind.Hvq;
}

/// <summary>The names of <see cref="QuantizerKind"/> in manifests and on the command line.</summary>
public static class QuantizerName
{
    private static readonly (QuantizerKind Kind, string Name)[] s_names =
    [
        (QuantizerKind.Vq, "vq"), (QuantizerKind.Pq, "pq"), (QuantizerKind.Opq, "opq"),
        (QuantizerKind.RqKMeans, "rq-kmeans"), (QuantizerKind.Psrq, "psrq"),
        (QuantizerKind.RqVae, "rq-vae"), (QuantizerKind.MmRqVae, "mm-rq-vae"), (QuantizerKind.Hvq, "hvq"),
    ];

    /// <summary>All names, in the order of <see cref="QuantizerKind"/>.</summary>
    public static IReadOnlyList<string> All { get; } = Array.ConvertAll(s_names, entry => entry.Name);

    /// <summary>The name of a kind: <c>vq</c>, <c>pq</c>, <c>opq</c>, <c>rq-kmeans</c>, <c>psrq</c>, <c>rq-vae</c>, <c>mm-rq-vae</c> or <c>hvq</c>.</summary>
    /// <exception cref="ArgumentException">The value is not a kind.</exception>
    public static string Of(QuantizerKind kind)
    {
        foreach ((QuantizerKind candidate, string name) in s_names)
        {
            if (candidate == kind)
                return name;
        }
        throw new ArgumentException($"{(int)kind} is no quantizer kind", nameof(kind));
    }

    /// <summary>The kind of a name, as <see cref="Of"/> writes it.</summary>
    /// <exception cref="ArgumentException">The name is unknown; the message lists those that exist.</exception>
    public static QuantizerKind Parse(string name)
    {
        foreach ((QuantizerKind kind, string candidate) in s_names)
        {
            if (string.Equals(candidate, name, StringComparison.Ordinal))
                return kind;
        }
        throw new ArgumentException($"unknown quantizer '{name}', expected one of {string.Join(", ", All)}", nameof(name));
    }
}
