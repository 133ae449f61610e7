// Any bytes as tokenizer.json or, behind a byte 'v', as vocab.txt: they load or give an error; what loads encodes and
// decodes any text.
#include "base/json.h"
#include "text/pipeline.h"
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void use(const qn_tokenizer *t, const char *text, size_t size) {
    qn_encoding e = QN_ENCODING_INIT;
    if (qn_tokenizer_encode(t, text, size, "caf\xc3\xa9 [SEP]", 11, NULL, &e) == QN_OK) {
        for (size_t i = 0; i < e.count; i++)
            if (!qn_tokenizer_token(t, e.ids[i])) abort();
        char *decoded;
        qn_status status = qn_tokenizer_decode(t, e.ids, e.count, false, &decoded);
        if (status != QN_OK && status != QN_ERROR_UNSUPPORTED) abort(); // a pattern that takes too long
        free(decoded);
    }
    qn_encoding_free(&e);
}

// The vocabulary is read by a scanner of our own; the JSON parser must see the same one.
static void compare_vocabulary(const qn_tokenizer *t) {
    json_t *root;
    if (qn_json_parse(t->json_file.data, t->json_file.size, "again", &root) != QN_OK) abort();
    json_t *vocabulary = json_object_get(json_object_get(root, "model"), "vocab");
    if (json_is_array(vocabulary) && json_array_size(vocabulary) > 0) { // Unigram's
        json_decref(root);
        return;
    }
    if (json_object_size(vocabulary) == 0) abort();
    for (void *i = json_object_iter(vocabulary); i; i = json_object_iter_next(vocabulary, i)) {
        size_t size = json_object_iter_key_len(i);
        int32_t id = (int32_t)json_integer_value(json_object_iter_value(i));
        if (size > 0 && qn_vocabulary_id(&t->vocabulary, json_object_iter_key(i), size) != id) abort();
    }
    json_decref(root);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    const char *text = (const char *)data;
    qn_tokenizer *t;
    if (qn_tokenizer_create(&t) != QN_OK) return 0;
    qn_bert_options options = {true, true, true, true};
    qn_status status;
    if (size > 0 && *text == 'v') {
        status = qn_tokenizer_parse_vocabulary(t, "vocab.txt", text + 1, size - 1);
        if (status == QN_OK && !(t->model.prefix = strdup("##"))) status = QN_ERROR_MEMORY;
        t->model.max_characters = 100;
        if (status == QN_OK) status = qn_template_bert(t);
    } else {
        qn_buffer_append(&t->json_file, text, size);
        status = qn_tokenizer_parse_json(t, "tokenizer.json", &options);
        if (status == QN_OK) compare_vocabulary(t);
    }
    if (status == QN_OK) status = qn_tokenizer_finish(t, &options);
    if (status == QN_OK)
        use(t, text, size);
    else if (*qn_last_error() == 0)
        abort();
    qn_tokenizer_free(t);
    return 0;
}
