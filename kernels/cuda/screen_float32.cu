// screen, float32: scores of all codewords for every row, on the plain arithmetic units. The tier that every GPU has.
//   in    operands (count, depth) f32, codewords (padded codes, depth) f32 · depth a multiple of kDepth, padded codes of kCodes
//   out   codes of the proven rows, candidates of the open ones
//   work  a block owns kRows rows for all codewords; a thread 8 × 8 products; both operands pass through shared memory, kDepth values at a time
//   cost  2·n·depth·K flop; the operands of a block are read K / kCodes times, from the second-level cache

#include "screen.h"

constexpr int kRows = 128, kCodes = 128, kDepth = 16, kScreenThreads = 256, kPerThread = 8;

namespace
{
struct Tiles
{
    float rows[2][kDepth][kRows + 4];
    float codes[2][kDepth][kCodes + 4];
    CandidateLists<kRows> lists;
};

/// Two float4 of each operand per thread: a tile is 128 × 16.
struct Fetched
{
    Float4 rows[2], codes[2];
};

DEVICE Float4 fetch(const float* operands, int row, int count, int depth, int at)
{
    if (row >= count)
        return {0, 0, 0, 0};
    return *(const Float4*)(operands + (s64)row * depth + at);
}

DEVICE void fetch(Fetched& to, const ScreenArguments& a, const ScreenLevel& level, int first_row, int first_code, int at)
{
    for (int part = 0; part < 2; part++)
    {
        int row = thread_index() / 4 + part * 64, column = at + thread_index() % 4 * 4;
        to.rows[part] = fetch((const float*)a.operands, first_row + row, a.count, a.depth, column);
        to.codes[part] = fetch((const float*)level.codewords, first_code + row, level.padded_codes, a.depth, column);
    }
}

DEVICE void store(Tiles& tiles, const Fetched& from, int buffer)
{
    for (int part = 0; part < 2; part++)
    {
        int row = thread_index() / 4 + part * 64, k = thread_index() % 4 * 4;
        const Float4& r = from.rows[part];
        const Float4& c = from.codes[part];
        tiles.rows[buffer][k][row] = r.x;
        tiles.rows[buffer][k + 1][row] = r.y;
        tiles.rows[buffer][k + 2][row] = r.z;
        tiles.rows[buffer][k + 3][row] = r.w;
        tiles.codes[buffer][k][row] = c.x;
        tiles.codes[buffer][k + 1][row] = c.y;
        tiles.codes[buffer][k + 2][row] = c.z;
        tiles.codes[buffer][k + 3][row] = c.w;
    }
}

// A thread's rows and codes are two groups of four: neighbours read neighbouring banks.
DEVICE int own(int group, int i) { return group * 4 + i % 4 + i / 4 * 64; }

DEVICE void scores(Tiles& tiles, const ScreenArguments& a, const ScreenLevel& level, int first_row)
{
    int across = thread_index() % 16, down = thread_index() / 16;
    for (int first_code = 0; first_code < level.padded_codes; first_code += kCodes)
    {
        float sums[kPerThread][kPerThread] = {};
        Fetched next;
        fetch(next, a, level, first_row, first_code, 0);
        store(tiles, next, 0);
        sync_block();
        for (int at = 0, buffer = 0; at < a.depth; at += kDepth, buffer ^= 1)
        {
            bool more = at + kDepth < a.depth;
            if (more)
                fetch(next, a, level, first_row, first_code, at + kDepth);
#pragma unroll
            for (int k = 0; k < kDepth; k++)
            {
                float r[kPerThread], c[kPerThread];
                *(Float4*)r = *(const Float4*)&tiles.rows[buffer][k][down * 4];
                *(Float4*)(r + 4) = *(const Float4*)&tiles.rows[buffer][k][down * 4 + 64];
                *(Float4*)c = *(const Float4*)&tiles.codes[buffer][k][across * 4];
                *(Float4*)(c + 4) = *(const Float4*)&tiles.codes[buffer][k][across * 4 + 64];
#pragma unroll
                for (int i = 0; i < kPerThread; i++)
#pragma unroll
                    for (int j = 0; j < kPerThread; j++)
                        sums[i][j] = multiply_add(r[i], c[j], sums[i][j]);
            }
            if (more)
                store(tiles, next, buffer ^ 1);
            sync_block();
        }
#pragma unroll
        for (int i = 0; i < kPerThread; i++)
        {
            int local = own(down, i), row = first_row + local;
            const u16* chosen = a.codes + (s64)smaller(row, a.count - 1) * a.total_levels;
            float smallest = bits_to_float(0x7f800000), scale = tiles.lists.scales[local];
#pragma unroll
            for (int j = 0; j < kPerThread; j += 4)
            {
                Float4 bias = *(const Float4*)(level.biases + first_code + own(across, j));
                sums[i][j] = multiply_add(scale, sums[i][j], bias.x);
                sums[i][j + 1] = multiply_add(scale, sums[i][j + 1], bias.y);
                sums[i][j + 2] = multiply_add(scale, sums[i][j + 2], bias.z);
                sums[i][j + 3] = multiply_add(scale, sums[i][j + 3], bias.w);
            }
            for (int t = 0; t < level.table_count; t++)
            {
                const float* table = table_row(level, chosen, t) + first_code;
#pragma unroll
                for (int j = 0; j < kPerThread; j += 4)
                {
                    Float4 value = *(const Float4*)(table + own(across, j));
                    sums[i][j] += value.x;
                    sums[i][j + 1] += value.y;
                    sums[i][j + 2] += value.z;
                    sums[i][j + 3] += value.w;
                }
            }
#pragma unroll
            for (int j = 0; j < kPerThread; j++)
                smallest = smaller(smallest, sums[i][j]);
            for (int mask = 8; mask > 0; mask /= 2)
                smallest = smaller(smallest, shuffle_xor(smallest, mask));
            // The sixteen threads of a row are one half of a warp: nobody else lowers its smallest score.
            if (across == 0)
                shared_min(&tiles.lists.smallest[local], ordered(smallest));
            sync_warp();
            float limit = from_ordered(tiles.lists.smallest[local]) + tiles.lists.margins[local];
#pragma unroll
            for (int j = 0; j < kPerThread; j++)
                offer(tiles.lists, local, first_code + own(across, j), sums[i][j], limit);
        }
    }
}
} // namespace

KERNEL(kScreenThreads) screen_float32(ScreenArguments a)
{
    Tiles& tiles = *(Tiles*)shared_memory();
    int first_row = block_index() * kRows;
    for (int served = 0; served < a.level_count; served++)
    {
        const ScreenLevel level = a.levels[a.first_level + served];
        begin(tiles.lists, a, served, level, first_row);
        scores(tiles, a, level, first_row);
        end(tiles.lists, a, a.first_level + served, first_row);
    }
}
EXPORT(screen_float32)
