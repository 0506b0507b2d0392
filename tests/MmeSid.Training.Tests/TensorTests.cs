using System.Runtime.InteropServices;

namespace MmeSid.Training.Tests;

/// <summary>Making tensors, their memory, types and errors.</summary>
public sealed class TensorTests : IDisposable
{
    private readonly DisposeScope _scope;

    public TensorTests()
    {
        Libtorch.Require();
        _scope = NewDisposeScope();
    }

    public void Dispose() => _scope?.Dispose();

    [Fact]
    public void FactoriesMakeWhatTheyAreAskedFor()
    {
        Check(zeros(2, 3), [2, 3], float32, new double[6]);
        Check(ones(2, dtype: float64), [2], float64, [1, 1]);
        Check(full([2, 1], 3.5), [2, 1], float32, [3.5, 3.5]);
        Check(full(2, 7), [2], int64, [7, 7]);
        Check(arange(4), [4], int64, [0, 1, 2, 3]);
        Check(arange(1, 4, float32), [3], float32, [1, 2, 3]);
        Check(arange(0, 1, 0.25), [4], float32, [0, 0.25, 0.5, 0.75]);
        Check(linspace(0, 1, 5), [5], float32, [0, 0.25, 0.5, 0.75, 1]);
        Check(eye(2), [2, 2], float32, [1, 0, 0, 1]);
        Check(eye(1, 2), [1, 2], float32, [1, 0]);
        Check(tensor(new[,] { { 1.0, 2.0 }, { 3.0, 4.0 } }), [2, 2], float64, [1, 2, 3, 4]);
        Check(tensor(new long[] { 5, 6 }, int32), [2], int32, [5, 6]);
        Check(tensor(new byte[] { 1, 255 }), [2], uint8, [1, 255]);
        Check(tensor(2.5), [], float32, [2.5]);
        Check(tensor(Array.Empty<float>(), [0, 3]), [0, 3], float32, []);
        Check(zeros_like(ones(2, dtype: float64)), [2], float64, [0, 0]);
        Check(ones(2).full_like(3), [2], float32, [3, 3]);
        Check(ones(3).new_zeros([1]), [1], float32, [0]);
        Assert.Equal([3, 2], empty(3, 2).shape);
    }

    [Fact]
    public void OperatorsInPlaceReturnTheTensorThatTheyChange()
    {
        Tensor x = ones(3);
        Assert.Same(x, x.add_(1).mul_(3).sub_(1).div_(2).add_(ones(3), 0.5).clamp_(max: 2.75));
        Check(x, [3], float32, [2.75, 2.75, 2.75]);
        Check(x.addcmul_(x, x, 0).addcdiv_(x, x, 1).sqrt_(), [3], float32, Enumerable.Repeat(Math.Sqrt(3.75), 3).ToArray(), Bounds.Float32);
        Check(x.fill_(2).masked_fill_(tensor(new[] { true, false, false }), 5).copy_(x + 1), [3], float32, [6, 3, 3]);
        Check(x.index_fill_(0, tensor(new long[] { 1 }), 0).index_copy_(0, tensor(new long[] { 2 }), ones(1)), [3], float32, [6, 0, 1]);
        Check(x.scatter_(0, tensor(new long[] { 0 }), zeros(1)).index_add_(0, tensor(new long[] { 1, 1 }), ones(2), 2), [3], float32, [0, 4, 1]);
        Check(x.zero_(), [3], float32, [0, 0, 0]);
        x[1] = tensor(4f);
        x[TensorIndex.Slice(2)] = tensor(5f);
        Check(x, [3], float32, [0, 4, 5]);
    }

    [Fact]
    public void CountsAndPlaces()
    {
        Tensor codes = tensor(new long[] { 3, 1, 3, 0 });
        Check(bincount(codes, minlength: 5), [5], int64, [1, 1, 0, 2, 0]);
        Check(nonzero(codes == 3), [2, 1], int64, [0, 2]);
        Check(nn.functional.one_hot(codes[TensorIndex.Slice(0, 2)], 4), [2, 4], int64, [0, 0, 0, 1, 0, 1, 0, 0]);
        (Tensor output, Tensor? places, Tensor? counts) = unique(codes, return_inverse: true);
        Check(output, [3], int64, [0, 1, 3]);
        Check(places!, [4], int64, [2, 1, 2, 0]);
        Assert.Null(counts);
        Check((codes != 3).count_nonzero(), [], int64, [2]);
        Check(isnan(tensor(new[] { 1f, float.NaN })), [2], @bool, [0, 1]);
        Check(isfinite(tensor(new[] { 1f, float.PositiveInfinity })), [2], @bool, [1, 0]);
        Check(tensor(new long[] { 7, -7 }).div(2, RoundingMode.floor), [2], int64, [3, -4]);
        Check(tensor(new long[] { 7, -7 }).div(tensor(2L), RoundingMode.trunc), [2], int64, [3, -3]);
    }

