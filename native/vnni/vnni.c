// The tiles of kernels/MmeSid.Kernels/Simd/IntegerProduct.cs with AVX-512 VNNI: 24 rows × 16 codewords at a time, 24 accumulators and one vector of
// codewords, each row's word broadcast by the instruction that multiplies it.
//
//   rows     [words][24] 32-bit words: four s8 (int8) or two s16 (int16) values of a row each
//   panels   [panels][words][16] 32-bit words: four u8 (the codeword's s8 + 128) or two s16 values of a codeword each
//   products [24][stride] s32: products[r, 16 p + c] = Σ rows[r] · panels[p, c], modulo 2^32
//
// In assembly because that is what it has to be: compilers keep the accumulators in registers or not as they like (gcc 12: 0.4 ×, clang 19: 0.8 × this).
// Callers check that the processor has AVX512F and AVX512_VNNI. Each function returns the number of its interface.

#include <stdint.h>

#if defined(_WIN32)
#define EXPORT __declspec(dllexport)
#else
#define EXPORT __attribute__((visibility("default")))
#endif

enum { kInterface = 1 };

#define ROW(op, step, r) #op " " #step "*96+" #r "*4(%[rows])%{1to16%}, %%zmm31, %%zmm" #r "\n\t"
#define STEP(op, s) \
    "vmovdqu64 " #s "*64(%[panel]), %%zmm31\n\t" \
    ROW(op, s, 0) ROW(op, s, 1) ROW(op, s, 2) ROW(op, s, 3) ROW(op, s, 4) ROW(op, s, 5) ROW(op, s, 6) ROW(op, s, 7) \
    ROW(op, s, 8) ROW(op, s, 9) ROW(op, s, 10) ROW(op, s, 11) ROW(op, s, 12) ROW(op, s, 13) ROW(op, s, 14) ROW(op, s, 15) \
    ROW(op, s, 16) ROW(op, s, 17) ROW(op, s, 18) ROW(op, s, 19) ROW(op, s, 20) ROW(op, s, 21) ROW(op, s, 22) ROW(op, s, 23)
#define ZERO(r) "vpxord %%zmm" #r ", %%zmm" #r ", %%zmm" #r "\n\t"
#define STORE(r) "vmovdqu64 %%zmm" #r ", (%[to])\n\tadd %[bytes], %[to]\n\t"
#define ALL(what) \
    what(0) what(1) what(2) what(3) what(4) what(5) what(6) what(7) what(8) what(9) what(10) what(11) \
    what(12) what(13) what(14) what(15) what(16) what(17) what(18) what(19) what(20) what(21) what(22) what(23)

#define TILES(name, op) \
    EXPORT int name(const int32_t* rows, const int32_t* panels, int64_t words, int64_t count, int32_t* products, int64_t stride) \
    { \
        for (int64_t p = 0; p < count; p++) \
        { \
            const int32_t *row = rows, *panel = panels + p * words * 16; \
            int32_t* to = products + p * 16; \
            int64_t pairs = words / 2, bytes = stride * 4; \
            __asm__ volatile( \
                ALL(ZERO) \
                "test %[pairs], %[pairs]\n\t" \
                "jz 2f\n\t" \
                ".p2align 5\n\t" \
                "1:\n\t" \
                STEP(op, 0) STEP(op, 1) \
                "add $128, %[panel]\n\t" \
                "add $192, %[rows]\n\t" \
                "dec %[pairs]\n\t" \
                "jnz 1b\n\t" \
                "2:\n\t" \
                "test $1, %[words]\n\t" \
                "jz 3f\n\t" \
                STEP(op, 0) \
                "3:\n\t" \
                ALL(STORE) \
                "vzeroupper\n\t" \
                : [rows] "+r"(row), [panel] "+r"(panel), [pairs] "+r"(pairs), [to] "+r"(to) \
                : [bytes] "r"(bytes), [words] "r"(words) \
                : "memory", "cc", "xmm0", "xmm1", "xmm2", "xmm3", "xmm4", "xmm5", "xmm6", "xmm7", "xmm8", "xmm9", "xmm10", "xmm11", "xmm12", "xmm13", "xmm14", "xmm15" \
                  VECTORS_16_TO_31); \
        } \
        return kInterface; \
    }

// Only a compiler that uses them itself knows their names.
#if defined(__AVX512F__)
#define VECTORS_16_TO_31 , "xmm16", "xmm17", "xmm18", "xmm19", "xmm20", "xmm21", "xmm22", "xmm23", "xmm24", "xmm25", "xmm26", "xmm27", "xmm28", "xmm29", "xmm30", "xmm31"
#else
#define VECTORS_16_TO_31
#endif

TILES(mmesid_int8_tiles, vpdpbusd)
TILES(mmesid_int16_tiles, vpdpwssd)
