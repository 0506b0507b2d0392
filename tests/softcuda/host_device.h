// The bodies of kernels/cuda/device.h on the host. A copy is made when it is waited for, a barrier waits, a warp's collective operation needs
// all its lanes: what a kernel forgets shows as a wrong result or as an error, as it would (on a bad day) on a GPU.
#pragma once

#include <atomic>
#include <cmath>
#include <cstring>

#include "fibers.h"
#include "registry.h"

#define DEVICE static inline
#define DEVICE_MEMBER inline
#define KERNEL(threads) extern "C" void
#define EXPORT(kernel) static const softcuda::Registration registration_of_##kernel(#kernel, &kernel);

DEVICE int thread_index() { return softcuda::thread; }
DEVICE int block_index() { return softcuda::block.index_x; }
DEVICE int block_index_y() { return softcuda::block.index_y; }
DEVICE int block_size() { return softcuda::block.threads; }
DEVICE int grid_size() { return softcuda::block.grid_x; }
DEVICE u8* shared_memory() { return softcuda::block.shared; }
DEVICE void sync_block() { softcuda::sync_block(); }

namespace softcuda
{
/// All lanes of the warp hand in `deposit`; `all(deposits, results)` is called once; each lane gets its own result.
template <class Result, class Deposit, class All>
Result collective(const Deposit& deposit, All all)
{
    static_assert(sizeof(Deposit) <= kLargestDeposit && sizeof(Result) <= kLargestDeposit);
    static const char operation = 0; // one per lambda: lanes that are not in the same place are told apart
    Warp& own = warp();
    int lane = thread % kWarp;
    std::memcpy(own.deposits[lane], &deposit, sizeof deposit);
    if (arrive(&operation))
    {
        Deposit deposits[kWarp];
        Result results[kWarp];
        for (int i = 0; i < kWarp; i++)
            std::memcpy(&deposits[i], own.deposits[i], sizeof(Deposit));
        all(deposits, results);
        for (int i = 0; i < kWarp; i++)
            std::memcpy(own.results[i], &results[i], sizeof(Result));
        complete();
    }
    Result result;
    std::memcpy(&result, own.results[lane], sizeof result);
    return result;
}
} // namespace softcuda

DEVICE void sync_warp() { softcuda::collective<int>(0, [](const int*, int* r) { std::memset(r, 0, sizeof(int) * kWarp); }); }

DEVICE u32 shuffle_xor(u32 value, int mask)
{
    struct Ask { u32 value; int mask; };
    return softcuda::collective<u32>(Ask{value, mask}, [](const Ask* asked, u32* r) { for (int i = 0; i < kWarp; i++) r[i] = asked[i ^ asked[i].mask].value; });
}

DEVICE u32 shuffle(u32 value, int lane)
{
    struct Ask { u32 value; int lane; };
    return softcuda::collective<u32>(Ask{value, lane}, [](const Ask* asked, u32* r) { for (int i = 0; i < kWarp; i++) r[i] = asked[asked[i].lane % kWarp].value; });
}

DEVICE u32 ballot(bool said)
{
    return softcuda::collective<u32>(said, [](const bool* votes, u32* r) {
        u32 all = 0;
        for (int i = 0; i < kWarp; i++)
            all |= (u32)votes[i] << i;
        for (int i = 0; i < kWarp; i++)
            r[i] = all;
    });
}

DEVICE int bits_set(u32 bits) { return __builtin_popcount(bits); }
DEVICE float bits_to_float(u32 bits) { float v; std::memcpy(&v, &bits, 4); return v; }
DEVICE u32 float_to_bits(float value) { u32 v; std::memcpy(&v, &value, 4); return v; }
DEVICE double bits_to_double(u64 bits) { double v; std::memcpy(&v, &bits, 8); return v; }
DEVICE u64 double_to_bits(double value) { u64 v; std::memcpy(&v, &value, 8); return v; }

DEVICE float multiply_add(float a, float b, float c) { return std::fmaf(a, b, c); }
DEVICE double multiply_add(double a, double b, double c) { return std::fma(a, b, c); }
DEVICE double square_root(double a) { return std::sqrt(a); }
DEVICE float round_up(float a) { return std::ceil(a); }
// As inexact as the instruction may be, so that bounds which forget it fail here too.
DEVICE float exp2_fast(float a) { return a < -126 ? 0 : std::exp2(a) * (1 + 1.5e-7f); }