    [Fact]
    public void TheSameSeedGivesTheSameNumbers()
    {
        using var first = new Generator(7);
        using var second = new Generator(7);
        double[] numbers = Libtorch.Values(randn([5], generator: first));
        Assert.Equal(numbers, Libtorch.Values(randn([5], generator: second)));
        using Tensor state = first.get_state();
        double[] next = Libtorch.Values(rand([5], generator: first));
        Assert.NotEqual(numbers, next);
        second.set_state(state);
        Assert.Equal(next, Libtorch.Values(rand([5], generator: second)));
        Assert.Equal(7, first.manual_seed(7).initial_seed());
        Assert.Equal([.. Enumerable.Range(0, 9).Select(i => (double)i)], Libtorch.Values(randperm(9, generator: first)).Order());
        Assert.All(Libtorch.Values(randint(2, 5, [50], generator: first)), value => Assert.InRange(value, 2, 4));

        manual_seed(3);
        double[] drawn = Libtorch.Values(rand(4).bernoulli());
        double[] dropped = Libtorch.Values(nn.functional.dropout(ones(20), 0.5));
        Assert.All(dropped, value => Assert.True(value is 0 or 2));
        manual_seed(3);
        Assert.Equal(drawn, Libtorch.Values(rand(4).bernoulli()));
        Assert.Equal(dropped, Libtorch.Values(nn.functional.dropout(ones(20), 0.5)));
        Assert.Equal(2, multinomial(tensor(new[] { 0f, 0f, 1f }), 1).item<long>());
    }

    [Fact]
    public void DrawnNumbersHaveTheirMeanAndDeviation()
    {
        using var generator = new Generator(1);
        const int count = 100_000;
        // Six standard errors.
        double slack = 6 / Math.Sqrt(count);
        Tensor normal = empty(count, dtype: float64).normal_(1, 2, generator), uniform = empty(count, dtype: float64).uniform_(-1, 3, generator);
        Assert.InRange(normal.mean().item<double>(), 1 - (2 * slack), 1 + (2 * slack));
        Assert.InRange(normal.std().item<double>(), 2 - (2 * slack), 2 + (2 * slack));
        Assert.InRange(uniform.mean().item<double>(), 1 - (2 * slack), 1 + (2 * slack));
        Assert.True(uniform.min().item<double>() >= -1 && uniform.max().item<double>() < 3);
    }

    [Fact]
    public void ValuesAreReadInOrderWhateverTheStrides()
    {
        Tensor x = arange(6, float32).view(2, 3).t();
        Assert.False(x.is_contiguous());
        Assert.Equal([0, 3, 1, 4, 2, 5], x.data<float>().ToArray());
        Assert.Equal(4, x.data<float>()[1, 1]);
        x.data<float>()[2, 0] = 9;
        Assert.Equal(9, x[2, 0].item<float>());
        x.data<float>().CopyFrom([1, 2, 3, 4, 5, 6]);
        Assert.Equal([1, 3, 5, 2, 4, 6], x.t().data<float>().ToArray());
        Assert.Throws<InvalidOperationException>(() => x.bytes.Length);
        Assert.Equal(24, x.contiguous().bytes.Length);
        Assert.Throws<ArgumentOutOfRangeException>(() => x.data<float>()[3, 0]);
        Assert.Throws<ArgumentException>(() => x.data<double>());
    }

    [Fact]
    public void TypesConvert()
    {
        Tensor x = tensor(new[] { 1.5f, -2.25f });
        foreach (ScalarType type in (ScalarType[])[float16, bfloat16, float64])
            Check(x.to(type), [2], type, [1.5, -2.25]);
        Check(x.@long(), [2], int64, [1, -2]);
        Check((x > 0).@float(), [2], float32, [1, 0]);
        Assert.Equal((Half)1.5f, x.half()[0].item<Half>());
        Assert.True(tensor(true).item<bool>());
        Assert.Equal(-3, tensor(-3).item<int>());
        Assert.Equal(2, tensor(2.0, float64).ToDouble());
    }

