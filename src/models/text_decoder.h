// From a vector back to its text: a decoder of the encoder's kind, causal, whose attention to a source sees that one
// vector (Wang et al. 2021, TSDAE). Its files are in FOLDER/decoder, which transformers opens as the family's decoder
// with cross-attention (config.json with "is_decoder" and "add_cross_attention"); a vector of another width than a
// token's goes through "enc_to_dec_proj" first, as in transformers' EncoderDecoderModel.
#pragma once
#include "models/network.h"

struct qn_text_decoder { // qn_network_options.text_decoder
    bool tied; // it has the encoder's parameters, and of its own those of its attention to the vector and of its head
    size_t layers;      // 0: as many as the encoder; tied: no other number
    bool variational;   // its vectors are drawn from normal variables, whose means are the text's vector
    bool separate;      // never tied, whatever its files say
    const char *folder; // whose files it is read from, which also say the above; NULL: it begins as the encoder and the
                        // masked-language head of the network's folder, where there are any, and random elsewhere
};

// What a decoder's config.json, as text, says of it beside the encoder's own; its sizes are checked with its weights.
qn_status qn_text_decoder_parse(const qn_model_config *config, const char *text, size_t size, const char *source,
                                qn_text_decoder *out);

// The decoder's hidden states [T, d] of `target`, sequence i of which reads vectors[i]: [n, width of a text's vector].
qn_tensor *qn_text_decoder_hidden(qn_context *c, qn_network *network, qn_tensor *vectors, const qn_tokens *target);
// The vectors of the sequences of `source` that the decoder is to read: [n, width]. Of a variational one they are drawn
// in training, and *divergence is the mean over texts of that from standard normal variables (see
// qn_gaussian_divergence), whose gradient counts `weight` times.
qn_tensor *qn_text_decoder_encode(qn_context *c, qn_network *network, const qn_tokens *source, float weight,
                                  double *divergence);
// What the decoder's attention reads of vectors: [n, d].
qn_tensor *qn_text_decoder_source(qn_context *c, qn_network *network, qn_tensor *vectors);

// --- For network.c
// Says in the configuration that there is one, and how large it is. An error for families and files that cannot be.
qn_status qn_text_decoder_configure(qn_model_config *config, const qn_text_decoder *options);
qn_status qn_text_decoder_add(qn_network *network); // its parameters, after all others
// Reads them; the network's own weights are open, and have `prefix`.
qn_status qn_text_decoder_read(qn_network *network, const qn_network_options *options, const char *prefix);
qn_status qn_text_decoder_save(qn_network *network, const char *folder);
qn_status qn_text_decoder_restore(qn_network *network, const char *folder); // what qn_text_decoder_save wrote
