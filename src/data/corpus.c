// A corpus as batches: blocks of lines that are read ahead, turned into sequences and shuffled.
#include "data/corpus.h"
#include "base/buffer.h"
#include "base/file.h"
#include "base/memory.h"
#include "data/corpus_private.h"
#include "data/hash.h"
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#define SEED_OF_FILES 0x66696C65732E2E2Eu
#define SEED_OF_PAIRS 0x70616972732E2E2Eu
// A gzip file is taken to hold as many times its size when guessing whether a corpus fits in memory.
enum { GZIP_RATIO = 4 };

// A stretch of text: first its lines, then the sequences made of them.
typedef struct {
    uint64_t epoch, number;
    uint64_t file, end_file;               // where its text begins and ends: places in the epoch's order of files ...
    qn_reader_position record, end_record; // ... and in the file
    bool complete, last;                   // all its lines are there; the epoch ends with it
    double progress, end_progress;         // share of the epoch before and after it
    qn_sequences lines;                    // tokens without special ones
    uint8_t *starts;                       // [lines.count] the line begins a document
    size_t start_capacity;
    size_t line_count; // also after the lines are gone
    qn_sequences sequences;
    int32_t *next_sentence; // [sequences.count] with pairs of segments
    size_t next_capacity;
    qn_sampler *sampler;
    size_t most_sequences, most_tokens; // of a batch
} block;

struct qn_corpus {
    qn_corpus_options options;
    const qn_tokenizer *tokenizer;
    qn_corpus_shape shape;
    qn_encode_options encode;
    qn_encoding encoding;
    char **files;
    int64_t *sizes; // [file_count] bytes; 0 where unknown
    size_t file_count;
    uint64_t fingerprint;
    bool in_memory;
    // Reading: the files of `order_epoch` in their order, the one that is open, and a record read ahead to see whether
    // more comes.
    uint32_t *order; // [file_count]
    uint64_t order_epoch;
    size_t file;
    qn_reader *reader;
    bool have_record, pending_start;
    qn_record record;
    // The block in use, and the one that is being read.
    block blocks[2];
    block *current, *coming;
    bool reading_ahead, finished, stdin_used;
    qn_status ahead_status; // of reading ahead: an error is reported when its block is needed
    char ahead_message[1024];
    size_t batch; // next one of the current block
};

qn_corpus_options qn_corpus_defaults(void) {
    return (qn_corpus_options){
        .max_length = 128,
        .shuffle = true,
        .window = 65536,
        .memory_limit = (size_t)1 << 30,
        .batch_size = 32,
        .epochs = 1,
    };
}

static void free_block(block *b) {
    qn_sequences_free(&b->lines);
    qn_sequences_free(&b->sequences);
    free(b->starts);
    free(b->next_sentence);
    qn_sampler_free(b->sampler);
    *b = (block){0};
}

void qn_corpus_close(qn_corpus *c) {
    if (!c) return;
    qn_reader_close(c->reader);
    free_block(&c->blocks[0]);
    free_block(&c->blocks[1]);
    for (size_t i = 0; i < c->file_count; i++) free(c->files[i]);
    free(c->files);
    free(c->sizes);
    free(c->order);
    qn_encoding_free(&c->encoding);
    free((char *)c->options.reader.text_column);
    free((char *)c->options.reader.pair_column);
    free((char *)c->options.reader.columns);
    free(c);
}

// --- Records of an epoch, file after file

// The order of files in an epoch: shuffled where blocks do not mix them all anyway.
static void order_files(qn_corpus *c, uint64_t epoch) {
    qn_rng rng = {c->options.seed ^ SEED_OF_FILES, epoch, 0};
    for (size_t i = 0; i < c->file_count; i++) c->order[i] = (uint32_t)i;
    for (size_t i = c->file_count; i > 1 && c->options.shuffle && !c->in_memory; i--) {
        size_t j = (size_t)qn_rng_below(&rng, i);
        uint32_t file = c->order[i - 1];
        c->order[i - 1] = c->order[j];
        c->order[j] = file;
    }
    c->order_epoch = epoch;
}

