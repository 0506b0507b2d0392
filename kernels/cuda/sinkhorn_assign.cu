// sinkhorn-assign: codes[i] = argmax_k g[k] − C[i, k] after T scalings of rows, then columns            oracle: Scalar/SinkhornAssign.cs
//   in    rows (n, d) and codewords (K, d) f32, centred and scaled (centre.cu), with squared norms
//   out   codes (n) u16 · potentials (K) f64 = g
//   does  z[i, k] = b[k] + slope·x_i·c_k = (g[k] − C[i, k])/ε in units of log 2, up to a term of row i alone
//         sinkhorn_assign_range:  least and largest ‖x_i − c_k‖² of each tile of rows; keeps the products where there is room
//         sinkhorn_assign_masses: p[i, k] = 2^(z[i, k] − LSE_k z[i, ·]), the row-scaled plan times n; per unit and code log2 Σ_i p[i, k]
//         sinkhorn_assign_scale:  g[k] += ε·log(n / (K·Σ_i p[i, k])), b from g
//         sinkhorn_assign_codes:  argmax_k z[i, k]
//   why   a sum of powers of 2 is kept as mantissa · 2^reference, the reference an integer no smaller than any exponent: moving it is exact,
//         and nothing that matters underflows, however faint a column is. Bounds.SinkhornAssign
//   ties  smallest k
//   order sums of units and of lanes in an order that depends on the shape alone
//   work  a block owns a unit, some tiles of rows, and walks the codes twice per tile: row sums, then column sums. Products are read back
//         (second-level cache on the second walk) or, where they do not fit the memory, multiplied again
//   cost  an iteration: 2·n·K exponentials, 4·n·K bytes, or 4·n·K·d flop; 12·K·units bytes

#include "float64.h"
#include "products.h"

namespace
{
constexpr int kCodesPerBlock = kTileThreads / kWarp;
constexpr double kLog2E = 1.4426950408889634, kLog2 = 0.6931471805599453;

// What a block adds up between two tiles; it lies where the operands of the products are, since never both are needed.
union Scratch
{
    ProductTiles tiles;
    struct { float references[kTileWarps][kTileColumns], sums[kTileWarps][kTileColumns]; } columns;
    struct { double least[kTileRows], most[kTileRows]; } range;
};

struct Shared
{
    float references[kTileRows]; // Σ_k 2^z[i, k] = 2^(reference + log)
    float logs[kTileRows];
    Scratch scratch;    // without tiles where products are kept
    ChainTotals totals; // last: absent where one chain is enough
};

DEVICE float lowest() { return bits_to_float(0xff7fffff); }
DEVICE float infinity() { return bits_to_float(0x7f800000); }
} // namespace

struct SinkhornArguments
{
    const float* rows;          // [count, depth]
    const double* row_norms;    // [count]
    const float* codewords;     // [code_count, depth]
    const double* code_norms;   // [code_count]
    float* products;            // [count, padded_codes], or null: not kept
    float* biases;              // [padded_codes] b, −∞ past the last
    float* references;          // [units, padded_codes]
    double* masses;             // [units, padded_codes]: Σ_i p[i, k] = masses · 2^references
    double* least;              // [row tiles]
    double* most;               // [row tiles]
    double* potentials;         // [code_count] g
    u16* codes;                 // [count]
    double rate;                // 1 / (half · ε): ‖x − c‖² times it is C/ε
    double epsilon;
    double log_share;           // log(n / K)
    float slope;                // 2 · rate · log2(e)
    int count;
    int code_count;
    int padded_codes;           // a multiple of kTileColumns
    int depth;
    int unit_tiles;             // tiles of rows in a unit
    int units;                  // 0: no masses yet
};

