// quern predict with heads on tokens: entities with their places, and tokens that were replaced.
#include "cli/predict.h"
#include <string.h>

typedef struct {
    const text_window *window;
    output *out;
} receiver;

static qn_status write_spans(void *user, size_t index, const qn_usage *usage, const qn_tag_span *spans, size_t count) {
    const receiver *r = user;
    const qn_text *text = &r->window->texts[index];
    output_text(r->out, "{\"spans\": [");
    for (size_t i = 0; i < count; i++) {
        const qn_tag_span *s = &spans[i];
        output_text(r->out, i ? ", {\"label\": " : "{\"label\": ");
        output_quoted(r->out, s->label, strlen(s->label));
        output_text(r->out, ", \"text\": ");
        output_quoted(r->out, text->text + s->start, s->end - s->start);
        output_printf(r->out, ", \"start\": %zu, \"end\": %zu, \"byte_start\": %zu, \"byte_end\": %zu, \"score\": ",
                      s->char_start, s->char_end, s->start, s->end);
        output_number(r->out, (double)s->score);
        output_text(r->out, "}");
    }
    output_text(r->out, "], ");
    output_usage(r->out, usage);
    output_text(r->out, "}\n");
    return QN_OK;
}

int predict_tags(const predict_settings *s, qn_model *model, text_window *window, output *out) {
    const qn_tag_options options = {s->split_by_space, s->unconstrained, s->stride};
    receiver r = {window, out};
    for (;;) {
        int status = window_next(window);
        if (status || window->count == 0) return status;
        if (qn_tag(model, window->texts, window->count, &options, write_spans, &r) != QN_OK) return failed();
        if (output_broken(out)) return 1;
    }
}

typedef struct {
    const qn_tokenizer *tokenizer;
    output *out;
} replaced_receiver;

static qn_status write_replaced(void *user, size_t index, const qn_encoding *encoding, const float *probabilities) {
    (void)index;
    const replaced_receiver *r = user;
    output_text(r->out, "{\"tokens\": [");
    for (size_t i = 0; i < encoding->count; i++) {
        const char *token = qn_tokenizer_token(r->tokenizer, encoding->ids[i]);
        if (i) output_text(r->out, ", ");
        output_quoted(r->out, token ? token : "", token ? strlen(token) : 0);
    }
    output_text(r->out, "], \"replaced\": ");
    output_vector(r->out, probabilities, encoding->count);
    output_text(r->out, ", ");
    output_usage(r->out, &(qn_usage){encoding->count, 1, encoding->truncated});
    output_text(r->out, "}\n");
    return QN_OK;
}

int predict_replaced(qn_model *model, text_window *window, output *out) {
    replaced_receiver r = {qn_model_tokenizer(model), out};
    for (;;) {
        int status = window_next(window);
        if (status || window->count == 0) return status;
        if (qn_find_replaced(model, window->texts, window->count, write_replaced, &r) != QN_OK) return failed();
        if (output_broken(out)) return 1;
    }
}
