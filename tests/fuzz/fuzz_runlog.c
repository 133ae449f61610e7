// Fuzzes the reader of log.jsonl.
#include "train/runlog.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    qn_history history;
    (void)qn_history_parse((const char *)data, size, "log.jsonl", &history);
    qn_history_free(&history);
    return 0;
}
