// Reads a SentencePiece model (a protocol buffer with pieces, scores and a compiled normaliser) by writing it as the
// tokenizer.json that transformers makes of it. Ids are the places of the pieces.
#include "base/memory.h"
#include "base/utf8.h"
#include "text/pieces_json.h"
#include "text/pipeline.h"
#include "text/unigram.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

typedef qn_scored_piece piece;
typedef qn_scored_pieces model;

// --- Protocol buffers -----------------------------------------------------------------------------------------------

typedef struct {
    const uint8_t *at, *end;
    const char *path;
} message;

typedef struct {
    uint64_t field, number; // the value of a varint; of fixed32 its bits
    const uint8_t *bytes;   // of a string or message
    size_t size;
} value;

static qn_status read_varint(message *m, uint64_t *out) {
    *out = 0;
    for (int shift = 0; shift < 64 && m->at < m->end; shift += 7) {
        uint8_t byte = *m->at++;
        *out |= (uint64_t)(byte & 0x7F) << shift;
        if (!(byte & 0x80)) return QN_OK;
    }
    return qn_fail(QN_ERROR_FORMAT, "%s: not a SentencePiece model (a number does not end)", m->path);
}

static qn_status read_value(message *m, value *v) {
    uint64_t key, size = 0;
    QN_TRY(read_varint(m, &key));
    *v = (value){.field = key >> 3};
    switch (key & 7) {
    case 0:
        return read_varint(m, &v->number);
    case 1:
        size = 8;
        break;
    case 2:
        QN_TRY(read_varint(m, &size));
        break;
    case 5:
        size = 4;
        break;
    default:
        return qn_fail(QN_ERROR_FORMAT, "%s: not a SentencePiece model (wire type %d)", m->path, (int)(key & 7));
    }
    if (size > (size_t)(m->end - m->at))
        return qn_fail(QN_ERROR_FORMAT, "%s: not a SentencePiece model, or cut off (%llu bytes where %zu are left)",
                       m->path, (unsigned long long)size, (size_t)(m->end - m->at));
    v->bytes = m->at;
    v->size = (size_t)size;
    for (size_t i = 0; i < size && size == 4; i++) v->number |= (uint64_t)m->at[i] << 8 * i;
    m->at += size;
    return QN_OK;
}

static message inside(const message *m, const value *v) {
    return (message){v->bytes, v->bytes ? v->bytes + v->size : NULL, m->path};
}

qn_status qn_scored_pieces_add(qn_scored_pieces *sp, const qn_scored_piece *p) {
    for (size_t i = 0; i < p->size;) {
        int32_t code;
        i += qn_utf8_next(p->text + i, p->size - i, &code);
        if (code <= 0) return qn_fail(QN_ERROR_FORMAT, "%s: piece %zu is not UTF-8 text", sp->path, sp->count);
    }
    if (p->size == 0 || !isfinite(p->score))
        return qn_fail(QN_ERROR_FORMAT, "%s: piece %zu is empty or has no finite score", sp->path, sp->count);
    QN_TRY(qn_grow((void **)&sp->pieces, &sp->capacity, sp->count + 1, sizeof *p));
    sp->pieces[sp->count++] = *p;
    return QN_OK;
}

static qn_status read_piece(model *sp, message m) {
    piece p = {.text = "", .type = QN_PIECE_NORMAL};
    while (m.at < m.end) {
        value v;
        QN_TRY(read_value(&m, &v));
        if (v.field == 1 && v.bytes) {
            p.text = (const char *)v.bytes;
            p.size = v.size;
        } else if (v.field == 2 && v.size == 4) {
            uint32_t bits = (uint32_t)v.number;
            memcpy(&p.score, &bits, sizeof bits);
        } else if (v.field == 3) {
            p.type = v.number;
        }
    }
    return qn_scored_pieces_add(sp, &p);
}

