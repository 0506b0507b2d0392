// What the kernels need of float64 beyond the four operations: functions of their own, since PTX has none and a library would have to be linked.
#pragma once

#include "device.h"

DEVICE double larger(double a, double b) { return a > b ? a : b; }

/// Integers that are ordered as the doubles they stand for (no NaN, no −0).
DEVICE u64 ordered(double value)
{
    u64 bits = double_to_bits(value);
    return bits >> 63 ? ~bits : bits | 1ull << 63;
}
DEVICE double from_ordered(u64 key) { return bits_to_double(key >> 63 ? key & ~(1ull << 63) : ~key); }

/// A float above `value`, two steps at most.
DEVICE float float_above(double value) { return from_ordered(ordered((float)value) + 1); }

/// The largest float that is no larger than `value`; infinity only for −infinity.
DEVICE float float_below(double value)
{
    float nearest = (float)value;
    return (double)nearest > value ? from_ordered(ordered(nearest) - 1) : nearest;
}

/// 2^n for integers n ≤ 0; 0 below float64's normal range.
DEVICE double power_of_two(double n) { return n < -1022 ? 0 : bits_to_double((u64)((s64)n + 1023) << 52); }

/// e^x for x ≤ 0, relative error below 3 · 2⁻⁵³; 0 below −708. x = n·ln 2 + r, |r| ≤ ½ ln 2, and Taylor's series to r¹³.
DEVICE double exponential(double x)
{
    if (!(x > -708))
        return 0;
    const double kShift = 6755399441055744.0; // 1.5 · 2⁵²: adding it rounds to an integer
    double n = multiply_add(x, 1.4426950408889634, kShift) - kShift;
    double r = multiply_add(n, -6.93147180369123816490e-01, x);
    r = multiply_add(n, -1.90821492927058770002e-10, r);
    double p = 1.0 / 6227020800;
    p = multiply_add(p, r, 1.0 / 479001600);
    p = multiply_add(p, r, 1.0 / 39916800);
    p = multiply_add(p, r, 1.0 / 3628800);
    p = multiply_add(p, r, 1.0 / 362880);
    p = multiply_add(p, r, 1.0 / 40320);
    p = multiply_add(p, r, 1.0 / 5040);
    p = multiply_add(p, r, 1.0 / 720);
    p = multiply_add(p, r, 1.0 / 120);
    p = multiply_add(p, r, 1.0 / 24);
    p = multiply_add(p, r, 1.0 / 6);
    p = multiply_add(p, r, 0.5);
    p = multiply_add(p, r, 1.0);
    return multiply_add(p, r, 1.0) * power_of_two(n);
}

/// log2 of a normal number. f in [√½, √2) times 2^n; ln f = 2 artanh t, t = (f − 1)/(f + 1), |t| ≤ 0.172, series to t²¹.
DEVICE double logarithm2(double x)
{
    u64 bits = double_to_bits(x);
    double n = (double)((s64)(bits >> 52) - 1023);
    double f = bits_to_double((bits & 0xfffffffffffffull) | 0x3ff0000000000000ull);
    if (f > 1.4142135623730951)
    {
        f *= 0.5;
        n += 1;
    }
    double t = (f - 1) / (f + 1), square = t * t;
    double p = 1.0 / 21;
    p = multiply_add(p, square, 1.0 / 19);
    p = multiply_add(p, square, 1.0 / 17);
    p = multiply_add(p, square, 1.0 / 15);
    p = multiply_add(p, square, 1.0 / 13);
    p = multiply_add(p, square, 1.0 / 11);
    p = multiply_add(p, square, 1.0 / 9);
    p = multiply_add(p, square, 1.0 / 7);
    p = multiply_add(p, square, 1.0 / 5);
    p = multiply_add(p, square, 1.0 / 3);
    p = multiply_add(p, square, 1.0);
    return multiply_add(p * t, 2 * 1.4426950408889634, n);
}
