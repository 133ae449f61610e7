// What the readers of numbers share. Only src/data/numbers*.c include it.
#pragma once
#include "data/numbers.h"

enum { QN_NUMBERS_COLUMNS = 1 << 20 };

// Makes room for rows, which have no labels yet; *place is [rows, columns]. `path` is for messages.
qn_status qn_numbers_add(qn_numbers *numbers, const char *path, size_t rows, size_t columns, float **place);
qn_status qn_numbers_label(qn_numbers *numbers, size_t row, qn_span label);
// Rows are pictures of this height, width and channels; an error where they were others before.
qn_status qn_numbers_set_picture(qn_numbers *numbers, const char *path, const size_t picture[3]);

// Reads a .npy, safetensors or IDX file; *array is false for anything else.
qn_status qn_numbers_read_array(qn_numbers *numbers, const char *path, const qn_data_options *options, bool *array);
