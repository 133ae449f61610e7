// A training whose files lie in the test's folder: the model's configuration, vocab.txt and the data; and a small BERT
// to begin from.
#pragma once
#include "support.h"
#include "quern.h"

// config.json of a BERT of width 32, with `more` inside it, and vocab.txt of the special tokens and `words`, a line
// each.
static inline void write_small_bert(const char *folder, int layers, const char *more, const char *words) {
    char text[1000];
    snprintf(text, sizeof text,
             "{\"model_type\": \"bert\", \"vocab_size\": 40, \"hidden_size\": 32, \"num_hidden_layers\": %d, "
             "\"num_attention_heads\": 2, \"intermediate_size\": 64, \"max_position_embeddings\": 24%s}",
             layers, more);
    test_write_text(test_path(folder, "config.json"), text);
    snprintf(text, sizeof text, "[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\n%s", words);
    test_write_text(test_path(folder, "vocab.txt"), text);
}

// Learns from `data` and is measured on it. The strings stay until the next call.
static inline qn_training task_training(const char *folder, const char *task, const char *model, const char *data,
                                        const char *output) {
    static char paths[4][300];
    static const char *file = paths[0];
    const char *const names[] = {data, model, "vocab.txt", output};
    for (int i = 0; i < 4; i++) snprintf(paths[i], sizeof paths[i], "%s", test_path(folder, names[i]));
    qn_training t = qn_training_defaults(false);
    t.task = task;
    t.train = &file;
    t.train_count = 1;
    t.validation = paths[0];
    t.model = paths[1];
    t.tokenizer = paths[2];
    t.output = paths[3];
    return t;
}
