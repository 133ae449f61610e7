// Raw text for pre-training, as batches of token sequences: kept in memory where it fits, streamed and shuffled in a
// window where not.
//
// The text of an epoch is cut into blocks of `window` sequences; the sequences of a block are shuffled and cut into
// batches; while a block is being used the next one is read and tokenised, a few lines per batch. A block is a pure
// function of the place in the text where it begins, and its order one of (seed, epoch, block): so a run continues
// exactly from a few numbers (qn_data_position), without the contents of a shuffle buffer. A corpus that fits in memory
// is one block that is read once.
#pragma once
#include "data/loader.h"

typedef struct {
    qn_reader_options reader;
    size_t max_length; // tokens of a sequence, special ones included
    bool pack;         // join texts to sequences of max_length tokens, [SEP] between documents
    bool cut;       // without pack: only the first max_length tokens of a long text, not all of it in several sequences
    bool documents; // plain text: a document is a run of lines up to an empty line; otherwise every line is one
    bool next_sentence;   // pairs of segments, half of them of two different documents (BERT's objective); implies
                          // documents
    bool shuffle;         // otherwise the order of the text: evaluation
    bool group_by_length; // with shuffle: as QN_ORDER_GROUPED
    size_t window;        // sequences of a block, where the corpus is streamed
    size_t memory_limit;  // bytes; a corpus that takes less is kept in memory; 0: always streamed
    size_t batch_size, batch_tokens; // as in qn_sampler_options
    uint64_t seed;
    uint64_t epochs;         // the source ends after as many; 0: never
    bool predict_next;       // causal language modelling; otherwise
    qn_noise *noise;         // of texts to be restored, which excludes a masker; not kept, and nobody else's meanwhile
    const qn_masker *masker; // NULL: no masking. Not kept, must live as long as the corpus
} qn_corpus_options;
// max_length 128, shuffle, window 65536, memory_limit 1 GiB, batch_size 32, 1 epoch.
qn_corpus_options qn_corpus_defaults(void);

typedef struct qn_corpus qn_corpus;

// `paths`: files, folders (all files in them, hidden ones left out) and patterns with * ? [ ], each in the order of
// their names; "-" is standard input. Reads the first block, or all that fits in memory; a corpus without text is an
// error. Only the tokenizer is kept as a reference. Not thread-safe, but any one thread may use it, such as a
// prefetcher's.
qn_status qn_corpus_open(const char *const *paths, size_t count, const qn_tokenizer *tokenizer,
                         const qn_corpus_options *options, qn_corpus **out);
void qn_corpus_close(qn_corpus *corpus); // NULL is allowed
qn_source qn_corpus_source(qn_corpus *corpus);
// Goes to a position that a batch of the same corpus and options carried. Standard input cannot go back.
qn_status qn_corpus_seek(qn_corpus *corpus, const qn_data_position *position);

bool qn_corpus_in_memory(const qn_corpus *corpus);
size_t qn_corpus_sequences(const qn_corpus *corpus); // of the current block
size_t qn_corpus_tokens(const qn_corpus *corpus);    // of the current block
uint64_t qn_corpus_fingerprint(const qn_corpus *corpus);
// Batches of epochs 0 .. epochs-1 for a corpus in memory; 0, for unknown, for one that is streamed.
qn_status qn_corpus_total(qn_corpus *corpus, uint64_t epochs, uint64_t *batches);
