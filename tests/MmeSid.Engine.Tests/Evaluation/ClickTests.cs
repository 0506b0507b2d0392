using MmeSid.Engine.Embeddings;
using MmeSid.Engine.Evaluation;

namespace MmeSid.Engine.Tests.Evaluation;

/// <summary>Clicks, their split, what is drawn beside them, and how well scores tell them apart.</summary>
public sealed class ClickTests : IDisposable
{
    private readonly string _folder = Directory.CreateTempSubdirectory("mmesid-clicks-").FullName;

    public void Dispose() => Directory.Delete(_folder, recursive: true);

    [Theory]
    [InlineData(0)]
    [InlineData(1)]
    [InlineData(2)]
    [InlineData(17)]
    [InlineData(64)]
    [InlineData(257)]
    public void TheAreaIsTheShareOfPairsInOrderTiesHalf(int count)
    {
        for (int levels = 1; levels <= 50; levels += 7)
        {
            var random = new RandomSource((ulong)(1000 * count + levels));
            // Few values, so that most pairs are ties; infinities and both zeros among them.
            double[] values = [double.NegativeInfinity, -0.0, 0.0, .. Enumerable.Range(0, levels).Select(value => value / 3.0)];
            double[] scores = [.. Enumerable.Range(0, count).Select(_ => values[random.NextInt(values.Length)])];
            bool[] labels = [.. Enumerable.Range(0, count).Select(_ => random.NextInt(3) == 0)];
            Assert.Equal(Direct(scores, labels), AreaUnderCurve.Measure(scores, labels));
        }
    }

    [Fact]
    public void AnAreaOfOneLabelIsNoNumberAndBadScoresAreRefused()
    {
        Assert.True(double.IsNaN(AreaUnderCurve.Measure([1, 2], [true, true])));
        Assert.Equal(0.5, AreaUnderCurve.Measure([1, 1], [true, false]));
        Assert.Contains("sample 1", Assert.Throws<ArgumentException>(() => AreaUnderCurve.Measure([1, double.NaN], [true, false])).Message, StringComparison.Ordinal);
        Assert.Contains("2 scores have 1 labels", Assert.Throws<ArgumentException>(() => AreaUnderCurve.Measure([1, 2], [true])).Message, StringComparison.Ordinal);
    }

    [Fact]
    public void MeasuresAreThoseOfTheirDefinitions()
    {
        (ClickSample[] samples, double[] scores) = Samples(users: 40, seed: 5);
        ClickMeasures measured = new ClickScores(samples, scores, item => item % 3 == 0).Measure();
        bool[] labels = [.. samples.Select(sample => sample.IsClicked)];
        Assert.Equal(Direct(scores, labels), measured.Auc);
        int[] cold = [.. Enumerable.Range(0, samples.Length).Where(i => samples[i].Item % 3 == 0)];
        Assert.Equal(Direct([.. cold.Select(i => scores[i])], [.. cold.Select(i => labels[i])]), measured.ColdAuc);
        double areas = 0, weights = 0;
        foreach (IGrouping<int, int> own in Enumerable.Range(0, samples.Length).GroupBy(i => samples[i].User))
        {
            double area = Direct([.. own.Select(i => scores[i])], [.. own.Select(i => labels[i])]);
            if (double.IsNaN(area))
                continue;
            areas += own.Count() * area;
            weights += own.Count();
        }
        Assert.Equal(areas / weights, measured.GroupedAuc, 1e-14);
        double loss = samples.Select((sample, i) => -Math.Log(sample.IsClicked ? 1 / (1 + Math.Exp(-scores[i])) : 1 - 1 / (1 + Math.Exp(-scores[i])))).Average();
        Assert.Equal(loss, measured.LogLoss, 1e-12);
    }

    [Fact]
    public void LogLossNeitherOverflowsNorLosesSmallValues()
    {
        ClickSample[] samples = [new(0, 0, 0, true), new(0, 0, 1, false)];
        Assert.Equal(1000, new ClickScores(samples, [-1000, 1000], _ => false).Measure().LogLoss);
        // log(1 + e^−50) = e^−50 to the last digit.
        Assert.Equal(Math.Exp(-50), new ClickScores(samples, [50, -50], _ => false).Measure().LogLoss);
        Assert.Throws<ArgumentException>(() => new ClickScores(samples, [1, double.PositiveInfinity], _ => false));
        Assert.Throws<ArgumentException>(() => new ClickScores([samples[0], new(1, 0, 0, true), samples[1]], [1, 2, 3], _ => false));
    }

