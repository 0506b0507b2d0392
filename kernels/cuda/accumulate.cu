// accumulate: sums[k, j] += Σ_{i : codes[i] = k} rows[i, j]      counts[k] += |{i : codes[i] = k}|      oracle: Scalar/Accumulate.cs
//   in    rows (n, d) · codes (n) u16 < K
//   out   sums (K, d) f64 · counts (K) i64, both added to
//   order each sum takes its rows one by one, in ascending i, exactly as the oracle does: no float atomics, same bytes on every device
//   work  a stable counting sort lists the rows of each code (accumulate_count, _place, _sort); then a block owns kColumns sums of a code
//   cost  n·d additions, every row read once; 4·(n + chunks·K) bytes beside it

#include "device.h"

namespace
{
constexpr int kThreads = 256, kWarps = kThreads / kWarp, kRowsAtOnce = 8;
}

struct AccumulateArguments
{
    const float* rows;      // [count, dimension]
    const u16* codes;       // [count]
    int* places;            // [chunks, code_count]: rows of a code in a chunk, then where in `order` the chunk's next one goes
    int* starts;            // [code_count + 1]
    int* order;             // [count], row indices by code, ascending within a code
    double* sums;           // [code_count, dimension]
    s64* counts;            // [code_count]
    int count;
    int dimension;
    int code_count;
    int chunk_rows;         // a multiple of a warp
    int chunks;
};

// places[chunk, k] += rows of code k in the chunk. A warp a chunk; places are zero before. Integers: their order does not matter.
KERNEL(kThreads) accumulate_count(AccumulateArguments a)
{
    int chunk = block_index() * kWarps + warp_index();
    if (chunk >= a.chunks)
        return;
    int start = chunk * a.chunk_rows, end = smaller(start + a.chunk_rows, a.count);
    for (int row = start + lane_index(); row < end; row += kWarp)
        atomic_add(&a.places[(s64)chunk * a.code_count + a.codes[row]], 1);
}
EXPORT(accumulate_count)

// places[chunk, k] = Σ of the earlier chunks' rows of code k; starts[k] = rows of code k. A thread a code.
KERNEL(kThreads) accumulate_chunks(AccumulateArguments a)
{
    int code = block_index() * kThreads + thread_index();
    if (code >= a.code_count)
        return;
    int sum = 0;
    for (int chunk = 0; chunk < a.chunks; chunk++)
    {
        int* place = &a.places[(s64)chunk * a.code_count + code];
        int rows = *place;
        *place = sum;
        sum += rows;
    }
    a.starts[code] = sum;
    a.counts[code] += sum;
}
EXPORT(accumulate_chunks)

// starts[k] = Σ_{j<k} of what it was; starts[K] the sum. One block; a thread sums a contiguous part of the codes.
KERNEL(kThreads) accumulate_starts(AccumulateArguments a)
{
    int* parts = (int*)shared_memory();
    int per_thread = (a.code_count + kThreads - 1) / kThreads;
    int first = smaller(thread_index() * per_thread, a.code_count), end = smaller(first + per_thread, a.code_count);
    int sum = 0;
    for (int code = first; code < end; code++)
        sum += a.starts[code];
    parts[thread_index()] = sum;
    sync_block();
    int start = 0;
    for (int i = 0; i < thread_index(); i++)
        start += parts[i];
    for (int code = first; code < end; code++)
    {
        int rows = a.starts[code];
        a.starts[code] = start;
        start += rows;
    }
    if (thread_index() == kThreads - 1)
        a.starts[a.code_count] = start;
}
EXPORT(accumulate_starts)

// order: the rows of each chunk, one warp after the other's 32, in ascending order behind those of earlier chunks.
KERNEL(kThreads) accumulate_sort(AccumulateArguments a)
{
    int chunk = block_index() * kWarps + warp_index();
    if (chunk >= a.chunks)
        return;
    int* places = a.places + (s64)chunk * a.code_count;
    int start = chunk * a.chunk_rows, end = smaller(start + a.chunk_rows, a.count);
    for (int first = start; first < end; first += kWarp)
    {
        int row = first + lane_index();
        bool inside = row < end;
        u32 code = inside ? a.codes[row] : 0;
        // Lanes with the same code, by the bits of the codes.
        u32 same = ballot(inside);
        for (int bit = 0; bit < 16; bit++)
        {
            u32 votes = ballot(code >> bit & 1);
            same &= code >> bit & 1 ? votes : ~votes;
        }
        u32 before = same & ((1u << lane_index()) - 1);
        int place = inside ? a.starts[code] + places[code] + bits_set(before) : 0;
        sync_warp();
        if (inside)
        {
            a.order[place] = row;
            if (before == 0)
                places[code] += bits_set(same);
        }
        sync_warp();
    }
}
EXPORT(accumulate_sort)

// sums[k, j] += the rows of code k, in order. Block x a code, y a group of kThreads columns; kRowsAtOnce values are on their way at a time.
KERNEL(kThreads) accumulate_add(AccumulateArguments a)
{
    int code = block_index(), column = block_index_y() * kThreads + thread_index();
    int start = a.starts[code], end = a.starts[code + 1];
    if (column >= a.dimension || start == end)
        return;
    double* to = &a.sums[(s64)code * a.dimension + column];
    double sum = *to;
    const float* values = a.rows + column;
    int i = start;
    for (; i + kRowsAtOnce <= end; i += kRowsAtOnce)
    {
        float next[kRowsAtOnce];
#pragma unroll
        for (int r = 0; r < kRowsAtOnce; r++)
            next[r] = values[(s64)a.order[i + r] * a.dimension];
#pragma unroll
        for (int r = 0; r < kRowsAtOnce; r++)
            sum += next[r];
    }
    for (; i < end; i++)
        sum += values[(s64)a.order[i] * a.dimension];
    *to = sum;
}
EXPORT(accumulate_add)
