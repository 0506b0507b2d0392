using MmeSid.Training.Optimization;
using TorchSharp.Modules;

namespace MmeSid.Training.Tests;

/// <summary>Optimizers against their formulas in plain float64, and states that go through a file.</summary>
public sealed class OptimizerTests : IDisposable
{
    private const int Steps = 12;

    private readonly DisposeScope _scope;
    private readonly string _folder = Directory.CreateTempSubdirectory("mmesid-training-").FullName;

    public OptimizerTests()
    {
        Libtorch.Require();
        _scope = NewDisposeScope();
    }

    public void Dispose()
    {
        _scope?.Dispose();
        Directory.Delete(_folder, recursive: true);
    }

    [Theory]
    [InlineData(false, false, 0.0)]
    [InlineData(false, true, 0.02)]
    [InlineData(true, false, 0.02)]
    [InlineData(true, true, 0.02)]
    public void AdamFollowsItsFormula(bool decoupled, bool amsgrad, double decay)
    {
        const double rate = 0.05, beta1 = 0.8, beta2 = 0.95, eps = 1e-6;
        double[] m = new double[3], v = new double[3], largest = new double[3];
        Follow(
            parameters => decoupled
                ? optim.AdamW(parameters, rate, beta1, beta2, eps, weight_decay: decay, amsgrad: amsgrad)
                : optim.Adam(parameters, rate, beta1, beta2, eps, weight_decay: decay, amsgrad: amsgrad),
            (step, i, value, gradient) =>
            {
                if (decoupled)
                    value *= 1 - (rate * decay);
                else
                    gradient += decay * value;
                m[i] = (beta1 * m[i]) + ((1 - beta1) * gradient);
                v[i] = (beta2 * v[i]) + ((1 - beta2) * gradient * gradient);
                largest[i] = Math.Max(largest[i], v[i]);
                double second = (amsgrad ? largest[i] : v[i]) / (1 - Math.Pow(beta2, step));
                return value - (rate * m[i] / (1 - Math.Pow(beta1, step)) / (Math.Sqrt(second) + eps));
            });
    }

    [Theory]
    [InlineData(0.0, 0.0, false)]
    [InlineData(0.9, 0.1, false)]
    [InlineData(0.9, 0.0, true)]
    public void SgdFollowsItsFormula(double momentum, double dampening, bool nesterov)
    {
        const double rate = 0.05, decay = 0.01;
        double[] buffer = new double[3];
        Follow(
            parameters => optim.SGD(parameters, rate, momentum, dampening, decay, nesterov),
            (step, i, value, gradient) =>
            {
                gradient += decay * value;
                buffer[i] = step == 1 ? gradient : (momentum * buffer[i]) + ((1 - dampening) * gradient);
                return value - (rate * (momentum == 0 ? gradient : nesterov ? gradient + (momentum * buffer[i]) : buffer[i]));
            });
    }

    [Fact]
    public void GroupsHaveRatesOfTheirOwnAndParametersWithoutGradientsStay()
    {
        Parameter slow = new(ones(1)), fast = new(ones(1)), unused = new(ones(1));
        using AdamW optimizer = optim.AdamW([new AdamW.ParamGroup([slow, unused], lr: 0.01, weight_decay: 0), new AdamW.ParamGroup([fast], lr: 0.1, weight_decay: 0)], weight_decay: 0);
        Tensor? loss = optimizer.step(() =>
        {
            Tensor sum = (slow + fast).sum();
            sum.backward();
            return sum;
        });
        Assert.Equal(2, loss!.item<float>());
        Assert.Equal([0.99, 0.9, 1], [Math.Round(slow.item<float>(), 6), Math.Round(fast.item<float>(), 6), unused.item<float>()]);
        optimizer.zero_grad();
        Assert.Equal(0, slow.grad!.item<float>());
        Assert.Equal([0.01, 0.1], optimizer.ParamGroups.Select(group => group.LearningRate));
        Assert.Throws<ArgumentException>(() => optim.AdamW([slow], lr: -1));
    }

    [Fact]
    public void SchedulesSetTheRateOfEveryStep()
    {
        using SGD optimizer = optim.SGD([new Parameter(ones(1))], 0.1);
        optim.lr_scheduler.LRScheduler schedule = optim.lr_scheduler.LambdaLR(optimizer, step => step < 4 ? (step + 1) / 4.0 : 0.5);
        var rates = new List<double>();
        for (int step = 0; step < 6; step++)
        {
            rates.Add(optimizer.ParamGroups.Single().LearningRate);
            schedule.step();
        }
        Libtorch.Near([0.025, 0.05, 0.075, 0.1, 0.05, 0.05], [.. rates], Bounds.Float64, "lambda");

        using SGD second = optim.SGD([new Parameter(ones(1))], 0.1);
        schedule = optim.lr_scheduler.CosineAnnealingLR(second, T_max: 10, eta_min: 0.01);
        for (int step = 0; step <= 20; step++)
        {
            Assert.Equal(0.01 + (0.09 * (1 + Math.Cos(Math.PI * step / 10)) / 2), schedule.get_last_lr().Single(), 1e-12);
            schedule.step();
        }
    }

