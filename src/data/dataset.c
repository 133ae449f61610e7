// A labelled data set in memory.
#include "data/dataset.h"
#include "base/buffer.h"
#include "base/memory.h"
#include "base/utf8.h"
#include "data/hash.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

qn_dataset_options qn_dataset_defaults(void) {
    return (qn_dataset_options){.encode = qn_encode_defaults()};
}

void qn_dataset_free(qn_dataset *d) {
    qn_sequences_free(&d->sequences);
    free(d->classes);
    free(d->multi);
    free(d->scores);
    free(d->lines);
    free(d->files);
    for (size_t i = 0; i < d->name_count; i++) free(d->names[i]);
    free(d->names);
    free(d->texts);
    free(d->text_offsets);
    free(d->document);
    free(d->tags);
    free(d->answers);
    free(d->starts);
    free(d->ends);
    free(d->gold);
    free(d->gold_offsets);
    *d = (qn_dataset){0};
}

// What is needed only while reading.
typedef struct {
    const qn_tokenizer *tokenizer;
    const qn_dataset_options *options;
    qn_labels *labels;
    qn_dataset *out;
    qn_encoding encoding;
    qn_buffer texts, prompted;
    // Pairs (example, label) of QN_TARGET_LABELS: the number of labels is known only at the end.
    uint32_t *pairs; // [2 * pair_count]
    size_t pair_count, pair_capacity;
    size_t class_capacity, score_capacity, line_capacity, file_capacity, text_capacity;
} builder;

#define GROW(array, capacity, need)                                                                                    \
    do {                                                                                                               \
        void *grown_ = (array);                                                                                        \
        qn_status grow_status_ = qn_grow(&grown_, &(capacity), (need), sizeof *(array));                               \
        (array) = grown_;                                                                                              \
        if (grow_status_ != QN_OK) return grow_status_;                                                                \
    } while (0)

static qn_status find_label(builder *b, const qn_record *record, qn_span name, int32_t *id) {
    if (!b->options->collect_labels) return qn_labels_lookup(b->labels, name, record->file, record->line, id);
    if (qn_utf8_is_valid(name.data, name.size)) return qn_labels_add(b->labels, name, id);
    return qn_fail(QN_ERROR_FORMAT, "%s:%lld: the label \"%.*s\" is not UTF-8 (as config.json has to be)", record->file,
                   (long long)record->line, (int)(name.size < 80 ? name.size : 80), name.data);
}

static qn_status add_class(builder *b, const qn_record *record, size_t n) {
    if (!record->has_label || record->label_count != 1)
        return qn_fail(QN_ERROR_FORMAT, "%s:%lld: %s (expected one label; --multi-label takes any number)",
                       record->file, (long long)record->line, record->label_count > 1 ? "several labels" : "no label");
    GROW(b->out->classes, b->class_capacity, n + 1);
    return find_label(b, record, record->labels[0], &b->out->classes[n]);
}

static qn_status add_labels(builder *b, const qn_record *record, size_t n) {
    if (!record->has_label)
        return qn_fail(QN_ERROR_FORMAT, "%s:%lld: no labels (expected a list, which may be empty)", record->file,
                       (long long)record->line);
    for (size_t i = 0; i < record->label_count; i++) {
        int32_t id;
        QN_TRY(find_label(b, record, record->labels[i], &id));
        GROW(b->pairs, b->pair_capacity, 2 * b->pair_count + 2);
        b->pairs[2 * b->pair_count] = (uint32_t)n;
        b->pairs[2 * b->pair_count + 1] = (uint32_t)id;
        b->pair_count++;
    }
    return QN_OK;
}

