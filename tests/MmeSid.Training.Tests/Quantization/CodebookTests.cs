using MmeSid.Kernels;
using MmeSid.Kernels.Scalar;
using MmeSid.Training.Quantization;

namespace MmeSid.Training.Tests.Quantization;

/// <summary>Codebooks in training: which code, which gradient, which average, which restart.</summary>
public sealed class CodebookTests
{
    private const int Rows = 37, Width = 5, Codes = 7;

    public CodebookTests()
    {
        Libtorch.Require();
        manual_seed(11);
    }

    [Fact]
    public void NearestIsTheCodeOfLeastDistance()
    {
        using DisposeScope scope = NewDisposeScope();
        using var codebook = new Codebook(Codes, Width, new CodebookOptions());
        codebook.Set(randn(Codes, Width));
        Tensor rows = randn(Rows, Width);
        long[] expected = [.. Enumerable.Range(0, Rows).Select(i => Distances(rows, codebook)[i].Select((d, k) => (d, k)).Min().k)];
        Assert.Equal(expected, codebook.Nearest(rows).data<long>().ToArray());
    }

    /// <summary>The engine's own iteration, in the log domain of float64, is the reference.</summary>
    [Theory]
    [InlineData(0.003, 50)]
    [InlineData(0.05, 7)]
    [InlineData(1, 1)]
    public void BalancedCodesAreTheEngines(double epsilon, int iterations)
    {
        using DisposeScope scope = NewDisposeScope();
        using var codebook = new Codebook(Codes, Width, new CodebookOptions());
        codebook.Set(randn(Codes, Width));
        // Rows crowd around one code, so that balancing must move them.
        Tensor rows = codebook.Table.detach().narrow(0, 2, 1) + (randn(Rows, Width) * 0.3);
        var options = new SinkhornOptions { Epsilon = epsilon, Iterations = iterations };
        var expected = new ushort[Rows];
        new ScalarBackend().SinkhornAssign(new RowView(rows.data<float>().ToArray(), Width), new RowView(codebook.Table.data<float>().ToArray(), Width), options, expected, []);
        long[] found = codebook.Balanced(rows, options).data<long>().ToArray();
        Assert.Equal(expected.Select(code => (long)code), found);
        if (epsilon == 0.003)
            Assert.True(found.Distinct().Count() == Codes && codebook.Nearest(rows).data<long>().ToArray().Distinct().Count() < Codes);
    }

    /// <summary>One pass over the plan, or two products an iteration: whole vectors, pairs of them, and what is left over.</summary>
    [Theory]
    [InlineData(1, 1)]
    [InlineData(300, 8)]
    [InlineData(300, 37)]
    [InlineData(65, 64)]
    public void BothWaysOfBalancingAgree(int rows, int codes)
    {
        using DisposeScope scope = NewDisposeScope();
        Tensor affinity = (rand(rows, codes, float64) * -20).exp();
        Assert.Equal(SinkhornCodes.InProducts(affinity.clone(), 20).data<long>().ToArray(), SinkhornCodes.InOnePass(affinity, 20).data<long>().ToArray());
    }

    [Fact]
    public void EqualRowsAndCodesBalanceToSomething()
    {
        using DisposeScope scope = NewDisposeScope();
        Assert.All(SinkhornCodes.Of(zeros(4, 3), new SinkhornOptions()).data<long>().ToArray(), code => Assert.InRange(code, 0, 2));
    }

    [Theory]
    [InlineData(ResidualPath.EveryLevel)]
    [InlineData(ResidualPath.FirstLevel)]
    public void ResidualsSumsAndCodesAreThoseOfTheDefinition(ResidualPath path)
    {
        using DisposeScope scope = NewDisposeScope();
        using ResidualCodebooks codebooks = Residual(path, [7, 3, 5]);
        Tensor rows = randn(Rows, Width);
        QuantizedRows quantized = codebooks.Quantize(rows);
        Tensor residual = rows, sum = zeros_like(rows);
        for (int level = 0; level < 3; level++)
        {
            Tensor code = codebooks.Levels[level].Nearest(residual);
            Tensor codeword = codebooks.Levels[level].Table.detach().index_select(0, code);
            Assert.True(code.Equals(quantized.Codes[level]), $"codes of level {level}");
            Assert.True(residual.Equals(quantized.Levels[level].Residual.detach()) && codeword.Equals(quantized.Levels[level].Codeword.detach()), $"level {level}");
            residual -= codeword;
            sum += codeword;
        }
        Libtorch.Near(Libtorch.Values(sum), Libtorch.Values(quantized.Value), 1e-6, "the sum of codewords");
    }

