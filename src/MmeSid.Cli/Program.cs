using System.CommandLine;
using MmeSid.Cli.Commands;
using MmeSid.Cli.Terminal;

var root = new RootCommand("""
    Semantic IDs (SIDs) for item embeddings: exact, streaming, as fast as the machine allows.
    Results go to stdout, progress to stderr. Exit status: 0 ok, 1 failed (one line 'mmesid: …' says what, where and what was expected), 2 usage, 130 interrupted.
    """)
{
    DevicesCommand.Create(),
    SynthCommand.Create(),
    EmbedCommand.Create(),
    ImportCommand.Create(),
    TrainCommand.Create(),
    ShadowCommand.Create(),
    AssignCommand.Create(),
    AppendCommand.Create(),
    UpdateCommand.Create(),
    RemoveCommand.Create(),
    LookupCommand.Create(),
    InspectCommand.Create(),
    ExportCommand.Create(),
    QuantizeCommand.Create(),
    EvaluateCommand.Create(),
    RecommendCommand.Create(),
    RankCommand.Create(),
    BenchCommand.Create(),
    DemoCommand.Create(),
};
GlobalOptions.AddTo(root);

return UsageErrors.Report(root, args) ?? root.Parse(args, UsageErrors.Parsing).Invoke(new InvocationConfiguration
{
    // Errors, Ctrl-C and their exit codes are CommandRun's.
    EnableDefaultExceptionHandler = false,
    ProcessTerminationTimeout = null,
});