// The file that c->file stands for.
static qn_status open_file(qn_corpus *c) {
    const char *path = c->files[c->order[c->file]];
    if (strcmp(path, "-") == 0) {
        if (c->stdin_used)
            return qn_fail(
                QN_ERROR_ARGUMENT,
                "standard input: cannot be read a second time (expected files, or a corpus that fits in memory)");
        c->stdin_used = true;
    }
    return qn_reader_open(path, &c->options.reader, &c->reader);
}

// Goes to a place in an epoch's text.
static qn_status start_at(qn_corpus *c, uint64_t epoch, uint64_t file, const qn_reader_position *record) {
    qn_reader_close(c->reader);
    c->reader = NULL;
    c->have_record = c->pending_start = false;
    order_files(c, epoch);
    if (file > c->file_count)
        return qn_fail(QN_ERROR_FORMAT, "the checkpoint is in file %" PRIu64 " of %zu", file, c->file_count);
    c->file = file;
    if (!record || record->offset == 0 || file == c->file_count) return QN_OK;
    QN_TRY(open_file(c));
    return qn_reader_seek(c->reader, record);
}

static qn_reader_position place(const qn_corpus *c) {
    return c->reader ? qn_reader_tell(c->reader) : (qn_reader_position){0};
}

// The next record of the epoch into c->record, opening files as it goes; c->have_record is false at the end of the
// epoch.
static qn_status read_record(qn_corpus *c) {
    c->have_record = false;
    while (c->file < c->file_count) {
        if (!c->reader) QN_TRY(open_file(c));
        bool end;
        QN_TRY(qn_reader_next(c->reader, &c->record, &end));
        if (!end) {
            c->have_record = true;
            return QN_OK;
        }
        qn_reader_close(c->reader);
        c->reader = NULL;
        c->file++;
    }
    return QN_OK;
}

static double progress(const qn_corpus *c) {
    double total = 0, done = 0;
    for (size_t i = 0; i < c->file_count; i++) {
        double size = (double)c->sizes[c->order[i]];
        total += size;
        if (i < c->file) done += size;
        if (i == c->file && c->reader) done += size * qn_reader_progress(c->reader);
    }
    return total > 0 ? done / total : 0;
}

// --- Blocks

// Sequences that the block's lines will make, more or less.
static size_t expected_sequences(const qn_corpus *c, const block *b) {
    size_t body = qn_corpus_body(&c->shape), full = b->lines.tokens / body;
    bool joined = c->options.pack || c->options.next_sentence;
    return joined ? full : b->lines.count + (c->options.cut ? 0 : full);
}

static qn_status add_line(qn_corpus *c, block *b, qn_span text, bool starts) {
    qn_status status =
        qn_tokenizer_encode(c->tokenizer, text.data ? text.data : "", text.size, NULL, 0, &c->encode, &c->encoding);
    if (status != QN_OK) return qn_fail_prefix(status, "%s:%lld", c->record.file, (long long)c->record.line);
    c->pending_start |= starts;
    if (c->encoding.count == 0) return QN_OK;
    void *grown = b->starts;
    status = qn_grow(&grown, &b->start_capacity, b->lines.count + 1, sizeof *b->starts);
    b->starts = grown;
    if (status != QN_OK) return status;
    b->starts[b->lines.count] = c->pending_start;
    c->pending_start = false;
    return qn_sequences_append(&b->lines, &c->encoding);
}

static void begin_block(qn_corpus *c, block *b, uint64_t epoch, uint64_t number, uint64_t file,
                        qn_reader_position record) {
    b->epoch = epoch;
    b->number = number;
    b->file = file;
    b->record = record;
    b->complete = b->last = false;
    b->progress = b->end_progress = progress(c);
    qn_sequences_clear(&b->lines);
}

