// What the kernels of Encode hand to one another. A level of a plan is encoded in three launches over a batch of rows that stays in the
// second-level cache: prepare (residuals in the screen's format, and per row the margin inside which the screen proves nothing), a screen
// (scores, the candidates within the margin), recheck (float64 distances of the candidates of the rows that stay open).
// The bounds are those of docs/exactness.md; the host hands their constants over. The structures are mirrored in MmeSid.Kernels.Cuda.
#pragma once

#include "device.h"

/// How input values are stored.
enum Element { kFloat32 = 0, kFloat16 = 1, kBfloat16 = 2 };

/// Candidates that an open row can name; a row with more is compared with all codes.
constexpr int kCandidates = 16;
constexpr int kAllCodes = -1;

struct OpenRow
{
    int row;
    int count; // of candidates, or kAllCodes
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
    return rows.element == kFloat16 ? from_half(bits) : bits_to_float((u32)bits << 16);
}

struct PrepareArguments
{
    EncodeRows rows;
    const float* centre;                // m, [d]
    const float* const* subtrahends;    // of the earlier levels, [K_j, d]: level 1 centred
    const float* const* norms;          // of the earlier levels, [K_j]: at least the norm of each subtrahend
    void* operands;                     // out: [count, depth] in the screen's format, zeros behind the row's own values
    float* scales;                      // out: [count], what a product of operands is multiplied with besides the codewords' own scale
    float* margins;                     // out: [count], 2E rounded up; +inf where the screen proves nothing
    int* bad_row;                       // lowered to the first row with a value that is not finite
    double constant, per_norm, per_loss, per_error; // E = constant + per_norm ‖x̂‖ + per_loss ‖x̂ − r̂‖ + per_error ‖r̂ − r‖
    double largest_norm;                // above it a float32 score could overflow
    double smallest_norm;               // below it, unless 0, the scales could underflow
    double norm_slack;                  // covers the rounding of a float32 sum of squares
    int level;                          // l, 0 the first
    int depth;                          // values of an operand row
    int wide;                           // whether the operand is [r | x − m − r]
};

struct ScreenArguments
{
    const void* operands;               // [padded count, depth]
    const void* codewords;              // [padded codes, depth] in the same format
    const float* biases;                // [padded codes], +inf where there is no code to choose
    const float* scales;                // [count]
    const float* margins;               // [count]
    const float* const* tables;         // [table_count], each [K_j, padded codes]
    u16* codes;                         // [count, levels]
    OpenRow* open;                      // [count]
    int* open_count;
    float codeword_scale;               // a power of two for fp16, the quantum for int8, 1 for fp32
    int count;
    int depth;
    int padded_codes;
    int level;
    int levels;
    int table_count;
};

struct RecheckArguments
{
    EncodeRows rows;
    const float* const* codebooks;      // of all levels up to this one, [K_j, width_j] as the plan has them
    const float* biases;                // [K], +inf where a codeword repeats an earlier one
    const OpenRow* open;
    const int* open_count;
    int* undecided;                     // [count], rows that float64 cannot decide
    int* undecided_count;
    u64* candidates;                    // counts the codewords that were compared
    double* scratch;                    // [blocks, 2d]
    double codeword_norms;              // Σ_{j<l} max ‖c_j‖
    double slack;                       // Bounds.Slack
    int level;
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
