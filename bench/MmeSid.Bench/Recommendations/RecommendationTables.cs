using System.Globalization;
using System.Text.Json.Nodes;

namespace MmeSid.Bench;

/// <summary>A column of a table.</summary>
/// <param name="Header">As the page has it.</param>
/// <param name="Value">Text of a row's cell, given what a stage of that row printed; null leaves it empty.</param>
internal sealed record TableColumn(string Header, Func<TableRow, Func<Stage, StageResult?>, string?> Value)
{
    /// <summary>A figure that the row's model was given by <c>evaluate</c>.</summary>
    public static TableColumn Test(string name, string header, bool margin = false) => new(header, (row, find) =>
    {
        JsonNode? figures = find(row.Test)?.Figures;
        return margin ? $"{Number(figures?[name], "F4")} ± {Number(figures?[$"{name}_margin"], "F4")}" : Number(figures?[name], "F4");
    });

    /// <summary>What the row's model gains over the one that <c>evaluate</c> held it against.</summary>
    public static TableColumn Gain(string name, string header) => new(header, (row, find) => find(row.Test)?.Figures is { } figures && figures[$"gain_{name}"] is { } gain
        ? $"{Number(gain, "+0.0000;-0.0000;0.0000")} ± {Number(figures[$"gain_{name}_margin"], "F4")}" : null);

    /// <summary>A figure of a table that training printed, in the line where the first column has a value.</summary>
    public static TableColumn Trained(string table, string key, string column, string header) => new(header, (row, find) =>
        row.Model is { } model && find(model)?.Figures?[table] is JsonArray lines && lines.FirstOrDefault(line => line!.AsObject().First().Value?.GetValue<string>() == key) is { } found
            ? Number(found[column], "F3") : null);

    /// <summary>How long training took.</summary>
    public static TableColumn Seconds { get; } = new("training, s", (row, find) => row.Model is { } model ? Training(find(model)) : null);

    // Of the epochs alone, in whatever pieces they were run.
    private static string? Training(StageResult? result) => result?.Figures?["seconds_per_epoch"] is { } each && result.Figures["epochs"] is { } epochs
        ? (each.GetValue<double>() * epochs.GetValue<double>()).ToString("F0", CultureInfo.InvariantCulture) : null;

    /// <summary>A JSON number as text.</summary>
    public static string? Number(JsonNode? node, string format) => node?.GetValue<double>().ToString(format, CultureInfo.InvariantCulture);
}

/// <summary>A row: a model and its test.</summary>
/// <param name="Name">As the page calls it.</param>
/// <param name="Model">The stage that trains it, or null where there is only a test.</param>
/// <param name="Test">The stage that evaluates it.</param>
/// <param name="Sids">The stage that makes its SIDs, where they are compared.</param>
internal sealed record TableRow(string Name, Stage? Model, Stage Test, Stage? Sids = null);

/// <summary>A table of the page.</summary>
/// <param name="Key">How <c>--suites</c> names it.</param>
/// <param name="Title">Its heading.</param>
/// <param name="Text">What is compared, in sentences.</param>
/// <param name="Columns">After the name.</param>
/// <param name="Rows">In order.</param>
internal sealed record RecommendationTable(string Key, string Title, string Text, IReadOnlyList<TableColumn> Columns, IReadOnlyList<TableRow> Rows);

/// <summary>The experiments on recommending, each as the commands that a user types.</summary>
internal sealed class RecommendationTables
{
    private const string kBeauty = $"{Stage.Data}/amazon-beauty/sequences.txt";
    private const string kMovies = $"{Stage.Data}/ml-1m/sequences.txt.gz";
    private const string kSmall = "--layers 2 --dimension 128 --feed-forward 384 --heads 4 --learning-rate 0.003 --patience 0 --threads 1";

    private const string kJoint = $"--embeddings {Stage.Work}/collaborative.npy --embeddings {Stage.Work}/text.npy --normalize";

    private static readonly string[] s_published = ["letter", "iba_rqvae", "collisiongenrec_quasid_native", "collisiongenrec_rkmeans_native", "collisiongenrec_rqvae_native"];

    private readonly List<Stage> _stages = [];

