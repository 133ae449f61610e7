// Suffixes of all words are sorted by their first `longest` characters, three ways by one byte after the other
// (Bentley, Sedgewick: "Fast algorithms for sorting and searching strings", 1997). Then neighbours share their
// prefixes, and a stack of the prefixes that are open finds each substring with the number of suffixes that begin with
// it.
#include "text/substrings.h"
#include "base/memory.h"
#include "text/form.h"
#include <stdlib.h>
#include <string.h>

// One suffix: where it begins, and how many of its bytes count, which end with a character.
typedef struct {
    uint32_t start, size;
    uint64_t times; // of its word
} suffix;

static inline int byte_at(const char *bytes, suffix s, uint32_t depth) {
    return depth < s.size ? (uint8_t)bytes[s.start + depth] : -1;
}

static int compare(const char *bytes, suffix a, suffix b, uint32_t depth) {
    uint32_t common = a.size < b.size ? a.size : b.size;
    int order = common > depth ? memcmp(bytes + a.start + depth, bytes + b.start + depth, common - depth) : 0;
    return order != 0 ? order : a.size < b.size ? -1 : a.size > b.size;
}

static void insertion_sort(const char *bytes, suffix *s, size_t count, uint32_t depth) {
    for (size_t i = 1; i < count; i++) {
        suffix moved = s[i];
        size_t j = i;
        for (; j > 0 && compare(bytes, s[j - 1], moved, depth) > 0; j--) s[j] = s[j - 1];
        s[j] = moved;
    }
}

static inline void swap(suffix *a, suffix *b) {
    suffix c = *a;
    *a = *b;
    *b = c;
}

// Recursion goes as deep as a suffix has bytes, and no deeper: the two outer parts, of which the larger one is left to
// the loop, halve each time.
static void sort(const char *bytes, suffix *s, size_t count, uint32_t depth) {
    while (count > 16) {
        int a = byte_at(bytes, s[0], depth), b = byte_at(bytes, s[count / 2], depth),
            c = byte_at(bytes, s[count - 1], depth);
        int pivot = a < b ? (b < c ? b : a < c ? c : a) : (a < c ? a : b < c ? c : b);
        size_t less = 0, at = 0, more = count;
        while (at < more) {
            int byte = byte_at(bytes, s[at], depth);
            if (byte < pivot)
                swap(&s[less++], &s[at++]);
            else if (byte > pivot)
                swap(&s[at], &s[--more]);
            else
                at++;
        }
        if (pivot >= 0) sort(bytes, s + less, more - less, depth + 1);
        size_t right = count - more;
        if (less < right) {
            sort(bytes, s, less, depth);
            s += more;
            count = right;
        } else {
            sort(bytes, s + more, right, depth);
            count = less;
        }
    }
    insertion_sort(bytes, s, count, depth);
}

static qn_status list_suffixes(const qn_word_counts *words, size_t longest, suffix **out, size_t *count) {
    size_t capacity = 0;
    if (words->byte_count >= UINT32_MAX)
        return qn_fail(QN_ERROR_UNSUPPORTED, "different words of 4 GiB or more together");
    for (size_t i = 0; i < words->count; i++) {
        uint32_t begin = (uint32_t)words->words[i].start, end = begin + words->words[i].size, stop = begin, code;
        size_t inside = 0; // characters between the suffix's beginning and `stop`
        for (uint32_t at = begin; at < end; inside--) {
            for (; stop < end && inside < longest; inside++) stop += (uint32_t)qn_form_next(words->bytes + stop, &code);
            if (*count == capacity) QN_TRY(qn_grow((void **)out, &capacity, *count + 1, sizeof **out));
            (*out)[(*count)++] = (suffix){at, stop - at, words->words[i].count};
            at += (uint32_t)qn_form_next(words->bytes + at, &code);
        }
    }
    return QN_OK;
}

// Whole characters that two suffixes begin with, in bytes.
static uint32_t common_prefix(const char *bytes, suffix a, suffix b) {
    uint32_t limit = a.size < b.size ? a.size : b.size, size = 0;
    while (size < limit && bytes[a.start + size] == bytes[b.start + size]) size++;
    // A character that is cut has a continuation byte next.
    while (size > 0 && size < a.size && ((uint8_t)bytes[a.start + size] & 0xC0) == 0x80) size--;
    return size;
}

static qn_status put(const qn_word_counts *words, suffix s, uint32_t size, uint64_t frequency, qn_substrings *out) {
    uint32_t characters = 0;
    for (uint32_t i = 0; i < size; i++) characters += ((uint8_t)words->bytes[s.start + i] & 0xC0) != 0x80;
    if (characters < 2 || frequency < 2) return QN_OK;
    if (out->count == out->capacity)
        QN_TRY(qn_grow((void **)&out->items, &out->capacity, out->count + 1, sizeof *out->items));
    out->items[out->count++] = (qn_substring){s.start, size, characters, frequency};
    return QN_OK;
}

// open[i]: a prefix of `size` bytes, and how often the suffixes stand in the text that come before the first with it.
static qn_status enumerate(const qn_word_counts *words, const suffix *s, size_t count, qn_substrings *out) {
    struct open {
        uint32_t size;
        uint64_t before;
    } *open = NULL;
    size_t depth = 0, capacity = 0;
    uint64_t before = 0; // of s[i - 1]
    qn_status status = QN_OK;
    for (size_t i = 1; i <= count && status == QN_OK; i++) {
        uint32_t common = i < count ? common_prefix(words->bytes, s[i - 1], s[i]) : 0;
        uint64_t first = before, after = before + s[i - 1].times;
        uint32_t shared = depth > 0 ? open[depth - 1].size : 0;
        if (s[i - 1].size > shared && s[i - 1].size > common) // in this word only
            status = put(words, s[i - 1], s[i - 1].size, s[i - 1].times, out);
        while (depth > 0 && open[depth - 1].size > common && status == QN_OK) {
            first = open[--depth].before;
            status = put(words, s[i - 1], open[depth].size, after - first, out);
        }
        before = after;
        if (status != QN_OK || common == 0 || (depth > 0 && open[depth - 1].size == common)) continue;
        status = qn_grow((void **)&open, &capacity, depth + 1, sizeof *open);
        if (status == QN_OK) open[depth++] = (struct open){common, first};
    }
    free(open);
    return status;
}

qn_status qn_find_substrings(const qn_word_counts *words, size_t longest, qn_substrings *out) {
    suffix *suffixes = NULL;
    size_t count = 0;
    *out = (qn_substrings){0};
    qn_status status = list_suffixes(words, longest, &suffixes, &count);
    if (status == QN_OK) {
        sort(words->bytes, suffixes, count, 0);
        status = enumerate(words, suffixes, count, out);
    }
    free(suffixes);
    if (status != QN_OK) free(out->items);
    return status;
}
