// From a text's hidden states to its vector, as the modules of sentence-transformers say: poolings side by side, then
// dense layers and normalisations in their order. The layers' weights are parameters of the network.
#pragma once
#include "formats/model_folder.h"
#include "models/network.h"

// The vectors [n, width] of the sequences of `tokens`. skip [n]: leading tokens that are not pooled (a prompt's; they
// must stand until backward), or NULL.
qn_tensor *qn_sentence_vectors(qn_context *c, qn_network *network, const qn_tokens *tokens, const int32_t *skip);
// The same from hidden states [T, d], by the first `modules` modules behind the pooling.
qn_tensor *qn_sentence_pool(qn_context *c, qn_network *network, qn_tensor *hidden, qn_ragged batch, const int32_t *skip,
                            size_t modules);

// ColBERT's vectors of tokens, of length one: [T, width] of hidden states [T, d].
qn_tensor *qn_sentence_tokens(qn_context *c, qn_network *network, qn_tensor *hidden);

// --- For network.c
// Adds the dense layers' parameters. An error where they do not fit on one another.
qn_status qn_sentence_add(qn_network *network);
// Reads them from the folder of the network's sentence files; a layer that was added to those starts fresh.
qn_status qn_sentence_read(qn_network *network, const qn_network_options *options);
// The files of sentence-transformers, with the layers' weights, into `folder`, where the network has such files.
qn_status qn_sentence_save(qn_network *network, const char *folder);
// Reads the layers' weights of a folder that qn_sentence_save wrote.
qn_status qn_sentence_restore(qn_network *network, const char *folder);
