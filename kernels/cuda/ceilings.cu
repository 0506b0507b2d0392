// ceilings: what the arithmetic units of this device do in a second when nothing else holds them up. Measured, not looked up.
//   in    a number of rounds
//   out   one value per thread, so that nothing is optimised away
//   work  chains of kChains independent operations a thread (float32) or a warp (tensor cores), all in registers

#include "device.h"

constexpr int kCeilingThreads = 256, kChains = 8, kStepsPerRound = 16;

struct CeilingArguments
{
    float* results; // [blocks, kCeilingThreads]
    int rounds;
};

KERNEL(kCeilingThreads) ceiling_float32(CeilingArguments a)
{
    float sums[kChains], x = 1 + thread_index() * 1e-6f, y = -1e-3f;
    for (int c = 0; c < kChains; c++)
        sums[c] = (float)c;
    for (int round = 0; round < a.rounds; round++)
    {
#pragma unroll
        for (int step = 0; step < kStepsPerRound; step++)
#pragma unroll
            for (int c = 0; c < kChains; c++)
                sums[c] = multiply_add(sums[c], x, y);
    }
    float sum = 0;
    for (int c = 0; c < kChains; c++)
        sum += sums[c];
    a.results[block_index() * kCeilingThreads + thread_index()] = sum;
}
EXPORT(ceiling_float32)

namespace
{
DEVICE void multiply(float (&sums)[4], const u32 (&x)[4], u32 b) { mma_half(sums, x, b, b); }
DEVICE void multiply(int (&sums)[4], const u32 (&x)[4], u32 b) { mma_int8(sums, x, b, b); }

template <class Sum>
DEVICE void tensor(const CeilingArguments& a)
{
    Sum sums[kChains][4] = {};
    u32 x[4] = {0x3c003c00u, 0x3c003c00u, 0x3c003c00u, 0x3c003c00u}, b = 0x3c003c00u + lane_index();
    for (int round = 0; round < a.rounds; round++)
    {
#pragma unroll
        for (int step = 0; step < kStepsPerRound; step++)
#pragma unroll
            for (int c = 0; c < kChains; c++)
                multiply(sums[c], x, b);
    }
    float sum = 0;
    for (int c = 0; c < kChains; c++)
        sum += (float)sums[c][0] + (float)sums[c][1] + (float)sums[c][2] + (float)sums[c][3];
    a.results[block_index() * kCeilingThreads + thread_index()] = sum;
}
} // namespace

KERNEL(kCeilingThreads) ceiling_float16(CeilingArguments a) { tensor<float>(a); }
EXPORT(ceiling_float16)

KERNEL(kCeilingThreads) ceiling_int8(CeilingArguments a) { tensor<int>(a); }
EXPORT(ceiling_int8)
