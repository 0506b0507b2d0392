// top-inner-products: for each query q the k items of largest q·x                                oracle: Scalar/TopInnerProducts.cs
//   in    queries (q, d) f32 · items (n, d) f32, a chunk after the other in ascending order
//   out   lists (q, capacity): every item that may be among the best k, with its product in float64 and the bound of its error
//   does  top_inner_products_measure: an upper bound of ‖x‖, infinite where a float32 product could overflow; the first item that is not finite
//         top_inner_products_scan:    float32 products ŝ of a chunk; items that ŝ + γ‖q‖‖x‖ < T does not exclude join the lists
//         top_inner_products_keep:    float64 products of who joined; T rises to the k-th largest product − error; who is below leaves
//   why   at least k items have a product of T or more (T the k-th largest lower bound): an item below T is none of the best k. Of items
//         whose bounds meet in T itself the k-th has a smaller index than any other that leaves. Bounds.TopInnerProducts
//   ties  left to the host, which orders the lists by exact products: what leaves has lost for certain
//   order lists fill in any order; which items they hold does not depend on it, unless one overflows, and then the chunk is done again in parts
//   work  scan: a block owns 128 queries × 128 items; keep: a block owns a query, a thread an item, k-th largest by radix
//   cost  2·q·n·d flop, 4·n·d bytes per 128 queries, mostly from the second-level cache; about k·log2(n/capacity) float64 products per query

#include "float64.h"
#include "products.h"

namespace
{
constexpr int kDigitBits = 8, kDigits = 1 << kDigitBits, kScoreDigits = 64 / kDigitBits, kIndexDigits = 32 / kDigitBits;
constexpr int kRowsPerBlock = kTileThreads / kWarp;

static_assert(kDigits == kTileThreads, "a thread clears a bin");

struct ScanShared
{
    ProductTiles tiles;
    float limits[kTileRows];
    float slopes[kTileRows];
};

struct KeepShared
{
    int bins[kDigits];
    int warp_counts[kTileWarps];
    int digit, rank;
};
} // namespace

/// What a chunk has met; the first two are cleared before each chunk.
struct TopFlags
{
    u32 overflowed; // a list was full
    u32 crowded;    // more than half of a list stays: float64 does not tell enough of them apart
    u32 broken;     // index of the first item with a value that is not finite, or 2³² − 1
};

struct TopArguments
{
    const float* queries;       // [query_count, depth]
    const float* slopes;        // [query_count], at least γ‖q‖
    const float* items;         // [item_count, depth], the chunk
    float* norms;               // [item_count]
    double* thresholds;         // [query_count] T
    int* kept;                  // [query_count]: list entries of earlier chunks
    int* counts;                // [query_count]: with those of this one, also when there is no room for them
    int* indices;               // [query_count, capacity]
    double* scores;             // [query_count, capacity]
    double* errors;             // [query_count, capacity]
    TopFlags* flags;
    double largest_query_norm;
    double largest_product;     // ‖x‖‖q‖ up to it cannot overflow
    double underflow;           // what float32 products may lose absolutely
    double error_factor;        // error of a float64 product per Σ|x_i q_i|
    int query_count;
    int item_count;
    int first_item;             // index of the chunk's first item
    int depth;
    int capacity;
    int rank;                   // k
    int item_total;             // n
};

// A warp an item.
KERNEL(kTileThreads) top_inner_products_measure(TopArguments a)
{
    int item = block_index() * kRowsPerBlock + warp_index();
    if (item >= a.item_count)
        return;
    const float* values = a.items + (s64)item * a.depth;
    double sum = 0;
    for (int j = lane_index(); j < a.depth; j += kWarp)
        sum = multiply_add((double)values[j], (double)values[j], sum);
    for (int mask = kWarp / 2; mask > 0; mask /= 2)
        sum += shuffle_xor(sum, mask);
    if (lane_index() != 0)
        return;
    // Squares of finite float32 values cannot overflow float64.
    if (!(sum < bits_to_double(0x7ff0000000000000ull)))
        atomic_min(&a.flags->broken, (u32)(a.first_item + item));
    double norm = square_root(sum);
    a.norms[item] = norm * a.largest_query_norm <= a.largest_product ? float_above(norm) : bits_to_float(0x7f800000);
}
EXPORT(top_inner_products_measure)

