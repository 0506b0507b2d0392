// The screens on tensor cores: scores from products of 16- or 8-bit operands, as warps of m16n8 fragments hold them.
//   in    operands (padded rows, depth), codewords (padded codes, depth), both 2 or 1 bytes a value · depth a multiple of kDepthBytes
//   work  a block owns kRows rows for all codewords; eight warps, 32 × 64 products each; both operands come through shared memory in
//         kStages buffers, copied behind the back of the arithmetic
//   why   the bytes of a fragment's register are consecutive values of a row, whatever their width: 16- and 8-bit operands move alike
#pragma once

#include "screen.h"

namespace mma
{
constexpr int kRows = 128, kCodes = 128, kThreads = 256, kStages = 3;
constexpr int kDepthBytes = 64;                      // of a row per stage
constexpr int kFragmentBytes = 32;                   // of a row per mma
constexpr int kWarpRows = 32, kWarpCodes = 64;
constexpr int kRowFragments = kWarpRows / 16, kCodeFragments = kWarpCodes / 8;

struct Stage
{
    u8 rows[kRows][kDepthBytes];
    u8 codes[kCodes][kDepthBytes];
};

struct Tiles
{
    Stage stages[kStages];
    CandidateLists<kRows> lists;
};

/// Where 16-byte chunk c of row r lies: eight rows of a column of chunks fall into different banks.
DEVICE int swizzled(int row, int chunk) { return (chunk ^ (row / 2 % 4)) * 16; }

DEVICE void copy(Stage& stage, const ScreenArguments& a, int row_bytes, int first_row, int first_code, int at)
{
    constexpr int chunks = kDepthBytes / 16;
    for (int i = thread_index(); i < (kRows + kCodes) * chunks; i += kThreads)
    {
        int chunk = i % chunks, row = i / chunks;
        if (row < kRows)
        {
            bool inside = first_row + row < a.count;
            const u8* from = (const u8*)a.operands + (s64)(inside ? first_row + row : 0) * row_bytes + at + chunk * 16;
            copy_async(stage.rows[row] + swizzled(row, chunk), from, inside ? 16 : 0);
        }
        else
        {
            row -= kRows;
            copy_async(stage.codes[row] + swizzled(row, chunk), (const u8*)a.codewords + (s64)(first_code + row) * row_bytes + at + chunk * 16);
        }
    }
}

DEVICE void multiply(float (&sums)[4], const u32 (&x)[4], u32 b0, u32 b1) { mma_half(sums, x, b0, b1); }
DEVICE void multiply(int (&sums)[4], const u32 (&x)[4], u32 b0, u32 b1) { mma_int8(sums, x, b0, b1); }

/// All scores of the block's rows; Sum is float for fp16 operands, int for int8.
template <class Sum>
DEVICE void screen(const ScreenArguments& a, int row_bytes)
{
    Tiles& tiles = *(Tiles*)shared_memory();
    int first_row = block_index() * kRows, lane = lane_index();
    int warp_row = warp_index() / 2 * kWarpRows, warp_code = warp_index() % 2 * kWarpCodes;
    int steps = row_bytes / kDepthBytes;
    begin(tiles.lists, a, first_row);
    for (int first_code = 0; first_code < a.padded_codes; first_code += kCodes)
    {
        Sum sums[kRowFragments][kCodeFragments][4] = {};
        for (int stage = 0; stage < kStages - 1; stage++)
        {
            if (stage < steps)
                copy(tiles.stages[stage], a, row_bytes, first_row, first_code, stage * kDepthBytes);
            copy_async_commit();
        }
        for (int step = 0; step < steps; step++)
        {
            copy_async_wait<kStages - 2>();
            sync_block();
            int ahead = step + kStages - 1;
            if (ahead < steps)
                copy(tiles.stages[ahead % kStages], a, row_bytes, first_row, first_code, ahead * kDepthBytes);
            copy_async_commit();
            const Stage& stage = tiles.stages[step % kStages];
#pragma unroll
            for (int half = 0; half < kDepthBytes / kFragmentBytes; half++)
            {
                u32 x[kRowFragments][4], w[kCodeFragments / 2][4];
#pragma unroll
                for (int i = 0; i < kRowFragments; i++)
                {
                    int row = warp_row + i * 16 + lane % 16;
                    load_matrix(x[i], stage.rows[row] + swizzled(row, half * 2 + lane / 16));
                }
#pragma unroll
                for (int j = 0; j < kCodeFragments / 2; j++)
                {
                    int code = warp_code + j * 16 + lane / 16 * 8 + lane % 8;
                    load_matrix(w[j], stage.codes[code] + swizzled(code, half * 2 + lane / 8 % 2));
                }
#pragma unroll
                for (int i = 0; i < kRowFragments; i++)
#pragma unroll
                    for (int j = 0; j < kCodeFragments; j++)
                        multiply(sums[i][j], x[i], w[j / 2][j % 2 * 2], w[j / 2][j % 2 * 2 + 1]);
            }
        }
        // Row group + 8h of fragment i, columns 2·member and the next of each of its code fragments.
#pragma unroll
        for (int i = 0; i < kRowFragments; i++)
        {
#pragma unroll
            for (int h = 0; h < 2; h++)
            {
                int local = warp_row + i * 16 + lane / 4 + 8 * h, row = first_row + local;
                const u16* chosen = a.codes + (s64)smaller(row, a.count - 1) * a.levels;
                float scores[kCodeFragments][2], smallest = bits_to_float(0x7f800000);
#pragma unroll
                for (int j = 0; j < kCodeFragments; j++)
#pragma unroll
                    for (int c = 0; c < 2; c++)
                    {
                        scores[j][c] = score(a, chosen, (float)sums[i][j][2 * h + c], tiles.lists.scales[local], first_code + warp_code + j * 8 + lane % 4 * 2 + c);
                        smallest = smaller(smallest, scores[j][c]);
                    }
                smallest = smaller(smallest, shuffle_xor(smallest, 1));
                smallest = smaller(smallest, shuffle_xor(smallest, 2));
                if (lane % 4 == 0)
                    atomic_min(&tiles.lists.smallest[local], ordered(smallest));
                sync_warp();
                // The other warp of these rows may lower it meanwhile; a higher limit only lists more.
                float limit = from_ordered(tiles.lists.smallest[local]) + tiles.lists.margins[local];
#pragma unroll
                for (int j = 0; j < kCodeFragments; j++)
#pragma unroll
                    for (int c = 0; c < 2; c++)
                        offer(tiles.lists, local, first_code + warp_code + j * 8 + lane % 4 * 2 + c, scores[j][c], limit);
            }
        }
        sync_block();
    }
    end(tiles.lists, a, first_row);
}
} // namespace mma