static qn_status read_model(model *sp, message m) {
    while (m.at < m.end) {
        value v, inner;
        QN_TRY(read_value(&m, &v));
        message part = inside(&m, &v);
        if (v.field == 1 && v.bytes) QN_TRY(read_piece(sp, part));
        while ((v.field == 2 || v.field == 3) && part.at < part.end) {
            QN_TRY(read_value(&part, &inner));
            if (v.field == 2 && inner.field == 3) sp->model = inner.number;
            if (v.field == 2 && inner.field == 24) sp->as_suffix = inner.number;
            if (v.field == 2 && inner.field == 35) sp->byte_fallback = inner.number;
            if (v.field == 3 && inner.field == 2 && inner.bytes) {
                sp->map = (const char *)inner.bytes;
                sp->map_size = inner.size;
            }
            if (v.field == 3 && inner.field == 3) sp->dummy_prefix = inner.number;
            if (v.field == 3 && inner.field == 4) sp->remove_spaces = inner.number;
        }
    }
    if (sp->count == 0) return qn_fail(QN_ERROR_FORMAT, "%s: not a SentencePiece model (it has no pieces)", sp->path);
    if (sp->model != QN_PIECES_UNIGRAM && sp->model != QN_PIECES_BPE)
        return qn_fail(QN_ERROR_UNSUPPORTED, "%s: a SentencePiece model of type %llu (expected 1, Unigram, or 2, BPE)",
                       sp->path, (unsigned long long)sp->model);
    if (sp->as_suffix)
        return qn_fail(QN_ERROR_UNSUPPORTED, "%s: a SentencePiece model that writes white space behind words",
                       sp->path);
    return QN_OK;
}

// --- Merges of BPE --------------------------------------------------------------------------------------------------

typedef struct {
    float score;
    uint32_t left_length, right_length; // in characters
    int32_t left, right, order;
} merge;

// As transformers sorts them: by score, then the longer left and right part first, else as they come.
static int by_score(const void *left, const void *right) {
    const merge *a = left, *b = right;
    if (a->score != b->score) return a->score > b->score ? -1 : 1;
    if (a->left_length != b->left_length) return a->left_length > b->left_length ? -1 : 1;
    if (a->right_length != b->right_length) return a->right_length > b->right_length ? -1 : 1;
    return a->order < b->order ? -1 : a->order > b->order;
}

static int by_ids(const void *left, const void *right) {
    const merge *a = left, *b = right;
    if (a->left != b->left) return a->left < b->left ? -1 : 1;
    return a->right < b->right ? -1 : a->right > b->right;
}

static uint32_t count_characters(const char *text, size_t size) {
    uint32_t count = 0;
    for (size_t i = 0; i < size; i++) count += ((uint8_t)text[i] & 0xC0) != 0x80;
    return count;
}

// All pairs of pieces that make a piece.
static qn_status find_merges(const model *sp, const qn_vocabulary *v, merge **merges, size_t *count) {
    size_t capacity = 0;
    for (size_t i = 0; i < sp->count; i++) {
        const piece *p = &sp->pieces[i];
        size_t first = *count;
        if (p->score <= (float)QN_UNIGRAM_WRITTEN_ONLY) continue;
        for (size_t cut = 1; cut < p->size; cut++) {
            if (((uint8_t)p->text[cut] & 0xC0) == 0x80) continue;
            int32_t left = qn_vocabulary_id(v, p->text, cut);
            int32_t right = left < 0 ? -1 : qn_vocabulary_id(v, p->text + cut, p->size - cut);
            if (right < 0) continue;
            QN_TRY(qn_grow((void **)merges, &capacity, *count + 1, sizeof **merges));
            (*merges)[(*count)++] = (merge){
                p->score, count_characters(p->text, cut), count_characters(p->text + cut, p->size - cut), left, right,
                0};
        }
        if (*count > first + 1) qsort(*merges + first, *count - first, sizeof **merges, by_ids);
    }
    for (size_t i = 0; i < *count; i++) (*merges)[i].order = (int32_t)i;
    if (*count > 1) qsort(*merges, *count, sizeof **merges, by_score);
    return QN_OK;
}

