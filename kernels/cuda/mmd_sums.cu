// mmd-sums: Σ k(x_i, y_j) over pairs of two sets, or over i < j of one;  k(x, y) = Σ_t exp(rate_t ‖x − y‖²)      oracle: Scalar/MmdSums.cs
//   in    rows (n, d), columns (m, d) f32, centred and scaled (centre.cu), with squared norms · rates < 0
//   out   sums (column parts, row tiles) f64, to be added in this order
//   does  ‖x − y‖² = max(0, ‖x‖² + ‖y‖² − 2x·y) in float32 for the pairs of a tile; exponentials in float32, or in float64 where the tile's
//         largest is below e^−60
//   why   a term below e^−87 beside one of e^−60 is nothing; in a tile where all are small it may be the sum. Bounds.MmdSums
//   order a thread adds 16 terms in float32, the rest in float64; lanes, warps, tiles in an order that depends on the shape alone
//   work  a block owns a tile of rows and a part of the column tiles; of one set, the tiles on and above the diagonal
//   cost  2·n·m·d flop and n·m·|rates| exponentials, half of each for one set; 8·parts·n/128 bytes

#include "float64.h"
#include "products.h"

namespace
{
constexpr int kRowsPerSum = 2; // float32 sums of 2 × 8 terms
constexpr double kLargestExponent32 = 60;

struct Shared
{
    ProductTiles tiles;
    double warp_sums[kTileWarps];
    float warp_least[kTileWarps];
    ChainTotals totals; // last: absent where one chain is enough
};
} // namespace

struct Rate
{
    double exponent; // per unit of scaled squared distance, of e
    float exponent2; // the same of 2, rounded
    float unused;
};

struct MmdSumsArguments
{
    const float* rows;            // [row_count, depth]
    const double* row_norms;      // [row_count]
    const float* columns;         // [column_count, depth]
    const double* column_norms;   // [column_count]
    const Rate* rates;            // [rate_count]
    double* sums;                 // [column parts, row tiles]
    int row_count;
    int column_count;
    int depth;
    int rate_count;
    int tiles_per_part;
    int one_set;                  // rows and columns are the same: only pairs with row < column
};

KERNEL(kTileThreads) mmd_sums(MmdSumsArguments a)
{
    Shared& shared = *(Shared*)shared_memory();
    const float kInfinity = bits_to_float(0x7f800000);
    Operand rows{a.rows, a.row_count, a.depth}, columns{a.columns, a.column_count, a.depth};
    int first_row = block_index() * kTileRows;
    int first = block_index_y() * a.tiles_per_part * kTileColumns, end = smaller(first + a.tiles_per_part * kTileColumns, a.column_count);
    if (a.one_set && first < first_row)
        first = first_row;
    double total = 0;
    for (int first_column = first; first_column < end; first_column += kTileColumns)
    {
        float values[kPerThread][kPerThread];
        multiply<true>(shared.tiles, &shared.totals, rows, first_row, columns, first_column, values);

        float least = kInfinity;
        float column_norms[kPerThread];
#pragma unroll
        for (int j = 0; j < kPerThread; j++)
        {
            int column = first_column + own_column(j);
            column_norms[j] = column < a.column_count ? (float)a.column_norms[column] : kInfinity;
        }
        bool triangle = a.one_set && first_row == first_column;
#pragma unroll
        for (int i = 0; i < kPerThread; i++)
        {
            int row = first_row + own_row(i);
            float norm = row < a.row_count ? (float)a.row_norms[row] : kInfinity;
#pragma unroll
            for (int j = 0; j < kPerThread; j++)
            {
                // Pairs that do not count are infinitely far apart: their exponentials vanish.
                float distance = larger(0.0f, multiply_add(-2.0f, values[i][j], norm + column_norms[j]));
                values[i][j] = triangle && own_row(i) >= own_column(j) ? kInfinity : distance;
                least = smaller(least, values[i][j]);
            }
        }
        for (int mask = kWarp / 2; mask > 0; mask /= 2)
            least = smaller(least, shuffle_xor(least, mask));
        if (lane_index() == 0)
            shared.warp_least[warp_index()] = least;
        sync_block();
        for (int warp = 0; warp < kTileWarps; warp++)
            least = smaller(least, shared.warp_least[warp]);

        for (int t = 0; t < a.rate_count; t++)
        {
            Rate rate = a.rates[t];
            if (rate.exponent * least >= -kLargestExponent32)
            {
#pragma unroll
                for (int i = 0; i < kPerThread; i += kRowsPerSum)
                {
                    float sum = 0;
#pragma unroll
                    for (int r = i; r < i + kRowsPerSum; r++)
#pragma unroll
                        for (int j = 0; j < kPerThread; j++)
                            sum += exp2_fast(values[r][j] * rate.exponent2);
                    total += sum;
                }
            }
            else if (least < kInfinity)
            {
#pragma unroll
                for (int i = 0; i < kPerThread; i++)
#pragma unroll
                    for (int j = 0; j < kPerThread; j++)
                        total += exponential(values[i][j] * rate.exponent);
            }
        }
    }
    for (int mask = kWarp / 2; mask > 0; mask /= 2)
        total += shuffle_xor(total, mask);
    if (lane_index() == 0)
        shared.warp_sums[warp_index()] = total;
    sync_block();
    if (thread_index() == 0)
    {
        double sum = 0;
        for (int warp = 0; warp < kTileWarps; warp++)
            sum += shared.warp_sums[warp];
        a.sums[(s64)block_index_y() * grid_size() + block_index()] = sum;
    }
}
EXPORT(mmd_sums)
