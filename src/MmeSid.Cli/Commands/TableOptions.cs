using System.CommandLine;
using MmeSid.Cli.Terminal;
using MmeSid.Engine.Embeddings;

namespace MmeSid.Cli.Commands;

/// <summary>Options that say which embeddings are read and how they become the rows that are quantized.</summary>
internal static class TableOptions
{
    public static readonly Option<string[]> Embeddings = new("--embeddings", "-e")
    {
        Description = "A table: .npy (f16, f32, f64, u8, i8), .safetensors, .fvecs, .fbin, .csv, .tsv or .parquet; a quoted pattern such as 'part-*.npy' takes files row after row. "
            + "Given several times, tables are joined by item id, side by side.",
        HelpName = "file",
        Required = true,
        AllowMultipleArgumentsPerToken = false,
    };

    /// <summary><see cref="Embeddings"/> where <see cref="Table"/> may stand instead.</summary>
    public static readonly Option<string[]> NewRows = new(Embeddings.Name, "-e")
    {
        Description = Embeddings.Description + " This or --table is required.",
        HelpName = "file",
        AllowMultipleArgumentsPerToken = false,
    };

    public static readonly Option<string[]> Table = new("--table")
    {
        Description = "A table and the bundle it is for: with --bundle B a folder of bundles, '--table text=new.npy' is '--bundle B/text --embeddings new.npy'. "
            + "Given several times for one bundle, its tables are joined in that order. A bundle itself is named by its own folder.",
        HelpName = "name=file",
        AllowMultipleArgumentsPerToken = false,
    };

    public static readonly Option<string[]> Items = new("--items")
    {
        Description = "Item ids, one per line, naming the rows; once for all tables or once per table. "
            + "[default: x.items.txt beside x.npy where 'embed' wrote one, else ids of the file, else row i is item i + 1]",
        HelpName = "file",
    };

    public static readonly Option<long[]> SkipRows = new("--skip-rows")
    {
        Description = "Rows dropped at the start of the table (a padding row); once for all tables or once per table. [default: 0]",
        HelpName = "count",
    };

    public static readonly Option<string?> IdColumn = new("--id-column")
    {
        Description = "Column of .csv, .tsv and .parquet files with the item id. [default: item, item_id or id where there is one]",
        HelpName = "name",
    };

    public static readonly Option<string?> VectorColumn = new("--vector-column")
    {
        Description = "Column with the whole vector, a list of numbers. [default: the only list column; in .csv all columns but the id]",
        HelpName = "name",
    };

    public static readonly Option<string?> Tensor = new("--tensor")
    {
        Description = "Tensor of a .safetensors file. [default: its only 2-D tensor]",
        HelpName = "name",
    };

    public static readonly Option<string> Missing = new Option<string>("--missing")
    {
        Description = "Items that one of several tables lacks: refuse them, drop them, or fill the gap with zero or with the mean of that table.",
        DefaultValueFactory = _ => "refuse",
    }.AcceptOnlyFromAmong("refuse", "drop", "zero", "mean");

    public static readonly Option<bool> Normalize = new("--normalize")
    {
        Description = "Divide each row of each table by its Euclidean norm; a row of zeros is refused.",
    };

    public static readonly Option<string?> Weights = new("--weights")
    {
        Description = "Factor of each table after normalising, such as 1,0.5. [default: 1 each]",
        HelpName = "w,w,…",
    };

    /// <summary>Adds the options by which tables are opened.</summary>
    /// <param name="command">Where.</param>
    /// <param name="embeddings">An optional form of <see cref="Embeddings"/> that the command has already; null adds the required one.</param>
    public static void AddReading(Command command, Option<string[]>? embeddings = null)
    {
        if (embeddings is null)
            command.Options.Add(Embeddings);
        foreach (Option option in (Option[])[Items, SkipRows, IdColumn, VectorColumn, Tensor, Missing])
            command.Options.Add(option);
    }

