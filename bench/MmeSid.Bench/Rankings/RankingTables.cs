namespace MmeSid.Bench;

/// <summary>A row: one kind of ranker, trained with several seeds over SIDs of the same seeds.</summary>
/// <param name="Name">As the page calls it.</param>
/// <param name="Tests">The stages that test it, one per seed; each writes the scores of its samples beside its result.</param>
/// <param name="Sids">The stage that measures its SIDs of the first seed, where they are compared.</param>
internal sealed record RankingRow(string Name, IReadOnlyList<Stage> Tests, Stage? Sids = null);

/// <summary>Two rows whose difference the page judges.</summary>
/// <param name="First">Name of a row.</param>
/// <param name="Second">Name of the row that it is compared with.</param>
internal readonly record struct RankingPair(string First, string Second);

/// <summary>A table of the page: one data set.</summary>
/// <param name="Key">How <c>--suites</c> names it.</param>
/// <param name="Title">Its heading.</param>
/// <param name="Text">What is compared, in sentences.</param>
/// <param name="Sequences">The file that models are tested on, as stages name it.</param>
/// <param name="Rows">In order.</param>
/// <param name="Pairs">Differences that are judged.</param>
internal sealed record RankingTable(string Key, string Title, string Text, string Sequences, IReadOnlyList<RankingRow> Rows, IReadOnlyList<RankingPair> Pairs);

/// <summary>How much is run.</summary>
/// <param name="Seeds">Trainings of every row and of its SIDs.</param>
/// <param name="Users">Users of a test; 0 takes all.</param>
/// <param name="Quick">One epoch each: shows that everything runs, measures nothing.</param>
internal readonly record struct RankingSize(int Seeds, int Users, bool Quick);

/// <summary>The experiments on ranking, each as the commands that a user types: rows of the table of PSRQ's paper (arXiv 2508.20359) on three data sets.</summary>
internal sealed class RankingTables
{
    private const string kPlain = "DIN", kMcca = "MCCA", kBestQuantizer = "DIN + PSRQ";
    private const string kArtists = "lastfm.txt", kMovies = "movies.txt";

    /// <summary>Negatives of a test for each click.</summary>
    public const int NegativesPerClick = 4;

    private static readonly (string Name, string Kind, string Options)[] s_quantizers =
    [
        ("PQ", "pq", "--levels 4"), ("VQ", "vq", ""), ("RQ-KMeans", "rq-kmeans", "--levels 3"), ("RQ-VAE", "rq-vae", "--levels 3 --width 256 --epochs 60 --learning-rate 0.001"), ("PSRQ", "psrq", "--levels 3"),
    ];

    private readonly List<Stage> _stages = [];
    private readonly RankingSize _size;

    /// <summary>All stages and tables.</summary>
    /// <param name="size">How much is run.</param>
    public RankingTables(RankingSize size)
    {
        _size = size;
        Tables = [Artists(), Movies(), Beauty()];
    }

    /// <summary>Every stage, after those that it needs.</summary>
    public IReadOnlyList<Stage> Stages => _stages;

    /// <summary>In the order of the page.</summary>
    public IReadOnlyList<RankingTable> Tables { get; }

    private RankingTable Artists()
    {
        // Rows of the embeddings are items from 1 on; artists without any are left out.
        Add(kArtists, $"awk -F '\\t' 'NR == FNR {{ if (FNR > 1 && $3 >= 0) row[$1] = $3 + 1; next }} FNR > 1 {{ n = split($2, a, \" \"); line = FNR - 1; c = 0; for (i = 1; i <= n; i++) if (a[i] in row) {{ line = line \" \" row[a[i]]; c++ }} if (c > 0) print line }}' "
            + $"{Stage.Data}/lastfm-2k/ordered_items.tsv {Stage.Data}/lastfm-2k/ordered_sequences.tsv > {Stage.Work}/{kArtists}");
        return Table("lastfm", "lastfm-2k: artists by tags and audio", "Artists in the order in which 1,181 users came to them, those with embeddings; text: MiniLM of their tags, audio: Whisper. The music case of the paper (Music4all), a hundredth of its size.",
            $"{Stage.Work}/{kArtists}", ("text", $"--embeddings {Stage.Data}/lastfm-2k/text_minilm.npy"), ("audio", $"--embeddings {Stage.Data}/lastfm-2k/audio_whisper.npy"), 128,
            "--batch 128 --epochs 24 --patience 3", "", "");
    }

    private RankingTable Movies()
    {
        const int Last = 42;
        Add(kMovies, $"zcat {Stage.Data}/ml-1m/sequences.txt.gz | awk '{{ s = NF > {Last + 1} ? NF - {Last - 1} : 2; printf \"%s\", $1; for (i = s; i <= NF; i++) printf \" %s\", $i; print \"\" }}' > {Stage.Work}/{kMovies}");
        Add("movies.rated", $"awk '{{ for (i = 2; i <= NF; i++) print $i }}' {Stage.Work}/{kMovies} | sort -u > {Stage.Work}/movies.rated");
        Add("movies.tsv", $"(printf 'item\\ttext\\n'; zcat {Stage.Data}/ml-1m/items.jsonl.gz | sed 's/^{{\"movie_id\": \\([0-9]*\\), /\\1\\t/; s/[^0-9A-Za-z\\t ]/ /g' | awk -F '\\t' 'NR == FNR {{ rated[$1]; next }} $1 in rated' {Stage.Work}/movies.rated -) > {Stage.Work}/movies.tsv");
        Add("movies.text.npy", $"mmesid embed text --input {Stage.Work}/movies.tsv --dimension 256 --out {Stage.Work}/movies.text.npy");
        Add("movies.image.npy", $"cp {Stage.Data}/ml-1m/poster_features.npy {Stage.Work}/movies.image.npy && tail -c +129 {Stage.Data}/ml-1m/poster_movie_ids.npy | od -An -v -td4 -w4 | tr -d ' ' > {Stage.Work}/movies.image.items.txt");
        return Table("movies", "MovieLens-1M: movies by texts and posters", $"The last {Last} ratings of each of 6,040 users, as clicks; text: LSA of title, genres and plot, image: features of the posters. Movies without a poster have no image codes (`--uncoded zero`), and the mean poster in the joint ones.",
            $"{Stage.Work}/{kMovies}", ("text", $"--embeddings {Stage.Work}/movies.text.npy"), ("image", $"--embeddings {Stage.Work}/movies.image.npy"), 128, "--epochs 2", " --missing mean", " --uncoded zero");
    }

