using System.Numerics.Tensors;
using System.Runtime.InteropServices;
using System.Runtime.Intrinsics;

namespace MmeSid.Kernels.Simd;

/// <summary>
/// Decides what the screen could not: float64 distances of the surviving codewords from the residual itself, exact arithmetic where
/// their bounds still overlap. Not thread-safe; one per worker.
/// </summary>
internal sealed class Recheck
{
    // More are not worth a look: of so many a shadow hardly proves one.
    private const int kMostToProve = 256;

    private readonly EncodePlan _plan;
    private readonly ExactOrder _exact;
    private readonly double[] _target;
    private readonly double[] _normsUpTo;
    private double _rowNorm;

    /// <summary>For one worker.</summary>
    /// <param name="plan">The plan.</param>
    /// <param name="largestNorms">Of <see cref="LargestNorms"/>.</param>
    public Recheck(EncodePlan plan, double[] largestNorms)
    {
        _plan = plan;
        _exact = new ExactOrder(plan);
        _target = new double[2 * plan.Dimension];
        _normsUpTo = largestNorms;
    }

    /// <summary>[L + 1], for l levels the largest sum of codeword norms that a prefix of them can have.</summary>
    public static double[] LargestNorms(EncodePlan plan, int threads = 1)
    {
        const int kCodesPerBlock = 64;
        double[] sums = new double[plan.Levels + 1];
        for (int level = 0; level < plan.Levels; level++)
        {
            int count = plan.CodeCount(level), ofLevel = level;
            double[] largest = new double[(count + kCodesPerBlock - 1) / kCodesPerBlock];
            Parallel.For(0, largest.Length, new ParallelOptions { MaxDegreeOfParallelism = threads }, block =>
            {
                double[] codeword = new double[plan.Dimension];
                for (int k = block * kCodesPerBlock; k < Math.Min(count, (block + 1) * kCodesPerBlock); k++)
                {
                    TensorPrimitives.ConvertTruncating(plan.Codeword(ofLevel, k), codeword.AsSpan());
                    largest[block] = Math.Max(largest[block], TensorPrimitives.SumOfSquares<double>(codeword));
                }
            });
            sums[level + 1] = sums[level] + Math.Sqrt(TensorPrimitives.Max<double>(largest));
        }
        return sums;
    }

    /// <summary>The code of <paramref name="level"/> among the candidates, by the real-number distances.</summary>
    /// <param name="row">x, [d].</param>
    /// <param name="path">[level + 1]; the codes before the level are read, the last place is scratch.</param>
    /// <param name="level">l.</param>
    /// <param name="candidates">Codes in any order; empty means all K.</param>
    /// <param name="report">Counts are added.</param>
    public int Decide(ReadOnlySpan<float> row, Span<ushort> path, int level, ReadOnlySpan<int> candidates, ref EncodeReport report)
    {
        int width = _plan.CodewordWidth(level);
        SetTarget(row, path[..level], width);
        double magnitude = _rowNorm + _normsUpTo[level];
        int count = candidates.IsEmpty ? _plan.CodeCount(level) : candidates.Length;
        ReadOnlySpan<float> codebook = _plan.Codebook(level);
        int best = -1;
        double bestDistance = 0, bestBound = 0;
        bool exactly = false;
        Span<ushort> other = stackalloc ushort[path.Length];
        path.CopyTo(other);
        for (int i = 0; i < count; i++)
        {
            int code = candidates.IsEmpty ? i : candidates[i];
            double distance = SquaredDistance(_target.AsSpan(0, width), codebook.Slice(code * width, width));
            double bound = Bounds.SquaredDistance(width, level, magnitude, distance);
            bool wins = best < 0 || distance < bestDistance;
            if (best >= 0 && Math.Abs(distance - bestDistance) <= bound + bestBound)
            {
                exactly = true;
                path[level] = (ushort)code;
                other[level] = (ushort)best;
                wins = _exact.Compare(row, path, other) < 0;
            }
            if (wins)
                (best, bestDistance, bestBound) = (code, distance, bound);
        }
        report += new EncodeReport(0, 1, count, exactly ? 1 : 0);
        return best;
    }

