using MathNet.Numerics.Distributions;

namespace MmeSid.Bench;

/// <summary>A mean and its 95 % confidence interval by Student's t distribution; infinitely wide where there is only one value.</summary>
/// <param name="Mean">Of the values, or the difference of two means.</param>
/// <param name="Half">Half the width of the interval.</param>
/// <param name="Count">Values, the smaller number of two samples.</param>
internal readonly record struct Interval(double Mean, double Half, int Count)
{
    private const double kUpper = 0.975;

    /// <summary>Lower end.</summary>
    public double Low => Mean - Half;

    /// <summary>Upper end.</summary>
    public double High => Mean + Half;

    /// <summary>The interval of one sample's mean: t with n − 1 degrees of freedom.</summary>
    public static Interval Of(IReadOnlyList<double> values)
    {
        (double mean, double error) = Moments(values);
        return new(mean, error == 0 ? 0 : values.Count < 2 ? double.PositiveInfinity : Quantile(values.Count - 1) * Math.Sqrt(error), values.Count);
    }

    /// <summary>The interval of mean(first) − mean(second) of independent samples whose variances may differ (Welch).</summary>
    public static Interval Difference(IReadOnlyList<double> first, IReadOnlyList<double> second)
    {
        ((double a, double va), (double b, double vb)) = (Moments(first), Moments(second));
        int count = Math.Min(first.Count, second.Count);
        if (count < 2)
            return new(a - b, double.PositiveInfinity, count);
        double variance = va + vb;
        if (variance == 0)
            return new(a - b, 0, count);
        double freedom = variance * variance / ((va * va / (first.Count - 1)) + (vb * vb / (second.Count - 1)));
        return new(a - b, Quantile(freedom) * Math.Sqrt(variance), count);
    }

    // Mean, and the squared standard error of it; infinite for a single value.
    private static (double Mean, double SquaredError) Moments(IReadOnlyList<double> values)
    {
        ArgumentOutOfRangeException.ThrowIfZero(values.Count, nameof(values));
        double mean = values.Average();
        return (mean, values.Count < 2 ? double.PositiveInfinity : values.Sum(value => (value - mean) * (value - mean)) / (values.Count - 1.0) / values.Count);
    }

    private static double Quantile(double freedom) => StudentT.InvCDF(0, 1, freedom, kUpper);
}

/// <summary>What a difference says of a claim.</summary>
internal enum Verdict
{
    /// <summary>The whole interval lies where the claim says.</summary>
    Holds,

    /// <summary>The whole interval lies on the other side.</summary>
    DoesNotHold,

    /// <summary>The interval holds zero, or there is only one seed.</summary>
    NotDecided,
}

/// <summary>Verdicts and their words.</summary>
internal static class Verdicts
{
    /// <summary>Judges a difference.</summary>
    /// <param name="difference">First minus second.</param>
    /// <param name="claimedSign">+1 where the claim says that the first is larger, −1 where smaller.</param>
    public static Verdict Of(Interval difference, int claimedSign)
    {
        if (!double.IsFinite(difference.Half))
            return Verdict.NotDecided;
        (double low, double high) = claimedSign > 0 ? (difference.Low, difference.High) : (-difference.High, -difference.Low);
        return low > 0 ? Verdict.Holds : high < 0 ? Verdict.DoesNotHold : Verdict.NotDecided;
    }

    /// <summary>As pages say it.</summary>
    public static string Text(this Verdict verdict) => verdict switch
    {
        Verdict.Holds => "holds",
        Verdict.DoesNotHold => "does not hold",
        _ => "not decided",
    };
}
