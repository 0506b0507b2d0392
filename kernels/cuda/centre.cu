// centre: rows as the Gram form ‖x‖² + ‖y‖² − 2x·y wants them                          oracle: Simd/Centring.cs
//   in    rows (n, d) f32, stored `depth` apart
//   does  centre_sums:     sums[u, j] = Σ (x_ij − o_j) over the rows of unit u, o any row: the mean, once the host has added the units
//         centre_measure:  norms[i] = ‖x_i − c‖² in float64, c float64; largest |x_ij| of all
//         centre_subtract: x_i ← x̂_i = 2^e · fl(x_i − m), m float32, in place; norms[i] = ‖x̂_i‖² in float64
//   order every sum is added in an order that depends on the shape alone
//   work  sums: a thread a column of a unit; the others: a warp a row
//   cost  each reads the rows once, 4·n·d bytes

#include "float64.h"

namespace
{
constexpr int kThreads = 256, kRowsPerBlock = kThreads / kWarp, kRowsAtOnce = 8;
}

struct CentreArguments
{
    float* rows;        // [count, depth]
    double* sums;       // [units, dimension]
    double* norms;      // [count]
    u32* largest;       // bits of the largest |x|
    const float* from;  // [dimension] o, or m
    const double* mean; // [dimension] c
    float scale;        // 2^e in two factors: alone it may lie outside of float32
    float second_scale;
    int count;
    int dimension;
    int depth;
    int unit_rows;
};

KERNEL(kThreads) centre_sums(CentreArguments a)
{
    int unit = block_index(), column = block_index_y() * kThreads + thread_index();
    if (column >= a.dimension)
        return;
    int row = unit * a.unit_rows, end = smaller(row + a.unit_rows, a.count);
    double origin = a.from[column], sum = 0;
    const float* values = a.rows + column;
    for (; row + kRowsAtOnce <= end; row += kRowsAtOnce)
    {
        float next[kRowsAtOnce];
#pragma unroll
        for (int r = 0; r < kRowsAtOnce; r++)
            next[r] = values[(s64)(row + r) * a.depth];
#pragma unroll
        for (int r = 0; r < kRowsAtOnce; r++)
            sum += next[r] - origin;
    }
    for (; row < end; row++)
        sum += values[(s64)row * a.depth] - origin;
    a.sums[(s64)unit * a.dimension + column] = sum;
}
EXPORT(centre_sums)

KERNEL(kThreads) centre_measure(CentreArguments a)
{
    int row = block_index() * kRowsPerBlock + warp_index();
    if (row >= a.count)
        return;
    const float* values = a.rows + (s64)row * a.depth;
    double sum = 0;
    float largest = 0;
    for (int j = lane_index(); j < a.dimension; j += kWarp)
    {
        double difference = values[j] - a.mean[j];
        sum = multiply_add(difference, difference, sum);
        largest = larger(largest, absolute(values[j]));
    }
    for (int mask = kWarp / 2; mask > 0; mask /= 2)
    {
        sum += shuffle_xor(sum, mask);
        largest = larger(largest, shuffle_xor(largest, mask));
    }
    if (lane_index() == 0)
    {
        a.norms[row] = sum;
        atomic_max(a.largest, float_to_bits(largest));
    }
}
EXPORT(centre_measure)

KERNEL(kThreads) centre_subtract(CentreArguments a)
{
    int row = block_index() * kRowsPerBlock + warp_index();
    if (row >= a.count)
        return;
    float* values = a.rows + (s64)row * a.depth;
    double sum = 0;
    for (int j = lane_index(); j < a.dimension; j += kWarp)
    {
        float value = (values[j] - a.from[j]) * a.scale * a.second_scale;
        values[j] = value;
        sum = multiply_add((double)value, (double)value, sum);
    }
    for (int mask = kWarp / 2; mask > 0; mask /= 2)
        sum += shuffle_xor(sum, mask);
    if (lane_index() == 0)
        a.norms[row] = sum;
}
EXPORT(centre_subtract)
