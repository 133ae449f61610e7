// The kernels for AVX2, from the formulas of vector/, and their table.
#include "backend/cpu/avx2/vec.h"
#include "backend/cpu/vector/kernels.inc.h"

void qn_kernels_avx2(qn_kernels *table) {
    table->name = "avx2";
    table->panel_width = 2 * V_WIDTH;
#define QN_SET(kernel, result, parameters) table->kernel = QN_V_NAME(kernel);
    QN_KERNEL_MAP(QN_SET)
#undef QN_SET
}
