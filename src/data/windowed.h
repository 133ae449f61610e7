// Building a data set whose examples are documents and whose sequences are windows over them.
#pragma once
#include "base/buffer.h"
#include "data/dataset.h"
#include "data/tagged.h"
#include "data/windows.h"

// What is needed only while reading. Start with zeros but for the first part.
typedef struct {
    const qn_tokenizer *tokenizer;
    const qn_windowed_options *options;
    qn_labels *labels; // NULL for answers
    qn_dataset *out;
    // The builder's.
    qn_encoding encoding;
    qn_windows windows;
    qn_buffer texts, gold;
    int32_t *word_of; // [encoding.count]
    size_t word_capacity, tag_capacity, answer_capacity, start_capacity, end_capacity, document_capacity, line_capacity,
        file_capacity, text_capacity, gold_capacity;
} qn_window_builder;

// Begins a document: its texts (pair NULL: none) and place are kept, it is tokenised, and its windows are planned over
// the pair, or over the text. Errors begin with `place`.
qn_status qn_window_builder_text(qn_window_builder *b, qn_span text, const qn_span *pair, const char *place,
                                 size_t file, int64_t line);
// Appends the document's next window as a sequence.
qn_status qn_window_builder_add(qn_window_builder *b, size_t window);
// Reads files through `read`, settles the order of labels, and makes the fingerprint. Frees what the builder holds, and
// on failure the data set.
qn_status qn_window_builder_run(qn_window_builder *b, const char *const *paths, size_t count,
                                qn_status (*read)(qn_window_builder *b, const char *path, size_t file));

#define QN_GROW(array, capacity, need)                                                                                 \
    do {                                                                                                               \
        void *grown_ = (array);                                                                                        \
        qn_status grow_status_ = qn_grow(&grown_, &(capacity), (need), sizeof *(array));                               \
        (array) = grown_;                                                                                              \
        if (grow_status_ != QN_OK) return grow_status_;                                                                \
    } while (0)
