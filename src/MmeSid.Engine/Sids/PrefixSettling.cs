namespace MmeSid.Engine.Sids;

/// <summary>
/// Gives the items of one prefix distinct last-level codes. Scratch of one thread.
/// <para>
/// The cost of item i at code k is <c>c[i, k] = max(0, D[i, k] − D[i, raw_i])</c>, D the squared distance of the quantizer's own search:
/// 0 at the raw code. Codes that others hold already are closed. The first item of each open raw code may keep it; when there are more
/// items than open codes, those that come last in item order among the others are spilled.
/// </para>
/// </summary>
internal sealed class PrefixSettling
{
    private const int kClosed = -2;
    private const int kOpen = -1;
    private const int kMoversPerBlock = 8;

    private readonly RowSearch _row;
    private readonly SettlingMethod _method;
    private readonly long _costLimit;
    private readonly int _codes;
    private readonly int _levels;
    private readonly int[] _owner;
    private readonly double[] _distances;
    private readonly double[] _single;
    private readonly double[] _price;
    private readonly double[] _path;
    private readonly int[] _from;
    private readonly List<int> _scanned = [];
    private readonly bool[] _isScanned;
    private int[] _code = [];
    private double[]?[] _costs = [];

    /// <param name="row">Distances.</param>
    /// <param name="method">Optimal or greedy.</param>
    /// <param name="costLimit">A prefix with more items × codes than this is settled greedily.</param>
    public PrefixSettling(RowSearch row, SettlingMethod method, long costLimit)
    {
        _row = row;
        _method = method;
        _costLimit = costLimit;
        _levels = row.Quantizer.Levels;
        _codes = row.Quantizer.CodeCount(_levels - 1);
        _owner = new int[_codes];
        _distances = new double[kMoversPerBlock * _codes];
        _single = new double[_codes];
        _price = new double[_codes];
        _path = new double[_codes];
        _from = new int[_codes];
        _isScanned = new bool[_codes];
    }

    /// <summary>What happened in one prefix.</summary>
    /// <param name="Colliding">Items that could not keep their raw SID because another holds it.</param>
    /// <param name="Moved">Items that have another last-level code than their raw one.</param>
    /// <param name="Spilled">Rows that found no place, ascending.</param>
    /// <param name="AddedError">Σ over moved items of the increase of ‖x − x̂‖².</param>
    /// <param name="Greedy">Whether items moved greedily.</param>
    public readonly record struct Outcome(int Colliding, int Moved, int[] Spilled, double AddedError, bool Greedy);

