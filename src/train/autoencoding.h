// What a report shows of an autoencoder of numbers: inputs beside reconstructions, the latent space as a plane, samples
// and interpolations. Numbers are as they were before scaling.
#pragma once
#include "data/numbers.h"
#include "models/autoencoder.h"

enum {
    QN_SHOWN_ACROSS = 16, // in a line
    QN_SHOWN_LINES = 3,
    QN_SHOWN_SAMPLES_ACROSS = 12, // beside the latent vectors, in half a page's width
    QN_SHOWN_SAMPLES = 7 * QN_SHOWN_SAMPLES_ACROSS,
    QN_SHOWN_WAYS = 4,
    QN_SHOWN_POINTS = 2000
};

typedef struct qn_autoencoding {
    size_t columns, picture[3]; // of a row; a row that is no picture is one of height 1
    float low, high;            // what is shown black and white
    size_t pairs;               // at most QN_SHOWN_LINES lines of QN_SHOWN_ACROSS
    float *inputs, *outputs;    // [pairs, columns]
    size_t ways;                // lines of QN_SHOWN_ACROSS steps from one row to another
    float *steps;               // [ways, QN_SHOWN_ACROSS, columns]
    float *samples;             // [QN_SHOWN_SAMPLES, columns] of the variational kind, or NULL
    size_t points;
    double *x, *y;    // [points] latent vectors: themselves where they have two numbers, or their principal plane
    int32_t *classes; // [points], -1 for none
    double share[2];  // of the variance that each axis shows; 0 where the vectors have two numbers or one
    size_t latent, layers;
    const char *const *names; // of classes; the numbers'
    size_t name_count;
} qn_autoencoding;

// Of scaled numbers.
qn_status qn_autoencoding_make(qn_context *c, qn_autoencoder_network *network, const qn_numbers *numbers,
                               qn_autoencoding *out);
void qn_autoencoding_free(qn_autoencoding *shown);