    [Fact]
    public void AWeightOfAUserIsAsManyCopies()
    {
        (ClickSample[] samples, double[] scores) = Samples(users: 12, seed: 3);
        int[] weights = [.. Enumerable.Range(0, 12).Select(user => user * 7 % 4)];
        int next = 0;
        var copies = new List<ClickSample>();
        var copied = new List<double>();
        foreach (int user in Enumerable.Range(0, 12).SelectMany(user => Enumerable.Repeat(user, weights[user])))
        {
            foreach (int i in Enumerable.Range(0, samples.Length).Where(i => samples[i].User == user))
            {
                copies.Add(samples[i] with { User = next });
                copied.Add(scores[i]);
            }
            next++;
        }
        ClickMeasures expected = new ClickScores(copies, copied, item => item % 2 == 0).Measure();
        ClickMeasures actual = new ClickScores(samples, scores, item => item % 2 == 0).Measure(weights);
        foreach ((double one, double other) in expected.ToArray().Zip(actual.ToArray()))
            Assert.Equal(one, other, 1e-13);
    }

    [Fact]
    public void IntervalsHoldTheTruthAboutAsOftenAsTheySay()
    {
        // Clicks score 1 higher than others on the scale of a normal noise: AUC = Φ(1/√2) = 0.76025.
        int held = 0;
        for (ulong seed = 0; seed < 100; seed++)
        {
            (ClickSample[] samples, double[] scores) = Samples(users: 60, seed);
            BootstrapInterval auc = UserBootstrap.Of([new ClickScores(samples, scores, _ => false)], new BootstrapOptions { Resamples = 200, Seed = seed, Threads = 1 }).Auc;
            Assert.InRange(auc.Value, auc.Low, auc.High);
            held += auc.Low < 0.76025 && auc.High > 0.76025 ? 1 : 0;
        }
        Assert.InRange(held, 86, 100);
    }

    [Fact]
    public void APairedDifferenceIsSharperThanTwoIntervals()
    {
        (ClickSample[] samples, double[] scores) = Samples(users: 200, seed: 9);
        var random = new RandomSource(4);
        ClickScores one = new(samples, scores, _ => false), other = new(samples, [.. scores.Select((score, i) => score + (samples[i].IsClicked ? 0.1 : 0) + 0.05 * random.NextGaussian())], _ => false);
        var options = new BootstrapOptions { Resamples = 300 };
        ClickIntervals difference = UserBootstrap.Difference([other], [one], options), alone = UserBootstrap.Of([one], options);
        Assert.True(difference.Auc.ExcludesZero && difference.Auc.Value > 0, $"{difference.Auc}");
        Assert.True(difference.Auc.Margin < alone.Auc.Margin / 3, $"{difference.Auc.Margin} is hardly below {alone.Auc.Margin}");
        Assert.Equal(0, UserBootstrap.Difference([one], [one], options).Auc.Margin);
        Assert.False(UserBootstrap.Difference([one], [one], options).Auc.ExcludesZero);
        // The number of threads changes nothing, the seed does.
        Assert.Equal(alone, UserBootstrap.Of([one], options with { Threads = 1 }));
        Assert.NotEqual(alone, UserBootstrap.Of([one], options with { Seed = 2 }));
        // Several seeds of a model are one, their mean.
        ClickIntervals several = UserBootstrap.Of([one, other], options);
        Assert.Equal((one.Measure().Auc + other.Measure().Auc) / 2, several.Auc.Value, 1e-15);
        Assert.Throws<ArgumentException>(() => UserBootstrap.Difference([one], [one, other], options));
        Assert.Throws<ArgumentException>(() => UserBootstrap.Difference([one], [new ClickScores(samples[..^1], scores[..^1], _ => false)], options));
    }

