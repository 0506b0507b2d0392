using TorchSharp.Modules;
using F = TorchSharp.torch.nn.functional;

namespace MmeSid.Training.Tests;

/// <summary>An operator with a reference in plain float64 loops.</summary>
/// <param name="Name">For people.</param>
/// <param name="Shapes">Of the inputs, which are drawn from [Low, High].</param>
/// <param name="Torch">The operator; what it needs beside the inputs is of their type.</param>
/// <param name="Reference">The same over the inputs' values in order.</param>
/// <param name="Low">Least input.</param>
/// <param name="High">Largest input.</param>
/// <param name="Differentiable">Whether gradients are checked.</param>
public sealed record OpCase(string Name, long[][] Shapes, Func<Tensor[], Tensor> Torch, Func<double[][], double[]> Reference, double Low = -2, double High = 2, bool Differentiable = true)
{
    public override string ToString() => Name;
}

/// <summary>Every operator that training uses, on odd shapes. Ties and kinks lie where no drawn number does.</summary>
internal static class OpCases
{
    private const int Rows = 5, Columns = 7, Inner = 3, Batch = 2;

    private static readonly long[] s_matrix = [Rows, Columns];

    public static readonly OpCase[] All =
    [
        // One element at a time.
        Unary("neg", t => -t, x => -x),
        Unary("abs", t => t.abs(), Math.Abs),
        Unary("exp", t => t.exp(), Math.Exp),
        Unary("expm1", t => t.expm1(), x => Math.Exp(x) - 1),
        Unary("log", t => t.log(), Math.Log, 0.2, 3),
        Unary("log1p", t => t.log1p(), x => Math.Log(1 + x), -0.5, 3),
        Unary("log2", t => t.log2(), Math.Log2, 0.2, 3),
        Unary("sqrt", t => t.sqrt(), Math.Sqrt, 0.2, 3),
        Unary("rsqrt", t => t.rsqrt(), x => 1 / Math.Sqrt(x), 0.2, 3),
        Unary("square", t => t.square(), x => x * x),
        Unary("reciprocal", t => t.reciprocal(), x => 1 / x, 0.3, 3),
        Unary("sin", t => t.sin(), Math.Sin),
        Unary("cos", t => t.cos(), Math.Cos),
        Unary("tanh", t => t.tanh(), Math.Tanh),
        Unary("sigmoid", t => t.sigmoid(), Sigmoid),
        Unary("log_sigmoid", t => t.log_sigmoid(), x => -Math.Log(1 + Math.Exp(-x))),
        Unary("relu", t => t.relu(), x => Math.Max(x, 0)),
        Unary("relu_", t => (t * 1).relu_(), x => Math.Max(x, 0)),
        Unary("silu", t => t.silu(), x => x * Sigmoid(x)),
        Unary("gelu", t => t.gelu(), x => x * Erf.NormalDistribution(x)),
        Unary("gelu, tanh", t => t.gelu(GELU.Approximate.tanh), x => 0.5 * x * (1 + Math.Tanh(Math.Sqrt(2 / Math.PI) * (x + (0.044715 * x * x * x))))),
        Unary("erf", t => t.erf(), x => (2 * Erf.NormalDistribution(x * Math.Sqrt(2))) - 1),
        Unary("leaky_relu", t => t.leaky_relu(0.1), x => x > 0 ? x : 0.1 * x),
        Unary("softplus", t => t.softplus(), x => Math.Log(1 + Math.Exp(x))),
        Unary("pow number", t => t.pow(3), x => x * x * x),
        Unary("add number", t => t + 2.5, x => x + 2.5),
        Unary("number minus", t => 1 - t, x => 1 - x),
        Unary("mul number", t => 3 * t, x => 3 * x),
        Unary("div number", t => t / 4, x => x / 4),
        Unary("number over", t => 2 / t, x => 2 / x, 0.3, 3),
        Unary("clamp", t => t.clamp(-0.5, 0.75), x => Math.Clamp(x, -0.5, 0.75)),
        Unary("clamp_min", t => t.clamp_min(0.1), x => Math.Max(x, 0.1)),
        Unary("clamp_max", t => t.clamp_max(0.1), x => Math.Min(x, 0.1)),
        Unary("floor", t => t.floor(), Math.Floor) with { Differentiable = false },
        Unary("ceil", t => t.ceil(), Math.Ceiling) with { Differentiable = false },
        Unary("round", t => t.round(), Math.Round) with { Differentiable = false },
        Unary("sign", t => t.sign(), x => Math.Sign(x)) with { Differentiable = false },
        Unary("remainder", t => t.remainder(0.7), x => x - (0.7 * Math.Floor(x / 0.7))) with { Differentiable = false },
        Unary("masked_fill", t => t.masked_fill(t > 0.5, -1), x => x > 0.5 ? -1 : x),
        Unary("where", t => where(t < 0, t * 2, t.exp()), x => x < 0 ? x * 2 : Math.Exp(x)),
        Unary("comparisons", t => ((t > 0.5) | (t <= -1) | (t == 0)).to(t.dtype), x => x > 0.5 || x <= -1 ? 1 : 0) with { Differentiable = false },
        Unary("comparisons, negated", t => ((t >= 0.5) & (t != 1) & ~(t < 0.7)).to(t.dtype), x => x >= 0.7 ? 1 : 0) with { Differentiable = false },
        Binary("add", (a, b) => a + b, (x, y) => x + y),
        Binary("add scaled", (a, b) => a.add(b, 0.5), (x, y) => x + (0.5 * y)),
        Binary("sub", (a, b) => a - b, (x, y) => x - y),
        Binary("mul", (a, b) => a * b, (x, y) => x * y),
        Binary("div", (a, b) => a / b, (x, y) => x / y, 0.4, 3),
        Binary("pow", (a, b) => a.pow(b), Math.Pow, 0.4, 2),
        Binary("maximum", (a, b) => a.maximum(b), Math.Max),
        Binary("minimum", (a, b) => a.minimum(b), Math.Min),
        Binary("lerp", (a, b) => a.lerp(b, tensor(0.25, a.dtype)), (x, y) => x + (0.25 * (y - x))),
        Binary("addcmul", (a, b) => a.addcmul(b, b, 0.5), (x, y) => x + (0.5 * y * y)),
        Binary("addcdiv", (a, b) => a.addcdiv(a, b, 0.5), (x, y) => x + (0.5 * x / y), 0.4, 3),

        // Along a dimension.
        Whole("sum", t => t.sum(), x => x.Sum()),
        Whole("mean", t => t.mean(), x => x.Average()),
        Whole("var", t => t.var(), x => Variance(x, 1)),
        Whole("std", t => t.std(), x => Math.Sqrt(Variance(x, 1))),
        Whole("norm", t => t.norm(), x => Math.Sqrt(x.Sum(v => v * v))),
        Whole("max", t => t.max(), x => x.Max()),
        Whole("min", t => t.min(), x => x.Min()),
        PerRow("sum of rows", t => t.sum(1), x => [x.Sum()]),
        PerRow("mean of rows, kept", t => t.mean([1], true), x => [x.Average()]),
        PerRow("variance of rows, biased", t => t.var([1], unbiased: false), x => [Variance(x, 0)]),
        PerRow("deviation of rows", t => t.std(1), x => [Math.Sqrt(Variance(x, 1))]),
        PerRow("norm of rows", t => t.norm(1), x => [Math.Sqrt(x.Sum(v => v * v))]),
        PerRow("logsumexp", t => t.logsumexp(1), x => [LogSumExp(x)]),
        PerRow("softmax", t => t.softmax(-1), x => [.. x.Select(v => Math.Exp(v - LogSumExp(x)))]),
        PerRow("log_softmax", t => t.log_softmax(-1), x => [.. x.Select(v => v - LogSumExp(x))]),
        PerRow("cumsum", t => t.cumsum(1), x => [.. x.Select((_, i) => x[..(i + 1)].Sum())]),
        PerRow("max of rows", t => t.max(1).values, x => [x.Max()]),
        PerRow("min of rows", t => t.min(1).values, x => [x.Min()]),
        PerRow("amax", t => t.amax(1), x => [x.Max()]),
        PerRow("amin", t => t.amin(1), x => [x.Min()]),
        PerRow("topk", t => t.topk(3, 1).values, x => [.. x.OrderDescending().Take(3)]),
        PerRow("topk, places", t => t.topk(3, 1, largest: false).indexes.to(t.dtype), x => [.. Order(x).Take(3)]) with { Differentiable = false },
        PerRow("sort", t => t.sort(1, stable: true).Values, x => [.. x.Order()]),
        PerRow("argsort", t => t.argsort(1).to(t.dtype), x => [.. Order(x)]) with { Differentiable = false },
        PerRow("argmax", t => t.argmax(1).to(t.dtype), x => [Array.IndexOf(x, x.Max())]) with { Differentiable = false },
        PerRow("argmin", t => t.argmin(1).to(t.dtype), x => [Array.IndexOf(x, x.Min())]) with { Differentiable = false },
        PerRow("all, any", t => (t > -1).all(1).to(t.dtype) + (t > 1.5).any(1).to(t.dtype), x => [(x.All(v => v > -1) ? 1 : 0) + (x.Any(v => v > 1.5) ? 1 : 0)]) with { Differentiable = false },
        PerRow("normalize", t => F.normalize(t, dim: 1), x => [.. x.Select(v => v / Math.Sqrt(x.Sum(w => w * w)))]),
        PerRow("layer_norm", t => F.layer_norm(t, [Columns]), x => [.. x.Select(v => (v - x.Average()) / Math.Sqrt(Variance(x, 0) + 1e-5))]),

        // Products.
        new("matmul", [[Rows, Inner], [Inner, Columns]], t => t[0].matmul(t[1]), x => Product(x[0], x[1], Rows, Inner, Columns)),
        new("mm", [[Rows, Inner], [Inner, Columns]], t => t[0].mm(t[1]), x => Product(x[0], x[1], Rows, Inner, Columns)),
        new("bmm", [[Batch, Rows, Inner], [Batch, Inner, Columns]], t => t[0].bmm(t[1]), x =>
            [.. Enumerable.Range(0, Batch).SelectMany(b => Product(Part(x[0], b, Rows * Inner), Part(x[1], b, Inner * Columns), Rows, Inner, Columns))]),
        new("matmul of batches", [[Batch, Rows, Inner], [Inner, Columns]], t => t[0].matmul(t[1]), x => Product(x[0], x[1], Batch * Rows, Inner, Columns)),
        new("mv", [[Rows, Inner], [Inner]], t => t[0].mv(t[1]), x => Product(x[0], x[1], Rows, Inner, 1)),
        new("dot", [[Columns], [Columns]], t => t[0].dot(t[1]), x => [x[0].Zip(x[1], (a, b) => a * b).Sum()]),
        new("outer", [[Rows], [Columns]], t => t[0].outer(t[1]), x => Product(x[0], x[1], Rows, 1, Columns)),
        new("addmm", [s_matrix, [Rows, Inner], [Inner, Columns]], t => t[0].addmm(t[1], t[2], 0.5f, 2), x =>
            [.. x[0].Zip(Product(x[1], x[2], Rows, Inner, Columns), (a, b) => (0.5 * a) + (2 * b))]),
        new("baddbmm", [[Batch, Rows, Columns], [Batch, Rows, Inner], [Batch, Inner, Columns]], t => t[0].baddbmm(t[1], t[2]), x =>
            [.. Enumerable.Range(0, Batch).SelectMany(b => Product(Part(x[1], b, Rows * Inner), Part(x[2], b, Inner * Columns), Rows, Inner, Columns)).Zip(x[0], (a, b) => a + b)]),
        new("einsum", [[Rows, Inner], [Columns, Inner]], t => einsum("ik,jk->ij", t[0], t[1]), x => Product(x[0], Transposed(x[1], Columns, Inner), Rows, Inner, Columns)),
        new("linear", [[Rows, Inner], [Columns, Inner], [Columns]], t => F.linear(t[0], t[1], t[2]), x =>
            [.. Product(x[0], Transposed(x[1], Columns, Inner), Rows, Inner, Columns).Select((v, i) => v + x[2][i % Columns])]),
        new("cdist", [[Rows, Inner], [Columns, Inner]], t => cdist(t[0], t[1]), x => Distances(x[0], x[1])),
        new("cdist by differences", [[Rows, Inner], [Columns, Inner]], t => cdist(t[0], t[1], compute_mode: compute_mode.donot_use_mm_for_euclid_dist), x => Distances(x[0], x[1])),
        new("cosine_similarity", [s_matrix, s_matrix], t => F.cosine_similarity(t[0], t[1], dim: 1), x => [.. Enumerable.Range(0, Rows).Select(r =>
            Dot(Row(x[0], r), Row(x[1], r)) / Math.Sqrt(Dot(Row(x[0], r), Row(x[0], r)) * Dot(Row(x[1], r), Row(x[1], r))))]),
        new("layer_norm with weights", [s_matrix, [Columns], [Columns]], t => F.layer_norm(t[0], [Columns], t[1], t[2]), x => [.. Enumerable.Range(0, Rows * Columns).Select(i =>
            ((x[0][i] - Row(x[0], i / Columns).Average()) / Math.Sqrt(Variance(Row(x[0], i / Columns), 0) + 1e-5) * x[1][i % Columns]) + x[2][i % Columns])]),

        // Losses.
        new("mse_loss", [s_matrix, s_matrix], t => F.mse_loss(t[0], t[1]), x => [x[0].Zip(x[1], (a, b) => (a - b) * (a - b)).Average()]),
        new("mse_loss, sum", [s_matrix, s_matrix], t => F.mse_loss(t[0], t[1], nn.Reduction.Sum), x => [x[0].Zip(x[1], (a, b) => (a - b) * (a - b)).Sum()]),
        new("l1_loss", [s_matrix, s_matrix], t => F.l1_loss(t[0], t[1], nn.Reduction.None), x => [.. x[0].Zip(x[1], (a, b) => Math.Abs(a - b))]),
        new("cross_entropy", [s_matrix], t => F.cross_entropy(t[0], Labels()), x => [CrossEntropy(x[0], 0).Average()]),
        new("cross_entropy, smoothed", [s_matrix], t => F.cross_entropy(t[0], Labels(), label_smoothing: 0.1), x => [CrossEntropy(x[0], 0.1).Average()]),
        new("cross_entropy, ignored rows", [s_matrix], t => F.cross_entropy(t[0], Labels(), ignore_index: 3, reduction: nn.Reduction.Sum), x =>
            [CrossEntropy(x[0], 0).Where((_, r) => LabelOf(r) != 3).Sum()]),
        new("nll_loss", [s_matrix], t => F.nll_loss(t[0], Labels()), x => [Enumerable.Range(0, Rows).Average(r => -x[0][(r * Columns) + LabelOf(r)])]),
        new("binary_cross_entropy_with_logits", [s_matrix], t => F.binary_cross_entropy_with_logits(t[0], Targets(t[0])), x =>
            [x[0].Select((v, i) => Math.Log(1 + Math.Exp(v)) - (v * (i % 2))).Average()]),
        new("kl_div", [s_matrix, s_matrix], t => F.kl_div(t[0], t[1], reduction: nn.Reduction.Sum), x => [x[0].Zip(x[1], (a, b) => Math.Exp(b) * (b - a)).Sum()]),

        // Shapes, parts and places.
        Whole("reshape, view, flatten", t => (t.reshape(Columns, Rows).view(-1) * t.flatten()).sum(), x => x.Sum(v => v * v)),
        Moved("transpose", t => t.transpose(0, 1).contiguous(), (x, r, c) => x[(c * Columns) + r], Columns, Rows),
        Moved("t", t => t.t().clone(), (x, r, c) => x[(c * Columns) + r], Columns, Rows),
        Moved("permute", t => t.unsqueeze(0).permute(2, 0, 1).squeeze(1), (x, r, c) => x[(c * Columns) + r], Columns, Rows),
        Moved("mT", t => t.mT.mT, (x, r, c) => x[(r * Columns) + c], Rows, Columns),
        Moved("narrow", t => t.narrow(1, 2, 4), (x, r, c) => x[(r * Columns) + c + 2], Rows, 4),
        Moved("slice", t => t.slice(1, 1, 7, 2), (x, r, c) => x[(r * Columns) + 1 + (2 * c)], Rows, 3),
        Moved("select", t => t.select(0, 2), (x, _, c) => x[(2 * Columns) + c], 1, Columns),
        Moved("index by number", t => t[2], (x, _, c) => x[(2 * Columns) + c], 1, Columns),
        Moved("index by two numbers", t => t[2, -1], (x, _, _) => x[(2 * Columns) + Columns - 1], 1, 1),
        Moved("index by ranges", t => t[TensorIndex.Slice(1, 4), TensorIndex.Slice(null, null, 3)], (x, r, c) => x[((r + 1) * Columns) + (3 * c)], 3, 3),
        Moved("index by C# ranges", t => t[1..^1, ^2], (x, r, _) => x[((r + 1) * Columns) + Columns - 2], 3, 1),
        Moved("index with an ellipsis", t => t[TensorIndex.Ellipsis, TensorIndex.None, 3], (x, r, _) => x[(r * Columns) + 3], Rows, 1),
        Moved("index by tensors", t => t[tensor(new long[] { 4, 0, 4 }), tensor(new long[] { 1, 2, 6 })], (x, r, _) => x[(new[] { 4, 0, 4 }[r] * Columns) + new[] { 1, 2, 6 }[r]], 3, 1),
        Moved("index by a range and a tensor", t => t[TensorIndex.Colon, TensorIndex.Tensor(tensor(new long[] { 6, 0 }))], (x, r, c) => x[(r * Columns) + new[] { 6, 0 }[c]], Rows, 2),
        Moved("index by truth values", t => t[tensor(new[] { true, false, false, true, false })], (x, r, c) => x[(3 * r * Columns) + c], 2, Columns),
        Moved("index_select", t => t.index_select(1, tensor(new long[] { 5, 5, 0 })), (x, r, c) => x[(r * Columns) + new[] { 5, 5, 0 }[c]], Rows, 3),
        Moved("gather", t => t.gather(1, Places(2)), (x, r, c) => x[(r * Columns) + ((r + (3 * c)) % Columns)], Rows, 2),
        Moved("masked_select", t => t.masked_select(tensor(new[] { true, false, true, false, false, false, false })), (x, r, c) => x[(r * Columns) + (2 * c)], Rows, 2),
        Moved("flip", t => t.flip(1), (x, r, c) => x[(r * Columns) + Columns - 1 - c], Rows, Columns),
        Moved("roll", t => t.roll([2], [1]), (x, r, c) => x[(r * Columns) + ((c + Columns - 2) % Columns)], Rows, Columns),
        Moved("tril", t => t.tril(1), (x, r, c) => c <= r + 1 ? x[(r * Columns) + c] : 0, Rows, Columns),
        Moved("triu", t => t.triu(-1), (x, r, c) => c >= r - 1 ? x[(r * Columns) + c] : 0, Rows, Columns),
        Moved("diagonal", t => t.diagonal(1), (x, r, _) => x[(r * Columns) + r + 1], Rows, 1),
        Moved("diag", t => t.diag(), (x, r, _) => x[(r * Columns) + r], Rows, 1),
        Moved("repeat", t => t.repeat(1, 2), (x, r, c) => x[(r * Columns) + (c % Columns)], Rows, 2 * Columns),
        Moved("repeat_interleave", t => t.repeat_interleave(2, 1), (x, r, c) => x[(r * Columns) + (c / 2)], Rows, 2 * Columns),
        Moved("repeat_interleave by counts", t => t.repeat_interleave(tensor(new long[] { 0, 2, 0, 1, 0 }), 0), (x, r, c) => x[(new[] { 1, 1, 3 }[r] * Columns) + c], 3, Columns),
        Moved("expand", t => t[TensorIndex.Slice(0, 1)].expand(3, -1), (x, _, c) => x[c], 3, Columns),
        Moved("expand_as", t => t.narrow(1, 0, 1).expand_as(t), (x, r, _) => x[r * Columns], Rows, Columns),
        Moved("chunk, cat", t => cat(t.chunk(3, 1).Reverse().ToArray(), 1), (x, r, c) => x[(r * Columns) + (c < 1 ? 6 : c < 4 ? c + 2 : c - 4)], Rows, Columns),
        Moved("split, cat", t => cat(t.split([2, 5], 1).Reverse().ToArray(), 1), (x, r, c) => x[(r * Columns) + ((c + 2) % Columns)], Rows, Columns),
        Moved("split of equal parts", t => t.split(3, 1)[2], (x, r, _) => x[(r * Columns) + 6], Rows, 1),
        Moved("unbind, stack", t => stack(t.unbind(0), 1), (x, r, c) => x[(c * Columns) + r], Columns, Rows),
        Moved("detach within a product", t => t * t.detach(), (x, r, c) => x[(r * Columns) + c] * x[(r * Columns) + c], Rows, Columns) with { Differentiable = false },
        new("scatter", [s_matrix, [Rows, 2]], t => t[0].scatter(1, Places(2), t[1]), x => Scattered(x[0], x[1], add: false)),
        new("scatter_add", [s_matrix, [Rows, 2]], t => t[0].scatter_add(1, Places(2), t[1]), x => Scattered(x[0], x[1], add: true)),
        new("scatter_add_", [s_matrix, [Rows, 2]], t => t[0].clone().scatter_add_(1, Places(2), t[1]), x => Scattered(x[0], x[1], add: true)),
        new("index_add", [s_matrix, [2, Columns]], t => t[0].index_add(0, tensor(new long[] { 4, 4 }), t[1], 0.5), x =>
            [.. x[0].Select((v, i) => i < 4 * Columns ? v : v + (0.5 * (x[1][i % Columns] + x[1][Columns + (i % Columns)])))]),
        new("index_put_ of a range", [s_matrix, [Columns]], t => t[0].clone().index_put_(t[1], TensorIndex.Single(3)), x => [.. x[0].Select((v, i) => i / Columns == 3 ? x[1][i % Columns] : v)]),
        new("index_put_, added", [s_matrix, [3]], t => t[0].clone().index_put_(t[1], [tensor(new long[] { 1, 1, 0 }), tensor(new long[] { 2, 2, 0 })], true), x =>
            [.. x[0].Select((v, i) => i == Columns + 2 ? v + x[1][0] + x[1][1] : i == 0 ? v + x[1][2] : v)]),
        new("view_as_complex, view_as_real", [[Rows, Inner, 2], [Rows, Inner, 2]], t => view_as_real(view_as_complex(t[0]) * view_as_complex(t[1])), x => ComplexProducts(x[0], x[1])),
        new("view_as_complex, changed in place", [[Rows, Inner, 2], [Rows, Inner, 2]], t =>
        {
            Tensor changed = t[0].clone();
            _ = view_as_complex(changed).mul_(view_as_complex(t[1]));
            return changed;
        }, x => ComplexProducts(x[0], x[1])),
        new("copies", [s_matrix], t => t[0].clone().alias().type_as(t[0]).view_as(t[0]).contiguous(), x => x[0]),
    ];

