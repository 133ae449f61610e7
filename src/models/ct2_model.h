// A folder of CTranslate2 as a model: its variables as the config.json that it was made from, and under Hugging Face's
// names. Specification TransformerSpec, where its parts are those of Marian, BART, mBART or T5.
#pragma once
#include "base/buffer.h"
#include "formats/ctranslate2.h"
#include "formats/weights.h"

qn_status qn_ct2_model_config(const char *folder, qn_buffer *json); // config.json
qn_status qn_ct2_model_weights(const char *folder, qn_weights **out);
// Checks that a tokenizer numbers its tokens as the folder does.
qn_status qn_ct2_model_check(const char *folder, const qn_tokenizer *tokenizer);
