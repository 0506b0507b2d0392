// kmeans-seeding: greedy k-means++ (Arthur & Vassilvitskii 2007): of C rows drawn by squared distance to the nearest seed, the one that leaves the smallest total
//                                                                                        oracle: src/MmeSid.Engine/Quantization/HostLloyd.cs
//   in    rows (n, d), of which the sample (s) may be seeds, all where there is none · the first · numbers (K − 1, C) in [0, 1) that draw the candidates
//   out   seeds (K), rows · found: seeds before every row of the sample was one
//   does  per seed: distances[c, i] = min(nearest[i], ‖x_i − candidate c‖²), their sums per block and candidate, then the candidate with the smallest
//         sum (ties: the first) becomes the seed, its distances are the nearest, and the next candidates are drawn by them
//   order weights.h's: the same bytes on every device and on the host
//   work  distances: half a warp a row, kAtOnce candidates at a time; sums: a warp a block of rows and a candidate; choice: one block, a warp a candidate
//   cost  3·K·C·s·d float64 operations, K·s·(4·d + 16·C) bytes; three launches a seed, and nothing for the host between them

#include "weights.h"

namespace
{
constexpr int kThreads = 256, kWarps = kThreads / kWarp, kRowsPerBlock = kThreads / kLanesPerRow, kAtOnce = 4;
}

struct SeedingArguments
{
    const float* rows;          // [n, dimension]
    const int* sample;          // [count] rows, or null for the first count
    const double* uniform;      // [K − 1, candidates]
    int* drawn;                 // [candidates], numbers in the sample
    int* best;                  // [1] the candidate that became the last seed
    int* seeds;                 // [K] rows
    int* found;                 // [1]
    double* distances;          // [candidates, count]
    double* block_sums;         // [candidates, blocks]
    int count;
    int dimension;
    int candidates;
    int step;                   // seeds so far
    int codes;                  // K
};

namespace
{
// The first seed was not chosen among several.
DEVICE int candidates_now(const SeedingArguments& a) { return a.step == 0 ? 1 : a.candidates; }
DEVICE int row_of(const SeedingArguments& a, int number) { return a.sample == nullptr ? number : a.sample[number]; }
DEVICE int blocks_of(const SeedingArguments& a) { return (a.count + kRowsPerSum - 1) / kRowsPerSum; }

// Of a row to N candidates.
template <int N> DEVICE void measure(const SeedingArguments& a, const float* x, int first, int number, double nearest)
{
    const float* points[N];
    double squares[N];
#pragma unroll
    for (int c = 0; c < N; c++)
        points[c] = a.rows + (s64)row_of(a, a.drawn[first + c]) * a.dimension;
    squared_distances<N, float>(x, points, a.dimension, squares);
    if (number >= a.count || lane_index() % kLanesPerRow != 0)
        return;
#pragma unroll
    for (int c = 0; c < N; c++)
        a.distances[(s64)(first + c) * a.count + number] = squares[c] < nearest ? squares[c] : nearest;
}
} // namespace

// The row's own lane reads its nearest distance before it writes over it.
KERNEL(kThreads) kmeans_seeding_distances(SeedingArguments a)
{
    int number = block_index() * kRowsPerBlock + thread_index() / kLanesPerRow, known = smaller(number, a.count - 1), candidates = candidates_now(a);
    double nearest = bits_to_double(0x7ff0000000000000ull);
    if (a.step > 0 && lane_index() % kLanesPerRow == 0)
        nearest = a.distances[(s64)*a.best * a.count + known];
    const float* x = a.rows + (s64)row_of(a, known) * a.dimension;
    int first = 0;
    for (; first + kAtOnce <= candidates; first += kAtOnce)
        measure<kAtOnce>(a, x, first, number, nearest);
    for (; first < candidates; first++)
        measure<1>(a, x, first, number, nearest);
}
EXPORT(kmeans_seeding_distances)

KERNEL(kThreads) kmeans_seeding_sums(SeedingArguments a)
{
    int block = block_index() * kWarps + warp_index(), candidate = block_index_y(), first = block * kRowsPerSum;
    if (block >= blocks_of(a))
        return;
    double sum = interleaved_sum(a.distances + (s64)candidate * a.count + first, smaller(kRowsPerSum, a.count - first));
    if (lane_index() == 0)
        a.block_sums[(s64)candidate * blocks_of(a) + block] = sum;
}
EXPORT(kmeans_seeding_sums)

KERNEL(kThreads) kmeans_seeding_choose(SeedingArguments a)
{
    double* totals = (double*)shared_memory();
    int candidates = candidates_now(a);
    for (int c = warp_index(); c < candidates; c += kWarps)
    {
        double total = interleaved_sum(a.block_sums + (s64)c * blocks_of(a), blocks_of(a));
        if (lane_index() == 0)
            totals[c] = total;
    }
    sync_block();
    int best = 0;
    for (int c = 1; c < candidates; c++)
        best = totals[c] < totals[best] ? c : best;
    double total = totals[best];
    for (int c = warp_index(); c < a.candidates; c += kWarps)
    {
        // Whoever draws the next candidate in its place tells which row it was.
        if (c == best && lane_index() == 0)
        {
            *a.best = best;
            a.seeds[a.step] = row_of(a, a.drawn[best]);
            if (total == 0)
                *a.found = smaller(*a.found, a.step + 1);
        }
        if (a.step + 1 == a.codes)
            continue;
        double target = a.uniform[(s64)a.step * a.candidates + c] * total;
        int drawn = draw_row(a.distances + (s64)best * a.count, a.block_sums + (s64)best * blocks_of(a), a.count, target);
        if (lane_index() == 0)
            a.drawn[c] = larger(drawn, 0);
    }
}
EXPORT(kmeans_seeding_choose)
