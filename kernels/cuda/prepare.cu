// prepare: operand rows of one level's screen, in float32, fp16 or int8.
//   in    rows, the codes chosen so far · m, earlier codewords
//   out   operands (count, depth), float32 in rows, fp16 and int8 in tiles · scales (count) · margins (levels served, count)
//   does  r̂ = x − m − Σ_j c_j in float32, one subtraction after the other; x̂ = r̂ in the screen's format;
//         of a shadow, ‖x̃ − x‖ is added to ‖x̂ − r̂‖, and a value that is not finite leaves its row open;
//         margin = 2E with E from ‖x̂‖, ‖x̂ − r̂‖ and the bound u (Σ_j ‖r̂_j‖ + ‖c_1 − m‖) of ‖r̂ − r‖, where ‖r̂_j‖ ≤ ‖r̂‖ + Σ_{i≥j} ‖c_i‖
//   work  a warp per row, kBlock of its values in registers at a time; rows of more values are read twice, the second time from the cache

#include "encode.h"

constexpr int kPrepareThreads = 256;

namespace
{
// Values that the lanes of a warp hold in registers: kGroups times four consecutive ones each.
constexpr int kGroups = 8, kBlock = kGroups * 4 * kWarp;

/// Four consecutive values of a row; those outside of it are 0. `whole`: rows begin at multiples of four and hold a multiple of four.
DEVICE void load_values(const EncodeRows& rows, int row, int column, bool whole, float (&v)[4])
{
    if (column >= rows.dimension)
    {
        v[0] = v[1] = v[2] = v[3] = 0;
        return;
    }
    if (!whole)
    {
#pragma unroll
        for (int e = 0; e < 4; e++)
            v[e] = column + e < rows.dimension ? load_value(rows, row, column + e) : 0;
        return;
    }
    s64 at = row * rows.stride + column;
    if (rows.element == kFloat32)
    {
        *(Float4*)v = *(const Float4*)((const float*)rows.values + at);
        return;
    }
    Uint2 bits = *(const Uint2*)((const u16*)rows.values + at);
    u32 halves[4] = {bits.x & 0xffff, bits.x >> 16, bits.y & 0xffff, bits.y >> 16};
#pragma unroll
    for (int e = 0; e < 4; e++)
        v[e] = rows.element == kBfloat16 ? bits_to_float(halves[e] << 16) : from_half((u16)halves[e]);
}

/// Four consecutive values of a vector of d; those outside are 0.
DEVICE void load_part(const float* part, int column, int d, bool whole, float (&v)[4])
{
    if (whole && column < d)
    {
        *(Float4*)v = *(const Float4*)(part + column);
        return;
    }
#pragma unroll
    for (int e = 0; e < 4; e++)
        v[e] = column + e < d ? part[column + e] : 0;
}

/// Where lane and group have their four values in a block that begins at `first`.
DEVICE int own(int first, int group) { return first + (group * kWarp + lane_index()) * 4; }

/// A block of r̂ = x − m − Σ_j c_j; zeros past the d-th value.
DEVICE void load_residual(const PrepareArguments& a, int row, int first, float (&v)[kGroups][4])
{
    int d = a.rows.dimension;
    bool whole = d % 4 == 0 && a.rows.stride % 4 == 0;
#pragma unroll
    for (int g = 0; g < kGroups; g++)
    {
        float centre[4];
        load_part(a.centre, own(first, g), d, whole, centre);
        load_values(a.rows, row, own(first, g), whole, v[g]);
#pragma unroll
        for (int e = 0; e < 4; e++)
            v[g][e] -= centre[e];
    }
    const u16* chosen = a.rows.codes + (s64)row * a.rows.levels;
    for (int j = 0; j < a.level; j++)
    {
        const float* subtrahend = a.subtrahends[j] + (s64)chosen[j] * d;
#pragma unroll
        for (int g = 0; g < kGroups; g++)
        {
            float part[4];
            load_part(subtrahend, own(first, g), d, whole, part);
#pragma unroll
            for (int e = 0; e < 4; e++)
                v[g][e] -= part[e];
        }
    }
}

/// A block of the operand: of r̂, or of [r̂ | x − m − r̂], whose second half begins within a block where d is no multiple of one.
DEVICE void load_operand(const PrepareArguments& a, int row, int first, float (&v)[kGroups][4])
{
    int d = a.rows.dimension;
    if (first < d || !a.wide)
        load_residual(a, row, first, v);
    if (!a.wide || first + kBlock <= d)
        return;
    // Value by value: a group of four may hold both halves.
    const u16* chosen = a.rows.codes + (s64)row * a.rows.levels;
#pragma unroll
    for (int g = 0; g < kGroups; g++)
#pragma unroll
        for (int e = 0; e < 4; e++)
        {
            int column = own(first, g) + e - d;
            if (column < 0)
                continue;
            float sum = 0;
            for (int j = 0; j < a.level && column < d; j++)
                sum += a.subtrahends[j][(s64)chosen[j] * d + column];
            v[g][e] = sum;
        }
}

// u (Σ_{j≤l} ‖r̂_j‖ + ‖c_1 − m‖), twice that for the wide form, whose halves round alike.
DEVICE double operand_error(const PrepareArguments& a, int row, double norm)
{
    const u16* chosen = a.rows.codes + (s64)row * a.rows.levels;
    double later = norm, sum = norm;
    for (int j = a.level - 1; j >= 0; j--)
    {
        later += a.norms[j][chosen[j]];
        sum += later;
    }
    // The centred codewords of the first level were rounded too.
    if (a.level > 0)
        sum += a.norms[0][chosen[0]];
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

// What the formats have in common. `Format::store(row, column, values, losses, kept)` writes four values of an operand row.
template <class Format>
DEVICE void prepare(const PrepareArguments& a, int padded)
{
    int row = block_index() * (kPrepareThreads / kWarp) + warp_index();
    if (row >= a.rows.count)
        return;
    float v[kGroups][4], squares = 0, largest = 0;
    for (int first = 0; first < a.depth; first += kBlock)
    {
        load_operand(a, row, first, v);
#pragma unroll
        for (int g = 0; g < kGroups; g++)
#pragma unroll
            for (int e = 0; e < 4; e++)
            {
                squares = multiply_add(v[g][e], v[g][e], squares);
                largest = larger(largest, absolute(v[g][e]));
            }
    }
    double norm = square_root((double)warp_sum(squares) * a.norm_slack);
    Format format(a, norm, warp_largest(largest));
    float losses = 0, kept = 0;
    for (int first = 0; first < padded; first += kBlock)
    {
        // One block is still there.
        if (padded > kBlock)
            load_operand(a, row, first, v);
#pragma unroll
        for (int g = 0; g < kGroups; g++)
        {
            if (own(first, g) < padded)
                format.store(row, own(first, g), v[g], losses, kept);
        }
    }
    double loss = square_root((double)warp_sum(losses) * a.norm_slack), operand_norm = square_root((double)warp_sum(kept) * a.norm_slack);
    double shadow = shadow_error(a, row);
    if (lane_index() == 0)
        finish(a, row, norm, operand_norm, loss + shadow, format.scale());
}

struct Float32
{
    float* operands;
    int depth;

    DEVICE_MEMBER Float32(const PrepareArguments& a, double, float) : operands((float*)a.operands), depth(a.depth) {}

    DEVICE_MEMBER float scale() const { return -2; }

    DEVICE_MEMBER void store(int row, int column, const float (&v)[4], float&, float& kept) const
    {
#pragma unroll
        for (int e = 0; e < 4; e++)
            kept = multiply_add(v[e], v[e], kept);
        *(Float4*)(operands + (s64)row * depth + column) = {v[0], v[1], v[2], v[3]};
    }
};

struct Float16
{
    u8* operands;
    int across;
    float up, down; // powers of two: the largest value comes into [2^14, 2^15)

    DEVICE_MEMBER Float16(const PrepareArguments& a, double norm, float largest) : operands((u8*)a.operands), across(tiles_across(a.depth * 2)), up(1), down(1)
    {
        if (norm == 0 || norm > a.largest_norm || norm < a.smallest_norm || !(norm <= 3.5e38))
            return;
        int exponent = (int)(float_to_bits(largest) >> 23) - 127;
        up = bits_to_float((u32)smaller(127 + 14 - exponent, 254) << 23);
        down = bits_to_float((u32)larger(127 - 14 + exponent, 1) << 23);
    }

    DEVICE_MEMBER float scale() const { return -2 * down; }

    DEVICE_MEMBER void store(int row, int column, const float (&v)[4], float& losses, float& kept) const
    {
        u32 halves[4];
#pragma unroll
        for (int e = 0; e < 4; e++)
        {
            halves[e] = to_half(v[e] * up);
            float rounded = from_half((u16)halves[e]) * down, loss = v[e] - rounded;
            losses = multiply_add(loss, loss, losses);
            kept = multiply_add(rounded, rounded, kept);
        }
        *(Uint2*)(operands + tiled(row, column * 2, across)) = {halves[0] | halves[1] << 16, halves[2] | halves[3] << 16};
    }
};

struct Int8
{
    u8* operands;
    int across;
    float quantum, inverse;

    DEVICE_MEMBER Int8(const PrepareArguments& a, double norm, float largest) : operands((u8*)a.operands), across(tiles_across(a.depth))
    {
        bool usable = norm != 0 && norm <= a.largest_norm && norm >= a.smallest_norm;
        quantum = usable ? largest / 127 : 1;
        inverse = usable ? 127 / largest : 0;
    }

    DEVICE_MEMBER float scale() const { return -2 * quantum; }

    DEVICE_MEMBER void store(int row, int column, const float (&v)[4], float& losses, float& kept) const
    {
        u32 bytes = 0;
#pragma unroll
        for (int e = 0; e < 4; e++)
        {
            float scaled = v[e] * inverse;
            int q = (int)(scaled + (scaled < 0 ? -0.5f : 0.5f));
            q = q > 127 ? 127 : q < -127 ? -127 : q;
            float rounded = q * quantum, loss = v[e] - rounded;
            losses = multiply_add(loss, loss, losses);
            kept = multiply_add(rounded, rounded, kept);
            bytes |= (u32)(u8)q << 8 * e;
        }
        *(u32*)(operands + tiled(row, column, across)) = bytes;
    }
};
} // namespace

KERNEL(kPrepareThreads) prepare_float32(PrepareArguments a) { prepare<Float32>(a, a.depth); }
EXPORT(prepare_float32)

KERNEL(kPrepareThreads) prepare_float16(PrepareArguments a) { prepare<Float16>(a, tiles_across(a.depth * 2) * (kOperandTileBytes / 2)); }
EXPORT(prepare_float16)

KERNEL(kPrepareThreads) prepare_int8(PrepareArguments a) { prepare<Int8>(a, tiles_across(a.depth) * kOperandTileBytes); }
EXPORT(prepare_int8)