    /// <summary>
    /// The code of <paramref name="level"/> of a row x that is known by its shadow x̃, or −1 where that proves none. Distances of two codes differ between x and x̃ by
    /// 2|(x − x̃)·(w_j − w_k)|, mostly far less than by what a screen must allow for each (docs/exactness.md §8).
    /// </summary>
    /// <param name="shadow">x̃, [d].</param>
    /// <param name="error">σ ≥ ‖x − x̃‖.</param>
    /// <param name="errors">[d] at least |x_i − x̃_i|, or empty.</param>
    /// <param name="path">[level + 1]; the codes before the level are read.</param>
    /// <param name="level">l.</param>
    /// <param name="candidates">At least one; x's is among them.</param>
    public int Prove(ReadOnlySpan<float> shadow, double error, ReadOnlySpan<float> errors, ReadOnlySpan<ushort> path, int level, ReadOnlySpan<int> candidates)
    {
        if (candidates.Length > kMostToProve)
            return -1;
        int width = _plan.CodewordWidth(level);
        SetTarget(shadow, path[..level], width);
        double magnitude = _rowNorm + _normsUpTo[level];
        ReadOnlySpan<float> codebook = _plan.Codebook(level);
        Span<double> distances = stackalloc double[candidates.Length];
        for (int i = 0; i < candidates.Length; i++)
            distances[i] = SquaredDistance(_target.AsSpan(0, width), codebook.Slice(candidates[i] * width, width));
        int best = TensorPrimitives.IndexOfMin<double>(distances);
        double bestBound = Bounds.SquaredDistance(width, level, magnitude, distances[best]);
        for (int i = 0; i < candidates.Length; i++)
        {
            if (i == best)
                continue;
            double moved = 2 * Bounds.Slack * Moved(_plan.Codeword(level, candidates[i]), _plan.Codeword(level, candidates[best]), error, errors);
            if (!(distances[i] - distances[best] > moved + bestBound + Bounds.SquaredDistance(width, level, magnitude, distances[i])))
                return -1;
        }
        return candidates[best];
    }

    // At least |(x − x̃)·(left − right)|: by each value, or by the norm.
    private static double Moved(ReadOnlySpan<float> left, ReadOnlySpan<float> right, double error, ReadOnlySpan<float> errors)
    {
        Vector256<double> sumLow = Vector256<double>.Zero, sumHigh = Vector256<double>.Zero;
        ref float a = ref MemoryMarshal.GetReference(left);
        ref float b = ref MemoryMarshal.GetReference(right);
        ref float weights = ref MemoryMarshal.GetReference(errors);
        int i = 0;
        for (; i + 8 <= left.Length; i += 8)
        {
            (Vector256<double> low, Vector256<double> high) = Vector256.Widen(Vector256.LoadUnsafe(ref a, (nuint)i));
            (Vector256<double> otherLow, Vector256<double> otherHigh) = Vector256.Widen(Vector256.LoadUnsafe(ref b, (nuint)i));
            (low, high) = (low - otherLow, high - otherHigh);
            (Vector256<double> lowFactor, Vector256<double> highFactor) = errors.IsEmpty ? (low, high) : Vector256.Widen(Vector256.LoadUnsafe(ref weights, (nuint)i));
            sumLow += Vector256.Abs(low * lowFactor);
            sumHigh += Vector256.Abs(high * highFactor);
        }
        double sum = Vector256.Sum(sumLow + sumHigh);
        for (; i < left.Length; i++)
        {
            double difference = (double)left[i] - right[i];
            sum += Math.Abs(difference * (errors.IsEmpty ? difference : errors[i]));
        }
        return errors.IsEmpty ? error * Math.Sqrt(sum) : sum;
    }

    /// <summary>
    /// The <paramref name="wanted"/> extensions of smallest distance among the candidates, best first; equal distances by path.
    /// </summary>
    public List<ushort[]> Keep(ReadOnlySpan<float> row, List<ushort[]> prefixes, int level, List<(int Prefix, int Code)> candidates, int wanted, ref EncodeReport report)
    {
        int width = _plan.CodewordWidth(level);
        ReadOnlySpan<float> codebook = _plan.Codebook(level);
        var best = new List<(ushort[] Path, double Distance, double Bound)>(wanted + 1);
        bool exactly = false;
        int prefix = -1;
        foreach ((int candidatePrefix, int code) in candidates)
        {
            if (candidatePrefix != prefix)
            {
                prefix = candidatePrefix;
                SetTarget(row, prefixes[prefix], width);
            }
            double distance = SquaredDistance(_target.AsSpan(0, width), codebook.Slice(code * width, width));
            double bound = Bounds.SquaredDistance(width, level, _rowNorm + _normsUpTo[level], distance);
            ushort[] path = [.. prefixes[prefix], (ushort)code];
            int place = best.Count;
            for (; place > 0; place--)
            {
                (ushort[] other, double otherDistance, double otherBound) = best[place - 1];
                bool decided = Math.Abs(distance - otherDistance) > bound + otherBound;
                exactly |= !decided;
                if (decided ? distance > otherDistance : _exact.Compare(row, path, other) > 0)
                    break;
            }
            if (place == wanted)
                continue;
            best.Insert(place, (path, distance, bound));
            if (best.Count > wanted)
                best.RemoveAt(wanted);
        }
        report += new EncodeReport(0, 1, candidates.Count, exactly ? 1 : 0);
        return best.ConvertAll(extension => extension.Path);
    }

