namespace MmeSid.Kernels.Simd;

/// <summary>
/// Whether units of a scan are screened in int8 or in float32: as long as it serves, units are timed both ways from time to time, less and less often while the outcome stays the same, and the
/// others go the way that was faster. Time decides about time only. Thread-safe.
/// </summary>
internal sealed class ScreenChoice
{
    // Units timed each way.
    private const int kRounds = 2;
    // Units between two trials: at first, and at most.
    private const int kFirstInterval = 64, kLongestInterval = 1 << 12;
    // int8 that gains less is not worth its trials.
    private const double kLeastGain = 1.05;

    private readonly Lock _deciding = new();
    private readonly double[] _best = [double.PositiveInfinity, double.PositiveInfinity];
    private int _interval = kFirstInterval / 2;
    private int _left, _taken, _timed;

    /// <summary>What the last trial chose.</summary>
    public bool IsInteger { get; private set; }

    /// <summary>Which way the next unit goes.</summary>
    /// <param name="isTimed">Whether <see cref="Report"/> is to be told how long it took.</param>
    public bool Take(out bool isTimed)
    {
        lock (_deciding)
        {
            isTimed = _left == 0 && _taken < 2 * kRounds;
            if (isTimed)
                return _taken++ % 2 == 1;
            _left = Math.Max(0, _left - 1);
            return IsInteger;
        }
    }

    /// <summary>The time of a unit.</summary>
    /// <param name="isInteger">Which way it went.</param>
    /// <param name="seconds">Of one item.</param>
    public void Report(bool isInteger, double seconds)
    {
        lock (_deciding)
        {
            ref double best = ref _best[isInteger ? 1 : 0];
            best = Math.Min(best, seconds);
            if (++_timed < 2 * kRounds)
                return;
            bool chosen = _best[1] * kLeastGain < _best[0];
            _interval = chosen == IsInteger ? Math.Min(2 * _interval, kLongestInterval) : kFirstInterval;
            (IsInteger, _left, _taken, _timed) = (chosen, _interval, 0, 0);
            _best.AsSpan().Fill(double.PositiveInfinity);
        }
    }
}
