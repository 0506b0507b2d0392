// What the kernels need of the hardware, one small function each. On a GPU the bodies are PTX, so that clang and nvcc compile them alike and
// no header of a CUDA toolkit is needed; under SOFTCUDA (tests/softcuda) they run on the host with the same meaning.
#pragma once

using u8 = unsigned char;
using s8 = signed char;
using u16 = unsigned short;
using u32 = unsigned int;
using u64 = unsigned long long;
using s64 = long long;

struct alignas(16) Float4 { float x, y, z, w; };
struct alignas(16) Uint4 { u32 x, y, z, w; };
struct alignas(8) Float2 { float x, y; };
struct alignas(8) Uint2 { u32 x, y; };

constexpr int kWarp = 32;

#ifdef SOFTCUDA
#include "host_device.h"
#else

#define DEVICE static inline __attribute__((device, always_inline))
#define DEVICE_MEMBER inline __attribute__((device, always_inline))
#define KERNEL(threads) extern "C" __attribute__((global, launch_bounds(threads))) void
#define EXPORT(kernel)

DEVICE int thread_index() { int v; asm("mov.u32 %0, %%tid.x;" : "=r"(v)); return v; }
DEVICE int block_index() { int v; asm("mov.u32 %0, %%ctaid.x;" : "=r"(v)); return v; }
DEVICE int block_index_y() { int v; asm("mov.u32 %0, %%ctaid.y;" : "=r"(v)); return v; }
DEVICE int block_size() { int v; asm("mov.u32 %0, %%ntid.x;" : "=r"(v)); return v; }
DEVICE int grid_size() { int v; asm("mov.u32 %0, %%nctaid.x;" : "=r"(v)); return v; }

extern __attribute__((shared)) __attribute__((aligned(1024))) u8 g_shared[];

/// The block's dynamic shared memory; kernels use no other.
DEVICE u8* shared_memory() { return g_shared; }

DEVICE u32 shared_address(const void* p)
{
    u32 address;
    asm("{ .reg .u64 t; cvta.to.shared.u64 t, %1; cvt.u32.u64 %0, t; }" : "=r"(address) : "l"(p));
    return address;
}

DEVICE void sync_block() { asm volatile("bar.sync 0;" ::: "memory"); }
DEVICE void sync_warp() { asm volatile("bar.warp.sync 0xffffffff;" ::: "memory"); }

/// The value of lane (own lane ^ mask); all lanes of the warp take part.
DEVICE u32 shuffle_xor(u32 value, int mask)
{
    u32 other;
    asm volatile("shfl.sync.bfly.b32 %0, %1, %2, 0x1f, 0xffffffff;" : "=r"(other) : "r"(value), "r"(mask));
    return other;
}

/// The value of the lane with this index.
DEVICE u32 shuffle(u32 value, int lane)
{
    u32 other;
    asm volatile("shfl.sync.idx.b32 %0, %1, %2, 0x1f, 0xffffffff;" : "=r"(other) : "r"(value), "r"(lane));
    return other;
}

/// Bit i: whether lane i says so.
DEVICE u32 ballot(bool said)
{
    u32 votes;
    asm volatile("{ .reg .pred p; setp.ne.u32 p, %1, 0; vote.sync.ballot.b32 %0, p, 0xffffffff; }" : "=r"(votes) : "r"((u32)said));
    return votes;
}

DEVICE int bits_set(u32 bits) { int v; asm("popc.b32 %0, %1;" : "=r"(v) : "r"(bits)); return v; }

DEVICE float bits_to_float(u32 bits) { float v; asm("mov.b32 %0, %1;" : "=f"(v) : "r"(bits)); return v; }
DEVICE u32 float_to_bits(float value) { u32 v; asm("mov.b32 %0, %1;" : "=r"(v) : "f"(value)); return v; }
DEVICE double bits_to_double(u64 bits) { double v; asm("mov.b64 %0, %1;" : "=d"(v) : "l"(bits)); return v; }
DEVICE u64 double_to_bits(double value) { u64 v; asm("mov.b64 %0, %1;" : "=l"(v) : "d"(value)); return v; }

