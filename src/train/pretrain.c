// Pre-training with masked language modelling (Devlin et al. 2019), with next-sentence prediction on request, of a decoder
// with causal language modelling (Radford et al. 2018), or by restoring noisy texts (denoise.h).
#include "base/file.h"
#include "data/corpus.h"
#include "formats/model_folder.h"
#include "models/gguf_model.h"
#include "tasks/task.h"
#include "train/adapters.h"
#include "train/autoencode.h"
#include "train/denoise.h"
#include "train/run_files.h"
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef enum { MASKED, CAUSAL, DENOISE, OBJECTIVES } kind;
static const struct {
    const char *name, *title;
} objectives[OBJECTIVES] = {[MASKED] = {"mlm", "Masked language modelling"},
                            [CAUSAL] = {"clm", "Language modelling"},
                            [DENOISE] = {"denoise", "Denoising"}};

typedef struct {
    kind kind;
    qn_masker masker;
    qn_denoiser denoiser;
    qn_corpus *train, *validation;
    qn_job task;        // of an autoencoder of texts, which is measured in the end
    qn_dataset dataset; // its validation data
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
    if (((const job *)t->data)->kind == DENOISE) return qn_denoiser_loss(t, c, batch, value);
    qn_tensor *next, *logits = logits_of(t, c, batch, &next);
    double part = 0;
    QN_TRY(qn_cross_entropy(c, logits, batch->masked_ids, NULL, 0, value));
    if (t->network->heads & QN_HEAD_NEXT_SENTENCE)
        QN_TRY(qn_cross_entropy(c, next, batch->next_sentence, NULL, 0, &part));
    *value += part;
    return QN_OK;
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
    if (status == QN_OK && j->kind == DENOISE) return qn_denoiser_evaluate(t, source, metrics, count);
    while (status == QN_OK && (status = source.next(source.self, &batch, &end)) == QN_OK && !end) {
        qn_context c = qn_trainer_inference(t);
        qn_tensor *next, *logits = logits_of(t, &c, &batch, &next);
        double part = 0;
        status = qn_cross_entropy(&c, logits, batch.masked_ids, NULL, 0, &part);
        if (status != QN_OK) break;
        sum += part * (double)batch.masked;
        masked += batch.masked;
        right += qn_count_right(logits, batch.masked_ids);
        if (!next) continue;
        status = qn_cross_entropy(&c, next, batch.next_sentence, NULL, 0, &part);
        next_sum += part * (double)batch.sequences;
        sequences += batch.sequences;
        next_right += qn_count_right(next, batch.next_sentence);
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

static qn_status open_corpora(const qn_training *o, const qn_tokenizer *tokenizer, size_t max_length, job *j) {
    qn_mask_options mask = qn_mask_defaults();
    mask.probability = o->mask_probability;
    mask.whole_words = o->whole_word;
    mask.seed = o->seed;
    if (j->kind == MASKED) QN_TRY(qn_masker_init(&j->masker, tokenizer, &mask));
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
    c.predict_next = j->kind == CAUSAL;
    if (j->kind == MASKED) c.masker = &j->masker;
    if (j->kind == DENOISE) c.noise = &j->denoiser.train;
    QN_TRY(qn_corpus_open(o->train, o->train_count, tokenizer, &c, &j->train));
    if (!o->validation) return QN_OK;
    c.shuffle = false;
    c.epochs = 1;
    if (j->kind == DENOISE) c.noise = &j->denoiser.measure;
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
                              job *j, qn_network **out) {
    if (o->dropout >= 0) qn_model_config_set_dropout(config, (float)o->dropout);
    qn_network_options options = {QN_HEAD_LM | (o->next_sentence ? QN_HEAD_POOLER | QN_HEAD_NEXT_SENTENCE : 0u),
                                  true, o->seed, false, .frozen = (int)(o->freeze_layers + 1)};
    if (j->kind == DENOISE && j->denoiser.autoencodes) {
        options.heads = 0;
        options.sentence = &j->denoiser.sentence;
        options.text_decoder = &j->denoiser.decoder;
    }
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
    t->total_steps = qn_training_steps(o, whole, last);
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

// An encoder learns hidden words or to restore texts, as an encoder-decoder does, a decoder the next word.
static qn_status choose_objective(const qn_training *o, const qn_model_config *config, kind *out) {
    bool causal = config->encoder.causal, both = config->encoder_decoder;
    const char *name = config->family->model_type;
    *out = causal ? CAUSAL : both ? DENOISE : MASKED;
    if (o->task && strcmp(o->task, objectives[*out].name) != 0) {
        if (strcmp(o->task, objectives[DENOISE].name) != 0 || causal)
            return qn_fail(QN_ERROR_ARGUMENT, "%s: objective %s (expected %s for \"%s\")", config->source, o->task,
                           causal ? "clm" : both ? "denoise" : "mlm or denoise", name);
        *out = DENOISE;
    }
    if (*out != MASKED && o->next_sentence)
        return qn_fail(QN_ERROR_ARGUMENT, "%s: next-sentence prediction goes with the objective mlm of an encoder",
                       config->source);
    return QN_OK;
}

// What the configuration decides.
static qn_status configure(const qn_training *o, const qn_tokenizer *tokenizer, const qn_model_config *config,
                           const char *from, bool resumes, size_t limit, job *j) {
    if (qn_tokenizer_size(tokenizer) > config->encoder.vocabulary)
        return qn_fail(QN_ERROR_ARGUMENT, "%s: the tokenizer has %zu tokens, the model %zu",
                       o->tokenizer ? o->tokenizer : from, qn_tokenizer_size(tokenizer), config->encoder.vocabulary);
    QN_TRY(choose_objective(o, config, &j->kind));
    return j->kind == DENOISE ? qn_denoiser_init(&j->denoiser, o, tokenizer, config, from, resumes, limit) : QN_OK;
}

static qn_status prepare(qn_trainer *t, job *j, qn_tokenizer **tokenizer, char **checkpoint) {
    const qn_training *o = t->options;
    QN_TRY(qn_training_check(o));
    QN_TRY(qn_training_check_adapters(o));
    bool known = !o->task;
    for (int i = 0; i < OBJECTIVES; i++) known = known || strcmp(o->task, objectives[i].name) == 0;
    if (!known) return qn_fail(QN_ERROR_ARGUMENT, "objective is \"%s\" (expected mlm, clm or denoise)", o->task);
    QN_TRY(qn_run_folder(o, checkpoint));
    const char *from = *checkpoint && !qn_training_adapts(o) ? *checkpoint : o->model, *words = o->tokenizer ? o->tokenizer : from;
    if (!o->tokenizer && !qn_is_folder(from) && !qn_is_gguf(from))
        return qn_fail(QN_ERROR_ARGUMENT, "%s: a single config.json has no tokenizer (expected --tokenizer)", from);
    QN_TRY(qn_tokenizer_load(words, tokenizer));
    t->tokenizer = *tokenizer;
    qn_model_config config;
    QN_TRY(qn_model_config_read(from, &config));
    size_t limit = config.encoder.max_positions;
    if (o->max_length > 0 && o->max_length < limit) limit = o->max_length;
    qn_status status = configure(o, *tokenizer, &config, from, *checkpoint != NULL, limit, j);
    if (status != QN_OK) {
        qn_model_config_free(&config);
        return status;
    }
    QN_TRY(make_network(o, from, *checkpoint, &config, j, &t->network));
    QN_TRY(open_corpora(o, *tokenizer, limit, j));
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

// How an autoencoder of texts restores its validation data.
static qn_status measure_texts(qn_trainer *t, qn_outcome *out) {
    job *j = t->data;
    qn_model *model;
    j->task = (qn_job){
        .task = &qn_task_reconstruct, .data = &t->options->data, .tokenizer = t->tokenizer, .encode = qn_encode_defaults()};
    j->task.encode.max_length = (size_t)t->network->sentence.max_seq_length;
    QN_TRY(qn_task_reconstruct.read(&j->task, &t->options->validation, 1, false, &j->dataset));
    qn_context c = qn_trainer_inference(t);
    QN_TRY(qn_model_lend(t->network, t->tokenizer, &c, &j->task.encode, &model));
    qn_status status = qn_task_reconstruct.measure(&j->task, model, &j->dataset, out);
    qn_model_close(model);
    return status;
}

static qn_status write_json(const qn_trainer *t, const qn_metric *metrics, size_t count, char **json) {
    qn_buffer text = {0};
    qn_buffer_printf(&text, "{\"steps\": %lld, \"train_loss\": ", (long long)t->state.step);
    qn_buffer_json_number(&text, t->state.last_loss, 9);
    for (size_t i = 0; i < count; i++) {
        qn_buffer_printf(&text, ", \"eval_%s\": ", metrics[i].name);
        qn_buffer_json_number(&text, metrics[i].value, 9);
    }
    qn_buffer_text(&text, "}");
    *json = text.data;
    return qn_buffer_status(&text);
}

static qn_status finish(qn_trainer *t, char **json) {
    job *j = t->data;
    QN_TRY(qn_trainer_take_final(t));
    if (j->kind == MASKED) make_embedder(t);
    QN_TRY(qn_network_save(t->network, t->options->output));
    QN_TRY(qn_tokenizer_save(t->tokenizer, t->options->output));
    char data[512];
    qn_outcome outcome = {0};
    bool measured = j->kind == DENOISE && j->denoiser.autoencodes && t->options->validation;
    snprintf(data, sizeof data, "%s, %zu sequences, %zu tokens", t->options->train[0], qn_corpus_sequences(j->train),
             qn_corpus_tokens(j->train));
    qn_status status = measured ? measure_texts(t, &outcome) : QN_OK;
    if (status == QN_OK)
        status = qn_run_report(t, measured ? "Autoencoder of texts" : objectives[j->kind].title, data,
                               t->options->validation, measured ? &outcome : NULL, measured ? &j->dataset : NULL);
    if (status == QN_OK && json)
        status = measured ? write_json(t, outcome.metrics, outcome.metric_count, json)
                          : write_json(t, t->metrics, t->metric_count, json);
    qn_outcome_free(&outcome);
    return status;
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
    qn_denoiser_free(&j.denoiser);
    qn_dataset_free(&j.dataset);
    qn_job_free(&j.task);
    qn_tokenizer_free(tokenizer);
    free(checkpoint);
    return status;
}