static qn_status add_score(builder *b, const qn_record *record, size_t n) {
    double score = record->score;
    bool ok = record->has_score;
    if (!ok && record->has_label && record->label_count == 1) {
        ok = qn_parse_number(record->labels[0], &score);
        if (!ok)
            return qn_fail(QN_ERROR_FORMAT, "%s:%lld: the label is \"%.*s\" (expected a number)", record->file,
                           (long long)record->line, (int)(record->labels[0].size < 60 ? record->labels[0].size : 60),
                           record->labels[0].data);
    }
    if (!ok)
        return qn_fail(QN_ERROR_FORMAT, "%s:%lld: no score (expected a number)", record->file, (long long)record->line);
    if (!isfinite((float)score))
        return qn_fail(QN_ERROR_FORMAT, "%s:%lld: the score %g is too large", record->file, (long long)record->line,
                       score);
    GROW(b->out->scores, b->score_capacity, n + 1);
    b->out->scores[n] = (float)score;
    return QN_OK;
}

// The text (or pair) of the sequence that comes next.
static qn_status add_text(builder *b, qn_span text, qn_span pair) {
    if (!b->options->keep_texts) return QN_OK;
    size_t n = b->out->sequences.count;
    GROW(b->out->text_offsets, b->text_capacity, n + 1);
    b->out->text_offsets[n] = (int64_t)b->texts.size;
    qn_buffer_append(&b->texts, text.data, text.size);
    qn_buffer_char(&b->texts, '\0');
    // One byte tells an empty pair from none.
    qn_buffer_char(&b->texts, pair.data ? '1' : '0');
    qn_buffer_append(&b->texts, pair.data, pair.size);
    qn_buffer_char(&b->texts, '\0');
    return qn_buffer_status(&b->texts);
}

// side: as a ColBERT counts, where it is one.
static qn_status add_sequence(builder *b, const qn_record *record, size_t side, const char *prompt, qn_span text,
                              qn_span pair) {
    QN_TRY(add_text(b, text, pair));
    if (prompt) {
        qn_buffer_clear(&b->prompted);
        qn_buffer_text(&b->prompted, prompt);
        qn_buffer_append(&b->prompted, text.data, text.size);
        QN_TRY(qn_buffer_status(&b->prompted));
        text = (qn_span){b->prompted.data, b->prompted.size};
    }
    const qn_late *late = b->options->late;
    qn_encode_options encode = late ? qn_late_encoding(late, side, &b->options->encode) : b->options->encode;
    qn_status status = qn_tokenizer_encode(b->tokenizer, text.data ? text.data : "", text.size, pair.data, pair.size,
                                           &encode, &b->encoding);
    if (status != QN_OK) return qn_fail_prefix(status, "%s:%lld", record->file, (long long)record->line);
    b->out->truncated += b->encoding.truncated;
    return late ? qn_late_append(late, side, &b->encoding, &b->out->sequences)
                : qn_sequences_append(&b->out->sequences, &b->encoding);
}

// Each text is a sequence of its own.
static qn_status add_group(builder *b, const qn_record *record) {
    size_t count = record->texts ? record->text_count : 1;
    const qn_span *texts = record->texts ? record->texts : &record->text;
    bool twice = b->options->twice && count == 1;
    if (b->out->width == 0) b->out->width = count + twice;
    if (count + twice != b->out->width)
        return qn_fail(QN_ERROR_FORMAT, "%s:%lld: %zu text%s (expected %zu, as in the first example)", record->file,
                       (long long)record->line, count, count == 1 ? "" : "s", b->out->width - twice);
    const char *const *prompts = b->options->prompts;
    for (size_t k = 0; k < count; k++) QN_TRY(add_sequence(b, record, k > 0, prompts[k > 0], texts[k], (qn_span){0}));
    return twice ? add_sequence(b, record, 0, prompts[0], texts[0], (qn_span){0}) : QN_OK;
}

static qn_status add_record(builder *b, const qn_record *record, size_t file) {
    qn_dataset *out = b->out;
    size_t n = qn_dataset_count(out);
    if (out->sequences.count >= UINT32_MAX - 1)
        return qn_fail(QN_ERROR_UNSUPPORTED, "%s:%lld: more than 4 billion examples", record->file,
                       (long long)record->line);
    qn_status status = QN_OK;
    if (out->target == QN_TARGET_CLASS) status = add_class(b, record, n);
    if (out->target == QN_TARGET_LABELS) status = add_labels(b, record, n);
    if (out->target == QN_TARGET_SCORE) status = add_score(b, record, n);
    if (status != QN_OK) return status;
    GROW(out->lines, b->line_capacity, n + 1);
    GROW(out->files, b->file_capacity, n + 1);
    out->lines[n] = record->line;
    out->files[n] = (uint32_t)file;
    return b->options->reader.group ? add_group(b, record)
                                    : add_sequence(b, record, 0, NULL, record->text, record->pair);
}

