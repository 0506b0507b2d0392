using System.CommandLine;
using MmeSid.Cli.Terminal;
using MmeSid.Kernels;
using MmeSid.Kernels.Cuda;

namespace MmeSid.Cli.Commands;

/// <summary><c>mmesid bench tune</c>: which tile shapes this GPU runs fastest, remembered for every later run.</summary>
internal static class TuneCommand
{
    public static Command Create()
    {
        var dimensions = new Option<string>("--dimensions") { Description = "Values per row, a list.", DefaultValueFactory = _ => "64,128,384,768,1280,4096", HelpName = "counts" };
        var codes = new Option<string>("--codes") { Description = "Codes of a level, a list.", DefaultValueFactory = _ => "256,1024,4096,8192", HelpName = "counts" };
        var command = new Command("tune", "Time the tile shapes of every screen on the GPU and keep the fastest for each shape in the user's cache folder, per GPU model and driver. Without it, sane defaults serve; codes are the same either way.")
        {
            dimensions, codes,
        };
        command.SetAction(parsed => CommandRun.Execute(parsed, run =>
        {
            IReadOnlyList<int> ds = Counts(dimensions), ks = Counts(codes);
            if (GlobalOptions.CreateBackend(parsed) is not CudaBackend backend)
                throw new BackendUnavailableException("bench tune needs a GPU: " + (CudaBackend.UnavailableReason ?? "the chosen backend has no tile shapes; expected --backend cuda"));
            var tiles = new List<TunedTile>();
            string file = run.Progress.Step("tune", (long)ds.Count * ks.Count, "shapes", step => CudaTuner.Run(backend, ds, ks, tile =>
            {
                step.Advance(tiles.Count > 0 && (tiles[^1].Dimension, tiles[^1].Codes) != (tile.Dimension, tile.Codes) ? 1 : 0);
                tiles.Add(tile);
            }, run.Cancellation));
            run.Results.Value("device", $"{backend.Name}: {backend.Device}");
            run.Results.Table("tiles", ["dimension", "codes", "kernel", "rows", "milliseconds", "tflops", "note"],
                [.. tiles.Select(tile => (IReadOnlyList<ResultSheet.Cell>)
                [
                    (long)tile.Dimension, (long)tile.Codes, tile.Kernel, (long)tile.Rows, tile.IsRight ? Math.Round(tile.Milliseconds, 4) : ResultSheet.Cell.None, tile.IsRight ? Math.Round(tile.Teraflops, 2) : ResultSheet.Cell.None,
                    !tile.IsRight ? "wrong codes: never chosen" : tile == Fastest(tiles, tile) ? "fastest" : "",
                ])]);
            run.Results.Value("file", file);

            IReadOnlyList<int> Counts(Option<string> option)
            {
                IReadOnlyList<int> counts = NumberLists.Parse<int>(run.Need(option), option.Name);
                foreach (int count in counts)
                {
                    if (count is < 1 or > EncodePlan.MaximumCodes)
                        throw new ArgumentException($"{option.Name} holds {count}, expected 1 to {EncodePlan.MaximumCodes}");
                }
                return counts;
            }
        }));
        return command;
    }

    private static TunedTile? Fastest(IEnumerable<TunedTile> tiles, TunedTile of) =>
        tiles.Where(tile => (tile.Dimension, tile.Codes) == (of.Dimension, of.Codes) && tile.IsRight).MinBy(tile => tile.Milliseconds);
}