    /// <summary>All stages and tables.</summary>
    public RecommendationTables()
    {
        Stage sasRec = Add("sasrec", $"mmesid train sasrec --sequences {kBeauty} --epochs 200 --patience 12 --out {Stage.Work}/sasrec");
        Stage sasRecTest = Add(Stage.Evaluate(sasRec.Name, kBeauty));
        Add("collaborative.npy", $"mmesid embed collaborative --model {Stage.Work}/sasrec --out {Stage.Work}/collaborative.npy");
        Add("text.npy", $"mmesid embed text --input {Stage.Data}/amazon-beauty/items.tsv --dimension 256 --out {Stage.Work}/text.npy");
        var baseline = new TableRow("SASRec", sasRec, sasRecTest);
        Tables = [Best(baseline), SidSets(), MmeSid("beauty", "Amazon Beauty", kBeauty, baseline, ["collaborative", "text"], ""), Movies(), Timeline()];
    }

    /// <summary>Every stage, after those that it needs.</summary>
    public IReadOnlyList<Stage> Stages => _stages;

    /// <summary>In the order of the page.</summary>
    public IReadOnlyList<RecommendationTable> Tables { get; }

    private static TableColumn[] Quality { get; } =
    [
        TableColumn.Test("hr@5", "HR@5"), TableColumn.Test("hr@10", "HR@10", margin: true), TableColumn.Test("ndcg@5", "nDCG@5"), TableColumn.Test("ndcg@10", "nDCG@10", margin: true), TableColumn.Test("mrr@10", "MRR@10"),
    ];

    private RecommendationTable SidSets()
    {
        var rows = new List<TableRow>();
        foreach (string kind in (string[])["rq-kmeans", "psrq"])
            rows.Add(Row($"{kind}, collaborative + text", $"sids.{kind}", $"mmesid train {kind} {kJoint} --levels 4 --codes 256 --collisions resettle --out {Stage.Work}/sids.{kind}"));
        foreach (string modality in (string[])["collaborative", "text"])
            rows.Add(Row($"rq-kmeans, {modality}", $"sids.{modality}", $"mmesid train rq-kmeans --embeddings {Stage.Work}/{modality}.npy --levels 4 --codes 256 --collisions resettle --out {Stage.Work}/sids.{modality}"));
        Add("mm-rq-vae", $"mmesid train mm-rq-vae --table collaborative={Stage.Work}/collaborative.npy --table text={Stage.Work}/text.npy --normalize --width 128 --epochs 60 --learning-rate 0.001 --schedule cosine --collisions resettle --out {Stage.Work}/mm-rq-vae");
        foreach (string modality in (string[])["collaborative", "text"])
            rows.Add(Row($"mm-rq-vae, {modality}", $"mm-rq-vae/{modality}", null));
        foreach (string name in s_published)
            rows.Add(Row($"published: {name}", $"sids.{name}", $"mmesid import sids --sids {Stage.Data}/amazon-beauty/published-sids/{name}.npy {kJoint} --collisions resettle --out {Stage.Work}/sids.{name}"));
        return new("sids", "Which SIDs are easiest to generate", "One small Llama (2 layers, 128 values) is trained for the same 6 epochs on each set of SIDs of Amazon Beauty, four codes of 256 each, with collisions settled so that every item has a SID of its own. "
            + "*Colliding*: items that shared their SID with another before.",
            [new("colliding", (row, find) => row.Sids is { } sids ? TableColumn.Number(find(sids)?.Figures?["colliding_items"], "F0") : null), .. Quality, TableColumn.Seconds], rows);

        TableRow Row(string name, string bundle, string? command)
        {
            Stage? sids = command is null ? null : Add(bundle, command);
            string model = $"lm.{bundle.Replace("sids.", "", StringComparison.Ordinal).Replace('/', '.')}";
            Stage trained = Add(model, $"mmesid train sid-lm --bundle {Stage.Work}/{bundle} --sequences {kBeauty} {kSmall} --epochs 6 --out {Stage.Work}/{model}");
            return new(name, trained, Add(Stage.Evaluate(model, kBeauty, generates: true)), sids);
        }
    }