    [Fact]
    public void WhatWasPassedOverBelongsWithTheClickBehindIt()
    {
        ClickLog log = ClickLog.ReadFile(Write("c.tsv", "user\titem\tlabel", "b\t9\t0", "a\t1\t1", "a\t2\t0", "a\t3\t1", "a\t4\t0", "a\t5\t1", "a\t6\t0", "a\t7\t1", "a\t8\t0", "b\t1\t1", "b\t3\t1", "b\t4\t0"));
        Assert.Equal(["b", "a"], log.Clicks.Users);
        Assert.Equal(["1", "2", "3", "4", "5", "6", "7", "8", "9"], log.Clicks.Items);
        // User a clicked 1 3 5 7: 5 is the validation, 7 the test.
        Assert.Equal([(0, "1"), (1, "3")], log.TrainingClicksOf(1).Select(sample => (sample.Seen, log.Clicks.Items[sample.Item])));
        Assert.Equal([(1, "2")], log.TrainingPassedOf(1).Select(sample => (sample.Seen, log.Clicks.Items[sample.Item])));
        Assert.Equal((2, "5"), (log.HeldOutClickOf(1, HeldOut.Validation).Seen, log.Clicks.Items[log.HeldOutClickOf(1, HeldOut.Validation).Item]));
        Assert.Equal([(2, "4")], log.HeldOutPassedOf(1, HeldOut.Validation).Select(sample => (sample.Seen, log.Clicks.Items[sample.Item])));
        Assert.Equal([(3, "6"), (4, "8")], log.HeldOutPassedOf(1, HeldOut.Test).Select(sample => (sample.Seen, log.Clicks.Items[sample.Item])));
        // User b has two clicks and trains whole.
        Assert.Equal([1], log.Split.Evaluated);
        Assert.Equal(["9", "4"], log.TrainingPassedOf(0).Select(sample => log.Clicks.Items[sample.Item]));
        Assert.Equal([2, 0, 2, 0, 0, 0, 0, 0, 0], log.TrainingClicks());
        Assert.Equal(["7", "6", "8"], HeldOutSamples.Draw(log, new HeldOutSampleOptions()).Samples.Select(sample => log.Clicks.Items[sample.Item]));
        Assert.Throws<ArgumentException>(() => new NegativeSampling(log, NegativeItems.Uniform));
    }

    [Theory]
    [InlineData("line 2: item 'x'", "user\titem\tlabel", "a\tx\t1")]
    [InlineData("line 3: label '2'", "user\titem\tlabel", "a\t1\t1", "a\t1\t2")]
    [InlineData("no column 'label'", "user\titem\tclick", "a\t1\t1")]
    [InlineData("the user is empty", "user\titem\tlabel", "\t1\t1")]
    [InlineData("line 2: user 'a?b' holds a tab", "user\titem\tlabel", "a\u0001b\t1\t1")]
    [InlineData("all 2 lines have one label", "user\titem\tlabel", "a\t1\t1", "a\t2\t1")]
    [InlineData("has 2 fields", "user\titem\tlabel", "a\t1")]
    public void DamagedSamplesAreRefused(string message, params string[] lines) =>
        Assert.Contains(message, Assert.Throws<InvalidDataException>(() => ClickLog.ReadFile(Write("bad.tsv", lines))).Message, StringComparison.Ordinal);

    [Fact]
    public void DrawnItemsAreNoneOfTheUsersAndFollowTheirWeights()
    {
        // Item i of 1 … 6 is clicked i times in training by other users than the first.
        ClickLog log = ClickLog.Of(InteractionSequences.FromItems([[1, 2], .. Enumerable.Range(1, 6).SelectMany(item => Enumerable.Repeat<IReadOnlyList<long>>([item], item))]));
        var popular = new NegativeSampling(log, NegativeItems.Popularity);
        var drawn = new int[60_000];
        popular.Draw(0, [0, 1], new RandomSource(7), drawn);
        // 3, 4, 5 and 6 in proportion to their clicks, 18 in all.
        for (int item = 2; item < 6; item++)
            Assert.Equal((item + 1) / 18.0, drawn.Count(each => each == item) / 60_000.0, 0.01);
        new NegativeSampling(log, NegativeItems.Uniform).Draw(0, [0, 1], new RandomSource(7), drawn);
        for (int item = 2; item < 6; item++)
            Assert.Equal(0.25, drawn.Count(each => each == item) / 60_000.0, 0.01);
        // Where almost everything is excluded, what is left is still found.
        popular.Draw(0, [1, 2, 3, 4, 5], new RandomSource(7), drawn.AsSpan(0, 20));
        Assert.All(drawn.Take(20), item => Assert.Equal(0, item));
        Assert.Contains("took all 6 items", Assert.Throws<InvalidDataException>(() => popular.Draw(0, [0, 1, 2, 3, 4, 5], new RandomSource(7), drawn)).Message, StringComparison.Ordinal);
    }

