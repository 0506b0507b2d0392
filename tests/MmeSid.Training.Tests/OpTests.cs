namespace MmeSid.Training.Tests;

/// <summary>The contract of the tensor library, whichever is built: values against plain float64 loops, gradients against float64 central differences, in both types.</summary>
public sealed class OpTests
{
    public OpTests() => Libtorch.Require();

    public static TheoryData<string> Values() => new(OpCases.All.Select(op => op.Name));

    public static TheoryData<string> Gradients() => new(OpCases.All.Where(op => op.Differentiable).Select(op => op.Name));

    [Theory]
    [MemberData(nameof(Values))]
    public void ValuesAreThoseOfPlainLoops(string name)
    {
        OpCase op = OpCases.All.Single(candidate => candidate.Name == name);
        double[][] numbers = Draw(op);
        double[] expected = op.Reference(numbers);
        Libtorch.Near(expected, Run(op, numbers, float64), Bounds.Float64, $"{name}, float64");
        Libtorch.Near(expected, Run(op, numbers, float32), Bounds.Float32, $"{name}, float32");
    }

    [Theory]
    [MemberData(nameof(Gradients))]
    public void GradientsAreCentralDifferences(string name)
    {
        OpCase op = OpCases.All.Single(candidate => candidate.Name == name);
        double[][] numbers = Draw(op);
        double[] weights = Libtorch.Numbers(99, op.Reference(numbers).Length, 0.5, 1.5);
        double[] expected = Differences(op, numbers, weights);
        Libtorch.Near(expected, Backward(op, numbers, weights, float64), Bounds.Difference, $"gradient of {name}, float64");
        Libtorch.Near(expected, Backward(op, numbers, weights, float32), Bounds.Difference + Bounds.Float32, $"gradient of {name}, float32");
    }

    private static double[][] Draw(OpCase op) => [.. op.Shapes.Select((shape, i) => Libtorch.Numbers(i + 1, shape.Aggregate(1L, (a, b) => a * b), op.Low, op.High))];

    private static Tensor[] Inputs(OpCase op, double[][] numbers, ScalarType type) => [.. op.Shapes.Select((shape, i) => tensor(numbers[i], shape, type))];

    private static double[] Run(OpCase op, double[][] numbers, ScalarType type)
    {
        using DisposeScope scope = NewDisposeScope();
        Tensor result = op.Torch(Inputs(op, numbers, type));
        Assert.Equal(type, result.dtype);
        return Libtorch.Values(result);
    }

    /// <summary>Of Σ weight · result with respect to every input.</summary>
    private static double[] Backward(OpCase op, double[][] numbers, double[] weights, ScalarType type)
    {
        using DisposeScope scope = NewDisposeScope();
        Tensor[] inputs = Inputs(op, numbers, type);
        foreach (Tensor input in inputs)
            input.requires_grad = true;
        Tensor result = op.Torch(inputs);
        (result * tensor(weights, result.shape, type)).sum().backward();
        return [.. inputs.SelectMany(input => Libtorch.Values(input.grad!))];
    }

    /// <summary>The same from values alone, in plain float64.</summary>
    private static double[] Differences(OpCase op, double[][] numbers, double[] weights)
    {
        double Loss() => op.Reference(numbers).Zip(weights, (value, weight) => value * weight).Sum();
        var differences = new List<double>();
        foreach (double[] input in numbers)
        {
            for (int i = 0; i < input.Length; i++)
            {
                double at = input[i];
                input[i] = at + Bounds.Step;
                double above = Loss();
                input[i] = at - Bounds.Step;
                double below = Loss();
                input[i] = at;
                differences.Add((above - below) / (2 * Bounds.Step));
            }
        }
        return [.. differences];
    }
}
