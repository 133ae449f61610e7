// A labelled data set in memory: tokenised once, kept without padding.
#pragma once
#include "data/labels.h"
#include "data/late.h"
#include "data/reader.h"
#include "data/sequences.h"

typedef enum {
    QN_TARGET_NONE,   // texts alone
    QN_TARGET_CLASS,  // one label per example
    QN_TARGET_LABELS, // any number of labels per example
    QN_TARGET_SCORE,  // a number: the score column, else the label read as a number
    QN_TARGET_TAGS,   // a label for each word
    QN_TARGET_ANSWER, // a piece of the pair's text, or none
    QN_TARGET_ANY_SCORE, // a number where the first file has a column of scores, else nothing
} qn_target;

typedef struct {
    qn_reader_options reader; // need_label and multi_label follow `target`
    qn_target target;
    qn_encode_options encode;
    bool collect_labels; // labels that are new are added, and at the end sorted; otherwise they are errors
    bool keep_texts;     // for reports
    bool twice;          // a group of one text becomes two, the second the same
    const char *prompts[2]; // of groups: put before the first text, before the others; NULL: none
    const qn_late *late;    // of groups: how texts become a ColBERT's queries (the first) and documents; NULL: they do not
    size_t limit;        // examples to read at most; 0: all
    bool triples;        // QN_TARGET_SCORE: a file with the columns query (anchor), positive and negative is pairs with
                         // the scores 1 and 0
} qn_dataset_options;
qn_dataset_options qn_dataset_defaults(void);

typedef struct {
    qn_sequences sequences; // [n * width]
    size_t width;           // texts that an example has as sequences of their own (reader.group); 1 otherwise
    qn_target target;       // never QN_TARGET_ANY_SCORE
    size_t labels;    // L, the number of labels at the time of reading
    int32_t *classes; // [n] for QN_TARGET_CLASS
    uint8_t *multi;   // [n, L] 0 or 1 for QN_TARGET_LABELS
    float *scores;    // [n] for QN_TARGET_SCORE
    int64_t *lines;   // [n] line of each example in its file
    uint32_t *files;  // [n] index into names
    char **names;     // [name_count] files, as they were given
    size_t name_count;
    char *texts;           // text, NUL, pair, NUL of each example, one after the other; NULL unless keep_texts
    int64_t *text_offsets; // [n * width]
    size_t truncated;      // examples that were cut to max_length
    // Where long texts are cut into windows (tags, answers), an example is a document, and a sequence one of its
    // windows: lines, files and texts are [documents] then.
    size_t documents, split; // all, and those of several windows; 0 where each example is one sequence
    uint32_t *document;      // [n] of each sequence, ascending
    int32_t *tags;           // [T] for QN_TARGET_TAGS: a label, -1 for none. A word has it in the window where it has
                             // the most context, and nowhere else: the words of a document are those tokens, in order
    int32_t *answers; // [n, 2] for QN_TARGET_ANSWER: its first and last token in the window; 0, 0: it is not in there
    int32_t *starts, *ends; // [T] bytes of the document's text (tags: of the token's word), of the pair (answers); -1
                            // for other tokens. NULL unless keep_texts
    char *gold;             // answers: all right ones of each document, each followed by a NUL, and one NUL more
    int64_t *gold_offsets;  // [documents]
    const float *numbers;  // [n, columns] of rows of numbers, whose sequences are one token each; somebody else's, or NULL
    size_t columns;
    uint64_t fingerprint;  // of tokens and targets: the same data gives the same number
} qn_dataset;

// Reads and tokenises files, one after the other. `labels` may be NULL unless the target is a class or labels. A set
// without examples is an error, as is an example without its target. On failure *out is empty.
qn_status qn_dataset_read(const char *const *paths, size_t count, const qn_tokenizer *tokenizer,
                          const qn_dataset_options *options, qn_labels *labels, qn_dataset *out);
void qn_dataset_free(qn_dataset *dataset);
static inline size_t qn_dataset_count(const qn_dataset *dataset) { // examples, n
    return dataset->width ? dataset->sequences.count / dataset->width : 0;
}

// How to read texts with tags (data/tagged.h), or questions with answers (data/questions.h).
typedef struct {
    const char *format;                   // NULL: by name and first line
    const char *word_column, *tag_column; // of CoNLL
    qn_encode_options encode;             // max_length: of a window
    size_t stride;                        // of windows; 0: chosen (data/windows.h)
    bool collect_labels, keep_texts;      // as above
    bool all_tokens;                      // every token of a word carries its label, not its first one alone
} qn_windowed_options;
qn_status qn_dataset_read_tags(const char *const *paths, size_t count, const qn_tokenizer *tokenizer,
                               const qn_windowed_options *options, qn_labels *labels, qn_dataset *out);
qn_status qn_dataset_read_answers(const char *const *paths, size_t count, const qn_tokenizer *tokenizer,
                                  const qn_windowed_options *options, qn_dataset *out);
// How many examples carry each label: [labels].
void qn_dataset_class_counts(const qn_dataset *dataset, int64_t *counts);
// Weights for a balanced loss, as scikit-learn's "balanced": n / (L * count); 0 for a label without examples.
// counts [labels] as above, weights [labels].
void qn_dataset_class_weights(const qn_dataset *dataset, const int64_t *counts, float *weights);
// The texts of an example or document; "" where they were not kept. pair: NULL where there is none; of a group the
// second text.
void qn_dataset_text(const qn_dataset *dataset, size_t i, const char **text, const char **pair);
// Text k of an example of a group.
const char *qn_dataset_group_text(const qn_dataset *dataset, size_t i, size_t k);