// Reads up to `lines` more records into the block. It is complete when it has its sequences, or at the end of the
// epoch.
static qn_status load(qn_corpus *c, block *b, size_t lines) {
    for (; lines > 0 && !b->complete; lines--) {
        if (!c->have_record) QN_TRY(read_record(c));
        if (c->have_record) {
            bool lines_of_documents =
                qn_reader_format(c->reader) == QN_FORMAT_TEXT && (c->options.documents || c->options.next_sentence);
            QN_TRY(add_line(c, b, c->record.text, !lines_of_documents || c->record.starts_document));
            if (c->record.pair.data) QN_TRY(add_line(c, b, c->record.pair, false));
            c->have_record = false;
        } else {
            b->complete = b->last = true;
        }
        if (!b->last && (c->in_memory || expected_sequences(c, b) < c->options.window)) continue;
        b->complete = true;
        b->end_file = c->file;
        b->end_record = place(c);
        b->end_progress = b->last ? 1 : progress(c);
        // A block that ends with the text must know, so that the last batch can say so.
        if (!b->last) QN_TRY(read_record(c));
        b->last = !c->have_record;
    }
    return QN_OK;
}

// Makes the sequences of a complete block, and their order.
static qn_status build(qn_corpus *c, block *b) {
    qn_rng rng = {c->options.seed ^ SEED_OF_PAIRS, b->epoch << 32 | b->number, 0};
    b->line_count = b->lines.count;
    QN_TRY(qn_corpus_build(&c->shape, &b->lines, b->starts, &rng, &b->sequences, &b->next_sentence, &b->next_capacity));
    qn_sampler_free(b->sampler);
    b->sampler = NULL;
    qn_sampler_options options = {
        .order = !c->options.shuffle          ? QN_ORDER_GIVEN
                 : c->options.group_by_length ? QN_ORDER_GROUPED
                                              : QN_ORDER_SHUFFLED,
        .batch_size = c->options.batch_size,
        .batch_tokens = c->options.batch_tokens,
        .seed = c->options.seed,
        .first_epoch = b->epoch << 32 | b->number,
    };
    QN_TRY(qn_sampler_create(&b->sequences, &options, &b->sampler));
    qn_sampler_bounds(b->sampler, &b->most_sequences, &b->most_tokens);
    return QN_OK;
}

// A corpus in memory starts the next epoch: another order, and other pairs.
static qn_status next_epoch_in_memory(qn_corpus *c, uint64_t epoch) {
    block *b = c->current;
    if (epoch == b->epoch) return QN_OK;
    b->epoch = epoch;
    return c->options.next_sentence ? build(c, b) : qn_sampler_set_epoch(b->sampler, epoch << 32);
}

// Reads a first block, at the current place, and puts it to use.
static qn_status load_current(qn_corpus *c, uint64_t epoch, uint64_t number) {
    begin_block(c, c->current, epoch, number, c->file, place(c));
    QN_TRY(load(c, c->current, SIZE_MAX));
    c->reading_ahead = false;
    c->batch = 0;
    return build(c, c->current);
}

static bool is_last_epoch(const qn_corpus *c, const block *b) {
    return c->options.epochs > 0 && b->epoch + 1 >= c->options.epochs;
}

// Decides where the block after the current one begins.
static qn_status begin_coming(qn_corpus *c) {
    const block *b = c->current;
    if (c->reading_ahead) return QN_OK;
    c->reading_ahead = true;
    if (!b->last) {
        begin_block(c, c->coming, b->epoch, b->number + 1, b->end_file, b->end_record);
        return QN_OK;
    }
    QN_TRY(start_at(c, b->epoch + 1, 0, NULL));
    begin_block(c, c->coming, b->epoch + 1, 0, 0, (qn_reader_position){0});
    return QN_OK;
}

// Reads as many lines of the coming block as one batch uses up of the current one. An error is kept until the block is
// needed.
static void read_ahead(qn_corpus *c) {
    const block *b = c->current;
    if (c->in_memory || c->ahead_status != QN_OK || (b->last && is_last_epoch(c, b))) return;
    c->ahead_status = begin_coming(c);
    size_t lines = b->line_count / (qn_sampler_batches(b->sampler) + 1) + 1;
    if (c->ahead_status == QN_OK) c->ahead_status = load(c, c->coming, lines);
    if (c->ahead_status != QN_OK) snprintf(c->ahead_message, sizeof c->ahead_message, "%s", qn_last_error());
}

