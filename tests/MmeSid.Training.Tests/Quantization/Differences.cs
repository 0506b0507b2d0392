using TorchSharp.Modules;

namespace MmeSid.Training.Tests.Quantization;

/// <summary>Gradients by central differences in float64, for losses whose reference is a plain function of numbers.</summary>
internal static class Differences
{
    /// <summary>∂loss/∂x_i for every number of x; <paramref name="x"/> is changed and restored.</summary>
    public static double[] Of(double[] x, Func<double> loss)
    {
        var gradient = new double[x.Length];
        for (int i = 0; i < x.Length; i++)
        {
            double at = x[i];
            x[i] = at + Bounds.Step;
            double above = loss();
            x[i] = at - Bounds.Step;
            double below = loss();
            x[i] = at;
            gradient[i] = (above - below) / (2 * Bounds.Step);
        }
        return gradient;
    }

    /// <summary>The gradients that a backward pass left in a module's parameters, all float64, against differences of the loss; parameters are changed and restored.</summary>
    /// <returns>The differences of each parameter, by name.</returns>
    public static IReadOnlyDictionary<string, double[]> AgreeWithGradients(nn.Module module, Func<double> loss)
    {
        var all = new Dictionary<string, double[]>();
        foreach ((string name, Parameter parameter) in module.named_parameters())
        {
            double[] values = Libtorch.Values(parameter);
            all[name] = Of(values, () =>
            {
                using DisposeScope scope = NewDisposeScope();
                Write();
                return loss();
            });
            Write();
            Libtorch.Near(all[name], Libtorch.Values(parameter.grad!), Bounds.Difference, $"gradient of {name}");

            void Write()
            {
                using (no_grad())
                    parameter.copy_(tensor(values, parameter.shape));
            }
        }
        return all;
    }
}
