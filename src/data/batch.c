// Batches packed without padding, and their masking.
#include "data/batch.h"
#include "base/buffer.h"
#include "base/json.h"
#include "base/memory.h"
#include "base/rng.h"
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#define SEED_OF_MASKS 0x6D61736B732E2E2Eu

void qn_batch_free(qn_batch *b) {
    free(b->ids);
    free(b->types);
    free(b->positions);
    free(b->continues);
    free(b->offsets);
    free(b->examples);
    free(b->classes);
    free(b->scores);
    free(b->multi);
    free(b->numbers);
    free(b->tags);
    for (int k = 0; k < 2; k++) free(b->answers[k]);
    free(b->masked_rows);
    free(b->masked_ids);
    free(b->next_sentence);
    *b = (qn_batch){0};
}

void qn_batch_clear(qn_batch *b) {
    b->sequences = b->tokens = b->masked = b->labels = 0;
    b->has_classes = b->has_scores = b->has_multi = b->has_tags = b->has_answers = b->has_next_sentence =
        b->ends_epoch = false;
    b->epoch = 0;
    b->width = 1;
    b->progress = 0;
    b->after = (qn_data_position){0};
}

// Grows several arrays of one capacity together.
static qn_status grow_all(void **arrays[], const size_t sizes[], size_t count, size_t *capacity, size_t need) {
    size_t grown = *capacity;
    for (size_t i = 0; i < count; i++) {
        grown = *capacity;
        QN_TRY(qn_grow(arrays[i], &grown, need, sizes[i]));
    }
    *capacity = grown;
    return QN_OK;
}

qn_status qn_batch_reserve(qn_batch *b, size_t sequences, size_t tokens) {
    void **token_arrays[] = {(void **)&b->ids,       (void **)&b->types,       (void **)&b->positions,
                             (void **)&b->continues, (void **)&b->masked_rows, (void **)&b->masked_ids,
                             (void **)&b->tags};
    static const size_t token_sizes[] = {4, 4, 4, 1, 4, 4, 4};
    void **sequence_arrays[] = {(void **)&b->offsets,   (void **)&b->examples,      (void **)&b->classes,
                                (void **)&b->scores,    (void **)&b->next_sentence, (void **)&b->answers[0],
                                (void **)&b->answers[1]};
    static const size_t sequence_sizes[] = {4, 4, 4, 4, 4, 4, 4};
    QN_TRY(grow_all(token_arrays, token_sizes, 7, &b->token_capacity, tokens));
    return grow_all(sequence_arrays, sequence_sizes, 7, &b->sequence_capacity, sequences + 1);
}

qn_status qn_batch_append(qn_batch *b, const qn_sequences *sequences, uint32_t i) {
    int32_t length = qn_sequences_length(sequences, i), second = sequences->second[i];
    int64_t begin = qn_sequences_begin(sequences, i);
    if (b->tokens + (size_t)length > INT32_MAX)
        return qn_fail(QN_ERROR_ARGUMENT, "a batch of more than %d tokens", INT32_MAX);
    QN_TRY(qn_batch_reserve(b, b->sequences + 1, b->tokens + (size_t)length));
    size_t at = b->tokens;
    if (length > 0) memcpy(b->ids + at, sequences->ids + begin, (size_t)length * sizeof *b->ids);
    for (int32_t k = 0; k < length; k++) {
        b->types[at + (size_t)k] = k >= second;
        b->positions[at + (size_t)k] = k;
        b->continues[at + (size_t)k] = qn_sequences_continues(sequences, begin + k);
    }
    b->examples[b->sequences] = i;
    b->offsets[b->sequences] = (int32_t)at;
    b->tokens = at + (size_t)length;
    b->offsets[++b->sequences] = (int32_t)b->tokens;
    return QN_OK;
}