KERNEL(kTileThreads) top_inner_products_scan(TopArguments a)
{
    ScanShared& shared = *(ScanShared*)shared_memory();
    int query_tiles = (a.query_count + kTileRows - 1) / kTileRows;
    int first_query = block_index() % query_tiles * kTileRows, first_item = block_index() / query_tiles * kTileColumns;
    int own_query = first_query + thread_index();
    if (thread_index() < kTileRows && own_query < a.query_count)
    {
        shared.limits[thread_index()] = float_below(a.thresholds[own_query] - a.underflow);
        shared.slopes[thread_index()] = a.slopes[own_query];
    }

    float scores[kPerThread][kPerThread];
    multiply<false>(shared.tiles, nullptr, Operand{a.queries, a.query_count, a.depth}, first_query, Operand{a.items, a.item_count, a.depth}, first_item, scores);

    float norms[kPerThread];
#pragma unroll
    for (int j = 0; j < kPerThread; j++)
        norms[j] = a.norms[smaller(first_item + own_column(j), a.item_count - 1)];
    u64 reached = 0;
#pragma unroll
    for (int i = 0; i < kPerThread; i++)
    {
        bool inside = first_query + own_row(i) < a.query_count;
        float limit = shared.limits[own_row(i)], slope = shared.slopes[own_row(i)];
#pragma unroll
        for (int j = 0; j < kPerThread; j++)
        {
            // The sum rounds to a value below the limit only where it is below; an infinite norm, or a product of no value, is never below.
            if (inside && first_item + own_column(j) < a.item_count && !(multiply_add(slope, norms[j], scores[i][j]) < limit))
                reached |= 1ull << (i * kPerThread + j);
        }
    }
    for (; reached != 0; reached &= reached - 1)
    {
        u64 below = (reached & (0 - reached)) - 1;
        int bit = bits_set((u32)below) + bits_set((u32)(below >> 32));
        int query = first_query + own_row(bit / kPerThread), item = first_item + own_column(bit % kPerThread);
        int place = atomic_add(&a.counts[query], 1);
        if (place < a.capacity)
            a.indices[(s64)query * a.capacity + place] = a.first_item + item;
        else
            atomic_max(&a.flags->overflowed, 1u);
    }
}
EXPORT(top_inner_products_scan)