// The records of a reader; all have `score` where it is not NULL.
static qn_status read_records(builder *b, qn_reader *reader, const double *score, size_t file, bool *end) {
    qn_status status = QN_OK;
    while (status == QN_OK && (b->options->limit == 0 || qn_dataset_count(b->out) < b->options->limit)) {
        qn_record record;
        status = qn_reader_next(reader, &record, end);
        if (status != QN_OK || *end) break;
        if (score) record.has_score = true, record.score = *score;
        status = add_record(b, &record, file);
    }
    qn_reader_close(reader);
    return status;
}

// A reader of the pairs of a query and `column`, which files of triples have. Not of standard input, which is read
// once.
static bool open_triples(const builder *b, const char *path, const char *column, qn_reader **out) {
    static const char *const queries[] = {"query", "anchor", "question"};
    qn_reader_options o = b->options->reader;
    if (!b->options->triples || o.pair_column || o.label_column || o.score_column || strcmp(path, "-") == 0)
        return false;
    o.pair_column = column;
    o.texts_only = true;
    for (size_t i = 0; i < sizeof queries / sizeof *queries; i++) {
        if (!b->options->reader.text_column) o.text_column = queries[i];
        if (qn_reader_open(path, &o, out) == QN_OK) return true;
    }
    return false;
}

static qn_status read_file(builder *b, const char *path, size_t file) {
    qn_reader_options options = b->options->reader;
    bool any_score = b->out->target == QN_TARGET_ANY_SCORE;
    options.need_label = b->out->target != QN_TARGET_NONE && !any_score;
    options.multi_label = b->out->target == QN_TARGET_LABELS;
    qn_reader *reader, *negatives;
    qn_status status;
    size_t before = b->out->sequences.count;
    bool end = false;
    if (open_triples(b, path, "negative", &negatives)) {
        status = open_triples(b, path, "positive", &reader) ? QN_OK : QN_ERROR_FORMAT; // which says what is missing
        if (status == QN_OK) status = read_records(b, reader, &(const double){1}, file, &end);
        if (status == QN_OK)
            status = read_records(b, negatives, &(const double){0}, file, &end);
        else
            qn_reader_close(negatives);
    } else {
        QN_TRY(qn_reader_open(path, &options, &reader));
        if (any_score) b->out->target = qn_reader_has_score(reader) ? QN_TARGET_SCORE : QN_TARGET_NONE;
        status = read_records(b, reader, NULL, file, &end);
    }
    if (status == QN_OK && end && b->out->sequences.count == before)
        status = qn_fail(QN_ERROR_FORMAT, "%s: holds no examples (expected at least one)",
                         strcmp(path, "-") == 0 ? "standard input" : path);
    return status;
}

// Labels get their final order, and classes and pairs follow.
static qn_status finish_labels(builder *b) {
    qn_dataset *out = b->out;
    size_t n = out->sequences.count;
    if (out->target != QN_TARGET_CLASS && out->target != QN_TARGET_LABELS) return QN_OK;
    out->labels = b->labels->count;
    if (b->options->collect_labels && out->labels > 0) {
        int32_t *renumber = qn_malloc(out->labels, sizeof *renumber);
        qn_status status = renumber ? qn_labels_sort(b->labels, renumber) : QN_ERROR_MEMORY;
        if (status == QN_OK && out->classes)
            for (size_t i = 0; i < n; i++) out->classes[i] = renumber[out->classes[i]];
        if (status == QN_OK)
            for (size_t i = 0; i < b->pair_count; i++) b->pairs[2 * i + 1] = (uint32_t)renumber[b->pairs[2 * i + 1]];
        free(renumber);
        if (status != QN_OK) return status;
    }
    if (out->target != QN_TARGET_LABELS) return QN_OK;
    if (out->labels == 0)
        return qn_fail(QN_ERROR_FORMAT, "%s: no example has a label (expected at least one)", out->names[0]);
    size_t cells;
    if (__builtin_mul_overflow(n, out->labels, &cells))
        return qn_fail(QN_ERROR_MEMORY, "%zu x %zu labels do not fit", n, out->labels);
    out->multi = qn_calloc(cells, 1);
    if (!out->multi) return QN_ERROR_MEMORY;
    for (size_t i = 0; i < b->pair_count; i++) out->multi[b->pairs[2 * i] * out->labels + b->pairs[2 * i + 1]] = 1;
    return QN_OK;
}

