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
}
