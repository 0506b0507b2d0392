// prepare: operand rows of one level's screen, in float32, fp16 or int8.
//   in    rows, the codes chosen so far · m, earlier codewords
//   out   operands (count, depth), float32 in rows, fp16 and int8 in tiles · scales (count) · margins (levels served, count)
//   does  r̂ = x − m − Σ_j c_j in float32, one subtraction after the other; x̂ = r̂ in the screen's format;
//         of a shadow, ‖x̃ − x‖ is added to ‖x̂ − r̂‖, and a value that is not finite leaves its row open;
//         margin = 2E with E from ‖x̂‖, ‖x̂ − r̂‖ and the bound u Σ_j ‖r̂_j‖ of ‖r̂ − r‖, where ‖r̂_j‖ ≤ ‖r̂‖ + Σ_{i≥j} ‖c_i‖
//   work  a warp per row; the row is read twice, the second time from the cache

#include "encode.h"

constexpr int kPrepareThreads = 256;

namespace
{
// Element i of [r | x − m − r]: the residual, or (i ≥ d) the sum of what was subtracted.
DEVICE float operand_value(const PrepareArguments& a, int row, int i)
{
    int d = a.rows.dimension;
    if (i >= (a.wide ? 2 * d : d))
        return 0;
    const u16* chosen = a.rows.codes + (s64)row * a.rows.levels;
    int column = i < d ? i : i - d;
    float value = i < d ? load_value(a.rows, row, column) - a.centre[column] : 0;
    for (int j = 0; j < a.level; j++)
    {
        float part = a.subtrahends[j][(s64)chosen[j] * d + column];
        value = i < d ? value - part : value + part;
    }
    return value;
}

// u Σ_{j≤l} ‖r̂_j‖, twice that for the wide form, whose halves round alike.
DEVICE double operand_error(const PrepareArguments& a, int row, double norm)
{
    const u16* chosen = a.rows.codes + (s64)row * a.rows.levels;
    double later = norm, sum = norm;
    for (int j = a.level - 1; j >= 0; j--)
    {
        later += a.norms[j][chosen[j]];
        sum += later;
    }
    return sum * (a.wide ? 2 : 1) / (1 << 24);
}

// At least ‖x̃ − x‖ for the shadow x̃ of x: half a unit in the last place of each value. All lanes call it.
DEVICE double shadow_error(const PrepareArguments& a, int row)
{
    if (a.rows.element != kShadow16)
        return 0;
    const u16* bits = (const u16*)a.rows.values + row * a.rows.stride;
    float squares = 0;
    for (int i = lane_index(); i < a.rows.dimension; i += kWarp)
    {
        // 2^(e - 26), e the biased exponent; subnormals have the unit of the smallest normal.
        int exponent = bits[i] >> 10 & 31;
        float half_unit = bits_to_float((u32)(127 - 26 + larger(exponent, 1)) << 23);
        squares = multiply_add(half_unit, half_unit, squares);
    }
    return square_root((double)warp_sum(squares) * a.norm_slack);
}

// Writes what the lanes of a row agree on; one lane calls it.
DEVICE void finish(const PrepareArguments& a, int row, double norm, double operand_norm, double loss, float scale)
{
    bool finite = norm <= 3.5e38;
    if (!finite && a.rows.element != kShadow16)
    {
        // Only a value of x itself can be at fault for good: sums that overflow are decided in float64.
        for (int i = 0; i < a.rows.dimension; i++)
        {
            float value = load_value(a.rows, row, i);
            if (!(absolute(value) <= 3.4028235e38f))
                atomic_min((u32*)a.bad_row, (u32)row);
        }
    }
    double operand_loss = operand_error(a, row, norm);
    bool trusted = finite && norm <= a.largest_norm && (norm == 0 || norm >= a.smallest_norm);
    for (int i = 0; i < a.bound_count; i++)
    {
        const ScreenBound& bound = a.bounds[i];
        double error = bound.constant + bound.per_norm * operand_norm + bound.per_loss * loss + bound.per_error * operand_loss;
        a.margins[(s64)i * a.rows.count + row] = trusted ? (float)(2 * error * (1 + 1.0 / (1 << 20))) : bits_to_float(0x7f800000);
    }
    a.scales[row] = trusted ? scale : 0;
}
} // namespace

