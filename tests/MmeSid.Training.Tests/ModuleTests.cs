using TorchSharp.Modules;

namespace MmeSid.Training.Tests;

public sealed class ModuleTests : IDisposable
{
    private readonly DisposeScope _scope;

    public ModuleTests()
    {
        Libtorch.Require();
        manual_seed(5);
        _scope = NewDisposeScope();
    }

    public void Dispose() => _scope?.Dispose();

    [Fact]
    public void NamesAreThoseOfTheFields()
    {
        using var tower = new Tower();
        Assert.Equal(["gain", "table.weight", "layers.0.weight", "layers.0.bias", "layers.1.weight", "layers.1.bias", "head.0.weight", "head.2.weight", "head.2.bias"],
            tower.named_parameters().Select(entry => entry.name));
        Assert.Equal(["offsets"], tower.named_buffers().Select(entry => entry.name));
        Assert.Equal(["table", "layers", "head"], tower.named_children().Select(entry => entry.name));
        Assert.Equal(10, tower.state_dict().Count);
        Assert.Same(tower.parameters().First(), tower.get_parameter("gain"));
        Assert.Contains(tower.named_modules(), entry => entry.name == "layers.1");
    }

    [Fact]
    public void ForwardIsTheSumOfItsParts()
    {
        using var tower = new Tower();
        tower.eval();
        Tensor output = tower.call(tensor(new long[] { 1, 4 }));
        Assert.Equal([2, 3], output.shape);
        Dictionary<string, Tensor> state = tower.state_dict();
        Tensor expected = (state["table.weight"].index_select(0, tensor(new long[] { 1, 4 })) * state["gain"]) + state["offsets"];
        foreach (int layer in (int[])[0, 1])
            expected = expected.matmul(state[$"layers.{layer}.weight"].t()) + state[$"layers.{layer}.bias"];
        expected = expected.matmul(state["head.0.weight"].t()).relu().matmul(state["head.2.weight"].t()) + state["head.2.bias"];
        Libtorch.Near(Libtorch.Values(expected), Libtorch.Values(output), Bounds.Float32, "forward");
    }

    [Fact]
    public void TheTablesGradientCountsItsRowsAndLeavesThePaddingRow()
    {
        using Embedding table = nn.Embedding(5, 2, padding_idx: 0);
        Assert.Equal([0, 0], Libtorch.Values(table.weight![0]));
        table.call(tensor(new long[] { 3, 0, 3, 1 })).sum().backward();
        Assert.Equal([0, 0, 1, 1, 0, 0, 2, 2, 0, 0], Libtorch.Values(table.weight.grad!));
        using Embedding frozen = nn.Embedding_from_pretrained(ones(3, 2));
        Assert.False(frozen.weight!.requires_grad);
        Assert.Equal([1, 1], Libtorch.Values(frozen.call(tensor(new long[] { 2 }))));
    }

    [Fact]
    public void TrainingSwitchesDropoutEverywhere()
    {
        using Sequential model = nn.Sequential(nn.Dropout(0.5), nn.Sequential(nn.Dropout(0.5)));
        Assert.True(model.training);
        Assert.Contains(0.0, Libtorch.Values(model.call(ones(64))));
        model.eval();
        Assert.All(model.modules(), module => Assert.False(module.training));
        Assert.Equal(Libtorch.Values(ones(64)), Libtorch.Values(model.call(ones(64))));
    }

    [Fact]
    public void ActivationsAreTheFunctionsOfTheirNames()
    {
        Tensor x = linspace(-2, 2, 9, float64);
        Assert.Equal(Libtorch.Values(x.relu()), Libtorch.Values(nn.ReLU().call(x)));
        Assert.Equal(Libtorch.Values(x.silu()), Libtorch.Values(nn.SiLU().call(x)));
        Assert.Equal(Libtorch.Values(x.gelu()), Libtorch.Values(nn.GELU().call(x)));
        Assert.Equal(Libtorch.Values(x.sigmoid()), Libtorch.Values(nn.Sigmoid().call(x)));
        Assert.Equal(Libtorch.Values(x.tanh()), Libtorch.Values(nn.Tanh().call(x)));
    }

    [Fact]
    public void AModuleChangesItsTypeWithItsFields()
    {
        using var tower = new Tower();
        tower.call(tensor(new long[] { 1 })).sum().backward();
        double[] gain = Libtorch.Values(tower.get_parameter("gain")!), grad = Libtorch.Values(tower.get_parameter("gain")!.grad!);
        tower.to(float64);
        Assert.All(tower.parameters(), parameter => Assert.True(parameter.dtype == float64 && parameter.is_leaf && parameter.requires_grad));
        Assert.Equal(int64, tower.get_buffer("offsets")!.dtype);
        Assert.Equal(gain, Libtorch.Values(tower.get_parameter("gain")!));
        Assert.Equal(grad, Libtorch.Values(tower.get_parameter("gain")!.grad!));
        Assert.Equal(float64, tower.call(tensor(new long[] { 1 })).dtype);
    }

