using System.Globalization;
using MmeSid.Engine;
using MmeSid.Engine.Embeddings;
using MmeSid.Engine.Evaluation;
using MmeSid.Engine.Generation;
using MmeSid.Engine.Sids;
using MmeSid.Kernels;
using MmeSid.Llama;
using MmeSid.Llama.Tests;

namespace MmeSid.Bench;

/// <summary>
/// Recommending by a small Llama of random weights, against its floor: the same entries decoded by llama.cpp in the same calls, with nothing done about the results. What is above the floor is the
/// search: copies of sequences, scores of codes, choice of beams.
/// </summary>
internal static class RecommendSuite
{
    private const int kLevels = 4, kCodes = 256, kBeams = 20, kTop = 20, kDimension = 256, kRounds = 7;
    private const double kSameScore = 1e-3;
    private const string kData = "random SIDs and weights";

    public static IEnumerable<Figure> Run(BenchContext context)
    {
        if (LlamaLibrary.UnavailableReason is { } reason)
        {
            context.Remarks.Add(reason);
            yield break;
        }
        int items = context.Size(12_000, 500), queries = context.Size(32, 4);
        context.Remarks.Add($"A Llama of 4 layers, {kDimension} values, {TinyLlama.VocabularySize} tokens, Q8_0, keys and values in float32. Rows are users; times are for all of them");
        (string full, string small) = WriteModel(context);
        // Eight bits round activations too, so that the last bit of a sum, which other users in a batch move, can move a whole step: several users are held against each alone in float32.
        using var exact = new AdaptedLanguageModel(LlamaModel.Load(full));
        using var language = new AdaptedLanguageModel(LlamaModel.Load(small));
        using SidLanguageModel sids = Sids(items);
        using var vectors = new MmeSidModel(ItemIds.Sequential(items), BenchData.Isotropic(items, kDimension, 3), BenchData.Isotropic(items, kDimension, 4), 20);
        foreach (int threads in BenchContext.ThreadCounts)
        {
            foreach (int history in context.Quick ? [3] : (int[])[10, 20])
            {
                NextItemQuery[] users = Queries(queries, history, items);
                foreach (int together in context.Quick ? [1, 2] : (int[])[1, 4, 8])
                {
                    foreach (Figure figure in Beams(context, exact, language, sids, users, together, threads))
                        yield return figure;
                }
                foreach (int together in context.Quick ? [2] : (int[])[1, 8])
                {
                    foreach (Figure figure in Scores(context, exact, language, vectors, users, together, threads))
                        yield return figure;
                }
            }
        }
    }

    private static (string Full, string Small) WriteModel(BenchContext context)
    {
        string full = new TinyLlama(1, kDimension, heads: 8, keyHeads: 4, hidden: 768, layers: 4).Write(context.TemporaryFile("full.gguf")), small = context.TemporaryFile("q8_0.gguf");
        LlamaQuantizer.Quantize(full, small, LlamaFileType.Q8_0, new() { Threads = 1, Force = true });
        return (full, small);
    }

    private static SidLanguageModel Sids(int items)
    {
        var random = new RandomSource(1);
        ushort[] codes = [.. Enumerable.Range(0, items * kLevels).Select(_ => (ushort)random.NextLong(kCodes))];
        return new SidLanguageModel(ItemIds.Sequential(items), new SidTable(kLevels, codes), [.. Enumerable.Repeat(kCodes, kLevels)],
            BenchData.Isotropic((kLevels * kCodes) + 1, kDimension, 1), BenchData.Isotropic(kLevels * kCodes, kDimension, 2), 20);
    }

    private static NextItemQuery[] Queries(int count, int length, int items)
    {
        var random = new RandomSource(2);
        return [.. Enumerable.Range(0, count).Select(_ => (int[])[.. Enumerable.Range(0, length).Select(_ => (int)random.NextLong(items))]).Select(history => new NextItemQuery(history, history))];
    }

    private static Figure[] Beams(BenchContext context, AdaptedLanguageModel exact, AdaptedLanguageModel language, SidLanguageModel model, NextItemQuery[] users, int together, int threads)
    {
        string check;
        using (var alone = new SidRecommender(model, exact, new() { Beams = kBeams, Users = 1, Threads = threads }))
        using (var several = new SidRecommender(model, exact, new() { Beams = kBeams, Users = together, Threads = threads }))
            check = Check(alone, several, users, model);
        SidRecommender? recommender = null;
        long? peak = MemoryPeak.Above(() =>
        {
            recommender = new SidRecommender(model, language, new() { Beams = kBeams, Users = together, Threads = threads });
            recommender.Recommend(users, kTop);
        });
        using SidRecommender timed = recommender!;
        int history = users[0].History.Length, prompt = history * kLevels;
        using ILanguageModelContext floor = language.CreateContext(new() { Sequences = 1 + (together * (1 + kBeams)), Capacity = 1 + (together * (prompt + (kBeams * (kLevels - 1)))), Threads = threads });
        return Measure(context, $"beam search, {history} items, {together} at once", users.Length, model.Dimension, threads, check, peak,
            () => timed.Recommend(users, kTop), () => Floor(floor, users.Length, together, prompt, kBeams, kLevels - 1, model.BeginVector));
    }

