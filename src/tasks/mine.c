// Hard negatives: documents that a model finds near a query, and that do not answer it.
#include "base/buffer.h"
#include "base/file.h"
#include "tasks/embed_search.h"
#include <stdlib.h>
#include <string.h>

enum { MOST_NEGATIVES = 1000, DEPTH_LIMIT = 1 << 20 };

qn_mining qn_mining_defaults(void) {
    return (qn_mining){.negatives = 1, .to = 100, .margin = -2, .max_score = 2};
}

typedef struct {
    const qn_mining *options;
    bool lines; // JSON lines, else TSV
    qn_writer *out;
    qn_buffer row;
    uint32_t *chosen; // [negatives]
    size_t rows, left_out;
} miner;

// The first documents, from the given ranks among those that are no answers, whose scores are in the bounds. True when
// there are enough.
static bool choose(miner *m, const qn_embed_found *f, float positive) {
    const qn_mining *o = m->options;
    size_t rank = 0, count = 0;
    for (size_t i = 0; i < f->count && rank < o->to && count < o->negatives; i++) {
        uint32_t document = f->top[i];
        if (qn_embed_answers(f, document)) continue;
        if (rank++ < o->from) continue;
        float score = f->scores[document];
        if (score <= positive - o->margin && score <= o->max_score) m->chosen[count++] = document;
    }
    return count == o->negatives;
}

static qn_status put_cell(miner *m, const char *text, const char *before) {
    qn_buffer_text(&m->row, before);
    if (m->lines) {
        qn_buffer_json_string(&m->row, text, strlen(text));
        return QN_OK;
    }
    if (strpbrk(text, "\t\r\n"))
        return qn_fail(QN_ERROR_ARGUMENT,
                       "a text has a tab or a line end, which TSV cannot hold (expected a .jsonl output)");
    qn_buffer_text(&m->row, text);
    return QN_OK;
}

static qn_status write_row(miner *m, const qn_embed_search *s, const qn_embed_answer *pair) {
    qn_buffer_clear(&m->row);
    QN_TRY(put_cell(m, qn_embed_text(s, &s->queries, pair->query), m->lines ? "{\"anchor\": " : ""));
    QN_TRY(put_cell(m, qn_embed_text(s, &s->documents, pair->document), m->lines ? ", \"positive\": " : "\t"));
    for (size_t i = 0; i < m->options->negatives; i++)
        QN_TRY(put_cell(m, qn_embed_text(s, &s->documents, m->chosen[i]),
                        !m->lines ? "\t"
                        : i       ? ", "
                                  : ", \"negatives\": ["));
    qn_buffer_text(&m->row, m->lines ? "]}\n" : "\n");
    QN_TRY(qn_buffer_status(&m->row));
    m->rows++;
    return qn_writer_write(m->out, m->row.data, m->row.size);
}

static qn_status receive(void *user, const qn_embed_search *s, const qn_embed_found *f) {
    miner *m = user;
    for (size_t i = 0; i < f->answer_count; i++) {
        if (choose(m, f, f->scores[f->answers[i].document]))
            QN_TRY(write_row(m, s, &f->answers[i]));
        else
            m->left_out++;
    }
    return QN_OK;
}

static qn_status write_header(miner *m) {
    qn_buffer_text(&m->row, "anchor\tpositive");
    for (size_t i = 1; i <= m->options->negatives; i++)
        qn_buffer_printf(&m->row, m->options->negatives > 1 ? "\tnegative_%zu" : "\tnegative", i);
    qn_buffer_char(&m->row, '\n');
    QN_TRY(qn_buffer_status(&m->row));
    return qn_writer_write(m->out, m->row.data, m->row.size);
}

static size_t most_answers(const qn_embed_search *s) {
    size_t most = 0;
    for (size_t i = 0, first = 0; i < s->answer_count; i++) {
        if (s->answers[i].query != s->answers[first].query) first = i;
        if (i + 1 - first > most) most = i + 1 - first;
    }
    return most;
}

static qn_status mine(const qn_job *j, qn_model *model, const qn_dataset *d, miner *m) {
    qn_embed_search s = {0};
    m->chosen = qn_malloc(m->options->negatives, sizeof *m->chosen);
    qn_status status = m->chosen ? qn_embed_search_open(j, model, d, &s) : QN_ERROR_MEMORY;
    // Answers of a query are among the best too.
    size_t depth = m->options->to + most_answers(&s);
    if (depth > s.documents.count) depth = s.documents.count;
    if (status == QN_OK && !m->lines) status = write_header(m);
    if (status == QN_OK) status = qn_embed_search_run(&s, model, depth, receive, m);
    qn_embed_search_free(&s);
    free(m->chosen);
    return status;
}

static qn_status check(const qn_mining *o) {
    if (o->negatives < 1 || o->negatives > MOST_NEGATIVES)
        return qn_fail(QN_ERROR_ARGUMENT, "%zu negatives of an example (expected 1 to %d)", o->negatives,
                       MOST_NEGATIVES);
    if (o->from >= o->to || o->to > DEPTH_LIMIT || o->to - o->from < o->negatives)
        return qn_fail(QN_ERROR_ARGUMENT, "ranks %zu to %zu for %zu negatives (expected at least as many, up to %d)",
                       o->from, o->to, o->negatives, DEPTH_LIMIT);
    return QN_OK;
}

qn_status qn_mine(qn_model *model, const char *path, const qn_data_options *data, const qn_mining *options,
                  const char *output, char **json) {
    qn_mining defaults = qn_mining_defaults();
    miner m = {.options = options ? options : &defaults};
    qn_job job = {.task = &qn_task_retrieval, .data = data, .tokenizer = model->tokenizer, .encode = model->encode,
                  .prompts = &model->network->sentence};
    qn_dataset d = {0};
    *json = NULL;
    size_t length = strlen(output);
    m.lines = length > 6 && strcmp(output + length - 6, ".jsonl") == 0;
    QN_TRY(check(m.options));
    qn_status status = job.task->read(&job, &path, 1, false, &d);
    if (status == QN_OK) status = qn_writer_open(output, &m.out);
    if (status == QN_OK) status = mine(&job, model, &d, &m);
    if (status == QN_OK) {
        status = qn_writer_commit(m.out);
        m.out = NULL;
    }
    qn_buffer_clear(&m.row);
    qn_buffer_printf(&m.row, "{\"rows\": %zu, \"left_out\": %zu}", m.rows, m.left_out);
    if (status == QN_OK) status = qn_buffer_status(&m.row);
    if (status == QN_OK) {
        *json = m.row.data;
        m.row = (qn_buffer){0};
    }
    qn_writer_abort(m.out);
    qn_buffer_free(&m.row);
    qn_dataset_free(&d);
    qn_job_free(&job);
    return status;
}
