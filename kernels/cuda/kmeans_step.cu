// kmeans-step: what an iteration of Lloyd's algorithm does beside the search and the sums (accumulate.cu)        oracle: src/MmeSid.Engine/Quantization/HostLloyd.cs
//   in    sums (K, d) f64 and counts (K) of the rows of each code · codes (n) before and now · μ (d) f64, the mean of the rows, and Σ‖x − μ‖²
//   out   centroids (K, d): c_k = fl(S_k / n_k); a code without rows keeps its own · numbers of the codes without rows, ascending
//         objective = Σ‖x − μ‖² + Σ_k (n_k ‖c_k − μ‖² − 2 (c_k − μ)·(S_k − n_k μ)), at least 0 · rows whose code is another
//   order a mean takes its rows in blocks of kRowsPerSum, one by one, then the blocks; everything else as weights.h adds: the same bytes on every
//         device and on the host
//   work  mean: a thread a column of a block of rows; update: a warp a code; total: one warp; moved: a thread some rows
//   cost  5·K·d float64 operations, 12·K·d bytes; 4·n bytes to compare codes

#include "weights.h"

namespace
{
constexpr int kThreads = 256, kWarps = kThreads / kWarp, kRowsAtOnce = 8;
}

struct StepResult
{
    double objective;
    u64 moved;
    s64 empty;
};

struct KMeansArguments
{
    const float* rows;          // [count, dimension]
    double* column_sums;        // [blocks of rows, dimension]
    double* mean;               // [dimension]
    const double* sums;         // [code_count, dimension]
    const s64* counts;          // [code_count]
    float* centroids;           // [code_count, dimension]
    double* parts;              // [code_count], of the objective
    int* empty;                 // [code_count], as many as there are
    const u16* codes;           // [count]
    const u16* codes_before;    // [count]
    const int* places;          // [placed] rows
    const int* targets;         // [placed] codes, or null for the first
    StepResult* result;
    double spread;              // Σ‖x − μ‖²
    int count;
    int dimension;
    int code_count;
};

// column_sums[b, j] = Σ x_ij over the rows of block b.
KERNEL(kThreads) kmeans_column_sums(KMeansArguments a)
{
    int block = block_index(), column = block_index_y() * kThreads + thread_index();
    if (column >= a.dimension)
        return;
    int row = block * kRowsPerSum, end = row + smaller(kRowsPerSum, a.count - row);
    const float* values = a.rows + column;
    double sum = 0;
    for (; row + kRowsAtOnce <= end; row += kRowsAtOnce)
    {
        float next[kRowsAtOnce];
#pragma unroll
        for (int r = 0; r < kRowsAtOnce; r++)
            next[r] = values[(s64)(row + r) * a.dimension];
#pragma unroll
        for (int r = 0; r < kRowsAtOnce; r++)
            sum += next[r];
    }
    for (; row < end; row++)
        sum += values[(s64)row * a.dimension];
    a.column_sums[(s64)block * a.dimension + column] = sum;
}
EXPORT(kmeans_column_sums)

KERNEL(kThreads) kmeans_mean(KMeansArguments a)
{
    int column = block_index() * kThreads + thread_index(), blocks = (a.count + kRowsPerSum - 1) / kRowsPerSum;
    if (column >= a.dimension)
        return;
    double sum = 0;
    for (int block = 0; block < blocks; block++)
        sum += a.column_sums[(s64)block * a.dimension + column];
    a.mean[column] = sum / a.count;
}
EXPORT(kmeans_mean)

// centroids, and parts[k] of the objective.
KERNEL(kThreads) kmeans_update(KMeansArguments a)
{
    int code = block_index() * kWarps + warp_index();
    if (code >= a.code_count)
        return;
    const double* sums = a.sums + (s64)code * a.dimension;
    float* centroid = a.centroids + (s64)code * a.dimension;
    double rows = (double)a.counts[code], cross = 0, square = 0;
    for (int j = lane_index(); j < a.dimension; j += kWarp)
    {
        float value = rows > 0 ? (float)(sums[j] / rows) : centroid[j];
        centroid[j] = value;
        double centred = value - a.mean[j];
        cross += centred * (sums[j] - rows * a.mean[j]);
        square += centred * centred;
    }
    cross = warp_sum(cross);
    square = warp_sum(square);
    if (lane_index() == 0)
        a.parts[code] = rows * square - 2 * cross;
}
EXPORT(kmeans_update)

// The objective, and the list of codes without rows.
KERNEL(kWarp) kmeans_total(KMeansArguments a)
{
    double objective = a.spread + interleaved_sum(a.parts, a.code_count);
    int found = 0;
    for (int first = 0; first < a.code_count; first += kWarp)
    {
        int code = first + lane_index();
        bool empty = code < a.code_count && a.counts[code] == 0;
        u32 votes = ballot(empty);
        if (empty)
            a.empty[found + bits_set(votes & ((1u << lane_index()) - 1))] = code;
        found += bits_set(votes);
    }
    if (lane_index() != 0)
        return;
    a.result->objective = objective > 0 ? objective : 0;
    a.result->empty = found;
}
EXPORT(kmeans_total)

// result.moved += rows whose code is another; zero before. Integers: their order does not matter.
KERNEL(kThreads) kmeans_moved(KMeansArguments a)
{
    int* moved = (int*)shared_memory();
    if (thread_index() == 0)
        *moved = 0;
    sync_block();
    int own = 0;
    for (s64 row = (s64)block_index() * kThreads + thread_index(); row < a.count; row += (s64)grid_size() * kThreads)
        own += a.codes[row] != a.codes_before[row] ? 1 : 0;
    if (own > 0)
        shared_add(moved, own);
    sync_block();
    if (thread_index() == 0)
        atomic_add(&a.result->moved, (u64)*moved);
}
EXPORT(kmeans_moved)

// centroids[targets[i]] = rows[places[i]]. Block x a place, y a group of kThreads columns.
KERNEL(kThreads) kmeans_place(KMeansArguments a)
{
    int place = block_index(), column = block_index_y() * kThreads + thread_index();
    if (column >= a.dimension)
        return;
    int code = a.targets == nullptr ? place : a.targets[place];
    a.centroids[(s64)code * a.dimension + column] = a.rows[(s64)a.places[place] * a.dimension + column];
}
EXPORT(kmeans_place)
