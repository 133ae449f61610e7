// Pre-training with masked language modelling (Devlin et al. 2019), with next-sentence prediction on request, or of a
// decoder with causal language modelling (Radford et al. 2018).
#include "base/file.h"
#include "data/corpus.h"
#include "formats/model_folder.h"
#include "models/gguf_model.h"
#include "train/adapters.h"
#include "train/autoencode.h"
#include "train/run_files.h"
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct {
    qn_masker masker;
    qn_corpus *train, *validation;
} job;

// The language model's logits of a batch, and with `next` the next-sentence ones.
static qn_tensor *logits_of(qn_trainer *t, qn_context *c, const qn_batch *batch, qn_tensor **next) {
    qn_tokens tokens = qn_batch_tokens(batch);
    if (!(t->network->heads & QN_HEAD_NEXT_SENTENCE)) { // only some rows are read: the last layer computes no others
        *next = NULL;
        qn_tensor *read = qn_encoder_forward_rows(c, &t->network->encoder, &tokens,
                                                  (qn_rows_read){batch->masked, batch->masked_rows});
        return qn_network_masked_lm(c, t->network, read, batch->masked, NULL);
    }
    qn_tensor *hidden = qn_encoder_forward(c, &t->network->encoder, &tokens);
    *next = qn_network_next_sentence(c, t->network, hidden, tokens.ragged);
    return qn_network_masked_lm(c, t->network, hidden, batch->masked, batch->masked_rows);
}

static qn_status loss(qn_trainer *t, qn_context *c, const qn_batch *batch, double *value) {
    qn_tensor *next, *logits = logits_of(t, c, batch, &next);
    double part = 0;
    QN_TRY(qn_cross_entropy(c, logits, batch->masked_ids, NULL, 0, value));
    if (t->network->heads & QN_HEAD_NEXT_SENTENCE)
        QN_TRY(qn_cross_entropy(c, next, batch->next_sentence, NULL, 0, &part));
    *value += part;
    return QN_OK;
}

static size_t count_right(const qn_tensor *logits, const int32_t *targets) {
    size_t classes = qn_width(logits), right = 0;
    for (size_t i = 0; i < qn_rows(logits); i++) {
        const float *row = logits->data + i * classes;
        size_t best = 0;
        for (size_t k = 1; k < classes; k++)
            if (row[k] > row[best]) best = k;
        right += best == (size_t)targets[i];
    }
    return right;
}

static qn_status evaluate(qn_trainer *t, qn_metric metrics[QN_METRICS_MAX], size_t *count) {
    job *j = t->data;
    qn_source source = qn_corpus_source(j->validation);
    qn_batch batch = {0};
    double sum = 0, next_sum = 0;
    size_t masked = 0, right = 0, sequences = 0, next_right = 0;
    bool end = false;
    qn_status status =
        qn_corpus_seek(j->validation, &(qn_data_position){.fingerprint = qn_corpus_fingerprint(j->validation)});
    while (status == QN_OK && (status = source.next(source.self, &batch, &end)) == QN_OK && !end) {
        qn_context c = qn_trainer_inference(t);
        qn_tensor *next, *logits = logits_of(t, &c, &batch, &next);
        double part = 0;
        status = qn_cross_entropy(&c, logits, batch.masked_ids, NULL, 0, &part);
        if (status != QN_OK) break;
        sum += part * (double)batch.masked;
        masked += batch.masked;
        right += count_right(logits, batch.masked_ids);
        if (!next) continue;
        status = qn_cross_entropy(&c, next, batch.next_sentence, NULL, 0, &part);
        next_sum += part * (double)batch.sequences;
        sequences += batch.sequences;
        next_right += count_right(next, batch.next_sentence);
    }
    qn_batch_free(&batch);
    QN_TRY(status);
    double mean = masked ? sum / (double)masked : NAN, next_mean = sequences ? next_sum / (double)sequences : 0;
    *count = 0;
    metrics[(*count)++] = (qn_metric){"loss", mean + next_mean, true};
    metrics[(*count)++] = (qn_metric){"perplexity", exp(mean), true};
    metrics[(*count)++] = (qn_metric){"accuracy", masked ? (double)right / (double)masked : NAN, false};
    if (sequences)
        metrics[(*count)++] = (qn_metric){"next_sentence_accuracy", (double)next_right / (double)sequences, false};
    return QN_OK;
}

static qn_status seek(qn_trainer *t, const qn_data_position *position) {
    return qn_corpus_seek(((job *)t->data)->train, position);
}

static const qn_objective with_validation = {.loss = loss, .evaluate = evaluate, .seek = seek},
                          without_validation = {.loss = loss, .seek = seek};

