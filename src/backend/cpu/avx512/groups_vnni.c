// See groups.inc.h.
#include "backend/cpu/avx512/vec.h"
void qn_avx512_vnni_gemm_groups(const qn_group_gemm *g);
#define GEMM_GROUPS qn_avx512_vnni_gemm_groups
#include "backend/cpu/avx512/groups.inc.h"

void qn_kernels_avx512_vnni(qn_kernels *table) {
    table->gemm_groups = qn_avx512_vnni_gemm_groups;
}