    [Theory]
    [InlineData("Adam")]
    [InlineData("AdamW")]
    [InlineData("SGD")]
    public void ARestoredRunGoesOnBitForBit(string kind)
    {
        string path = Path.Combine(_folder, "checkpoint.safetensors");
        manual_seed(1);
        using Sequential model = Model();
        using OptimizerHelper optimizer = Optimizer(kind, model);
        Train(model, optimizer, 5);
        ModelCheckpoint.Save(path, model, optimizer, metadata: new Dictionary<string, string> { ["step"] = "5" });
        Train(model, optimizer, 5);
        byte[] random = get_rng_state().bytes.ToArray();

        manual_seed(99);
        using Sequential restored = Model();
        using OptimizerHelper restoredOptimizer = Optimizer(kind, restored);
        Train(restored, restoredOptimizer, 2);
        Assert.Equal("5", ModelCheckpoint.Load(path, restored, restoredOptimizer)["step"]);
        Train(restored, restoredOptimizer, 5);
        foreach ((Parameter expected, Parameter actual) in model.parameters().Zip(restored.parameters()))
            Assert.Equal(expected.bytes.ToArray(), actual.bytes.ToArray());
        Assert.Equal(random, get_rng_state().bytes.ToArray());
        Assert.Single(Directory.GetFiles(_folder));
    }

    [Fact]
    public void AStateOfAnotherModelIsRefusedByName()
    {
        string path = Path.Combine(_folder, "checkpoint.safetensors");
        using Sequential model = Model();
        using OptimizerHelper adam = Optimizer("AdamW", model);
        ModelCheckpoint.Save(path, model, adam);
        using Linear other = nn.Linear(2, 2);
        using OptimizerHelper otherAdam = optim.AdamW(other.parameters(), weight_decay: 0);
        Assert.Contains("model.weight", Assert.Throws<InvalidDataException>(() => ModelCheckpoint.Load(path, other, otherAdam)).Message, StringComparison.Ordinal);
        using Sequential wider = nn.Sequential(nn.Linear(4, 9), nn.Dropout(0.3), nn.Linear(9, 2));
        using OptimizerHelper widerAdam = Optimizer("AdamW", wider);
        Assert.Contains("[8, 4], the model has Float32 [9, 4]", Assert.Throws<InvalidDataException>(() => ModelCheckpoint.Load(path, wider, widerAdam)).Message, StringComparison.Ordinal);
        using OptimizerHelper sgd = Optimizer("SGD", model);
        Assert.Contains("optimizer.", Assert.Throws<InvalidDataException>(() => ModelCheckpoint.Load(path, model, sgd)).Message, StringComparison.Ordinal);
    }

    [Fact]
    public void TensorsOfEveryTypeGoThroughAFile()
    {
        string path = Path.Combine(_folder, "tensors.safetensors");
        (string, Tensor)[] tensors =
        [
            .. ((ScalarType[])[uint8, int8, int16, int32, int64, float16, float32, float64, @bool, bfloat16]).Select(type => (type.ToString(), (arange(6, float32).view(2, 3) > 2).to(type))),
            ("transposed", arange(6).view(2, 3).t()),
            ("scalar", tensor(2.5)),
            ("empty", zeros(0, 4)),
        ];
        TensorFile.Save(path, tensors);
        using Engine.Files.SafetensorsFile file = Engine.Files.SafetensorsFile.Open(path);
        Dictionary<string, Tensor> read = TensorFile.Load(file);
        Assert.Equal(tensors.Length, read.Count);
        foreach ((string name, Tensor tensor) in tensors)
        {
            Assert.Equal(tensor.dtype, read[name].dtype);
            Assert.Equal(tensor.shape, read[name].shape);
            Assert.True(tensor.Equals(read[name]), name);
        }
        Assert.Throws<InvalidDataException>(() => TensorFile.Read(file, "none"));
    }

    private static Sequential Model() => nn.Sequential(nn.Linear(4, 8), nn.Dropout(0.3), nn.Linear(8, 2));

    private static OptimizerHelper Optimizer(string kind, nn.Module model) => kind switch
    {
        "Adam" => optim.Adam(model.parameters(), lr: 0.01, amsgrad: true),
        "AdamW" => optim.AdamW(model.parameters(), lr: 0.01, weight_decay: 0.1),
        _ => optim.SGD(model.parameters(), 0.01, momentum: 0.9),
    };

    private static void Train(Sequential model, OptimizerHelper optimizer, int steps)
    {
        for (int step = 0; step < steps; step++)
        {
            using DisposeScope scope = NewDisposeScope();
            optimizer.zero_grad();
            model.call(randn(16, 4)).square().mean().backward();
            optimizer.step();
        }
    }

    /// <summary>Both on f(θ) = Σ (θᵢ² + sin 3θᵢ), whose gradient is 2θ + 3 cos 3θ.</summary>
    private static void Follow(Func<IEnumerable<Parameter>, optim.Optimizer> create, Func<int, int, double, double, double> update)
    {
        double[] values = [0.7, -1.3, 2.1];
        var parameter = new Parameter(tensor(values, float64));
        using optim.Optimizer optimizer = create([parameter]);
        for (int step = 1; step <= Steps; step++)
        {
            using DisposeScope scope = NewDisposeScope();
            optimizer.zero_grad();
            (parameter.square() + (parameter * 3).sin()).sum().backward();
            optimizer.step();
            for (int i = 0; i < values.Length; i++)
                values[i] = update(step, i, values[i], (2 * values[i]) + (3 * Math.Cos(3 * values[i])));
            Libtorch.Near(values, Libtorch.Values(parameter), Bounds.Float64, $"step {step}");
        }
    }
}
