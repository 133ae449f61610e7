// See vector/gemm.inc.h. Twenty-eight sums and two vectors of B leave two of the thirty-two registers for broadcasts.
#include "backend/cpu/avx512/gemm.h"

typedef v_float g_sum;
#define g_zero v_zero
#define G_STEP(sum, a, b) v_fma(a, b, sum)
#define g_bits(sum) (sum)
#define g_from(bits) (bits)
#define g_columns int
#define g_columns_of(g, column, n) 0
#define G_VALUE(g, columns, row, bits) ((void)(columns), (bits))
#define G_RAW true
#define G_AHEAD false
#define GEMM QN_V_NAME(gemm)
#include "backend/cpu/vector/gemm.inc.h"