static qn_status put_merges(const model *sp, qn_buffer *out) {
    qn_vocabulary v = {0};
    merge *merges = NULL;
    size_t count = 0;
    qn_status status = QN_OK;
    for (size_t i = 0; i < sp->count && status == QN_OK; i++)
        status = qn_vocabulary_add(&v, sp->pieces[i].text, sp->pieces[i].size, (int64_t)i);
    if (status == QN_OK) status = qn_vocabulary_finish(&v);
    if (status == QN_OK) status = find_merges(sp, &v, &merges, &count);
    qn_vocabulary_free(&v);
    for (size_t i = 0; i < count && status == QN_OK; i++) {
        const piece *left = &sp->pieces[merges[i].left], *right = &sp->pieces[merges[i].right];
        qn_buffer_text(out, i ? ",\n[" : "\n[");
        qn_buffer_json_string(out, left->text, left->size);
        qn_buffer_char(out, ',');
        qn_buffer_json_string(out, right->text, right->size);
        qn_buffer_char(out, ']');
    }
    free(merges);
    return status;
}

// --- tokenizer.json -------------------------------------------------------------------------------------------------

static void put_base64(qn_buffer *out, const char *data, size_t size) {
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    for (size_t i = 0; i < size; i += 3) {
        uint32_t bits = (uint32_t)(uint8_t)data[i] << 16;
        if (i + 1 < size) bits |= (uint32_t)(uint8_t)data[i + 1] << 8;
        if (i + 2 < size) bits |= (uint8_t)data[i + 2];
        char group[4] = {digits[bits >> 18], digits[bits >> 12 & 63], i + 1 < size ? digits[bits >> 6 & 63] : '=',
                         i + 2 < size ? digits[bits & 63] : '='};
        qn_buffer_append(out, group, 4);
    }
}

static void put_added_tokens(const model *sp, qn_buffer *out) {
    bool first = true;
    qn_buffer_text(out, "\"added_tokens\": [");
    for (size_t i = 0; i < sp->count; i++) {
        const piece *p = &sp->pieces[i];
        if (p->type != QN_PIECE_UNKNOWN && p->type != QN_PIECE_CONTROL && p->type != QN_PIECE_USER) continue;
        qn_buffer_printf(out, "%s\n{\"id\": %zu, \"content\": ", first ? "" : ",", i);
        first = false;
        qn_buffer_json_string(out, p->text, p->size);
        qn_buffer_printf(out,
                         ", \"single_word\": false, \"lstrip\": false, \"rstrip\": false, \"normalized\": false, "
                         "\"special\": %s}",
                         p->type == QN_PIECE_USER ? "false" : "true");
    }
    qn_buffer_text(out, "],\n");
}

static void put_normalizer(const model *sp, qn_buffer *out) {
    qn_buffer_text(out, "\"normalizer\": {\"type\": \"Sequence\", \"normalizers\": [");
    const char *comma = "";
    if (sp->map_size > 0) {
        qn_buffer_text(out, "{\"type\": \"Precompiled\", \"precompiled_charsmap\": \"");
        put_base64(out, sp->map, sp->map_size);
        qn_buffer_text(out, "\"}");
        comma = ", ";
    }
    if (sp->remove_spaces) {
        qn_buffer_printf(out,
                         "%s{\"type\": \"Strip\", \"strip_left\": true, \"strip_right\": true}, {\"type\": "
                         "\"Replace\", \"pattern\": {\"Regex\": \" {2,}\"}, \"content\": \" \"}",
                         comma);
        comma = ", ";
    }
    if (sp->as_llama) {
        if (sp->dummy_prefix) {
            qn_buffer_printf(out, "%s{\"type\": \"Prepend\", \"prepend\": \"\xE2\x96\x81\"}", comma);
            comma = ", ";
        }
        qn_buffer_printf(out, "%s{\"type\": \"Replace\", \"pattern\": {\"String\": \" \"}, \"content\": \"\xE2\x96\x81\"}", comma);
    }
    qn_buffer_text(out, "]},\n");
}