static qn_status open_corpora(const qn_training *o, const qn_tokenizer *tokenizer, size_t max_length, bool causal,
                              job *j) {
    qn_mask_options mask = qn_mask_defaults();
    mask.probability = o->mask_probability;
    mask.whole_words = o->whole_word;
    mask.seed = o->seed;
    if (!causal) QN_TRY(qn_masker_init(&j->masker, tokenizer, &mask));
    qn_corpus_options c = qn_corpus_defaults();
    if (o->data.format) QN_TRY(qn_format_parse(o->data.format, &c.reader.format));
    c.reader.text_column = o->data.text_column;
    c.reader.columns = o->data.columns;
    c.max_length = max_length;
    c.next_sentence = o->next_sentence;
    c.group_by_length = o->group_by_length;
    c.batch_size = o->batch_size;
    c.batch_tokens = o->batch_tokens;
    c.seed = o->seed;
    c.epochs = o->max_steps > 0 || o->epochs <= 0 ? 0 : (uint64_t)ceil(o->epochs);
    c.predict_next = causal;
    c.masker = &j->masker;
    QN_TRY(qn_corpus_open(o->train, o->train_count, tokenizer, &c, &j->train));
    if (!o->validation) return QN_OK;
    c.shuffle = false;
    c.epochs = 1;
    return qn_corpus_open(&o->validation, 1, tokenizer, &c, &j->validation);
}

static bool has_weights(const char *path) {
    char *weights = qn_path_join(path, "model.safetensors"), *index = qn_path_join(path, "model.safetensors.index.json");
    bool has = qn_is_gguf(path) || (weights && qn_is_file(weights)) || (index && qn_is_file(index));
    free(weights);
    free(index);
    return has;
}

static qn_status make_network(const qn_training *o, const char *from, const char *checkpoint, qn_model_config *config,
                              qn_network **out) {
    if (o->dropout >= 0) qn_model_config_set_dropout(config, (float)o->dropout);
    qn_network_options options = {QN_HEAD_MASKED_LM | (o->next_sentence ? QN_HEAD_POOLER | QN_HEAD_NEXT_SENTENCE : 0u),
                                  true, o->seed, false, .frozen = (int)(o->freeze_layers + 1)};
    qn_lora lora = {0};
    qn_status status = QN_OK;
    if (qn_training_adapts(o)) {
        options.lora = &lora;
        status = qn_training_open_adapters(o, checkpoint, &lora);
    }
    if (status != QN_OK)
        qn_model_config_free(config);
    else
        status = has_weights(from) ? qn_network_load(config, from, &options, out)
                                   : qn_network_create(config, &options, out);
    qn_lora_free(&lora);
    return status;
}

static qn_status plan(const qn_training *o, job *j, qn_trainer *t) {
    t->source = qn_corpus_source(j->train);
    t->total_steps = o->max_steps;
    if (o->max_steps > 0 || o->epochs <= 0) return QN_OK;
    uint64_t whole, last;
    QN_TRY(qn_corpus_total(j->train, (uint64_t)floor(o->epochs), &whole));
    QN_TRY(qn_corpus_total(j->train, (uint64_t)ceil(o->epochs), &last));
    double batches = (double)whole + (o->epochs - floor(o->epochs)) * (double)(last - whole);
    t->total_steps = (int64_t)ceil(batches / o->accumulation - 1e-9);
    return QN_OK;
}

static void say_start(qn_trainer *t, const char *checkpoint) {
    const job *j = t->data;
    const qn_encoder_config *e = &t->network->config.encoder;
    qn_trainer_say(t, "%s%zu sequences, %zu tokens%s; %zu layers of width %zu, %.1f M parameters; %d threads, %s",
                   qn_corpus_in_memory(j->train) ? "" : "at least ", qn_corpus_sequences(j->train),
                   qn_corpus_tokens(j->train), qn_corpus_in_memory(j->train) ? "" : " (streamed)", e->layers, e->hidden,
                   (double)qn_parameters_total(&t->network->parameters) / 1e6, qn_backend_threads(t->backend),
                   qn_backend_isa(t->backend));
    if (checkpoint) qn_trainer_say(t, "going on from %s", checkpoint);
}

// An encoder learns hidden words, a decoder the next one.
static qn_status check_objective(const qn_training *o, qn_model_config *config) {
    bool causal = config->encoder.causal;
    const char *fits = causal ? "clm" : "mlm";
    qn_status status = QN_OK;
    if (o->task && strcmp(o->task, fits) != 0)
        status = qn_fail(QN_ERROR_ARGUMENT, "%s: objective %s (expected %s for this %s)", config->source, o->task, fits,
                         causal ? "decoder" : "encoder");
    if (status == QN_OK && causal && o->next_sentence)
        status = qn_fail(QN_ERROR_ARGUMENT, "%s: a decoder has no next-sentence prediction", config->source);
    if (status != QN_OK) qn_model_config_free(config);
    return status;
}

