// The golden file of a model's folder: texts, and the model's outputs for them when it was made.
#pragma once
#include "base/status.h"

// Pointers go into the file, which must stay open.
typedef struct {
    size_t count, width, labels;           // labels 0: no logits
    const char *texts, *pairs;             // the texts one after the other
    const uint8_t *offsets, *pair_offsets; // int64 [count + 1], unaligned
    const uint8_t *has_pair;               // [count]
    const uint8_t *vectors, *logits;       // float32 [count, width], [count, labels], unaligned
} qn_golden;

struct qn_safetensors;
// Checks every shape and offset of an open file.
qn_status qn_golden_read(const struct qn_safetensors *file, qn_golden *out);
void qn_golden_text(const qn_golden *golden, size_t index, qn_text *text);