namespace
{
/// Product of a query and an item in float64, terms added in ascending order; the error is 0 where no addition rounded.
DEVICE void evaluate(const TopArguments& a, int query, int item, double& score, double& error)
{
    const Float4* q = (const Float4*)(a.queries + (s64)query * a.depth);
    const Float4* x = (const Float4*)(a.items + (s64)item * a.depth);
    double sum = 0, magnitude = 0;
    bool exact = true;
    for (int j = 0; j < a.depth / 4; j++)
    {
        Float4 left = q[j], right = x[j];
        double terms[4] = {(double)left.x * right.x, (double)left.y * right.y, (double)left.z * right.z, (double)left.w * right.w};
#pragma unroll
        for (int t = 0; t < 4; t++)
        {
            // Knuth's two-sum: next + rest = sum + term exactly.
            double next = sum + terms[t], back = next - sum, rest = (sum - (next - back)) + (terms[t] - back);
            exact &= rest == 0;
            sum = next;
            magnitude += absolute(terms[t]);
        }
    }
    score = sum;
    error = exact ? 0 : a.error_factor * magnitude;
}

/// Larger keys come first: by a bound of the product, then by smaller index.
struct Key
{
    u64 score;
    u32 index;
};

DEVICE bool before(const Key& a, const Key& b) { return a.score > b.score || (a.score == b.score && a.index > b.index); }

DEVICE u32 digit(const Key& key, int place)
{
    return place < kScoreDigits ? (u32)(key.score >> (64 - kDigitBits * (place + 1))) % kDigits
        : key.index >> (32 - kDigitBits * (place + 1 - kScoreDigits)) & (kDigits - 1);
}

DEVICE bool same_digits(const Key& a, const Key& b, int places)
{
    if (places == 0)
        return true;
    if (places <= kScoreDigits)
        return (a.score ^ b.score) >> (64 - kDigitBits * places) == 0;
    return a.score == b.score && (a.index ^ b.index) >> (32 - kDigitBits * (places - kScoreDigits)) == 0;
}

/// The rank-th key of a list by lower bounds: digit after digit, the bin in which it lies.
DEVICE Key kth(const TopArguments& a, KeepShared& shared, s64 list, int count)
{
    Key found{0, 0};
    int rank = a.rank;
    for (int place = 0; place < kScoreDigits + kIndexDigits; place++)
    {
        shared.bins[thread_index()] = 0;
        sync_block();
        for (int p = thread_index(); p < count; p += kTileThreads)
        {
            Key key{ordered(a.scores[list + p] - a.errors[list + p]), ~(u32)a.indices[list + p]};
            if (same_digits(key, found, place))
                atomic_add(&shared.bins[digit(key, place)], 1);
        }
        sync_block();
        if (warp_index() == 0)
        {
            // A lane sums its bins, 31 the largest digits.
            constexpr int kBinsPerLane = kDigits / kWarp;
            int sum = 0, first = lane_index() * kBinsPerLane;
            for (int bin = 0; bin < kBinsPerLane; bin++)
                sum += shared.bins[first + bin];
            int above = sum;
            for (int step = 1; step < kWarp; step *= 2)
            {
                int beyond = (int)shuffle((u32)above, (lane_index() + step) % kWarp);
                above += lane_index() + step < kWarp ? beyond : 0;
            }
            above -= sum;
            if (above < rank && above + sum >= rank)
            {
                int bin = first + kBinsPerLane - 1;
                for (; above + shared.bins[bin] < rank; bin--)
                    above += shared.bins[bin];
                shared.digit = bin;
                shared.rank = rank - above;
            }
        }
        sync_block();
        rank = shared.rank;
        u32 next = (u32)shared.digit;
        if (place < kScoreDigits)
            found.score |= (u64)next << (64 - kDigitBits * (place + 1));
        else
            found.index |= next << (32 - kDigitBits * (place + 1 - kScoreDigits));
    }
    return found;
}
} // namespace

KERNEL(kTileThreads) top_inner_products_keep(TopArguments a)
{
    KeepShared& shared = *(KeepShared*)shared_memory();
    int query = block_index(), kept = a.kept[query], count = a.counts[query];
    s64 list = (s64)query * a.capacity;
    if (a.flags->overflowed != 0)
    {
        if (thread_index() == 0)
            a.counts[query] = kept;
        return;
    }
    if (count == kept)
        return;
    for (int p = kept + thread_index(); p < count; p += kTileThreads)
        evaluate(a, query, a.indices[list + p] - a.first_item, a.scores[list + p], a.errors[list + p]);
    sync_block();
    if (count < a.rank)
    {
        if (thread_index() == 0)
            a.kept[query] = count;
        return;
    }
    Key last = kth(a, shared, list, count), proven{ordered(a.thresholds[query]), 0};
    // T never falls: what it was is as true as what the list shows.
    if (last.score < proven.score)
        last = proven;
    int staying = 0;
    for (int base = 0; base < count; base += kTileThreads)
    {
        int p = base + thread_index();
        int index = 0;
        double score = 0, error = 0;
        bool stays = false;
        if (p < count)
        {
            index = a.indices[list + p];
            score = a.scores[list + p];
            error = a.errors[list + p];
            stays = !before(last, Key{ordered(score + error), ~(u32)index});
        }
        u32 votes = ballot(stays);
        if (lane_index() == 0)
            shared.warp_counts[warp_index()] = bits_set(votes);
        sync_block();
        int place = staying + bits_set(votes & ((1u << lane_index()) - 1));
        for (int warp = 0; warp < kTileWarps; warp++)
        {
            place += warp < warp_index() ? shared.warp_counts[warp] : 0;
            staying += shared.warp_counts[warp];
        }
        if (stays)
        {
            a.indices[list + place] = index;
            a.scores[list + place] = score;
            a.errors[list + place] = error;
        }
        sync_block();
    }
    if (thread_index() == 0)
    {
        a.kept[query] = a.counts[query] = staying;
        a.thresholds[query] = from_ordered(last.score);
        if (staying > a.capacity / 2 && a.capacity < a.item_total)
            atomic_max(&a.flags->crowded, 1u);
    }
}
EXPORT(top_inner_products_keep)