// Goes on to the next block or epoch.
static qn_status advance(qn_corpus *c) {
    block *used = c->current;
    c->finished = used->last && is_last_epoch(c, used);
    if (c->finished) return QN_OK;
    c->batch = 0;
    if (c->in_memory) return next_epoch_in_memory(c, used->epoch + 1);
    if (c->ahead_status != QN_OK) return qn_fail(c->ahead_status, "%s", c->ahead_message);
    QN_TRY(begin_coming(c));
    QN_TRY(load(c, c->coming, SIZE_MAX));
    QN_TRY(build(c, c->coming));
    c->current = c->coming;
    c->coming = used;
    c->reading_ahead = false;
    return QN_OK;
}

static qn_data_position position_after(const qn_corpus *c) {
    const block *b = c->current;
    qn_data_position p = {.epoch = b->epoch, .batch = c->batch, .block = b->number, .fingerprint = c->fingerprint};
    bool used_up = c->batch == qn_sampler_batches(b->sampler);
    if (used_up && b->last) {
        p.epoch++;
        p.block = p.batch = 0;
    } else if (!c->in_memory) {
        p.file = used_up ? b->end_file : b->file;
        p.record = used_up ? b->end_record : b->record;
        p.block += used_up;
        p.batch = used_up ? 0 : c->batch;
    }
    return p;
}

static qn_status corpus_next(void *self, qn_batch *batch, bool *end) {
    qn_corpus *c = self;
    // A block may turn out empty: lines without a token.
    while (!c->finished && c->batch == qn_sampler_batches(c->current->sampler)) QN_TRY(advance(c));
    *end = c->finished;
    if (c->finished) return QN_OK;
    block *b = c->current;
    const uint32_t *examples;
    size_t count, batches = qn_sampler_batches(b->sampler);
    qn_sampler_batch(b->sampler, c->batch, &examples, &count);
    size_t sides = c->options.noise ? 2 : 1;
    qn_batch_clear(batch);
    QN_TRY(qn_batch_reserve(batch, sides * b->most_sequences, sides * b->most_tokens));
    if (c->options.noise)
        QN_TRY(qn_batch_fill_noisy(batch, c->options.noise, &b->sequences, examples, count, b->epoch, (uint32_t)b->number));
    for (size_t i = 0; !c->options.noise && i < count; i++) QN_TRY(qn_batch_append(batch, &b->sequences, examples[i]));
    batch->has_next_sentence = c->options.next_sentence;
    for (size_t i = 0; i < count && c->options.next_sentence; i++)
        batch->next_sentence[i] = b->next_sentence[examples[i]];
    if (c->options.predict_next)
        qn_batch_predict_next(batch);
    else if (c->options.masker)
        QN_TRY(qn_batch_mask(batch, c->options.masker, b->epoch, (uint32_t)b->number));
    c->batch++;
    batch->epoch = b->epoch;
    batch->ends_epoch = b->last && c->batch == batches;
    batch->progress = b->progress + (b->end_progress - b->progress) * (double)c->batch / (double)batches;
    batch->after = position_after(c);
    read_ahead(c);
    return QN_OK;
}

qn_source qn_corpus_source(qn_corpus *c) {
    return (qn_source){c, corpus_next};
}

// --- Opening

