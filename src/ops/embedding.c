// y[t] = sum over k of table_k[ids_k[t]]        table_k [size_k, d], y [T, d]; the first term may have a factor
// dtable_k[ids_k[t]] += dy[t], or where the gradient has only the rows in use dtable_k[place[ids_k[t]]]
#include "ops/ops.h"
#include "tensor/used_rows.h"

typedef struct {
    qn_embedding_args args;
    const int32_t *gradient_rows[QN_EMBEDDING_TABLES];
    qn_tensor *y;
} record;

static void backward(void *context, void *content) {
    qn_context *c = context;
    record *r = content;
    if (!r->y->has_grad) return;
    r->args.dy = r->y->grad;
    for (size_t k = 0; k < r->args.tables; k++) r->args.ids[k] = r->gradient_rows[k];
    c->backend->ops->embedding_backward(c->backend, &r->args);
}

// Which rows of its gradient a table's ids are, -1 for one that gets none. False, with the failure kept, when a row is
// not in use.
static bool find_places(qn_context *c, const qn_tensor *table, size_t rows, const int32_t *ids, const int32_t *fixed,
                        const int32_t **out) {
    *out = ids;
    if ((!table->used && !fixed) || !table->requires_grad || !qn_taping(c)) return true;
    int32_t *places = qn_arena_alloc(c->records, rows, sizeof *places);
    if (!places) return qn_fail_operation(c, QN_ERROR_MEMORY);
    *out = places;
    for (size_t t = 0; t < rows; t++) {
        places[t] = fixed && ids[t] == *fixed ? -1 : table->used ? table->used->place[ids[t]] : ids[t];
        if (places[t] >= 0 || (fixed && ids[t] == *fixed)) continue;
        qn_fail(QN_ERROR_ARGUMENT, "embedding: row %d of token %zu is not in use (expected qn_optimizer_use before)",
                ids[t], t);
        return qn_fail_operation(c, QN_ERROR_ARGUMENT);
    }
    return true;
}

qn_tensor *qn_embedding(qn_context *c, size_t rows, size_t tables, qn_tensor *const *table, const int32_t *const *ids) {
    return qn_embedding_in(c, &(qn_embedding_form){0}, rows, tables, table, ids);
}

qn_tensor *qn_embedding_in(qn_context *c, const qn_embedding_form *form, size_t rows, size_t tables,
                           qn_tensor *const *table, const int32_t *const *ids) {
    float scale = form->scale > 0 ? form->scale : 1;
    record r = {.args = {.rows = rows, .tables = tables, .int8 = form->int8, .scale = scale}};
    bool trains = false;
    if (tables < 1 || tables > QN_EMBEDDING_TABLES) {
        qn_fail(QN_ERROR_ARGUMENT, "embedding: %zu tables (expected 1 to %d)", tables, QN_EMBEDDING_TABLES);
        return qn_fail_operation(c, QN_ERROR_ARGUMENT);
    }
    for (size_t k = 0; k < tables; k++) {
        if (!table[k] || !qn_check_parameter(c, "embedding", table[k])) return NULL;
        size_t d = qn_width(table[k]), size = table[k]->shape[0];
        if (table[k]->rank != 2 || (k > 0 && d != r.args.d)) {
            qn_fail(QN_ERROR_ARGUMENT,
                    "embedding: table %zu has %d dimensions and width %zu (expected 2, equal widths)", k,
                    table[k]->rank, d);
            return qn_fail_operation(c, QN_ERROR_ARGUMENT);
        }
        for (size_t t = 0; t < rows; t++)
            if (ids[k][t] < 0 || (size_t)ids[k][t] >= size) {
                qn_fail(QN_ERROR_ARGUMENT, "embedding: id %d of token %zu is outside table %zu (expected 0 to %zu)",
                        ids[k][t], t, k, size - 1);
                return qn_fail_operation(c, QN_ERROR_ARGUMENT);
            }
        const int32_t *fixed = k == 0 && form->fixed ? &form->padding : NULL;
        if (!find_places(c, table[k], rows, ids[k], fixed, &r.gradient_rows[k])) return NULL;
        r.args.d = d;
        r.args.table[k] = table[k]->data;
        r.args.ids[k] = ids[k];
        r.args.size[k] = size;
        r.args.dtable[k] = table[k]->requires_grad ? table[k]->grad : NULL;
        trains = trains || table[k]->requires_grad;
    }
    r.y = qn_new_matrix(c, rows, r.args.d, trains);
    if (!r.y) return NULL;
    r.args.y = r.y->data;
    c->backend->ops->embedding_forward(c->backend, &r.args);
    if (r.y->requires_grad && !qn_new_record(c, sizeof r, backward, &r)) return NULL;
    return r.y;
}
