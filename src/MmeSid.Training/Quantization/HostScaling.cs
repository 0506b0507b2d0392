using System.Numerics.Tensors;
using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;
using System.Runtime.Intrinsics;

namespace MmeSid.Training.Quantization;

/// <summary>
/// Sinkhorn's scalings of a plan in a processor's memory, both of an iteration in one pass: a row gives its u_i = 1/(n·A_i v) and, still in the first-level
/// cache, adds u_i·A_i to the sums of the columns, of which v = 1/(K·sum) is made. One thread; the same on every run of a machine.
/// </summary>
internal static class HostScaling
{
    /// <summary>argmax_k A[i, k] v[k] after the iterations, ties to the smallest k.</summary>
    /// <param name="plan">A, [n, K], positive.</param>
    /// <param name="rows">n.</param>
    /// <param name="codes">K.</param>
    /// <param name="iterations">T.</param>
    /// <returns>[n].</returns>
    public static long[] Codes(ReadOnlySpan<double> plan, int rows, int codes, int iterations)
    {
        double[] v = new double[codes], sums = new double[codes];
        Array.Fill(v, 1);
        for (int iteration = 0; iteration < iterations; iteration++)
        {
            Array.Clear(sums);
            for (int i = 0; i < rows; i++)
                AddScaledRow(plan.Slice(i * codes, codes), v, rows, sums);
            for (int k = 0; k < codes; k++)
                v[k] = 1 / (codes * sums[k]);
        }
        long[] best = new long[rows];
        for (int i = 0; i < rows; i++)
        {
            TensorPrimitives.Multiply(plan.Slice(i * codes, codes), v, sums);
            best[i] = TensorPrimitives.IndexOfMax<double>(sums);
        }
        return best;
    }

    // sums += u·row, u = 1/(rows · row·v)
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static void AddScaledRow(ReadOnlySpan<double> row, ReadOnlySpan<double> v, double rows, Span<double> sums)
    {
        ref double a = ref MemoryMarshal.GetReference(row), x = ref MemoryMarshal.GetReference(v), y = ref MemoryMarshal.GetReference(sums);
        nuint lanes = (nuint)Vector512<double>.Count, end = (nuint)row.Length, k = 0;
        Vector512<double> even = default, odd = default;
        for (; k + 2 * lanes <= end; k += 2 * lanes)
        {
            even = Vector512.MultiplyAddEstimate(Vector512.LoadUnsafe(ref a, k), Vector512.LoadUnsafe(ref x, k), even);
            odd = Vector512.MultiplyAddEstimate(Vector512.LoadUnsafe(ref a, k + lanes), Vector512.LoadUnsafe(ref x, k + lanes), odd);
        }
        double product = Vector512.Sum(even + odd);
        for (; k < end; k++)
            product += row[(int)k] * v[(int)k];
        double u = 1 / (rows * product);
        var factor = Vector512.Create(u);
        for (k = 0; k + lanes <= end; k += lanes)
            Vector512.MultiplyAddEstimate(Vector512.LoadUnsafe(ref a, k), factor, Vector512.LoadUnsafe(ref y, k)).StoreUnsafe(ref y, k);
        for (; k < end; k++)
            sums[(int)k] += u * row[(int)k];
    }
}
