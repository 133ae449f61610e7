// Strings and regular expressions behind one function.
#define PCRE2_CODE_UNIT_WIDTH 8
#include "text/pattern.h"
#include "base/buffer.h"
#include "base/memory.h"
#include "text/unicode.h"
#include <pcre2.h>
#include <stdlib.h>
#include <string.h>

enum { MATCH_LIMIT = 20000000, DEPTH_LIMIT = 1000000, HEAP_KIB = 256 * 1024, LONGEST_EXPRESSION = 1 << 16 };

struct qn_pattern {
    char *text; // of a plain string
    size_t size;
    pcre2_code *code; // NULL: a plain string
    pcre2_match_context *context;
    bool compiled; // by the just-in-time compiler
};

static void put_code_range(void *user, uint32_t first, uint32_t last) {
    qn_buffer_printf(user, "\\x{%X}-\\x{%X}", (unsigned)first, (unsigned)last);
}

// Classes of characters as the reference's Unicode has them, whatever PCRE2's is: what stands for them in an
// expression, and newer characters that belong to them. White space in PCRE2 has U+180E too, and \w neither marks nor
// the numbers and enclosed letters that are in it here.
typedef struct {
    const char *name, *negated; // of one length
    const char *members;        // of a character class
    void (*newer)(qn_range_visitor visit, void *user);
} character_class;

static const character_class classes[] = {
    {"\\p{L}", "\\P{L}", "\\p{L}", qn_unicode_visit_newer_letters},
    {"\\p{N}", "\\P{N}", "\\p{N}", qn_unicode_visit_newer_numbers},
    {"\\p{M}", "\\P{M}", "\\p{M}", qn_unicode_visit_newer_marks},
    {"\\p{Lu}", "\\P{Lu}", "\\p{Lu}", qn_unicode_visit_newer_upper},
    {"\\p{Ll}", "\\P{Ll}", "\\p{Ll}", qn_unicode_visit_newer_lower},
    {"\\p{Lo}", "\\P{Lo}", "\\p{Lo}", qn_unicode_visit_newer_caseless},
    {"\\s", "\\S",
     "\\x{9}-\\x{D}\\x{20}\\x{85}\\x{A0}\\x{1680}\\x{2000}-\\x{200A}\\x{2028}\\x{2029}\\x{202F}\\x{205F}\\x{3000}",
     NULL},
    {"\\w", "\\W",
     "\\p{L}\\p{M}\\p{Nd}\\p{Nl}\\p{Pc}\\x{B2}\\x{B3}\\x{B9}\\x{BC}-\\x{BE}\\x{24B6}-\\x{24E9}\\x{1F130}-\\x{1F149}"
     "\\x{1F150}-\\x{1F169}\\x{1F170}-\\x{1F189}",
     qn_unicode_visit_newer_words},
};

static bool begins(const char *text, size_t size, const char *with) {
    return size >= strlen(with) && memcmp(text, with, strlen(with)) == 0;
}

// One class at the beginning of text[0, size); returns the bytes of its name, 0 where there is none. A negated one
// within brackets stays PCRE2's.
static size_t put_class(const char *text, size_t size, bool in_brackets, qn_buffer *out) {
    for (size_t i = 0; i < sizeof classes / sizeof classes[0]; i++) {
        const character_class *class = &classes[i];
        bool negated = !in_brackets && begins(text, size, class->negated);
        if (!negated && !begins(text, size, class->name)) continue;
        qn_buffer_text(out, in_brackets ? "" : negated ? "[^" : "[");
        qn_buffer_text(out, class->members);
        if (class->newer) class->newer(put_code_range, out);
        qn_buffer_text(out, in_brackets ? "" : "]");
        return strlen(class->name);
    }
    return 0;
}

static void modernize(const char *text, size_t size, qn_buffer *out) {
    bool in_brackets = false;
    for (size_t i = 0; i < size;) {
        size_t length = put_class(text + i, size - i, in_brackets, out);
        if (length == 0) {
            length = text[i] == '\\' && i + 1 < size ? 2 : 1;
            if (text[i] == '[') in_brackets = true;
            if (text[i] == ']') in_brackets = false;
            qn_buffer_append(out, text + i, length);
        }
        i += length;
    }
}

