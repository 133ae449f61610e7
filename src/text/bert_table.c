// Works out what becomes of every code point: the steps of BERT's normaliser (clean, space Chinese, decompose and drop
// accents, lower) and the kinds of its pre-tokenizer, folded into one entry each.
#include "text/bert_table.h"
#include "base/memory.h"
#include "text/unicode.h"
#include <stdlib.h>
#include <string.h>

// The first blocks are shared by all code points of large uniform areas; they are copied before one of them is changed.
enum { SHARED_LETTER, SHARED_REMOVED, SHARED_ALONE, SHARED_HANGUL, SHARED_COUNT };

typedef struct {
    qn_bert *bert;
    qn_status status;
} builder;

static uint32_t *own_block(builder *b, uint32_t code) {
    qn_bert *bert = b->bert;
    if (b->status != QN_OK) return NULL;
    size_t block = bert->blocks[code >> QN_CODE_BLOCK_BITS];
    if (block < SHARED_COUNT) {
        size_t fresh = bert->block_count;
        b->status =
            qn_grow((void **)&bert->entries, &bert->entries_capacity, (fresh + 1) * QN_CODE_BLOCK, sizeof(uint32_t));
        if (b->status != QN_OK) return NULL;
        memcpy(bert->entries + fresh * QN_CODE_BLOCK, bert->entries + block * QN_CODE_BLOCK,
               QN_CODE_BLOCK * sizeof(uint32_t));
        bert->blocks[code >> QN_CODE_BLOCK_BITS] = (uint16_t)fresh;
        bert->block_count++;
        block = fresh;
    }
    return bert->entries + block * QN_CODE_BLOCK;
}

static void set_entry(builder *b, uint32_t code, uint32_t entry) {
    if (qn_bert_entry(b->bert, code) == entry) return;
    uint32_t *block = own_block(b, code);
    if (block) block[code & (QN_CODE_BLOCK - 1)] = entry;
}

static uint32_t kind_of(uint32_t code) {
    if (qn_unicode_is_punctuation(code)) return QN_CHAR_PUNCTUATION;
    if (qn_unicode_is_space(code)) return QN_CHAR_SPACE;
    return QN_CHAR_LETTER;
}

static uint32_t add_expansion(builder *b, const uint32_t *codes, size_t count) {
    qn_bert *bert = b->bert;
    uint32_t index = (uint32_t)bert->expansion_count;
    b->status = qn_grow((void **)&bert->expansions, &bert->expansions_capacity, bert->expansion_count + count + 1,
                        sizeof(uint32_t));
    if (b->status != QN_OK) return 0;
    bert->expansions[bert->expansion_count++] = (uint32_t)count;
    for (size_t i = 0; i < count; i++) bert->expansions[bert->expansion_count++] = codes[i] | kind_of(codes[i]);
    return index;
}

// Decomposes, drops marks and lowers one code point, as the options say.
static void map_code(void *user, uint32_t code) {
    builder *b = user;
    const qn_bert_options *options = &b->bert->options;
    uint32_t parts[4] = {code}, result[8];
    size_t part_count = 1, count = 0;
    bool starter = false, lasting_mark = false;
    if (options->strip_accents) part_count = qn_unicode_decompose(code, parts);
    for (size_t i = 0; i < part_count; i++) {
        if (options->strip_accents) {
            bool mark = qn_unicode_is_mark(parts[i]);
            if (qn_unicode_combining_class(parts[i]) == 0)
                starter = true;
            else if (!mark)
                lasting_mark = true;
            if (mark) continue;
        }
        if (options->lowercase)
            count += qn_unicode_lower(parts[i], result + count);
        else
            result[count++] = parts[i];
    }
    uint32_t entry;
    if (lasting_mark)
        entry = QN_CHAR_REORDER;
    else if (count == 0)
        entry = QN_CHAR_REMOVED;
    else if (count == 1)
        entry = kind_of(result[0]) | (result[0] == code ? 0 : result[0]);
    else
        entry = QN_CHAR_EXPANDED | add_expansion(b, result, count);
    if (options->strip_accents && !starter) entry |= QN_CHAR_TRANSPARENT;
    set_entry(b, code, entry);
}

static void fill(builder *b, uint32_t first, uint32_t last, uint32_t entry, size_t shared) {
    for (uint32_t code = first; code <= last && b->status == QN_OK;) {
        bool whole = (code & (QN_CODE_BLOCK - 1)) == 0 && last - code >= QN_CODE_BLOCK - 1;
        if (whole && b->bert->blocks[code >> QN_CODE_BLOCK_BITS] < SHARED_COUNT) {
            b->bert->blocks[code >> QN_CODE_BLOCK_BITS] = (uint16_t)shared;
            code += QN_CODE_BLOCK;
        } else {
            set_entry(b, code++, entry);
        }
    }
}

