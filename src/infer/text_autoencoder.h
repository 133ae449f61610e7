// Autoencoders of texts in use: from texts to vectors, and from vectors to texts.
#pragma once
#include "infer/model.h"

// The tokens that stand before and after every text. An error for tokenizers that have none: a decoder of texts'
// vectors begins with the one and ends with the other.
qn_status qn_infer_text_ends(const qn_tokenizer *tokenizer, int32_t *first, int32_t *last);
