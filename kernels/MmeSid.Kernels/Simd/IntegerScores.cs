using System.Numerics;
using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;

namespace MmeSid.Kernels.Simd;

/// <summary>
/// What scores are at least and at most, from a row's integer products: s[k] = biases[k] + factor · steps[k] · (products[k] − offset), off by at most
/// reach · norms[k] + outside · outsides[k] and what does not depend on the codeword. Each loop is a method of its own: calls beside a loop would keep its
/// accumulators in memory.
/// </summary>
internal static unsafe class IntegerScores
{
    private const MethodImplOptions kOwnLoop = MethodImplOptions.NoInlining | MethodImplOptions.AggressiveOptimization;

    /// <summary>Leaves what each score is at least, s − e, in the place of the products.</summary>
    /// <param name="products">[columns], in place.</param>
    /// <param name="row">What makes scores of a row's products.</param>
    /// <param name="codes">The codewords' side of it.</param>
    /// <param name="columns">A multiple of 16.</param>
    /// <returns>The smallest s + e.</returns>
    public static float Bound(int* products, in RowFactors row, in CodeFactors codes, int columns)
    {
        Bound(products, row, codes, columns, out Vector512<float> atMost);
        return new Lanes512(atMost).Smallest();
    }

    /// <summary>The same of products of a prefix, against what is known of the row's best code.</summary>
    /// <param name="products">[columns], in place.</param>
    /// <param name="row">As above.</param>
    /// <param name="codes">As above.</param>
    /// <param name="columns">A multiple of 16.</param>
    /// <param name="limit">Codes whose s − e is above it are out.</param>
    /// <param name="within">[columns] bits, those that are not; to be found again where one is likelier.</param>
    /// <param name="likeliest">The smallest s so far, and what comes of these, with its column.</param>
    /// <returns>Whether one of these is likelier.</returns>
    public static bool BoundPrefix(int* products, in RowFactors row, in CodeFactors codes, int columns, float limit, ushort* within, ref (float Score, int Column) likeliest)
    {
        BoundPrefix(products, row, codes, columns, limit, within, out Vector512<float> scores, out Vector512<int> at);
        if (!Vector512.LessThanAny(scores, Vector512.Create(likeliest.Score)))
            return false;
        float smallest = new Lanes512(scores).Smallest();
        likeliest = (smallest, at[BitOperations.TrailingZeroCount(Vector512.Equals(scores, Vector512.Create(smallest)).ExtractMostSignificantBits())]);
        return true;
    }

    /// <summary>to = biases + Σ_j tables[j].</summary>
    /// <param name="biases">[columns].</param>
    /// <param name="tables">[columns] each.</param>
    /// <param name="tableCount">How many.</param>
    /// <param name="to">[columns].</param>
    /// <param name="columns">Codes, a multiple of 64.</param>
    [MethodImpl(kOwnLoop)]
    public static void AddTables(float* biases, TableRow* tables, int tableCount, float* to, int columns)
    {
        for (int k = 0; k < columns; k += 64)
        {
            Vector512<float> a = Vector512.Load(biases + k), b = Vector512.Load(biases + k + 16), c = Vector512.Load(biases + k + 32), e = Vector512.Load(biases + k + 48);
            for (int j = 0; j < tableCount; j++)
            {
                TableRow table = tables[j];
                a = table.AddTo(a, k);
                b = table.AddTo(b, k + 16);
                c = table.AddTo(c, k + 32);
                e = table.AddTo(e, k + 48);
            }
            a.Store(to + k);
            b.Store(to + k + 16);
            c.Store(to + k + 32);
            e.Store(to + k + 48);
        }
    }

    [MethodImpl(kOwnLoop)]
    private static void Bound(int* products, in RowFactors row, in CodeFactors codes, int columns, out Vector512<float> atMost)
    {
        float* steps = codes.Steps, biases = codes.Biases, norms = codes.Norms, atLeast = (float*)products;
        Vector512<int> offset = Vector512.Create(row.Offset);
        Vector512<float> factor = Vector512.Create(row.Factor), reach = Vector512.Create(row.Reach), smallest = Vector512.Create(float.PositiveInfinity);
        for (int k = 0; k < columns; k += 16)
        {
            Vector512<float> product = Vector512.ConvertToSingle(Vector512.Load(products + k) - offset) * Vector512.Load(steps + k);
            Vector512<float> score = Vector512.MultiplyAddEstimate(factor, product, Vector512.Load(biases + k));
            Vector512<float> error = reach * Vector512.Load(norms + k);
            (score - error).Store(atLeast + k);
            smallest = Vector512.MinNative(smallest, score + error);
        }
        atMost = smallest;
    }

    [MethodImpl(kOwnLoop)]
    private static void BoundPrefix(
        int* products, in RowFactors row, in CodeFactors codes, int columns, float limit, ushort* within, out Vector512<float> scores, out Vector512<int> at)
    {
        float* steps = codes.Steps, biases = codes.Biases, norms = codes.Norms, outsides = codes.Outsides, atLeast = (float*)products;
        Vector512<int> offset = Vector512.Create(row.Offset), here = Vector512<int>.Indices, likeliest = here;
        Vector512<float> factor = Vector512.Create(row.Factor), reach = Vector512.Create(-row.Reach), outside = Vector512.Create(-row.Outside);
        Vector512<float> smallest = Vector512.Create(float.PositiveInfinity), limits = Vector512.Create(limit);
        for (int k = 0; k < columns; k += 16)
        {
            Vector512<float> product = Vector512.ConvertToSingle(Vector512.Load(products + k) - offset) * Vector512.Load(steps + k);
            Vector512<float> score = Vector512.MultiplyAddEstimate(factor, product, Vector512.Load(biases + k));
            likeliest = Vector512.ConditionalSelect(Vector512.LessThan(score, smallest).AsInt32(), here, likeliest);
            smallest = Vector512.MinNative(smallest, score);
            here += Vector512.Create(16);
            score = Vector512.MultiplyAddEstimate(reach, Vector512.Load(norms + k), score);
            score = Vector512.MultiplyAddEstimate(outside, Vector512.Load(outsides + k), score);
            score.Store(atLeast + k);
            *within++ = (ushort)Vector512.LessThanOrEqual(score, limits).ExtractMostSignificantBits();
        }
        (scores, at) = (smallest, likeliest);
    }
}

/// <summary>A row's side of <see cref="IntegerScores"/>.</summary>
/// <param name="Offset">Of its products.</param>
/// <param name="Factor">−2 · its step.</param>
/// <param name="Reach">What a score is off for each unit of a codeword's norm.</param>
/// <param name="Outside">Twice the norm of its part outside of the prefix.</param>
internal readonly record struct RowFactors(int Offset, float Factor, float Reach, float Outside);

/// <summary>The codewords' side of <see cref="IntegerScores"/>.</summary>
/// <param name="steps">Their steps.</param>
/// <param name="biases">β, with a row's tables added.</param>
/// <param name="norms">Their norms.</param>
/// <param name="outsides">Norms of their parts outside of the prefix.</param>
internal readonly unsafe struct CodeFactors(float* steps, float* biases, float* norms, float* outsides)
{
    public float* Steps => steps;

    public float* Biases => biases;

    public float* Norms => norms;

    public float* Outsides => outsides;
}
