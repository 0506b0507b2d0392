// What the kernels of Encode hand to one another. A level of a plan is encoded in three launches over a batch of rows that stays in the
// second-level cache: prepare (residuals in the screen's format, and per row the margin inside which the screen proves nothing), a screen
// (scores, the candidates within the margin), recheck (float64 distances of the candidates of the rows that stay open).
// The bounds are those of docs/exactness.md; the host hands their constants over. The structures are mirrored in MmeSid.Kernels.Cuda.
#pragma once

#include "device.h"

/// How input values are stored. A shadow is what float16 made of float32 rows: codes are those of the rows, which are not here.
enum Element { kFloat32 = 0, kFloat16 = 1, kBfloat16 = 2, kShadow16 = 3 };

/// Candidates that an open row can name; a row with more is compared with all codes.
constexpr int kCandidates = 16;
constexpr int kAllCodes = -1;

/// The same for a row of which an earlier level was chosen anew: what its screen said of this level holds no more.
constexpr int kAgain = -2;

struct OpenRow
{
    int row;
    int count; // of candidates, kAllCodes or kAgain
    u16 candidates[kCandidates];
};

/// Rows of the input and what has been chosen for them.
struct EncodeRows
{
    const void* values;     // [count, stride]
    s64 stride;             // values between two rows
    u16* codes;             // [count, levels]
    int count;
    int dimension;          // d
    int element;
    int levels;             // L of the plan
};

DEVICE float load_value(const EncodeRows& rows, int row, int i)
{
    s64 at = row * rows.stride + i;
    if (rows.element == kFloat32)
        return ((const float*)rows.values)[at];
    u16 bits = ((const u16*)rows.values)[at];
    return rows.element == kBfloat16 ? bits_to_float((u32)bits << 16) : from_half(bits);
}

/// A screen's error bound as a function of a row: E = constant + per_norm ‖x̂‖ + per_loss ‖x̂ − r̂‖ + per_error ‖r̂ − r‖.
struct ScreenBound
{
    double constant, per_norm, per_loss, per_error;
};

struct PrepareArguments
{
    EncodeRows rows;
    const float* centre;                // m, [d]
    const float* const* subtrahends;    // of the earlier levels, [K_j, d]: level 1 centred
    const float* const* norms;          // of the earlier levels, [K_j]: at least the norm of each subtrahend
    void* operands;                     // out: rows in the screen's format, zeros behind a row's own values
    float* scales;                      // out: [count], what a product of operands is multiplied with besides the codewords' own scale
    float* margins;                     // out: [bound_count, count], 2E rounded up; +inf where the screen proves nothing
    int* bad_row;                       // lowered to the first row with a value that is not finite
    const ScreenBound* bounds;          // of the levels that this operand serves, [bound_count]
    double largest_norm;                // above it a float32 score could overflow
    double smallest_norm;               // below it, unless 0, the scales could underflow
    double norm_slack;                  // covers the rounding of a float32 sum of squares
    int level;                          // l, 0 the first
    int bound_count;
    int depth;                          // values of an operand row
    int wide;                           // whether the operand is [r | x − m − r]
};

/// What a screen reads of a level.
struct ScreenLevel
{
    const void* codewords;              // padded codes, depth values each, in the screen's format
    const float* biases;                // [padded_codes], +inf where there is no code to choose
    const float* const* tables;         // [table_count], each [K_j, padded_codes]
    float codeword_scale;               // a power of two for fp16, the quantum for int8, 1 for fp32
    int padded_codes;
    int table_count;
};

struct ScreenArguments
{
    const void* operands;               // count rows, depth values each
    const ScreenLevel* levels;          // of the plan
    const float* scales;                // [count]
    const float* margins;               // [level_count, count]
    u16* codes;                         // [count, total_levels]; an open row gets its likeliest code
    OpenRow* open;                      // [total_levels, open_capacity]
    int* open_counts;                   // [total_levels]
    int open_capacity;
    int count;
    int depth;
    int first_level;
    int level_count;                    // more than 1: one operand serves these levels, what lies between them comes from tables
    int total_levels;
};

struct RecheckArguments
{
    EncodeRows rows;
    const float* const* codebooks;      // of all levels up to this one, [K_j, width_j] as the plan has them
    const float* biases;                // [K], +inf where a codeword repeats an earlier one
    OpenRow* open;                      // [total levels, open_capacity]
    int* open_counts;                   // [total levels]
    int* changed;                       // [count]: the first level of which the screen's likeliest code was wrong
    int* undecided;                     // [count], rows that float64 cannot decide
    int* undecided_count;
    u64* candidates;                    // counts the codewords that were compared
    double* scratch;                    // [blocks, 2d]
    double codeword_norms;              // Σ_{j<l} max ‖c_j‖
    double slack;                       // Bounds.Slack
    int open_capacity;
    int level;
    int end_level;                      // levels from the next to this one were screened together with this one, on its likeliest codes
    int code_count;                     // K
    int prefix_semantic;                // whether codewords of this level are [a | b]
    int prefix_levels;                  // whether those of the earlier levels after the first are
};

struct ErrorArguments
{
    EncodeRows rows;
    const float* const* codebooks;
    float* errors;                      // [count], ‖x − Σ c‖²
    int prefix_levels;
};

/// Operands of tensor cores lie in tiles of 128 rows × 128 bytes, 16-byte chunks in an order that changes from row to row: a tile is one piece
/// of memory, and what eight rows hold at a column lies in different banks of shared memory, as Hopper's 128-byte swizzle has it.
constexpr int kOperandTileRows = 128, kOperandTileBytes = 128, kChunk = 16;

/// Tiles beside one another that hold rows of this many bytes.
DEVICE int tiles_across(int row_bytes) { return (row_bytes + kOperandTileBytes - 1) / kOperandTileBytes; }

/// Where a byte of a row lies.
DEVICE s64 tiled(int row, int at, int across)
{
    s64 tile = (s64)(row / kOperandTileRows) * across + at / kOperandTileBytes;
    return (tile * kOperandTileRows + row % kOperandTileRows) * kOperandTileBytes + (at / kChunk % 8 ^ row % 8) * kChunk + at % kChunk;
}

/// First value of a codeword's residual half.
DEVICE const float* residual_half(const float* const* codebooks, int level, int code, int dimension, int prefix_levels)
{
    return codebooks[level] + (s64)code * (prefix_levels && level > 0 ? 2 * dimension : dimension);
}

DEVICE float warp_sum(float value)
{
    for (int mask = kWarp / 2; mask > 0; mask /= 2)
        value += shuffle_xor(value, mask);
    return value;
}

DEVICE double warp_sum(double value)
{
    for (int mask = kWarp / 2; mask > 0; mask /= 2)
        value += shuffle_xor(value, mask);
    return value;
}

DEVICE float warp_largest(float value)
{
    for (int mask = kWarp / 2; mask > 0; mask /= 2)
        value = larger(value, shuffle_xor(value, mask));
    return value;
}