KERNEL(kPrepareThreads) prepare_float32(PrepareArguments a)
{
    int row = block_index() * (kPrepareThreads / kWarp) + warp_index();
    if (row >= a.rows.count)
        return;
    float* out = (float*)a.operands + (s64)row * a.depth;
    float squares = 0;
    for (int i = lane_index(); i < a.depth; i += kWarp)
    {
        float value = operand_value(a, row, i);
        squares = multiply_add(value, value, squares);
        out[i] = value;
    }
    double norm = square_root((double)warp_sum(squares) * a.norm_slack), shadow = shadow_error(a, row);
    if (lane_index() == 0)
        finish(a, row, norm, norm, shadow, -2);
}
EXPORT(prepare_float32)

KERNEL(kPrepareThreads) prepare_float16(PrepareArguments a)
{
    int row = block_index() * (kPrepareThreads / kWarp) + warp_index();
    if (row >= a.rows.count)
        return;
    int across = tiles_across(a.depth * 2), padded = across * (kTileBytes / 2);
    float squares = 0, largest = 0;
    for (int i = lane_index(); i < a.depth; i += kWarp)
    {
        float value = operand_value(a, row, i);
        squares = multiply_add(value, value, squares);
        largest = larger(largest, absolute(value));
    }
    double norm = square_root((double)warp_sum(squares) * a.norm_slack);
    largest = warp_largest(largest);
    // A power of two that brings the largest value into [2^14, 2^15).
    int exponent = (int)(float_to_bits(largest) >> 23) - 127;
    float up = bits_to_float((u32)(smaller(127 + 14 - exponent, 254)) << 23), down = bits_to_float((u32)(larger(127 - 14 + exponent, 1)) << 23);
    if (norm == 0 || norm > a.largest_norm || norm < a.smallest_norm || !(norm <= 3.5e38))
        up = down = 1;
    float losses = 0, kept = 0;
    for (int i = lane_index(); i < padded; i += kWarp)
    {
        float value = operand_value(a, row, i);
        u16 half = to_half(value * up);
        float rounded = from_half(half) * down, loss = value - rounded;
        losses = multiply_add(loss, loss, losses);
        kept = multiply_add(rounded, rounded, kept);
        *(u16*)((u8*)a.operands + tiled(row, i * 2, across)) = half;
    }
    double loss = square_root((double)warp_sum(losses) * a.norm_slack), operand = square_root((double)warp_sum(kept) * a.norm_slack);
    double shadow = shadow_error(a, row);
    if (lane_index() == 0)
        finish(a, row, norm, operand, loss + shadow, -2 * down);
}
EXPORT(prepare_float16)

KERNEL(kPrepareThreads) prepare_int8(PrepareArguments a)
{
    int row = block_index() * (kPrepareThreads / kWarp) + warp_index();
    if (row >= a.rows.count)
        return;
    int across = tiles_across(a.depth), padded = across * kTileBytes;
    float squares = 0, largest = 0;
    for (int i = lane_index(); i < a.depth; i += kWarp)
    {
        float value = operand_value(a, row, i);
        squares = multiply_add(value, value, squares);
        largest = larger(largest, absolute(value));
    }
    double norm = square_root((double)warp_sum(squares) * a.norm_slack);
    largest = warp_largest(largest);
    bool usable = norm != 0 && norm <= a.largest_norm && norm >= a.smallest_norm;
    float quantum = usable ? largest / 127 : 1, inverse = usable ? 127 / largest : 0;
    float losses = 0, kept = 0;
    for (int i = lane_index(); i < padded; i += kWarp)
    {
        float value = operand_value(a, row, i);
        float scaled = value * inverse;
        int q = (int)(scaled + (scaled < 0 ? -0.5f : 0.5f));
        q = q > 127 ? 127 : q < -127 ? -127 : q;
        float rounded = q * quantum, loss = value - rounded;
        losses = multiply_add(loss, loss, losses);
        kept = multiply_add(rounded, rounded, kept);
        *((s8*)a.operands + tiled(row, i, across)) = (s8)q;
    }
    double loss = square_root((double)warp_sum(losses) * a.norm_slack), operand = square_root((double)warp_sum(kept) * a.norm_slack);
    double shadow = shadow_error(a, row);
    if (lane_index() == 0)
        finish(a, row, norm, operand, loss + shadow, -2 * quantum);
}
EXPORT(prepare_int8)
