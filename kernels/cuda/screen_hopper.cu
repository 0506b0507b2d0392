// screen, fp16 and int8, as Hopper multiplies fastest: a warp group takes whole tiles from shared memory (wgmma m64n256), bulk copies bring them.
//   in    as screen_mma.h; padded codes a multiple of kCodes
//   work  a block owns kRows rows for all codewords; two warp groups, 64 × 256 products each; kStages buffers of 128 bytes of every row, filled
//         by one thread, while the products of the buffer before are on their way
//   needs compute capability 9.0: its instructions are compiled for sm_90a, which no later GPU runs

#include "screen_mma.h"

namespace
{
constexpr int kRows = 128, kCodes = 256, kScreenThreads = 256, kGroupRows = 64, kGroupThreads = 128, kBuffers = 4;
constexpr int kFragments = kCodes / 8;
constexpr u32 kStageBytes = (kRows + kCodes) * kOperandTileBytes;

struct Tiles
{
    struct Stage
    {
        u8 rows[kRows][kOperandTileBytes];
        u8 codes[kCodes][kOperandTileBytes];
    } stages[kBuffers];
    u64 arrived[kBuffers];
    CandidateLists<kRows> lists;
};

DEVICE void copy(Tiles& tiles, int buffer, const ScreenArguments& a, const ScreenLevel& level, int across, int first_row, int first_code, int tile)
{
    Tiles::Stage& stage = tiles.stages[buffer];
    u64* arrived = &tiles.arrived[buffer];
    int at = tile * kOperandTileBytes;
    barrier_expect(arrived, kStageBytes);
    copy_bulk(stage.rows, (const u8*)a.operands + tiled(first_row, at, across), kOperandTileRows * kOperandTileBytes, arrived);
    copy_bulk(stage.codes, (const u8*)level.codewords + tiled(first_code, at, across), kOperandTileRows * kOperandTileBytes, arrived);
    copy_bulk(stage.codes[kOperandTileRows], (const u8*)level.codewords + tiled(first_code + kOperandTileRows, at, across), kOperandTileRows * kOperandTileBytes, arrived);
}

DEVICE void multiply(float (&sums)[kFragments][4], u64 a, u64 b) { group_mma_half(sums, a, b); }
DEVICE void multiply(int (&sums)[kFragments][4], u64 a, u64 b) { group_mma_int8(sums, a, b); }

/// All scores of a block's rows for one level. `passed` counts the buffers that were filled so far: it tells which comes next, and its parity.
template <class Sum>
DEVICE void scores(Tiles& tiles, const ScreenArguments& a, const ScreenLevel& level, int row_bytes, int first_row, int& passed)
{
    int across = tiles_across(row_bytes), steps = level.padded_codes / kCodes * across;
    int group_row = thread_index() / kGroupThreads * kGroupRows, warp_row = group_row + warp_index() % 4 * 16;
    bool copies = thread_index() == 0;
    for (int ahead = 0; ahead < kBuffers - 1 && ahead < steps && copies; ahead++)
        copy(tiles, (passed + ahead) % kBuffers, a, level, across, first_row, ahead / across * kCodes, ahead % across);
    int step = 0;
    for (int first_code = 0; first_code < level.padded_codes; first_code += kCodes)
    {
        Sum sums[kFragments][4] = {};
        for (int tile = 0; tile < across; tile++, step++, passed++)
        {
            int buffer = passed % kBuffers;
            barrier_wait(&tiles.arrived[buffer], passed / kBuffers % 2);
            u64 rows = tile_descriptor(tiles.stages[buffer].rows[group_row]), codes = tile_descriptor(tiles.stages[buffer].codes);
            group_fence();
#pragma unroll
            for (int part = 0; part < kOperandTileBytes / 32; part++)
                multiply(sums, rows + part * 2, codes + part * 2);
            group_commit();
            group_wait<1>();
            // Every warp group is done with the buffer before this one.
            sync_block();
            int ahead = step + kBuffers - 1;
            if (ahead < steps && copies)
                copy(tiles, (passed + kBuffers - 1) % kBuffers, a, level, across, first_row, ahead / across * kCodes, ahead % across);
        }
        group_wait<0>();
#pragma unroll
        for (int j = 0; j < kFragments; j++)
#pragma unroll
            for (int i = 0; i < 4; i++)
                settled(sums[j][i]);
        mma::offer(tiles.lists, a, level, first_row, warp_row, first_code, sums);
    }
}

template <class Sum>
DEVICE void screen(const ScreenArguments& a, int row_bytes)
{
    Tiles& tiles = *(Tiles*)shared_memory();
    int first_row = block_index() * kRows, passed = 0;
    if (thread_index() == 0)
    {
        for (int buffer = 0; buffer < kBuffers; buffer++)
            barrier_create(&tiles.arrived[buffer]);
        barriers_created();
    }
    for (int served = 0; served < a.level_count; served++)
    {
        const ScreenLevel level = a.levels[a.first_level + served];
        begin(tiles.lists, a, served, level, first_row);
        scores<Sum>(tiles, a, level, row_bytes, first_row, passed);
        end(tiles.lists, a, a.first_level + served, first_row);
    }
}
} // namespace

KERNEL(kScreenThreads) screen_hopper_float16(ScreenArguments a) { screen<float>(a, a.depth * 2); }
EXPORT(screen_hopper_float16)

KERNEL(kScreenThreads) screen_hopper_int8(ScreenArguments a) { screen<int>(a, a.depth); }
EXPORT(screen_hopper_int8)
