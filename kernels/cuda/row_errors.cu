// row-errors: errors[i] = ‖x_i − p_i‖² in float64, their sum, and rows drawn by them                oracle: src/MmeSid.Engine/Quantization/HostLloyd.cs
//   in    rows (n, d) · p_i the mean (d) f64, or the centroid of the row's code (K, d)
//   out   errors (n) f64 · block_sums, of kRowsPerSum rows each · total · drawn (m): a row for each number u in [0, 1), where u·total falls
//   order weights.h's: the same bytes on every device and on the host
//   work  errors: half a warp a row; sums: a warp a block of rows; total: one warp; draws: a warp each
//   cost  3·n·d float64 operations, 4·n·d + 8·n bytes

#include "weights.h"

namespace
{
constexpr int kThreads = 256, kWarps = kThreads / kWarp, kRowsPerBlock = kThreads / kLanesPerRow;
}

struct RowErrorArguments
{
    const float* rows;          // [count, dimension]
    const double* mean;         // [dimension]
    const float* centroids;     // [K, dimension]
    const u16* codes;           // [count]
    double* errors;             // [count]
    double* block_sums;         // [⌈count / kRowsPerSum⌉]
    double* total;              // [1]
    const double* uniform;      // [draws]
    int* drawn;                 // [draws], −1 where no row has an error
    int count;
    int dimension;
    int draws;
};

namespace
{
// The last row stands in for those that do not exist: it is measured several times, to the same bits.
DEVICE int row_of_lanes(const RowErrorArguments& a) { return smaller(block_index() * kRowsPerBlock + thread_index() / kLanesPerRow, a.count - 1); }

// errors[row] = ‖x_row − point‖², written by the first of the row's lanes.
template <class Point> DEVICE void measure(const RowErrorArguments& a, int row, const Point* point)
{
    const Point* points[1] = {point};
    double errors[1];
    squared_distances<1, Point>(a.rows + (s64)row * a.dimension, points, a.dimension, errors);
    if (thread_index() % kLanesPerRow == 0)
        a.errors[row] = errors[0];
}
} // namespace

KERNEL(kThreads) row_errors_to_mean(RowErrorArguments a) { measure(a, row_of_lanes(a), a.mean); }
EXPORT(row_errors_to_mean)

KERNEL(kThreads) row_errors_to_centroids(RowErrorArguments a)
{
    int row = row_of_lanes(a);
    measure(a, row, a.centroids + (s64)a.codes[row] * a.dimension);
}
EXPORT(row_errors_to_centroids)

KERNEL(kThreads) row_errors_sums(RowErrorArguments a)
{
    int block = block_index() * kWarps + warp_index(), first = block * kRowsPerSum;
    if (block >= (a.count + kRowsPerSum - 1) / kRowsPerSum)
        return;
    double sum = interleaved_sum(a.errors + first, smaller(kRowsPerSum, a.count - first));
    if (lane_index() == 0)
        a.block_sums[block] = sum;
}
EXPORT(row_errors_sums)

KERNEL(kWarp) row_errors_total(RowErrorArguments a)
{
    double total = interleaved_sum(a.block_sums, (a.count + kRowsPerSum - 1) / kRowsPerSum);
    if (lane_index() == 0)
        *a.total = total;
}
EXPORT(row_errors_total)

KERNEL(kThreads) row_errors_draw(RowErrorArguments a)
{
    int draw = block_index() * kWarps + warp_index();
    if (draw >= a.draws)
        return;
    int row = draw_row(a.errors, a.block_sums, a.count, a.uniform[draw] * *a.total);
    if (lane_index() == 0)
        a.drawn[draw] = row;
}
EXPORT(row_errors_draw)