    private static double Sigmoid(double x) => 1 / (1 + Math.Exp(-x));

    private static OpCase Unary(string name, Func<Tensor, Tensor> torch, Func<double, double> reference, double low = -2, double high = 2)
        => new(name, [s_matrix], t => torch(t[0]), x => [.. x[0].Select(reference)], low, high);

    /// <summary>The second input is broadcast.</summary>
    private static OpCase Binary(string name, Func<Tensor, Tensor, Tensor> torch, Func<double, double, double> reference, double low = -2, double high = 2)
        => new(name, [s_matrix, [Columns]], t => torch(t[0], t[1]), x => [.. x[0].Select((v, i) => reference(v, x[1][i % Columns]))], low, high);

    private static OpCase Whole(string name, Func<Tensor, Tensor> torch, Func<double[], double> reference) => new(name, [s_matrix], t => torch(t[0]), x => [reference(x[0])]);

    private static OpCase PerRow(string name, Func<Tensor, Tensor> torch, Func<double[], double[]> reference)
        => new(name, [s_matrix], t => torch(t[0]), x => [.. Enumerable.Range(0, Rows).SelectMany(r => reference(Row(x[0], r)))]);

    private static OpCase Moved(string name, Func<Tensor, Tensor> torch, Func<double[], int, int, double> reference, int rows, int columns)
        => new(name, [s_matrix], t => torch(t[0]), x => [.. Enumerable.Range(0, rows).SelectMany(r => Enumerable.Range(0, columns).Select(c => reference(x[0], r, c)))]);

