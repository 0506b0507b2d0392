// probe: sums of products as the tensor cores of this device round them, so that the host can compare them with the bound it relies on.
//   in    a (16, depth), b (8, depth) fp16
//   out   sums (16, 8) f32 = a · bᵀ, one mma m16n8k16 after the other, as the screen adds them
//   work  one warp; fragments are read where the instruction wants them, without shared memory

#include "device.h"

struct ProbeArguments
{
    const u16* a;
    const u16* b;
    float* sums;
    int depth; // a multiple of 16
};

KERNEL(kWarp) probe_float16(ProbeArguments arguments)
{
    int group = lane_index() / 4, member = lane_index() % 4 * 2, depth = arguments.depth;
    float sums[4] = {};
    for (int at = 0; at < depth; at += 16)
    {
        const u16* a = arguments.a + group * depth + at + member;
        const u16* b = arguments.b + group * depth + at + member;
        u32 x[4] = {*(const u32*)a, *(const u32*)(a + 8 * depth), *(const u32*)(a + 8), *(const u32*)(a + 8 * depth + 8)};
        mma_half(sums, x, *(const u32*)b, *(const u32*)(b + 8));
    }
    for (int i = 0; i < 4; i++)
        arguments.sums[(group + i / 2 * 8) * 8 + member + i % 2] = sums[i];
}
EXPORT(probe_float16)
