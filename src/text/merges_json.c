// Reads the two files of byte-level BPE, vocab.json and merges.txt, by writing them as one tokenizer.json.
#include "base/json.h"
#include "text/pipeline.h"
#include <string.h>

static int64_t id_of(const json_t *vocabulary, const char *token) {
    const json_t *id = json_object_get(vocabulary, token);
    return json_is_integer(id) ? json_integer_value(id) : -1;
}

// The special tokens of RoBERTa, or GPT-2's only one, where the vocabulary has them.
static void put_added_tokens(const json_t *vocabulary, qn_buffer *out) {
    static const char *const names[] = {"<s>", "<pad>", "</s>", "<unk>", "<mask>", "<|endoftext|>"};
    bool first = true;
    qn_buffer_text(out, "\"added_tokens\": [");
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        long long id = (long long)id_of(vocabulary, names[i]);
        if (id < 0) continue;
        qn_buffer_printf(out,
                         "%s\n{\"id\": %lld, \"content\": \"%s\", \"single_word\": false, \"lstrip\": %s, \"rstrip\": "
                         "false, \"normalized\": false, \"special\": true}",
                         first ? "" : ",", id, names[i], strcmp(names[i], "<mask>") == 0 ? "true" : "false");
        first = false;
    }
    qn_buffer_text(out, "],\n");
}

// One merge a line, behind a line with the version.
static qn_status put_merges(const char *path, const char *text, size_t size, qn_buffer *out) {
    size_t number = 0, count = 0;
    for (size_t i = 0; i < size;) {
        const char *line = text + i, *newline = memchr(line, '\n', size - i);
        size_t length = newline ? (size_t)(newline - line) : size - i;
        i += length + 1;
        number++;
        if (length > 0 && line[length - 1] == '\r') length--;
        if (length == 0 || (number == 1 && length >= 8 && memcmp(line, "#version", 8) == 0)) continue;
        const char *space = memchr(line, ' ', length);
        if (!space || space == line || space + 1 == line + length ||
            memchr(space + 1, ' ', (size_t)(line + length - space - 1)))
            return qn_fail(QN_ERROR_FORMAT, "%s:%zu: not a merge (expected two tokens with a space between)", path,
                           number);
        qn_buffer_text(out, count++ ? ",\n" : "\n");
        qn_buffer_json_string(out, line, length);
    }
    return qn_buffer_status(out);
}

qn_status qn_merges_to_json(const char *vocabulary_path, const qn_buffer *vocabulary, const char *merges_path,
                            const qn_buffer *merges, bool prefix_space, qn_buffer *out) {
    json_t *root = NULL;
    QN_TRY(qn_json_parse(vocabulary->data, vocabulary->size, vocabulary_path, &root));
    qn_status status = QN_OK;
    if (!json_is_object(root)) {
        status = qn_fail(QN_ERROR_FORMAT, "%s: not a JSON object of tokens and ids", vocabulary_path);
        goto done;
    }
    long long begin = (long long)id_of(root, "<s>"), end = (long long)id_of(root, "</s>");
    const char *space = prefix_space ? "true" : "false";
    qn_buffer_text(out, "{\"version\": \"1.0\", \"truncation\": null, \"padding\": null,\n");
    put_added_tokens(root, out);
    qn_buffer_printf(out,
                     "\"normalizer\": null,\n\"pre_tokenizer\": {\"type\": \"ByteLevel\", \"add_prefix_space\": %s, "
                     "\"trim_offsets\": true, \"use_regex\": true},\n",
                     space);
    if (begin >= 0 && end >= 0)
        qn_buffer_printf(out,
                         "\"post_processor\": {\"type\": \"RobertaProcessing\", \"sep\": [\"</s>\", %lld], \"cls\": "
                         "[\"<s>\", %lld], \"trim_offsets\": true, \"add_prefix_space\": %s},\n",
                         end, begin, space);
    else
        qn_buffer_printf(out,
                         "\"post_processor\": {\"type\": \"ByteLevel\", \"add_prefix_space\": %s, \"trim_offsets\": "
                         "false, \"use_regex\": true},\n",
                         space);
    qn_buffer_text(out, "\"decoder\": {\"type\": \"ByteLevel\", \"add_prefix_space\": true, \"trim_offsets\": true, "
                        "\"use_regex\": true},\n\"model\": {\"type\": \"BPE\", \"dropout\": null, \"unk_token\": null, "
                        "\"continuing_subword_prefix\": null, \"end_of_word_suffix\": null, \"fuse_unk\": false, "
                        "\"byte_fallback\": false, \"ignore_merges\": false,\n\"vocab\": ");
    qn_buffer_append(out, vocabulary->data, vocabulary->size);
    qn_buffer_text(out, ",\n\"merges\": [");
    status = put_merges(merges_path, merges->data, merges->size, out);
    qn_buffer_text(out, "]}\n}\n");
    if (status == QN_OK) status = qn_buffer_status(out);
done:
    json_decref(root);
    return status;
}