DEVICE float multiply_add(float a, float b, float c) { float v; asm("fma.rn.f32 %0, %1, %2, %3;" : "=f"(v) : "f"(a), "f"(b), "f"(c)); return v; }
DEVICE double multiply_add(double a, double b, double c) { double v; asm("fma.rn.f64 %0, %1, %2, %3;" : "=d"(v) : "d"(a), "d"(b), "d"(c)); return v; }
DEVICE double square_root(double a) { double v; asm("sqrt.rn.f64 %0, %1;" : "=d"(v) : "d"(a)); return v; }
/// The smallest integer that is no smaller.
DEVICE float round_up(float a) { float v; asm("cvt.rpi.f32.f32 %0, %1;" : "=f"(v) : "f"(a)); return v; }
DEVICE float exp2_fast(float a) { float v; asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(v) : "f"(a)); return v; }

/// Nearest-even fp16 of a float, as its bits.
DEVICE u16 to_half(float value) { u16 v; asm("cvt.rn.f16.f32 %0, %1;" : "=h"(v) : "f"(value)); return v; }
DEVICE float from_half(u16 bits) { float v; asm("cvt.f32.f16 %0, %1;" : "=f"(v) : "h"(bits)); return v; }

DEVICE int atomic_add(int* at, int value) { int old; asm volatile("atom.add.s32 %0, [%1], %2;" : "=r"(old) : "l"(at), "r"(value) : "memory"); return old; }
DEVICE u64 atomic_add(u64* at, u64 value) { u64 old; asm volatile("atom.add.u64 %0, [%1], %2;" : "=l"(old) : "l"(at), "l"(value) : "memory"); return old; }
DEVICE u32 atomic_min(u32* at, u32 value) { u32 old; asm volatile("atom.min.u32 %0, [%1], %2;" : "=r"(old) : "l"(at), "r"(value) : "memory"); return old; }
DEVICE u32 atomic_max(u32* at, u32 value) { u32 old; asm volatile("atom.max.u32 %0, [%1], %2;" : "=r"(old) : "l"(at), "r"(value) : "memory"); return old; }

/// The same on shared memory, which the hardware need not look for.
DEVICE int shared_add(int* at, int value) { int old; asm volatile("atom.shared.add.s32 %0, [%1], %2;" : "=r"(old) : "r"(shared_address(at)), "r"(value) : "memory"); return old; }
DEVICE void shared_min(u32* at, u32 value) { asm volatile("red.shared.min.u32 [%0], %1;" :: "r"(shared_address(at)), "r"(value) : "memory"); }

/// Copies 16 bytes to shared memory behind the thread's back; of them only the first `valid` are read, the others become zero.
DEVICE void copy_async(void* to, const void* from, int valid = 16)
{
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" :: "r"(shared_address(to)), "l"(from), "r"(valid) : "memory");
}
DEVICE void copy_async_commit() { asm volatile("cp.async.commit_group;" ::: "memory"); }
/// Waits until at most `Pending` of the thread's committed groups are on their way.
template <int Pending> DEVICE void copy_async_wait() { asm volatile("cp.async.wait_group %0;" :: "n"(Pending) : "memory"); }

/// Four 8 × 8 matrices of 16-bit values from shared memory into a warp's mma fragments; lane i names row i % 8 of matrix i / 8.
DEVICE void load_matrix(u32 (&m)[4], const void* row)
{
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
        : "=r"(m[0]), "=r"(m[1]), "=r"(m[2]), "=r"(m[3]) : "r"(shared_address(row)) : "memory");
}

/// sums[16, 8] += a[16, 16] · b[16, 8]: fp16 operands, fp32 sums, in a warp's fragments.
DEVICE void mma_half(float (&sums)[4], const u32 (&a)[4], u32 b0, u32 b1)
{
    asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
        : "+f"(sums[0]), "+f"(sums[1]), "+f"(sums[2]), "+f"(sums[3]) : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}