    [Fact]
    public void TestSamplesDependOnTheLogAndTheSeedAlone()
    {
        ClickLog log = ClickLog.Of(InteractionSequences.FromItems([.. Enumerable.Range(0, 30).Select(user => (IReadOnlyList<long>)[.. Enumerable.Range(user, 3 + user % 4).Select(i => i % 20 + 1L)])]));
        var options = new HeldOutSampleOptions { NegativesPerClick = 3, Negatives = NegativeItems.Popularity };
        ClickSample[] samples = HeldOutSamples.Draw(log, options).Samples;
        Assert.Equal(30 * 4, samples.Length);
        Assert.Equal(samples, HeldOutSamples.Draw(log, options).Samples);
        Assert.NotEqual(samples, HeldOutSamples.Draw(log, options with { Seed = 2 }).Samples);
        foreach (ClickSample sample in samples)
        {
            int[] own = log.Clicks[sample.User].ToArray();
            Assert.Equal(own.Length - 1, sample.Seen);
            Assert.Equal(sample.IsClicked, own.Contains(sample.Item));
        }
        // Fewer users: some of the same samples.
        ClickSample[] fewer = HeldOutSamples.Draw(log, options with { MaximumUsers = 7 }).Samples;
        Assert.Equal(28, fewer.Length);
        Assert.Subset(samples.ToHashSet(), fewer.ToHashSet());
        Assert.Throws<ArgumentException>(() => HeldOutSamples.Draw(log, options with { NegativesPerClick = 0 }));
        Assert.Empty(HeldOutSamples.Draw(ClickLog.Of(InteractionSequences.FromItems([[1, 2]])), options).Samples);
    }

    [Fact]
    public void UsersWhoTookEverythingAreLeftOutAndCounted()
    {
        // The first two took all four items, the second one of them only in the test; of popular items nobody's training has 4.
        ClickLog log = ClickLog.Of(InteractionSequences.FromItems([[1, 2, 3, 4, 1], [1, 2, 3, 2, 4], [1, 2, 3], [3, 3, 1, 2]]));
        (HeldOut Which, NegativeItems Negatives, string[] Users)[] expected =
        [
            (HeldOut.Test, NegativeItems.Uniform, ["3", "4"]), (HeldOut.Validation, NegativeItems.Uniform, ["2", "3", "4"]),
            (HeldOut.Test, NegativeItems.Popularity, []), (HeldOut.Validation, NegativeItems.Popularity, ["3", "4"]),
        ];
        foreach ((HeldOut which, NegativeItems negatives, string[] users) in expected)
        {
            HeldOutSamples drawn = HeldOutSamples.Draw(log, new HeldOutSampleOptions { Which = which, Negatives = negatives, NegativesPerClick = 2 });
            Assert.Equal(users, drawn.Samples.Select(sample => log.Clicks.Users[sample.User]).Distinct());
            Assert.Equal((4 - users.Length, 3 * users.Length), (drawn.UsersLeftOut, drawn.Samples.Length));
        }
        // Those who are left are drawn among.
        Assert.Equal(3, HeldOutSamples.Draw(log, new HeldOutSampleOptions { MaximumUsers = 1, NegativesPerClick = 2 }).Samples.Length);
    }

