/* Vectors of texts, and how alike they are.
 *
 *   cc embed.c $(pkg-config --cflags --libs quern) -o embed && ./embed MODEL "first text" "second text" ... */
#include <quern.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int failed(void) {
    fprintf(stderr, "embed: %s\n", qn_last_error());
    return 1;
}

int main(int argc, char **argv) {
    if (argc < 3) {
        fprintf(stderr, "usage: embed MODEL TEXT ...\n");
        return 2;
    }
    /* One model serves one thread at a time and uses all processors inside. */
    qn_model *model;
    if (qn_model_open(argv[1], NULL, &model) != QN_OK) return failed();
    size_t count = (size_t)argc - 2, width = qn_model_width(model);
    qn_text *texts = calloc(count, sizeof *texts);
    float *vectors = calloc(count * width, sizeof *vectors);
    if (!texts || !vectors) return 1;
    for (size_t i = 0; i < count; i++) texts[i] = (qn_text){.text = argv[i + 2], .size = strlen(argv[i + 2])};

    /* Length one, so that the dot product of two vectors is their cosine. */
    qn_embed_options options = qn_embed_defaults();
    options.normalize = 1;
    if (qn_embed(model, texts, count, &options, vectors) != QN_OK) return failed();
    for (size_t i = 0; i < count; i++) {
        for (size_t j = 0; j < count; j++) {
            double cosine = 0;
            for (size_t k = 0; k < width; k++) cosine += (double)vectors[i * width + k] * vectors[j * width + k];
            printf("%6.3f ", cosine);
        }
        printf(" %s\n", argv[i + 2]);
    }
    free(texts);
    free(vectors);
    qn_model_close(model);
    return 0;
}