namespace
{
/// 2^n for integers n ≤ 0; 0 below float32's normal range.
DEVICE float power_of_two(float n) { return n < -126 ? 0 : bits_to_float((u32)((int)n + 127) << 23); }

/// A sum of powers of 2, value = sum · 2^reference.
struct Powers
{
    float reference, sum;
};

DEVICE Powers add(const Powers& a, const Powers& b)
{
    float reference = larger(a.reference, b.reference);
    return {reference, a.sum * power_of_two(a.reference - reference) + b.sum * power_of_two(b.reference - reference)};
}

/// Products of a tile: multiplied, or read where they are kept.
DEVICE void products(const SinkhornArguments& a, Shared& shared, int first_row, int first_code, bool kept, float (&values)[kPerThread][kPerThread])
{
    if (!kept)
    {
        multiply<true>(shared.scratch.tiles, &shared.totals, Operand{a.rows, a.count, a.depth}, first_row, Operand{a.codewords, a.code_count, a.depth}, first_code, values);
        return;
    }
#pragma unroll
    for (int i = 0; i < kPerThread; i++)
    {
        int row = first_row + own_row(i);
        const float* from = a.products + (s64)smaller(row, a.count - 1) * a.padded_codes + first_code;
        *(Float4*)&values[i][0] = *(const Float4*)(from + own_column(0));
        *(Float4*)&values[i][4] = *(const Float4*)(from + own_column(4));
    }
}

/// z of a tile in place of its products.
DEVICE void logits(const SinkhornArguments& a, int first_code, float (&values)[kPerThread][kPerThread])
{
#pragma unroll
    for (int j = 0; j < kPerThread; j++)
    {
        float bias = a.biases[first_code + own_column(j)];
#pragma unroll
        for (int i = 0; i < kPerThread; i++)
            values[i][j] = multiply_add(a.slope, values[i][j], bias);
    }
}

/// Σ_k 2^z[i, k] of a tile of rows, to shared memory.
DEVICE void sum_rows(const SinkhornArguments& a, Shared& shared, int first_row)
{
    Powers rows[kPerThread];
#pragma unroll
    for (int i = 0; i < kPerThread; i++)
        rows[i] = {lowest(), 0};
    for (int first_code = 0; first_code < a.padded_codes; first_code += kTileColumns)
    {
        float values[kPerThread][kPerThread];
        products(a, shared, first_row, first_code, a.products != nullptr, values);
        logits(a, first_code, values);
#pragma unroll
        for (int i = 0; i < kPerThread; i++)
        {
            float largest = lowest();
#pragma unroll
            for (int j = 0; j < kPerThread; j++)
                largest = larger(largest, values[i][j]);
            Powers own{round_up(largest), 0};
#pragma unroll
            for (int j = 0; j < kPerThread; j++)
                own.sum += exp2_fast(values[i][j] - own.reference);
            rows[i] = add(rows[i], own);
        }
    }
#pragma unroll
    for (int i = 0; i < kPerThread; i++)
    {
        for (int mask = 8; mask > 0; mask /= 2)
            rows[i] = add(rows[i], {shuffle_xor(rows[i].reference, mask), shuffle_xor(rows[i].sum, mask)});
        if (thread_index() % 16 == 0)
        {
            shared.references[own_row(i)] = rows[i].reference;
            shared.logs[own_row(i)] = rows[i].sum;
        }
    }
    sync_block();
    if (thread_index() < kTileRows)
        shared.logs[thread_index()] = (float)logarithm2(shared.logs[thread_index()]);
    sync_block();
}

/// Adds Σ p[i, k] over a tile of rows to the unit's masses.
DEVICE void sum_columns(const SinkhornArguments& a, Shared& shared, int first_row, bool first)
{
    for (int first_code = 0; first_code < a.padded_codes; first_code += kTileColumns)
    {
        float values[kPerThread][kPerThread];
        products(a, shared, first_row, first_code, a.products != nullptr, values);
        logits(a, first_code, values);
#pragma unroll
        for (int i = 0; i < kPerThread; i++)
        {
            float reference = shared.references[own_row(i)], log = shared.logs[own_row(i)];
            bool inside = first_row + own_row(i) < a.count;
#pragma unroll
            for (int j = 0; j < kPerThread; j++)
                values[i][j] = inside ? values[i][j] - reference - log : lowest();
        }
#pragma unroll
        for (int j = 0; j < kPerThread; j++)
        {
            float largest = lowest();
#pragma unroll
            for (int i = 0; i < kPerThread; i++)
                largest = larger(largest, values[i][j]);
            Powers column{round_up(largest), 0};
#pragma unroll
            for (int i = 0; i < kPerThread; i++)
                column.sum += exp2_fast(values[i][j] - column.reference);
            // The two halves of a warp hold different rows.
            column = add(column, {shuffle_xor(column.reference, 16), shuffle_xor(column.sum, 16)});
            if (lane_index() < 16)
            {
                shared.scratch.columns.references[warp_index()][own_column(j)] = column.reference;
                shared.scratch.columns.sums[warp_index()][own_column(j)] = column.sum;
            }
        }
        sync_block();
        if (thread_index() < kTileColumns)
        {
            s64 at = (s64)block_index() * a.padded_codes + first_code + thread_index();
            float reference = first ? lowest() : a.references[at];
            double before = first ? 0 : a.masses[at];
            float most = reference;
            for (int warp = 0; warp < kTileWarps; warp++)
                most = larger(most, shared.scratch.columns.references[warp][thread_index()]);
            double mass = before * power_of_two((double)reference - most);
            for (int warp = 0; warp < kTileWarps; warp++)
                mass += shared.scratch.columns.sums[warp][thread_index()] * power_of_two((double)shared.scratch.columns.references[warp][thread_index()] - most);
            a.references[at] = most;
            a.masses[at] = mass;
        }
        sync_block();
    }
}
} // namespace

