// A data set of questions with their texts and answers.
#include "base/memory.h"
#include "data/questions.h"
#include "data/windowed.h"

// Where the answer is in a window: its first and last token, counted from the window's first; 0, 0 where it is not all
// in there. Tokens t .. of the encoding are the window's part [begin, end) of the context.
static void find_answer(const qn_window_builder *b, size_t window, const qn_gold_answer *answer, int32_t place[2]) {
    const qn_encoding *e = &b->encoding;
    size_t begin, end;
    qn_windows_at(&b->windows, window, &begin, &end);
    place[0] = place[1] = 0;
    if (!answer || begin == end || e->starts[begin] > answer->begin || e->ends[end - 1] < answer->end) return;
    size_t first = begin, last = end - 1;
    while (first + 1 < end && e->starts[first + 1] <= answer->begin) first++;
    while (last > begin && e->ends[last - 1] >= answer->end) last--;
    place[0] = (int32_t)(b->windows.begin + first - begin);
    place[1] = (int32_t)(b->windows.begin + last - begin);
}

static qn_status add_window(qn_window_builder *b, size_t window, const qn_question *q) {
    qn_dataset *out = b->out;
    size_t n = out->sequences.count, first = out->sequences.tokens;
    QN_TRY(qn_window_builder_add(b, window));
    QN_GROW(out->answers, b->answer_capacity, 2 * n + 2);
    find_answer(b, window, q->count ? q->answers : NULL, out->answers + 2 * n);
    if (!b->options->keep_texts) return QN_OK;
    QN_GROW(out->starts, b->start_capacity, out->sequences.tokens);
    QN_GROW(out->ends, b->end_capacity, out->sequences.tokens);
    for (size_t t = first; t < out->sequences.tokens; t++) {
        size_t token = qn_windows_token(&b->windows, window, t - first);
        bool context = token >= b->windows.begin && token < b->windows.end;
        out->starts[t] = context ? b->encoding.starts[token] : -1;
        out->ends[t] = context ? b->encoding.ends[token] : -1;
    }
    return QN_OK;
}

static qn_status keep_gold(qn_window_builder *b, const qn_question *q) {
    size_t n = b->out->documents - 1;
    if (!b->options->keep_texts) return QN_OK;
    QN_GROW(b->out->gold_offsets, b->gold_capacity, n + 1);
    b->out->gold_offsets[n] = (int64_t)b->gold.size;
    for (size_t i = 0; i < q->count; i++) {
        qn_buffer_append(&b->gold, q->answers[i].text.data, q->answers[i].text.size);
        qn_buffer_char(&b->gold, '\0');
    }
    qn_buffer_char(&b->gold, '\0');
    return qn_buffer_status(&b->gold);
}

static qn_status read(qn_window_builder *b, const char *path, size_t file) {
    qn_question_reader *reader;
    QN_TRY(qn_questions_open(path, b->options->format, &reader));
    qn_status status;
    for (;;) {
        qn_question q;
        bool end;
        status = qn_questions_next(reader, &q, &end);
        if (status != QN_OK || end) break;
        status = qn_window_builder_text(b, q.question, &q.context, q.place, file, q.line);
        if (status == QN_OK) status = keep_gold(b, &q);
        for (size_t i = 0; status == QN_OK && i < b->windows.count; i++) status = add_window(b, i, &q);
        if (status != QN_OK) break;
    }
    qn_questions_close(reader);
    return status;
}

qn_status qn_dataset_read_answers(const char *const *paths, size_t count, const qn_tokenizer *tokenizer,
                                  const qn_windowed_options *options, qn_dataset *out) {
    *out = (qn_dataset){.target = QN_TARGET_ANSWER, .width = 1};
    qn_window_builder b = {.tokenizer = tokenizer, .options = options, .out = out};
    return qn_window_builder_run(&b, paths, count, read);
}
