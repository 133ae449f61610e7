// What the tests of tiny models share: reading and comparing golden files, and running a case.
#pragma once
#include "models/network.h"
#include "support.h"
#include "train/optimizer.h"
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

// A written file has the tensors of the one that transformers wrote: the same names, shapes and bytes, and no others.
static inline void golden_same_weights(const char *ours_path, const char *theirs_path) {
    qn_weights *ours, *theirs;
    assert_ok(qn_weights_open(ours_path, &ours));
    assert_ok(qn_weights_open(theirs_path, &theirs));
    assert_int_equal(qn_weights_count(ours), qn_weights_count(theirs));
    for (size_t i = 0; i < qn_weights_count(theirs); i++) {
        const qn_st_tensor *want = qn_weights_at(theirs, i), *have = qn_weights_find(ours, want->name);
        if (!have) fail_msg("%s: %s was not written", theirs_path, want->name);
        assert_int_equal(have->dims, want->dims);
        assert_memory_equal(have->shape, want->shape, (size_t)want->dims * sizeof *want->shape);
        assert_memory_equal(have->data, want->data, want->size);
    }
    qn_weights_close(ours);
    qn_weights_close(theirs);
}

// The same of a folder, whose config.json says the same heads.
static inline void golden_written(qn_network *network, const char *name) {
    char original[512], *folder = test_folder();
    snprintf(original, sizeof original, "%s/tests/golden/%s/model.safetensors", QN_SOURCE_DIR, name);
    assert_ok(qn_network_save(network, folder));
    golden_same_weights(folder, original);
    qn_model_config again;
    assert_ok(qn_model_config_read(folder, &again));
    assert_int_equal(again.heads, network->heads);
    qn_model_config_free(&again);
}

// ---- A case: the network of a folder under tests/golden, what transformers made of it, and where it runs

typedef struct {
    char folder[512];
    qn_weights *golden;
    qn_backend *backend;
    qn_context c; // records
    qn_tape tape;
    qn_network *network;     // the test's to load
    qn_optimizer *optimizer; // by golden_train, or NULL
} golden_case;

static inline void golden_open(golden_case *g, const char *name, const char *isa, int threads) {
    char file[600];
    *g = (golden_case){0};
    snprintf(g->folder, sizeof g->folder, "%s/tests/golden/%s", QN_SOURCE_DIR, name);
    snprintf(file, sizeof file, "%s/golden.safetensors", g->folder);
    assert_ok(qn_weights_open(file, &g->golden));
    assert_ok(qn_backend_create_cpu(threads, isa, &g->backend));
    g->c = (qn_context){.backend = g->backend,
                        .arena = qn_arena_create(1 << 20),
                        .records = qn_arena_create(1 << 16),
                        .tape = &g->tape,
                        .loss_scale = 1};
}

// The optimizer of the golden steps, for the network that was loaded.
static inline void golden_train(golden_case *g) {
    qn_optimizer_options options = {0.9, 0.999, 1e-8, 0.01, 1};
    assert_int_equal(g->network->fresh, 0);
    assert_ok(qn_optimizer_create(g->backend, &g->network->parameters, &options, &g->optimizer));
}

static inline void golden_begin_step(golden_case *g) {
    qn_arena_reset(g->c.arena);
    qn_arena_reset(g->c.records);
}

static inline void golden_close(golden_case *g) {
    qn_arena_destroy(g->c.arena);
    qn_arena_destroy(g->c.records);
    qn_optimizer_free(g->optimizer);
    qn_network_free(g->network);
    qn_weights_close(g->golden);
    qn_backend_destroy(g->backend);
}

// How many golden steps there are.
static inline size_t golden_steps(const golden_case *g) {
    const qn_st_tensor *t = qn_weights_find(g->golden, "adamw_losses");
    return t ? (size_t)t->shape[0] : 0;
}

// Packed sequences by the names of their ids (NULL: the test has them) and offsets; types are zeros where there are none.
static inline void golden_tokens(const golden_case *g, const char *ids, const char *offsets, qn_tokens *out) {
    size_t ends;
    *out = (qn_tokens){.ids = ids ? golden_i32(g->golden, ids, NULL) : NULL};
    out->ragged.offsets = golden_i32(g->golden, offsets, &ends);
    out->ragged.sequences = ends - 1;
    out->tokens = (size_t)out->ragged.offsets[ends - 1];
    int32_t *positions = calloc(out->tokens, sizeof *positions);
    for (size_t i = 0; i + 1 < ends; i++)
        for (int32_t t = out->ragged.offsets[i]; t < out->ragged.offsets[i + 1]; t++)
            positions[t] = t - out->ragged.offsets[i];
    out->positions = positions;
    out->types = golden_i32(g->golden, "types", NULL);
    if (!out->types) out->types = calloc(out->tokens, sizeof *out->types);
}

static inline void golden_free_tokens(qn_tokens *tokens) {
    free((void *)tokens->ids);
    free((void *)tokens->types);
    free((void *)tokens->positions);
    free((void *)tokens->ragged.offsets);
}

static inline void golden_check_loss(const golden_case *g, const char *name, size_t step, double loss,
                                     double tolerance) {
    float *expected = golden_f32(g->golden, name, NULL);
    if (!(fabs(loss - expected[step]) <= tolerance * fabs(expected[step])))
        fail_msg("%s on %s: %s %zu is %.8g, expected %.8g", g->folder, qn_backend_isa(g->backend), name, step, loss,
                 expected[step]);
    free(expected);
}

// One golden step, of which the loss was `loss`: its gradients, clipped to length one, and AdamW.
static inline void golden_step(golden_case *g, size_t step, double loss) {
    golden_check_loss(g, "adamw_losses", step, loss, 1e-4);
    assert_ok(qn_backward(&g->c));
    double norm = qn_optimizer_norm(g->optimizer);
    qn_optimizer_step(g->optimizer, 1e-3, norm > 1 ? 1 / (norm + 1e-6) : 1);
}

// Runs a case on every instruction set that this CPU has.
static inline void golden_everywhere(void (*run)(const char *name, const char *isa, int threads), const char *name) {
    static const char *const isas[] = {"ref", "avx2", "avx512"};
    for (int i = 0; i < 3; i++) {
        qn_backend *probe;
        if (qn_backend_create_cpu(1, isas[i], &probe) != QN_OK) continue;
        qn_backend_destroy(probe);
        run(name, isas[i], 1 + i);
    }
}
