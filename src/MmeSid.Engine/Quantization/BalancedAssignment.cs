namespace MmeSid.Engine.Quantization;

/// <summary>
/// The assignment of rows to codewords of least total squared distance whose cluster sizes lie within bounds. Optimal, and the sizes are kept exactly.
/// <para>
/// It is a minimum-cost flow, solved by successive shortest paths on the graph of clusters. Every row starts at its nearest codeword, which is
/// optimal but for the sizes. An arc a → b costs what the cheapest row of a loses by moving to b; a further node T stands for rows that any cluster
/// with room may take: arcs k → T while k is below its maximum, T → k while it is above its minimum, both free. Each row too many is pushed from its
/// cluster to T along a shortest path, then each row too few is pulled from T; potentials keep the reduced costs non-negative, so a path is found by
/// Dijkstra's algorithm over dense arcs.
/// </para>
/// Memory: 8·n·K bytes of distances, 12·K² of arcs. Cost: n·K·d for the distances, K² (and some scans of a cluster) for each row moved.
/// Ties go to the smaller code and the smaller row; one thread decides, so the result depends on the input alone.
/// </summary>
internal sealed class BalancedAssignment
{
    private readonly int _codes;
    private readonly ClusterSizes _sizes;
    private readonly double[] _costs;
    private readonly List<int>[] _members;
    private readonly int[] _places;
    private readonly double[] _arcCosts;
    private readonly int[] _arcRows;
    private readonly double[] _potentials;
    private readonly double[] _distances;
    private readonly int[] _parents;
    private readonly bool[] _labelled;

    private BalancedAssignment(double[] costs, int codes, ClusterSizes sizes)
    {
        _codes = codes;
        _sizes = sizes;
        _costs = costs;
        _members = new List<int>[codes];
        for (int k = 0; k < codes; k++)
            _members[k] = [];
        _places = new int[costs.Length / codes];
        _arcCosts = new double[codes * codes];
        _arcRows = new int[codes * codes];
        _potentials = new double[codes + 1];
        _distances = new double[codes + 1];
        _parents = new int[codes + 1];
        _labelled = new bool[codes + 1];
    }

    /// <summary>Assigns the rows.</summary>
    /// <param name="rows">[n, w].</param>
    /// <param name="centroids">[K, w].</param>
    /// <param name="sizes">Feasible bounds.</param>
    /// <param name="threads">Threads that compute distances.</param>
    /// <param name="codes">[n].</param>
    /// <param name="cancellation">Looked at before each path.</param>
    public static void Assign(RowColumns rows, float[] centroids, ClusterSizes sizes, int threads, ushort[] codes, CancellationToken cancellation)
    {
        int width = rows.Width, codeCount = centroids.Length / width;
        double[] points = Array.ConvertAll(centroids, value => (double)value);
        var costs = new double[rows.Count * codeCount];
        RowColumns.ForBlocks(rows.Count, threads, (_, first, count) =>
        {
            cancellation.ThrowIfCancellationRequested();
            for (long row = first; row < first + count; row++)
            {
                for (int k = 0; k < codeCount; k++)
                    costs[row * codeCount + k] = SquaredDistance.Between(rows.Row(row), points.AsSpan(k * width, width));
            }
        });
        Assign(costs, codeCount, sizes, codes, cancellation);
    }

    /// <summary>Assigns by given costs, [n, K].</summary>
    public static void Assign(double[] costs, int codeCount, ClusterSizes sizes, ushort[] codes, CancellationToken cancellation = default)
    {
        sizes.RequireFeasible(codes.Length, codeCount);
        var flow = new BalancedAssignment(costs, codeCount, sizes);
        flow.Solve(cancellation);
        for (int k = 0; k < codeCount; k++)
        {
            foreach (int row in flow._members[k])
                codes[row] = (ushort)k;
        }
    }

