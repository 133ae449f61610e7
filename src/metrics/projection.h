// Vectors as points of a plane: along their first two principal components.
#pragma once
#include "base/status.h"

// Vectors as they are shown.
typedef struct {
    double *x, *y;    // [points]
    int32_t *classes; // [points], -1 for none
    size_t points, width; // of the vectors
    double share[2];      // of the variance that each axis shows; 0: the vectors have two numbers or one
    const char *const *names; // [name_count] of classes
    size_t name_count;
} qn_plane;

// Points [rows, 2] of vectors x [rows, d], less their mean. share: of the variance that each of the two axes shows. A
// vector of one number gets 0 as its second. Each axis points where its largest entry is positive.
qn_status qn_principal_plane(const float *x, size_t rows, size_t d, float *points, double share[2]);
