using MmeSid.Training.Optimization;
using TorchSharp.Modules;

namespace MmeSid.Training.Tests.Optimization;

public sealed class TrainingLoopTests : IDisposable
{
    private readonly DisposeScope _scope;
    private readonly string _folder = Directory.CreateTempSubdirectory("mmesid-training-").FullName;

    public TrainingLoopTests()
    {
        Libtorch.Require();
        _scope = NewDisposeScope();
        manual_seed(7);
    }

    private string Checkpoint => Path.Combine(_folder, "run.checkpoint");

    public void Dispose()
    {
        _scope?.Dispose();
        Directory.Delete(_folder, recursive: true);
    }

    [Theory]
    [InlineData(0, 3)]
    [InlineData(3, 3)]
    [InlineData(7, 0)]
    [InlineData(8, 2)]
    public void ARunCutShortAndResumedEndsWithTheSameBytes(int cutAt, int patience)
    {
        var options = new LoopOptions
        {
            Epochs = 4, LearningRate = 0.05, WeightDecay = 0.01, Schedule = LearningRateSchedule.Cosine, WarmUpSteps = 3, Patience = patience, GradientNorm = 1,
            CheckpointPath = Checkpoint, CheckpointKey = "a", CheckpointInterval = TimeSpan.MaxValue,
        };
        using var whole = new Line();
        LoopResult expected = Run(whole, options with { CheckpointPath = null });
        byte[] random = get_rng_state().bytes.ToArray();

        manual_seed(7);
        using (var cut = new Line())
        using (var cancel = new CancellationTokenSource())
        {
            if (cutAt == 0)
                cancel.Cancel();
            Assert.ThrowsAny<OperationCanceledException>(() => Run(cut, options, new Seen(at =>
            {
                if (at.Finished is null && at.StepsDone == cutAt)
                    cancel.Cancel();
            }), cancel.Token));
        }
        manual_seed(123);
        using var resumed = new Line();
        LoopResult actual = Run(resumed, options);

        Assert.Equal(expected.BestEpoch, actual.BestEpoch);
        Assert.Equal(expected.StoppedEarly, actual.StoppedEarly);
        Assert.Equal(expected.Epochs.Select(epoch => (epoch.Epoch, epoch.Loss, epoch.Parts["square"], epoch.Score, epoch.LearningRate)),
            actual.Epochs.Select(epoch => (epoch.Epoch, epoch.Loss, epoch.Parts["square"], epoch.Score, epoch.LearningRate)));
        foreach ((Parameter one, Parameter other) in whole.Module.parameters().Zip(resumed.Module.parameters()))
            Assert.Equal(one.bytes.ToArray(), other.bytes.ToArray());
        Assert.Equal(random, get_rng_state().bytes.ToArray());
    }

    [Fact]
    public void ProgressThatCancelsLeavesACheckpointToo()
    {
        var options = new LoopOptions { Epochs = 3, LearningRate = 0.05, CheckpointPath = Checkpoint };
        using var learner = new Line();
        Assert.Throws<OperationCanceledException>(() => Run(learner, options, new Seen(at =>
        {
            if (at.StepsDone == 5)
                throw new OperationCanceledException();
        })));
        Assert.Contains("\"epoch\":1,\"step\":1", ModelCheckpoint.ReadMetadata(Checkpoint)["state"], StringComparison.Ordinal);
    }

    [Fact]
    public void ACheckpointOfAnotherRunIsRefusedOrReplaced()
    {
        var options = new LoopOptions { Epochs = 2, CheckpointPath = Checkpoint, CheckpointKey = "a", CheckpointInterval = TimeSpan.Zero };
        using var learner = new Line();
        _ = Run(learner, options);
        Assert.Contains("another run", Assert.Throws<InvalidDataException>(() => Run(learner, options with { CheckpointKey = "b" })).Message, StringComparison.Ordinal);
        using var other = new Line();
        Assert.Equal(2, Run(other, options with { CheckpointKey = "b", ReplaceOtherCheckpoint = true }).Epochs.Count);
        File.WriteAllText(Checkpoint, "something else");
        Assert.Throws<InvalidDataException>(() => Run(other, options with { ReplaceOtherCheckpoint = true }));
    }

    [Theory]
    [InlineData(KeptEpoch.Best, 2)]
    [InlineData(KeptEpoch.Last, 4)]
    public void TheChosenEpochIsKeptAndPatienceEndsTheRun(KeptEpoch keep, int kept)
    {
        using var learner = new Line { Scores = [0.1, 0.5, 0.4, 0.3, 0.9] };
        var weights = new List<byte[]>();
        LoopResult result = Run(learner, new LoopOptions { Epochs = 5, LearningRate = 0.05, Patience = 2, Keep = keep }, new Seen(at =>
        {
            if (at.Finished is not null)
                weights.Add(learner.Weights);
        }));
        Assert.Equal((4, 2, kept, true), (result.Epochs.Count, result.BestEpoch, result.KeptEpoch, result.StoppedEarly));
        Assert.NotEqual(weights[1], weights[3]);
        Assert.Equal(weights[kept - 1], learner.Weights);
        Assert.False(learner.Module.training);
    }

    [Fact]
    public void WithoutAScoreTheLowestLossIsBest()
    {
        using var learner = new Line { Scores = null };
        LoopResult result = Run(learner, new LoopOptions { Epochs = 6, LearningRate = 0.05 });
        Assert.Equal(result.Epochs.MinBy(epoch => epoch.Loss)!.Epoch, result.BestEpoch);
        Assert.All(result.Epochs, epoch => Assert.Null(epoch.Score));
    }

