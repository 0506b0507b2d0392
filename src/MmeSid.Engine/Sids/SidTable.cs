using System.Numerics;
using MmeSid.Engine.Files;

namespace MmeSid.Engine.Sids;

/// <summary>
/// n semantic IDs of L codes each, uint16, row-major: SID i is <c>Codes[i·L .. (i+1)·L]</c>. Immutable by convention: nobody writes to
/// the array after it was handed over. At most 2³¹ codes in all (half a billion items of four levels).
/// </summary>
public sealed class SidTable
{
    private readonly ushort[] _codes;

    /// <summary>Takes over <paramref name="codes"/> without copying.</summary>
    /// <param name="levels">L ≥ 1, codes per SID.</param>
    /// <param name="codes">[n, L] row-major, n ≥ 0.</param>
    /// <exception cref="ArgumentException">The length is no multiple of <paramref name="levels"/>.</exception>
    public SidTable(int levels, ushort[] codes)
    {
        ArgumentOutOfRangeException.ThrowIfLessThan(levels, 1);
        ArgumentNullException.ThrowIfNull(codes);
        if (codes.Length % levels != 0)
            throw new ArgumentException($"{codes.Length} codes do not form whole SIDs of {levels} levels", nameof(codes));
        Levels = levels;
        _codes = codes;
    }

    /// <summary>
    /// Reads SIDs from a <c>.npy</c> file of shape [n, L] and type uint8, uint16, int16, int32 or int64, as others publish them.
    /// </summary>
    /// <exception cref="InvalidDataException">Another shape or type, or a code outside 0 … 65535 (row and level named).</exception>
    public static SidTable ReadNpy(string path)
    {
        NpyHeader header = NpyFile.ReadHeader(path);
        if (header.Shape.Count != 2 || header.Shape[1] < 1)
            throw new InvalidDataException($"{path}: shape ({string.Join(", ", header.Shape)}), expected SIDs of shape (n, L) with L ≥ 1");
        int levels = (int)Math.Min(header.Shape[1], int.MaxValue);
        return header.Type switch
        {
            ElementType.UInt16 => new SidTable(levels, NpyFile.Read<ushort>(path).Values),
            ElementType.UInt8 => Convert<byte>(path, levels),
            ElementType.Int16 => Convert<short>(path, levels),
            ElementType.Int32 => Convert<int>(path, levels),
            ElementType.Int64 => Convert<long>(path, levels),
            _ => throw new InvalidDataException($"{path}: values are {header.Type}, expected UInt8, UInt16, Int16, Int32 or Int64"),
        };
    }

    /// <summary>Codes per SID, L.</summary>
    public int Levels { get; }

    /// <summary>Number of SIDs, n.</summary>
    public long Count => _codes.Length / Levels;

    /// <summary>All codes, [n, L] row-major.</summary>
    public ReadOnlySpan<ushort> Codes => _codes;

    /// <summary>SID of row <paramref name="row"/>, length <see cref="Levels"/>.</summary>
    /// <exception cref="ArgumentOutOfRangeException">There is no such row.</exception>
    public ReadOnlySpan<ushort> this[long row]
    {
        get
        {
            ArgumentOutOfRangeException.ThrowIfNegative(row);
            ArgumentOutOfRangeException.ThrowIfGreaterThanOrEqual(row, Count);
            return _codes.AsSpan((int)row * Levels, Levels);
        }
    }

    /// <summary>The codes of one level, [n], as a new array.</summary>
    public ushort[] Level(int level)
    {
        ArgumentOutOfRangeException.ThrowIfNegative(level);
        ArgumentOutOfRangeException.ThrowIfGreaterThanOrEqual(level, Levels);
        var codes = new ushort[Count];
        for (int row = 0; row < codes.Length; row++)
            codes[row] = _codes[row * Levels + level];
        return codes;
    }

    /// <summary>The SIDs of the given rows, in that order.</summary>
    /// <exception cref="ArgumentOutOfRangeException">A row does not exist.</exception>
    public SidTable Select(ReadOnlySpan<long> rows)
    {
        var codes = new ushort[checked(rows.Length * Levels)];
        for (int i = 0; i < rows.Length; i++)
            this[rows[i]].CopyTo(codes.AsSpan(i * Levels));
        return new SidTable(Levels, codes);
    }

    /// <summary>These SIDs followed by those of <paramref name="other"/>.</summary>
    /// <exception cref="ArgumentException">The numbers of levels differ.</exception>
    public SidTable Append(SidTable other)
    {
        ArgumentNullException.ThrowIfNull(other);
        if (other.Levels != Levels)
            throw new ArgumentException($"the SIDs have {Levels} levels, the ones to add have {other.Levels}", nameof(other));
        return new SidTable(Levels, [.. _codes, .. other._codes]);
    }

    private static SidTable Convert<T>(string path, int levels)
        where T : unmanaged, IBinaryInteger<T>
    {
        T[] values = NpyFile.Read<T>(path).Values;
        var codes = new ushort[values.Length];
        for (int i = 0; i < codes.Length; i++)
        {
            codes[i] = ushort.CreateSaturating(values[i]);
            if (T.CreateSaturating(codes[i]) != values[i])
                throw new InvalidDataException($"{path}: row {i / levels}, level {i % levels} is {values[i]}, expected a code 0 … {ushort.MaxValue}");
        }
        return new SidTable(levels, codes);
    }
}
