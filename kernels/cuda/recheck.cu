// recheck: the code of every open row, by float64 distances of its candidates from the residual itself.
//   in    open rows with their candidates (or all codes) · codebooks as the plan has them
//   out   codes of the rows that float64 decides; the others are listed for the host's exact arithmetic; where levels were screened together
//         and a likeliest code was wrong, the row is listed again for the levels after it, with all codes
//   does  target [r | x − r] in float64, as the oracle forms it; a row that is compared with all codes first takes those of them that a
//         float32 distance, with its bound, cannot exclude
//   work  a block owns a row at a time; a warp a codeword
//         an open row of a shadow is the host's at once
//   why   |D̂ − D| ≤ Bounds.SquaredDistance; of two codes whose intervals overlap, float64 decides nothing

#include "encode.h"

constexpr int kRecheckThreads = 256, kMostListed = 128;

namespace
{
struct Shared
{
    double squares[kRecheckThreads / kWarp];
    double distances[kMostListed];
    int listed[kMostListed];
    float estimates[kMostListed];
    int count;
    u32 smallest;
};

DEVICE double distance_bound(const RecheckArguments& a, int width, double magnitude, double squared)
{
    const double unit = 1.0 / (1ll << 53);
    double distance = square_root(squared), shift = unit * 2 * (a.level + 1) * (magnitude + distance);
    return a.slack * (2 * distance * shift + shift * shift + unit * (width + 3) * squared);
}

DEVICE double squared_distance(const double* target, const float* codeword, int width)
{
    double sum = 0;
    for (int i = lane_index(); i < width; i += kWarp)
    {
        double difference = target[i] - codeword[i];
        sum += difference * difference;
    }
    return warp_sum(sum);
}

// The float64 distance of this target within width / 32 + 12 roundings of a sum of positive terms.
DEVICE float estimate(const double* target, const float* codeword, int width)
{
    float sum = 0;
    for (int i = lane_index(); i < width; i += kWarp)
    {
        float difference = (float)(target[i] - codeword[i]);
        sum = multiply_add(difference, difference, sum);
    }
    return warp_sum(sum);
}
// Opens the levels that were screened on a code that is not the row's.
DEVICE void screen_again(const RecheckArguments& a, int row)
{
    a.changed[row] = a.level;
    for (int level = a.level + 1; level < a.end_level; level++)
    {
        OpenRow& open = a.open[(s64)level * a.open_capacity + atomic_add(&a.open_counts[level], 1)];
        open.row = row;
        open.count = kAgain;
    }
}
} // namespace

