// screen, fp16: operands scaled by powers of two, products and sums on tensor cores with float32 accumulators (mma m16n8k16).

#include "screen_mma.h"

KERNEL(mma::kThreads) screen_float16(ScreenArguments a) { mma::screen<float>(a, a.depth * 2); }
EXPORT(screen_float16)
