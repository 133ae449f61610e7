// Rows of numbers, perhaps with labels: from TSV, CSV, JSON lines, .npy, safetensors and IDX files, in memory. Reading
// and the rest of the interface are public: see quern.h.
#pragma once
#include "data/dataset.h"
#include "data/labels.h"

struct qn_numbers {
    size_t rows, columns;
    size_t picture[3]; // height, width and channels where the file says that a row is one; else zeros
    float *values;     // [rows, columns]
    qn_labels names;
    int32_t *classes; // [rows] into `names`, -1 for none
    uint64_t fingerprint;
    size_t value_capacity, class_capacity;
};

// A data set of them for a loader: rows as sequences of one token, whose numbers a batch gets (qn_batch.numbers). It
// points to `values` [rows, columns], which must outlive it.
qn_status qn_dataset_of_numbers(const qn_numbers *numbers, const float *values, const char *name, qn_dataset *out);
