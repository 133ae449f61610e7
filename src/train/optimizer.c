// p -= rate decay p; m = b1 m + (1 - b1) g; v = b2 v + (1 - b2) g^2; p -= rate (m / (1 - b1^t)) / (sqrt(v / (1 - b2^t))
// + eps) (Loshchilov & Hutter 2019, as torch.optim.AdamW; the update itself is the backend's adamw.)
//
// A row without a gradient takes the same update with g = 0, only later (adamw_idle): all updates that it missed, one
// after the other, while it is in the cache. After idle_limit of them the first moment is below a millionth of what it
// was and counts as zero. That is a rule of the updates since the row's last gradient, so that it does not matter to
// the bits when a row catches up.
#include "train/optimizer.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { MOST_MISSED = 1024, MOST_IDLE = 1 << 24 }; // all rows catch up after MOST_MISSED updates
static const double LEAST_MOMENTUM = 1e-6;

// --- Runs of neighbouring entries that share an update; frozen ones and tables by rows are left out.

typedef struct {
    size_t first, end; // floats
    size_t slot;       // of `first` in gradients and moments
    const qn_parameter *parameter;
} run;

static bool next_run(const qn_parameters *set, size_t *at, run *r) {
    while (*at < set->count && (set->items[*at]->frozen || set->items[*at]->by_rows)) ++*at;
    if (*at == set->count) return false;
    const qn_parameter *p = set->items[*at];
    *r = (run){p->offset, qn_parameters_end(set, *at), p->slot, p};
    for (++*at; *at < set->count; ++*at) {
        const qn_parameter *q = set->items[*at];
        if (q->frozen || q->by_rows || q->decay != p->decay || q->layer != p->layer) break;
        r->end = qn_parameters_end(set, *at);
    }
    return true;
}

// --- Opening

static qn_status add_table(qn_optimizer *o, qn_parameter *p) {
    qn_lazy_table *t = &o->tables[o->table_count++];
    size_t rows = p->tensor.used->size;
    *t = (qn_lazy_table){p, qn_calloc(rows, sizeof *t->updated), qn_malloc(rows, sizeof *t->trained),
                         qn_malloc(MOST_MISSED, sizeof *t->missed)};
    if (!t->updated || !t->trained || !t->missed) return QN_ERROR_MEMORY;
    for (size_t r = 0; r < rows; r++) t->trained[r] = -o->idle_limit;
    return QN_OK;
}

static qn_status open_tables(qn_optimizer *o) {
    size_t count = 0, largest = 0;
    for (size_t i = 0; i < o->set->count; i++) {
        const qn_parameter *p = o->set->items[i];
        if (p->layer > o->top) o->top = p->layer;
        if (!p->by_rows || p->frozen) continue;
        count++;
        if (p->tensor.used->size > largest) largest = p->tensor.used->size;
    }
    o->tables = qn_calloc(count, sizeof *o->tables);
    o->rows = qn_malloc(largest, sizeof *o->rows);
    o->behind = qn_malloc(largest, sizeof *o->behind);
    o->live = qn_malloc(largest, sizeof *o->live);
    if (!o->tables || !o->rows || !o->behind || !o->live) return QN_ERROR_MEMORY;
    for (size_t i = 0; i < o->set->count; i++) {
        qn_parameter *p = o->set->items[i];
        if (p->by_rows && !p->frozen) QN_TRY(add_table(o, p));
    }
    return QN_OK;
}

qn_status qn_optimizer_create(qn_backend *backend, qn_parameters *set, const qn_optimizer_options *options,
                              qn_optimizer **out) {
    *out = NULL;
    qn_optimizer *o = qn_calloc(1, sizeof *o);
    if (!o) return QN_ERROR_MEMORY;
    *o = (qn_optimizer){.options = *options, .backend = backend, .set = set};
    if (options->beta1 > 0) // a checkpoint keeps numbers up to it as float32
        o->idle_limit = (int64_t)fmin(ceil(log(LEAST_MOMENTUM) / log(options->beta1)), MOST_IDLE);
    qn_status status = open_tables(o);
    if (status == QN_OK)
        *out = o;
    else
        qn_optimizer_free(o);
    return status;
}

void qn_optimizer_free(qn_optimizer *o) {
    if (!o) return;
    for (size_t i = 0; i < o->table_count; i++) {
        free(o->tables[i].updated);
        free(o->tables[i].trained);
        free(o->tables[i].missed);
    }
    free(o->tables);
    free(o->rows);
    free(o->behind);
    free(o->live);
    free(o);
}

// --- Rows of tables

static qn_adamw_rows rows_of(const qn_optimizer *o, const qn_lazy_table *t, size_t rows, const int32_t *index) {
    const qn_parameter *p = t->parameter;
    return (qn_adamw_rows){rows,           qn_width(&p->tensor),        index,
                           p->tensor.data, o->set->moment1 + p->slot, o->set->moment2 + p->slot};
}

// The rows of o->rows take all updates so far.
static void catch_up(qn_optimizer *o, qn_lazy_table *t, size_t count) {
    for (size_t i = 0; i < count; i++) {
        size_t r = (size_t)o->rows[i];
        int64_t behind = o->updates - t->updated[r], left = o->idle_limit - (t->updated[r] - t->trained[r]);
        o->behind[i] = (int32_t)behind;
        o->live[i] = (int32_t)(left < 0 ? 0 : left < behind ? left : behind);
        t->updated[r] = o->updates;
    }
    qn_adamw_rows rows = rows_of(o, t, count, o->rows);
    qn_adamw_missed missed = {o->behind, o->live, t->missed, o->missed_count};
    if (count) o->backend->ops->adamw_idle(o->backend, &missed, &rows);
}