    private RecommendationTable Best(TableRow baseline)
    {
        Add("sids.three", $"mmesid train rq-kmeans {kJoint} --levels 3 --codes 256 --out {Stage.Work}/sids.three");
        Stage whole = Add("lm.best", $"mmesid train sid-lm --bundle {Stage.Work}/sids.three --sequences {kBeauty} --layers 4 --dimension 128 --feed-forward 384 --heads 4 --dropout 0.2 --learning-rate 0.003 --epochs 40 --patience 6 --threads 1 --out {Stage.Work}/lm.best");
        var rows = new List<TableRow> { baseline, new("SID language model, F32", whole, Add(Stage.Evaluate(whole.Name, kBeauty, generates: true, against: "sasrec"))) };
        foreach (string size in (string[])["f16", "q8_0", "q4_k_m"])
        {
            string name = $"{whole.Name}.{size}";
            Add(name, $"mmesid quantize --model {Stage.Work}/{whole.Name} --to {size} --out {Stage.Work}/{name}");
            rows.Add(new($"the same, {size.ToUpperInvariant()}", null, Add(Stage.Evaluate(name, kBeauty, generates: true, against: whole.Name))));
        }
        return new("best", "Generating SIDs against scoring items", "A Llama of four layers on our SIDs of collaborative and text embeddings (three codes), trained to the end, run by llama.cpp at several sizes of its weights; rows of 128 and 384 values do not fit Q4_K, so that Q4_K_M stores them in 5 to 8 bits. "
            + "*Gain* is over F32, of F32 over SASRec. *Same items*: the share of the ten best that are among the ten best of F32; *log-probability*: the mean difference of scores of items that both sizes return. "
            + "TIGER's paper has HR@10 .0648 and nDCG@10 .0384 on this split, RPG's .0809 and .0464.",
            [.. Quality, TableColumn.Gain("ndcg@10", "gain of nDCG@10"), Compared("overlap@10", "same items"), Compared("score_difference", "log-probability"), TableColumn.Seconds], rows);

        // Of one model at two sizes alone.
        TableColumn Compared(string name, string header) => new(header, (row, find) => row.Model is null ? TableColumn.Number(find(row.Test)?.Figures?[name], "F4") : null);
    }

    private RecommendationTable Movies()
    {
        Stage sasRec = Add("movies.sasrec", $"mmesid train sasrec --sequences {kMovies} --epochs 30 --patience 5 --out {Stage.Work}/movies.sasrec");
        var baseline = new TableRow("SASRec", sasRec, Add(Stage.Evaluate(sasRec.Name, kMovies)));
        Add("movies.collaborative.npy", $"mmesid embed collaborative --model {Stage.Work}/movies.sasrec --out {Stage.Work}/movies.collaborative.npy");
        // Texts of the movies that somebody rated: a table of others would rank them as well.
        Add("movies.rated", $"zcat {kMovies} | awk '{{ for (i = 2; i <= NF; i++) print $i }}' | sort -u > {Stage.Work}/movies.rated");
        Add("movies.tsv", $"(printf 'item\\ttext\\n'; zcat {Stage.Data}/ml-1m/items.jsonl.gz | sed 's/^{{\"movie_id\": \\([0-9]*\\), /\\1\\t/; s/[^0-9A-Za-z\\t ]/ /g' | awk -F '\\t' 'NR == FNR {{ rated[$1]; next }} $1 in rated' {Stage.Work}/movies.rated -) > {Stage.Work}/movies.tsv");
        Add("movies.text.npy", $"mmesid embed text --input {Stage.Work}/movies.tsv --dimension 256 --out {Stage.Work}/movies.text.npy");
        Add("movies.image.npy", $"cp {Stage.Data}/ml-1m/poster_features.npy {Stage.Work}/movies.image.npy && tail -c +129 {Stage.Data}/ml-1m/poster_movie_ids.npy | od -An -v -td4 -w4 | tr -d ' ' > {Stage.Work}/movies.image.items.txt");
        return MmeSid("movies", "MovieLens-1M", kMovies, baseline, ["collaborative", "text", "image"], "movies.");
    }