static qn_status copy_options(qn_corpus *c, const qn_corpus_options *options) {
    c->options = *options;
    qn_reader_options *reader = &c->options.reader;
    const char *text = reader->text_column, *pair = reader->pair_column, *columns = reader->columns;
    *reader = (qn_reader_options){.format = reader->format, .delimiter = reader->delimiter, .texts_only = true};
    reader->text_column = text ? qn_strdup(text) : NULL;
    reader->pair_column = pair ? qn_strdup(pair) : NULL;
    reader->columns = columns ? qn_strdup(columns) : NULL;
    if ((text && !reader->text_column) || (pair && !reader->pair_column) || (columns && !reader->columns))
        return QN_ERROR_MEMORY;
    c->shape = (qn_corpus_shape){&c->options, qn_tokenizer_special(c->tokenizer, QN_TOKEN_CLS),
                                 qn_tokenizer_special(c->tokenizer, QN_TOKEN_SEP)};
    if (options->max_length < 8)
        return qn_fail(QN_ERROR_ARGUMENT, "a maximum length of %zu tokens (expected at least 8)", options->max_length);
    if (options->window == 0)
        return qn_fail(QN_ERROR_ARGUMENT, "a shuffle window of 0 sequences (expected at least 1)");
    if (options->next_sentence && (options->pack || options->cut))
        return qn_fail(
            QN_ERROR_ARGUMENT,
            "pairs of segments are made at full length (expected no packing or cutting with next sentences)");
    c->encode = qn_encode_defaults();
    c->encode.add_special_tokens = false;
    return QN_OK;
}

// Sizes of the files, and the part of the fingerprint that is known without reading them.
static qn_status measure_files(qn_corpus *c, double *text_bytes) {
    const qn_corpus_options *o = &c->options;
    c->sizes = qn_calloc(c->file_count, sizeof *c->sizes);
    c->order = qn_calloc(c->file_count, sizeof *c->order);
    if (!c->sizes || !c->order) return QN_ERROR_MEMORY;
    *text_bytes = 0;
    for (size_t i = 0; i < c->file_count; i++) {
        struct stat info;
        size_t length = strlen(c->files[i]);
        if (strcmp(c->files[i], "-") == 0 || stat(c->files[i], &info) != 0) continue;
        c->sizes[i] = info.st_size;
        bool gzip = length > 3 && strcmp(c->files[i] + length - 3, ".gz") == 0;
        *text_bytes += (double)info.st_size * (gzip ? GZIP_RATIO : 1);
    }
    uint64_t numbers[] = {o->max_length,
                          o->pack,
                          o->cut,
                          o->documents,
                          o->next_sentence,
                          o->shuffle,
                          o->group_by_length,
                          o->batch_size,
                          o->batch_tokens,
                          o->seed,
                          qn_tokenizer_size(c->tokenizer)};
    c->fingerprint = qn_hash(qn_hash(0, numbers, sizeof numbers), c->sizes, c->file_count * sizeof *c->sizes);
    return QN_OK;
}

// Tries to read all of it. *fits is false, and nothing is kept, when it takes more than the limit.
static qn_status load_all(qn_corpus *c, bool *fits) {
    block *b = c->current;
    c->in_memory = true;
    QN_TRY(start_at(c, 0, 0, NULL));
    begin_block(c, b, 0, 0, 0, (qn_reader_position){0});
    *fits = true;
    while (*fits && !b->complete) {
        QN_TRY(load(c, b, 1024));
        // The sequences take about as much again as the lines.
        *fits = 2 * qn_sequences_bytes(&b->lines) <= c->options.memory_limit;
    }
    if (!*fits) {
        c->in_memory = false;
        if (c->stdin_used)
            return qn_fail(
                QN_ERROR_ARGUMENT,
                "standard input: does not fit in %zu MiB (expected files, or a memory limit of 0 to read it once)",
                c->options.memory_limit >> 20);
        free_block(b);
        return QN_OK;
    }
    QN_TRY(build(c, b));
    // Pairs are made anew in each epoch; other sequences stay.
    if (!c->options.next_sentence) qn_sequences_free(&b->lines);
    return QN_OK;
}

static size_t count_documents(const block *b) {
    size_t count = 0;
    for (size_t i = 0; i < b->lines.count; i++) count += i == 0 || b->starts[i];
    return count;
}

