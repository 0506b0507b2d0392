using System.Diagnostics;
using MmeSid.Training.Optimization;
using TorchSharp;

namespace MmeSid.Bench;

/// <summary>Times the steps of a training loop; first a few with each thread count.</summary>
/// <param name="threads">Of which the fastest is taken.</param>
/// <param name="steps">Timed ones.</param>
internal sealed class StepWatch(int[] threads, int steps) : IProgress<LoopProgress>, IDisposable
{
    private const int kWarmUpSteps = 3, kProbeSteps = 3;

    private readonly CancellationTokenSource _done = new();
    private readonly List<double> _seconds = [];
    private readonly double[] _probes = new double[threads.Length];
    private long _last = Stopwatch.GetTimestamp();
    private int _probed = -1;

    /// <summary>Cancelled when all steps are timed.</summary>
    public CancellationToken Done => _done.Token;

    /// <summary>Each probe has one step that is not counted.</summary>
    public int StepsInAll => 1 + (threads.Length * (kProbeSteps + 1)) + kWarmUpSteps + steps;

    /// <summary>The fastest.</summary>
    public int Threads { get; private set; } = threads[0];

    /// <summary>Of the timed steps.</summary>
    public double[] Seconds => [.. _seconds.Skip(kWarmUpSteps)];

    public void Dispose() => _done.Dispose();

    public void Report(LoopProgress value)
    {
        if (value.Finished is not null)
            return;
        _seconds.Add(Stopwatch.GetElapsedTime(_last).TotalSeconds);
        if (_probed < 0 || (_probed < threads.Length && _seconds.Count > kProbeSteps))
        {
            if (_probed >= 0)
                _probes[_probed] = Timing.Of([.. _seconds.Skip(1)]).Median;
            _probed++;
            Threads = _probed < threads.Length ? threads[_probed] : threads[Array.IndexOf(_probes, _probes.Min())];
            torch.set_num_threads(Threads);
            _seconds.Clear();
        }
        else if (_probed == threads.Length && _seconds.Count == kWarmUpSteps + steps)
        {
            _done.Cancel();
        }
        _last = Stopwatch.GetTimestamp();
    }
}
