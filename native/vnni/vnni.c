// The tiles of kernels/MmeSid.Kernels/Simd/IntegerProduct.cs with AVX-512 VNNI: 24 rows with panels of 16 codewords, 12 rows and two panels at a time.
// (24 rows and one panel, each row's word broadcast by the instruction that multiplies it, is 2 to 4 % slower: it loads twice per cycle.)
//
//   rows     [words][24] 32-bit words: four s8 (int8) or two s16 (int16) values of a row each
//   panels   [count, even][words][16] 32-bit words: four u8 (the codeword's s8 + 128) or two s16 values of a codeword each
//   products [24][stride] s32: products[r, 16 p + c] = Σ rows[r] · panels[p, c], modulo 2^32
//
// In assembly because that is what it has to be: compilers keep the accumulators in registers or not as they like (gcc 12: 0.4 ×, clang 19: 0.8 × this).
// mmesid_int8_ceiling and mmesid_int16_ceiling do nothing but those instructions, 24 a step, at least one step: what the processor can do at most.
//
// Callers check that the processor has AVX512F and AVX512_VNNI. Each function returns the number of its interface.

#include <stdint.h>

#if defined(_WIN32)
#define EXPORT __declspec(dllexport)
#else
#define EXPORT __attribute__((visibility("default")))
#endif

enum { kInterface = 2 };

// zmm0 … 23 accumulate, [row][panel]; zmm24 and 25 hold the panels' words, zmm26 and 27 take turns with a row's.
#define ROW(op, step, r, word, low, high) \
    "vpbroadcastd " #step "*96+" #r "*4(%[rows]), %%zmm" #word "\n\t" \
    #op " %%zmm" #word ", %%zmm24, %%zmm" #low "\n\t" \
    #op " %%zmm" #word ", %%zmm25, %%zmm" #high "\n\t"
#define STEP(op, s) \
    "vmovdqu64 " #s "*64(%[panel]), %%zmm24\n\t" \
    "vmovdqu64 " #s "*64(%[other]), %%zmm25\n\t" \
    ROW(op, s, 0, 26, 0, 1) ROW(op, s, 1, 27, 2, 3) ROW(op, s, 2, 26, 4, 5) ROW(op, s, 3, 27, 6, 7) ROW(op, s, 4, 26, 8, 9) ROW(op, s, 5, 27, 10, 11) \
    ROW(op, s, 6, 26, 12, 13) ROW(op, s, 7, 27, 14, 15) ROW(op, s, 8, 26, 16, 17) ROW(op, s, 9, 27, 18, 19) ROW(op, s, 10, 26, 20, 21) ROW(op, s, 11, 27, 22, 23)
#define ZERO(low, high) "vpxord %%zmm" #low ", %%zmm" #low ", %%zmm" #low "\n\tvpxord %%zmm" #high ", %%zmm" #high ", %%zmm" #high "\n\t"
#define ONES(word) "vpternlogd $255, %%zmm" #word ", %%zmm" #word ", %%zmm" #word "\n\t"
#define STORE(low, high) "vmovdqu64 %%zmm" #low ", (%[to])\n\tvmovdqu64 %%zmm" #high ", 64(%[to])\n\tadd %[bytes], %[to]\n\t"
#define ALL(what) \
    what(0, 1) what(2, 3) what(4, 5) what(6, 7) what(8, 9) what(10, 11) what(12, 13) what(14, 15) what(16, 17) what(18, 19) what(20, 21) what(22, 23)

#define FROM_REGISTERS(op, low, high) #op " %%zmm24, %%zmm25, %%zmm" #low "\n\t" #op " %%zmm24, %%zmm25, %%zmm" #high "\n\t"

// Only a compiler that uses them itself knows their names.
#if defined(__AVX512F__)
#define VECTORS_16_TO_27 , "xmm16", "xmm17", "xmm18", "xmm19", "xmm20", "xmm21", "xmm22", "xmm23", "xmm24", "xmm25", "xmm26", "xmm27"
#else
#define VECTORS_16_TO_27
#endif

#define TILES(name, op) \
    static void name##_12x32(const int32_t* rows, const int32_t* panel, int64_t words, int32_t* to, int64_t stride) \
    { \
        const int32_t* other = panel + words * 16; \
        int64_t pairs = words / 2, bytes = stride * 4; \
        __asm__ volatile( \
            ALL(ZERO) \
            "test %[pairs], %[pairs]\n\t" \
            "jz 2f\n\t" \
            ".p2align 5\n\t" \
            "1:\n\t" \
            STEP(op, 0) STEP(op, 1) \
            "add $128, %[panel]\n\t" \
            "add $128, %[other]\n\t" \
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
            : [rows] "+r"(rows), [panel] "+r"(panel), [other] "+r"(other), [pairs] "+r"(pairs), [to] "+r"(to) \
            : [bytes] "r"(bytes), [words] "r"(words) \
            : "memory", "cc", "xmm0", "xmm1", "xmm2", "xmm3", "xmm4", "xmm5", "xmm6", "xmm7", "xmm8", "xmm9", "xmm10", "xmm11", "xmm12", "xmm13", "xmm14", "xmm15" \
              VECTORS_16_TO_27); \
    } \
    EXPORT int name(const int32_t* rows, const int32_t* panels, int64_t words, int64_t count, int32_t* products, int64_t stride) \
    { \
        for (int64_t p = 0; p < count; p += 2) \
        { \
            for (int64_t r = 0; r < 24; r += 12) \
                name##_12x32(rows + r, panels + p * words * 16, words, products + r * stride + p * 16, stride); \
        } \
        return kInterface; \
    }

#define CEILING(name, op) \
    EXPORT int name(int64_t steps) \
    { \
        __asm__ volatile( \
            ALL(ZERO) ONES(24) ONES(25) \
            ".p2align 5\n\t" \
            "1:\n\t" \
            FROM_REGISTERS(op, 0, 1) FROM_REGISTERS(op, 2, 3) FROM_REGISTERS(op, 4, 5) FROM_REGISTERS(op, 6, 7) FROM_REGISTERS(op, 8, 9) FROM_REGISTERS(op, 10, 11) \
            FROM_REGISTERS(op, 12, 13) FROM_REGISTERS(op, 14, 15) FROM_REGISTERS(op, 16, 17) FROM_REGISTERS(op, 18, 19) FROM_REGISTERS(op, 20, 21) FROM_REGISTERS(op, 22, 23) \
            "dec %[steps]\n\t" \
            "jnz 1b\n\t" \
            "vzeroupper\n\t" \
            : [steps] "+r"(steps) \
            : \
            : "cc", "xmm0", "xmm1", "xmm2", "xmm3", "xmm4", "xmm5", "xmm6", "xmm7", "xmm8", "xmm9", "xmm10", "xmm11", "xmm12", "xmm13", "xmm14", "xmm15" \
              VECTORS_16_TO_27); \
        return kInterface; \
    }

TILES(mmesid_int8_tiles, vpdpbusd)
TILES(mmesid_int16_tiles, vpdpwssd)
CEILING(mmesid_int8_ceiling, vpdpbusd)
CEILING(mmesid_int16_ceiling, vpdpwssd)
