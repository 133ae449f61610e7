// See vector/gemm.inc.h. AVX512_BF16: a lane of a step adds the products of two pairs of bf16 to a float32.
#include "backend/cpu/avx512/gemm.h"

typedef v_float g_sum;
#define g_zero v_zero
#define G_STEP(sum, a, b) _mm512_dpbf16_ps(sum, (__m512bh)(a), (__m512bh)(b))
#define g_bits(sum) (sum)
#define g_from(bits) (bits)
#define g_columns int
#define g_columns_of(g, column, n) 0
#define G_VALUE(g, columns, row, bits) ((void)(columns), (bits))
#define G_RAW true
#define G_AHEAD false
#define GEMM QN_V_NAME(gemm_bf16)
#include "backend/cpu/vector/gemm.inc.h"
