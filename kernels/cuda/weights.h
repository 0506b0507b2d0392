// Sums and draws of k-means in the order that the host keeps too: src/MmeSid.Engine/Quantization/InterleavedSum.cs, SquaredDistance.cs.
#pragma once

#include "device.h"

/// Rows of which a block sum is made.
constexpr int kRowsPerSum = 4096;
/// Lanes that share a row; half a warp.
constexpr int kLanesPerRow = 16;

/// sum + (x − p)², rounded after the difference and after the sum.
DEVICE double add_square(double sum, double x, double p)
{
    double difference = x - p;
    return multiply_add(difference, difference, sum);
}

/// ‖x − p_c‖² of N points in each of kLanesPerRow lanes, d values each: interleaved fused chains, added up as a tree, then what is left one by
/// one. All lanes of the warp take part.
template <int N, class Point> DEVICE void squared_distances(const float* x, const Point* const (&points)[N], int d, double (&sums)[N])
{
    // On their way at a time; the compiler unrolls nothing that holds assembly and may end early.
    constexpr int kAtOnce = 4;
    int lane = lane_index() % kLanesPerRow, whole = d / kLanesPerRow * kLanesPerRow, first = 0;
#pragma unroll
    for (int c = 0; c < N; c++)
        sums[c] = 0;
    for (; first + kAtOnce * kLanesPerRow <= whole; first += kAtOnce * kLanesPerRow)
#pragma unroll
        for (int i = 0; i < kAtOnce; i++)
#pragma unroll
            for (int c = 0; c < N; c++)
                sums[c] = add_square(sums[c], x[first + i * kLanesPerRow + lane], points[c][first + i * kLanesPerRow + lane]);
    for (; first < whole; first += kLanesPerRow)
#pragma unroll
        for (int c = 0; c < N; c++)
            sums[c] = add_square(sums[c], x[first + lane], points[c][first + lane]);
#pragma unroll
    for (int c = 0; c < N; c++)
#pragma unroll
        for (int mask = kLanesPerRow / 2; mask > 0; mask /= 2)
            sums[c] += shuffle_xor(sums[c], mask);
    for (; first < d; first++)
#pragma unroll
        for (int c = 0; c < N; c++)
            sums[c] = add_square(sums[c], x[first], points[c][first]);
}

/// The lanes' values added up as a tree; every lane gets the sum.
DEVICE double warp_sum(double own)
{
#pragma unroll
    for (int mask = kWarp / 2; mask > 0; mask /= 2)
        own += shuffle_xor(own, mask);
    return own;
}

/// What a lane adds to the warp's sum: values lane, lane + 32, …, one after the other.
DEVICE double lane_sum(const double* values, int count)
{
    constexpr int kAtOnce = 8;
    double sum = 0;
    int i = lane_index();
    for (; i + (kAtOnce - 1) * kWarp < count; i += kAtOnce * kWarp)
#pragma unroll
        for (int step = 0; step < kAtOnce; step++)
            sum += values[i + step * kWarp];
    for (; i < count; i += kWarp)
        sum += values[i];
    return sum;
}

/// Σ values, by a warp.
DEVICE double interleaved_sum(const double* values, int count) { return warp_sum(lane_sum(values, count)); }

/// The lane in whose weight a target falls that runs through the lanes' weights, and in `target` what is left of it there; where rounding
/// lets it run through all of them the last lane with a weight, and −1 where there is none. The same for all lanes.
DEVICE int walk_lanes(double own, double& target, bool& reached)
{
    int chosen = -1;
    for (int lane = 0; lane < kWarp && !reached; lane++)
    {
        double weight = shuffle(own, lane);
        if (!(weight > 0))
            continue;
        chosen = lane;
        reached = target < weight;
        if (!reached)
            target -= weight;
    }
    return chosen;
}

/// The same for weights in memory, `stride` apart.
DEVICE int walk(const double* weights, int stride, int count, double& target)
{
    int chosen = -1;
    bool reached = false;
    for (int first = 0; first < count && !reached; first += kWarp)
    {
        int i = first + lane_index(), lane = walk_lanes(i < count ? weights[(s64)i * stride] : 0, target, reached);
        if (lane >= 0)
            chosen = first + lane;
    }
    return chosen;
}

/// A row by its weight, by a warp: the block in which the target falls, then the lane of its sum, then the row of the lane; −1 where no row has a weight.
DEVICE int draw_row(const double* weights, const double* block_sums, int count, double target)
{
    int block = walk(block_sums, 1, (count + kRowsPerSum - 1) / kRowsPerSum, target);
    if (block < 0)
        return -1;
    const double* rows = weights + (s64)block * kRowsPerSum;
    int here = smaller(kRowsPerSum, count - block * kRowsPerSum);
    bool reached = false;
    int lane = walk_lanes(lane_sum(rows, here), target, reached);
    int row = walk(rows + lane, kWarp, (here - lane + kWarp - 1) / kWarp, target);
    return block * kRowsPerSum + lane + row * kWarp;
}
