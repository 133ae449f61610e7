// quern reconstruct of texts.
#include "cli/reconstruct.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct {
    const reconstruct_settings *settings;
    qn_model *model;
    output out;
    const qn_text *texts; // of a window; NULL where texts come from vectors alone
    size_t count, exact, tokens, right;
} job;

// ---- From texts

static qn_status put_reconstruction(void *user, const qn_reconstructed *r) {
    job *j = user;
    const qn_text *text = &j->texts[r->index];
    j->count++;
    j->exact += r->exact;
    j->tokens += r->original_tokens;
    j->right += r->right;
    output_text(&j->out, "{\"input\": ");
    output_quoted(&j->out, text->text, text->size);
    output_text(&j->out, ", \"output\": ");
    output_quoted(&j->out, r->text, strlen(r->text));
    output_printf(&j->out, ", \"exact\": %s, \"tokens\": %zu, \"right\": %zu}\n", r->exact ? "true" : "false",
                  r->original_tokens, r->right);
    output_show(&j->out);
    return QN_OK;
}

static int put_vectors(job *j, const text_window *w) {
    size_t width = qn_model_width(j->model);
    float *vectors = malloc(w->count * width * sizeof *vectors);
    if (!vectors) return fail("out of memory");
    int status = qn_embed(j->model, w->texts, w->count, NULL, vectors) == QN_OK ? 0 : failed();
    for (size_t i = 0; i < w->count && !status; i++) {
        output_text(&j->out, "{\"input\": ");
        output_quoted(&j->out, w->texts[i].text, w->texts[i].size);
        output_text(&j->out, ", \"latent\": ");
        output_vector(&j->out, vectors + i * width, width);
        output_text(&j->out, "}\n");
    }
    free(vectors);
    return status;
}

// Texts one after the other, as many as `limit` says.
static int all_texts(job *j) {
    const reconstruct_settings *s = j->settings;
    text_window window = {0};
    size_t left = s->limit ? s->limit : SIZE_MAX;
    int status = window_open(&window, &s->use);
    while (!status && left > 0 && !output_broken(&j->out) && !(status = window_next(&window)) && window.count > 0) {
        if (window.count > left) window.count = left;
        left -= window.count;
        j->texts = window.texts;
        if (s->latent)
            status = put_vectors(j, &window);
        else if (qn_reconstruct(j->model, window.texts, window.count, NULL, put_reconstruction, j) != QN_OK)
            status = failed();
    }
    window_close(&window);
    if (!status && j->count > 0)
        fprintf(stderr, "%zu texts: exact match %.4f, token accuracy %.4f\n", j->count,
                (double)j->exact / (double)j->count, j->tokens ? (double)j->right / (double)j->tokens : 0);
    return status;
}

// ---- From vectors

static qn_status put_text(void *user, const qn_reconstructed *r) {
    job *j = user;
    output_text(&j->out, "{");
    if (j->settings->interpolate)
        output_printf(&j->out, "\"place\": %.4g, ", (double)r->index / (double)(j->settings->steps - 1));
    output_text(&j->out, "\"output\": ");
    output_quoted(&j->out, r->text, strlen(r->text));
    output_text(&j->out, "}\n");
    output_show(&j->out);
    return QN_OK;
}

// The way from the vector of one text to that of another.
static int way(job *j) {
    const reconstruct_settings *s = j->settings;
    size_t width = qn_model_width(j->model);
    if (s->use.texts.count != 2) return wrong_usage("--interpolate goes with two texts as arguments");
    qn_text ends[2] = {{0}};
    for (int i = 0; i < 2; i++) ends[i].text = s->use.texts.items[i], ends[i].size = strlen(ends[i].text);
    float *vectors = malloc((s->steps + 2) * width * sizeof *vectors), *from = vectors + s->steps * width;
    if (!vectors) return fail("out of memory");
    int status = qn_embed(j->model, ends, 2, NULL, from) == QN_OK ? 0 : failed();
    for (size_t k = 0; k < s->steps; k++) {
        float share = (float)k / (float)(s->steps - 1);
        for (size_t i = 0; i < width; i++) vectors[k * width + i] = (1 - share) * from[i] + share * from[width + i];
    }
    if (!status && qn_decode_vectors(j->model, vectors, s->steps, NULL, put_text, j) != QN_OK) status = failed();
    free(vectors);
    return status;
}

static int samples(job *j) {
    const reconstruct_settings *s = j->settings;
    size_t width = qn_model_width(j->model);
    if (!qn_model_is_variational(j->model))
        return fail("%s: is not variational (expected such a model for samples)", s->use.model);
    float *vectors = malloc(s->samples * width * sizeof *vectors);
    if (!vectors) return fail("out of memory");
    for (size_t i = 0; i < s->samples; i++) qn_random_normal(s->seed, i, 1, vectors + i * width, width);
    int status = qn_decode_vectors(j->model, vectors, s->samples, NULL, put_text, j) == QN_OK ? 0 : failed();
    free(vectors);
    return status;
}

int reconstruct_texts(const reconstruct_settings *s) {
    job j = {.settings = s};
    use_settings use = s->use;
    use.options.decoder = true;
    int status = use_model(&use, &j.model);
    if (status) return status;
    if (qn_model_is_translator(j.model) && (s->latent || s->interpolate || s->samples))
        status = fail("%s: its decoder reads all tokens of a text (expected an autoencoder for --latent, --interpolate "
                      "and --sample)",
                      s->use.model);
    if (!status) status = output_open(&j.out, s->use.output);
    if (!status) status = output_close(&j.out, s->interpolate ? way(&j) : s->samples ? samples(&j) : all_texts(&j));
    qn_model_close(j.model);
    return status;
}
