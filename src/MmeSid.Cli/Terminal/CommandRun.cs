using System.CommandLine;
using System.Diagnostics;
using System.Runtime.InteropServices;
using MmeSid.Cli.Commands;
using MmeSid.Engine.Files;
using MmeSid.Kernels;
using MmeSid.Training.Optimization;

namespace MmeSid.Cli.Terminal;

/// <summary>
/// One run of one command: hands it its options, progress, results and cancellation, and turns what happens into an exit status.
/// 0 ok; 1 failed, with one line on stderr; 130 interrupted by SIGINT or SIGTERM.
/// </summary>
internal sealed class CommandRun
{
    private const int kFailed = 1;
    private const int kInterrupted = 130;
    private const string kInterruptedLine = "mmesid: interrupted; no unfinished output is left";
    private static readonly TimeSpan s_patience = TimeSpan.FromSeconds(5);

    /// <summary>A signal may arrive twice at once (from a shell and from the terminal); after this long a second one means it.</summary>
    private static readonly TimeSpan s_secondWish = TimeSpan.FromSeconds(1);

    private CommandRun(ParseResult parsed, CancellationToken cancellation)
    {
        Parsed = parsed;
        Cancellation = cancellation;
        Verbose = parsed.GetValue(GlobalOptions.Verbose);
        Progress = new ProgressDisplay(parsed.GetValue(GlobalOptions.Quiet), Verbose, cancellation);
        Results = new ResultSheet();
    }

    /// <summary>The options as given.</summary>
    public ParseResult Parsed { get; }

    /// <summary>Cancelled by Ctrl-C; long work must watch it.</summary>
    public CancellationToken Cancellation { get; }

    /// <summary>Whether details were asked for.</summary>
    public bool Verbose { get; }

    /// <summary>Whether results are for machines.</summary>
    public bool Json => Parsed.GetValue(GlobalOptions.Json);

    /// <summary>Bars or lines on stderr.</summary>
    public ProgressDisplay Progress { get; }

    /// <summary>What stdout will show when the command is done.</summary>
    public ResultSheet Results { get; }

    /// <summary>Value of <c>--seed</c>.</summary>
    public ulong Seed => Parsed.GetValue(GlobalOptions.Seed);

    /// <summary>Value of <c>--threads</c>, with 0 replaced by the number of cores.</summary>
    public int Threads => GlobalOptions.ThreadCount(Parsed) is var threads and > 0 ? threads : Environment.ProcessorCount;

    /// <summary>Value of <c>--force</c>.</summary>
    public bool Force => Parsed.GetValue(OutputOptions.Force);

    /// <summary>Value of an option of the command.</summary>
    public T? Get<T>(Option<T> option) => Parsed.GetValue(option);

    /// <summary>Value of an option that is required or has a default.</summary>
    public T Need<T>(Option<T> option) => Parsed.GetRequiredValue(option);

    /// <summary>Deletes the checkpoint of work whose result is safe, so that one which stays behind is no failure.</summary>
    /// <param name="path">The file, or null where there is none.</param>
    public void DeleteCheckpoint(string? path)
    {
        try
        {
            if (path is not null)
                File.Delete(path);
        }
        catch (Exception problem) when (problem is IOException or UnauthorizedAccessException)
        {
            Progress.Note($"checkpoint not deleted: {problem.Message}");
        }
    }

    /// <summary>
    /// Runs <paramref name="work"/>, prints its results and returns the exit status. Work looks at <see cref="Cancellation"/> before it commits its
    /// output: an interruption after that comes too late and the command has succeeded.
    /// </summary>
    public static int Execute(ParseResult parsed, Action<CommandRun> work)
    {
        using var interrupted = new CancellationTokenSource();
        long first = 0;
        void Interrupt(PosixSignalContext signal)
        {
            signal.Cancel = true;
            if (Interlocked.CompareExchange(ref first, Stopwatch.GetTimestamp(), 0) == 0)
            {
                interrupted.Cancel();
                // Work that does not notice in time is ended all the same.
                _ = Task.Delay(s_patience).ContinueWith(_ => End(), TaskScheduler.Default);
            }
            else if (Stopwatch.GetElapsedTime(first) > s_secondWish)
            {
                _ = Task.Run(End);
            }
        }
        using PosixSignalRegistration interrupt = PosixSignalRegistration.Create(PosixSignal.SIGINT, Interrupt);
        using PosixSignalRegistration terminate = PosixSignalRegistration.Create(PosixSignal.SIGTERM, Interrupt);

        var run = new CommandRun(parsed, interrupted.Token);
        try
        {
            work(run);
            run.Results.Write(Console.Out, run.Json);
            return 0;
        }
        catch (Exception exception)
        {
            Exception cause = Cause(exception);
            if (interrupted.IsCancellationRequested)
            {
                Console.Error.WriteLine(kInterruptedLine);
                return kInterrupted;
            }
            Console.Error.WriteLine($"mmesid: {Line(cause)}");
            if (run.Verbose && !IsExpected(cause))
                Console.Error.WriteLine(cause);
            return kFailed;
        }
    }

    /// <summary>Leaves without waiting for the work; unfinished outputs are deleted on the way out.</summary>
    private static void End()
    {
        Console.Error.WriteLine(kInterruptedLine);
        Environment.Exit(kInterrupted);
    }

    /// <summary>Parallel loops and tasks wrap what went wrong; the first cause is what the user can act on.</summary>
    private static Exception Cause(Exception exception) => exception switch
    {
        AggregateException { InnerExceptions.Count: > 0 } many => Cause(many.InnerExceptions[0]),
        System.Reflection.TargetInvocationException or TypeInitializationException when exception.InnerException is not null => Cause(exception.InnerException),
        _ => exception,
    };

    private static bool IsExpected(Exception exception) => exception
        is InvalidDataException or ArgumentException or IOException or UnauthorizedAccessException or BackendUnavailableException
        or NativeException or OutOfMemoryException or OperationCanceledException or DivergenceException or NotFiniteNumberException or ExternalException;

    private static string Line(Exception exception)
    {
        string message = exception is ArgumentException { ParamName: string name }
            ? exception.Message.Replace($" (Parameter '{name}')", "", StringComparison.Ordinal)
            : exception.Message;
        if (exception is OutOfMemoryException and not InsufficientMemoryException)
            message = "out of memory: " + message;
        else if (!IsExpected(exception))
            message = $"internal error ({exception.GetType().Name}; --verbose shows where): {message}";
        return string.Join(' ', OutputFile.WithFinalNames(message).Split(['\r', '\n'], StringSplitOptions.RemoveEmptyEntries | StringSplitOptions.TrimEntries));
    }
}
