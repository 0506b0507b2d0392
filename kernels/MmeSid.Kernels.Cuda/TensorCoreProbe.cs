using System.Runtime.InteropServices;

namespace MmeSid.Kernels.Cuda;

/// <summary>
/// How tensor cores round sums of fp16 products is not documented. Before the first plan, vectors made to hurt are multiplied on the device; one
/// that leaves half of the bound the screen relies on takes the fp16 screen out of the choice. (The bound has twice what truncation explains.)
/// </summary>
internal static class TensorCoreProbe
{
    private const int kRows = 16, kColumns = 8;

    [StructLayout(LayoutKind.Sequential)]
    private struct ProbeArguments
    {
        public nint A;
        public nint B;
        public nint Sums;
        public int Depth;
    }

    /// <summary>Largest error of any sum in units of the bound γ‖a‖‖b‖ of <see cref="Screens.Product"/>.</summary>
    public static double WorstError(CudaDevice device)
    {
        CudaKernel kernel = device.Kernel("probe", "probe_float16", 32);
        using var stream = CudaStream.Create(device);
        double worst = 0;
        foreach (int depth in (int[])[16, 64, 1024])
        {
            for (int kind = 0; kind < 5; kind++)
            {
                Half[] a = Values(kind, depth, kRows, seed: 1), b = Values(kind, depth, kColumns, seed: 2);
                using var deviceA = DeviceMemory<Half>.From(stream, a);
                using var deviceB = DeviceMemory<Half>.From(stream, b);
                using var deviceSums = DeviceMemory<float>.Allocate(device, kRows * kColumns);
                stream.Launch(kernel, 1, new ProbeArguments { A = deviceA.Value, B = deviceB.Value, Sums = deviceSums.Value, Depth = depth });
                float[] sums = new float[kRows * kColumns];
                stream.Read(sums.AsSpan(), deviceSums);
                worst = Math.Max(worst, Worst(a, b, sums, depth));
            }
        }
        return worst;
    }

    private static double Worst(Half[] a, Half[] b, float[] sums, int depth)
    {
        double worst = 0, bound = Screens.Product(ScreenKind.Float16, depth);
        for (int i = 0; i < kRows; i++)
        {
            for (int j = 0; j < kColumns; j++)
            {
                // Products of fp16 values are exact in float64; its own sum errs by a 2^29th of float32's.
                double sum = 0, squaresA = 0, squaresB = 0;
                for (int k = 0; k < depth; k++)
                {
                    double x = (double)a[i * depth + k], y = (double)b[j * depth + k];
                    sum += x * y;
                    squaresA += x * x;
                    squaresB += y * y;
                }
                double scale = Math.Sqrt(squaresA * squaresB);
                if (scale > 0)
                    worst = Math.Max(worst, Math.Abs(sums[i * kColumns + j] - sum) / (bound * scale));
            }
        }
        return double.IsNaN(worst) ? double.PositiveInfinity : worst;
    }

    // What loses most: small values beside one large one, sums that cancel, values of every size, full mantissas, subnormals.
    private static Half[] Values(int kind, int depth, int rows, int seed)
    {
        var random = new Random(seed);
        var values = new Half[rows * depth];
        for (int i = 0; i < values.Length; i++)
        {
            int k = i % depth;
            double value = kind switch
            {
                0 => k == i / depth % depth ? 32768 : 1.9990234375 * Math.ScaleB(1, -(i % 12)),
                1 => (k % 2 == 0 ? 1 : -1) * (seed == 1 ? 1 : k % 2 == 0 ? 1 : -1) * (1 + random.NextDouble()) * 16384 * (k < depth / 2 ? 1 : -1),
                2 => (random.Next(2) * 2 - 1) * (1 + random.NextDouble()) * Math.ScaleB(1, random.Next(-14, 14)),
                3 => 2047.0 / 1024 * 16384,
                _ => (random.NextDouble() - 0.5) * Math.ScaleB(1, -13),
            };
            values[i] = (Half)value;
        }
        return values;
    }
}