KERNEL(kTileThreads) sinkhorn_assign_range(SinkhornArguments a)
{
    Shared& shared = *(Shared*)shared_memory();
    int first_row = block_index() * kTileRows;
    float nearest[kPerThread], farthest[kPerThread];
#pragma unroll
    for (int i = 0; i < kPerThread; i++)
    {
        nearest[i] = infinity();
        farthest[i] = -infinity();
    }
    for (int first_code = 0; first_code < a.padded_codes; first_code += kTileColumns)
    {
        float values[kPerThread][kPerThread];
        products(a, shared, first_row, first_code, false, values);
#pragma unroll
        for (int i = 0; i < kPerThread && a.products != nullptr; i++)
        {
            int row = first_row + own_row(i);
            float* to = a.products + (s64)row * a.padded_codes + first_code;
            if (row >= a.count)
                continue;
            *(Float4*)(to + own_column(0)) = *(const Float4*)&values[i][0];
            *(Float4*)(to + own_column(4)) = *(const Float4*)&values[i][4];
        }
#pragma unroll
        for (int j = 0; j < kPerThread; j++)
        {
            int code = first_code + own_column(j);
            if (code >= a.code_count)
                continue;
            float norm = (float)a.code_norms[code];
#pragma unroll
            for (int i = 0; i < kPerThread; i++)
            {
                float distance = multiply_add(-2.0f, values[i][j], norm);
                nearest[i] = smaller(nearest[i], distance);
                farthest[i] = larger(farthest[i], distance);
            }
        }
    }
#pragma unroll
    for (int i = 0; i < kPerThread; i++)
    {
        for (int mask = 8; mask > 0; mask /= 2)
        {
            nearest[i] = smaller(nearest[i], shuffle_xor(nearest[i], mask));
            farthest[i] = larger(farthest[i], shuffle_xor(farthest[i], mask));
        }
        int row = first_row + own_row(i);
        if (thread_index() % 16 == 0 && row < a.count)
        {
            shared.scratch.range.least[own_row(i)] = a.row_norms[row] + nearest[i];
            shared.scratch.range.most[own_row(i)] = a.row_norms[row] + farthest[i];
        }
    }
    sync_block();
    if (thread_index() == 0)
    {
        double least = shared.scratch.range.least[0], most = shared.scratch.range.most[0];
        for (int i = 1; i < kTileRows && first_row + i < a.count; i++)
        {
            least = -larger(-least, -shared.scratch.range.least[i]);
            most = larger(most, shared.scratch.range.most[i]);
        }
        a.least[block_index()] = least;
        a.most[block_index()] = most;
    }
}
EXPORT(sinkhorn_assign_range)

