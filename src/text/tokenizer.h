// Tokenizers. The functions are the public ones (section "Tokenizers" of quern.h); this header is how the library's own
// parts include them.
#pragma once
#include "base/buffer.h"

// Reads the text of a tokenizer.json and a tokenizer_config.json, which are kept as if they were the files of a folder;
// `source` names them in messages. Both buffers are empty afterwards.
qn_status qn_tokenizer_from_json(const char *source, qn_buffer *json, qn_buffer *config, qn_tokenizer **out);
// qn_tokenizer_load of all but GGUF files, which are known further up.
qn_status qn_tokenizer_load_files(const char *path, qn_tokenizer **out);
// The text of tokenizer_config.json, NULL where there is none.
const qn_buffer *qn_tokenizer_config_text(const qn_tokenizer *tokenizer);
