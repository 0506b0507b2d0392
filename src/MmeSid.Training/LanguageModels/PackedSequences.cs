using TorchSharp;
using static TorchSharp.torch;

namespace MmeSid.Training.LanguageModels;

/// <summary>
/// Where sequences lie in a step: several in one row, one behind the other, so that attention runs over few products of a useful size and nearly nothing
/// is padding. Position p of a sequence that starts at place a of the flattened rows is place a + p; no sequence sees another.
/// </summary>
public sealed class PackedSequences
{
    // About the length at which the products of attention stop being dominated by the calls themselves.
    private const int kRowLength = 64;

    private PackedSequences(int rows, int rowLength, int[] starts, IReadOnlyList<int> lengths)
    {
        (Rows, RowLength, Starts) = (rows, rowLength, starts);
        Positions = new long[rows * rowLength];
        Owners = new int[Positions.Length];
        Array.Fill(Owners, -1);
        for (int sequence = 0; sequence < starts.Length; sequence++)
        {
            for (int position = 0; position < lengths[sequence]; position++)
            {
                Positions[starts[sequence] + position] = position;
                Owners[starts[sequence] + position] = sequence;
            }
        }
    }

    /// <summary>Number of rows.</summary>
    public int Rows { get; }

    /// <summary>R, places of a row.</summary>
    public int RowLength { get; }

    /// <summary>N, places of all rows.</summary>
    public int Places => Positions.Length;

    /// <summary>First place of each sequence.</summary>
    public IReadOnlyList<int> Starts { get; }

    /// <summary>[N] position of each place in its sequence; 0 where there is none.</summary>
    internal long[] Positions { get; }

    /// <summary>[N] sequence of each place; −1 where there is none.</summary>
    internal int[] Owners { get; }

    /// <summary>One sequence per row, padded behind its end.</summary>
    /// <param name="lengths">Of the sequences, each 1 to <paramref name="rowLength"/>.</param>
    /// <param name="rowLength">T.</param>
    /// <exception cref="ArgumentException">A length is out of range, or there is none.</exception>
    public static PackedSequences Padded(IReadOnlyList<int> lengths, int rowLength)
    {
        Require(lengths);
        if (lengths.Max() > rowLength)
            throw new ArgumentException($"a sequence has {lengths.Max()} entries, the rows have {rowLength}", nameof(lengths));
        return new PackedSequences(lengths.Count, rowLength, [.. lengths.Select((_, row) => row * rowLength)], lengths);
    }

    /// <summary>
    /// Sequences in the order of their length, each in the first row that has room. Rows are a whole multiple of the longest sequence, about 64 places, so that sequences
    /// of one length leave no place empty.
    /// </summary>
    /// <param name="lengths">Of the sequences, each at least 1.</param>
    /// <exception cref="ArgumentException">A length is below 1, or there is none.</exception>
    public static PackedSequences Pack(IReadOnlyList<int> lengths)
    {
        Require(lengths);
        int longest = lengths.Max(), rowLength = longest * Math.Max(1, (kRowLength + (longest / 2)) / longest);
        var starts = new int[lengths.Count];
        var used = new List<int>();
        foreach (int sequence in Enumerable.Range(0, lengths.Count).OrderByDescending(i => lengths[i]).ThenBy(i => i))
        {
            int row = used.FindIndex(taken => taken + lengths[sequence] <= rowLength);
            if (row < 0)
            {
                row = used.Count;
                used.Add(0);
            }
            starts[sequence] = row * rowLength + used[row];
            used[row] += lengths[sequence];
        }
        return new PackedSequences(used.Count, rowLength, starts, lengths);
    }

    /// <summary>
    /// What is added to the scores of attention: 0 where a place may look, −∞ where not. A place sees itself and what lies before it in its sequence; places without a
    /// sequence see each other, so that no row of a softmax is empty.
    /// </summary>
    /// <returns>[rows, 1, 1, R, R].</returns>
    internal Tensor Mask(ScalarType type, Device device)
    {
        var mask = new float[Rows * RowLength * RowLength];
        Array.Fill(mask, float.NegativeInfinity);
        for (int place = 0; place < Places; place++)
        {
            int first = place - place % RowLength;
            for (int seen = first; seen <= place; seen++)
            {
                if (Owners[seen] == Owners[place])
                    mask[(long)place * RowLength + seen - first] = 0;
            }
        }
        return tensor(mask, [Rows, 1, 1, RowLength, RowLength], dtype: type, device: device);
    }

    private static void Require(IReadOnlyList<int> lengths)
    {
        ArgumentNullException.ThrowIfNull(lengths);
        if (lengths.Count == 0 || lengths.Min() < 1)
            throw new ArgumentException($"{(lengths.Count == 0 ? "no sequence" : $"a sequence of {lengths.Min()} entries")}, expected sequences of at least one", nameof(lengths));
    }
}
