// See onednn.h.
#include "backend/cpu/onednn.h"
#include "base/memory.h"
#include <oneapi/dnnl/dnnl.h>
#include <stdlib.h>
#include <string.h>

// oneDNN's OpenMP runtime: one thread per call, since the caller's tasks are the threads.
extern void omp_set_num_threads(int count);
extern int omp_get_max_threads(void);

// --- What differs between 2.x and 3.x: memory descriptors became handles, and a primitive's descriptor is made in one
// step.
#if DNNL_VERSION_MAJOR >= 3
typedef dnnl_memory_desc_t description;
typedef const_dnnl_memory_desc_t description_view;
static bool describe(description *md, int64_t rows, int64_t columns, dnnl_data_type_t type, const int64_t *strides) {
    const dnnl_dims_t dims = {rows, columns};
    if (strides) return dnnl_memory_desc_create_with_strides(md, 2, dims, type, strides) == dnnl_success;
    return dnnl_memory_desc_create_with_tag(md, 2, dims, type, dnnl_format_tag_any) == dnnl_success;
}
static void forget(description *md) {
    if (*md) dnnl_memory_desc_destroy(*md);
}
static description_view view(const description *md) {
    return *md;
}
static size_t bytes_of(description_view md) {
    return dnnl_memory_desc_get_size(md);
}
static bool make_matmul(dnnl_primitive_desc_t *pd, dnnl_engine_t engine, const description *x, const description *w,
                        const description *y, dnnl_primitive_attr_t attributes) {
    return dnnl_matmul_primitive_desc_create(pd, engine, *x, *w, NULL, *y, attributes) == dnnl_success;
}
#else
typedef dnnl_memory_desc_t description;
typedef const dnnl_memory_desc_t *description_view;
static bool describe(description *md, int64_t rows, int64_t columns, dnnl_data_type_t type, const int64_t *strides) {
    const dnnl_dims_t dims = {rows, columns};
    if (strides) return dnnl_memory_desc_init_by_strides(md, 2, dims, type, strides) == dnnl_success;
    return dnnl_memory_desc_init_by_tag(md, 2, dims, type, dnnl_format_tag_any) == dnnl_success;
}
static void forget(description *md) {
    (void)md;
}
static description_view view(const description *md) {
    return md;
}
static size_t bytes_of(description_view md) {
    return dnnl_memory_desc_get_size(md);
}
static bool make_matmul(dnnl_primitive_desc_t *pd, dnnl_engine_t engine, const description *x, const description *w,
                        const description *y, dnnl_primitive_attr_t attributes) {
    dnnl_matmul_desc_t matmul;
    return dnnl_matmul_desc_init(&matmul, x, w, NULL, y) == dnnl_success &&
           dnnl_primitive_desc_create(pd, &matmul, attributes, engine, NULL) == dnnl_success;
}
#endif

// The memory objects of one worker: oneDNN's own allocate at each call otherwise.
typedef struct {
    dnnl_memory_t source, result, scratch;
} worker_memory;

typedef struct {
    size_t first, count;
    dnnl_primitive_t primitive;
    dnnl_memory_t weight;
    worker_memory *workers;
} group;

struct qn_narrow {
    dnnl_engine_t engine;
    dnnl_stream_t stream;
    qn_compute compute;
    size_t out, in, groups, scratch;
    int worker_count;
    group *group;
};

static bool reorder(qn_narrow *n, const description *from, void *data, group *g, description_view to) {
    dnnl_memory_t source = NULL;
    dnnl_primitive_desc_t pd = NULL;
    dnnl_primitive_t primitive = NULL;
    bool ok = dnnl_memory_create(&source, view(from), n->engine, data) == dnnl_success &&
              dnnl_memory_create(&g->weight, to, n->engine, DNNL_MEMORY_ALLOCATE) == dnnl_success &&
              dnnl_reorder_primitive_desc_create(&pd, view(from), n->engine, to, n->engine, NULL) == dnnl_success &&
              dnnl_primitive_create(&primitive, pd) == dnnl_success;
    if (ok) {
        dnnl_exec_arg_t arguments[2] = {{DNNL_ARG_FROM, source}, {DNNL_ARG_TO, g->weight}};
        ok = dnnl_primitive_execute(primitive, n->stream, 2, arguments) == dnnl_success &&
             dnnl_stream_wait(n->stream) == dnnl_success;
    }
    if (primitive) dnnl_primitive_destroy(primitive);
    if (pd) dnnl_primitive_desc_destroy(pd);
    if (source) dnnl_memory_destroy(source);
    return ok;
}

static description_view query(dnnl_primitive_desc_t pd, dnnl_query_t what) {
    return dnnl_primitive_desc_query_md(pd, what, 0);
}

