/* Unusual rows: those that an autoencoder gives back worst.
 *
 *   cc outliers.c $(pkg-config --cflags --libs quern) -o outliers && ./outliers MODEL rows.csv [HOW_MANY] */
#include <quern.h>
#include <stdio.h>
#include <stdlib.h>

typedef struct {
    size_t row;
    double error;
} outlier;

static int failed(void) {
    fprintf(stderr, "outliers: %s\n", qn_last_error());
    return 1;
}

static int largest_first(const void *a, const void *b) {
    double x = ((const outlier *)a)->error, y = ((const outlier *)b)->error;
    return (x < y) - (x > y);
}

int main(int argc, char **argv) {
    if (argc < 3) {
        fprintf(stderr, "usage: outliers MODEL FILE [HOW_MANY]\n");
        return 2;
    }
    qn_autoencoder *model;
    qn_numbers *numbers;
    const char *files[] = {argv[2]};
    if (qn_autoencoder_open(argv[1], 0, &model) != QN_OK) return failed();
    if (qn_numbers_read(files, 1, NULL, &numbers) != QN_OK) return failed();
    size_t rows = qn_numbers_rows(numbers), columns = qn_numbers_columns(numbers);
    if (columns != qn_autoencoder_columns(model)) {
        fprintf(stderr, "outliers: rows of %zu numbers, and the model reads %zu\n", columns,
                qn_autoencoder_columns(model));
        return 1;
    }

    /* The model scales its input and gives outputs in the data's own units. */
    const float *x = qn_numbers_values(numbers);
    float *y = calloc(rows * columns, sizeof *y);
    outlier *all = calloc(rows, sizeof *all);
    if (!y || !all) return 1;
    if (qn_autoencoder_reconstruct(model, x, rows, y) != QN_OK) return failed();
    for (size_t i = 0; i < rows * columns; i++) {
        double missed = (double)x[i] - (double)y[i];
        all[i / columns].row = i / columns;
        all[i / columns].error += missed * missed / (double)columns;
    }
    qsort(all, rows, sizeof *all, largest_first);
    size_t shown = argc > 3 ? strtoul(argv[3], NULL, 10) : 10;
    for (size_t i = 0; i < shown && i < rows; i++) {
        const char *label = qn_numbers_label_of(numbers, all[i].row);
        printf("row %zu  %s  %.4g\n", all[i].row + 1, label ? label : "", all[i].error);
    }
    free(y);
    free(all);
    qn_numbers_free(numbers);
    qn_autoencoder_close(model);
    return 0;
}