KERNEL(kRecheckThreads) recheck(RecheckArguments a)
{
    Shared& shared = *(Shared*)shared_memory();
    const int warps = kRecheckThreads / kWarp, d = a.rows.dimension, width = a.prefix_semantic ? 2 * d : d;
    double* target = a.scratch + (s64)block_index() * 2 * d;
    for (int index = block_index(); index < a.open_counts[a.level]; index += grid_size())
    {
        const OpenRow& open = a.open[(s64)a.level * a.open_capacity + index];
        // What was screened on a code that turned out wrong is listed again.
        if (a.changed[open.row] < a.level && open.count != kAgain)
            continue;
        bool all = open.count < 0;
        const u16* chosen = a.rows.codes + (s64)open.row * a.rows.levels;
        if (a.rows.element == kShadow16)
        {
            // The row itself is the host's.
            if (thread_index() == 0)
                a.undecided[atomic_add(a.undecided_count, 1)] = open.row;
            continue;
        }
        sync_block();
        double squares = 0;
        for (int i = thread_index(); i < d; i += kRecheckThreads)
        {
            double x = load_value(a.rows, open.row, i), residual = x, sum = 0;
            for (int j = 0; j < a.level; j++)
            {
                double part = residual_half(a.codebooks, j, chosen[j], d, a.prefix_levels)[i];
                residual -= part;
                sum += part;
            }
            target[i] = residual;
            target[d + i] = sum;
            squares += x * x;
        }
        squares = warp_sum(squares);
        if (lane_index() == 0)
            shared.squares[warp_index()] = squares;
        if (thread_index() == 0)
        {
            shared.count = all ? 0 : open.count;
            shared.smallest = 0xffffffffu;
        }
        sync_block();
        double magnitude = 0;
        for (int i = 0; i < warps; i++)
            magnitude += shared.squares[i];
        magnitude = square_root(magnitude) * (1 + 1.0 / (1 << 20)) + a.codeword_norms;

        const float* codebook = a.codebooks[a.level];
        bool overflow = false;
        if (all)
        {
            const float relative = (width / 32 + 12) * (1.0f / (1 << 23));
            for (int code = warp_index(); code < a.code_count; code += warps)
            {
                if (!(a.biases[code] < bits_to_float(0x7f800000)))
                    continue;
                float value = estimate(target, codebook + (s64)code * width, width);
                if (lane_index() == 0)
                {
                    // The estimate's own error, and that of the float64 distance which it estimates. Overflowing sums prove nothing: such a code stays.
                    double bound = (double)value * relative + distance_bound(a, width, magnitude, (double)value * (1 + relative)) + 1e-36;
                    float high = (float)((value + bound) * (1 + 1e-6)), low = value < 1e38f ? (float)((value - bound) * (value > bound ? 1 - 1e-6 : 1 + 1e-6)) : 0;
                    u32 before = atomic_min(&shared.smallest, ordered(high));
                    if (low <= from_ordered(before < ordered(high) ? before : ordered(high)))
                    {
                        int place = atomic_add(&shared.count, 1);
                        if (place < kMostListed)
                        {
                            shared.listed[place] = code;
                            shared.estimates[place] = low;
                        }
                    }
                }
            }
            sync_block();
            overflow = shared.count > kMostListed;
        }
        else if (thread_index() < open.count)
        {
            shared.listed[thread_index()] = open.candidates[thread_index()];
            shared.estimates[thread_index()] = 0;
        }
        sync_block();
        int listed = overflow ? 0 : shared.count;
        float limit = all ? from_ordered(shared.smallest) : bits_to_float(0x7f800000);
        for (int i = warp_index(); i < listed; i += warps)
        {
            double distance = shared.estimates[i] <= limit ? squared_distance(target, codebook + (s64)shared.listed[i] * width, width) : -1;
            if (lane_index() == 0)
                shared.distances[i] = distance;
        }
        sync_block();
        if (thread_index() == 0)
        {
            int best = -1, compared = 0;
            bool decided = !overflow;
            double best_distance = 0, best_bound = 0;
            for (int i = 0; i < listed; i++)
            {
                double distance = shared.distances[i];
                if (distance < 0)
                    continue;
                compared++;
                if (best < 0 || distance < best_distance)
                {
                    best = shared.listed[i];
                    best_distance = distance;
                }
            }
            best_bound = distance_bound(a, width, magnitude, best_distance);
            for (int i = 0; i < listed; i++)
            {
                double distance = shared.distances[i];
                if (distance >= 0 && shared.listed[i] != best && distance - best_distance <= best_bound + distance_bound(a, width, magnitude, distance))
                    decided = false;
            }
            atomic_add(a.candidates, (u64)(all ? a.code_count : compared));
            // An undecided row goes on with some code, so that what follows reads codes that exist; the host encodes it again.
            u16& code = a.rows.codes[(s64)open.row * a.rows.levels + a.level];
            if (a.level + 1 < a.end_level && code != (best < 0 ? 0 : best) && a.changed[open.row] > a.level)
                screen_again(a, open.row);
            code = (u16)(best < 0 ? 0 : best);
            if (!decided || best < 0)
                a.undecided[atomic_add(a.undecided_count, 1)] = open.row;
        }
    }
}
EXPORT(recheck)

constexpr int kErrorThreads = 128, kErrorLanes = 8;

// squared_errors: ‖x − Σ c‖² in float64 with the oracle's eight partial sums and their order, so that the bits are the same.
KERNEL(kErrorThreads) squared_errors(ErrorArguments a)
{
    int row = block_index() * (kErrorThreads / kErrorLanes) + thread_index() / kErrorLanes, part = thread_index() % kErrorLanes;
    bool inside = row < a.rows.count;
    const u16* chosen = a.rows.codes + (s64)(inside ? row : 0) * a.rows.levels;
    double sum = 0;
    for (int i = part; i < a.rows.dimension && inside; i += kErrorLanes)
    {
        double residual = load_value(a.rows, row, i);
        for (int j = 0; j < a.rows.levels; j++)
            residual -= residual_half(a.codebooks, j, chosen[j], a.rows.dimension, a.prefix_levels)[i];
        sum += residual * residual;
    }
    // (0 + 4) + (2 + 6), then (1 + 5) + (3 + 7).
    sum += shuffle_xor(sum, 4);
    sum += shuffle_xor(sum, 2);
    sum += shuffle_xor(sum, 1);
    if (inside && part == 0)
        a.errors[row] = (float)sum;
}
EXPORT(squared_errors)
