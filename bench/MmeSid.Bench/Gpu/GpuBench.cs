using System.Globalization;
using MmeSid.Kernels;
using MmeSid.Kernels.Cuda;

namespace MmeSid.Bench;

/// <summary>How the bench of a GPU is run.</summary>
/// <param name="Results">Folder of the results.</param>
/// <param name="Suites">Comma-separated, <c>all</c> or <c>none</c>.</param>
/// <param name="Quick">Tiny shapes.</param>
/// <param name="Peers">PyTorch as well, where it is.</param>
/// <param name="Device">0 the first GPU.</param>
/// <param name="Rows">Rows whose codes are proven on the device.</param>
/// <param name="Box">Longest that a part which could go on for ever takes.</param>
/// <param name="Seed">Of what is drawn at random.</param>
/// <param name="Steps">File of what else ran, or null.</param>
internal sealed record GpuBenchOptions(string Results, string Suites, bool Quick, bool Peers, int Device, long Rows, TimeSpan Box, ulong Seed, string? Steps);

/// <summary>Measures a GPU. A suite that fails is reported on its page, and the next one runs.</summary>
internal static class GpuBench
{
    private const long kQuickRows = 3000;

    /// <summary>0, 1 where a suite failed, 2 where none could run.</summary>
    public static int Run(GpuBenchOptions options)
    {
        string[] wanted = options.Suites switch { "all" => GpuSuites.Names, "none" => [], _ => options.Suites.Split(',', StringSplitOptions.TrimEntries) };
        if (wanted.Except(GpuSuites.Names).FirstOrDefault() is { } unknown)
        {
            Console.Error.WriteLine($"there is no suite '{unknown}' of a GPU; there are {string.Join(", ", GpuSuites.Names)}");
            return 2;
        }
        CudaBackend backend;
        try
        {
            backend = new CudaBackend(options.Device);
        }
        catch (BackendUnavailableException error)
        {
            Console.Error.WriteLine(error.Message);
            return 2;
        }
        string? repository = Machine.Repository();
        GpuMachine machine = GpuMachine.Describe(backend.Gpu, repository);
        BenchRun.Say($"{machine}; measuring the ceilings");
        (CudaCeilings ceilings, string? clocks) = GpuMachine.MeasureCeilings(backend);
        using var context = new GpuContext
        {
            Backend = backend,
            Ceilings = ceilings,
            Torch = options.Peers && wanted.Contains("peer") ? new TorchPeer(repository) : null,
            Quick = options.Quick,
            ProvenRows = options.Quick ? Math.Min(options.Rows, kQuickRows) : options.Rows,
            Box = options.Box,
            Seed = options.Seed,
        };
        GpuResult result = GpuResult.Load(options.Results, machine, ceilings, clocks);
        if (options.Steps is not null)
            result = result with { Steps = [.. File.ReadLines(options.Steps).Select(Step)] };
        int failed = 0;
        foreach (GpuSuite suite in GpuSuites.All.Where(suite => wanted.Contains(suite.Name)))
        {
            BenchRun.Say($"{suite.Name}: {suite.Title}");
            context.Remarks.Clear();
            context.Targets.Clear();
            if (options.Quick)
                context.Remarks.Add("A quick run: tiny shapes that show that everything works; the figures mean nothing");
            List<Figure> figures = [];
            try
            {
                foreach (Figure figure in suite.Run(context))
                {
                    figures.Add(figure);
                    BenchRun.Say("  " + Report.GpuLine(figure));
                    // Whoever stops a run that takes too long finds what it had.
                    Keep();
                }
            }
            catch (Exception error)
            {
                failed++;
                context.Remarks.Add($"**Stopped: {error.Message.ReplaceLineEndings(" ")}**");
                Console.Error.WriteLine(error);
            }
            foreach (string remark in context.Remarks)
                BenchRun.Say("  " + remark);
            Keep();

            void Keep()
            {
                result = result.With(new GpuSuiteResult(suite.Name, suite.Title, machine.Host.Commit, machine.Host.Date, ceilings, clocks, [.. context.Remarks], [.. context.Targets], [.. figures]));
                result.Save(options.Results);
            }
        }
        Console.WriteLine(result.Save(options.Results));
        return failed > 0 ? 1 : 0;
    }

    private static GpuStep Step(string line)
    {
        string[] parts = line.Split('\t', 4);
        return parts.Length == 4 ? new GpuStep(parts[0], parts[1], double.Parse(parts[2], CultureInfo.InvariantCulture), parts[3])
            : throw new InvalidDataException($"a step has four fields with tabs between, '{line}' has {parts.Length}");
    }
}