static qn_status put_model(const model *sp, qn_buffer *out) {
    bool bpe = sp->model == QN_PIECES_BPE;
    size_t unknown = SIZE_MAX;
    for (size_t i = 0; i < sp->count && unknown == SIZE_MAX; i++)
        if (sp->pieces[i].type == QN_PIECE_UNKNOWN) unknown = i;
    qn_buffer_printf(out, "\"model\": {\"type\": \"%s\", \"byte_fallback\": %s, ", bpe ? "BPE" : "Unigram",
                     sp->byte_fallback ? "true" : "false");
    if (unknown != SIZE_MAX && bpe) {
        qn_buffer_text(out, "\"fuse_unk\": true, \"unk_token\": ");
        qn_buffer_json_string(out, sp->pieces[unknown].text, sp->pieces[unknown].size);
        qn_buffer_text(out, ", ");
    } else if (unknown != SIZE_MAX) {
        qn_buffer_printf(out, "\"unk_id\": %zu, ", unknown);
    }
    qn_buffer_text(out, bpe ? "\"vocab\": {" : "\"vocab\": [");
    for (size_t i = 0; i < sp->count; i++) {
        const piece *p = &sp->pieces[i];
        qn_buffer_text(out, i ? ",\n" : "\n");
        if (!bpe) qn_buffer_char(out, '[');
        qn_buffer_json_string(out, p->text, p->size);
        if (bpe)
            qn_buffer_printf(out, ": %zu", i);
        else
            qn_buffer_printf(out, ", %.17g]", (double)p->score);
    }
    qn_buffer_text(out, bpe ? "}, \"merges\": [" : "]");
    if (bpe) QN_TRY(put_merges(sp, out));
    qn_buffer_text(out, bpe ? "]}\n}\n" : "}\n}\n");
    return QN_OK;
}

qn_status qn_scored_pieces_to_json(const qn_scored_pieces *sp, qn_buffer *out) {
    const char *scheme = sp->dummy_prefix ? "always" : "never";
    qn_buffer_text(out, "{\"version\": \"1.0\", \"truncation\": null, \"padding\": null,\n");
    put_added_tokens(sp, out);
    put_normalizer(sp, out);
    if (sp->as_llama)
        qn_buffer_text(out, "\"pre_tokenizer\": null,\n");
    else
        qn_buffer_printf(out,
                         "\"pre_tokenizer\": {\"type\": \"Metaspace\", \"replacement\": \"\xE2\x96\x81\", "
                         "\"prepend_scheme\": \"%s\", \"split\": %s},\n",
                         scheme, sp->model == QN_PIECES_BPE ? "false" : "true");
    qn_buffer_printf(out, "\"post_processor\": %s,\n", sp->processor ? sp->processor : "null");
    qn_buffer_printf(out,
                     "\"decoder\": {\"type\": \"Sequence\", \"decoders\": [{\"type\": \"Replace\", \"pattern\": "
                     "{\"String\": \"\xE2\x96\x81\"}, \"content\": \" \"}, {\"type\": \"ByteFallback\"}, {\"type\": "
                     "\"Fuse\"}, {\"type\": \"Strip\", \"content\": \" \", \"start\": %d, \"stop\": 0}]},\n",
                     sp->dummy_prefix ? 1 : 0);
    QN_TRY(put_model(sp, out));
    return qn_buffer_status(out);
}

qn_status qn_sentencepiece_read(const char *path, const void *data, size_t size, qn_scored_pieces *out) {
    const uint8_t *bytes = data;
    *out = (qn_scored_pieces){.path = path, .model = QN_PIECES_UNIGRAM, .dummy_prefix = 1, .remove_spaces = 1};
    return read_model(out, (message){bytes, bytes + size, path});
}

qn_status qn_sentencepiece_to_json(const char *path, const void *data, size_t size, qn_buffer *out) {
    model sp;
    qn_status status = qn_sentencepiece_read(path, data, size, &sp);
    if (status == QN_OK) status = qn_scored_pieces_to_json(&sp, out);
    free(sp.pieces);
    return status;
}