DEVICE u16 to_half(float value)
{
    u32 bits = float_to_bits(value), sign = bits >> 16 & 0x8000;
    u32 magnitude = bits & 0x7fffffff;
    if (magnitude > 0x7f800000)
        return (u16)(sign | 0x7fff);
    if (magnitude >= 0x477ff000) // rounds to 65,536 or more
        return (u16)(sign | 0x7c00);
    if (magnitude < 0x38800000) // subnormal in fp16: multiples of 2^-24
        return (u16)(sign | (u32)std::nearbyintf(std::fabs(value) * 16777216.0f));
    u32 rounded = magnitude + 0xfff + (magnitude >> 13 & 1);
    return (u16)(sign | ((rounded >> 13) - (112 << 10)));
}
namespace softcuda
{
/// Every fp16 value: the emulated products ask for billions of them.
struct Halves
{
    float values[1 << 16];

    Halves()
    {
        for (u32 half = 0; half < 1 << 16; half++)
            values[half] = convert((u16)half);
    }

private:
    static float convert(u16 half)
    {
        int exponent = half >> 10 & 31;
        float magnitude = exponent == 31 ? ((half & 0x3ff) != 0 ? NAN : INFINITY)
            : exponent == 0 ? std::ldexp((float)(half & 0x3ff), -24) : std::ldexp((float)((half & 0x3ff) | 0x400), exponent - 25);
        return (half & 0x8000) != 0 ? -magnitude : magnitude;
    }
};
inline const Halves halves;
} // namespace softcuda
DEVICE float from_half(u16 half) { return softcuda::halves.values[half]; }

DEVICE int atomic_add(int* at, int value) { int old = *at; *at = old + value; return old; }
DEVICE u64 atomic_add(u64* at, u64 value) { u64 old = *at; *at = old + value; return old; }
DEVICE u32 atomic_min(u32* at, u32 value) { u32 old = *at; *at = value < old ? value : old; return old; }
DEVICE u32 atomic_max(u32* at, u32 value) { u32 old = *at; *at = value > old ? value : old; return old; }

DEVICE int shared_add(int* at, int value) { return atomic_add(at, value); }
DEVICE void shared_min(u32* at, u32 value) { atomic_min(at, value); }

DEVICE void copy_async(void* to, const void* from, int valid = 16) { softcuda::copy_async(to, from, valid); }
DEVICE void copy_async_commit() { softcuda::copy_async_commit(); }
template <int Pending> DEVICE void copy_async_wait() { softcuda::copy_async_wait(Pending); }

DEVICE void load_matrix(u32 (&m)[4], const void* row)
{
    struct Four { u32 value[4]; };
    Four four = softcuda::collective<Four>(row, [](const void* const* rows, Four* r) {
        for (int matrix = 0; matrix < 4; matrix++)
            for (int i = 0; i < kWarp; i++)
                std::memcpy(&r[i].value[matrix], (const u8*)rows[matrix * 8 + i / 4] + i % 4 * 4, 4);
    });
    std::memcpy(m, four.value, sizeof m);
}

namespace softcuda
{
template <class Sum> struct Fragments { Sum sums[4]; u32 a[4], b[2]; };
template <class Sum> struct Sums { Sum value[4]; };

// The fragments of PTX's m16n8k16 (16-bit) and m16n8k32 (8-bit) lie alike in units of 32-bit registers: lane = 4 · group + member;
// register i of a holds row group + 8 · (i % 2), registers-columns member + 4 · (i / 2); register i of b row member + 4i of column group;
// register i of the sums row group + 8 · (i / 2), column 2 · member + i % 2. `dot` adds the products of two registers' values.
template <class Sum, class Dot>
void multiply(const Fragments<Sum>* in, Sums<Sum>* out, Dot dot)
{
    for (int lane = 0; lane < kWarp; lane++)
    {
        for (int i = 0; i < 4; i++)
        {
            int row = lane / 4 + 8 * (i / 2), column = 2 * (lane % 4) + i % 2;
            Sum sum = in[lane].sums[i];
            for (int k = 0; k < 8; k++)
                sum = dot(in[row % 8 * 4 + k % 4].a[row / 8 + 2 * (k / 4)], in[column * 4 + k % 4].b[k / 4], sum);
            out[lane].value[i] = sum;
        }
    }
}
} // namespace softcuda

// fp16 products are exact in fp32; the sums are rounded toward zero here, which is the least that tensor cores are known to do.
DEVICE float add_toward_zero(float a, float b)
{
    double exact = (double)a + b;
    float rounded = (float)exact;
    return std::fabs((double)rounded) > std::fabs(exact) ? std::nextafterf(rounded, 0) : rounded;
}

