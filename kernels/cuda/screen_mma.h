// The screens on tensor cores: scores from products of 16- or 8-bit operands, as warps of m16n8 fragments hold them.
//   in    operands (count rows), codewords (padded codes), both 2 or 1 bytes a value, tiled (encode.h)
//   work  a block owns Rows rows for all codewords, Codes of them at a time; a warp WarpRows × WarpCodes products; both operands come through
//         shared memory in kStages buffers, copied behind the back of the arithmetic
//   why   the bytes of a fragment's register are consecutive values of a row, whatever their width: 16- and 8-bit operands move alike
#pragma once

#include "screen.h"

namespace mma
{
constexpr int kStages = 3;
constexpr int kStageBytes = 64;    // of a row per stage
constexpr int kFragmentBytes = 32; // of a row per mma

/// How a block divides its products.
template <int Rows, int Codes, int WarpRows, int WarpCodes>
struct Shape
{
    static constexpr int kRows = Rows, kCodes = Codes, kWarpRows = WarpRows, kWarpCodes = WarpCodes;
    static constexpr int kWarpsAcross = Codes / WarpCodes, kThreads = Rows / WarpRows * kWarpsAcross * kWarp;
    static constexpr int kRowFragments = WarpRows / 16, kCodeFragments = WarpCodes / 8;
};

template <class S>
struct Tiles
{
    struct Stage
    {
        u8 rows[S::kRows][kStageBytes];
        u8 codes[S::kCodes][kStageBytes];
    } stages[kStages];
    CandidateLists<S::kRows> lists;
};

/// Where 16-byte chunk c of row r lies: eight rows of a column of chunks fall into different banks.
DEVICE int swizzled(int row, int chunk) { return (chunk ^ (row / 2 % 4)) * kChunk; }

/// The 16-byte chunks that a thread copies for each stage: the same column of every kStride-th row.
template <int Rows, int Threads>
struct Chunks
{
    static constexpr int kColumns = kStageBytes / kChunk, kStride = Threads / kColumns, kCount = Rows / kStride;
    static_assert(kStride % 8 == 0 && Rows % kStride == 0, "all rows of a thread have their chunks in the same order");

    const u8* rows[kCount];
    int valid[kCount]; // bytes: none of a row that is not there

    DEVICE_MEMBER Chunks(const void* operands, int first_row, int end, int across)
    {
#pragma unroll
        for (int i = 0; i < kCount; i++)
        {
            int row = first_row + thread_index() / kColumns + i * kStride;
            valid[i] = row < end ? kChunk : 0;
            // Chunk 0 of a row whose order is that of row 0.
            row = row < end ? row : 0;
            rows[i] = (const u8*)operands + (s64)(row / kOperandTileRows) * across * (kOperandTileRows * kOperandTileBytes) + row % kOperandTileRows * kOperandTileBytes;
        }
    }