// Takes memory for as many rows as the batch may have sequences, so that a full batch finds it there.
static qn_status copy_numbers(qn_batch *b, const qn_dataset *d, const uint32_t *examples, size_t count) {
    void *numbers = b->numbers;
    qn_status status = qn_grow(&numbers, &b->number_capacity, b->sequence_capacity * d->columns, sizeof *b->numbers);
    b->numbers = numbers;
    b->columns = d->columns;
    for (size_t i = 0; i < count && status == QN_OK; i++)
        memcpy(b->numbers + i * d->columns, d->numbers + examples[i] * d->columns, d->columns * sizeof *b->numbers);
    return status;
}

qn_status qn_batch_fill(qn_batch *b, const qn_dataset *d, const uint32_t *examples, size_t count) {
    qn_batch_clear(b);
    b->width = d->width;
    for (size_t i = 0; i < count; i++)
        for (size_t k = 0; k < d->width; k++)
            QN_TRY(qn_batch_append(b, &d->sequences, (uint32_t)(examples[i] * d->width + k)));
    b->labels = d->labels;
    b->has_classes = d->classes != NULL;
    b->has_scores = d->scores != NULL;
    b->has_multi = d->multi != NULL;
    b->has_tags = d->tags != NULL;
    b->has_answers = d->answers != NULL;
    if (b->has_multi) {
        void *multi = b->multi;
        qn_status status = qn_grow(&multi, &b->multi_capacity, b->sequence_capacity * d->labels, sizeof *b->multi);
        b->multi = multi;
        if (status != QN_OK) return status;
    }
    for (size_t i = 0; i < count; i++) {
        size_t example = examples[i];
        if (b->has_classes) b->classes[i] = d->classes[example];
        if (b->has_scores) b->scores[i] = d->scores[example];
        if (b->has_tags)
            memcpy(b->tags + b->offsets[i], d->tags + qn_sequences_begin(&d->sequences, example),
                   (size_t)qn_sequences_length(&d->sequences, example) * sizeof *b->tags);
        for (size_t k = 0; b->has_answers && k < 2; k++) b->answers[k][i] = d->answers[2 * example + k];
        for (size_t l = 0; b->has_multi && l < d->labels; l++)
            b->multi[i * d->labels + l] = d->multi[example * d->labels + l];
    }
    return d->numbers ? copy_numbers(b, d, examples, count) : QN_OK;
}

// --- Masking

qn_mask_options qn_mask_defaults(void) {
    return (qn_mask_options){.probability = 0.15, .mask_share = 0.8, .random_share = 0.1};
}

qn_status qn_masker_init(qn_masker *m, const qn_tokenizer *tokenizer, const qn_mask_options *options) {
    *m = (qn_masker){.options = *options};
    double p = options->probability, mask = options->mask_share, random = options->random_share;
    if (!(p >= 0 && p <= 1 && mask >= 0 && random >= 0 && mask + random <= 1 + 1e-9))
        return qn_fail(QN_ERROR_ARGUMENT,
                       "masking with probability %g, %g masked and %g random (expected 0 to 1, and the two shares at "
                       "most 1 together)",
                       p, mask, random);
    m->mask_id = qn_tokenizer_special(tokenizer, QN_TOKEN_MASK);
    if (m->mask_id < 0)
        return qn_fail(QN_ERROR_ARGUMENT,
                       "the tokenizer has no mask token (expected one for masked-language modelling)");
    m->vocabulary = (uint32_t)qn_tokenizer_size(tokenizer);
    m->special = qn_calloc(m->vocabulary, 1);
    if (!m->special) return QN_ERROR_MEMORY;
    for (uint32_t id = 0; id < m->vocabulary; id++)
        m->special[id] = qn_tokenizer_is_special(tokenizer, (int32_t)id) || !qn_tokenizer_token(tokenizer, (int32_t)id);
    m->choose = (uint64_t)(p * 0x1p32);
    m->mask = (uint64_t)(mask * 0x1p32);
    m->random = (uint64_t)((mask + random) * 0x1p32);
    return QN_OK;
}