    /// <summary>Settles one prefix.</summary>
    /// <param name="rows">The prefix's rows, ascending.</param>
    /// <param name="codes">Raw codes of the whole table.</param>
    /// <param name="closed">Last-level codes that are held already.</param>
    /// <param name="settled">[n, L] of the whole table; the last codes of these rows are overwritten (spilled rows keep their raw code there).</param>
    public Outcome Settle(ReadOnlySpan<int> rows, SidTable codes, ReadOnlySpan<ushort> closed, ushort[] settled)
    {
        Array.Fill(_owner, kOpen);
        int open = _codes;
        foreach (ushort code in closed)
        {
            open -= _owner[code] == kOpen ? 1 : 0;
            _owner[code] = kClosed;
        }

        if (_code.Length < rows.Length)
        {
            _code = new int[rows.Length];
            _costs = new double[]?[rows.Length];
        }
        Array.Clear(_costs);
        var movers = new List<int>();
        for (int i = 0; i < rows.Length; i++)
        {
            int raw = Raw(codes, rows[i]);
            if (_owner[raw] == kOpen)
                _owner[_code[i] = raw] = i;
            else
                movers.Add(i);
        }
        int colliding = movers.Count;
        int staying = Math.Min(movers.Count, open - (rows.Length - movers.Count));
        var spilled = new int[movers.Count - staying];
        for (int i = 0; i < spilled.Length; i++)
            spilled[i] = rows[movers[staying + i]];

        bool greedy = _method == SettlingMethod.Greedy || (long)(rows.Length - spilled.Length) * _codes > _costLimit;
        if (!greedy)
            Array.Clear(_price);
        Span<int> blockRows = stackalloc int[kMoversPerBlock];
        for (int first = 0; first < staying; first += kMoversPerBlock)
        {
            int count = Math.Min(kMoversPerBlock, staying - first);
            for (int i = 0; i < count; i++)
                blockRows[i] = rows[movers[first + i]];
            _row.Distances(_levels - 1, blockRows[..count], codes, _distances);
            for (int i = 0; i < count; i++)
            {
                int item = movers[first + i];
                Span<double> distances = _distances.AsSpan(i * _codes, _codes);
                if (greedy)
                    _owner[NearestOpen(distances)] = item;
                else
                    Augment(item, rows, codes, _costs[item] ??= Costs(distances, Raw(codes, rows[item])));
            }
        }

        int moved = 0;
        double added = 0;
        Span<ushort> before = stackalloc ushort[_levels];
        Span<ushort> after = stackalloc ushort[_levels];
        for (int code = 0; code < _codes; code++)
        {
            int i = _owner[code];
            if (i < 0 || Raw(codes, rows[i]) == code)
                continue;
            moved++;
            settled[(long)rows[i] * _levels + _levels - 1] = (ushort)code;
            codes[rows[i]].CopyTo(before);
            before.CopyTo(after);
            after[_levels - 1] = (ushort)code;
            added += _row.AddedError(rows[i], before, after);
        }
        return new Outcome(colliding, moved, spilled, added, greedy && staying > 0);
    }

    private int Raw(SidTable codes, int row) => codes[row][_levels - 1];

    private int NearestOpen(ReadOnlySpan<double> distances)
    {
        int best = -1;
        for (int code = 0; code < _codes; code++)
        {
            if (_owner[code] == kOpen && (best < 0 || distances[code] < distances[best]))
                best = code;
        }
        return best;
    }

    // Shortest augmenting path (Jonker and Volgenant): prices stay such that every placed item holds a code of least reduced cost
    // c[i, k] − price[k], which at the start holds because raw codes cost 0 and prices are 0. Ties go to the smallest code.
    private void Augment(int item, ReadOnlySpan<int> rows, SidTable codes, double[] costs)
    {
        for (int code = 0; code < _codes; code++)
        {
            _path[code] = costs[code] - _price[code];
            _from[code] = item;
        }
        _scanned.Clear();
        int end;
        double length;
        while (true)
        {
            end = -1;
            for (int code = 0; code < _codes; code++)
            {
                if (_owner[code] != kClosed && !_isScanned[code] && (end < 0 || _path[code] < _path[end]))
                    end = code;
            }
            length = _path[end];
            int owner = _owner[end];
            if (owner == kOpen)
                break;
            _isScanned[end] = true;
            _scanned.Add(end);
            double[] other = _costs[owner] ??= CostsOf(rows[owner], codes);
            double offset = length - (other[end] - _price[end]);
            for (int code = 0; code < _codes; code++)
            {
                double through = other[code] - _price[code] + offset;
                if (!_isScanned[code] && through < _path[code])
                {
                    _path[code] = through;
                    _from[code] = owner;
                }
            }
        }
        foreach (int code in _scanned)
        {
            _price[code] += _path[code] - length;
            _isScanned[code] = false;
        }
        int free = end;
        while (true)
        {
            int holder = _from[free];
            _owner[free] = holder;
            if (holder == item)
            {
                _code[item] = free;
                return;
            }
            (free, _code[holder]) = (_code[holder], free);
        }
    }

    private double[] CostsOf(int row, SidTable codes)
    {
        _row.Distances(_levels - 1, row, codes[row], _single);
        return Costs(_single, Raw(codes, row));
    }

    private static double[] Costs(ReadOnlySpan<double> distances, int raw)
    {
        var costs = new double[distances.Length];
        for (int code = 0; code < costs.Length; code++)
            costs[code] = Math.Max(0, distances[code] - distances[raw]);
        return costs;
    }
}