    DEVICE_MEMBER void copy(u8 (*to)[kStageBytes], int stage) const
    {
        int row = thread_index() / kColumns, column = thread_index() % kColumns;
        constexpr int kPerTile = kOperandTileBytes / kStageBytes;
        int from = stage / kPerTile * (kOperandTileRows * kOperandTileBytes) + ((stage % kPerTile * kColumns + column) ^ row % 8) * kChunk;
#pragma unroll
        for (int i = 0; i < kCount; i++)
            copy_async(to[row + i * kStride] + swizzled(row + i * kStride, column), rows[i] + from, valid[i]);
    }
};

DEVICE void multiply(float (&sums)[4], const u32 (&x)[4], u32 b0, u32 b1) { mma_half(sums, x, b0, b1); }
DEVICE void multiply(int (&sums)[4], const u32 (&x)[4], u32 b0, u32 b1) { mma_int8(sums, x, b0, b1); }

/// Offers the scores of 16 rows that a warp's fragments hold: of fragment j row lane / 4 + 8h, codes 8j + 2 · (lane % 4) and the next.
template <int Rows, class Sum, int CodeFragments>
DEVICE void offer(CandidateLists<Rows>& lists, const ScreenArguments& a, const ScreenLevel& level, int first_row, int local_row, int first_code, Sum (&sums)[CodeFragments][4])
{
    int lane = lane_index();
    first_code += lane % 4 * 2;
#pragma unroll
    for (int h = 0; h < 2; h++)
    {
        int local = local_row + lane / 4 + 8 * h;
        const u16* chosen = a.codes + (s64)smaller(first_row + local, a.count - 1) * a.total_levels;
        float scores[CodeFragments][2], smallest = bits_to_float(0x7f800000), scale = lists.scales[local];
#pragma unroll
        for (int j = 0; j < CodeFragments; j++)
        {
            Float2 bias = *(const Float2*)(level.biases + first_code + j * 8);
            scores[j][0] = multiply_add(scale, (float)sums[j][2 * h], bias.x);
            scores[j][1] = multiply_add(scale, (float)sums[j][2 * h + 1], bias.y);
        }
        for (int t = 0; t < level.table_count; t++)
        {
            const float* table = table_row(level, chosen, t) + first_code;
#pragma unroll
            for (int j = 0; j < CodeFragments; j++)
            {
                Float2 value = *(const Float2*)(table + j * 8);
                scores[j][0] += value.x;
                scores[j][1] += value.y;
            }
        }
#pragma unroll
        for (int j = 0; j < CodeFragments; j++)
            smallest = smaller(smallest, smaller(scores[j][0], scores[j][1]));
        smallest = smaller(smallest, shuffle_xor(smallest, 1));
        smallest = smaller(smallest, shuffle_xor(smallest, 2));
        if (lane % 4 == 0)
            shared_min(&lists.smallest[local], ordered(smallest));
        sync_warp();
        // Other warps of these rows may lower it meanwhile; a higher limit only lists more.
        float limit = from_ordered(lists.smallest[local]) + lists.margins[local];
        // Most threads have nothing to offer.
        bool any = false;
#pragma unroll
        for (int j = 0; j < CodeFragments; j++)
            any |= !(scores[j][0] > limit) | !(scores[j][1] > limit);
        if (!any)
            continue;
#pragma unroll
        for (int j = 0; j < CodeFragments; j++)
#pragma unroll
            for (int c = 0; c < 2; c++)
                offer(lists, local, first_code + j * 8 + c, scores[j][c], limit);
    }
}

/// All scores of a block's rows; Sum is float for fp16 operands, int for int8.
template <class S, class Sum>
DEVICE void scores(Tiles<S>& tiles, const ScreenArguments& a, const ScreenLevel& level, int row_bytes, int first_row)
{
    int lane = lane_index(), warp_row = warp_index() / S::kWarpsAcross * S::kWarpRows, warp_code = warp_index() % S::kWarpsAcross * S::kWarpCodes;
    int steps = row_bytes / kStageBytes, across = tiles_across(row_bytes);
    const Chunks<S::kRows, S::kThreads> rows(a.operands, first_row, a.count, across);
    for (int first_code = 0; first_code < level.padded_codes; first_code += S::kCodes)
    {
        const Chunks<S::kCodes, S::kThreads> codes(level.codewords, first_code, level.padded_codes, across);
        auto copy = [&](int step) {
            rows.copy(tiles.stages[step % kStages].rows, step);
            codes.copy(tiles.stages[step % kStages].codes, step);
        };
        Sum sums[S::kRowFragments][S::kCodeFragments][4] = {};
        for (int stage = 0; stage < kStages - 1; stage++)
        {
            if (stage < steps)
                copy(stage);
            copy_async_commit();
        }
        for (int step = 0; step < steps; step++)
        {
            copy_async_wait<kStages - 2>();
            sync_block();
            int ahead = step + kStages - 1;
            if (ahead < steps)
                copy(ahead);
            copy_async_commit();
            const auto& stage = tiles.stages[step % kStages];
#pragma unroll
            for (int half = 0; half < kStageBytes / kFragmentBytes; half++)
            {
                u32 x[S::kRowFragments][4], w[S::kCodeFragments / 2][4];
#pragma unroll
                for (int i = 0; i < S::kRowFragments; i++)
                {
                    int row = warp_row + i * 16 + lane % 16;
                    load_matrix(x[i], stage.rows[row] + swizzled(row, half * 2 + lane / 16));
                }
#pragma unroll
                for (int j = 0; j < S::kCodeFragments / 2; j++)
                {
                    int code = warp_code + j * 16 + lane / 16 * 8 + lane % 8;
                    load_matrix(w[j], stage.codes[code] + swizzled(code, half * 2 + lane / 8 % 2));
                }
#pragma unroll
                for (int i = 0; i < S::kRowFragments; i++)
#pragma unroll
                    for (int j = 0; j < S::kCodeFragments; j++)
                        multiply(sums[i][j], x[i], w[j / 2][j % 2 * 2], w[j / 2][j % 2 * 2 + 1]);
            }
        }
#pragma unroll
        for (int i = 0; i < S::kRowFragments; i++)
            offer(tiles.lists, a, level, first_row, warp_row + i * 16, first_code + warp_code, sums[i]);
        sync_block();
    }
}

template <class S, class Sum>
DEVICE void screen(const ScreenArguments& a, int row_bytes)
{
    Tiles<S>& tiles = *(Tiles<S>*)shared_memory();
    int first_row = block_index() * S::kRows;
    for (int served = 0; served < a.level_count; served++)
    {
        const ScreenLevel level = a.levels[a.first_level + served];
        begin(tiles.lists, a, served, level, first_row);
        scores<S, Sum>(tiles, a, level, row_bytes, first_row);
        end(tiles.lists, a, a.first_level + served, first_row);
    }
}

using Small = Shape<128, 128, 32, 64>;
using Wide = Shape<128, 256, 64, 64>;
using Tall = Shape<256, 128, 64, 64>;
} // namespace mma

/// A screen of each shape: what loads the operands least, and leaves the most blocks, differs from GPU to GPU. `mmesid bench tune` measures.
#define SCREENS_OF_EVERY_SHAPE(name, Sum, value_bytes) \
    KERNEL(mma::Small::kThreads) name##_128x128(ScreenArguments a) { mma::screen<mma::Small, Sum>(a, a.depth * value_bytes); } \
    EXPORT(name##_128x128) \
    KERNEL(mma::Wide::kThreads) name##_128x256(ScreenArguments a) { mma::screen<mma::Wide, Sum>(a, a.depth * value_bytes); } \
    EXPORT(name##_128x256) \
    KERNEL(mma::Tall::kThreads) name##_256x128(ScreenArguments a) { mma::screen<mma::Tall, Sum>(a, a.depth * value_bytes); } \
    EXPORT(name##_256x128)