    private static Figure[] Scores(BenchContext context, AdaptedLanguageModel exact, AdaptedLanguageModel language, MmeSidModel model, NextItemQuery[] users, int together, int threads)
    {
        IBackend backend = BenchContext.Simd(threads);
        string check;
        using (var alone = new ScoringRecommender(model, exact, backend, new() { Users = 1, Threads = threads }))
        using (var several = new ScoringRecommender(model, exact, backend, new() { Users = together, Threads = threads }))
            check = Check(alone, several, users, null);
        ScoringRecommender? recommender = null;
        long? peak = MemoryPeak.Above(() =>
        {
            recommender = new ScoringRecommender(model, language, backend, new() { Users = together, Threads = threads });
            recommender.Recommend(users, kTop);
        });
        using ScoringRecommender timed = recommender!;
        int history = users[0].History.Length;
        using ILanguageModelContext floor = language.CreateContext(new() { Sequences = 1 + together, Capacity = together * history, Threads = threads });
        return Measure(context, $"scores of all items, {history} items, {together} at once", users.Length, model.Dimension, threads, check, peak,
            () => timed.Recommend(users, kTop), () => Floor(floor, users.Length, together, history, 0, 0, model.Input(0)));
    }

    // Every item is real and no item of the history; several users at once get what each gets alone, up to scores that rounding moves.
    private static string Check(INextItemRecommender alone, INextItemRecommender several, NextItemQuery[] users, SidLanguageModel? model)
    {
        IReadOnlyList<RankedGroup[]> expected = alone.Recommend(users, kTop), found = several.Recommend(users, kTop);
        for (int user = 0; user < users.Length; user++)
        {
            double[] scores = [.. expected[user].Select(group => group.Score)];
            if (found[user].Length != scores.Length || found[user].Where((group, i) => Math.Abs(group.Score - scores[i]) > kSameScore).Any())
                throw new InvalidOperationException($"user {user} gets other scores together with others than alone; nothing is timed");
            if (found[user].Any(group => group.Items.Intersect(users[user].History).Any() || (model is not null && group.Items.Any(item => !model.Trie.Items(model.Sids[item]).Contains(item)))))
                throw new InvalidOperationException($"user {user} gets an item of the history; nothing is timed");
        }
        return $"{users.Length} users as each alone, in float32";
    }

    /// <summary>Decodes as many entries in the same calls: for each batch of users their prompts, then every step of their beams.</summary>
    private static void Floor(ILanguageModelContext context, int users, int together, int prompt, int beams, int steps, ReadOnlySpan<float> vector)
    {
        var batch = new LanguageModelBatch();
        for (int first = 0; first < users; first += together)
        {
            context.Clear();
            int count = Math.Min(together, users - first), stride = 1 + beams;
            for (int user = 0; user < count; user++)
            {
                for (int i = 0; i < prompt; i++)
                    Add(1 + (user * stride), i == prompt - 1, vector);
            }
            Decode();
            for (int user = 0; user < count; user++)
            {
                for (int beam = 0; beam < beams; beam++)
                    context.Copy(1 + (user * stride), 2 + (user * stride) + beam);
            }
            for (int step = 0; step < steps; step++)
            {
                for (int user = 0; user < count; user++)
                {
                    for (int beam = 0; beam < beams; beam++)
                        Add(2 + (user * stride) + beam, true, vector);
                }
                Decode();
            }
        }

        void Add(int sequence, bool output, ReadOnlySpan<float> entry)
        {
            if (batch.Count == context.BatchSize)
                Decode();
            batch.Add(entry, sequence, output);
        }

        void Decode()
        {
            context.Decode(batch, batch.Outputs.Contains(true) ? LanguageModelOutputs.LogitsAndHiddenStates : LanguageModelOutputs.Logits);
            batch.Clear();
        }
    }

    // In turn, so that both have the same machine.
    private static Figure[] Measure(BenchContext context, string operation, int users, int dimension, int threads, string check, long? peak, Action search, Action floor)
    {
        search();
        floor();
        int rounds = context.Size(kRounds, 2);
        double[] ours = new double[rounds], theirs = new double[rounds];
        long allocated = long.MaxValue;
        for (int round = 0; round < rounds; round++)
        {
            theirs[round] = Timing.Seconds(floor);
            long before = GC.GetTotalAllocatedBytes(precise: true);
            ours[round] = Timing.Seconds(search);
            allocated = Math.Min(allocated, GC.GetTotalAllocatedBytes(precise: true) - before);
        }
        Timing own = Timing.Of(ours, allocated), least = Timing.Of(theirs);
        Figure Make(string backend, Timing time, string note) => new()
        {
            Operation = operation,
            Backend = backend,
            Device = $"CPU, {threads} {(threads == 1 ? "thread" : "threads")}",
            Data = kData,
            Rows = users,
            Dimension = dimension,
            Codes = kCodes,
            Levels = kLevels,
            Time = time,
            Note = note,
        };
        string PerUser(Timing time) => string.Create(CultureInfo.InvariantCulture, $"{time.Median / users * 1e3:F2} ms a user");
        string ratio = string.Create(CultureInfo.InvariantCulture, $"{own.Median / least.Median:F2} × the floor");
        return
        [
            Make("ours", own, $"{PerUser(own)}, {ratio}{(peak is { } bytes ? $", peak {Report.Bytes(bytes)} above the model" : "")}") with { Check = check, Headline = threads == BenchContext.AllThreads },
            Make("floor: llama.cpp alone", least, PerUser(least)),
        ];
    }
}
