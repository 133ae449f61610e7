// Finding of added tokens: at each position the longest one, from left to right.
#include "text/added.h"
#include "base/memory.h"
#include "base/utf8.h"
#include "text/unicode.h"
#include <stdlib.h>
#include <string.h>

// The place in the index where a token with this content stands, or where it belongs.
static size_t index_place(const qn_added *added, const char *content, size_t size) {
    uint64_t hash = 0xCBF29CE484222325u; // FNV-1a
    for (size_t i = 0; i < size; i++) hash = (hash ^ (uint8_t)content[i]) * 0x100000001B3u;
    size_t at = (size_t)(hash ^ hash >> 32) & added->index_mask;
    for (; added->index[at] != 0; at = (at + 1) & added->index_mask) {
        const qn_added_token *token = &added->tokens[added->index[at] - 1];
        if (token->size == size && memcmp(token->content, content, size) == 0) break;
    }
    return at;
}

static qn_status grow_index(qn_added *added) {
    size_t slots = added->index ? added->index_mask + 1 : 0;
    if (2 * (added->count + 1) <= slots) return QN_OK;
    size_t wanted = slots ? 2 * slots : 32;
    uint32_t *index = qn_calloc(wanted, sizeof *index);
    if (!index) return QN_ERROR_MEMORY;
    free(added->index);
    added->index = index;
    added->index_mask = wanted - 1;
    for (size_t i = 0; i < added->count; i++)
        index[index_place(added, added->tokens[i].content, added->tokens[i].size)] = (uint32_t)i + 1;
    return QN_OK;
}

qn_status qn_added_add(qn_added *added, const qn_added_token *token, const char *content, size_t size) {
    if (size == 0) return QN_OK;
    QN_TRY(qn_grow((void **)&added->tokens, &added->capacity, added->count + 1, sizeof *added->tokens));
    QN_TRY(grow_index(added));
    char *copy = qn_strndup(content, size);
    if (!copy) return QN_ERROR_MEMORY;
    size_t place = index_place(added, content, size);
    if (added->index[place] == 0) {
        added->tokens[added->count].content = NULL;
        added->index[place] = (uint32_t)++added->count;
    }
    qn_added_token *known = &added->tokens[added->index[place] - 1];
    free(known->content);
    *known = *token;
    known->content = copy;
    known->size = size;
    return QN_OK;
}

const qn_added_token *qn_added_by_content(const qn_added *added, const char *content, size_t size) {
    if (added->count == 0) return NULL;
    uint32_t number = added->index[index_place(added, content, size)];
    return number ? &added->tokens[number - 1] : NULL;
}

qn_status qn_added_finish(qn_added *added, qn_added_normalizer normalize, void *user) {
    qn_status status = QN_OK;
    char **forms = qn_calloc(added->count + 1, sizeof *forms);
    qn_trie_entry *entries = qn_malloc(added->count + 1, sizeof *entries);
    if (!forms || !entries) status = QN_ERROR_MEMORY;
    for (int set = 0; set < 2 && status == QN_OK; set++) {
        size_t count = 0;
        added->only_first[set] = -1;
        for (size_t i = 0; i < added->count && status == QN_OK; i++) {
            const qn_added_token *token = &added->tokens[i];
            if (token->normalized != (set == 1)) continue;
            const char *text = token->content;
            size_t size = token->size;
            if (set == 1) {
                status = normalize(user, token->content, token->size, &text, &size);
                if (status != QN_OK || size == 0) continue;
                if (!(forms[i] = qn_malloc(size, 1))) {
                    status = QN_ERROR_MEMORY;
                    continue;
                }
                text = memcpy(forms[i], text, size);
            }
            uint8_t byte = (uint8_t)text[0];
            added->only_first[set] = count == 0 || added->only_first[set] == byte ? byte : -1;
            added->first[set][byte] = 1;
            entries[count++] = (qn_trie_entry){text, size, (int32_t)i};
        }
        added->trie_counts[set] = count;
        if (status == QN_OK && count > 0) status = qn_trie_build(&added->tries[set], entries, count);
    }
    for (size_t i = 0; forms && i < added->count; i++) free(forms[i]);
    free(forms);
    free(entries);
    return status;
}

void qn_added_free(qn_added *added) {
    for (size_t i = 0; i < added->count; i++) free(added->tokens[i].content);
    free(added->tokens);
    free(added->index);
    qn_trie_free(&added->tries[0]);
    qn_trie_free(&added->tries[1]);
    *added = (qn_added){0};
}

// The character that ends at text[end - 1]; *length is 1 and the result -1 where it is not UTF-8.
static int32_t character_before(const char *text, size_t end, size_t *length) {
    size_t start = end - 1;
    while (start > 0 && end - start < 4 && ((uint8_t)text[start] & 0xC0) == 0x80) start--;
    int32_t code;
    *length = 1;
    if (qn_utf8_next(text + start, end - start, &code) != end - start) return -1;
    *length = end - start;
    return code;
}

static bool stands_alone(const char *text, size_t size, size_t start, size_t end) {
    size_t length;
    int32_t code = start > 0 ? character_before(text, start, &length) : -1;
    if (code >= 0 && qn_unicode_is_word((uint32_t)code)) return false;
    if (end < size) qn_utf8_next(text + end, size - end, &code);
    return end == size || code < 0 || !qn_unicode_is_word((uint32_t)code);
}

static size_t skip_spaces_left(const char *text, size_t start, size_t limit) {
    while (start > limit) {
        size_t length;
        int32_t code = character_before(text, start, &length);
        if (code < 0 || !qn_unicode_is_space((uint32_t)code) || length > start - limit) break;
        start -= length;
    }
    return start;
}

static size_t skip_spaces_right(const char *text, size_t size, size_t end) {
    while (end < size) {
        int32_t code;
        size_t length = qn_utf8_next(text + end, size - end, &code);
        if (code < 0 || !qn_unicode_is_space((uint32_t)code)) break;
        end += length;
    }
    return end;
}

// The next position from `at` on where a token may begin; `size` where there is none.
static size_t candidate(const qn_added *added, int set, const char *text, size_t size, size_t at) {
    if (at >= size) return size;
    if (added->only_first[set] >= 0) {
        const char *found = memchr(text + at, added->only_first[set], size - at);
        return found ? (size_t)(found - text) : size;
    }
    const uint8_t *first = added->first[set];
    while (at < size && !first[(uint8_t)text[at]]) at++;
    return at;
}

bool qn_added_find(const qn_added *added, bool normalized, const char *text, size_t size, size_t done, size_t *search,
                   qn_added_match *match) {
    int set = normalized ? 1 : 0;
    if (added->trie_counts[set] == 0) return false;
    const qn_trie *trie = &added->tries[set];
    for (size_t at = candidate(added, set, text, size, *search); at < size;
         at = candidate(added, set, text, size, *search)) {
        int32_t node = QN_TRIE_ROOT, index = -1;
        size_t end = at;
        for (size_t i = at; i < size && (node = qn_trie_step(trie, node, (uint8_t)text[i])) >= 0; i++) {
            if (trie->cells[node].value < 0) continue;
            index = trie->cells[node].value;
            end = i + 1;
        }
        if (index < 0) {
            *search = at + 1;
            continue;
        }
        *search = end;
        const qn_added_token *token = &added->tokens[index];
        if (token->single_word && !stands_alone(text, size, at, end)) continue;
        match->token = token;
        match->start = token->lstrip ? skip_spaces_left(text, at, done) : at;
        match->end = token->rstrip ? skip_spaces_right(text, size, end) : end;
        return true;
    }
    *search = size;
    return false;
}