    /// <summary>‖r‖² of a prefix, plus ‖x − m − r‖² where the level's codewords are 2d wide: what extensions of different prefixes differ by.</summary>
    public double PrefixDistance(ReadOnlySpan<float> row, ushort[] prefix, int level, ReadOnlySpan<float> centre, out double bound)
    {
        int d = _plan.Dimension, width = _plan.CodewordWidth(level);
        SetTarget(row, prefix, width);
        double centreNorm = 0;
        if (width > d)
        {
            AddScaled(centre, -1, _target.AsSpan(d, d));
            centreNorm = Math.Sqrt(d) * Math.Abs((double)TensorPrimitives.MaxMagnitude(centre));
        }
        double distance = TensorPrimitives.SumOfSquares<double>(_target.AsSpan(0, width));
        bound = Bounds.SquaredDistance(width, level, _rowNorm + _normsUpTo[level] + centreNorm, distance);
        return distance;
    }

    /// <summary>‖x − Σ_j c_j‖² in float64: the sums, their order and so the bits of <see cref="Scalar.ScalarEncoder.SquaredError"/>.</summary>
    public double SquaredError(ReadOnlySpan<float> row, ReadOnlySpan<ushort> path)
    {
        // A strip at a time stays in registers and the first-level cache, whatever the number of levels.
        const int kStrip = 64;
        Span<double> strip = stackalloc double[kStrip], partial = stackalloc double[8];
        Vector256<double> low = Vector256<double>.Zero, high = Vector256<double>.Zero;
        ref double target = ref MemoryMarshal.GetReference(strip);
        for (int start = 0; start < row.Length; start += kStrip)
        {
            int width = Math.Min(kStrip, row.Length - start), i = 0;
            TensorPrimitives.ConvertTruncating(row.Slice(start, width), strip);
            for (int j = 0; j < path.Length; j++)
                AddScaled(_plan.Codeword(j, path[j]).Slice(start, width), -1, strip);
            for (; i + 8 <= width; i += 8)
            {
                Vector256<double> first = Vector256.LoadUnsafe(ref target, (nuint)i), second = Vector256.LoadUnsafe(ref target, (nuint)(i + 4));
                low += first * first;
                high += second * second;
            }
            low.CopyTo(partial);
            high.CopyTo(partial[4..]);
            // Only the last strip has values left.
            for (; i < width; i++)
                partial[i % 8] += strip[i] * strip[i];
        }
        return ((partial[0] + partial[4]) + (partial[2] + partial[6])) + ((partial[1] + partial[5]) + (partial[3] + partial[7]));
    }

    // [x − Σ c_j | Σ c_j] in float64, the second half only when the level's codewords are 2d wide.
    private void SetTarget(ReadOnlySpan<float> row, ReadOnlySpan<ushort> path, int width)
    {
        int d = _plan.Dimension;
        Span<double> residual = _target.AsSpan(0, d), chosen = _target.AsSpan(d, d);
        TensorPrimitives.ConvertTruncating(row, residual);
        _rowNorm = Math.Sqrt(TensorPrimitives.SumOfSquares<double>(residual));
        bool needsPrefix = width > d;
        if (needsPrefix)
            chosen.Clear();
        for (int j = 0; j < path.Length; j++)
        {
            ReadOnlySpan<float> codeword = _plan.Codeword(j, path[j]);
            AddScaled(codeword, -1, residual);
            if (needsPrefix)
                AddScaled(codeword, 1, chosen);
        }
    }

    private static void AddScaled(ReadOnlySpan<float> source, double sign, Span<double> destination)
    {
        int i = 0;
        ref float from = ref MemoryMarshal.GetReference(source);
        ref double to = ref MemoryMarshal.GetReference(destination);
        Vector256<double> factor = Vector256.Create(sign);
        for (; i + 8 <= source.Length; i += 8)
        {
            (Vector256<double> low, Vector256<double> high) = Vector256.Widen(Vector256.LoadUnsafe(ref from, (nuint)i));
            (Vector256.LoadUnsafe(ref to, (nuint)i) + factor * low).StoreUnsafe(ref to, (nuint)i);
            (Vector256.LoadUnsafe(ref to, (nuint)(i + 4)) + factor * high).StoreUnsafe(ref to, (nuint)(i + 4));
        }
        for (; i < source.Length; i++)
            destination[i] += sign * source[i];
    }

    private static double SquaredDistance(ReadOnlySpan<double> target, ReadOnlySpan<float> codeword)
    {
        ref double left = ref MemoryMarshal.GetReference(target);
        ref float right = ref MemoryMarshal.GetReference(codeword);
        Vector256<double> sumLow = Vector256<double>.Zero, sumHigh = Vector256<double>.Zero;
        int i = 0;
        for (; i + 8 <= codeword.Length; i += 8)
        {
            (Vector256<double> low, Vector256<double> high) = Vector256.Widen(Vector256.LoadUnsafe(ref right, (nuint)i));
            low = Vector256.LoadUnsafe(ref left, (nuint)i) - low;
            high = Vector256.LoadUnsafe(ref left, (nuint)(i + 4)) - high;
            sumLow += low * low;
            sumHigh += high * high;
        }
        double sum = Vector256.Sum(sumLow + sumHigh);
        for (; i < codeword.Length; i++)
        {
            double difference = target[i] - codeword[i];
            sum += difference * difference;
        }
        return sum;
    }
}
