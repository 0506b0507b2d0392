// probe, Hopper: sums of products as warp groups of this device round them.
//   in    a (64, depth), b (256, depth) fp16, tiled (encode.h), a padded to a whole tile
//   out   sums (64, 256) f32 = a · bᵀ, as screen_hopper adds them
//   work  one warp group, one tile of 128 bytes after the other

#include "encode.h"

constexpr int kProbeThreads = 128, kProbeColumns = 256;

struct GroupProbeArguments
{
    const u8* a;
    const u8* b;
    float* sums;
    int depth; // a multiple of 64
};

namespace
{
struct Shared
{
    u8 a[kOperandTileRows][kOperandTileBytes];
    u8 b[kProbeColumns][kOperandTileBytes];
    u64 arrived;
};
} // namespace

KERNEL(kProbeThreads) probe_hopper_float16(GroupProbeArguments arguments)
{
    Shared& shared = *(Shared*)shared_memory();
    constexpr u32 kBytes = kOperandTileRows * kOperandTileBytes;
    int across = tiles_across(arguments.depth * 2);
    float sums[kProbeColumns / 8][4] = {};
    if (thread_index() == 0)
    {
        barrier_create(&shared.arrived);
        barriers_created();
    }
    sync_block();
    for (int tile = 0; tile < across; tile++)
    {
        if (thread_index() == 0)
        {
            int at = tile * kOperandTileBytes;
            barrier_expect(&shared.arrived, 3 * kBytes);
            copy_bulk(shared.a, arguments.a + tiled(0, at, across), kBytes, &shared.arrived);
            copy_bulk(shared.b, arguments.b + tiled(0, at, across), kBytes, &shared.arrived);
            copy_bulk(shared.b[kOperandTileRows], arguments.b + tiled(kOperandTileRows, at, across), kBytes, &shared.arrived);
        }
        barrier_wait(&shared.arrived, tile % 2);
        group_fence();
#pragma unroll
        for (int part = 0; part < kOperandTileBytes / 32; part++)
            group_mma_half(sums, tile_descriptor(shared.a) + part * 2, tile_descriptor(shared.b) + part * 2);
        group_commit();
        group_wait<0>();
        sync_block();
    }
#pragma unroll
    for (int j = 0; j < kProbeColumns / 8; j++)
#pragma unroll
        for (int i = 0; i < 4; i++)
        {
            settled(sums[j][i]);
            int row = warp_index() * 16 + lane_index() / 4 + i / 2 * 8, column = 8 * j + 2 * (lane_index() % 4) + i % 2;
            arguments.sums[row * kProbeColumns + column] = sums[j][i];
        }
}
EXPORT(probe_hopper_float16)
