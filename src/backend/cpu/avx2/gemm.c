// See vector/gemm.inc.h. Twelve sums, two vectors of B and the broadcast fill the sixteen registers.
#include "backend/cpu/avx2/vec.h"
#include "backend/cpu/vector/math.inc.h"

#define TILE_ROWS 6
#define TILE_EACH(X) X(1) X(2) X(3) X(4) X(5) X(6)
typedef v_float g_sum;
#define g_zero v_zero
#define G_STEP(sum, a, b) v_fma(a, b, sum)
#define g_bits(sum) (sum)
#define g_from(bits) (bits)
#define g_columns int
#define g_columns_of(g, column, n) 0
#define G_VALUE(g, columns, row, bits) ((void)(columns), (bits))
#define G_RAW true
#define G_AHEAD true
#define GEMM QN_V_NAME(gemm)
#include "backend/cpu/vector/gemm.inc.h"