    [Fact]
    public void ProductsOfBfloat16AreThoseOfTheirRoundedFactors()
    {
        const int rows = 65, inner = 129, columns = 67;
        Tensor a = tensor(Libtorch.Numbers(1, rows * inner, -1, 1), [rows, inner]).bfloat16(), b = tensor(Libtorch.Numbers(2, inner * columns, -1, 1), [inner, columns]).bfloat16();
        // Summed in float32 and rounded once to 8 significant bits, by at most half a unit: 2⁻⁸ of the value.
        Libtorch.Near(Libtorch.Values(a.@double().mm(b.@double())), Libtorch.Values(a.mm(b)), Math.Pow(2, -8) + Bounds.Float32, "bfloat16");
    }

    [Fact]
    public void GradientsAccumulateAndStop()
    {
        Tensor x = ones(2, requires_grad: true);
        (x * 3).sum().backward();
        (x * 4).sum().backward();
        Assert.Equal([7, 7], Libtorch.Values(x.grad!));
        x.grad = null;
        Assert.Null(x.grad);
        using (no_grad())
        {
            Assert.False(is_grad_enabled());
            Assert.False((x * 2).requires_grad);
            using (enable_grad())
                Assert.True((x * 2).requires_grad);
        }
        using (inference_mode())
            Assert.False((x * 2).requires_grad || !is_inference_mode_enabled());
        Assert.True(is_grad_enabled() && !is_inference_mode_enabled());
        Assert.False(x.detach().requires_grad);

        Tensor y = x * x;
        Tensor first = autograd.grad([(y * y).sum()], [x], create_graph: true)[0];
        Assert.Equal([4, 4], Libtorch.Values(first));
        Assert.Equal([12, 12], Libtorch.Values(autograd.grad([first.sum()], [x])[0]));
        Assert.Null(autograd.grad([x.sum()], [ones(1, requires_grad: true)], allow_unused: true)[0]);
        Tensor z = x * x;
        z.retain_grad();
        z.backward([tensor(new[] { 1f, 10f })]);
        Assert.Equal([1, 10], Libtorch.Values(z.grad!));
        Assert.Equal([2, 20], Libtorch.Values(x.grad!));
    }

    [Fact]
    public void ErrorsCarryLibtorchsTextAndTheShapes()
    {
        ExternalException product = Assert.Throws<ExternalException>(() => ones(2, 3).mm(ones(4, 5)));
        Assert.Contains("mat1 and mat2 shapes cannot be multiplied (2x3 and 4x5)", product.Message, StringComparison.Ordinal);
        Assert.Contains("aten::mm of Float32 [2, 3], Float32 [4, 5]", product.Message, StringComparison.Ordinal);
        ExternalException sum = Assert.Throws<ExternalException>(() => ones(2, 3) + ones(4));
        Assert.Contains("size of tensor a (3) must match the size of tensor b (4)", sum.Message, StringComparison.Ordinal);
        Assert.Contains("Float32 [2, 3], Float32 [4]", sum.Message, StringComparison.Ordinal);
        Assert.Contains("[2, 3]", Assert.Throws<ExternalException>(() => ones(2, 3, requires_grad: true).mul(2).backward()).Message, StringComparison.Ordinal);
        Assert.Contains("index 9 is out of bounds", Assert.Throws<ExternalException>(() => ones(3)[tensor(new long[] { 9 })]).Message, StringComparison.Ordinal);
        Assert.Throws<ExternalException>(() => ones(2, dtype: int64).requires_grad_());
        Assert.Throws<ArgumentException>(() => ones(2)[1, 1]);
        Assert.Throws<InvalidOperationException>(() => ones(2).item<float>());
        Assert.Throws<ArgumentException>(() => ones(1).item<double>());
        Assert.Throws<ArgumentException>(() => new Device("tpu"));
        // The library goes on as before.
        Assert.Equal(6, ones(2, 3).sum().item<float>());
    }

    [Fact]
    public void EveryKindOfMemoryErrorIsAnException()
        => Assert.Throws<ExternalException>(() => empty([1L << 40, 1L << 20]));

    [Fact]
    public void EqualityOfValues()
    {
        Assert.True(ones(2).Equals(ones(2)));
        Assert.False(ones(2).Equals(ones(3)));
        Assert.True(ones(2).allclose(ones(2) + 1e-7));
        Assert.Equal("[2x3], type = Float32, device = cpu", ones(2, 3).ToString());
    }

    private static void Check(Tensor actual, long[] shape, ScalarType type, double[] values, double bound = 0)
    {
        Assert.Equal(shape, actual.shape);
        Assert.Equal(type, actual.dtype);
        Libtorch.Near(values, Libtorch.Values(actual), bound, actual.ToString());
    }
}
