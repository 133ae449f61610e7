// See text_autoencoder.h; qn_reconstruct and qn_decode_vectors.
#include "infer/text_autoencoder.h"
#include "infer/beam_settings.h"
#include <stdlib.h>
#include <string.h>

enum { WINDOW_BATCHES = 64 };

qn_reconstruction_options qn_reconstruction_defaults(void) {
    return (qn_reconstruction_options){.beam_size = 1};
}

bool qn_model_is_variational(const qn_model *m) {
    return m->network->config.text_decoder && m->network->config.variational;
}

typedef struct {
    qn_model *model;
    qn_beam_settings settings;
    int32_t end;
    size_t given;                  // tokens of a text that are read first and not written
    const qn_sequences *originals; // NULL: there were vectors alone
    size_t first;                  // text of a window
    qn_reconstruction_receiver receive;
    void *user;
} reconstruction;

qn_status qn_infer_text_ends(const qn_tokenizer *tokenizer, int32_t *first, int32_t *last) {
    qn_encoding none = QN_ENCODING_INIT;
    qn_encode_options options = qn_encode_defaults();
    qn_status status = qn_tokenizer_encode(tokenizer, "", 0, NULL, 0, &options, &none);
    if (status == QN_OK && none.count < 2)
        status =
            qn_fail(QN_ERROR_ARGUMENT, "the tokenizer puts no token before and after a text (expected both, such as "
                                       "[CLS] and [SEP])");
    if (status == QN_OK) *first = none.ids[0], *last = none.ids[none.count - 1];
    qn_encoding_free(&none);
    return status;
}

// A decoder of vectors reads a text's first token, and writes as long a text as the encoder reads.
static qn_status search_of_vectors(reconstruction *r, const qn_reconstruction_options *o) {
    qn_model *m = r->model;
    size_t beams = o->beam_size ? o->beam_size : 1, most = m->network->config.decoder.max_positions - 1;
    if (beams > 1 << 10) return qn_fail(QN_ERROR_ARGUMENT, "%zu beams (expected at most %d)", beams, 1 << 10);
    r->given = 1;
    r->settings.search = (qn_search){.beams = beams,
                                     .best = 1,
                                     .max_tokens = o->max_tokens && o->max_tokens < most ? o->max_tokens : most,
                                     .length_penalty = 1,
                                     .first = -1,
                                     .last = -1,
                                     .ends = &r->end,
                                     .end_count = 1};
    if (!o->max_tokens && m->encode.max_length && m->encode.max_length < most)
        r->settings.search.max_tokens = m->encode.max_length;
    return qn_infer_text_ends(m->tokenizer, &r->settings.search.start, &r->end);
}

static qn_status open_search(reconstruction *r, const qn_reconstruction_options *o) {
    qn_model *m = r->model;
    const char *name = m->folder ? m->folder : m->network->config.source;
    if (m->network->config.text_decoder) {
        QN_TRY(search_of_vectors(r, o));
    } else if (!qn_model_is_translator(m)) {
        return qn_fail(QN_ERROR_UNSUPPORTED,
                       "%s: no decoder of texts was opened (expected an autoencoder's folder, with its decoder, or an "
                       "encoder-decoder's)",
                       name);
    } else {
        qn_translation_options options = qn_translation_defaults();
        options.beam_size = o->beam_size ? o->beam_size : 1;
        options.max_tokens = o->max_tokens;
        QN_TRY(qn_beam_settings_open(m, &options, &r->settings));
    }
    QN_TRY(qn_infer_pack(m));
    return qn_infer_pack_head(m);
}

// How much of the original stands in its reconstruction, token by token.
static void compare(const reconstruction *r, const qn_hypothesis *h, qn_reconstructed *out) {
    const qn_sequences *s = r->originals;
    const int32_t *ids = s->ids + qn_sequences_begin(s, h->index) + r->given;
    size_t length = (size_t)qn_sequences_length(s, h->index), count = length > r->given ? length - r->given : 0;
    out->original_tokens = count;
    for (size_t i = 0; i < count && i < h->count; i++) out->right += ids[i] == h->ids[i];
    out->exact = out->right == count && h->count == count;
}

static qn_status receive(void *user, const qn_hypothesis *h) {
    const reconstruction *r = user;
    char *text = NULL, *original = NULL;
    qn_reconstructed out = {.index = r->first + h->index, .tokens = h->count, .score = h->score};
    QN_TRY(qn_tokenizer_decode(r->model->tokenizer, h->ids, h->count, true, &text));
    qn_status status = QN_OK;
    if (r->originals) {
        const qn_sequences *s = r->originals;
        status = qn_tokenizer_decode(r->model->tokenizer, s->ids + qn_sequences_begin(s, h->index),
                                     (size_t)qn_sequences_length(s, h->index), true, &original);
        compare(r, h, &out);
    }
    out.text = text + strspn(text, " ");
    out.original = original ? original + strspn(original, " ") : NULL;
    if (status == QN_OK) status = r->receive(r->user, &out);
    free(text);
    free(original);
    return status;
}

static qn_status run(reconstruction *r, const qn_text *texts, size_t count) {
    qn_model *m = r->model;
    size_t width = qn_model_width(m);
    r->originals = &m->window;
    for (size_t next = 0; next < count;) {
        qn_sequences_clear(&m->window);
        for (r->first = next; next < count && m->window.tokens < WINDOW_BATCHES * m->batch_tokens; next++) {
            qn_status status = qn_infer_encode(m, &texts[next], true);
            if (status != QN_OK) return qn_fail_prefix(status, "text %zu", next + 1);
            QN_TRY(qn_sequences_append(&m->window, &m->encoding));
        }
        qn_sources sources = {.count = m->window.count};
        qn_status status = QN_OK;
        float *vectors = NULL;
        if (!m->network->config.text_decoder) {
            sources.texts = &m->window;
        } else {
            sources.vectors = vectors = qn_malloc(m->window.count * width, sizeof *vectors);
            status = vectors ? qn_infer_vectors(m, &m->window, NULL, vectors) : QN_ERROR_MEMORY;
        }
        if (status == QN_OK) status = qn_beam_search(m, &r->settings.search, &sources, receive, r);
        free(vectors);
        QN_TRY(status);
    }
    return QN_OK;
}

qn_status qn_reconstruct(qn_model *model, const qn_text *texts, size_t count, const qn_reconstruction_options *options,
                         qn_reconstruction_receiver receiver, void *user) {
    qn_reconstruction_options defaults = qn_reconstruction_defaults();
    reconstruction r = {.model = model, .receive = receiver, .user = user};
    if (model->dimensions || model->prompt)
        return qn_fail(QN_ERROR_ARGUMENT, "an autoencoder's vectors are whole, and of texts without a prompt");
    qn_status status = open_search(&r, options ? options : &defaults);
    if (status == QN_OK) status = run(&r, texts, count);
    qn_beam_settings_free(&r.settings);
    return status;
}

qn_status qn_decode_vectors(qn_model *model, const float *vectors, size_t count,
                            const qn_reconstruction_options *options, qn_reconstruction_receiver receiver, void *user) {
    qn_reconstruction_options defaults = qn_reconstruction_defaults();
    reconstruction r = {.model = model, .receive = receiver, .user = user};
    if (qn_model_is_translator(model))
        return qn_fail(QN_ERROR_UNSUPPORTED, "%s: its decoder reads all tokens of a text, not its vector",
                       model->folder);
    QN_TRY(open_search(&r, options ? options : &defaults));
    return qn_beam_search(model, &r.settings.search, &(qn_sources){NULL, vectors, count}, receive, &r);
}
