using System.Text.Json.Serialization;
using MmeSid.Kernels.Simd;

namespace MmeSid.Bench;

/// <summary>One measured figure: what ran on what, how fast, how near to the ceiling, and how it was checked.</summary>
internal sealed record Figure
{
    /// <summary>What was computed, e.g. <c>rq 4 × 256</c>.</summary>
    public required string Operation { get; init; }

    /// <summary>Who computed it: <c>simd</c>, <c>scalar</c> or a peer with its version.</summary>
    public required string Backend { get; init; }

    /// <summary>Instruction set and threads; of a peer: its BLAS and threads.</summary>
    public required string Device { get; init; }

    /// <summary>Name of the data.</summary>
    public required string Data { get; init; }

    /// <summary>n.</summary>
    public required long Rows { get; init; }

    /// <summary>d.</summary>
    public required int Dimension { get; init; }

    /// <summary>K, per level where levels differ; 0 where the operation has none.</summary>
    public int Codes { get; init; }

    /// <summary>L.</summary>
    public int Levels { get; init; } = 1;

    /// <summary>Wall-clock seconds.</summary>
    public required Timing Time { get; init; }

    /// <summary>Operations the definition asks for (a multiply-add counts two): 2·n·d·ΣK for an encoder. 0 where memory decides.</summary>
    public double Operations { get; init; }

    /// <summary>Bytes that must be read. 0 where arithmetic decides.</summary>
    public double Bytes { get; init; }

    /// <summary>The machine's limit for this many threads: 10⁹ operations or bytes per second. 0 for peers and where none applies.</summary>
    public double Ceiling { get; init; }

    /// <summary>Share of the decisions that were re-checked; null where nothing is certified.</summary>
    public double? Rechecked { get; init; }

    /// <summary>What the fast pass calculated in.</summary>
    public string Screen { get; init; } = "";

    /// <summary>Share of the decisions, or of products, that a screen in integers left open; null where there is none.</summary>
    public double? Open { get; init; }

    /// <summary>Codewords that were left to an open decision, on average; of largest products, items that were left to a query.</summary>
    public double? Candidates { get; init; }

    /// <summary>Speed over that of the float32 screen in the same run, in turn with it: first calls of encoders, calls of what is prepared.</summary>
    public double? OverFloat32 { get; init; }

    /// <summary>Share of the decisions that float64 left to exact arithmetic; null where that is not counted.</summary>
    public double? Undecided { get; init; }

    /// <summary>Seconds of a preparation that is not in <see cref="Time"/>: packing codewords and building look-up tables.</summary>
    public double? Preparation { get; init; }

    /// <summary>Median seconds of a first call, with what is made and tried once: by a new encoder, or for items that have just been prepared.</summary>
    public double? FirstCall { get; init; }

    /// <summary>What was compared with the oracle before the clock started, and how it came out.</summary>
    public string Check { get; init; } = "";

    /// <summary>Ratios and other values that the suite is about, for the last column.</summary>
    public string Note { get; init; } = "";

    /// <summary>Shown in the project's README as well.</summary>
    public bool Headline { get; init; }

    /// <summary>10⁹ operations per second.</summary>
    [JsonIgnore]
    public double Rate => Operations / Time.Median / 1e9;

    /// <summary>Share of the best ceiling that was reached.</summary>
    [JsonIgnore]
    public double? CeilingShare => Ceiling == 0 ? null : (Operations > 0 ? Operations : Bytes) / Time.Median / 1e9 / Ceiling;

    /// <summary>The same against the ceiling measured in turn with the runs; null where that was not done.</summary>
    [JsonIgnore]
    public double? CeilingShareMeanwhile => Rate / Time.CeilingMeanwhile;
}

/// <summary>The figures of one suite with where they come from; one JSON file under <c>bench/results/&lt;machine&gt;/</c>.</summary>
/// <param name="Suite">Name as <c>--suites</c> takes it.</param>
/// <param name="Title">One line over the table.</param>
/// <param name="Machine">Machine, commit and date.</param>
/// <param name="Ceilings">Measured in the same run.</param>
/// <param name="Remarks">What was left out and why.</param>
/// <param name="Figures">In the order they were taken.</param>
internal sealed record SuiteResult(string Suite, string Title, Machine Machine, IReadOnlyList<Ceiling> Ceilings, IReadOnlyList<string> Remarks, IReadOnlyList<Figure> Figures);
