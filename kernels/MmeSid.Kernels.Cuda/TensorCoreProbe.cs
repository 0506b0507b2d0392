using System.Numerics.Tensors;
using System.Runtime.InteropServices;

namespace MmeSid.Kernels.Cuda;

/// <summary>
/// How tensor cores round sums of fp16 products is not documented. Before the first plan, vectors made to hurt are multiplied on the device; one
/// that leaves half of the bound the screen relies on takes the fp16 screen out of the choice. (The bound has twice what truncation explains.)
/// </summary>
internal static class TensorCoreProbe
{
    private const int kWarpRows = 16, kWarpColumns = 8, kGroupRows = 64, kGroupColumns = 256, kGroupThreads = 128, kGroupSharedBytes = (128 + 256) * 128 + 8;

    [StructLayout(LayoutKind.Sequential)]
    private struct ProbeArguments
    {
        public nint A;
        public nint B;
        public nint Sums;
        public int Depth;
    }

    /// <summary>Largest error of any sum that a warp makes, in units of the bound γ‖a‖‖b‖ of <see cref="Screens.Product"/>.</summary>
    public static double WorstError(CudaDevice device) =>
        WorstError(device, device.Kernel("probe", "probe_float16", 32), kWarpRows, kWarpColumns, [16, 64, 1024], tiled: false);

    /// <summary>The same of sums that Hopper's warp groups make.</summary>
    public static double WorstErrorOfGroups(CudaDevice device) =>
        WorstError(device, device.Kernel("probe_hopper", "probe_hopper_float16", kGroupThreads, kGroupSharedBytes), kGroupRows, kGroupColumns, [64, 512], tiled: true);

    private static double WorstError(CudaDevice device, CudaKernel kernel, int rows, int columns, int[] depths, bool tiled)
    {
        using var stream = CudaStream.Create(device);
        double worst = 0;
        foreach (int depth in depths)
        {
            for (int kind = 0; kind < 5; kind++)
            {
                Half[] a = Values(kind, depth, rows, seed: 1), b = Values(kind, depth, columns, seed: 2);
                using var deviceA = DeviceMemory<Half>.From(stream, tiled ? Tiled(a, depth) : a);
                using var deviceB = DeviceMemory<Half>.From(stream, tiled ? Tiled(b, depth) : b);
                using var deviceSums = DeviceMemory<float>.Allocate(device, rows * columns);
                stream.Launch(kernel, 1, new ProbeArguments { A = deviceA.Value, B = deviceB.Value, Sums = deviceSums.Value, Depth = depth });
                worst = Math.Max(worst, Worst(a, b, deviceSums.ToArray(stream, rows * columns), depth));
            }
        }
        return worst;
    }

    // As operands lie, padded to whole tiles.
    private static unsafe Half[] Tiled(Half[] values, int depth)
    {
        const int kTileRows = 128;
        int rows = values.Length / depth, rowBytes = Screens.RowBytes(ScreenKind.Float16, depth), perChunk = Screens.kChunk / sizeof(Half);
        var tiled = new Half[(rows + kTileRows - 1) / kTileRows * kTileRows * rowBytes / sizeof(Half)];
        for (int i = 0; i < values.Length; i += perChunk)
            values.AsSpan(i, perChunk).CopyTo(tiled.AsSpan((int)(Screens.Chunk(ScreenKind.Float16, i / depth, i % depth * sizeof(Half), rowBytes) / sizeof(Half))));
        return tiled;
    }

    private static double Worst(Half[] a, Half[] b, float[] sums, int depth)
    {
        int rows = a.Length / depth, columns = b.Length / depth;
        double worst = 0, bound = Screens.Product(ScreenKind.Float16, depth);
        double[] x = Array.ConvertAll(a, value => (double)value), y = Array.ConvertAll(b, value => (double)value);
        for (int i = 0; i < rows; i++)
        {
            ReadOnlySpan<double> row = x.AsSpan(i * depth, depth);
            for (int j = 0; j < columns; j++)
            {
                // Products of fp16 values are exact in float64; its own sum errs by a 2^29th of float32's.
                ReadOnlySpan<double> column = y.AsSpan(j * depth, depth);
                double scale = Math.Sqrt(TensorPrimitives.SumOfSquares(row) * TensorPrimitives.SumOfSquares(column));
                if (scale > 0)
                    worst = Math.Max(worst, Math.Abs(sums[i * columns + j] - TensorPrimitives.Dot(row, column)) / (bound * scale));
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