static qn_status prepare(qn_trainer *t, job *j, qn_tokenizer **tokenizer, char **checkpoint) {
    const qn_training *o = t->options;
    QN_TRY(qn_training_check(o));
    QN_TRY(qn_training_check_adapters(o));
    bool known = !o->task || strcmp(o->task, "mlm") == 0 || strcmp(o->task, "clm") == 0;
    if (!known) return qn_fail(QN_ERROR_ARGUMENT, "objective is \"%s\" (expected mlm or clm)", o->task);
    QN_TRY(qn_run_folder(o, checkpoint));
    const char *from = *checkpoint && !qn_training_adapts(o) ? *checkpoint : o->model, *words = o->tokenizer ? o->tokenizer : from;
    if (!o->tokenizer && !qn_is_folder(from) && !qn_is_gguf(from))
        return qn_fail(QN_ERROR_ARGUMENT, "%s: a single config.json has no tokenizer (expected --tokenizer)", from);
    QN_TRY(qn_tokenizer_load(words, tokenizer));
    t->tokenizer = *tokenizer;
    qn_model_config config;
    QN_TRY(qn_model_config_read(from, &config));
    size_t limit = config.encoder.max_positions, vocabulary = config.encoder.vocabulary;
    if (o->max_length > 0 && o->max_length < limit) limit = o->max_length;
    if (qn_tokenizer_size(*tokenizer) > vocabulary) {
        qn_model_config_free(&config);
        return qn_fail(QN_ERROR_ARGUMENT, "%s: the tokenizer has %zu tokens, the model %zu", words,
                       qn_tokenizer_size(*tokenizer), vocabulary);
    }
    QN_TRY(check_objective(o, &config));
    QN_TRY(make_network(o, from, *checkpoint, &config, &t->network));
    QN_TRY(open_corpora(o, *tokenizer, limit, t->network->config.encoder.causal, j));
    QN_TRY(qn_backend_create_cpu(o->threads, NULL, &t->backend));
    t->objective = o->validation ? &with_validation : &without_validation;
    t->best_metric = o->best_metric ? o->best_metric : "loss";
    QN_TRY(plan(o, j, t));
    say_start(t, *checkpoint);
    return QN_OK;
}

// The encoder is also one of sentences: the mean of its tokens' vectors.
static void make_embedder(const qn_trainer *t) {
    qn_sbert *sentence = &t->network->sentence;
    size_t limit = qn_tokenizer_max_length(t->tokenizer), positions = t->network->config.encoder.max_positions;
    sentence->present = true;
    sentence->max_seq_length = (int64_t)(limit > 0 && limit < positions ? limit : positions);
}

static qn_status finish(qn_trainer *t, char **json) {
    const job *j = t->data;
    QN_TRY(qn_trainer_take_final(t));
    if (!t->network->config.encoder.causal) make_embedder(t);
    QN_TRY(qn_network_save(t->network, t->options->output));
    QN_TRY(qn_tokenizer_save(t->tokenizer, t->options->output));
    char data[512];
    snprintf(data, sizeof data, "%s, %zu sequences, %zu tokens", t->options->train[0], qn_corpus_sequences(j->train),
             qn_corpus_tokens(j->train));
    QN_TRY(qn_run_report(t, t->network->config.encoder.causal ? "Language modelling" : "Masked language modelling",
                         data, t->options->validation, NULL, NULL));
    if (!json) return QN_OK;
    qn_buffer text = {0};
    qn_buffer_printf(&text, "{\"steps\": %lld, \"train_loss\": ", (long long)t->state.step);
    qn_buffer_json_number(&text, t->state.last_loss, 9);
    for (size_t i = 0; i < t->metric_count; i++) {
        qn_buffer_printf(&text, ", \"eval_%s\": ", t->metrics[i].name);
        qn_buffer_json_number(&text, t->metrics[i].value, 9);
    }
    qn_buffer_text(&text, "}");
    *json = text.data;
    return qn_buffer_status(&text);
}

qn_status qn_pretrain(const qn_training *training, char **json) {
    if (training->model && qn_is_autoencoder(training->model)) return qn_train_autoencoder(training, json);
    job j = {0};
    qn_trainer t = {.options = training, .pretraining = true, .data = &j};
    qn_tokenizer *tokenizer = NULL;
    char *checkpoint = NULL;
    if (json) *json = NULL;
    qn_status status = prepare(&t, &j, &tokenizer, &checkpoint);
    if (status == QN_OK) status = qn_trainer_run(&t, checkpoint);
    if (status == QN_OK) status = finish(&t, json);
    qn_trainer_free(&t);
    qn_network_free(t.network);
    qn_backend_destroy(t.backend);
    qn_corpus_close(j.train);
    qn_corpus_close(j.validation);
    qn_masker_free(&j.masker);
    qn_tokenizer_free(tokenizer);
    free(checkpoint);
    return status;
}
