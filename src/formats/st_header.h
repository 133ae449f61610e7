// The JSON header of a safetensors file. It is parsed as it is read, without a tree: a hostile header of 100 MB must
// not take gigabytes.
#pragma once
#include "formats/safetensors.h"

// A tensor and where its bytes are to lie, counted from the end of the header. The tensor's `data` and `size` are not
// set yet.
typedef struct {
    qn_st_tensor tensor;
    uint64_t begin, end;
} qn_st_item;

typedef struct {
    const char *key, *value;
} qn_st_pair;

typedef struct {
    char *text; // all names, keys and values
    qn_st_item *items;
    size_t count, capacity;
    qn_st_pair *metadata;
    size_t metadata_count, metadata_capacity;
} qn_st_header;

// Checks the syntax, the three keys of each tensor, dtypes, shapes and the order of the offsets; what the data has to
// do with it is the caller's matter, and so are names that come twice. Frees everything when it fails.
qn_status qn_st_header_parse(const char *text, size_t size, const char *source, qn_st_header *out);
void qn_st_header_free(qn_st_header *header);
