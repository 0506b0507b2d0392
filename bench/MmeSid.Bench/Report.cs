using System.Globalization;
using System.Text;
using System.Text.Json;

namespace MmeSid.Bench;

/// <summary>Keeps results as JSON, one file per suite, and writes the tables that people read from them.</summary>
internal static class Report
{
    private const string Begin = "<!-- results:begin (written by ./build.sh --target Bench --readme) -->";
    private const string End = "<!-- results:end -->";

    /// <summary>How results are written.</summary>
    public static JsonSerializerOptions Json { get; } = new(JsonSerializerDefaults.Web) { WriteIndented = true, IndentSize = 1 };

    /// <summary>Replaces the suite's file and the machine's tables.</summary>
    public static void Save(string folder, SuiteResult result)
    {
        Directory.CreateDirectory(folder);
        File.WriteAllText(Path.Combine(folder, result.Suite + ".json"), JsonSerializer.Serialize(result, Json) + "\n");
        File.WriteAllText(Path.Combine(folder, "README.md"), MachinePage(Load(folder)));
    }

    /// <summary>The suites of a machine, in the order in which the bench runs them.</summary>
    public static IReadOnlyList<SuiteResult> Load(string folder)
    {
        var results = Directory.GetFiles(folder, "*.json").Select(file => JsonSerializer.Deserialize<SuiteResult>(File.ReadAllText(file), Json)!);
        return [.. results.OrderBy(result => Array.IndexOf(Suites.Names, result.Suite))];
    }

    /// <summary>Rewrites what stands between the two markers of the README with the headline figures of every machine.</summary>
    /// <exception cref="InvalidDataException">The markers are missing.</exception>
    public static void UpdateReadme(string readme, string resultsFolder)
    {
        string text = File.ReadAllText(readme);
        int begin = text.IndexOf(Begin, StringComparison.Ordinal), end = text.IndexOf(End, StringComparison.Ordinal);
        if (begin < 0 || end < begin)
            throw new InvalidDataException($"{readme}: expected the lines '{Begin}' and '{End}' around the results");
        var section = new StringBuilder();
        foreach (string folder in Directory.GetDirectories(resultsFolder).Order(StringComparer.Ordinal))
        {
            SuiteResult[] results = [.. Load(folder).Select(result => result with { Figures = [.. result.Figures.Where(figure => figure.Headline)] })];
            if (results.Length == 0)
                continue;
            AppendMachine(section, results[0]);
            foreach (SuiteResult result in results.Where(result => result.Figures.Count > 0))
                AppendSuite(section, result, "####", s_columns.Where(column => column.Name is not ("prepared" or "first call" or "allocated")));
            section.Append($"All figures of this machine: [bench/results/{Path.GetFileName(folder)}](bench/results/{Path.GetFileName(folder)}/README.md).\n");
        }
        File.WriteAllText(readme, text[..(begin + Begin.Length)] + "\n\n" + section + "\n" + text[end..]);
    }

    /// <summary>A figure in one line, for those who wait.</summary>
    public static string Line(Figure figure) => Line(figure, s_columns);

    /// <summary>The same of a figure taken on a GPU.</summary>
    public static string GpuLine(Figure figure) => Line(figure, s_gpuColumns);

    private static string Line(Figure figure, IEnumerable<Column> columns) =>
        string.Join(" · ", columns.Select(column => (column.Name, Value: column.Value(figure))).Where(cell => cell.Value.Length > 0)
            .Select(cell => cell.Name is "open" or "candidates" or "× float32" or "n" or "d" or "K" or "L" or "re-checked" or "checked" or "undecided" or "prepared" or "first call" or "allocated" or "GFLOP/s" or "TFLOP/s" or "rows/s" or "% of ceiling" or "% of it meanwhile" ? $"{cell.Name} {cell.Value}" : cell.Value));

