// A training of a task whose files lie in the test's folder: the model's configuration, vocab.txt and the data.
#pragma once
#include "support.h"
#include "quern.h"

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
