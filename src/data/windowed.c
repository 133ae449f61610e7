// Data sets of windows over documents: what tags and answers share.
#include "data/windowed.h"
#include "base/memory.h"
#include "data/hash.h"
#include <stdlib.h>
#include <string.h>

static qn_status keep_text(qn_window_builder *b, qn_span text, const qn_span *pair, size_t n) {
    if (!b->options->keep_texts) return QN_OK;
    QN_GROW(b->out->text_offsets, b->text_capacity, n + 1);
    b->out->text_offsets[n] = (int64_t)b->texts.size;
    qn_buffer_append(&b->texts, text.data, text.size);
    qn_buffer_char(&b->texts, '\0');
    qn_buffer_char(&b->texts, pair ? '1' : '0');
    if (pair) qn_buffer_append(&b->texts, pair->data, pair->size);
    qn_buffer_char(&b->texts, '\0');
    return qn_buffer_status(&b->texts);
}

static qn_status encode(qn_window_builder *b, qn_span text, const qn_span *pair) {
    qn_encode_options whole = b->options->encode;
    whole.max_length = 0;
    QN_TRY(qn_tokenizer_encode(b->tokenizer, text.data, text.size, pair ? pair->data : NULL, pair ? pair->size : 0,
                               &whole, &b->encoding));
    return qn_windows_plan(&b->encoding, pair != NULL, b->options->encode.max_length, b->options->stride, &b->windows);
}

qn_status qn_window_builder_text(qn_window_builder *b, qn_span text, const qn_span *pair, const char *place,
                                 size_t file, int64_t line) {
    qn_dataset *out = b->out;
    size_t n = out->documents;
    QN_TRY(keep_text(b, text, pair, n));
    QN_GROW(out->lines, b->line_capacity, n + 1);
    QN_GROW(out->files, b->file_capacity, n + 1);
    out->lines[n] = line;
    out->files[n] = (uint32_t)file;
    qn_status status = encode(b, text, pair);
    if (status != QN_OK) return qn_fail_prefix(status, "%s", place);
    out->documents++;
    out->split += b->windows.count > 1;
    if (out->sequences.count + b->windows.count < UINT32_MAX) return QN_OK;
    return qn_fail(QN_ERROR_UNSUPPORTED, "%s: more than 4 billion windows", place);
}

qn_status qn_window_builder_add(qn_window_builder *b, size_t window) {
    qn_dataset *out = b->out;
    QN_GROW(out->document, b->document_capacity, out->sequences.count + 1);
    out->document[out->sequences.count] = (uint32_t)(out->documents - 1);
    return qn_windows_append(&b->windows, window, &b->encoding, &out->sequences);
}

// Labels get their final order, and tags follow.
static qn_status finish_labels(qn_window_builder *b) {
    qn_dataset *out = b->out;
    out->labels = b->labels ? b->labels->count : 0;
    if (!b->labels || !b->options->collect_labels) return QN_OK;
    if (out->labels == 0)
        return qn_fail(QN_ERROR_FORMAT, "%s: no word has a tag (expected at least one)", out->names[0]);
    int32_t *renumber = qn_malloc(out->labels, sizeof *renumber);
    qn_status status = renumber ? qn_labels_sort(b->labels, renumber) : QN_ERROR_MEMORY;
    for (size_t t = 0; status == QN_OK && t < out->sequences.tokens; t++)
        if (out->tags[t] >= 0) out->tags[t] = renumber[out->tags[t]];
    free(renumber);
    return status;
}

static qn_status build(qn_window_builder *b, const char *const *paths, size_t count,
                       qn_status (*read)(qn_window_builder *b, const char *path, size_t file)) {
    qn_dataset *out = b->out;
    if (count == 0) return qn_fail(QN_ERROR_ARGUMENT, "no data file (expected at least one)");
    out->names = qn_calloc(count, sizeof *out->names);
    if (!out->names) return QN_ERROR_MEMORY;
    for (size_t i = 0; i < count; i++) {
        size_t before = out->documents;
        out->names[i] = qn_strdup(paths[i]);
        if (!out->names[i]) return QN_ERROR_MEMORY;
        out->name_count = i + 1;
        QN_TRY(read(b, paths[i], i));
        if (out->documents == before)
            return qn_fail(QN_ERROR_FORMAT, "%s: holds no examples (expected at least one)",
                           strcmp(paths[i], "-") == 0 ? "standard input" : paths[i]);
    }
    QN_TRY(finish_labels(b));
    out->fingerprint = qn_sequences_hash(&out->sequences);
    if (out->tags) out->fingerprint = qn_hash(out->fingerprint, out->tags, out->sequences.tokens * sizeof *out->tags);
    if (out->answers)
        out->fingerprint = qn_hash(out->fingerprint, out->answers, 2 * out->sequences.count * sizeof *out->answers);
    QN_TRY(qn_buffer_status(&b->gold));
    out->texts = b->texts.data;
    out->gold = b->gold.data;
    b->texts = b->gold = (qn_buffer){0};
    return QN_OK;
}

qn_status qn_window_builder_run(qn_window_builder *b, const char *const *paths, size_t count,
                                qn_status (*read)(qn_window_builder *b, const char *path, size_t file)) {
    qn_status status = build(b, paths, count, read);
    qn_encoding_free(&b->encoding);
    qn_buffer_free(&b->texts);
    qn_buffer_free(&b->gold);
    free(b->word_of);
    if (status != QN_OK) qn_dataset_free(b->out);
    return status;
}