    /// <summary>The value of the codewords, the gradient of the rows: both ways.</summary>
    [Theory]
    [InlineData(ResidualPath.EveryLevel)]
    [InlineData(ResidualPath.FirstLevel)]
    public void TheSumIsStraightThrough(ResidualPath path)
    {
        using DisposeScope scope = NewDisposeScope();
        using ResidualCodebooks codebooks = Residual(path, [7, 3]);
        Tensor rows = randn(Rows, Width, requires_grad: true), weights = randn(Rows, Width);
        (codebooks.Quantize(rows).Value * weights).sum().backward();
        Assert.True(weights.Equals(rows.grad!));
        Assert.All(codebooks.Levels, level => Assert.Null(level.Table.grad));
    }

    /// <summary>The commitment of the paper's formula reaches z from every level, that of the released code from the first alone.</summary>
    [Theory]
    [InlineData(ResidualPath.EveryLevel)]
    [InlineData(ResidualPath.FirstLevel)]
    public void CommitmentOfLaterLevels(ResidualPath path)
    {
        for (int only = 0; only < 3; only++)
        {
            using DisposeScope scope = NewDisposeScope();
            manual_seed(5);
            using ResidualCodebooks codebooks = Residual(path, [4, 4, 4]);
            Tensor rows = randn(Rows, Width, requires_grad: true);
            (Tensor residual, Tensor codeword) = codebooks.Quantize(rows).Levels[only];
            if (only > 0 && path == ResidualPath.FirstLevel)
            {
                Assert.False(residual.requires_grad);
                continue;
            }
            nn.functional.mse_loss(residual, codeword.detach()).backward();
            // 2/(Bw) · (r_l − q_l)
            Libtorch.Near(Libtorch.Values((residual - codeword) * (2.0 / (Rows * Width))), Libtorch.Values(rows.grad!), 1e-7, $"commitment of level {only}");
            Assert.True(Libtorch.Values(rows.grad!).Max(Math.Abs) > 1e-3);
            // Codewords of the levels before move as well: minus the sum over the rows that chose them.
            Assert.Equal(only, codebooks.Levels.Count(level => level.Table.grad is not null));
        }
    }

    /// <summary>Codewords learn from the rows that chose them, and only from the first term.</summary>
    [Fact]
    public void CodewordsMoveToTheirRows()
    {
        using DisposeScope scope = NewDisposeScope();
        using ResidualCodebooks codebooks = Residual(ResidualPath.FirstLevel, [4, 3]);
        Tensor rows = randn(Rows, Width, requires_grad: true);
        QuantizedRows quantized = codebooks.Quantize(rows);
        ResidualLoss.Of(quantized.Levels, 0.25).backward();
        for (int level = 0; level < 2; level++)
        {
            double[] expected = new double[codebooks.Levels[level].CodeCount * Width];
            double[] r = Libtorch.Values(quantized.Levels[level].Residual), q = Libtorch.Values(quantized.Levels[level].Codeword);
            long[] codes = quantized.Codes[level].data<long>().ToArray();
            for (int i = 0; i < r.Length; i++)
                expected[(codes[i / Width] * Width) + (i % Width)] += 2 * (q[i] - r[i]) / (Rows * Width) / 2;
            Libtorch.Near(expected, Libtorch.Values(codebooks.Levels[level].Table.grad!), 1e-7, $"level {level}");
        }
    }

    /// <summary>The loss with known gradients is the one that autograd differentiates through the levels.</summary>
    [Theory]
    [InlineData(ResidualPath.EveryLevel, 0.25)]
    [InlineData(ResidualPath.EveryLevel, 0)]
    [InlineData(ResidualPath.FirstLevel, 0.25)]
    public void KnownGradientsAreThoseOfThePlainLoss(ResidualPath path, double commitment)
    {
        using DisposeScope scope = NewDisposeScope();
        using ResidualCodebooks codebooks = Residual(path, [4, 3, 5]);
        Tensor values = randn(Rows, Width);
        (double Loss, double[][] Gradients) Differentiate(Func<QuantizedRows, Tensor> loss)
        {
            foreach (Codebook level in codebooks.Levels)
                level.zero_grad();
            Tensor rows = values.clone().requires_grad_(true);
            // A factor before and behind, as in a whole model.
            Tensor total = loss(codebooks.Quantize(rows * 3)) * 2;
            total.backward();
            return (total.ToDouble(), [rows.grad is null ? new double[values.numel()] : Libtorch.Values(rows.grad), .. codebooks.Levels.Select(level => Libtorch.Values(level.Table.grad!))]);
        }
        (double plainLoss, double[][] plain) = Differentiate(quantized => ResidualLoss.Of(quantized.Levels, commitment));
        (double loss, double[][] known) = Differentiate(quantized => codebooks.Loss(quantized, commitment));
        Assert.Equal(plainLoss, loss, 1e-5);
        foreach ((double[] expected, double[] actual) in plain.Zip(known))
            Libtorch.Near(expected, actual, 1e-6, path.ToString());
        Assert.All(known.Skip(1), gradient => Assert.Contains(gradient, value => Math.Abs(value) > 1e-3));
    }

