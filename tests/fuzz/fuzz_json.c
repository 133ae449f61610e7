// Any bytes as a JSON file: they load or give an error, values are read by type, and what loaded is written and read
// back the same.
#include "base/json.h"
#include "base/buffer.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    json_t *value;
    if (qn_json_parse((const char *)data, size, "fuzz.json", &value) != QN_OK) {
        if (*qn_last_error() == '\0' || strpbrk(qn_last_error(), "\n\r\x1b") != NULL) abort();
        return 0;
    }
    if (json_is_object(value)) {
        const char *key, *text;
        json_t *item, *inner;
        json_object_foreach(value, key, item) {
            int64_t integer = 5;
            double real = 5;
            bool boolean;
            if (qn_json_int(value, "f", key, false, 1, 10, &integer) == QN_OK && (integer < 1 || integer > 10)) abort();
            if (qn_json_real(value, "f", key, false, 1, 10, &real) == QN_OK && !(real >= 1 && real <= 10)) abort();
            (void)qn_json_bool(value, "f", key, true, &boolean);
            (void)qn_json_string(value, "f", key, true, &text);
            (void)qn_json_object(value, "f", key, true, &inner);
            (void)qn_json_array(value, "f", key, true, &inner);
        }
    }
    qn_buffer text = {0};
    json_t *again;
    qn_json_write(value, &text);
    if (qn_json_parse(text.data, text.size, "again.json", &again) != QN_OK || !json_equal(value, again)) abort();
    json_decref(again);
    json_decref(value);
    qn_buffer_free(&text);
    return 0;
}