    /// <summary>Adds the options by which the tables of a bundle are opened: <see cref="NewRows"/> or <see cref="Table"/>, one of them required.</summary>
    public static void AddReadingForBundle(Command command)
    {
        command.Options.Add(NewRows);
        command.Options.Add(Table);
        command.Validators.Add(result =>
        {
            if (result.GetResult(NewRows) is null && result.GetResult(Table) is null)
                result.AddError($"Option '{NewRows.Name}' is required, or '{Table.Name}'.");
        });
        AddReading(command, NewRows);
    }

    /// <summary>Opens every table of <see cref="Embeddings"/>; on failure none stays open.</summary>
    public static IReadOnlyList<EmbeddingTable> Open(CommandRun run)
    {
        string[] files = run.Need(Embeddings);
        return Open(run, files, [.. Enumerable.Range(0, files.Length)]);
    }

    /// <summary>Opens some of the tables that were given; on failure none stays open.</summary>
    /// <param name="run">The options, of which those given per table go by their place among all of them.</param>
    /// <param name="paths">All that were given.</param>
    /// <param name="chosen">Places of those to open.</param>
    public static IReadOnlyList<EmbeddingTable> Open(CommandRun run, IReadOnlyList<string> paths, IReadOnlyList<int> chosen)
    {
        var tables = new List<EmbeddingTable>();
        try
        {
            foreach (int t in chosen)
            {
                tables.Add(EmbeddingTable.Open([paths[t]], new EmbeddingOptions
                {
                    ItemsFile = PerTable(run.Get(Items), t, paths.Count, "--items") ?? ItemsBeside(paths[t]),
                    SkipRows = PerTable(run.Get(SkipRows), t, paths.Count, "--skip-rows"),
                    IdColumn = run.Get(IdColumn),
                    VectorColumn = run.Get(VectorColumn),
                    Tensor = run.Get(Tensor),
                }));
            }
            return tables;
        }
        catch
        {
            foreach (EmbeddingTable table in tables)
                table.Dispose();
            throw;
        }
    }

    /// <summary>Joins tables as a preprocessing says; the result owns them.</summary>
    /// <exception cref="ArgumentException">Gaps are to be filled with means that the preprocessing does not hold.</exception>
    public static EmbeddingTable Join(CommandRun run, IReadOnlyList<EmbeddingTable> tables, Preprocessing preprocessing)
    {
        try
        {
            // The mean of the rows at hand would give an item other codes in another batch.
            if (MissingItemsOf(run) == MissingItems.Mean && preprocessing.Parts.Any(part => part.Mean is null))
                throw new ArgumentException("--missing mean needs the means of the training tables, which this bundle lacks; it must be trained with --missing mean");
            return EmbeddingTable.Combine(tables, preprocessing, MissingItemsOf(run));
        }
        catch
        {
            foreach (EmbeddingTable table in tables)
                table.Dispose();
            throw;
        }
    }

    /// <summary>Value of <see cref="Missing"/>.</summary>
    public static MissingItems MissingItemsOf(CommandRun run) => Enum.Parse<MissingItems>(run.Need(Missing), ignoreCase: true);

    /// <summary>Value of <see cref="Weights"/>; null where it is not given.</summary>
    /// <exception cref="ArgumentException">Something in it is no number.</exception>
    public static IReadOnlyList<double>? WeightsOf(CommandRun run) =>
        run.Get(Weights) is string text ? NumberLists.Parse<double>(text, "--weights") : null;

    /// <summary>
    /// Ids that <c>embed</c> wrote beside a .npy table: without them, rows of items that were dropped would take other items' numbers.
    /// </summary>
    private static string? ItemsBeside(string table)
    {
        if (!table.EndsWith(".npy", StringComparison.OrdinalIgnoreCase))
            return null;
        string items = EmbeddingFiles.ItemsPath(table);
        return File.Exists(table) && File.Exists(items) ? items : null;
    }

    private static T? PerTable<T>(T[]? values, int table, int tables, string option) => values switch
    {
        null or [] => default,
        [T one] => one,
        _ when values.Length == tables => values[table],
        _ => throw new ArgumentException($"{option} is given {values.Length} times for {tables} tables, expected once or {tables} times"),
    };
}
