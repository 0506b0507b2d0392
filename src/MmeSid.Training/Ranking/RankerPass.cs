using System.Numerics;
using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;
using TorchSharp;
using static TorchSharp.torch;

namespace MmeSid.Training.Ranking;

/// <summary>
/// The sums and embeddings under the layers of a <see cref="Ranker"/>, forwards and backwards, by loops on the CPU: the formulas of <see cref="Ranker.forward"/>, rearranged.
/// <code>
///   m distinct items of the batch, B samples, P items of all histories, d' values, H of an activation unit, W = [W_e | W_q]
///
///   e_m   = embedding of a distinct item                    once per item, however often the batch has it
///   a_m   = W_e e_m        Q_i = W_q q_i + b                W [e ; q] + b = a + Q: products of m and of B rows instead of P
///   w_j   = v · ReLU(a_m(j) + Q_i) + c                      h_i = Σ_j w_j e_m(j)
///
///   backwards, with g_i = ∂L/∂h_i:   δ_j = g_i · e_m(j),    de_m += w_j g_i
///   dc += δ_j,   dv += δ_j ReLU(u_j),   t_j = δ_j v [u_j > 0],   da_m += t_j,   dQ_i += t_j        u_j = a_m(j) + Q_i, computed again
///   dW_e = daᵀ e,   de += da W_e,   dW_q = dQᵀ q,   db = Σ_i dQ_i,   dq_i += dQ_i W_q
/// </code>
/// Nothing of size P · d' is ever held. Sets are computed on a thread each and write to arrays of their own, so that in the loops the number of threads changes no byte; libtorch's products may add up in another order with
/// another number.
/// </summary>
/// <typeparam name="T">float or double, that of the parameters.</typeparam>
internal sealed class RankerPass<T>
    where T : unmanaged, IBinaryFloatingPointIeee754<T>
{
    private readonly Ranker _model;
    private readonly RankerBatch _batch;
    private readonly int _dimension, _width, _sets;
    // By set, the item embeddings last.
    private readonly Tensor[] _embedded, _projected, _targets, _queries, _sums;
    private readonly T[][] _weights;

    /// <summary>Runs the forward part without gradients; its tensors live in the scope of the caller.</summary>
    public RankerPass(Ranker model, RankerBatch batch)
    {
        (_model, _batch) = (model, batch);
        (_dimension, _width, _sets) = (model.Options.Dimension, model.Options.ActivationWidth, model.QueryOf.Length);
        using IDisposable frozen = no_grad();
        _embedded = [.. Enumerable.Range(0, _sets).Select(_ => Empty(batch.Items.Length, _dimension))];
        _targets = [.. Enumerable.Range(0, _sets).Select(_ => Empty(batch.Count, _dimension))];
        _sums = [.. Enumerable.Range(0, _sets).Select(_ => Empty(batch.Count, _dimension).zero_())];
        _weights = [.. Enumerable.Range(0, _sets).Select(_ => new T[batch.History.Length])];
        ForEachSet(set =>
        {
            Gather(set, Values(_embedded[set]));
            CopyRows(Values(_embedded[set]), batch.Targets, Values(_targets[set]));
        });
        _projected = [.. Enumerable.Range(0, _sets).Select(set => _embedded[set].mm(HistoryWeight(set).t()))];
        _queries = [.. Enumerable.Range(0, _sets).Select(set => model.Units[set].Hidden.bias!.addmm(_targets[model.QueryOf[set]], QueryWeight(set).t()))];
        ForEachSet(Sum);
    }

    /// <summary>[B, F]: sums of all sets, then the targets that the layers above see.</summary>
    public Tensor Features() => cat([.. _sums, .. _model.TargetSets.Select(set => _targets[set])], 1);

    /// <summary>The gradients of all parameters under the layers above.</summary>
    /// <param name="features">∂L/∂features, [B, F].</param>
    /// <returns>Parameters with gradients of their shapes.</returns>
    public IReadOnlyList<(Tensor Variable, Tensor Gradient)> Gradients(Tensor features)
    {
        using IDisposable frozen = no_grad();
        Tensor[] parts = [.. Enumerable.Range(0, _sets + _model.TargetSets.Length).Select(part => features.narrow(1, (long)part * _dimension, _dimension).contiguous())];
        Tensor[] embedded = Zeros(_embedded), projected = Zeros(_projected), queries = Zeros(_queries);
        var outputs = new Tensor[_sets];
        var biases = new Tensor[_sets];
        for (int set = 0; set < _sets; set++)
            (outputs[set], biases[set]) = (Empty(1, _width).zero_(), zeros(1, Type));
        ForEachSet(set => Backward(set, Values(parts[set]), Values(embedded[set]), Values(projected[set]), Values(queries[set]), Values(outputs[set]), Values(biases[set])));
        // What reaches the target of a set: from the layers above, and from every set that is weighed against it.
        var targets = new Tensor?[_sets];
        foreach ((int place, int set) in _model.TargetSets.Index())
            targets[set] = parts[_sets + place];
        var known = new List<(Tensor, Tensor)>();
        for (int set = 0; set < _sets; set++)
        {
            int query = _model.QueryOf[set];
            Tensor reached = queries[set].mm(QueryWeight(set));
            targets[query] = targets[query]?.add_(reached) ?? reached;
            embedded[set].add_(projected[set].mm(HistoryWeight(set)));
            ActivationUnit unit = _model.Units[set];
            known.Add((unit.Hidden.weight, cat([projected[set].t().mm(_embedded[set]), queries[set].t().mm(_targets[query])], 1)));
            known.Add((unit.Hidden.bias!, queries[set].sum([0])));
            known.Add((unit.Output.weight, outputs[set]));
            known.Add((unit.Output.bias!, biases[set]));
        }
        Tensor[] tables = [.. Enumerable.Range(0, _sets).Select(set => TableOf(set).zeros_like())];
        ForEachSet(set =>
        {
            if (targets[set] is { } reached)
                AddRows(Values(reached), _batch.Targets, Values(embedded[set]));
            Scatter(set, Values(embedded[set]), Values(tables[set]));
        });
        known.AddRange(tables.Select((table, set) => ((Tensor)TableOf(set), table)));
        return known;
    }

    private static ScalarType Type => typeof(T) == typeof(double) ? float64 : float32;

    private static Tensor Empty(long rows, long columns) => empty(rows, columns, Type);

    private static Tensor[] Zeros(Tensor[] tensors) => [.. tensors.Select(tensor => tensor.zeros_like())];

    private static Span<T> Values(Tensor tensor) => MemoryMarshal.Cast<byte, T>(tensor.bytes);

    private TorchSharp.Modules.Parameter TableOf(int set) => set < _model.Sets.Count ? _model.Sets[set].Table : _model.ItemEmbeddings;

    private Tensor HistoryWeight(int set) => _model.Units[set].Hidden.weight.narrow(1, 0, _dimension);

    private Tensor QueryWeight(int set) => _model.Units[set].Hidden.weight.narrow(1, _dimension, _dimension);

    private void ForEachSet(Action<int> work) => Parallel.For(0, _sets, new ParallelOptions { MaxDegreeOfParallelism = get_num_threads() }, work);

    // Rows of the table that each distinct item is the sum of.
    private void Gather(int set, Span<T> rows)
    {
        ReadOnlySpan<T> table = Values(TableOf(set));
        if (set == _model.Sets.Count)
        {
            CopyRows(table, _batch.Items, rows);
            return;
        }
        rows.Clear();
        CodeRows codes = _model.Sets[set].OpenRows();
        for (int item = 0; item < _batch.Items.Length; item++)
        {
            foreach (long code in codes[_batch.Items[item]])
                Add(table.Slice((int)code * _dimension, _dimension), rows.Slice(item * _dimension, _dimension));
        }
    }

    // The reverse of Gather: each item's gradient goes to all rows that it is the sum of.
    private void Scatter(int set, ReadOnlySpan<T> rows, Span<T> table)
    {
        if (set == _model.Sets.Count)
        {
            for (int item = 0; item < _batch.Items.Length; item++)
                rows.Slice(item * _dimension, _dimension).CopyTo(table[(_batch.Items[item] * _dimension)..]);
            return;
        }
        CodeRows codes = _model.Sets[set].OpenRows();
        for (int item = 0; item < _batch.Items.Length; item++)
        {
            foreach (long code in codes[_batch.Items[item]])
                Add(rows.Slice(item * _dimension, _dimension), table.Slice((int)code * _dimension, _dimension));
        }
    }

    private void CopyRows(ReadOnlySpan<T> from, int[] places, Span<T> rows)
    {
        for (int i = 0; i < places.Length; i++)
            from.Slice(places[i] * _dimension, _dimension).CopyTo(rows[(i * _dimension)..]);
    }

    private void AddRows(ReadOnlySpan<T> rows, int[] places, Span<T> to)
    {
        for (int i = 0; i < places.Length; i++)
            Add(rows.Slice(i * _dimension, _dimension), to.Slice(places[i] * _dimension, _dimension));
    }

    private void Sum(int set)
    {
        ReadOnlySpan<T> embedded = Values(_embedded[set]), projected = Values(_projected[set]), queries = Values(_queries[set]), v = Values(_model.Units[set].Output.weight);
        Span<T> sums = Values(_sums[set]);
        T c = Values(_model.Units[set].Output.bias!)[0];
        T[] weights = _weights[set];
        for (int sample = 0; sample < _batch.Count; sample++)
        {
            ReadOnlySpan<T> query = queries.Slice(sample * _width, _width);
            Span<T> sum = sums.Slice(sample * _dimension, _dimension);
            for (int j = _batch.Starts[sample]; j < _batch.Starts[sample + 1]; j++)
            {
                int item = _batch.History[j];
                weights[j] = Activate(projected.Slice(item * _width, _width), query, v) + c;
                AddScaled(embedded.Slice(item * _dimension, _dimension), weights[j], sum);
            }
        }
    }

    private void Backward(int set, ReadOnlySpan<T> gradients, Span<T> embeddedGradient, Span<T> projectedGradient, Span<T> queryGradient, Span<T> vGradient, Span<T> cGradient)
    {
        ReadOnlySpan<T> embedded = Values(_embedded[set]), projected = Values(_projected[set]), queries = Values(_queries[set]), v = Values(_model.Units[set].Output.weight);
        T[] weights = _weights[set];
        for (int sample = 0; sample < _batch.Count; sample++)
        {
            ReadOnlySpan<T> query = queries.Slice(sample * _width, _width), gradient = gradients.Slice(sample * _dimension, _dimension);
            Span<T> own = queryGradient.Slice(sample * _width, _width);
            for (int j = _batch.Starts[sample]; j < _batch.Starts[sample + 1]; j++)
            {
                int item = _batch.History[j];
                T delta = DotAndAddScaled(embedded.Slice(item * _dimension, _dimension), gradient, weights[j], embeddedGradient.Slice(item * _dimension, _dimension));
                cGradient[0] += delta;
                BackwardActivation(projected.Slice(item * _width, _width), query, v, delta, projectedGradient.Slice(item * _width, _width), own, vGradient);
            }
        }
    }

    // y += x
    private static void Add(ReadOnlySpan<T> x, Span<T> y)
    {
        ref T xs = ref MemoryMarshal.GetReference(x), ys = ref MemoryMarshal.GetReference(y);
        int i = 0;
        for (; i <= y.Length - Vector<T>.Count; i += Vector<T>.Count)
            (At(ref ys, i) + At(ref xs, i)).StoreUnsafe(ref ys, (nuint)i);
        for (; i < y.Length; i++)
            y[i] += x[i];
    }

    // y += s x
    private static void AddScaled(ReadOnlySpan<T> x, T s, Span<T> y)
    {
        ref T xs = ref MemoryMarshal.GetReference(x), ys = ref MemoryMarshal.GetReference(y);
        var scale = new Vector<T>(s);
        int i = 0;
        for (; i <= y.Length - Vector<T>.Count; i += Vector<T>.Count)
            (At(ref ys, i) + (scale * At(ref xs, i))).StoreUnsafe(ref ys, (nuint)i);
        for (; i < y.Length; i++)
            y[i] += s * x[i];
    }

    // v · ReLU(a + q)
    private static T Activate(ReadOnlySpan<T> a, ReadOnlySpan<T> q, ReadOnlySpan<T> v)
    {
        ref T xs = ref MemoryMarshal.GetReference(a), qs = ref MemoryMarshal.GetReference(q), vs = ref MemoryMarshal.GetReference(v);
        Vector<T> sum = Vector<T>.Zero;
        int i = 0;
        for (; i <= v.Length - Vector<T>.Count; i += Vector<T>.Count)
            sum += At(ref vs, i) * Vector.Max(At(ref xs, i) + At(ref qs, i), Vector<T>.Zero);
        T total = Vector.Sum(sum);
        for (; i < v.Length; i++)
            total += v[i] * T.Max(a[i] + q[i], T.Zero);
        return total;
    }

    // Returns g · e; de += w g
    private static T DotAndAddScaled(ReadOnlySpan<T> e, ReadOnlySpan<T> g, T w, Span<T> de)
    {
        ref T es = ref MemoryMarshal.GetReference(e), gs = ref MemoryMarshal.GetReference(g), ds = ref MemoryMarshal.GetReference(de);
        Vector<T> sum = Vector<T>.Zero, scale = new(w);
        int i = 0;
        for (; i <= de.Length - Vector<T>.Count; i += Vector<T>.Count)
        {
            Vector<T> gradient = At(ref gs, i);
            sum += gradient * At(ref es, i);
            (At(ref ds, i) + (scale * gradient)).StoreUnsafe(ref ds, (nuint)i);
        }
        T total = Vector.Sum(sum);
        for (; i < de.Length; i++)
        {
            total += g[i] * e[i];
            de[i] += w * g[i];
        }
        return total;
    }

    // u = a + q; dv += δ ReLU(u); t = δ v [u > 0]; da += t; dq += t
    private static void BackwardActivation(ReadOnlySpan<T> a, ReadOnlySpan<T> q, ReadOnlySpan<T> v, T delta, Span<T> da, Span<T> dq, Span<T> dv)
    {
        ref T xs = ref MemoryMarshal.GetReference(a), qs = ref MemoryMarshal.GetReference(q), vs = ref MemoryMarshal.GetReference(v);
        ref T dxs = ref MemoryMarshal.GetReference(da), dqs = ref MemoryMarshal.GetReference(dq), dvs = ref MemoryMarshal.GetReference(dv);
        var scale = new Vector<T>(delta);
        int i = 0;
        for (; i <= v.Length - Vector<T>.Count; i += Vector<T>.Count)
        {
            Vector<T> u = At(ref xs, i) + At(ref qs, i);
            (At(ref dvs, i) + (scale * Vector.Max(u, Vector<T>.Zero))).StoreUnsafe(ref dvs, (nuint)i);
            Vector<T> t = Vector.ConditionalSelect(Vector.GreaterThan(u, Vector<T>.Zero), scale * At(ref vs, i), Vector<T>.Zero);
            (At(ref dxs, i) + t).StoreUnsafe(ref dxs, (nuint)i);
            (At(ref dqs, i) + t).StoreUnsafe(ref dqs, (nuint)i);
        }
        for (; i < v.Length; i++)
        {
            T u = a[i] + q[i];
            if (!(u > T.Zero))
                continue;
            dv[i] += delta * u;
            da[i] += delta * v[i];
            dq[i] += delta * v[i];
        }
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static Vector<T> At(ref T first, int index) => Vector.LoadUnsafe(ref first, (nuint)index);
}
