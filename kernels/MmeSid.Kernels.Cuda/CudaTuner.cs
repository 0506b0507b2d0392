namespace MmeSid.Kernels.Cuda;

/// <summary>One way to screen a level, timed.</summary>
/// <param name="Dimension">d.</param>
/// <param name="Codes">K.</param>
/// <param name="Kernel">The screen.</param>
/// <param name="Milliseconds">For <paramref name="Rows"/> rows, the device's re-check included; NaN where its codes were wrong.</param>
/// <param name="Rows">Of a batch.</param>
public sealed record TunedTile(int Dimension, int Codes, string Kernel, double Milliseconds, int Rows)
{
    /// <summary>2·n·d·K per second, in 10¹².</summary>
    public double Teraflops => 2.0 * Rows * Dimension * Codes / Milliseconds / 1e9;

    /// <summary>Whether it gave the codes that float32 gave.</summary>
    public bool IsRight => !double.IsNaN(Milliseconds);
}

/// <summary>Measures the screens of a GPU and remembers the fastest of each arithmetic for every shape.</summary>
public static class CudaTuner
{
    private const int kRepeats = 5;

    /// <summary>Times every screen on every shape; encoders of this and later processes take what was fastest.</summary>
    /// <param name="backend">The GPU.</param>
    /// <param name="dimensions">d.</param>
    /// <param name="codes">K.</param>
    /// <param name="report">Hears of each measurement.</param>
    /// <param name="cancellation">Ends it after the shape at hand, which is not remembered.</param>
    /// <returns>The file that remembers.</returns>
    /// <exception cref="BackendUnavailableException">A batch does not fit the device's memory.</exception>
    public static string Run(CudaBackend backend, IReadOnlyList<int> dimensions, IReadOnlyList<int> codes, Action<TunedTile> report, CancellationToken cancellation = default)
    {
        ArgumentNullException.ThrowIfNull(backend);
        ArgumentNullException.ThrowIfNull(dimensions);
        ArgumentNullException.ThrowIfNull(codes);
        ArgumentNullException.ThrowIfNull(report);
        string file = TileCache.FileOf(backend.Gpu);
        foreach (int d in dimensions)
        {
            // Shape by shape: who stops early keeps what was measured.
            foreach (int k in codes)
                TileCache.Add(file, Measure(backend, d, k, report, cancellation));
        }
        return file;
    }

    private static List<TileCache.Entry> Measure(CudaBackend backend, int dimension, int codes, Action<TunedTile> report, CancellationToken cancellation)
    {
        var random = new Random(dimension ^ codes);
        // Rows scatter about codewords, so that few stay open whatever the screen.
        float[] codebook = [.. Enumerable.Range(0, checked(codes * dimension)).Select(_ => random.NextSingle() - 0.5f)];
        var plan = new EncodePlan(PlanKind.Residual, dimension, [codebook]);
        using var stream = CudaStream.Create(backend.Gpu);
        using var reference = new CudaEncoder(backend.Gpu, plan, new EncodeOptions(), backend.Threads, new Screening(Screen.Default(ScreenKind.Float32), ShareOperand: false));
        int n = reference.BatchRows;
        float[] rows = new float[checked(n * dimension)];
        for (int i = 0; i < rows.Length; i++)
            rows[i] = codebook[i / dimension % codes * dimension + i % dimension] + (random.NextSingle() - 0.5f) * 0.5f;
        using var deviceRows = DeviceMemory<float>.From(stream, rows);
        using var deviceCodes = DeviceMemory<ushort>.Allocate(backend.Gpu, n);
        reference.Encode(deviceRows, n, deviceCodes);
        ushort[] expected = deviceCodes.ToArray(stream, n);

        int padded = (codes + Screens.CodesMultiple(codes) - 1) / Screens.CodesMultiple(codes) * Screens.CodesMultiple(codes);
        var fastest = new List<TileCache.Entry>();
        foreach (ScreenKind kind in Screens.Kinds)
        {
            double best = double.PositiveInfinity;
            Screen? winner = null;
            foreach (Screen screen in Screen.All.Where(screen => screen.Kind == kind))
            {
                cancellation.ThrowIfCancellationRequested();
                using var encoder = new CudaEncoder(backend.Gpu, plan, new EncodeOptions(), backend.Threads, new Screening(screen, ShareOperand: false));
                if (encoder.Choice[0] != screen)
                    continue;
                encoder.Encode(deviceRows, n, deviceCodes);
                bool right = deviceCodes.ToArray(stream, n).AsSpan().SequenceEqual(expected);
                double time = right ? encoder.Time(deviceRows, n, deviceCodes, kRepeats) : double.NaN;
                report(new TunedTile(dimension, codes, screen.Name, time, n));
                if (time < best)
                    (best, winner) = (time, screen);
            }
            if (winner is not null)
                fastest.Add(new TileCache.Entry(winner, dimension, padded));
        }
        return fastest;
    }
}