    [Fact]
    public void ALossThatIsNoNumberStopsWithTheStepAndItsParts()
    {
        using var learner = new Line { BadStep = (1, 2) };
        DivergenceException stopped = Assert.Throws<DivergenceException>(() => Run(learner, new LoopOptions { Epochs = 3 }));
        Assert.Contains("NaN at step 3 of epoch 2 (square ", stopped.Message, StringComparison.Ordinal);
        Assert.Contains("smaller learning rate than 0.001", stopped.Message, StringComparison.Ordinal);
    }

    [Fact]
    public void WhatTheLastStepOfAnEpochBreaksIsNeitherJudgedNorKept()
    {
        using var learner = new Line { BreaksAt = (0, 3) };
        DivergenceException stopped = Assert.Throws<DivergenceException>(() => Run(learner, new LoopOptions { Epochs = 3 }));
        Assert.Contains("1.weight holds what is no number after epoch 1; try a smaller", stopped.Message, StringComparison.Ordinal);
    }

    [Fact]
    public void ALossThatDependsOnNothingIsRefused()
    {
        using var learner = new Line { IsConstant = true };
        Assert.Contains("depends on nothing", Assert.Throws<ArgumentException>(() => Run(learner, new LoopOptions())).Message, StringComparison.Ordinal);
    }

    [Fact]
    public void TensorsStayTheSameOverAThousandSteps()
    {
        Libtorch.FreeTheForgotten();
        using var learner = new Line();
        var counts = new List<long>();
        _ = Run(learner, new LoopOptions { Epochs = 250, LearningRate = 1e-3 }, new Seen(at =>
        {
            if (at.Finished is null && at.StepsDone > 8)
                counts.Add(Tensor.TotalCount);
        }));
        Assert.True(counts.Count > 900);
        Assert.Single(counts.Distinct());
    }

    [Fact]
    public void TheRateRisesThenFallsAlongACosine()
    {
        var options = new LoopOptions { LearningRate = 0.2, WarmUpSteps = 4, Schedule = LearningRateSchedule.Cosine };
        Assert.Equal([0.05, 0.1, 0.15, 0.2], Enumerable.Range(0, 4).Select(step => options.RateAt(step, 12)), (x, y) => Math.Abs(x - y) < 1e-15);
        Assert.Equal(0.2, options.RateAt(4, 12), 1e-15);
        Assert.Equal(0.1, options.RateAt(8, 12), 1e-15);
        Assert.Equal(0.1 * (1 + Math.Cos(Math.PI * 7 / 8)), options.RateAt(11, 12), 1e-15);
        Assert.Equal(0.2, (options with { Schedule = LearningRateSchedule.Constant }).RateAt(11, 12), 1e-15);
    }

    [Fact]
    public void OptionsOutOfRangeAreRefused()
    {
        using var learner = new Line();
        foreach (LoopOptions options in (LoopOptions[])[new() { Epochs = 0 }, new() { LearningRate = 0 }, new() { LearningRate = double.NaN }, new() { WeightDecay = -1 },
            new() { SecondMoment = 1 }, new() { WarmUpSteps = -1 }, new() { GradientNorm = -1 }, new() { Patience = -1 }, new() { ValidateEvery = 0 }])
            Assert.Throws<ArgumentException>(() => Run(learner, options));
    }

    private static LoopResult Run(ILearner learner, LoopOptions options, IProgress<LoopProgress>? progress = null, CancellationToken? cancellation = null) =>
        TrainingLoop.Run(learner, options, progress, cancellation ?? TestContext.Current.CancellationToken);

    /// <summary>A line through random points, with dropout so that the random generator matters.</summary>
    private sealed class Line : ILearner, IDisposable
    {
        private readonly Sequential _module = nn.Sequential(nn.Dropout(0.2), nn.Linear(3, 1));

        /// <summary>Of the epochs in order; empty: some function of the weights; null: none.</summary>
        public double[]? Scores { get; init; } = [];

        public (int Epoch, int Step)? BadStep { get; init; }

        public (int Epoch, int Step)? BreaksAt { get; init; }

        public bool IsConstant { get; init; }

        public byte[] Weights => _module.parameters().SelectMany(parameter => parameter.bytes.ToArray()).ToArray();

        public nn.Module Module => _module;

        public int StepsPerEpoch => 4;

        private int _validated;

        public StepLoss Loss(int epoch, int step)
        {
            Tensor rows = tensor(Libtorch.Numbers(10 * epoch + step, 24, -1, 1), [8, 3], dtype: float32);
            Tensor square = (_module.call(rows) - rows.sum(1, keepdim: true)).square().mean();
            if (IsConstant)
                return new StepLoss(square.detach());
            return new StepLoss(BadStep == (epoch, step) ? square * double.NaN : square * 2, ("square", square));
        }

        public void AfterStep(int epoch, int step)
        {
            if (BreaksAt == (epoch, step))
                _module.parameters().First().fill_(double.PositiveInfinity);
        }

        public double? Validate(CancellationToken cancellation)
        {
            Assert.False(_module.training);
            return Scores is [] ? Math.Cos(_module.parameters().Sum(parameter => parameter.sum().ToDouble()) * 1000) : Scores?[_validated++];
        }

        public void Dispose() => _module.Dispose();
    }

    private sealed class Seen(Action<LoopProgress> report) : IProgress<LoopProgress>
    {
        public void Report(LoopProgress value) => report(value);
    }
}
