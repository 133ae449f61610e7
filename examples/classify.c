/* The labels of texts, one per line of standard input, with their probabilities.
 *
 *   cc classify.c $(pkg-config --cflags --libs quern) -o classify && ./classify MODEL <texts.txt */
#include <quern.h>
#include <stdio.h>
#include <stdlib.h>

static int failed(void) {
    fprintf(stderr, "classify: %s\n", qn_last_error());
    return 1;
}

int main(int argc, char **argv) {
    if (argc != 2) {
        fprintf(stderr, "usage: classify MODEL <TEXTS\n");
        return 2;
    }
    qn_model *model;
    if (qn_model_open(argv[1], NULL, &model) != QN_OK) return failed();
    size_t labels = qn_model_labels(model);
    if (labels == 0) {
        fprintf(stderr, "classify: %s has no classification head\n", argv[1]);
        return 1;
    }
    float *scores = calloc(labels, sizeof *scores);
    qn_texts *lines; /* the same reader as the command's: plain lines, TSV, CSV, JSON lines, each also gzipped */
    const char *path = "-";
    qn_data_options data = {.format = "text"};
    if (!scores || qn_texts_open(&path, 1, &data, true, &lines) != QN_OK) return failed();
    for (qn_text text;;) {
        /* One text at a time keeps the example short; qn_classify is faster with many, and gives the same scores. */
        if (qn_texts_next(lines, &text) != QN_OK) return failed();
        if (!text.text) break;
        if (qn_classify(model, &text, 1, false, scores) != QN_OK) return failed();
        size_t best = 0;
        for (size_t k = 1; k < labels; k++)
            if (scores[k] > scores[best]) best = k;
        printf("%s\t%.4f\t%.*s\n", qn_model_label(model, best), scores[best], (int)text.size, text.text);
    }
    qn_texts_close(lines);
    free(scores);
    qn_model_close(model);
    return 0;
}