    private RankingTable Beauty()
    {
        const string Sequences = $"{Stage.Data}/amazon-beauty/sequences.txt";
        Add("beauty.text.npy", $"mmesid embed text --input {Stage.Data}/amazon-beauty/items.tsv --dimension 256 --out {Stage.Work}/beauty.text.npy");
        Add("beauty.collaborative.npy", $"mmesid embed interactions --input {Sequences} --holdout 2 --dimension 64 --empty drop --out {Stage.Work}/beauty.collaborative.npy");
        return Table("beauty", "Amazon Beauty: products by texts and by who bought them", "22,363 users; text: LSA of title, brand and categories, collaborative: co-occurrence in training (PPMI, truncated SVD).",
            Sequences, ("text", $"--embeddings {Stage.Work}/beauty.text.npy"), ("collaborative", $"--embeddings {Stage.Work}/beauty.collaborative.npy"), 256, "--epochs 4 --patience 1", " --missing mean", " --uncoded zero");
    }

    private RankingTable Table(
        string key, string title, string text, string sequences, (string Name, string Embeddings) first, (string Name, string Embeddings) second, int codes, string training, string missing, string uncoded)
    {
        var rows = new List<RankingRow> { Row(kPlain, "din", _ => "--kind din") };
        foreach ((string name, string kind, string options) in s_quantizers)
        {
            Quantize(kind, kind, first.Embeddings, options);
            Stage health = Add($"{Sids(kind, 1)}.health", $"mmesid inspect --bundle {Stage.Work}/{Sids(kind, 1)} {first.Embeddings}");
            rows.Add(Row($"{kPlain} + {name}", kind, seed => $"--kind din {Set(first.Name, kind, seed)}", health));
        }
        Quantize(second.Name, "psrq", second.Embeddings, "--levels 3");
        Quantize("joint", "psrq", $"{first.Embeddings} {second.Embeddings}", $"--levels 3{missing}");
        string All(int seed) => $"--kind mcca {Set(first.Name, "psrq", seed)} {Set(second.Name, second.Name, seed)} {Set("joint", "joint", seed)}{uncoded}";
        rows.Add(Row(kMcca, "mcca", All));
        rows.Add(Row("MCCA without codes of modalities", "mcca.joint", seed => $"{All(seed)} --without modality-codes"));
        rows.Add(Row("MCCA without joint codes", "mcca.modalities", seed => $"{All(seed)} --without joint-codes"));
        rows.Add(Row("MCCA from codebooks", "mcca.codebooks", seed => $"{All(seed)} --codes codebooks"));
        RankingPair[] pairs =
        [
            .. rows.Skip(1).Take(s_quantizers.Length).Select(row => new RankingPair(row.Name, kPlain)),
            .. rows.Skip(1).Take(s_quantizers.Length).Where(row => row.Name != kBestQuantizer).Select(row => new RankingPair(kBestQuantizer, row.Name)),
            new(kMcca, kPlain), new(kMcca, kBestQuantizer), .. rows.TakeLast(3).Select(row => new RankingPair(kMcca, row.Name)),
        ];
        return new(key, title, text, sequences, rows, pairs);

        // A bundle for each seed of the rankers: what the quantizer draws is part of what a row varies by.
        string Sids(string name, int seed) => $"{key}.{name}.sids.{seed}";

        string Set(string modality, string name, int seed) => $"--sids {modality}={Stage.Work}/{Sids(name, seed)}";

        void Quantize(string name, string kind, string embeddings, string options)
        {
            string size = _size.Quick ? options.Replace("--epochs 60", "--epochs 1", StringComparison.Ordinal) : options;
            foreach (int seed in Seeds)
                Add(Sids(name, seed), $"mmesid train {kind} {embeddings} --normalize{(size.Length > 0 ? " " : "")}{size} --codes {codes} --collisions none --seed {seed} --out {Stage.Work}/{Sids(name, seed)}");
        }

        RankingRow Row(string name, string model, Func<int, string> inputs, Stage? health = null) => new(name, [.. Seeds.Select(seed =>
        {
            string trained = $"{key}.{model}.{seed}";
            Add(trained, $"mmesid train ranker {inputs(seed)} --sequences {sequences} --negatives popularity {(_size.Quick ? "--epochs 1" : training)} --threads 1 --seed {seed} --out {Stage.Work}/{trained}");
            string users = _size.Users > 0 ? $" --users {_size.Users}" : "";
            return Add($"{trained}.test", $"mmesid evaluate --model {Stage.Work}/{trained} --sequences {sequences} --negatives-per-positive {NegativesPerClick}{users} --threads 1 --per-sample {Stage.Work}/{trained}.test.tsv --force");
        })], health);
    }

    private IEnumerable<int> Seeds => Enumerable.Range(1, _size.Seeds);

    private Stage Add(string name, string command)
    {
        var stage = new Stage(name, command);
        _stages.Add(stage);
        return stage;
    }
}
