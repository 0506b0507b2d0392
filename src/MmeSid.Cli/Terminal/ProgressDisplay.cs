using System.Diagnostics;
using Spectre.Console;
using Spectre.Console.Rendering;

namespace MmeSid.Cli.Terminal;

/// <summary>
/// Progress on stderr: bars with rate and time left where stderr is a terminal, a plain line every two seconds and one at the end of each
/// step where it is not, nothing when quiet.
/// </summary>
internal sealed class ProgressDisplay
{
    private static readonly TimeSpan s_lineInterval = TimeSpan.FromSeconds(2);

    private readonly Lock _lines = new();
    private readonly IAnsiConsole? _console;
    private readonly bool _quiet;
    private readonly bool _verbose;
    private readonly CancellationToken _cancellation;

    public ProgressDisplay(bool quiet, bool verbose, CancellationToken cancellation)
    {
        _quiet = quiet;
        _verbose = verbose;
        _cancellation = cancellation;
        bool terminal = !Console.IsErrorRedirected && Environment.GetEnvironmentVariable("TERM") is not (null or "" or "dumb");
        if (terminal && !quiet)
            _console = AnsiConsole.Create(new AnsiConsoleSettings { Out = new AnsiConsoleOutput(Console.Error) });
    }

    /// <summary>Runs a step of known size and shows how far it is.</summary>
    /// <param name="name">What is done: <c>assign</c>.</param>
    /// <param name="total">Size, in <paramref name="unit"/>; 0 where it is not known.</param>
    /// <param name="unit">What is counted: <c>rows</c>.</param>
    /// <param name="work">The step.</param>
    public void Step(string name, long total, string unit, Action<ProgressStep> work)
    {
        if (_quiet)
            work(new ProgressStep(name, total, unit, static _ => { }, _cancellation));
        else if (_console is not null)
            Draw(_console, name, total, unit, work);
        else
            Print(name, total, unit, work);
    }

    /// <summary>The same with a result.</summary>
    public T Step<T>(string name, long total, string unit, Func<ProgressStep, T> work)
    {
        T result = default!;
        Step(name, total, unit, step => { result = work(step); });
        return result;
    }

    /// <summary>Runs a step whose size cannot be counted.</summary>
    public T Step<T>(string name, Func<T> work) => Step(name, 0, "", _ => work());

    /// <summary>One line about what happens.</summary>
    public void Note(string line)
    {
        if (_console is not null)
            _console.WriteLine(line);
        else if (!_quiet)
            Console.Error.WriteLine(line);
    }

    /// <summary>One line of detail: shown where lines are printed anyway, or when asked for.</summary>
    public void Detail(string line)
    {
        if (_console is null || _verbose)
            Note(line);
    }

    private void Print(string name, long total, string unit, Action<ProgressStep> work)
    {
        TimeSpan next = s_lineInterval;
        var step = new ProgressStep(name, total, unit, current =>
        {
            lock (_lines)
            {
                if (current.Elapsed < next)
                    return;
                next = current.Elapsed + s_lineInterval;
                Console.Error.WriteLine(current.Describe());
            }
        }, _cancellation);
        work(step);
        Console.Error.WriteLine(step.DescribeEnd());
    }

    private void Draw(IAnsiConsole console, string name, long total, string unit, Action<ProgressStep> work)
    {
        ProgressStep? drawn = null;
        console.Progress()
            .HideCompleted(true)
            .Columns(new TaskDescriptionColumn(), new ProgressBarColumn(), new PercentageColumn(), new RateColumn(() => drawn))
            .Start(context =>
            {
                ProgressTask bar = context.AddTask(Markup.Escape(name), maxValue: Math.Max(1, total));
                bar.IsIndeterminate = total == 0;
                drawn = new ProgressStep(name, total, unit, current =>
                {
                    bar.IsIndeterminate = current.Total == 0;
                    bar.MaxValue = Math.Max(1, current.Total);
                    bar.Value = Math.Min(current.Done, bar.MaxValue);
                }, _cancellation);
                work(drawn);
                bar.Value = bar.MaxValue;
            });
        console.WriteLine(drawn!.DescribeEnd());
    }