    [Fact]
    public void StatesCopyAndMismatchesAreNamed()
    {
        using Sequential from = nn.Sequential(nn.Linear(3, 2), nn.LayerNorm(2));
        using Sequential to = nn.Sequential(nn.Linear(3, 2), nn.LayerNorm(2));
        to.load_state_dict(from.state_dict());
        Assert.Equal(Libtorch.Values(from.call(ones(1, 3))), Libtorch.Values(to.call(ones(1, 3))));
        using Linear other = nn.Linear(3, 2);
        InvalidOperationException error = Assert.Throws<InvalidOperationException>(() => other.load_state_dict(from.state_dict()));
        Assert.Contains("0.weight", error.Message, StringComparison.Ordinal);
        Assert.Equal(["weight", "bias"], other.load_state_dict(from.state_dict(), strict: false).missing_keys);
    }

    [Fact]
    public void ModulesKeepTheirParametersOutOfScopes()
    {
        Linear made;
        using (NewDisposeScope())
            made = nn.Linear(2, 2);
        Assert.False(made.weight.IsInvalid);
        Parameter weight = made.weight;
        made.Dispose();
        Assert.True(weight.IsInvalid);
    }

    [Fact]
    public void GradientsAreClippedTogether()
    {
        Parameter first = new(ones(2)), second = new(ones(1)), without = new(ones(1));
        ((first * 3).sum() + (second * 4).sum()).backward();
        double norm = nn.utils.clip_grad_norm_([first, second, without], 1.0);
        Assert.Equal(Math.Sqrt(9 + 9 + 16), norm, 1e-5);
        double after = Math.Sqrt(Libtorch.Values(first.grad!).Concat(Libtorch.Values(second.grad!)).Sum(g => g * g));
        Assert.Equal(1, after, 1e-5);
        Assert.Equal(1, nn.utils.clip_grad_norm_([first, second], 10.0), 1e-5);
        Assert.Equal(after, Math.Sqrt(Libtorch.Values(first.grad!).Concat(Libtorch.Values(second.grad!)).Sum(g => g * g)), 1e-12);
        using Linear linear = nn.Linear(2, 1);
        linear.call(ones(1, 2)).backward();
        linear.zero_grad();
        Assert.Null(linear.weight.grad);
    }

    [Theory]
    [InlineData("xavier_normal_")]
    [InlineData("xavier_uniform_")]
    [InlineData("kaiming_normal_")]
    [InlineData("kaiming_uniform_")]
    public void FirstValuesHaveTheirDeviation(string name)
    {
        Tensor weights = empty(300, 200, float64, requires_grad: true);
        (double deviation, Tensor drawn) = name switch
        {
            "xavier_normal_" => (Math.Sqrt(2.0 / 500), nn.init.xavier_normal_(weights)),
            "xavier_uniform_" => (Math.Sqrt(2.0 / 500), nn.init.xavier_uniform_(weights)),
            "kaiming_normal_" => (Math.Sqrt(2.0 / 200), nn.init.kaiming_normal_(weights)),
            _ => (Math.Sqrt(2.0 / 200), nn.init.kaiming_uniform_(weights)),
        };
        // Six standard errors of a deviation over 60,000 numbers.
        Assert.Equal(deviation, drawn.std().item<double>(), deviation * 6 / Math.Sqrt(2 * 60_000));
        double[] values = Libtorch.Values(drawn);
        if (name.Contains("uniform", StringComparison.Ordinal))
            Assert.InRange(values.Max(Math.Abs), 0.99 * Math.Sqrt(3) * deviation, Math.Sqrt(3) * deviation);
        Assert.Equal([2, 2], Libtorch.Values(nn.init.constant_(empty(2), 2)));
        Assert.Equal([1, 0], Libtorch.Values(cat([nn.init.ones_(empty(1)), nn.init.zeros_(empty(1))])));
    }

    /// <summary>Every kind of field that a module registers.</summary>
    private sealed class Tower : nn.Module<Tensor, Tensor>
    {
        private readonly Parameter gain = new(ones(4) * 2);
        private readonly Tensor offsets = tensor(new long[] { 1, 2, 3, 4 }).DetachFromDisposeScope();
        private readonly Embedding table = nn.Embedding(5, 4);
        private readonly ModuleList<Linear> layers = nn.ModuleList(nn.Linear(4, 4), nn.Linear(4, 4));
        private readonly Sequential head = nn.Sequential(nn.Linear(4, 6, hasBias: false), nn.ReLU(), nn.Linear(6, 3));

        public Tower()
            : base(nameof(Tower)) => RegisterComponents();

        public override Tensor forward(Tensor input)
        {
            Tensor x = (table.call(input) * gain) + offsets;
            foreach (Linear layer in layers)
                x = layer.call(x);
            return head.call(x);
        }
    }
}
