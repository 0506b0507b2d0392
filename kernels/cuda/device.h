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
DEVICE float square_root_up(float a) { float v; asm("sqrt.rp.f32 %0, %1;" : "=f"(v) : "f"(a)); return v; }
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

#endif

DEVICE int lane_index() { return thread_index() % kWarp; }
DEVICE int warp_index() { return thread_index() / kWarp; }
DEVICE float shuffle_xor(float value, int mask) { return bits_to_float(shuffle_xor(float_to_bits(value), mask)); }
DEVICE double shuffle_xor(double value, int mask)
{
    u64 bits = double_to_bits(value);
    u64 low = shuffle_xor((u32)bits, mask), high = shuffle_xor((u32)(bits >> 32), mask);
    return bits_to_double(high << 32 | low);
}
DEVICE float smaller(float a, float b) { return a < b ? a : b; }
DEVICE float larger(float a, float b) { return a > b ? a : b; }
DEVICE int smaller(int a, int b) { return a < b ? a : b; }
DEVICE float absolute(float a) { return a < 0 ? -a : a; }
DEVICE double absolute(double a) { return a < 0 ? -a : a; }

/// Integers that are ordered as the floats they stand for, so that an integer minimum finds the smallest float.
DEVICE u32 ordered(float value)
{
    u32 bits = float_to_bits(value);
    return bits & 0x80000000u ? ~bits : bits | 0x80000000u;
}
DEVICE float from_ordered(u32 key) { return bits_to_float(key & 0x80000000u ? key & 0x7fffffffu : ~key); }
