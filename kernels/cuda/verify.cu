// verify: whether each row's code is that of its nearest codeword, by all float64 distances and nothing that the encoder uses. For benches.
//   in    rows (n, d) · codewords (K, d) · codes (n)
//   out   wrong += rows with a codeword that is nearer beyond any rounding; close += rows where float64 cannot say
//   work  a block owns kRows rows and passes all codewords in tiles; a thread 4 × 4 distances
//   cost  3·n·d·K float64 operations

#include "device.h"

constexpr int kVerifyThreads = 256, kVerifyRows = 64, kVerifyCodes = 64, kVerifyDepth = 16, kSide = 4;

struct VerifyArguments
{
    const float* rows;
    const float* codewords;
    const u16* codes;
    u64* wrong;
    u64* close;
    int count;
    int dimension;
    int code_count;
};

namespace
{
struct VerifyTiles
{
    float rows[kVerifyDepth][kVerifyRows + 1];
    float codes[kVerifyDepth][kVerifyCodes + 1];
    double own[kVerifyRows];
};
} // namespace

KERNEL(kVerifyThreads) verify_codes(VerifyArguments a)
{
    VerifyTiles& tiles = *(VerifyTiles*)shared_memory();
    int first_row = block_index() * kVerifyRows, across = thread_index() % 16, down = thread_index() / 16;
    const double infinity = bits_to_double(0x7ff0000000000000ull);
    double smallest[kSide];
#pragma unroll
    for (int i = 0; i < kSide; i++)
        smallest[i] = infinity;
    // A code that does not exist has no distance.
    if (thread_index() < kVerifyRows)
        tiles.own[thread_index()] = bits_to_double(0x7ff8000000000000ull);
    for (int first_code = 0; first_code < a.code_count; first_code += kVerifyCodes)
    {
        double sums[kSide][kSide] = {};
        for (int at = 0; at < a.dimension; at += kVerifyDepth)
        {
            sync_block();
            for (int i = thread_index(); i < kVerifyDepth * kVerifyRows; i += kVerifyThreads)
            {
                int k = i % kVerifyDepth, line = i / kVerifyDepth;
                bool inside = at + k < a.dimension;
                tiles.rows[k][line] = inside && first_row + line < a.count ? a.rows[(s64)(first_row + line) * a.dimension + at + k] : 0;
                tiles.codes[k][line] = inside && first_code + line < a.code_count ? a.codewords[(s64)(first_code + line) * a.dimension + at + k] : 0;
            }
            sync_block();
#pragma unroll 4
            for (int k = 0; k < kVerifyDepth; k++)
#pragma unroll
                for (int i = 0; i < kSide; i++)
#pragma unroll
                    for (int j = 0; j < kSide; j++)
                    {
                        double difference = (double)tiles.rows[k][down * kSide + i] - tiles.codes[k][across * kSide + j];
                        sums[i][j] = multiply_add(difference, difference, sums[i][j]);
                    }
        }
#pragma unroll
        for (int i = 0; i < kSide; i++)
#pragma unroll
            for (int j = 0; j < kSide; j++)
            {
                int row = first_row + down * kSide + i, code = first_code + across * kSide + j;
                if (row >= a.count || code >= a.code_count)
                    continue;
                if (a.codes[row] == code)
                    tiles.own[down * kSide + i] = sums[i][j];
                else if (sums[i][j] < smallest[i])
                    smallest[i] = sums[i][j];
            }
    }
    sync_block();
#pragma unroll
    for (int i = 0; i < kSide; i++)
    {
        for (int mask = 8; mask > 0; mask /= 2)
        {
            double other = shuffle_xor(smallest[i], mask);
            smallest[i] = other < smallest[i] ? other : smallest[i];
        }
        if (across != 0 || first_row + down * kSide + i >= a.count)
            continue;
        double own = tiles.own[down * kSide + i], bound = (a.dimension + 8) * (own + smallest[i]) / (1ll << 52);
        // A code that is no code at all leaves its distance NaN.
        if (!(own <= smallest[i] + bound))
            atomic_add(a.wrong, 1ull);
        else if (!(own < smallest[i] - bound))
            atomic_add(a.close, 1ull);
    }
}
EXPORT(verify_codes)