static qn_status compile(qn_pattern *p, const char *source, const char *text, size_t size) {
    int error;
    PCRE2_SIZE offset;
    qn_buffer modern = {0};
    modernize(text, size, &modern);
    QN_TRY(qn_buffer_status(&modern));
    // As Oniguruma reads them: ^ and $ are those of lines.
    p->code = pcre2_compile((PCRE2_SPTR)modern.data, modern.size,
                            PCRE2_UTF | PCRE2_UCP | PCRE2_MULTILINE | PCRE2_NEVER_BACKSLASH_C, &error, &offset, NULL);
    qn_buffer_free(&modern);
    if (!p->code) {
        PCRE2_UCHAR message[160];
        pcre2_get_error_message(error, message, sizeof message);
        return qn_fail(QN_ERROR_FORMAT, "%s: the regular expression is wrong at character %zu: %s", source,
                       (size_t)offset, (const char *)message);
    }
    p->context = pcre2_match_context_create(NULL);
    if (!p->context) return qn_fail(QN_ERROR_MEMORY, "out of memory");
    pcre2_set_match_limit(p->context, MATCH_LIMIT);
    pcre2_set_depth_limit(p->context, DEPTH_LIMIT);
    pcre2_set_heap_limit(p->context, HEAP_KIB);
    p->compiled = pcre2_jit_compile(p->code, PCRE2_JIT_COMPLETE) == 0;
    return QN_OK;
}

qn_status qn_pattern_create(const char *source, const char *text, size_t size, bool expression, qn_pattern **out) {
    *out = NULL;
    if (size == 0 || size > LONGEST_EXPRESSION)
        return qn_fail(QN_ERROR_UNSUPPORTED, "%s: a pattern of %zu bytes (expected 1 to %d)", source, size,
                       LONGEST_EXPRESSION);
    qn_pattern *p = qn_calloc(1, sizeof *p);
    if (!p) return QN_ERROR_MEMORY;
    p->text = qn_strndup(text, size);
    p->size = size;
    qn_status status = p->text ? QN_OK : QN_ERROR_MEMORY;
    if (status == QN_OK && expression) status = compile(p, source, text, size);
    if (status != QN_OK) {
        qn_pattern_free(p);
        return status;
    }
    *out = p;
    return QN_OK;
}

void qn_pattern_free(qn_pattern *p) {
    if (!p) return;
    if (p->code) pcre2_code_free(p->code);
    if (p->context) pcre2_match_context_free(p->context);
    free(p->text);
    free(p);
}

void qn_pattern_room_free(qn_pattern_room *room) {
    if (room->match) pcre2_match_data_free(room->match);
    room->match = NULL;
}

qn_status qn_pattern_find(const qn_pattern *p, qn_pattern_room *room, const char *text, size_t size, size_t at,
                          bool *found, size_t *start, size_t *end) {
    if (!p->code) {
        const char *place = at < size ? memmem(text + at, size - at, p->text, p->size) : NULL;
        *found = place != NULL;
        if (place) {
            *start = (size_t)(place - text);
            *end = *start + p->size;
        }
        return QN_OK;
    }
    if (!room->match && !(room->match = pcre2_match_data_create(1, NULL)))
        return qn_fail(QN_ERROR_MEMORY, "out of memory");
    int count = PCRE2_ERROR_JIT_STACKLIMIT;
    PCRE2_SPTR subject = (PCRE2_SPTR)text;
    if (p->compiled) count = pcre2_jit_match(p->code, subject, size, at, PCRE2_NO_UTF_CHECK, room->match, p->context);
    // The compiled form works on a small stack; what needs more is matched on the heap.
    if (count == PCRE2_ERROR_JIT_STACKLIMIT)
        count = pcre2_match(p->code, subject, size, at, PCRE2_NO_UTF_CHECK | PCRE2_NO_JIT, room->match, p->context);
    *found = count >= 0;
    if (count >= 0) {
        const PCRE2_SIZE *places = pcre2_get_ovector_pointer(room->match);
        *start = places[0];
        *end = places[1];
        if (*end < *start) *end = *start; // \K in a lookahead
        return QN_OK;
    }
    if (count == PCRE2_ERROR_NOMATCH) return QN_OK;
    return qn_fail(QN_ERROR_UNSUPPORTED, "the tokenizer's regular expression takes too many steps on this text");
}
