using MmeSid.Cli.Terminal;
using MmeSid.Engine.Assignment;
using MmeSid.Engine.Embeddings;
using MmeSid.Engine.Quantization;
using MmeSid.Engine.Sids;

namespace MmeSid.Cli.Commands;

/// <summary>Running the assignment pipeline under a command's progress, and showing what it took.</summary>
internal static class Assignment
{
    /// <summary>Assigns every row of a table.</summary>
    public static AssignmentReport Run(CommandRun run, EmbeddingTable table, IQuantizerEncoder encoder, AssignedRows receive) =>
        run.Progress.Step("assign", table.Count, "rows", step => AssignmentPipeline.Run(table, encoder, (first, codes, errors) =>
        {
            receive(first, codes, errors);
            step.Advance(codes.Length / encoder.Quantizer.Levels);
        }, run.Cancellation));

    /// <summary>Refuses more codes than a bundle holds.</summary>
    /// <exception cref="InvalidDataException">The table has too many rows.</exception>
    public static void RequireRoom(EmbeddingTable table, int levels)
    {
        if (table.Count > Array.MaxLength / levels)
            throw new InvalidDataException($"{table.Name}: {table.Count} rows of {levels} codes are more than a bundle holds ({Array.MaxLength} codes); assign them with 'mmesid assign'");
    }

    /// <summary>Assigns every row and keeps the codes.</summary>
    public static (SidTable Codes, AssignmentReport Report) Collect(CommandRun run, EmbeddingTable table, IQuantizerEncoder encoder)
    {
        int levels = encoder.Quantizer.Levels;
        RequireRoom(table, levels);
        var all = new ushort[table.Count * levels];
        AssignmentReport report = Run(run, table, encoder, (first, codes, _) => codes.CopyTo(all.AsSpan(checked((int)(first * levels)))));
        return (new SidTable(levels, all), report);
    }

    /// <summary>Rows, speed, what certification cost and the error.</summary>
    public static void Report(CommandRun run, AssignmentReport report)
    {
        ResultSheet results = run.Results;
        double seconds = report.Elapsed.TotalSeconds;
        double rate = seconds > 0 ? report.Rows / seconds : 0;
        results.Value("rows", report.Rows);
        results.Value("seconds", seconds, ResultSheet.Seconds(seconds));
        results.Value("kernel_seconds", report.KernelTime.TotalSeconds, ResultSheet.Seconds(report.KernelTime.TotalSeconds));
        results.Value("rows_per_second", rate, $"{Math.Round(rate):N0}");
        results.Value("rechecked_share", report.Encoding.RecheckedShare,
            $"{ResultSheet.Percent(report.Encoding.RecheckedShare)} of {report.Encoding.Decisions:N0} decisions, {report.Encoding.Exact:N0} by exact arithmetic");
        if ((run.Verbose || run.Json) && report.Screen.Length > 0)
        {
            results.Value("screen", report.Screen);
            results.Value("open_share", report.Encoding.OpenShare,
                $"{ResultSheet.Percent(report.Encoding.OpenShare)} of the decisions were left open by integers, {(report.Encoding.Open > 0 ? (double)report.Encoding.OpenCandidates / report.Encoding.Open : 0):F1} codewords each");
        }
        if ((run.Verbose || run.Json) && report.OpenRows is { } open)
        {
            double share = report.Rows > 0 ? (double)open / report.Rows : 0;
            results.Value("open_rows_share", share, $"{ResultSheet.Percent(share)} of the rows were left open by the shadow and read from the table");
        }
        // A shadow does not tell.
        if (!double.IsNaN(report.SquaredError))
            results.Value("mean_squared_error", report.Rows > 0 ? report.SquaredError / report.Rows : 0, report.Rows > 0 ? $"{report.SquaredError / report.Rows:G6}" : "–");
    }
}
