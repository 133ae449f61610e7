// A small tokenizer for the tests of data: words x0 .. x199, and w followed by digits, which is cut into the pieces
// "w", "##0" .. "##9".
#pragma once
#include "tests/support.h"
#include "base/buffer.h"
#include "quern.h"

static inline qn_tokenizer *fixture_tokenizer(const char *folder) {
    qn_buffer vocabulary = {0};
    qn_buffer_text(&vocabulary, "[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\nw\n");
    for (int i = 0; i < 10; i++) qn_buffer_printf(&vocabulary, "##%d\n", i);
    for (int i = 0; i < 200; i++) qn_buffer_printf(&vocabulary, "x%d\n", i);
    const char *path = test_path(folder, "vocab.txt");
    test_write(path, vocabulary.data, vocabulary.size);
    qn_buffer_free(&vocabulary);
    qn_tokenizer *tokenizer;
    assert_ok(qn_tokenizer_load(path, &tokenizer));
    return tokenizer;
}
// Ids of the fixture.
enum {
    FIXTURE_CLS = 2,
    FIXTURE_SEP = 3,
    FIXTURE_MASK = 4,
    FIXTURE_W = 5,
    FIXTURE_PIECE = 6,
    FIXTURE_X = 16,
    FIXTURE_SIZE = 216
};
