// What the tests of tiny models share: reading and comparing golden files.
#pragma once
#include "models/network.h"
#include "support.h"
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

// NULL where there is no such tensor; free with free().
static inline int32_t *golden_i32(qn_weights *file, const char *name, size_t *count) {
    const qn_st_tensor *t = qn_weights_find(file, name);
    if (count) *count = 0;
    if (!t) return NULL;
    size_t n = t->size / (t->dtype == QN_ST_I64 ? 8 : 4);
    int32_t *out = malloc(n * sizeof *out);
    for (size_t i = 0; i < n; i++)
        if (t->dtype == QN_ST_I64) {
            int64_t v;
            memcpy(&v, t->data + 8 * i, 8);
            out[i] = (int32_t)v;
        } else
            memcpy(out + i, t->data + 4 * i, 4);
    if (count) *count = n;
    return out;
}

static inline float *golden_f32(qn_weights *file, const char *name, size_t *count) {
    const qn_st_tensor *t = qn_weights_find(file, name);
    if (count) *count = 0;
    if (!t || t->dtype != QN_ST_F32) return NULL;
    size_t n = t->size / 4;
    float *out = malloc(n * sizeof *out);
    qn_st_to_f32(t->dtype, t->data, n, out);
    if (count) *count = n;
    return out;
}

// The largest difference, relative to the largest value.
static inline void golden_compare(qn_weights *file, const char *name, const float *ours, double tolerance) {
    size_t count = 0;
    float *theirs = golden_f32(file, name, &count);
    if (!theirs) fail_msg("golden file has no %s", name);
    double worst = 0, top = 1e-6;
    for (size_t i = 0; i < count; i++) {
        if (!isfinite(theirs[i])) fail_msg("%s: the golden file has %g", name, theirs[i]);
        worst = fmax(worst, fabs((double)ours[i] - theirs[i]));
        top = fmax(top, fabs(theirs[i]));
    }
    // What has gradient zero in exact arithmetic is compared by absolute size: a key bias, and what softmax over the
    // rows does not see, the span head's bias and the last norm's.
    if (strncmp(name, "grad.", 5) == 0 && top < 1e-5) top = 1;
    if (!(worst <= tolerance * top)) fail_msg("%s: differs by %.3g, largest value %.3g", name, worst, top);
    free(theirs);
}

// A written folder has the tensors of the one that transformers wrote: the same names, shapes and bytes, and no others.
static inline void golden_written(qn_network *network, const char *name) {
    char original[512], *folder = test_folder();
    snprintf(original, sizeof original, "%s/tests/golden/%s/model.safetensors", QN_SOURCE_DIR, name);
    assert_ok(qn_network_save(network, folder));
    qn_weights *ours, *theirs;
    assert_ok(qn_weights_open(folder, &ours));
    assert_ok(qn_weights_open(original, &theirs));
    assert_int_equal(qn_weights_count(ours), qn_weights_count(theirs));
    for (size_t i = 0; i < qn_weights_count(theirs); i++) {
        const qn_st_tensor *want = qn_weights_at(theirs, i), *have = qn_weights_find(ours, want->name);
        if (!have) fail_msg("%s: %s was not written", name, want->name);
        assert_int_equal(have->dims, want->dims);
        assert_memory_equal(have->shape, want->shape, (size_t)want->dims * sizeof *want->shape);
        assert_memory_equal(have->data, want->data, want->size);
    }
    qn_weights_close(ours);
    qn_weights_close(theirs);
    qn_model_config again; // and config.json says the same heads
    assert_ok(qn_model_config_read(folder, &again));
    assert_int_equal(again.heads, network->heads);
    qn_model_config_free(&again);
}
