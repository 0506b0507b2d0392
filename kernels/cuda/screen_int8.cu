// screen, int8: operands in multiples of a quantum per row and one for all codewords, sums exact in int32 (mma m16n8k32).

#include "screen_mma.h"

SCREENS_OF_EVERY_SHAPE(screen_int8, int, 1)
