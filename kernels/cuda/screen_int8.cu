// screen, int8: operands in multiples of a quantum per row, exact sums on tensor cores (mma m16n8k32); |sum| < 2^31 up to depth 2^17.

#include "screen_mma.h"

KERNEL(mma::kThreads) screen_int8(ScreenArguments a) { mma::screen<int>(a, a.depth); }
EXPORT(screen_int8)
