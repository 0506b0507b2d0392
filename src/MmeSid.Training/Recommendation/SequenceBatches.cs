using MmeSid.Engine;
using MmeSid.Engine.Evaluation;

namespace MmeSid.Training.Recommendation;

/// <summary>Users of one step.</summary>
/// <param name="Length">T, events of the longest input.</param>
/// <param name="Inputs">[B, T] item rows, padded with 0 behind the end.</param>
/// <param name="Positions">[P] places of <paramref name="Inputs"/>, row-major, that are events and not padding.</param>
/// <param name="Targets">[P] the item after each.</param>
/// <param name="Users">[P] the user at each, numbered as in the sequences.</param>
internal sealed record SequenceBatch(int Length, long[] Inputs, long[] Positions, long[] Targets, int[] Users);

/// <summary>
/// The training part of each user's sequence in batches: every event but the last predicts the one after it. Users are shuffled by the seed and the epoch; of
/// every few batches' worth of users, those of like length go together, so that little is padded, and the batches are shuffled again.
/// </summary>
internal sealed class SequenceBatches
{
    private const int kBatchesPerWindow = 16;

    private readonly LeaveOneOut _split;
    private readonly int _length;
    private readonly int _batchUsers;
    private readonly ulong _seed;
    private readonly int[] _users;
    private int _epoch = -1;
    private int[][] _batches = [];

    /// <param name="split">Whose training parts.</param>
    /// <param name="userCount">Users of the sequences.</param>
    /// <param name="length">Most events of an input, the last ones.</param>
    /// <param name="batchUsers">Users per step.</param>
    /// <param name="seed">Of the shuffles.</param>
    /// <exception cref="ArgumentException">No user has two events to train on.</exception>
    public SequenceBatches(LeaveOneOut split, int userCount, int length, int batchUsers, ulong seed)
    {
        (_split, _length, _batchUsers, _seed) = (split, length, batchUsers, seed);
        _users = [.. Enumerable.Range(0, userCount).Where(user => split.Training(user).Length >= 2)];
        if (_users.Length == 0)
            throw new ArgumentException("no user has two events left to train on: the last two of a sequence of three or more are held out, expected sequences of two events, or of four or more");
    }

    /// <summary>Steps of an epoch.</summary>
    public int Count => (_users.Length + _batchUsers - 1) / _batchUsers;

    /// <summary>The users of a step; the same for the same seed, epoch and step.</summary>
    public SequenceBatch this[int epoch, int step]
    {
        get
        {
            if (epoch != _epoch)
                (_epoch, _batches) = (epoch, Shuffle(new RandomSource(_seed).Split((ulong)epoch)));
            return Batch(_batches[step]);
        }
    }

    private int[][] Shuffle(RandomSource random)
    {
        int[] users = [.. _users];
        random.Shuffle<int>(users);
        int window = kBatchesPerWindow * _batchUsers;
        for (int first = 0; first < users.Length; first += window)
        {
            Span<int> part = users.AsSpan(first, Math.Min(window, users.Length - first));
            // Users of one length stay in their random order, whatever sort is used.
            int[] order = [.. Enumerable.Range(0, part.Length)];
            int[] copy = part.ToArray();
            Array.Sort(order, (x, y) => (_split.Training(copy[x]).Length, x).CompareTo((_split.Training(copy[y]).Length, y)));
            for (int i = 0; i < part.Length; i++)
                part[i] = copy[order[i]];
        }
        int[][] batches = [.. users.Chunk(_batchUsers)];
        random.Shuffle<int[]>(batches);
        return batches;
    }

    private SequenceBatch Batch(int[] users)
    {
        int length = users.Max(user => Math.Min(_length, _split.Training(user).Length - 1));
        var inputs = new long[users.Length * length];
        var positions = new List<long>();
        var targets = new List<long>();
        var owners = new List<int>();
        for (int row = 0; row < users.Length; row++)
        {
            ReadOnlySpan<int> events = _split.Training(users[row]);
            events = events[Math.Max(0, events.Length - 1 - _length)..];
            for (int i = 0; i + 1 < events.Length; i++)
            {
                inputs[row * length + i] = events[i];
                positions.Add(row * length + i);
                targets.Add(events[i + 1]);
                owners.Add(users[row]);
            }
        }
        return new SequenceBatch(length, inputs, [.. positions], [.. targets], [.. owners]);
    }
}