static qn_status open_corpus(qn_corpus *c, const char *const *paths, size_t count, const qn_corpus_options *options) {
    double text_bytes;
    bool fits = false;
    QN_TRY(copy_options(c, options));
    QN_TRY(qn_corpus_files(paths, count, &c->files, &c->file_count));
    QN_TRY(measure_files(c, &text_bytes));
    // At 8 bytes of memory a token, text that is longer than this would need 16 letters a token to fit.
    if (c->options.memory_limit > 0 && text_bytes <= 2.0 * (double)c->options.memory_limit) QN_TRY(load_all(c, &fits));
    if (!fits) {
        c->fingerprint = qn_hash(c->fingerprint, &c->options.window, sizeof c->options.window);
        QN_TRY(start_at(c, 0, 0, NULL));
        QN_TRY(load_current(c, 0, 0));
        while (c->current->sequences.count == 0 && !c->current->last) QN_TRY(advance(c));
    } else {
        uint64_t hash = qn_sequences_hash(&c->current->sequences);
        c->fingerprint = qn_hash(c->fingerprint, &hash, sizeof hash);
    }
    if (options->next_sentence && count_documents(c->current) == 1)
        return qn_fail(
            QN_ERROR_FORMAT,
            "%s: is a single document (expected several, with an empty line after each, for pairs of segments)",
            paths[0]);
    if (c->current->sequences.count == 0)
        return qn_fail(QN_ERROR_FORMAT, "%s: holds no text (expected at least one line%s)", paths[0],
                       options->next_sentence ? " after another" : "");
    return QN_OK;
}

qn_status qn_corpus_open(const char *const *paths, size_t count, const qn_tokenizer *tokenizer,
                         const qn_corpus_options *options, qn_corpus **out) {
    *out = NULL;
    qn_corpus *c = qn_calloc(1, sizeof *c);
    if (!c) return QN_ERROR_MEMORY;
    c->tokenizer = tokenizer;
    c->current = &c->blocks[0];
    c->coming = &c->blocks[1];
    qn_status status = open_corpus(c, paths, count, options);
    if (status != QN_OK) {
        qn_corpus_close(c);
        return status;
    }
    *out = c;
    return QN_OK;
}

qn_status qn_corpus_seek(qn_corpus *c, const qn_data_position *position) {
    if (position->fingerprint != c->fingerprint)
        return qn_fail(
            QN_ERROR_FORMAT,
            "%s: not the corpus that the checkpoint was trained on (expected the same files, tokenizer and options)",
            c->files[0]);
    c->finished = c->options.epochs > 0 && position->epoch >= c->options.epochs;
    if (c->finished) return QN_OK;
    if (c->in_memory) {
        QN_TRY(next_epoch_in_memory(c, position->epoch));
    } else if (position->epoch != c->current->epoch || position->block != c->current->number) {
        c->ahead_status = QN_OK;
        c->reading_ahead = false;
        QN_TRY(start_at(c, position->epoch, position->file, &position->record));
        QN_TRY(load_current(c, position->epoch, position->block));
    }
    size_t batches = qn_sampler_batches(c->current->sampler);
    if (position->batch > batches)
        return qn_fail(QN_ERROR_FORMAT, "%s: the checkpoint is at batch %" PRIu64 " of %zu (was the text changed?)",
                       c->files[0], position->batch, batches);
    c->batch = position->batch;
    return QN_OK;
}

bool qn_corpus_in_memory(const qn_corpus *c) {
    return c->in_memory;
}

size_t qn_corpus_sequences(const qn_corpus *c) {
    return c->current->sequences.count;
}

size_t qn_corpus_tokens(const qn_corpus *c) {
    return c->current->sequences.tokens;
}

uint64_t qn_corpus_fingerprint(const qn_corpus *c) {
    return c->fingerprint;
}

qn_status qn_corpus_total(qn_corpus *c, uint64_t epochs, uint64_t *batches) {
    *batches = 0;
    if (!c->in_memory) return QN_OK;
    uint64_t current = c->current->epoch;
    for (uint64_t epoch = 0; epoch < epochs; epoch++) {
        size_t count;
        if (c->options.next_sentence) {
            QN_TRY(next_epoch_in_memory(c, epoch));
            count = qn_sampler_batches(c->current->sampler);
        } else {
            QN_TRY(qn_sampler_count(c->current->sampler, epoch << 32, &count));
        }
        *batches += count;
    }
    return next_epoch_in_memory(c, current);
}