    private sealed class RateColumn(Func<ProgressStep?> step) : ProgressColumn
    {
        public override IRenderable Render(RenderOptions options, ProgressTask task, TimeSpan deltaTime) => new Text(step()?.DescribeRate() ?? "");
    }
}

/// <summary>One step under way. Thread-safe.</summary>
internal sealed class ProgressStep(string name, long total, string unit, Action<ProgressStep> changed, CancellationToken cancellation)
{
    private readonly long _start = Stopwatch.GetTimestamp();
    private long _done;
    private long _total = total;
    private string _note = "";
    // What the first Reach found: work of an earlier run that was cut short, or a first part that is unlike the others. The rate leaves it out.
    private (long Done, double Seconds)? _first;

    /// <summary>How much is done.</summary>
    public long Done => Interlocked.Read(ref _done);

    /// <summary>How much there is to do; 0 where it is not known.</summary>
    public long Total => Interlocked.Read(ref _total);

    /// <summary>Time since the step began.</summary>
    public TimeSpan Elapsed => Stopwatch.GetElapsedTime(_start);

    /// <summary>More is done.</summary>
    /// <exception cref="OperationCanceledException">The user pressed Ctrl-C.</exception>
    public void Advance(long count)
    {
        cancellation.ThrowIfCancellationRequested();
        Interlocked.Add(ref _done, count);
        changed(this);
    }

    /// <summary>So much of so much is done by now; a word about it is shown behind the rate.</summary>
    /// <exception cref="OperationCanceledException">The user pressed Ctrl-C.</exception>
    public void Reach(long done, long of, string note)
    {
        cancellation.ThrowIfCancellationRequested();
        _first ??= (done, Elapsed.TotalSeconds);
        Interlocked.Exchange(ref _done, done);
        Interlocked.Exchange(ref _total, of);
        _note = note;
        changed(this);
    }

    /// <summary><c>assign: 500,000 of 1,000,000 rows (50 %), 210,000 rows/s, 2.4 s left</c>.</summary>
    public string Describe() => Total > 0
        ? $"{name}: {Done:N0} of {Total:N0} {unit} ({100.0 * Done / Total:0} %), {DescribeRate()}"
        : $"{name}: {DescribeRate()}";

    /// <summary><c>210,000 rows/s, 2.4 s left</c>.</summary>
    public string DescribeRate()
    {
        double seconds = Elapsed.TotalSeconds;
        if (Done == 0)
            return ResultSheet.Seconds(seconds);
        (long before, double secondsBefore) = _first is { } first && Done > first.Done ? first : default;
        double rate = seconds > secondsBefore ? (Done - before) / (seconds - secondsBefore) : 0;
        string left = rate > 0 && Total > Done ? $", {ResultSheet.Seconds((Total - Done) / rate)} left" : "";
        return $"{ResultSheet.Number(rate >= 10 ? Math.Round(rate) : Math.Round(rate, 2))} {unit}/s{left}{(_note.Length > 0 ? $", {_note}" : "")}";
    }

    /// <summary><c>assign: 1,000,000 rows in 4.8 s, 208,333 rows/s</c>.</summary>
    public string DescribeEnd()
    {
        double seconds = Elapsed.TotalSeconds;
        if (Done == 0)
            return $"{name}: {ResultSheet.Seconds(seconds)}";
        return $"{name}: {Done:N0} {unit} in {ResultSheet.Seconds(seconds)}, {ResultSheet.Number(Math.Round(Done / Math.Max(seconds, 1e-9)))} {unit}/s{(_note.Length > 0 ? $", {_note}" : "")}";
    }
}