KERNEL(kTileThreads) sinkhorn_assign_masses(SinkhornArguments a)
{
    Shared& shared = *(Shared*)shared_memory();
    int first = block_index() * a.unit_tiles * kTileRows, end = smaller(first + a.unit_tiles * kTileRows, a.count);
    for (int first_row = first; first_row < end; first_row += kTileRows)
    {
        sum_rows(a, shared, first_row);
        sum_columns(a, shared, first_row, first_row == first);
    }
}
EXPORT(sinkhorn_assign_masses)

// A warp a code; a lane adds every 32nd unit.
KERNEL(kTileThreads) sinkhorn_assign_scale(SinkhornArguments a)
{
    int code = block_index() * kCodesPerBlock + warp_index();
    if (code >= a.padded_codes)
        return;
    if (code >= a.code_count)
    {
        if (lane_index() == 0)
            a.biases[code] = -infinity();
        return;
    }
    double potential = a.potentials[code];
    if (a.units > 0)
    {
        float reference = lowest();
        for (int unit = lane_index(); unit < a.units; unit += kWarp)
            reference = larger(reference, a.references[(s64)unit * a.padded_codes + code]);
        for (int mask = kWarp / 2; mask > 0; mask /= 2)
            reference = larger(reference, shuffle_xor(reference, mask));
        double mass = 0;
        for (int unit = lane_index(); unit < a.units; unit += kWarp)
        {
            s64 at = (s64)unit * a.padded_codes + code;
            mass += a.masses[at] * power_of_two((double)a.references[at] - reference);
        }
        for (int mask = kWarp / 2; mask > 0; mask /= 2)
            mass += shuffle_xor(mass, mask);
        potential += a.epsilon * (a.log_share - kLog2 * (reference + logarithm2(mass)));
    }
    if (lane_index() == 0)
    {
        a.potentials[code] = potential;
        a.biases[code] = (float)(kLog2E * (potential / a.epsilon - a.code_norms[code] * a.rate));
    }
}
EXPORT(sinkhorn_assign_scale)

KERNEL(kTileThreads) sinkhorn_assign_codes(SinkhornArguments a)
{
    Shared& shared = *(Shared*)shared_memory();
    int first_row = block_index() * kTileRows;
    float largest[kPerThread];
    int best[kPerThread];
#pragma unroll
    for (int i = 0; i < kPerThread; i++)
    {
        largest[i] = -infinity();
        best[i] = a.padded_codes;
    }
    for (int first_code = 0; first_code < a.padded_codes; first_code += kTileColumns)
    {
        float values[kPerThread][kPerThread];
        products(a, shared, first_row, first_code, a.products != nullptr, values);
        logits(a, first_code, values);
#pragma unroll
        for (int i = 0; i < kPerThread; i++)
#pragma unroll
            for (int j = 0; j < kPerThread; j++)
            {
                // Codes come in ascending order: an equal one later does not replace.
                if (values[i][j] > largest[i])
                {
                    largest[i] = values[i][j];
                    best[i] = first_code + own_column(j);
                }
            }
    }
#pragma unroll
    for (int i = 0; i < kPerThread; i++)
    {
        for (int mask = 8; mask > 0; mask /= 2)
        {
            float other = shuffle_xor(largest[i], mask);
            int code = (int)shuffle_xor((u32)best[i], mask);
            if (other > largest[i] || (other == largest[i] && code < best[i]))
            {
                largest[i] = other;
                best[i] = code;
            }
        }
        int row = first_row + own_row(i);
        if (thread_index() % 16 == 0 && row < a.count)
            a.codes[row] = (u16)best[i];
    }
}
EXPORT(sinkhorn_assign_codes)
