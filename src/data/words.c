// Words of a text, and which of its tokens stand for them.
#include "base/memory.h"
#include "base/utf8.h"
#include "data/tagged.h"
#include "text/unicode.h"

static qn_status add(qn_words *w, size_t begin, size_t end) {
    if (end > INT32_MAX) return qn_fail(QN_ERROR_ARGUMENT, "a text of 2 GiB or more");
    void *items = w->items;
    qn_status status = qn_grow(&items, &w->capacity, w->count + 1, sizeof *w->items);
    w->items = items;
    if (status == QN_OK) w->items[w->count++] = (qn_word){(int32_t)begin, (int32_t)end};
    return status;
}

static qn_status split(const char *text, size_t size, bool by_space, qn_words *out) {
    size_t begin = 0; // of the word that goes on
    for (size_t i = 0; i < size;) {
        int32_t code;
        size_t length = qn_utf8_next(text + i, size - i, &code);
        uint32_t c = code < 0 ? 0xFFFD : (uint32_t)code;
        bool space = qn_unicode_is_space(c);
        bool alone = !by_space && (qn_unicode_is_punctuation(c) || qn_unicode_is_chinese(c));
        if ((space || alone) && begin < i) QN_TRY(add(out, begin, i));
        if (alone) QN_TRY(add(out, i, i + length));
        i += length;
        if (space || alone) begin = i;
    }
    return begin < size ? add(out, begin, size) : QN_OK;
}

qn_status qn_words_split(const char *text, size_t size, qn_words *out) {
    return split(text, size, false, out);
}

qn_status qn_words_split_by_space(const char *text, size_t size, qn_words *out) {
    return split(text, size, true, out);
}

void qn_words_align(const qn_encoding *e, const qn_word *words, size_t count, bool all, int32_t *word_of) {
    size_t w = 0;
    int64_t last = -1;
    for (size_t t = 0; t < e->count; t++) {
        word_of[t] = -1;
        if (e->sequences[t] != 0) continue;
        // Tokens may begin with the space before their word; empty words have no token.
        while (w < count && (words[w].end <= e->starts[t] || words[w].end == words[w].begin)) w++;
        if (w == count || words[w].begin >= e->ends[t]) continue;
        if (all || (int64_t)w != last) word_of[t] = (int32_t)w;
        last = (int64_t)w;
    }
}
