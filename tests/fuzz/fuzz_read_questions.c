// Any bytes as questions, SQuAD's JSON or JSON lines: each answer is the text at its place in the context.
#include "data/questions.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

// The first byte chooses the format, the rest is the file.
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static const char *const formats[] = {NULL, "squad", "jsonl"};
    if (size == 0) return 0;
    int fd = memfd_create("fuzz", 0);
    if (fd < 0 || write(fd, data + 1, size - 1) != (ssize_t)size - 1) abort();
    char path[64];
    snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    qn_question_reader *reader;
    qn_status status = qn_questions_open(path, formats[data[0] % 3], &reader);
    for (bool end = false; status == QN_OK && !end;) {
        qn_question q;
        status = qn_questions_next(reader, &q, &end);
        for (size_t i = 0; status == QN_OK && !end && i < q.count; i++) {
            const qn_gold_answer *a = &q.answers[i];
            if (a->begin < 0 || (size_t)a->end > q.context.size || (size_t)(a->end - a->begin) != a->text.size) abort();
            if (memcmp(q.context.data + a->begin, a->text.data, a->text.size) != 0) abort();
        }
    }
    if (status != QN_OK && (*qn_last_error() == '\0' || strpbrk(qn_last_error(), "\n\r\x1b"))) abort();
    qn_questions_close(reader);
    close(fd);
    return 0;
}