    private static string MachinePage(IReadOnlyList<SuiteResult> results)
    {
        var page = new StringBuilder("# Bench results\n\nWritten by `./build.sh --target Bench`; do not edit.\n\n");
        page.Append("Times are medians ± half the distance between the quartiles, of at least five runs (three when a run takes over half a minute; a peer stops after half a minute in all, at least one run). ");
        page.Append("They include the packing of rows and the certificate; *prepared* is the packing of codewords and the tables between levels, done once per plan; *first call* is the time of a call that does all that and tries screens. *× float32* is the speed of first calls against those of the float32 screen, of prepared items that of any call. ");
        page.Append("GFLOP/s counts what the definition asks for (2·n·d·ΣK). *Re-checked* is the share of decisions that the fast pass could not prove. ");
        page.Append("*% of ceiling* is against the best round of the ceiling before the suites began; *% of it meanwhile* against the median of the rounds taken in turn with the runs, so that both sides had the same machine. ");
        page.Append("*Checked*: rows compared with the float64 oracle before timing.\n\n");
        if (results.Count > 0)
            AppendMachine(page, results[0]);
        foreach (SuiteResult result in results)
            AppendSuite(page, result, "##", s_columns);
        return page.ToString();
    }

    private static void AppendMachine(StringBuilder text, SuiteResult result)
    {
        Machine machine = result.Machine;
        text.Append(CultureInfo.InvariantCulture,
            $"**{machine.Processor}, {machine.Cores} cores, {machine.MemoryGigabytes:F0} GB** · {machine.InstructionSet} · {machine.Runtime} · {machine.System}\n\n");
    }

    private static void AppendSuite(StringBuilder text, SuiteResult result, string heading, IEnumerable<Column> wanted)
    {
        text.Append($"{heading} {result.Title}\n\n");
        text.Append($"Commit {result.Machine.Commit}, {result.Machine.Date}. Ceilings in the same run: ");
        text.AppendJoin("; ", result.Ceilings.Select(ceiling => string.Create(CultureInfo.InvariantCulture,
            $"{Threads(ceiling.Threads)}: fp32 {ceiling.Fp32:F0} GFLOP/s{Integer("int8", ceiling.Int8)}{Integer("int16", ceiling.Int16)}, memory {ceiling.Memory:F0} GB/s")));
        text.Append(".\n\n");
        foreach (string remark in result.Remarks)
            text.Append(remark).Append(".\n\n");
        AppendFigures(text, result.Figures, wanted);

        static string Threads(int count) => count == 1 ? "1 thread" : $"{count} threads";
        static string Integer(string name, double rate) => rate == 0 ? "" : string.Create(CultureInfo.InvariantCulture, $", {name} {rate:F0} Gop/s");
    }

    /// <summary>A table of figures taken on a GPU.</summary>
    public static void AppendGpuFigures(StringBuilder text, IReadOnlyList<Figure> figures) => AppendFigures(text, figures, s_gpuColumns);

    // Columns in which no figure has a value are left out.
    private static void AppendFigures(StringBuilder text, IReadOnlyList<Figure> figures, IEnumerable<Column> wanted)
    {
        Column[] columns = [.. wanted.Where(column => figures.Any(figure => column.Value(figure).Length > 0))];
        if (columns.Length == 0)
            return;
        text.Append("| ").AppendJoin(" | ", columns.Select(column => column.Name)).Append(" |\n|");
        foreach (Column column in columns)
            text.Append(column.Right ? "---:|" : "---|");
        text.Append('\n');
        foreach (Figure figure in figures)
            text.Append("| ").AppendJoin(" | ", columns.Select(column => column.Value(figure))).Append(" |\n");
        text.Append('\n');
    }

    private sealed record Column(string Name, bool Right, Func<Figure, string> Value);

    private static readonly Column s_gigaflops = new("GFLOP/s", true, figure => figure.Operations == 0 ? "" : Number(figure.Rate, "F0"));