    private static double[] Row(double[] matrix, int row) => Part(matrix, row, Columns);

    private static double[] Part(double[] values, int index, int length) => values[(index * length)..((index + 1) * length)];

    private static double Dot(double[] a, double[] b) => a.Zip(b, (x, y) => x * y).Sum();

    private static double Variance(double[] x, int correction) => x.Sum(v => (v - x.Average()) * (v - x.Average())) / (x.Length - correction);

    private static double LogSumExp(double[] x) => x.Max() + Math.Log(x.Sum(v => Math.Exp(v - x.Max())));

    private static IEnumerable<double> Order(double[] x) => Enumerable.Range(0, x.Length).OrderBy(i => x[i]).Select(i => (double)i);

    private static double[] Product(double[] a, double[] b, int rows, int inner, int columns) => [.. Enumerable.Range(0, rows)
        .SelectMany(r => Enumerable.Range(0, columns).Select(c => Enumerable.Range(0, inner).Sum(k => a[(r * inner) + k] * b[(k * columns) + c])))];

    private static double[] Transposed(double[] a, int rows, int columns) => [.. Enumerable.Range(0, columns).SelectMany(c => Enumerable.Range(0, rows).Select(r => a[(r * columns) + c]))];

    private static double[] Distances(double[] a, double[] b) => [.. Enumerable.Range(0, Rows).SelectMany(r => Enumerable.Range(0, Columns)
        .Select(c => Math.Sqrt(Enumerable.Range(0, Inner).Sum(k => Math.Pow(a[(r * Inner) + k] - b[(c * Inner) + k], 2)))))];

