using MmeSid.Training.Optimization;

namespace MmeSid.Training.Tests.Optimization;

public sealed class LinearCrossEntropyTests : IDisposable
{
    private readonly DisposeScope _scope;

    public LinearCrossEntropyTests()
    {
        Libtorch.Require();
        _scope = NewDisposeScope();
    }

    public void Dispose() => _scope?.Dispose();

    // The last shape takes several blocks, the last of them short.
    [Theory]
    [InlineData(1, 1, 1)]
    [InlineData(5, 3, 7)]
    [InlineData(11, 4, 900_001)]
    public void ValueAndGradientsAreThoseOfTheWholeArrayOfScores(int rows, int width, int classes)
    {
        Tensor hidden = tensor(Libtorch.Numbers(1, rows * width, -1, 1), [rows, width]).requires_grad_();
        Tensor weights = tensor(Libtorch.Numbers(2, (long)classes * width, -1, 1), [classes, width]).requires_grad_();
        Tensor targets = tensor([.. Enumerable.Range(0, rows).Select(row => row * 7919L % classes)]);
        Tensor plain = nn.functional.cross_entropy(hidden.matmul(weights.t()), targets);
        (plain * 3).backward();
        double[] value = Libtorch.Values(plain), byHidden = Libtorch.Values(hidden.grad!), byWeights = Libtorch.Values(weights.grad!);
        hidden.grad!.zero_();
        weights.grad!.zero_();

        Tensor fused = LinearCrossEntropy.Mean(hidden, weights, targets);
        (fused * 3).backward();
        Libtorch.Near(value, Libtorch.Values(fused), Bounds.Float64, "loss");
        Libtorch.Near(byHidden, Libtorch.Values(hidden.grad!), Bounds.Float64, "gradient by the hidden states");
        Libtorch.Near(byWeights, Libtorch.Values(weights.grad!), Bounds.Float64, "gradient by the weights");
    }

    [Fact]
    public void TargetsOfAnotherLengthAreRefused() =>
        Assert.Contains("4 rows", Assert.Throws<ArgumentException>(() => LinearCrossEntropy.Mean(zeros(4, 2), zeros(3, 2), zeros(5, dtype: int64))).Message, StringComparison.Ordinal);
}