void qn_masker_free(qn_masker *m) {
    free(m->special);
    *m = (qn_masker){0};
}

// A token of the vocabulary that is not special; the mask token if two draws in a row were special.
static int32_t random_token(const qn_masker *m, uint32_t first, uint32_t second) {
    uint32_t id = (uint32_t)((uint64_t)first * m->vocabulary >> 32);
    if (m->special[id]) id = (uint32_t)((uint64_t)second * m->vocabulary >> 32);
    return m->special[id] ? m->mask_id : (int32_t)id;
}

qn_status qn_batch_mask(qn_batch *b, const qn_masker *m, uint64_t epoch, uint32_t stream) {
    b->masked = 0;
    for (size_t i = 0; i < b->sequences; i++) {
        uint64_t key = (uint64_t)stream << 32 | b->examples[i];
        bool chosen = false, word = false; // of the word that the token belongs to; whether it may be continued
        for (int32_t t = b->offsets[i]; t < b->offsets[i + 1]; t++) {
            int32_t id = b->ids[t];
            bool special = (uint32_t)id >= m->vocabulary || m->special[id];
            qn_random4 r = qn_philox(m->options.seed ^ SEED_OF_MASKS, key, epoch << 32 | (uint32_t)b->positions[t]);
            if (!(m->options.whole_words && word && b->continues[t])) chosen = r.v[0] < m->choose;
            word = !special;
            if (special || !chosen) continue;
            b->masked_rows[b->masked] = t;
            b->masked_ids[b->masked++] = id;
            if (r.v[1] < m->mask)
                b->ids[t] = m->mask_id;
            else if (r.v[1] < m->random)
                b->ids[t] = random_token(m, r.v[2], r.v[3]);
        }
    }
    return QN_OK;
}

// --- Positions

// Name, place in the struct.
#define POSITION_FIELDS(X)                                                                                             \
    X("epoch", epoch)                                                                                                  \
    X("batch", batch)                                                                                                  \
    X("block", block)                                                                                                  \
    X("file", file)                                                                                                    \
    X("offset", record.offset)                                                                                         \
    X("line", record.line) X("record", record.index) X("starts_document", record.starts_document)

void qn_data_position_write(const qn_data_position *p, qn_buffer *out) {
    qn_buffer_char(out, '{');
#define WRITE_FIELD(name, field) qn_buffer_printf(out, "\"%s\": %" PRId64 ", ", name, (int64_t)p->field);
    POSITION_FIELDS(WRITE_FIELD)
#undef WRITE_FIELD
    // Numbers above 2^53 do not survive every JSON reader.
    qn_buffer_printf(out, "\"fingerprint\": \"%016" PRIx64 "\"}", p->fingerprint);
}

qn_status qn_data_position_read(const json_t *object, const char *file, qn_data_position *out) {
    *out = (qn_data_position){0};
    int64_t value;
#define READ_FIELD(name, field)                                                                                        \
    QN_TRY(qn_json_int(object, file, name, true, 0, INT64_MAX, &value));                                               \
    out->field = value;
    POSITION_FIELDS(READ_FIELD)
#undef READ_FIELD
    const char *hash = NULL;
    QN_TRY(qn_json_string(object, file, "fingerprint", true, &hash));
    char *end;
    out->fingerprint = strtoull(hash, &end, 16);
    if (strlen(hash) != 16 || *end != '\0')
        return qn_fail(QN_ERROR_FORMAT, "%s: \"fingerprint\" is \"%.40s\" (expected 16 hexadecimal digits)", file,
                       hash);
    return QN_OK;
}

void qn_batch_predict_next(qn_batch *b) {
    b->masked = 0;
    for (size_t i = 0; i < b->sequences; i++)
        for (int32_t t = b->offsets[i]; t + 1 < b->offsets[i + 1]; t++) {
            b->masked_rows[b->masked] = t;
            b->masked_ids[b->masked++] = b->ids[t + 1];
        }
}