static bool make_group(qn_narrow *n, group *g, const void *weight, dnnl_primitive_attr_t attributes) {
    bool bf16 = n->compute == QN_DTYPE_BF16;
    int64_t k = (int64_t)n->in, columns = (int64_t)g->count, row = QN_NARROW_ROWS;
    description x = {0}, w = {0}, y = {0}, plain = {0};
    dnnl_primitive_desc_t pd = NULL;
    bool ok = describe(&x, row, k, bf16 ? dnnl_bf16 : dnnl_u8, (const dnnl_dims_t){k, 1}) &&
              describe(&w, k, columns, bf16 ? dnnl_bf16 : dnnl_s8, NULL) &&
              describe(&y, row, columns, bf16 ? dnnl_f32 : dnnl_s32, (const dnnl_dims_t){columns, 1}) &&
              describe(&plain, k, columns, bf16 ? dnnl_f32 : dnnl_s8, (const dnnl_dims_t){1, k}) &&
              make_matmul(&pd, n->engine, &x, &w, &y, attributes) &&
              dnnl_primitive_create(&g->primitive, pd) == dnnl_success;
    if (ok) {
        void *data = (void *)((uintptr_t)weight + g->first * n->in * (bf16 ? sizeof(float) : 1));
        ok = reorder(n, &plain, data, g, query(pd, dnnl_query_weights_md));
    }
    description_view scratch = ok ? query(pd, dnnl_query_scratchpad_md) : NULL;
    if (ok && bytes_of(scratch) > n->scratch) n->scratch = bytes_of(scratch);
    for (int i = 0; ok && i < n->worker_count; i++)
        ok = dnnl_memory_create(&g->workers[i].source, view(&x), n->engine, DNNL_MEMORY_NONE) == dnnl_success &&
             dnnl_memory_create(&g->workers[i].result, view(&y), n->engine, DNNL_MEMORY_NONE) == dnnl_success &&
             dnnl_memory_create(&g->workers[i].scratch, scratch, n->engine, DNNL_MEMORY_NONE) == dnnl_success;
    if (pd) dnnl_primitive_desc_destroy(pd);
    forget(&x), forget(&w), forget(&y), forget(&plain);
    return ok;
}

// Groups of equal size where that divides.
static qn_status make_groups(qn_narrow *n, const void *weight) {
    size_t pieces = (n->out + QN_NARROW_COLUMNS - 1) / QN_NARROW_COLUMNS, size = (n->out + pieces - 1) / pieces;
    n->groups = (n->out + size - 1) / size;
    n->group = qn_calloc(n->groups, sizeof *n->group);
    if (!n->group) return QN_ERROR_MEMORY;
    dnnl_primitive_attr_t attributes = NULL;
    bool ok = dnnl_engine_create(&n->engine, dnnl_cpu, 0) == dnnl_success &&
              dnnl_stream_create(&n->stream, n->engine, dnnl_stream_default_flags) == dnnl_success &&
              dnnl_primitive_attr_create(&attributes) == dnnl_success &&
              dnnl_primitive_attr_set_scratchpad_mode(attributes, dnnl_scratchpad_mode_user) == dnnl_success;
    for (size_t i = 0; ok && i < n->groups; i++) {
        group *g = &n->group[i];
        g->first = i * size;
        g->count = n->out - g->first < size ? n->out - g->first : size;
        g->workers = qn_calloc((size_t)n->worker_count, sizeof *g->workers);
        ok = g->workers && make_group(n, g, weight, attributes);
    }
    if (attributes) dnnl_primitive_attr_destroy(attributes);
    return ok ? QN_OK : qn_fail(QN_ERROR_MEMORY, "oneDNN cannot prepare a product of [%zu, %zu]", n->out, n->in);
}

qn_status qn_narrow_create(const void *weight, size_t out, size_t in, qn_compute compute, int workers,
                           qn_narrow **out_weight) {
    *out_weight = NULL;
    qn_narrow *n = qn_calloc(1, sizeof *n);
    if (!n) return QN_ERROR_MEMORY;
    n->compute = compute;
    n->out = out;
    n->in = in;
    n->worker_count = workers;
    int threads = omp_get_max_threads();
    omp_set_num_threads(1); // also decides how oneDNN blocks
    qn_status status = make_groups(n, weight);
    omp_set_num_threads(threads);
    if (status == QN_OK)
        *out_weight = n;
    else
        qn_narrow_free(n);
    return status;
}

void qn_narrow_free(qn_narrow *n) {
    if (!n) return;
    for (size_t i = 0; n->group && i < n->groups; i++) {
        group *g = &n->group[i];
        for (int w = 0; g->workers && w < n->worker_count; w++) {
            if (g->workers[w].source) dnnl_memory_destroy(g->workers[w].source);
            if (g->workers[w].result) dnnl_memory_destroy(g->workers[w].result);
            if (g->workers[w].scratch) dnnl_memory_destroy(g->workers[w].scratch);
        }
        free(g->workers);
        if (g->weight) dnnl_memory_destroy(g->weight);
        if (g->primitive) dnnl_primitive_destroy(g->primitive);
    }
    free(n->group);
    if (n->stream) dnnl_stream_destroy(n->stream);
    if (n->engine) dnnl_engine_destroy(n->engine);
    free(n);
}

bool qn_narrow_multiply(qn_narrow *n, size_t index, int worker, const void *source, void *result, void *scratch) {
    group *g = &n->group[index];
    worker_memory *m = &g->workers[worker];
    int threads = omp_get_max_threads();
    if (threads != 1) omp_set_num_threads(1);
    bool ok = dnnl_memory_set_data_handle(m->source, (void *)(uintptr_t)source) == dnnl_success &&
              dnnl_memory_set_data_handle(m->result, result) == dnnl_success &&
              dnnl_memory_set_data_handle(m->scratch, scratch) == dnnl_success;
    dnnl_exec_arg_t arguments[4] = {{DNNL_ARG_SRC, m->source},
                                    {DNNL_ARG_WEIGHTS, g->weight},
                                    {DNNL_ARG_DST, m->result},
                                    {DNNL_ARG_SCRATCHPAD, m->scratch}};
    ok = ok && dnnl_primitive_execute(g->primitive, n->stream, 4, arguments) == dnnl_success;
    if (threads != 1) omp_set_num_threads(threads);
    return ok;
}

size_t qn_narrow_groups(const qn_narrow *n) {
    return n->groups;
}

void qn_narrow_group(const qn_narrow *n, size_t g, size_t *first, size_t *count) {
    *first = n->group[g].first;
    *count = n->group[g].count;
}

size_t qn_narrow_scratch(const qn_narrow *n) {
    return n->scratch;
}
