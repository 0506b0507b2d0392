// draw-rows: rows for checks of more rows than a host could draw and send. For benches.
//   in    codewords (K, d) · a seed
//   out   rows (n, d): x_i = (1 − t)·c[a] + t·c[b] + σ·2^−s·g,  a, b codes,  t 0 or ½,  s 0, 4, 8 or 16, all chosen by the row's number alone;
//         g bell-shaped of standard deviation 1
//   why   rows of a cluster, and rows half-way between two codewords, which no screen decides
//   work  a thread a value

#include "device.h"

constexpr int kDrawThreads = 256;

struct DrawArguments
{
    const float* codewords; // [code_count, dimension]
    float* rows;            // [count, dimension]
    u64 seed;
    s64 first;              // number of the first row
    float deviation;        // σ
    int count;
    int dimension;
    int code_count;
};

namespace
{
// splitmix64's finaliser.
DEVICE u64 mix(u64 state)
{
    state = (state + 1) * 0x9E3779B97F4A7C15ull;
    state = (state ^ (state >> 30)) * 0xBF58476D1CE4E5B9ull;
    state = (state ^ (state >> 27)) * 0x94D049BB133111EBull;
    return state ^ (state >> 31);
}
} // namespace

KERNEL(kDrawThreads) draw_rows(DrawArguments a)
{
    s64 at = (s64)block_index() * kDrawThreads + thread_index();
    if (at >= (s64)a.count * a.dimension)
        return;
    int row = (int)(at / a.dimension), j = (int)(at % a.dimension);
    u64 of_row = mix(a.seed ^ (u64)(a.first + row)), of_value = mix(of_row + (u64)j);
    float nearest = a.codewords[(s64)((u32)of_row % (u32)a.code_count) * a.dimension + j];
    float other = a.codewords[(s64)((u32)(of_row >> 32 & 0xffffff) % (u32)a.code_count) * a.dimension + j];
    float between = of_row >> 56 & 1 ? 0.5f : 0.0f;
    int smaller_by = (int)(of_row >> 57 & 3);
    float deviation = a.deviation / (float)(smaller_by == 0 ? 1 : 1 << (2 << smaller_by));
    // The sum of four uniform values has variance 4/12.
    int sum = (int)(of_value & 0xffff) + (int)(of_value >> 16 & 0xffff) + (int)(of_value >> 32 & 0xffff) + (int)(of_value >> 48) - 2 * 0xffff;
    a.rows[at] = nearest + between * (other - nearest) + deviation * ((float)sum / 65536 * 1.7320508f);
}
EXPORT(draw_rows)
