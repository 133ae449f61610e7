// Prototypes of the reference kernels: plain C that says what every other variant must compute.
#pragma once
#include "backend/cpu/kernels.h"

#define QN_REF_PANEL_WIDTH 16

#define QN_REF_PROTOTYPE(name, result, parameters) result qn_ref_##name parameters;
QN_KERNEL_MAP(QN_REF_PROTOTYPE)
QN_NARROW_KERNEL_MAP(QN_REF_PROTOTYPE)
#undef QN_REF_PROTOTYPE