    [Fact]
    public void OnlyTheLastLevelIsBalancedAndOnlyInTraining()
    {
        using DisposeScope scope = NewDisposeScope();
        using var codebooks = new ResidualCodebooks(Width, new CodebookOptions { Codes = [6, 6], LastLevel = new SinkhornOptions() });
        foreach (Codebook level in codebooks.Levels)
            level.Set(randn(6, Width) * 3);
        Tensor rows = randn(60, Width) * 0.1;
        QuantizedRows trained = codebooks.Quantize(rows);
        Assert.True(trained.Codes[0].Equals(codebooks.Levels[0].Nearest(rows)));
        Assert.Equal(6, trained.Codes[1].data<long>().ToArray().Distinct().Count());
        codebooks.eval();
        QuantizedRows evaluated = codebooks.Quantize(rows);
        Assert.True(evaluated.Codes[1].Equals(codebooks.Levels[1].Nearest(evaluated.Levels[1].Residual)));
        Assert.NotEqual(6, evaluated.Codes[1].data<long>().ToArray().Distinct().Count());
    }

    [Fact]
    public void MovingAveragesAreThoseOfTheFormula()
    {
        const double decay = 0.8;
        using DisposeScope scope = NewDisposeScope();
        using var codebook = new Codebook(3, 2, new CodebookOptions { MovingAverage = decay });
        Assert.Empty(codebook.parameters());
        double[] start = [0, 0, 1, 1, 5, 5], counts = [1, 1, 1], sums = [.. start];
        codebook.Set(tensor(start, [3, 2], float32));
        double[] rows = [0.5, 0.25, 2, 1, 0, -1];
        long[] codes = [0, 1, 0];
        for (int step = 0; step < 3; step++)
        {
            codebook.AfterStep(tensor(rows, [3, 2], float32), tensor(codes));
            for (int k = 0; k < 3; k++)
            {
                int[] chose = [.. Enumerable.Range(0, 3).Where(i => codes[i] == k)];
                counts[k] = (decay * counts[k]) + ((1 - decay) * chose.Length);
                for (int c = 0; c < 2; c++)
                    sums[(k * 2) + c] = (decay * sums[(k * 2) + c]) + ((1 - decay) * chose.Sum(i => rows[(i * 2) + c]));
            }
        }
        double total = counts.Sum();
        double[] expected = [.. sums.Select((sum, i) => sum / ((counts[i / 2] + 1e-5) / (total + 3e-5) * total))];
        Libtorch.Near(expected, Libtorch.Values(codebook.Table), 1e-6, "averages");
        Assert.Equal(5, expected[4], 1e-3);
    }

    [Theory]
    [InlineData(0)]
    [InlineData(0.9)]
    public void UnusedCodesRestartOnRowsOfTheBatch(double movingAverage)
    {
        using DisposeScope scope = NewDisposeScope();
        using var codebook = new Codebook(3, Width, new CodebookOptions { RestartAfter = 2, MovingAverage = movingAverage });
        Tensor start = randn(3, Width) * 100;
        codebook.Set(start);
        Tensor rows = randn(Rows, Width), codes = zeros(Rows, int64);
        codes[0] = tensor(2L);
        codebook.AfterStep(rows, codes);
        Assert.False(IsRow(1));
        codebook.AfterStep(rows, codes);
        Assert.True(IsRow(1));
        Assert.False(IsRow(0) || IsRow(2));
        Tensor moved = codebook.Table.detach().select(0, 1).clone();
        codebook.AfterStep(rows, codes);
        // Its count began anew.
        Assert.True(codebook.Table.detach().select(0, 1).allclose(moved, 1e-3));

        bool IsRow(int code) => (rows == codebook.Table.detach().select(0, code)).all(1).any().ToBoolean();
    }

    private static ResidualCodebooks Residual(ResidualPath path, int[] codes)
    {
        var codebooks = new ResidualCodebooks(Width, new CodebookOptions { Codes = codes, Path = path, LastLevel = null });
        foreach (Codebook level in codebooks.Levels)
            level.Set(randn(level.CodeCount, Width));
        return codebooks;
    }

    private static double[][] Distances(Tensor rows, Codebook codebook)
    {
        double[] r = Libtorch.Values(rows), c = Libtorch.Values(codebook.Table);
        return [.. Enumerable.Range(0, (int)rows.shape[0]).Select(i => (double[])[.. Enumerable.Range(0, codebook.CodeCount)
            .Select(k => Enumerable.Range(0, Width).Sum(j => Math.Pow(r[(i * Width) + j] - c[(k * Width) + j], 2)))])];
    }
}