    [Fact]
    public void ValidationSamplesKnowNothingOfTheTest()
    {
        const int Items = 300, Users = 40;
        foreach (NegativeItems negatives in Enum.GetValues<NegativeItems>())
        {
            var options = new HeldOutSampleOptions { NegativesPerClick = 3, Negatives = negatives };
            ClickSample[] validation = HeldOutSamples.Draw(Log(last: 0), options with { Which = HeldOut.Validation }).Samples;
            // Whatever the last click is.
            Assert.Equal(validation, HeldOutSamples.Draw(Log(last: 150), options with { Which = HeldOut.Validation }).Samples);
            // The same user and the same click before it, other numbers: hardly anyone is shown the same item in both parts.
            ClickSample[] test = HeldOutSamples.Draw(Log(last: 0), options).Samples;
            Assert.InRange(validation.Zip(test).Count(pair => !pair.First.IsClicked && pair.First.Item == pair.Second.Item), 0, Users * 3 / 20);
        }
        // Of eight items the user clicked seven, the last of them in the test: the validation draws that one and what was never clicked.
        ClickLog almost = ClickLog.Of(InteractionSequences.FromItems([[1, 2, 3, 4, 5, 6, 7], [8]]));
        Assert.Equal(["7", "8"], Drawn(HeldOut.Validation));
        Assert.Equal(["8"], Drawn(HeldOut.Test));

        string[] Drawn(HeldOut which) => [.. HeldOutSamples.Draw(almost, new HeldOutSampleOptions { Which = which, NegativesPerClick = 40 })
            .Samples.Where(sample => !sample.IsClicked).Select(sample => almost.Clicks.Items[sample.Item]).Distinct().Order(StringComparer.Ordinal)];

        // Every item is clicked in training by users without a test, so that all can be drawn.
        static ClickLog Log(int last) => ClickLog.Of(InteractionSequences.FromItems(
            [.. Enumerable.Range(0, Users).Select(user => (IReadOnlyList<long>)[1 + (7 * user) % Items, 2 + (7 * user) % Items, 1 + (7 * user + last) % Items]), .. Enumerable.Range(1, Items).Select(item => (long)item).Chunk(2)]));
    }

    [Fact]
    public void ScoresComeBackFromTheirFileBitForBit()
    {
        ClickLog log = ClickLog.Of(InteractionSequences.FromItems([[1, 2, 3], [4, 3, 2]]));
        ClickSample[] samples = HeldOutSamples.Draw(log, new HeldOutSampleOptions { NegativesPerClick = 1 }).Samples;
        double[] scores = [0.1, 1.0 / 3, -1e-300, 12345.678901234567];
        string path = "";
        // Whatever it is called.
        foreach (string name in (string[])["scores.csv", "scores", "scores.tsv"])
        {
            path = Path.Combine(_folder, name);
            using (FileStream file = File.Create(path))
                ClickScoreFile.Write(file, log.Clicks, samples, scores);
            Assert.Equal(scores, ClickScoreFile.Read(path, log.Clicks, samples));
        }
        Assert.Contains("has 4 samples, expected 5", Assert.Throws<InvalidDataException>(() => ClickScoreFile.Read(path, log.Clicks, [.. samples, samples[0]])).Message, StringComparison.Ordinal);
        Assert.Contains("expected no more lines", Assert.Throws<InvalidDataException>(() => ClickScoreFile.Read(path, log.Clicks, samples[..3])).Message, StringComparison.Ordinal);
        Assert.Contains("line 2", Assert.Throws<InvalidDataException>(() => ClickScoreFile.Read(path, log.Clicks, [.. samples.Reverse()])).Message, StringComparison.Ordinal);
    }

    private string Write(string name, params string[] lines)
    {
        string path = Path.Combine(_folder, name);
        File.WriteAllText(path, string.Join('\n', lines) + "\n");
        return path;
    }

    // A click and a few others of each user; clicks score one standard deviation higher. Every fifth user has clicks alone.
    private static (ClickSample[] Samples, double[] Scores) Samples(int users, ulong seed)
    {
        var random = new RandomSource(seed);
        var samples = new List<ClickSample>();
        var scores = new List<double>();
        for (int user = 0; user < users; user++)
        {
            for (int i = 0; i < 2 + user % 4; i++)
            {
                bool isClicked = i == 0 || user % 5 == 4;
                samples.Add(new ClickSample(user, 3, random.NextInt(9), isClicked));
                scores.Add(random.NextGaussian() + (isClicked ? 1 : 0));
            }
        }
        return ([.. samples], [.. scores]);
    }

    // Every pair.
    private static double Direct(double[] scores, bool[] labels)
    {
        long twice = 0, pairs = 0;
        for (int i = 0; i < scores.Length; i++)
        {
            for (int j = 0; j < scores.Length; j++)
            {
                if (!labels[i] || labels[j])
                    continue;
                pairs++;
                twice += scores[i] > scores[j] ? 2 : scores[i] == scores[j] ? 1 : 0;
            }
        }
        return pairs == 0 ? double.NaN : twice / (2.0 * pairs);
    }
}