/// sums[16, 8] += a[16, 32] · b[32, 8]: int8 operands, int32 sums.
DEVICE void mma_int8(int (&sums)[4], const u32 (&a)[4], u32 b0, u32 b1)
{
    asm volatile("mma.sync.aligned.m16n8k32.row.col.s32.s8.s8.s32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
        : "+r"(sums[0]), "+r"(sums[1]), "+r"(sums[2]), "+r"(sums[3]) : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}

/// A barrier in shared memory that one thread arrives at, and that bulk copies report their bytes to.
DEVICE void barrier_create(u64* barrier) { asm volatile("mbarrier.init.shared::cta.b64 [%0], 1;" :: "r"(shared_address(barrier)) : "memory"); }
/// Makes new barriers known to bulk copies.
DEVICE void barriers_created() { asm volatile("fence.proxy.async.shared::cta; fence.mbarrier_init.release.cluster;" ::: "memory"); }
/// Arrives, and tells how many bytes are to come.
DEVICE void barrier_expect(u64* barrier, u32 bytes)
{
    asm volatile("mbarrier.arrive.expect_tx.shared::cta.b64 _, [%0], %1;" :: "r"(shared_address(barrier)), "r"(bytes) : "memory");
}
/// Waits until the barrier's phase of this parity is complete.
DEVICE void barrier_wait(u64* barrier, u32 parity)
{
    u32 complete;
    do
        asm volatile("{ .reg .pred p; mbarrier.try_wait.parity.shared::cta.b64 p, [%1], %2; selp.b32 %0, 1, 0, p; }"
            : "=r"(complete) : "r"(shared_address(barrier)), "r"(parity) : "memory");
    while (!complete);
}
/// Copies a piece of memory to shared memory behind the block's back; one thread asks for it. Addresses and size are multiples of 16.
DEVICE void copy_bulk(void* to, const void* from, u32 bytes, u64* barrier)
{
    asm volatile("cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes [%0], [%1], %2, [%3];"
        :: "r"(shared_address(to)), "l"(from), "r"(bytes), "r"(shared_address(barrier)) : "memory");
}

/// Products of four warps (a warp group) on whole tiles in shared memory, done behind their back. A fence comes before the first of a group;
/// sums are there once the group was waited for, and are not touched before.
DEVICE void group_fence() { asm volatile("wgmma.fence.sync.aligned;" ::: "memory"); }
DEVICE void group_commit() { asm volatile("wgmma.commit_group.sync.aligned;" ::: "memory"); }
template <int Pending> DEVICE void group_wait() { asm volatile("wgmma.wait_group.sync.aligned %0;" :: "n"(Pending) : "memory"); }

/// sums[64, 256] += a[64, 16] · b[256, 16]ᵀ: fp16 operands, fp32 sums.
DEVICE void group_mma_half(float (&sums)[32][4], u64 a, u64 b)
{
    asm volatile("{ .reg .pred p; setp.eq.b32 p, 0, 0; wgmma.mma_async.sync.aligned.m64n256k16.f32.f16.f16 {%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15, %16, %17, %18, %19, %20, %21, %22, %23, %24, %25, %26, %27, %28, %29, %30, %31, %32, %33, %34, %35, %36, %37, %38, %39, %40, %41, %42, %43, %44, %45, %46, %47, %48, %49, %50, %51, %52, %53, %54, %55, %56, %57, %58, %59, %60, %61, %62, %63, %64, %65, %66, %67, %68, %69, %70, %71, %72, %73, %74, %75, %76, %77, %78, %79, %80, %81, %82, %83, %84, %85, %86, %87, %88, %89, %90, %91, %92, %93, %94, %95, %96, %97, %98, %99, %100, %101, %102, %103, %104, %105, %106, %107, %108, %109, %110, %111, %112, %113, %114, %115, %116, %117, %118, %119, %120, %121, %122, %123, %124, %125, %126, %127}, %128, %129, p, 1, 1, 0, 0; }"
        : "+f"(sums[0][0]), "+f"(sums[0][1]), "+f"(sums[0][2]), "+f"(sums[0][3]), "+f"(sums[1][0]), "+f"(sums[1][1]), "+f"(sums[1][2]), "+f"(sums[1][3]),
        "+f"(sums[2][0]), "+f"(sums[2][1]), "+f"(sums[2][2]), "+f"(sums[2][3]), "+f"(sums[3][0]), "+f"(sums[3][1]), "+f"(sums[3][2]), "+f"(sums[3][3]),
        "+f"(sums[4][0]), "+f"(sums[4][1]), "+f"(sums[4][2]), "+f"(sums[4][3]), "+f"(sums[5][0]), "+f"(sums[5][1]), "+f"(sums[5][2]), "+f"(sums[5][3]),
        "+f"(sums[6][0]), "+f"(sums[6][1]), "+f"(sums[6][2]), "+f"(sums[6][3]), "+f"(sums[7][0]), "+f"(sums[7][1]), "+f"(sums[7][2]), "+f"(sums[7][3]),
        "+f"(sums[8][0]), "+f"(sums[8][1]), "+f"(sums[8][2]), "+f"(sums[8][3]), "+f"(sums[9][0]), "+f"(sums[9][1]), "+f"(sums[9][2]), "+f"(sums[9][3]),
        "+f"(sums[10][0]), "+f"(sums[10][1]), "+f"(sums[10][2]), "+f"(sums[10][3]), "+f"(sums[11][0]), "+f"(sums[11][1]), "+f"(sums[11][2]), "+f"(sums[11][3]),
        "+f"(sums[12][0]), "+f"(sums[12][1]), "+f"(sums[12][2]), "+f"(sums[12][3]), "+f"(sums[13][0]), "+f"(sums[13][1]), "+f"(sums[13][2]), "+f"(sums[13][3]),
        "+f"(sums[14][0]), "+f"(sums[14][1]), "+f"(sums[14][2]), "+f"(sums[14][3]), "+f"(sums[15][0]), "+f"(sums[15][1]), "+f"(sums[15][2]), "+f"(sums[15][3]),
        "+f"(sums[16][0]), "+f"(sums[16][1]), "+f"(sums[16][2]), "+f"(sums[16][3]), "+f"(sums[17][0]), "+f"(sums[17][1]), "+f"(sums[17][2]), "+f"(sums[17][3]),
        "+f"(sums[18][0]), "+f"(sums[18][1]), "+f"(sums[18][2]), "+f"(sums[18][3]), "+f"(sums[19][0]), "+f"(sums[19][1]), "+f"(sums[19][2]), "+f"(sums[19][3]),
        "+f"(sums[20][0]), "+f"(sums[20][1]), "+f"(sums[20][2]), "+f"(sums[20][3]), "+f"(sums[21][0]), "+f"(sums[21][1]), "+f"(sums[21][2]), "+f"(sums[21][3]),
        "+f"(sums[22][0]), "+f"(sums[22][1]), "+f"(sums[22][2]), "+f"(sums[22][3]), "+f"(sums[23][0]), "+f"(sums[23][1]), "+f"(sums[23][2]), "+f"(sums[23][3]),
        "+f"(sums[24][0]), "+f"(sums[24][1]), "+f"(sums[24][2]), "+f"(sums[24][3]), "+f"(sums[25][0]), "+f"(sums[25][1]), "+f"(sums[25][2]), "+f"(sums[25][3]),
        "+f"(sums[26][0]), "+f"(sums[26][1]), "+f"(sums[26][2]), "+f"(sums[26][3]), "+f"(sums[27][0]), "+f"(sums[27][1]), "+f"(sums[27][2]), "+f"(sums[27][3]),
        "+f"(sums[28][0]), "+f"(sums[28][1]), "+f"(sums[28][2]), "+f"(sums[28][3]), "+f"(sums[29][0]), "+f"(sums[29][1]), "+f"(sums[29][2]), "+f"(sums[29][3]),
        "+f"(sums[30][0]), "+f"(sums[30][1]), "+f"(sums[30][2]), "+f"(sums[30][3]), "+f"(sums[31][0]), "+f"(sums[31][1]), "+f"(sums[31][2]), "+f"(sums[31][3])
        : "l"(a), "l"(b));
}

/// sums[64, 256] += a[64, 32] · b[256, 32]ᵀ: int8 operands, int32 sums.
DEVICE void group_mma_int8(int (&sums)[32][4], u64 a, u64 b)
{
    asm volatile("{ .reg .pred p; setp.eq.b32 p, 0, 0; wgmma.mma_async.sync.aligned.m64n256k32.s32.s8.s8 {%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15, %16, %17, %18, %19, %20, %21, %22, %23, %24, %25, %26, %27, %28, %29, %30, %31, %32, %33, %34, %35, %36, %37, %38, %39, %40, %41, %42, %43, %44, %45, %46, %47, %48, %49, %50, %51, %52, %53, %54, %55, %56, %57, %58, %59, %60, %61, %62, %63, %64, %65, %66, %67, %68, %69, %70, %71, %72, %73, %74, %75, %76, %77, %78, %79, %80, %81, %82, %83, %84, %85, %86, %87, %88, %89, %90, %91, %92, %93, %94, %95, %96, %97, %98, %99, %100, %101, %102, %103, %104, %105, %106, %107, %108, %109, %110, %111, %112, %113, %114, %115, %116, %117, %118, %119, %120, %121, %122, %123, %124, %125, %126, %127}, %128, %129, p; }"
        : "+r"(sums[0][0]), "+r"(sums[0][1]), "+r"(sums[0][2]), "+r"(sums[0][3]), "+r"(sums[1][0]), "+r"(sums[1][1]), "+r"(sums[1][2]), "+r"(sums[1][3]),
        "+r"(sums[2][0]), "+r"(sums[2][1]), "+r"(sums[2][2]), "+r"(sums[2][3]), "+r"(sums[3][0]), "+r"(sums[3][1]), "+r"(sums[3][2]), "+r"(sums[3][3]),
        "+r"(sums[4][0]), "+r"(sums[4][1]), "+r"(sums[4][2]), "+r"(sums[4][3]), "+r"(sums[5][0]), "+r"(sums[5][1]), "+r"(sums[5][2]), "+r"(sums[5][3]),
        "+r"(sums[6][0]), "+r"(sums[6][1]), "+r"(sums[6][2]), "+r"(sums[6][3]), "+r"(sums[7][0]), "+r"(sums[7][1]), "+r"(sums[7][2]), "+r"(sums[7][3]),
        "+r"(sums[8][0]), "+r"(sums[8][1]), "+r"(sums[8][2]), "+r"(sums[8][3]), "+r"(sums[9][0]), "+r"(sums[9][1]), "+r"(sums[9][2]), "+r"(sums[9][3]),
        "+r"(sums[10][0]), "+r"(sums[10][1]), "+r"(sums[10][2]), "+r"(sums[10][3]), "+r"(sums[11][0]), "+r"(sums[11][1]), "+r"(sums[11][2]), "+r"(sums[11][3]),
        "+r"(sums[12][0]), "+r"(sums[12][1]), "+r"(sums[12][2]), "+r"(sums[12][3]), "+r"(sums[13][0]), "+r"(sums[13][1]), "+r"(sums[13][2]), "+r"(sums[13][3]),
        "+r"(sums[14][0]), "+r"(sums[14][1]), "+r"(sums[14][2]), "+r"(sums[14][3]), "+r"(sums[15][0]), "+r"(sums[15][1]), "+r"(sums[15][2]), "+r"(sums[15][3]),
        "+r"(sums[16][0]), "+r"(sums[16][1]), "+r"(sums[16][2]), "+r"(sums[16][3]), "+r"(sums[17][0]), "+r"(sums[17][1]), "+r"(sums[17][2]), "+r"(sums[17][3]),
        "+r"(sums[18][0]), "+r"(sums[18][1]), "+r"(sums[18][2]), "+r"(sums[18][3]), "+r"(sums[19][0]), "+r"(sums[19][1]), "+r"(sums[19][2]), "+r"(sums[19][3]),
        "+r"(sums[20][0]), "+r"(sums[20][1]), "+r"(sums[20][2]), "+r"(sums[20][3]), "+r"(sums[21][0]), "+r"(sums[21][1]), "+r"(sums[21][2]), "+r"(sums[21][3]),
        "+r"(sums[22][0]), "+r"(sums[22][1]), "+r"(sums[22][2]), "+r"(sums[22][3]), "+r"(sums[23][0]), "+r"(sums[23][1]), "+r"(sums[23][2]), "+r"(sums[23][3]),
        "+r"(sums[24][0]), "+r"(sums[24][1]), "+r"(sums[24][2]), "+r"(sums[24][3]), "+r"(sums[25][0]), "+r"(sums[25][1]), "+r"(sums[25][2]), "+r"(sums[25][3]),
        "+r"(sums[26][0]), "+r"(sums[26][1]), "+r"(sums[26][2]), "+r"(sums[26][3]), "+r"(sums[27][0]), "+r"(sums[27][1]), "+r"(sums[27][2]), "+r"(sums[27][3]),
        "+r"(sums[28][0]), "+r"(sums[28][1]), "+r"(sums[28][2]), "+r"(sums[28][3]), "+r"(sums[29][0]), "+r"(sums[29][1]), "+r"(sums[29][2]), "+r"(sums[29][3]),
        "+r"(sums[30][0]), "+r"(sums[30][1]), "+r"(sums[30][2]), "+r"(sums[30][3]), "+r"(sums[31][0]), "+r"(sums[31][1]), "+r"(sums[31][2]), "+r"(sums[31][3])
        : "l"(a), "l"(b));
}

/// Keeps the compiler from reading sums before they are there.
DEVICE void settled(float& sum) { asm volatile("" : "+f"(sum) :: "memory"); }
DEVICE void settled(int& sum) { asm volatile("" : "+r"(sum) :: "memory"); }

#endif

/// How group_mma_* finds a tile in shared memory: rows of 128 bytes, groups of eight 1,024 bytes apart, 16-byte chunks in the order of
/// encode.h's tiles. The tile starts at a multiple of 1,024; 32 bytes further along its rows, the number is 2 larger.
DEVICE u64 tile_descriptor(const void* tile)
{
    const u64 kGroupStride = 1024 >> 4, kSwizzle128 = 1ull << 62;
    return (u64)((shared_address(tile) & 0x3ffff) >> 4) | kGroupStride << 32 | kSwizzle128;
}

DEVICE int lane_index() { return thread_index() % kWarp; }
DEVICE int warp_index() { return thread_index() / kWarp; }
DEVICE float shuffle_xor(float value, int mask) { return bits_to_float(shuffle_xor(float_to_bits(value), mask)); }
DEVICE double shuffle_xor(double value, int mask)
{
    u64 bits = double_to_bits(value);
    u64 low = shuffle_xor((u32)bits, mask), high = shuffle_xor((u32)(bits >> 32), mask);
    return bits_to_double(high << 32 | low);
}
DEVICE double shuffle(double value, int lane)
{
    u64 bits = double_to_bits(value);
    u64 low = shuffle((u32)bits, lane), high = shuffle((u32)(bits >> 32), lane);
    return bits_to_double(high << 32 | low);
}
DEVICE float smaller(float a, float b) { return a < b ? a : b; }
DEVICE float larger(float a, float b) { return a > b ? a : b; }
DEVICE int smaller(int a, int b) { return a < b ? a : b; }
DEVICE int larger(int a, int b) { return a > b ? a : b; }
DEVICE float absolute(float a) { return a < 0 ? -a : a; }
DEVICE double absolute(double a) { return a < 0 ? -a : a; }

/// Integers that are ordered as the floats they stand for, so that an integer minimum finds the smallest float.
DEVICE u32 ordered(float value)
{
    u32 bits = float_to_bits(value);
    return bits & 0x80000000u ? ~bits : bits | 0x80000000u;
}
DEVICE float from_ordered(u32 key) { return bits_to_float(key & 0x80000000u ? key & 0x7fffffffu : ~key); }
