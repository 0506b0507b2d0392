using System.CommandLine;
using MmeSid.Cli.Terminal;
using MmeSid.Engine.Sids;

namespace MmeSid.Cli.Commands;

/// <summary><c>mmesid export</c>: SIDs in the forms that other tools read.</summary>
internal static class ExportCommand
{
    public static Command Create()
    {
        var format = new Option<string>("--format")
        {
            Description = "csv and parquet: columns item, code_1, code_2, …; json: \"item\": [\"<a_12>\", \"<b_3>\", …] as LC-Rec and LETTER read it; trie: the memory-mappable prefix tree.",
            Required = true,
        }.AcceptOnlyFromAmong("csv", "json", "parquet", "trie");
        var raw = new Option<bool>("--raw") { Description = "Raw codes, before collisions were settled." };
        Option<string> output = OutputOptions.Out("The file.");
        var command = new Command("export", "Write the SIDs of a bundle for other tools.") { BundleOptions.Bundle, format, output, raw, OutputOptions.Force };
        command.SetAction(parsed => CommandRun.Execute(parsed, run =>
        {
            string path = run.Need(output);
            SidBundle bundle = SidBundle.Open(run.Need(BundleOptions.Bundle));
            SidTable sids = run.Get(raw) ? bundle.Codes : bundle.Sids;
            run.Progress.Step("export", sids.Count, "items", _ =>
            {
                switch (run.Need(format))
                {
                    case "csv":
                        SidExport.WriteCsv(bundle.Items, sids, path, run.Force);
                        break;
                    case "json":
                        SidExport.WriteJson(bundle.Items, sids, path, run.Force);
                        break;
                    case "parquet":
                        SidExport.WriteParquet(bundle.Items, sids, path, run.Force);
                        break;
                    default:
                        SidTrie.Build(sids).Save(path, run.Force);
                        break;
                }
            });
            run.Results.Value("out", path);
            run.Results.Value("items", sids.Count);
        }));
        return command;
    }
}
