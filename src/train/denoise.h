// The objective denoise: texts are restored from their noisy forms, by an encoder-decoder (Lewis et al. 2020, BART), or
// by an encoder and a decoder that reads its vector of the text alone, which is an autoencoder of texts.
#pragma once
#include "tasks/sides.h"
#include "train/trainer.h"

typedef struct {
    bool autoencodes;        // there is an encoder alone, which gets a decoder
    qn_noise train, measure; // an autoencoder is measured by how it restores the texts themselves
    qn_text_decoder decoder;
    qn_sbert sentence; // how vectors are made; moves into the network
} qn_denoiser;

// For the model of `from`, a folder, checkpoint or config.json, whose texts have at most max_length tokens.
qn_status qn_denoiser_init(qn_denoiser *d, const qn_training *o, const qn_tokenizer *tokenizer,
                           const qn_model_config *config, const char *from, bool resumes, size_t max_length);
void qn_denoiser_free(qn_denoiser *d);
qn_status qn_denoiser_loss(qn_trainer *t, qn_context *c, const qn_batch *batch, double *value);
qn_status qn_denoiser_evaluate(qn_trainer *t, qn_source validation, qn_metric metrics[QN_METRICS_MAX], size_t *count);
