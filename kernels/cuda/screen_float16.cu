// screen, fp16: operands scaled by powers of two, products and sums on tensor cores with float32 accumulators (mma m16n8k16).

#include "screen_mma.h"

SCREENS_OF_EVERY_SHAPE(screen_float16, float, 2)
