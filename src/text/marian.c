// Marian's tokenizers: a SentencePiece model for each language, which cuts texts into pieces, and one vocabulary of
// both, vocab.json, which has the ids. A piece of the other language alone is known by its id, but no text is cut into
// it.
#include "base/json.h"
#include "base/memory.h"
#include "text/pieces_json.h"
#include "text/pipeline.h"
#include "text/unigram.h"
#include <stdlib.h>
#include <string.h>

static const char END[] = "</s>";

static uint64_t type_of(const char *token) {
    size_t size = strlen(token);
    if (strcmp(token, "<unk>") == 0) return QN_PIECE_UNKNOWN;
    if (strcmp(token, END) == 0 || strcmp(token, "<pad>") == 0) return QN_PIECE_CONTROL;
    bool language = size > 4 && strncmp(token, ">>", 2) == 0 && strcmp(token + size - 2, "<<") == 0;
    return language ? QN_PIECE_USER : QN_PIECE_NORMAL;
}

// The pieces by the ids of the vocabulary, with the scores that `sp` has for them.
static qn_status order(const qn_scored_pieces *sp, const char *path, json_t *ids, qn_scored_piece *pieces,
                       size_t count) {
    qn_vocabulary known = {0};
    qn_status status = QN_OK;
    for (size_t i = 0; i < sp->count && status == QN_OK; i++)
        status = qn_vocabulary_add(&known, sp->pieces[i].text, sp->pieces[i].size, (int64_t)i);
    if (status == QN_OK) status = qn_vocabulary_finish(&known);
    for (void *i = json_object_iter(ids); i && status == QN_OK; i = json_object_iter_next(ids, i)) {
        const char *token = json_object_iter_key(i);
        const json_t *value = json_object_iter_value(i);
        json_int_t id = json_is_integer(value) ? json_integer_value(value) : -1;
        if (id < 0 || (uint64_t)id >= count || pieces[id].text) {
            status = qn_fail(QN_ERROR_FORMAT, "%s: \"%s\" has no id of its own (expected one of 0 to %zu)", path, token,
                             count - 1);
            break;
        }
        int32_t found = qn_vocabulary_id(&known, token, strlen(token));
        bool cut = found >= 0 && sp->pieces[found].type == QN_PIECE_NORMAL;
        pieces[id] = (qn_scored_piece){token, strlen(token),
                                       cut ? sp->pieces[found].score : (float)QN_UNIGRAM_WRITTEN_ONLY, type_of(token)};
    }
    qn_vocabulary_free(&known);
    return status;
}

static qn_status put(const qn_scored_pieces *sp, const char *path, json_t *ids, qn_buffer *out) {
    size_t count = json_object_size(ids);
    const json_t *end = json_object_get(ids, END);
    qn_scored_pieces all = *sp;
    all.pieces = qn_calloc(count + 1, sizeof *all.pieces);
    all.count = count;
    qn_buffer processor = {0};
    qn_status status = all.pieces ? order(sp, path, ids, all.pieces, count) : QN_ERROR_MEMORY;
    if (status == QN_OK && !end) status = qn_fail(QN_ERROR_FORMAT, "%s: no token \"%s\", which ends texts", path, END);
    if (status == QN_OK) {
        static const char text[] = "{\"Sequence\": {\"id\": \"%s\", \"type_id\": 0}}, ";
        qn_buffer_text(&processor, "{\"type\": \"TemplateProcessing\", \"single\": [");
        for (int pair = 0; pair < 2; pair++) {
            if (pair) qn_buffer_text(&processor, ", \"pair\": [");
            qn_buffer_printf(&processor, text, "A");
            if (pair) qn_buffer_printf(&processor, text, "B");
            qn_buffer_printf(&processor, "{\"SpecialToken\": {\"id\": \"%s\", \"type_id\": 0}}]", END);
        }
        qn_buffer_printf(&processor,
                         ", \"special_tokens\": {\"%s\": {\"id\": \"%s\", \"ids\": [%lld], \"tokens\": [\"%s\"]}}}",
                         END, END, (long long)json_integer_value(end), END);
        status = qn_buffer_status(&processor);
    }
    all.processor = processor.data;
    if (status == QN_OK) status = qn_scored_pieces_to_json(&all, out);
    qn_buffer_free(&processor);
    free(all.pieces);
    return status;
}

qn_status qn_marian_to_json(const char *path, const qn_buffer *model, const char *vocabulary_path,
                            const qn_buffer *vocabulary, qn_buffer *out) {
    qn_scored_pieces sp;
    json_t *ids = NULL;
    qn_status status = qn_sentencepiece_read(path, model->data, model->size, &sp);
    if (status == QN_OK) status = qn_json_parse(vocabulary->data, vocabulary->size, vocabulary_path, &ids);
    if (status == QN_OK && !json_is_object(ids))
        status = qn_fail(QN_ERROR_FORMAT, "%s: not a JSON object of tokens and ids", vocabulary_path);
    if (status == QN_OK) status = put(&sp, vocabulary_path, ids, out);
    json_decref(ids);
    free(sp.pieces);
    return status;
}
