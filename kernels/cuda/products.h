// A tile of products of two sets of rows, for the operations beside encoding: sums[i][j] = x_i · y_j.
//   in    two operands (count, depth) f32 row-major, depth a multiple of kTileDepth; rows past the last count as zeros
//   work  a block owns kTileRows × kTileColumns products, a thread 8 × 8; both operands pass through shared memory, kTileDepth values at a time
//   error one chain of fused multiply-adds per kDepthPerChain values, chains added in order: γ of Bounds.Product. Without Chained a single
//         chain: d·u
//   cost  2·kTileRows·kTileColumns·depth flop; chains add 128 shared-memory accesses to 64·kDepthPerChain multiply-adds of a thread
#pragma once

#include "device.h"

constexpr int kTileRows = 128, kTileColumns = 128, kTileDepth = 16, kTileThreads = 256, kTileWarps = kTileThreads / kWarp, kPerThread = 8;
constexpr int kDepthPerChain = 256; // Simd.Product.kDepthPerBlock

static_assert(kTileRows * kTileColumns == kTileThreads * kPerThread * kPerThread, "every product has a thread");
static_assert(kTileRows == kTileColumns && kTileRows * kTileDepth == 2 * 4 * kTileThreads, "a thread fetches two float4 of each operand");

struct Operand
{
    const float* values; // [count, depth]
    int count;
    int depth;
};

struct ProductTiles
{
    float rows[2][kTileDepth][kTileRows + 4];
    float columns[2][kTileDepth][kTileColumns + 4];
};

/// Sums of the chains so far; a place of its own for every thread. Needed where depth exceeds a chain.
struct ChainTotals
{
    float values[kPerThread * kPerThread][kTileThreads];
};

// A thread's rows and columns are two groups of four: neighbours read neighbouring banks.
DEVICE int own(int group, int i) { return group * 4 + i % 4 + i / 4 * 64; }
DEVICE int own_row(int i) { return own(thread_index() / 16, i); }
DEVICE int own_column(int j) { return own(thread_index() % 16, j); }

DEVICE Float4 fetch(const Operand& from, int row, int at)
{
    if (row >= from.count)
        return {0, 0, 0, 0};
    return *(const Float4*)(from.values + (s64)row * from.depth + at);
}

template <int Length>
DEVICE void store(float (&tile)[kTileDepth][Length], int row, int k, const Float4& values)
{
    tile[k][row] = values.x;
    tile[k + 1][row] = values.y;
    tile[k + 2][row] = values.z;
    tile[k + 3][row] = values.w;
}

/// sums[i][j] = product of rows first_row + own_row(i) and first_column + own_column(j). All threads of the block take part.
template <bool Chained>
DEVICE void multiply(ProductTiles& tiles, ChainTotals* totals, const Operand& rows, int first_row, const Operand& columns, int first_column, float (&sums)[kPerThread][kPerThread])
{
    int line = thread_index() / 4, k4 = thread_index() % 4 * 4, down = thread_index() / 16 * 4, across = thread_index() % 16 * 4;
    Float4 row0 = fetch(rows, first_row + line, k4), row1 = fetch(rows, first_row + line + 64, k4);
    Float4 column0 = fetch(columns, first_column + line, k4), column1 = fetch(columns, first_column + line + 64, k4);
#pragma unroll
    for (int i = 0; i < kPerThread; i++)
#pragma unroll
        for (int j = 0; j < kPerThread; j++)
            sums[i][j] = 0;
    store(tiles.rows[0], line, k4, row0);
    store(tiles.rows[0], line + 64, k4, row1);
    store(tiles.columns[0], line, k4, column0);
    store(tiles.columns[0], line + 64, k4, column1);
    sync_block();
    for (int at = 0, buffer = 0; at < rows.depth; at += kTileDepth, buffer ^= 1)
    {
        bool more = at + kTileDepth < rows.depth;
        if (more)
        {
            int next = at + kTileDepth + k4;
            row0 = fetch(rows, first_row + line, next);
            row1 = fetch(rows, first_row + line + 64, next);
            column0 = fetch(columns, first_column + line, next);
            column1 = fetch(columns, first_column + line + 64, next);
        }
#pragma unroll
        for (int k = 0; k < kTileDepth; k++)
        {
            float r[kPerThread], c[kPerThread];
            *(Float4*)r = *(const Float4*)&tiles.rows[buffer][k][down];
            *(Float4*)(r + 4) = *(const Float4*)&tiles.rows[buffer][k][down + 64];
            *(Float4*)c = *(const Float4*)&tiles.columns[buffer][k][across];
            *(Float4*)(c + 4) = *(const Float4*)&tiles.columns[buffer][k][across + 64];
#pragma unroll
            for (int i = 0; i < kPerThread; i++)
#pragma unroll
                for (int j = 0; j < kPerThread; j++)
                    sums[i][j] = multiply_add(r[i], c[j], sums[i][j]);
        }
        if (more)
        {
            store(tiles.rows[buffer ^ 1], line, k4, row0);
            store(tiles.rows[buffer ^ 1], line + 64, k4, row1);
            store(tiles.columns[buffer ^ 1], line, k4, column0);
            store(tiles.columns[buffer ^ 1], line + 64, k4, column1);
        }
        if (Chained && more && (at + kTileDepth) % kDepthPerChain == 0)
        {
            bool first = at < kDepthPerChain;
#pragma unroll
            for (int i = 0; i < kPerThread; i++)
#pragma unroll
                for (int j = 0; j < kPerThread; j++)
                {
                    float& total = totals->values[i * kPerThread + j][thread_index()];
                    total = first ? sums[i][j] : total + sums[i][j];
                    sums[i][j] = 0;
                }
        }
        sync_block();
    }
    if (Chained && rows.depth > kDepthPerChain)
    {
#pragma unroll
        for (int i = 0; i < kPerThread; i++)
#pragma unroll
            for (int j = 0; j < kPerThread; j++)
                sums[i][j] += totals->values[i * kPerThread + j][thread_index()];
    }
}
