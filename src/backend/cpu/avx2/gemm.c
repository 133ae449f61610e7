// See vector/gemm.inc.h. Twelve sums, two vectors of B and the broadcast fill the sixteen registers.
#include "backend/cpu/avx2/vec.h"
#include "backend/cpu/vector/math.inc.h"
#define TILE_ROWS 6
#define TILE_EACH(X) X(1) X(2) X(3) X(4) X(5) X(6)
#include "backend/cpu/vector/gemm.inc.h"
