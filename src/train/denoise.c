// See denoise.h.
#include "train/denoise.h"
#include "base/file.h"
#include "infer/text_autoencoder.h"
#include <math.h>

// How a text's vector is made: as the folder says, or by the mean of its tokens' vectors; and a layer that narrows it.
static qn_status choose_vector(qn_denoiser *d, const qn_training *o, const qn_model_config *config, const char *from,
                               bool resumes, size_t max_length) {
    if (qn_is_folder(from)) QN_TRY(qn_sbert_read(from, &d->sentence));
    d->sentence.present = true;
    if (resumes) return QN_OK;
    if (d->sentence.sparse) return qn_fail(QN_ERROR_UNSUPPORTED, "%s: its vectors are sparse", from);
    if (o->embed.pooling) QN_TRY(qn_sbert_set_poolings(&d->sentence, o->embed.pooling));
    size_t width = qn_sbert_width(&d->sentence, config->encoder.hidden, config->encoder.vocabulary);
    size_t latent = o->decoder.latent ? o->decoder.latent : width;
    d->sentence.max_seq_length = (int64_t)max_length;
    return latent == width ? QN_OK : qn_sbert_add_dense(&d->sentence, width, latent, "linear");
}

static qn_status choose_decoder(qn_denoiser *d, const qn_training *o, const qn_tokenizer *tokenizer, const char *from) {
    int32_t first, last;
    QN_TRY(qn_infer_text_ends(tokenizer, &first, &last));
    d->decoder = (qn_text_decoder){
        .tied = o->decoder.tied > 0, .layers = o->decoder.layers, .variational = o->decoder.variational};
    if (qn_is_folder(from) && qn_has_text_decoder(from)) d->decoder.folder = from;
    return QN_OK;
}

qn_status qn_denoiser_init(qn_denoiser *d, const qn_training *o, const qn_tokenizer *tokenizer,
                           const qn_model_config *config, const char *from, bool resumes, size_t max_length) {
    *d = (qn_denoiser){.autoencodes = !config->encoder_decoder, .sentence = qn_sbert_defaults()};
    if (o->lora_rank > 0 || o->adapter)
        return qn_fail(QN_ERROR_ARGUMENT, "the objective denoise trains all weights, no LoRA");
    if (!d->autoencodes &&
        (o->decoder.latent || o->decoder.layers || o->decoder.tied >= 0 || o->decoder.variational || o->embed.pooling))
        return qn_fail(QN_ERROR_ARGUMENT, "%s: its decoder reads all tokens of a text, not its vector", config->source);
    qn_noise_options noise = {.words = o->whole_word, .max_length = max_length, .seed = o->seed};
    if (!qn_noise_options_take(&noise, &o->noise)) {
        if (d->autoencodes)
            noise.deletion = 0.1;
        else
            noise.infill = 0.3, noise.permute = 1;
    }
    QN_TRY(qn_noise_init(&d->train, tokenizer, &noise));
    qn_noise_options none = {.max_length = max_length};
    QN_TRY(qn_noise_init(&d->measure, tokenizer, d->autoencodes ? &none : &noise));
    if (!d->autoencodes) return QN_OK;
    QN_TRY(choose_decoder(d, o, tokenizer, from));
    return choose_vector(d, o, config, from, resumes, max_length);
}

void qn_denoiser_free(qn_denoiser *d) {
    qn_noise_free(&d->train);
    qn_noise_free(&d->measure);
    qn_sbert_free(&d->sentence);
}

qn_status qn_denoiser_loss(qn_trainer *t, qn_context *c, const qn_batch *batch, double *value) {
    const qn_training *o = t->options;
    double weight = o->decoder.beta;
    if (o->decoder.beta_warmup_steps > 0) // Bowman et al. 2016
        weight *= fmin(1, (double)(t->state.step + 1) / (double)o->decoder.beta_warmup_steps);
    return qn_sides_loss(t->network, c, batch, (float)o->label_smoothing, (float)weight, &(qn_sides_sums){0}, value);
}

qn_status qn_denoiser_evaluate(qn_trainer *t, qn_source validation, qn_metric metrics[QN_METRICS_MAX], size_t *count) {
    qn_sides_sums sums = {0};
    qn_context c = qn_trainer_inference(t);
    QN_TRY(qn_sides_measure(t->network, &c, validation, &sums));
    double tokens = (double)sums.tokens, mean = sums.tokens ? sums.loss / tokens : NAN;
    double part = sums.tokens ? t->options->decoder.beta * sums.divergence / tokens : 0;
    *count = 0;
    metrics[(*count)++] = (qn_metric){"loss", mean + part, true};
    metrics[(*count)++] = (qn_metric){"perplexity", exp(mean), true};
    metrics[(*count)++] = (qn_metric){"accuracy", sums.tokens ? (double)sums.right / tokens : NAN, false};
    if (t->network->config.variational) // in nats, of a text
        metrics[(*count)++] = (qn_metric){"kl", sums.texts ? sums.divergence / (double)sums.texts : NAN, true};
    return QN_OK;
}