    private static int LabelOf(int row) => (row * 3) % Columns;

    private static Tensor Labels() => tensor(Enumerable.Range(0, Rows).Select(row => (long)LabelOf(row)).ToArray());

    private static Tensor Targets(Tensor like) => (arange(Rows * Columns) % 2).view(Rows, Columns).to(like.dtype);

    private static IEnumerable<double> CrossEntropy(double[] logits, double smoothing) => Enumerable.Range(0, Rows).Select(r =>
    {
        double[] row = Row(logits, r);
        double normalizer = LogSumExp(row);
        return ((1 - smoothing) * (normalizer - row[LabelOf(r)])) + (smoothing * row.Average(v => normalizer - v));
    });

    /// <summary>Per row, different columns.</summary>
    private static Tensor Places(int count) => tensor(Enumerable.Range(0, Rows).SelectMany(r => Enumerable.Range(0, count).Select(c => (long)((r + (3 * c)) % Columns))).ToArray(), [Rows, count]);

    /// <summary>Of pairs (real, imaginary).</summary>
    private static double[] ComplexProducts(double[] a, double[] b) => [.. Enumerable.Range(0, a.Length).Select(i => i % 2 == 0 ? (a[i] * b[i]) - (a[i + 1] * b[i + 1]) : (a[i - 1] * b[i]) + (a[i] * b[i - 1]))];

    private static double[] Scattered(double[] into, double[] values, bool add)
    {
        double[] result = [.. into];
        for (int i = 0; i < values.Length; i++)
        {
            int place = (i / 2 * Columns) + (((i / 2) + (3 * (i % 2))) % Columns);
            result[place] = add ? result[place] + values[i] : values[i];
        }
        return result;
    }
}

/// <summary>The normal distribution to float64's precision, which .NET lacks.</summary>
internal static class Erf
{
    /// <summary>Φ(x) = ½ + φ(x)·(x + x³/3 + x⁵/15 + …), whose terms are all of one sign: no cancellation for |x| up to 3.</summary>
    public static double NormalDistribution(double x)
    {
        double sum = x, term = x;
        for (int k = 3; Math.Abs(term) > 1e-18 * Math.Abs(sum); k += 2)
            sum += term *= x * x / k;
        return 0.5 + (sum * Math.Exp(-x * x / 2) / Math.Sqrt(2 * Math.PI));
    }
}
