// The table of the reference kernels.
#include "backend/cpu/ref/ref.h"

void qn_kernels_ref(qn_kernels *table) {
    table->name = "ref";
    table->panel_width = QN_REF_PANEL_WIDTH;
#define QN_SET(kernel, result, parameters) table->kernel = qn_ref_##kernel;
    QN_KERNEL_MAP(QN_SET)
    QN_NARROW_KERNEL_MAP(QN_SET)
#undef QN_SET
}
