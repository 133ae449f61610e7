// Translation: texts to tokens, beam search, tokens to texts.
#include "infer/beam_settings.h"
#include <stdlib.h>
#include <string.h>

enum { WINDOW_BATCHES = 64 };

typedef struct {
    qn_model *model;
    const qn_translation_options *options;
    qn_beam_settings settings;
    size_t first; // text of a window
    qn_translation_receiver receive;
    void *user;
} translator;

qn_translation_options qn_translation_defaults(void) {
    return (qn_translation_options){.rules = -1, .early_stopping = -1};
}

static qn_status receive(void *user, const qn_hypothesis *h) {
    translator *t = user;
    char *text;
    QN_TRY(qn_tokenizer_decode(t->model->tokenizer, h->ids, h->count, true, &text));
    const char *begin = text + strspn(text, " ");
    qn_status status = t->receive(t->user, &(qn_translated){.index = t->first + h->index,
                                                            .rank = h->rank,
                                                            .text = begin,
                                                            .size = strlen(begin),
                                                            .tokens = h->count,
                                                            .score = h->score,
                                                            .last = h->last});
    free(text);
    return status;
}

static qn_status encode(translator *t, const qn_text *text, size_t index) {
    const char *prefix = t->options->prefix;
    qn_text given = *text;
    qn_buffer joined = {0};
    if (prefix && *prefix) {
        qn_buffer_text(&joined, prefix);
        qn_buffer_append(&joined, text->text ? text->text : "", text->size);
        QN_TRY(qn_buffer_status(&joined));
        given.text = joined.data;
        given.size = joined.size;
    }
    qn_status status = qn_infer_encode(t->model, &given, false);
    qn_buffer_free(&joined);
    return status == QN_OK ? QN_OK : qn_fail_prefix(status, "text %zu", index + 1);
}

static qn_status run(translator *t, const qn_text *texts, size_t count) {
    qn_model *m = t->model;
    for (size_t next = 0; next < count;) {
        qn_sequences_clear(&m->window);
        for (t->first = next; next < count && m->window.tokens < WINDOW_BATCHES * m->batch_tokens; next++) {
            QN_TRY(encode(t, &texts[next], next));
            QN_TRY(qn_sequences_append(&m->window, &m->encoding));
        }
        QN_TRY(qn_beam_search(m, &t->settings.search, &(qn_sources){&m->window, NULL, m->window.count}, receive, t));
    }
    return QN_OK;
}

qn_status qn_translate(qn_model *m, const qn_text *texts, size_t count, const qn_translation_options *options,
                       qn_translation_receiver receiver, void *user) {
    qn_translation_options defaults = qn_translation_defaults();
    translator t = {.model = m, .options = options ? options : &defaults, .receive = receiver, .user = user};
    const qn_model_config *config = &m->network->config;
    if (!qn_model_is_translator(m))
        return qn_fail(QN_ERROR_UNSUPPORTED, "%s: this model does not translate (expected \"%s\")", config->source,
                       config->encoder_decoder ? config->family->class_masked_lm : "MarianMTModel");
    if (m->overflow == QN_OVERFLOW_SPLIT)
        return qn_fail(QN_ERROR_UNSUPPORTED, "translation does not split texts (expected to cut them, or an error)");
    qn_status status = qn_infer_pack(m);
    if (status == QN_OK) status = qn_infer_pack_head(m);
    if (status == QN_OK) status = qn_beam_settings_open(m, t.options, &t.settings);
    if (status == QN_OK) status = run(&t, texts, count);
    qn_beam_settings_free(&t.settings);
    return status;
}