    private static readonly Column[] s_columns =
    [
        new("operation", false, figure => figure.Operation),
        new("backend", false, figure => figure.Backend),
        new("device", false, figure => figure.Device),
        new("data", false, figure => figure.Data),
        new("n", true, figure => Count(figure.Rows)),
        new("d", true, figure => Count(figure.Dimension)),
        new("K", true, figure => figure.Codes == 0 ? "" : Count(figure.Codes)),
        new("L", true, figure => figure.Codes == 0 ? "" : Count(figure.Levels)),
        new("median ± spread", true, figure => $"{Seconds(figure.Time.Median)} ± {Seconds(figure.Time.Spread)}"),
        new("rows/s", true, figure => Quantity(figure.Rows / figure.Time.Median)),
        s_gigaflops,
        new("% of ceiling", true, figure => figure.CeilingShare is { } share ? Number(100 * share, "F0") + " %" : ""),
        new("% of it meanwhile", true, figure => figure.CeilingShareMeanwhile is { } share ? Number(100 * share, "F0") + " %" : ""),
        new("screen", false, figure => figure.Screen),
        new("× float32", true, figure => figure.OverFloat32 is { } ratio ? Number(ratio, "F2") : ""),
        new("open", true, figure => figure.Open is { } share and > 0 ? Number(100 * share, "0.##") + " %" : ""),
        new("candidates", true, figure => figure.Candidates is { } count ? Number(count, "F2") : ""),
        new("re-checked", true, figure => figure.Rechecked is { } share ? Number(100 * share, "0.###") + " %" : ""),
        new("undecided", true, figure => figure.Undecided is { } share ? Number(100 * share, "0.#####") + " %" : ""),
        new("prepared", true, figure => figure.Preparation is { } seconds ? Seconds(seconds) : ""),
        new("first call", true, figure => figure.FirstCall is { } seconds ? Seconds(seconds) : ""),
        new("allocated", true, figure => figure.Time.AllocatedBytes is { } bytes ? Bytes(bytes) : ""),
        new("checked", false, figure => figure.Check),
        new("note", false, figure => figure.Note),
    ];

    private static readonly Column s_teraflops = new("TFLOP/s", true, figure => figure.Operations == 0 ? "" : ThreeDigits(figure.Rate / 1e3));

    // The device stands over the page, and what the host allocates is nobody's concern.
    private static readonly Column[] s_gpuColumns =
        [.. s_columns.Where(column => column.Name is not ("device" or "data" or "allocated")).Select(column => column == s_gigaflops ? s_teraflops : column)];

    /// <summary>Seconds with three digits and a unit.</summary>
    public static string Seconds(double seconds) => seconds switch
    {
        0 => "0",
        < 1e-3 => ThreeDigits(seconds * 1e6) + " µs",
        < 1 => ThreeDigits(seconds * 1e3) + " ms",
        _ => ThreeDigits(seconds) + " s",
    };

    /// <summary>Bytes with a decimal unit.</summary>
    public static string Bytes(double bytes) => bytes switch
    {
        < 1e3 => Number(bytes, "F0") + " B",
        < 1e6 => Number(bytes / 1e3, "F1") + " kB",
        < 1e9 => Number(bytes / 1e6, "F1") + " MB",
        _ => Number(bytes / 1e9, "F2") + " GB",
    };

    private static string Quantity(double value) => value switch
    {
        < 1e3 => Number(value, "F0"),
        < 1e6 => ThreeDigits(value / 1e3) + "k",
        _ => ThreeDigits(value / 1e6) + "M",
    };

    private static string ThreeDigits(double value) => Number(value, value < 9.995 ? "F2" : value < 99.95 ? "F1" : "F0");

    private static string Count(long value) => value.ToString("N0", CultureInfo.InvariantCulture);

    private static string Number(double value, string format) => value.ToString(format, CultureInfo.InvariantCulture);
}
