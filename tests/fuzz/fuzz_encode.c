// Any bytes as text, cut at the first byte 1 into a pair: offsets lie in the text and in order, a second encoding is
// equal, and the words of the text are those of its normalised form, which another piece of code cuts.
#include "text/pipeline.h"
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_encoding(const qn_tokenizer *t, const qn_encoding *e, const size_t sizes[2],
                           const qn_encode_options *o) {
    if (o->max_length > 0 && e->count > o->max_length) abort();
    if (e->truncated != (e->count < e->total)) abort();
    int32_t last[2] = {0, 0}, last_char[2] = {0, 0}, last_word[2] = {0, 0};
    for (size_t i = 0; i < e->count; i++) {
        if (!qn_tokenizer_token(t, e->ids[i])) abort();
        int32_t s = e->sequences[i];
        if (s < 0) {
            if (!o->add_special_tokens || e->words[i] != -1 || e->ends[i] != 0) abort();
            continue;
        }
        if (s > 1 || e->starts[i] < 0 || e->starts[i] > e->ends[i] || (size_t)e->ends[i] > sizes[s]) abort();
        if (e->starts[i] < last[s] && e->words[i] != last_word[s]) abort();
        if (e->char_starts[i] > e->char_ends[i] || e->char_ends[i] > e->ends[i] || e->words[i] < last_word[s]) abort();
        if (e->char_starts[i] < last_char[s] && e->words[i] != last_word[s]) abort();
        last[s] = e->starts[i];
        last_char[s] = e->char_starts[i];
        last_word[s] = e->words[i];
    }
}

static void compare_words(const qn_bert *bert, const char *text, size_t size) {
    qn_words direct = {0}, through = {0};
    qn_buffer normalized = {0};
    qn_align *aligns = NULL;
    size_t capacity = 0;
    if (qn_bert_normalize(&through, bert, text, 0, size, 0, &normalized, &aligns, &capacity) != QN_OK) abort();
    const char *normal = normalized.data ? normalized.data : "";
    qn_words_begin(&direct, bert, text, 0, size, 0, SIZE_MAX);
    qn_words_begin_normalized(&through, bert, normal, aligns, 0, normalized.size, SIZE_MAX);
    qn_word a, b;
    for (;;) {
        bool more = qn_words_next(&direct, &a);
        if (more != qn_words_next(&through, &b)) abort();
        if (!more) break;
        if (a.size != b.size || memcmp(a.text, b.text, a.size) != 0 || a.characters != b.characters) abort();
        if (a.start != b.start || a.end != b.end || a.char_start != b.char_start || a.char_end != b.char_end) abort();
        for (size_t i = 0; a.aligns && i < a.size; i++)
            if (memcmp(&a.aligns[i], &b.aligns[i], sizeof *a.aligns) != 0) abort();
    }
    qn_words_free(&direct);
    qn_words_free(&through);
    qn_buffer_free(&normalized);
    free(aligns);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static qn_tokenizer *tokenizers[2];
    static qn_bert *berts[16];
    static qn_encoding reused = QN_ENCODING_INIT;
    if (!tokenizers[0]) {
        if (qn_tokenizer_load(QN_SOURCE_DIR "/tests/golden/tokenizer/uncased", &tokenizers[0]) != QN_OK) abort();
        if (qn_tokenizer_load(QN_SOURCE_DIR "/tests/golden/tokenizer/cased", &tokenizers[1]) != QN_OK) abort();
        for (int i = 0; i < 16; i++) {
            qn_bert_options options = {i & 1, i & 2, i & 4, i & 8};
            if (qn_bert_create(&options, &berts[i]) != QN_OK) abort();
        }
    }
    if (size < 2) return 0;
    const qn_tokenizer *t = tokenizers[data[0] & 1];
    qn_encode_options o = {.max_length = data[1] & 15,
                           .truncation = (qn_truncation)(data[0] >> 1 & 3),
                           .truncate_left = data[0] >> 3 & 1,
                           .add_special_tokens = data[0] >> 4 & 1};
    compare_words(berts[data[1] >> 4], (const char *)data + 2, size - 2);
    const char *text = (const char *)data + 2, *pair = memchr(text, 1, size - 2);
    size_t sizes[2] = {pair ? (size_t)(pair - text) : size - 2, 0};
    if (pair) sizes[1] = size - 2 - sizes[0] - 1, pair++;
    qn_encoding fresh = QN_ENCODING_INIT;
    qn_status status = qn_tokenizer_encode(t, text, sizes[0], pair, sizes[1], &o, &reused);
    if (qn_tokenizer_encode(t, text, sizes[0], pair, sizes[1], &o, &fresh) != status) abort();
    if (status == QN_OK) {
        check_encoding(t, &reused, sizes, &o);
        if (reused.count != fresh.count) abort();
        if (fresh.count > 0 && (memcmp(reused.ids, fresh.ids, fresh.count * sizeof(int32_t)) != 0 ||
                                memcmp(reused.ends, fresh.ends, fresh.count * sizeof(int32_t)) != 0))
            abort();
    }
    qn_encoding_free(&fresh);
    return 0;
}