qn_status qn_optimizer_use(qn_optimizer *o, const qn_tensor *table, size_t count, const int32_t *ids) {
    qn_lazy_table *t = o->tables, *end = o->tables + o->table_count;
    while (t < end && &t->parameter->tensor != table) t++;
    if (t == end) return QN_OK;
    qn_used_rows *used = t->parameter->tensor.used;
    for (size_t i = 0; i < count; i++)
        if (ids[i] < 0 || (size_t)ids[i] >= used->size)
            return qn_fail(QN_ERROR_ARGUMENT, "%s: row %d (expected 0 to %zu)", t->parameter->name, ids[i],
                           used->size - 1);
    size_t first = qn_used_rows_add(used, count, ids), fresh = used->count - first, d = qn_width(table);
    o->backend->ops->zero(o->backend, table->grad + first * d, fresh * d);
    memcpy(o->rows, used->rows + first, fresh * sizeof *o->rows);
    catch_up(o, t, fresh);
    return o->backend->status;
}

void qn_optimizer_settle(qn_optimizer *o) {
    for (size_t i = 0; i < o->table_count; i++) {
        qn_lazy_table *t = &o->tables[i];
        size_t count = 0;
        for (size_t r = 0; r < t->parameter->tensor.used->size; r++)
            if (t->updated[r] < o->updates) o->rows[count++] = (int32_t)r;
        catch_up(o, t, count);
    }
    o->missed_count = 0;
}

// --- Updates

double qn_optimizer_norm(qn_optimizer *o) {
    double sum = 0;
    run r;
    for (size_t at = 0; next_run(o->set, &at, &r);)
        sum += o->backend->ops->sum_squares(o->backend, r.end - r.first, o->set->grads + r.slot);
    for (size_t i = 0; i < o->table_count; i++) {
        const qn_tensor *table = &o->tables[i].parameter->tensor;
        sum += o->backend->ops->sum_squares(o->backend, table->used->count * qn_width(table), table->grad);
    }
    return sqrt(sum);
}

static qn_adamw update_of(const qn_optimizer *o, const qn_parameter *p, double learning_rate, double scale) {
    qn_adamw_options f = {.learning_rate = learning_rate * pow(o->options.layer_decay, o->top - p->layer),
                          .beta1 = o->options.beta1,
                          .beta2 = o->options.beta2,
                          .epsilon = o->options.eps,
                          .weight_decay = p->decay ? o->options.weight_decay : 0};
    return qn_adamw_update(&f, o->updates, scale);
}

static void update_table(qn_optimizer *o, qn_lazy_table *t, double learning_rate, double scale) {
    qn_used_rows *used = t->parameter->tensor.used;
    qn_adamw f = update_of(o, t->parameter, learning_rate, scale);
    qn_adamw_rows rows = rows_of(o, t, used->count, used->rows);
    o->backend->ops->adamw_rows(o->backend, &f, &rows, t->parameter->tensor.grad);
    for (size_t i = 0; i < used->count; i++) t->updated[used->rows[i]] = t->trained[used->rows[i]] = o->updates;
    t->missed[o->missed_count] = f;
    qn_used_rows_clear(used);
}

void qn_optimizer_step(qn_optimizer *o, double learning_rate, double scale) {
    qn_parameters *set = o->set;
    run r;
    o->updates++;
    for (size_t at = 0; next_run(set, &at, &r);) {
        qn_adamw f = update_of(o, r.parameter, learning_rate, scale);
        o->backend->ops->adamw(o->backend, &f, r.end - r.first, set->values + r.first, set->grads + r.slot,
                               set->moment1 + r.slot, set->moment2 + r.slot);
    }
    for (size_t i = 0; i < o->table_count; i++) update_table(o, &o->tables[i], learning_rate, scale);
    if (++o->missed_count == MOST_MISSED) qn_optimizer_settle(o);
}

void qn_optimizer_skip(qn_optimizer *o) {
    run r;
    for (size_t at = 0; next_run(o->set, &at, &r);)
        o->backend->ops->zero(o->backend, o->set->grads + r.slot, r.end - r.first);
    for (size_t i = 0; i < o->table_count; i++) qn_used_rows_clear(o->tables[i].parameter->tensor.used);
}

// --- Checkpoints

void qn_optimizer_save_idle(const qn_optimizer *o, size_t table, float *idle) {
    const qn_lazy_table *t = &o->tables[table];
    for (size_t r = 0; r < t->parameter->tensor.used->size; r++) {
        int64_t since = o->updates - t->trained[r];
        idle[r] = (float)(since < o->idle_limit ? since : o->idle_limit);
    }
}

void qn_optimizer_restore(qn_optimizer *o, int64_t updates) {
    o->updates = updates;
    o->missed_count = 0;
    for (size_t i = 0; i < o->table_count; i++) {
        size_t rows = o->tables[i].parameter->tensor.used->size;
        for (size_t r = 0; r < rows; r++) o->tables[i].updated[r] = o->tables[i].trained[r] = updates;
    }
}

qn_status qn_optimizer_restore_idle(qn_optimizer *o, size_t table, const float *idle) {
    qn_lazy_table *t = &o->tables[table];
    for (size_t r = 0; r < t->parameter->tensor.used->size; r++) {
        if (!(idle[r] >= 0 && idle[r] <= (float)o->idle_limit && idle[r] == floorf(idle[r])))
            return qn_fail(QN_ERROR_FORMAT, "%s: row %zu had no gradient for %g updates (expected 0 to %lld)",
                           t->parameter->name, r, idle[r], (long long)o->idle_limit);
        t->trained[r] = o->updates - (int64_t)idle[r];
    }
    return QN_OK;
}