    private void Solve(CancellationToken cancellation)
    {
        for (int row = 0; row < _places.Length; row++)
        {
            ReadOnlySpan<double> costs = _costs.AsSpan(row * _codes, _codes);
            int nearest = 0;
            for (int k = 1; k < _codes; k++)
            {
                if (costs[k] < costs[nearest])
                    nearest = k;
            }
            _places[row] = _members[nearest].Count;
            _members[nearest].Add(row);
        }
        for (int a = 0; a < _codes; a++)
        {
            for (int b = 0; b < _codes; b++)
                ScanArc(a, b);
        }
        for (int k = 0; k < _codes; k++)
        {
            while (_members[k].Count > _sizes.Maximum)
            {
                cancellation.ThrowIfCancellationRequested();
                Push(ShortestPath(k, toAnyWithRoom: true));
            }
        }
        while (Array.Exists(_members, members => members.Count < _sizes.Minimum))
        {
            cancellation.ThrowIfCancellationRequested();
            Push(ShortestPath(_codes, toAnyWithRoom: false));
        }
    }

    // Dijkstra from a cluster to T, or from T to the nearest cluster below its minimum; stops at the target and moves the potentials of what was labelled.
    private int ShortestPath(int source, bool toAnyWithRoom)
    {
        Array.Fill(_distances, double.PositiveInfinity);
        Array.Clear(_labelled);
        _distances[source] = 0;
        _parents[source] = -1;
        while (true)
        {
            int node = -1;
            for (int v = 0; v <= _codes; v++)
            {
                if (!_labelled[v] && (node < 0 || _distances[v] < _distances[node]))
                    node = v;
            }
            double distance = _distances[node];
            bool arrived = toAnyWithRoom ? node == _codes : node < _codes && _members[node].Count < _sizes.Minimum;
            if (arrived)
            {
                for (int v = 0; v <= _codes; v++)
                {
                    if (_labelled[v])
                        _potentials[v] += _distances[v] - distance;
                }
                return node;
            }
            _labelled[node] = true;
            for (int v = 0; v <= _codes; v++)
            {
                if (_labelled[v])
                    continue;
                double cost = ArcCost(node, v);
                if (double.IsPositiveInfinity(cost))
                    continue;
                // Non-negative but for rounding.
                double reduced = Math.Max(0, cost + _potentials[node] - _potentials[v]);
                if (distance + reduced < _distances[v])
                {
                    _distances[v] = distance + reduced;
                    _parents[v] = node;
                }
            }
        }
    }

    private double ArcCost(int from, int to)
    {
        if (from == _codes)
            return _members[to].Count > _sizes.Minimum ? 0 : double.PositiveInfinity;
        if (to == _codes)
            return _members[from].Count < _sizes.Maximum ? 0 : double.PositiveInfinity;
        return _arcCosts[from * _codes + to];
    }

    // Moves one row along each arc of the path that ends at the target.
    private void Push(int target)
    {
        var moves = new List<(int From, int To, int Row)>();
        for (int v = target; _parents[v] >= 0; v = _parents[v])
        {
            int from = _parents[v];
            if (from != _codes && v != _codes)
                moves.Add((from, v, _arcRows[from * _codes + v]));
        }
        foreach ((int from, int to, int row) in moves)
        {
            List<int> members = _members[from];
            int last = members[^1];
            members[_places[row]] = last;
            _places[last] = _places[row];
            members.RemoveAt(members.Count - 1);
            _places[row] = _members[to].Count;
            _members[to].Add(row);
        }
        foreach ((int from, int to, int row) in moves)
        {
            for (int b = 0; b < _codes; b++)
            {
                if (_arcRows[from * _codes + b] == row)
                    ScanArc(from, b);
                Offer(to, b, row);
            }
        }
    }

    private void ScanArc(int from, int to)
    {
        _arcCosts[from * _codes + to] = double.PositiveInfinity;
        _arcRows[from * _codes + to] = -1;
        foreach (int row in _members[from])
            Offer(from, to, row);
    }

    private void Offer(int from, int to, int row)
    {
        if (from == to)
            return;
        double cost = _costs[row * _codes + to] - _costs[row * _codes + from];
        int arc = from * _codes + to;
        if (cost < _arcCosts[arc] || (cost == _arcCosts[arc] && row < _arcRows[arc]))
        {
            _arcCosts[arc] = cost;
            _arcRows[arc] = row;
        }
    }
}
