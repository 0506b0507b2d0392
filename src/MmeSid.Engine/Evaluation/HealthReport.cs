using MmeSid.Engine.Embeddings;
using MmeSid.Engine.Sids;
using MmeSid.Kernels;

namespace MmeSid.Engine.Evaluation;

/// <summary>All measures of one set of SIDs, in the order a reader asks: do items collide, are codes used, what is lost, does the space survive.</summary>
public sealed record HealthReport
{
    /// <summary>Number of items, n.</summary>
    public required long Items { get; init; }

    /// <summary>Collisions of the raw codes.</summary>
    public required CollisionRate RawCollisions { get; init; }

    /// <summary>Collisions of the settled SIDs; equal to the raw ones where nothing was settled.</summary>
    public required CollisionRate Collisions { get; init; }

    /// <summary>Use of each level's codes, raw.</summary>
    public required IReadOnlyList<CodeUse> CodeUse { get; init; }

    /// <summary>Error of the raw codes, or null without rows; behind a learned encoder that of the encoded rows.</summary>
    public ReconstructionError? RawError { get; init; }

    /// <summary>Error of the settled SIDs, or null without rows; behind a learned encoder that of the encoded rows.</summary>
    public ReconstructionError? Error { get; init; }

    /// <summary>Spectrum of the rows, or null without rows.</summary>
    public Spectrum? Spectrum { get; init; }

    /// <summary>Agreement of the raw codes with the rows, per level, or null without rows.</summary>
    public SpaceAgreement? Agreement { get; init; }

    /// <summary>Order of distances kept from the rows to the vectors of their SIDs (behind a learned encoder vectors of the code space), or null without histories.</summary>
    public KendallTau? Distances { get; init; }

    /// <summary>Measures SIDs alone, as others publish them.</summary>
    /// <param name="sids">n SIDs.</param>
    /// <param name="codeCounts">K per level; null takes the largest code of each level + 1.</param>
    public static HealthReport Measure(SidTable sids, IReadOnlyList<int>? codeCounts = null)
    {
        ArgumentNullException.ThrowIfNull(sids);
        var collisions = CollisionRate.Measure(sids);
        return new HealthReport
        {
            Items = sids.Count,
            RawCollisions = collisions,
            Collisions = collisions,
            CodeUse = [.. Enumerable.Range(0, sids.Levels).Select(level =>
                Evaluation.CodeUse.Measure(sids, level, codeCounts?[level] ?? sids.Level(level).Select(code => code + 1).DefaultIfEmpty(1).Max()))],
        };
    }

    /// <summary>Measures a bundle.</summary>
    /// <param name="bundle">The bundle.</param>
    /// <param name="rows">Its rows x, in the bundle's order; or null for the measures that need none. They are the original space.</param>
    /// <param name="encoded">Behind a learned encoder what it makes of the rows, [n, code width]; else null.</param>
    /// <param name="users">Histories for <see cref="Distances"/>, or null.</param>
    /// <param name="options">Samples and seed.</param>
    /// <param name="backend">For the agreement with the rows.</param>
    /// <param name="cancellation">Stops the work.</param>
    /// <exception cref="ArgumentException">The rows are not as many as the items, or of another dimension.</exception>
    public static HealthReport Measure(SidBundle bundle, EmbeddingTable? rows, EmbeddingTable? encoded, IReadOnlyList<UserHistory>? users, AgreementOptions options, IBackend backend, CancellationToken cancellation = default)
    {
        ArgumentNullException.ThrowIfNull(bundle);
        ArgumentNullException.ThrowIfNull(options);
        HealthReport report = Measure(bundle.Codes, bundle.Manifest.CodeCounts) with { Collisions = CollisionRate.Measure(bundle.Sids) };
        if (rows is null || bundle.Count == 0)
            return report;
        if (rows.Count != bundle.Count || rows.Dimension != bundle.InputDimension)
            throw new ArgumentException($"{rows.Name} has {rows.Count} rows of dimension {rows.Dimension}, expected {bundle.Count} of {bundle.InputDimension}", nameof(rows));
        if ((bundle.Encoder is null) != (encoded is null))
            throw new ArgumentException(encoded is null ? $"{bundle.Folder} has an encoder, expected encoded rows too" : $"{bundle.Folder} has no encoder, expected no encoded rows", nameof(encoded));
        EmbeddingTable quantized = encoded ?? rows;
        return report with
        {
            RawError = ReconstructionError.Measure(quantized, bundle.Quantizer, bundle.Codes),
            Error = ReconstructionError.Measure(quantized, bundle.Quantizer, bundle.Sids),
            Spectrum = Spectrum.Measure(rows, seed: options.Seed, threads: options.Threads),
            Agreement = bundle.Count < 2 ? null : SpaceAgreement.Measure(rows, bundle.Codes, options, backend, cancellation),
            Distances = users is null ? null : KendallTau.Measure(rows, bundle.Quantizer, bundle.Sids, users, options.Threads),
        };
    }
}
