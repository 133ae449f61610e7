// Vectors as points of a plane: along their first two principal components.
#pragma once
#include "base/status.h"

// Points [rows, 2] of vectors x [rows, d], less their mean. share: of the variance that each of the two axes shows. A
// vector of one number gets 0 as its second. Each axis points where its largest entry is positive.
qn_status qn_principal_plane(const float *x, size_t rows, size_t d, float *points, double share[2]);
