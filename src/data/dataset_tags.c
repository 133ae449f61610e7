// A data set of texts whose words have tags.
#include "base/memory.h"
#include "data/windowed.h"
#include <stdio.h>

// Room for a window's tokens.
static qn_status reserve(qn_window_builder *b, size_t tokens) {
    QN_GROW(b->out->tags, b->tag_capacity, tokens);
    if (!b->options->keep_texts) return QN_OK;
    QN_GROW(b->out->starts, b->start_capacity, tokens);
    QN_GROW(b->out->ends, b->end_capacity, tokens);
    return QN_OK;
}

static qn_status add_window(qn_window_builder *b, size_t window, const qn_tagged *text) {
    qn_dataset *out = b->out;
    size_t first = out->sequences.tokens;
    QN_TRY(qn_window_builder_add(b, window));
    QN_TRY(reserve(b, out->sequences.tokens));
    for (size_t t = first; t < out->sequences.tokens; t++) {
        size_t token = qn_windows_token(&b->windows, window, t - first);
        int32_t word = b->word_of[token];
        if (word >= 0 && qn_windows_best(&b->windows, token) != window) word = -1;
        out->tags[t] = -1;
        if (out->starts) out->starts[t] = word < 0 ? -1 : text->words[word].begin;
        if (out->ends) out->ends[t] = word < 0 ? -1 : text->words[word].end;
        if (word < 0) continue;
        if (b->options->collect_labels)
            QN_TRY(qn_labels_add(b->labels, text->tags[word], &out->tags[t]));
        else
            QN_TRY(qn_labels_lookup(b->labels, text->tags[word], text->file, text->line, &out->tags[t]));
    }
    return QN_OK;
}

static qn_status add_text(qn_window_builder *b, const qn_tagged *text, size_t file) {
    char place[4200];
    snprintf(place, sizeof place, "%s:%lld", text->file, (long long)text->line);
    QN_TRY(qn_window_builder_text(b, text->text, NULL, place, file, text->line));
    QN_GROW(b->word_of, b->word_capacity, b->encoding.count);
    qn_words_align(&b->encoding, text->words, text->count, b->options->all_tokens, b->word_of);
    for (size_t i = 0; i < b->windows.count; i++) QN_TRY(add_window(b, i, text));
    return QN_OK;
}

static qn_status read(qn_window_builder *b, const char *path, size_t file) {
    qn_tagged_options options = {b->options->format, b->options->word_column, b->options->tag_column};
    qn_tagged_reader *reader;
    QN_TRY(qn_tagged_open(path, &options, &reader));
    qn_status status;
    for (;;) {
        qn_tagged text;
        bool end;
        status = qn_tagged_next(reader, &text, &end);
        if (status == QN_OK && !end) status = add_text(b, &text, file);
        if (status != QN_OK || end) break;
    }
    qn_tagged_close(reader);
    return status;
}

qn_status qn_dataset_read_tags(const char *const *paths, size_t count, const qn_tokenizer *tokenizer,
                               const qn_windowed_options *options, qn_labels *labels, qn_dataset *out) {
    *out = (qn_dataset){.target = QN_TARGET_TAGS, .width = 1};
    qn_window_builder b = {.tokenizer = tokenizer, .options = options, .labels = labels, .out = out};
    return qn_window_builder_run(&b, paths, count, read);
}