static void visit_mark(void *user, uint32_t first, uint32_t last) {
    builder *b = user;
    for (uint32_t code = first; code <= last; code++)
        set_entry(b, code, QN_CHAR_REMOVED | (qn_unicode_combining_class(code) ? QN_CHAR_TRANSPARENT : 0));
}

static void visit_punctuation(void *user, uint32_t first, uint32_t last) {
    builder *b = user;
    for (uint32_t code = first; code <= last; code++)
        if (qn_bert_entry(b->bert, code) == QN_CHAR_LETTER) set_entry(b, code, QN_CHAR_PUNCTUATION);
}

static void visit_space(void *user, uint32_t first, uint32_t last) {
    builder *b = user;
    for (uint32_t code = first; code <= last; code++) {
        uint32_t self = qn_bert_entry(b->bert, code) & QN_CHAR_CODE;
        set_entry(b, code, QN_CHAR_SPACE | (!b->bert->options.clean_text ? self : code == ' ' ? 0 : ' '));
    }
}

static void visit_chinese(void *user, uint32_t first, uint32_t last) {
    builder *b = user;
    for (uint32_t code = first; code <= last;) {
        if (b->bert->blocks[code >> QN_CODE_BLOCK_BITS] < SHARED_COUNT) { // no entries of its own in the whole block
            uint32_t stop = code | (QN_CODE_BLOCK - 1);
            if (stop > last) stop = last;
            fill(b, code, stop, QN_CHAR_ALONE, SHARED_ALONE);
            code = stop + 1;
        } else { // compatibility ideographs turn into unified ones; no ideograph becomes two
            set_entry(b, code, QN_CHAR_ALONE | (qn_bert_entry(b->bert, code) & QN_CHAR_CODE));
            code++;
        }
    }
}

static void visit_removed(void *user, uint32_t first, uint32_t last) {
    fill(user, first, last, QN_CHAR_REMOVED | QN_CHAR_TRANSPARENT, SHARED_REMOVED);
}

static void fill_bytes(qn_bert *bert) {
    for (uint32_t byte = 0; byte < 0x80; byte++) {
        uint32_t entry = qn_bert_entry(bert, byte), code = entry & QN_CHAR_CODE;
        if ((entry & QN_CHAR_KIND) == QN_CHAR_LETTER) bert->word[byte] = (uint8_t)(code ? code : byte);
        if ((entry & QN_CHAR_KIND) == QN_CHAR_SPACE) bert->edge[byte] = QN_EDGE_SPACE;
        if ((entry & QN_CHAR_KIND) == QN_CHAR_PUNCTUATION) bert->edge[byte] = QN_EDGE_PUNCTUATION;
    }
}

qn_status qn_bert_create(const qn_bert_options *options, qn_bert **out) {
    *out = NULL;
    qn_bert *bert = qn_calloc(1, sizeof *bert);
    if (!bert) return QN_ERROR_MEMORY;
    bert->options = *options;
    bert->block_count = SHARED_COUNT;
    builder b = {bert,
                 qn_grow((void **)&bert->entries, &bert->entries_capacity, 512 * QN_CODE_BLOCK, sizeof(uint32_t))};
    if (b.status == QN_OK) {
        const uint32_t shared[SHARED_COUNT] = {QN_CHAR_LETTER, QN_CHAR_REMOVED | QN_CHAR_TRANSPARENT, QN_CHAR_ALONE,
                                               QN_CHAR_HANGUL};
        for (size_t i = 0; i < SHARED_COUNT * QN_CODE_BLOCK; i++) bert->entries[i] = shared[i / QN_CODE_BLOCK];
        if (options->strip_accents || options->lowercase) qn_unicode_visit_special(map_code, &b);
        if (options->strip_accents) {
            qn_unicode_visit_marks(visit_mark, &b);
            fill(&b, 0xAC00, 0xD7A3, QN_CHAR_HANGUL, SHARED_HANGUL);
        }
        // A later step stands earlier in the reference's order and so overrules: what is cleaned away is never an
        // accent.
        qn_unicode_visit_punctuation(visit_punctuation, &b);
        qn_unicode_visit_spaces(visit_space, &b);
        if (options->chinese_characters) qn_unicode_visit_chinese(visit_chinese, &b);
        if (options->clean_text) qn_unicode_visit_removed(visit_removed, &b);
        fill_bytes(bert);
    }
    if (b.status != QN_OK) {
        qn_bert_free(bert);
        return b.status;
    }
    *out = bert;
    return QN_OK;
}

void qn_bert_free(qn_bert *bert) {
    if (!bert) return;
    free(bert->entries);
    free(bert->expansions);
    free(bert);
}

const qn_bert_options *qn_bert_get_options(const qn_bert *bert) {
    return &bert->options;
}
