using System.CommandLine;
using MmeSid.Cli.Terminal;
using MmeSid.Engine.Embeddings;
using MmeSid.Engine.Files;
using MmeSid.Kernels;

namespace MmeSid.Cli.Commands;

/// <summary><c>mmesid shadow</c>: a table rounded to float16 or int8, from which <c>assign --shadow</c> reads and proves most codes.</summary>
internal static class ShadowCommand
{
    public static Command Create()
    {
        Option<string> output = OutputOptions.Out("The shadow, .npy: float16 [n, d], or of int8 [n] records of step, error and d values; beside it x.npy.json says of which files it was made.");
        Option<string> format = new Option<string>("--format")
        {
            Description = "float16, half of the table's bytes and few rows left open, for simd and cuda; or int8, a quarter of them and more rows left open, for simd.",
            DefaultValueFactory = _ => OptionName.Of(ShadowFormat.Float16),
        }.AcceptOnlyFromAmong(OptionName.All<ShadowFormat>());
        var command = new Command("shadow", "Write a smaller copy of a float32 table: 'assign --shadow' reads it, and of the table only what it leaves open, and gives the same codes.")
        {
            output, format, OutputOptions.Force,
        };
        TableOptions.AddReading(command);
        command.SetAction(parsed => CommandRun.Execute(parsed, run =>
        {
            string path = run.Need(output);
            using OutputFile shadow = OutputFile.Create(path, run.Force);
            using OutputFile note = OutputFile.Create(ShadowedTable.NotePath(path), run.Force);
            using EmbeddingTable table = OnlyOne(TableOptions.Open(run));
            run.Progress.Step("shadow", table.Count, "rows", step => ShadowedTable.Write(table, OptionName.Parse<ShadowFormat>(run.Need(format))!.Value, shadow.Stream, rows => step.Advance(rows), run.Cancellation));
            shadow.Commit();
            ShadowedTable.WriteNote(table, path, note.Stream);
            note.Commit();
            run.Results.Value("out", path);
            run.Results.Value("rows", table.Count);
        }));
        return command;
    }

    /// <summary>The table whose shadow is made or read.</summary>
    /// <exception cref="ArgumentException">There are several: what is joined has no shadow. None stays open.</exception>
    public static EmbeddingTable OnlyOne(IReadOnlyList<EmbeddingTable> tables)
    {
        if (tables.Count == 1)
            return tables[0];
        foreach (EmbeddingTable table in tables)
            table.Dispose();
        throw new ArgumentException($"a shadow is that of one table, {tables.Count} are given");
    }
}
