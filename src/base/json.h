// JSON over jansson: loading with limits, and reading of values with an error that names file and key.
#pragma once
#include "base/buffer.h"
#include <jansson.h>

// Reads a whole JSON file (at most 1 GiB, nested at most 2048 deep): an object or an array. Errors: "FILE:LINE:COLUMN: ...". Caller
// json_decref()s. A key that stands twice in one object is an error. Integers that do not fit into 64 bits become reals, as Hugging Face's
// model_max_length of 10^30. Strings may hold NUL bytes.
qn_status qn_json_load(const char *path, json_t **out);
qn_status qn_json_parse(const char *text, size_t size, const char *source, json_t **out);
// The same of a text that begins at line `line` of a file.
qn_status qn_json_parse_line(const char *text, size_t size, const char *source, int64_t line, json_t **out);

// Each reads object[key] into *value. A missing key or null leaves *value as it is (the default) unless `required`. A value of the wrong
// type or out of range gives QN_ERROR_FORMAT: "FILE: \"key\" is ... (expected ...)", and *value stays as it was. A real without a
// fraction (12.0, 1e5) is an integer; strings with a NUL are refused. Strings, objects and arrays are owned by `object`.
qn_status qn_json_int(const json_t *object, const char *file, const char *key, bool required, int64_t min, int64_t max, int64_t *value);
qn_status qn_json_real(const json_t *object, const char *file, const char *key, bool required, double min, double max, double *value);
qn_status qn_json_bool(const json_t *object, const char *file, const char *key, bool required, bool *value);
qn_status qn_json_string(const json_t *object, const char *file, const char *key, bool required, const char **value);
qn_status qn_json_object(const json_t *object, const char *file, const char *key, bool required, json_t **value);
qn_status qn_json_array(const json_t *object, const char *file, const char *key, bool required, json_t **value);

// Appends the value with two-space indent, the shortest digits that read back as the same number, and a final newline.
void qn_json_write(const json_t *value, qn_buffer *out);

// The same into a file through qn_write_file (atomic).
qn_status qn_json_save(const json_t *value, const char *path);
