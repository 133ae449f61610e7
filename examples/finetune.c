/* Fine-tunes a model as a classifier and measures it on data it has not seen.
 *
 *   cc finetune.c $(pkg-config --cflags --libs quern) -o finetune
 *   ./finetune MODEL train.tsv test.tsv OUTPUT        (files with columns "text" and "label") */
#include <quern.h>
#include <stdio.h>
#include <stdlib.h>

static int failed(void) {
    fprintf(stderr, "finetune: %s\n", qn_last_error());
    return 1;
}

static void on_message(void *user, const char *message) {
    (void)user;
    fprintf(stderr, "%s\n", message);
}

int main(int argc, char **argv) {
    if (argc != 5) {
        fprintf(stderr, "usage: finetune MODEL TRAIN TEST OUTPUT\n");
        return 2;
    }
    const char *train[] = {argv[2]};
    qn_training options = qn_training_defaults(false);
    options.task = "classify";
    options.model = argv[1];
    options.train = train;
    options.train_count = 1;
    options.output = argv[4];
    options.epochs = 1;
    options.learning_rate = 2e-4;
    options.on_message = on_message;
    if (qn_finetune(&options, NULL) != QN_OK) return failed();

    /* The output is a model folder like the one it came from: it can be opened here, and in transformers. */
    qn_model *model;
    char *json;
    if (qn_model_open(argv[4], NULL, &model) != QN_OK) return failed();
    if (qn_evaluate(model, argv[3], NULL, &json) != QN_OK) return failed();
    puts(json);
    free(json);
    qn_model_close(model);
    return 0;
}