DEVICE void mma_half(float (&sums)[4], const u32 (&a)[4], u32 b0, u32 b1)
{
    softcuda::Fragments<float> own{{sums[0], sums[1], sums[2], sums[3]}, {a[0], a[1], a[2], a[3]}, {b0, b1}};
    auto result = softcuda::collective<softcuda::Sums<float>>(own, [](const softcuda::Fragments<float>* in, softcuda::Sums<float>* out) {
        softcuda::multiply(in, out, [](u32 a, u32 b, float sum) {
            sum = add_toward_zero(sum, from_half((u16)a) * from_half((u16)b));
            return add_toward_zero(sum, from_half((u16)(a >> 16)) * from_half((u16)(b >> 16)));
        });
    });
    std::memcpy(sums, result.value, sizeof sums);
}

DEVICE void mma_int8(int (&sums)[4], const u32 (&a)[4], u32 b0, u32 b1)
{
    softcuda::Fragments<int> own{{sums[0], sums[1], sums[2], sums[3]}, {a[0], a[1], a[2], a[3]}, {b0, b1}};
    auto result = softcuda::collective<softcuda::Sums<int>>(own, [](const softcuda::Fragments<int>* in, softcuda::Sums<int>* out) {
        softcuda::multiply(in, out, [](u32 a, u32 b, int sum) {
            for (int byte = 0; byte < 32; byte += 8)
                sum += (s8)(a >> byte) * (s8)(b >> byte);
            return sum;
        });
    });
    std::memcpy(sums, result.value, sizeof sums);
}

DEVICE u32 shared_address(const void* p) { return (u32)((const u8*)p - softcuda::block.shared); }

DEVICE void barrier_create(u64* barrier) { softcuda::barrier_create((uint64_t*)barrier); }
DEVICE void barriers_created() {}
DEVICE void barrier_expect(u64* barrier, u32 bytes) { softcuda::barrier_expect((uint64_t*)barrier, bytes); }
DEVICE void barrier_wait(u64* barrier, u32 parity) { softcuda::barrier_wait((uint64_t*)barrier, parity); }
DEVICE void copy_bulk(void* to, const void* from, u32 bytes, u64* barrier) { softcuda::copy_bulk({to, from, bytes, (uint64_t*)barrier}); }

namespace softcuda
{
/// 16 bytes of a tile as a descriptor names it: the 128-byte swizzle exchanges address bits 4–6 with bits 7–9 on top.
DEVICE const u8* chunk(u64 descriptor, int row, int index)
{
    if (descriptor >> 62 != 1 || (descriptor >> 32 & 0x3fff) != 64)
        fail("a tile's descriptor has another layout than 128-byte swizzle with groups 1,024 bytes apart");
    u32 address = (u32)(descriptor & 0x3fff) * 16 + (u32)(row / 8 * 1024 + row % 8 * 128 + index * 16);
    return block.shared + (address ^ (address >> 7 & 7) << 4);
}

/// A thread's share of 64 × 256 sums: of fragment j rows 16 · warp + lane / 4 + 8h, columns 8j + 2 · (lane % 4) + c.
template <class Sum, class Dot>
void multiply_group(const GroupProduct& product, Dot dot)
{
    auto& sums = *(Sum(*)[32][4])product.sums;
    int lane = thread % kWarp, warp = thread / kWarp % 4;
    for (int j = 0; j < 32; j++)
    {
        for (int i = 0; i < 4; i++)
        {
            int row = 16 * warp + lane / 4 + i / 2 * 8, column = 8 * j + 2 * (lane % 4) + i % 2;
            Sum sum = sums[j][i];
            for (int part = 0; part < 2; part++)
                sum = dot(chunk(product.a, row, part), chunk(product.b, column, part), sum);
            sums[j][i] = sum;
        }
    }
}
} // namespace softcuda

DEVICE void group_fence() {}
DEVICE void group_commit() { softcuda::group_commit(); }
template <int Pending> DEVICE void group_wait() { softcuda::group_wait(Pending); }

DEVICE void group_mma_half(float (&sums)[32][4], u64 a, u64 b)
{
    softcuda::group_multiply({[](const softcuda::GroupProduct& product) {
        softcuda::multiply_group<float>(product, [](const u8* x, const u8* y, float sum) {
            for (int i = 0; i < 8; i++)
                sum = add_toward_zero(sum, from_half(((const u16*)x)[i]) * from_half(((const u16*)y)[i]));
            return sum;
        });
    }, sums, a, b});
}

DEVICE void group_mma_int8(int (&sums)[32][4], u64 a, u64 b)
{
    softcuda::group_multiply({[](const softcuda::GroupProduct& product) {
        softcuda::multiply_group<int>(product, [](const u8* x, const u8* y, int sum) {
            for (int i = 0; i < 16; i++)
                sum += (s8)x[i] * (s8)y[i];
            return sum;
        });
    }, sums, a, b});
}

DEVICE void settled(float&) {}
DEVICE void settled(int&) {}