static qn_status build(builder *b, const char *const *paths, size_t count) {
    qn_dataset *out = b->out;
    if (count == 0) return qn_fail(QN_ERROR_ARGUMENT, "no data file (expected at least one)");
    out->names = qn_calloc(count, sizeof *out->names);
    if (!out->names) return QN_ERROR_MEMORY;
    for (size_t i = 0; i < count; i++) {
        out->names[i] = qn_strdup(paths[i]);
        if (!out->names[i]) return QN_ERROR_MEMORY;
        out->name_count = i + 1;
        QN_TRY(read_file(b, paths[i], i));
    }
    QN_TRY(finish_labels(b));
    size_t n = qn_dataset_count(out);
    uint64_t hash = qn_sequences_hash(&out->sequences);
    if (out->classes) hash = qn_hash(hash, out->classes, n * sizeof *out->classes);
    if (out->scores) hash = qn_hash(hash, out->scores, n * sizeof *out->scores);
    if (out->multi) hash = qn_hash(hash, out->multi, n * out->labels);
    out->fingerprint = hash;
    out->texts = b->texts.data;
    b->texts = (qn_buffer){0};
    return QN_OK;
}

qn_status qn_dataset_read(const char *const *paths, size_t count, const qn_tokenizer *tokenizer,
                          const qn_dataset_options *options, qn_labels *labels, qn_dataset *out) {
    *out = (qn_dataset){.target = options->target, .width = options->reader.group ? 0 : 1};
    builder b = {
        .tokenizer = tokenizer, .options = options, .labels = labels, .out = out, .encoding = QN_ENCODING_INIT};
    qn_status status = build(&b, paths, count);
    qn_encoding_free(&b.encoding);
    qn_buffer_free(&b.texts);
    qn_buffer_free(&b.prompted);
    free(b.pairs);
    if (status != QN_OK) qn_dataset_free(out);
    return status;
}

void qn_dataset_class_counts(const qn_dataset *d, int64_t *counts) {
    memset(counts, 0, d->labels * sizeof *counts);
    for (size_t i = 0; i < d->sequences.count; i++) {
        if (d->classes) counts[d->classes[i]]++;
        for (size_t l = 0; d->multi && l < d->labels; l++) counts[l] += d->multi[i * d->labels + l];
    }
}

void qn_dataset_class_weights(const qn_dataset *d, const int64_t *counts, float *weights) {
    double even = (double)d->sequences.count / (double)d->labels;
    for (size_t l = 0; l < d->labels; l++) weights[l] = counts[l] > 0 ? (float)(even / (double)counts[l]) : 0.0f;
}

void qn_dataset_text(const qn_dataset *d, size_t i, const char **text, const char **pair) {
    *text = "";
    *pair = NULL;
    if (!d->texts) return;
    *text = d->texts + d->text_offsets[i * d->width];
    const char *mark = *text + strlen(*text) + 1;
    if (*mark == '1') *pair = mark + 1;
    if (d->width > 1) *pair = qn_dataset_group_text(d, i, 1);
}

const char *qn_dataset_group_text(const qn_dataset *d, size_t i, size_t k) {
    return d->texts ? d->texts + d->text_offsets[i * d->width + k] : "";
}
