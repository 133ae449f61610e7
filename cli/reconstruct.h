// quern reconstruct: what an autoencoder makes of its input, for each kind of input a file of its own.
#pragma once
#include "cli/use.h"

typedef struct {
    use_settings use;
    bool latent, interpolate;
    size_t samples, steps, seed, limit;
} reconstruct_settings;

// Each returns the exit status, having printed what is wrong.
int reconstruct_numbers(const reconstruct_settings *settings);
int reconstruct_texts(const reconstruct_settings *settings);