    private RecommendationTable MmeSid(string key, string title, string sequences, TableRow baseline, string[] modalities, string prefix)
    {
        string missing = modalities.Contains("image") ? " --missing mean" : "", bundle = $"{prefix}mm-rq-vae";
        string tables = string.Join(' ', modalities.Select(Table));
        if (prefix.Length > 0)
            Add(bundle, $"mmesid train mm-rq-vae {tables}{missing} --normalize --width 128 --epochs 60 --learning-rate 0.001 --schedule cosine --collisions resettle --out {Stage.Work}/{bundle}");
        string coded = $"--bundle {Stage.Work}/{bundle} {tables}";
        TableRow[] rows =
        [
            baseline,
            Row("MME-SID", "mme", coded),
            Row("random codes", "mme.random", $"{coded} --codes random"),
            Row("no codes", "mme.no-codes", tables),
            Row("weights alike, not by frequency", "mme.equal", $"{coded} --fusion equal"),
            Row("item table alone", "mme.no-fusion", $"{coded} --fusion none"),
            // Posters lack for some movies, which alone they could not stand for.
            .. modalities.Where(modality => modality != "image").Select(modality => Row($"{modality} only", $"mme.{modality}", $"--bundle {modality}={Stage.Work}/{bundle}/{modality} {Table(modality)}")),
        ];
        TableColumn[] kept = [.. modalities.SelectMany(modality => new[] { "before", "after" }.Select(when => TableColumn.Trained("forgetting", modality, $"kendall_tau_{when}", $"τ {modality} {when}")))];
        return new(key, $"MME-SID and its parts, {title}", "A small Llama that reads one soft token per item and scores all items, without one part at a time. "
            + "*Gain*: over the whole MME-SID, of that over SASRec. *τ*: the order of distances between history and target that the code embeddings keep of the original ones, before and after training. *Rank*: effective rank (entropy of the singular values) after training.",
            [.. Quality, TableColumn.Gain("ndcg@10", "gain of nDCG@10"), .. kept, TableColumn.Trained("collapse", "item table", "effective_rank_after", "rank of the item table"), TableColumn.Trained("collapse", "soft tokens", "effective_rank_after", "of the soft tokens"), TableColumn.Seconds], rows);

        TableRow Row(string name, string model, string inputs)
        {
            Stage trained = Add(prefix + model, $"mmesid train mme-sid {inputs}{missing} --normalize --sequences {sequences} {kSmall} --epochs 8 --out {Stage.Work}/{prefix}{model}");
            return new(name, trained, Add(Stage.Evaluate(trained.Name, sequences, against: model == "mme" ? $"{prefix}sasrec" : $"{prefix}mme")));
        }

        string Table(string modality) => $"--table {modality}={Stage.Work}/{prefix}{modality}.npy";
    }

    private RecommendationTable Timeline()
    {
        // Of the m events that train, the first half; two more are held out again. The second half begins with the last event of the first.
        Stage early = Add("early.txt", $"awk '{{ h = int((NF - 2) / 2); for (i = 1; i <= h + 3; i++) printf \"%s%s\", $i, i == h + 3 ? \"\\n\" : \" \" }}' {kBeauty} > {Stage.Work}/early.txt");
        Stage late = Add("late.txt", $"awk '{{ h = int((NF - 2) / 2); printf \"%s\", $1; for (i = 1 + h; i <= NF; i++) printf \" %s\", $i; print \"\" }}' {kBeauty} > {Stage.Work}/late.txt");
        string bundle = $"--bundle {Stage.Work}/sids.rq-kmeans";
        Stage first = Add("time.base", $"mmesid train sid-lm {bundle} --sequences {Stage.Work}/{early.Name} {kSmall} --epochs 6 --out {Stage.Work}/time.base");
        Stage adapted = Add("time.lora", $"mmesid train sid-lm {bundle} --sequences {Stage.Work}/{late.Name} --base {Stage.Work}/time.base/base.gguf --lora --embeddings base --epochs 6 --learning-rate 0.001 --patience 0 --threads 1 --out {Stage.Work}/time.lora");
        Stage whole = _stages.Single(stage => stage.Name == "lm.rq-kmeans");
        return new("timeline", "LoRA on later events", "A small Llama is trained on the first half of every user's training events; an adapter is trained on the second half over the frozen first model; the same small Llama trained on all of them is beside them. All are tested on each user's last event, and all generate the same SIDs, whose collaborative half knows all training events.",
            [.. Quality, TableColumn.Seconds],
            [
                new("first half of the events", first, Add(Stage.Evaluate(first.Name, kBeauty, generates: true))),
                new("the same, LoRA on the second half", adapted, Add(Stage.Evaluate(adapted.Name, kBeauty, generates: true))),
                new("all events", whole, _stages.Single(stage => stage.Name == $"{whole.Name}.test")),
            ]);
    }

    private Stage Add(string name, string command) => Add(new Stage(name, command));

    private Stage Add(Stage stage)
    {
        _stages.Add(stage);
        return stage;
    }
}
