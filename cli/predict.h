// What the parts of quern predict share.
#pragma once
#include "cli/use.h"

typedef struct {
    use_settings use;
    bool logits, unconstrained, split_by_space;
    size_t top, stride;
    double threshold;
} predict_settings;

// {"spans": [...]} of every text, by a tagging model.
int answer_all(qn_model *model, const qn_answer_options *how, text_window *window, output *out); // answer.c
int predict_replaced(qn_model *model, text_window *window, output *out);
int predict_tags(const predict_settings *settings, qn_model *model, text_window *window, output *out);
