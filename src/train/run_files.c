// See run_files.h.
#include "train/run_files.h"
#include "base/clock.h"
#include "base/file.h"
#include "train/autoencoding.h"
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

// --- Arguments

static void set_text(json_t *json, const char *key, const char *text) {
    json_object_set_new(json, key, text ? json_string(text) : json_null());
}

static void embed_json(const qn_embed_training *e, json_t *json) {
    set_text(json, "loss", e->loss);
    set_text(json, "teacher", e->teacher);
    set_text(json, "similarity", e->similarity);
    json_object_set_new(json, "scale", json_real(e->scale));
    json_object_set_new(json, "margin", json_real(e->margin));
    json_object_set_new(json, "symmetric", json_boolean(e->symmetric));
    set_text(json, "matryoshka_dims", e->matryoshka_dims);
    set_text(json, "matryoshka_weights", e->matryoshka_weights);
    set_text(json, "pooling", e->pooling);
    json_object_set_new(json, "sparse", json_boolean(e->sparse));
    json_object_set_new(json, "multi_vector", json_boolean(e->multi_vector));
    json_object_set_new(json, "query_flops", json_real(e->query_flops));
    json_object_set_new(json, "document_flops", json_real(e->document_flops));
    json_object_set_new(json, "dense", json_integer((json_int_t)e->dense));
    set_text(json, "dense_activation", e->dense_activation);
    json_object_set_new(json, "normalize", json_integer(e->normalize));
    json_object_set_new(json, "mini_batch_size", json_integer((json_int_t)e->mini_batch));
    json_object_set_new(json, "no_duplicates", json_integer(e->no_duplicates));
}

static void restoring_json(const qn_training *o, json_t *json) {
    const qn_noise_training *n = &o->noise;
    json_object_set_new(json, "tied_decoder", json_integer(o->decoder.tied));
    json_object_set_new(json, "decoder_layers", json_integer((json_int_t)o->decoder.layers));
    json_object_set_new(json, "latent", json_integer((json_int_t)o->decoder.latent));
    json_object_set_new(json, "variational", json_boolean(o->decoder.variational));
    json_object_set_new(json, "beta", json_real(o->decoder.beta));
    json_object_set_new(json, "beta_warmup_steps", json_integer((json_int_t)o->decoder.beta_warmup_steps));
    json_object_set_new(json, "noise_permute", json_real(n->permute));
    json_object_set_new(json, "noise_infill", json_real(n->infill));
    json_object_set_new(json, "noise_span", json_real(n->span));
    json_object_set_new(json, "noise_delete", json_real(n->deletion));
    json_object_set_new(json, "noise_mask", json_real(n->mask));
}

json_t *qn_training_json(const qn_training *o, bool pretraining) {
    json_t *json = json_object(), *train = json_array();
    qn_compute compute;
    if (!json || !train) return NULL;
    for (size_t i = 0; i < o->train_count; i++) json_array_append_new(train, json_string(o->train[i]));
    set_text(json, "command", o->command);
    set_text(json, "model", o->model);
    set_text(json, "tokenizer", o->tokenizer);
    set_text(json, pretraining ? "objective" : "task", o->task);
    json_object_set_new(json, "train_file", train);
    set_text(json, "validation_file", o->validation);
    set_text(json, "test_file", o->test);
    set_text(json, "lr_scheduler_type", o->schedule);
    set_text(json, "dtype", qn_compute_parse(o->dtype, &compute) == QN_OK ? qn_compute_name(compute) : o->dtype);
#define REAL(key, field) json_object_set_new(json, key, json_real(o->field))
#define INTEGER(key, field) json_object_set_new(json, key, json_integer((json_int_t)o->field))
#define FLAG(key, field) json_object_set_new(json, key, json_boolean(o->field))
    REAL("learning_rate", learning_rate);
    REAL("weight_decay", weight_decay);
    REAL("adam_beta1", beta1);
    REAL("adam_beta2", beta2);
    REAL("adam_epsilon", epsilon);
    REAL("max_grad_norm", max_gradient_norm);
    REAL("warmup_ratio", warmup_ratio);
    INTEGER("warmup_steps", warmup_steps);
    REAL("num_train_epochs", epochs);
    INTEGER("max_steps", max_steps);
    REAL("max_minutes", max_minutes);
    INTEGER("per_device_train_batch_size", batch_size);
    INTEGER("batch_tokens", batch_tokens);
    INTEGER("gradient_accumulation_steps", accumulation);
    INTEGER("max_seq_length", max_length);
    FLAG("group_by_length", group_by_length);
    REAL("layer_decay", layer_decay);
    REAL("dropout", dropout);
    INTEGER("freeze_layers", freeze_layers);
    FLAG("gradient_checkpointing", gradient_checkpointing);
    if (pretraining) {
        REAL("mlm_probability", mask_probability);
        FLAG("whole_word", whole_word);
        FLAG("next_sentence", next_sentence);
        if (o->task && strcmp(o->task, "denoise") == 0) restoring_json(o, json);
    } else {
        set_text(json, "adapter", o->adapter);
        INTEGER("lora_rank", lora_rank);
        REAL("lora_alpha", lora_alpha);
        REAL("lora_dropout", lora_dropout);
        set_text(json, "lora_targets", o->lora_targets);
        FLAG("use_rslora", lora_rank_stabilized);
        FLAG("multi_label", multi_label);
        REAL("label_smoothing_factor", label_smoothing);
        FLAG("balanced", balanced);
        INTEGER("activation_cache", activation_cache);
        INTEGER("pairs", pairs);
        FLAG("label_all_tokens", label_all_tokens);
        INTEGER("doc_stride", data.stride);
        if (o->task && (strcmp(o->task, "embed") == 0 || strcmp(o->task, "few-shot") == 0)) {
            embed_json(&o->embed, json);
            restoring_json(o, json);
            set_text(json, "query_prompt", o->data.query_prompt);
            set_text(json, "document_prompt", o->data.document_prompt);
        }
    }
    INTEGER("eval_steps", eval_steps);
    INTEGER("save_steps", save_steps);
    set_text(json, "metric_for_best_model", o->best_metric);
    REAL("ema", ema);
    INTEGER("average_last", average_last);
    INTEGER("patience", patience);
    INTEGER("seed", seed);
    INTEGER("threads", threads);
#undef REAL
#undef INTEGER
#undef FLAG
    return json;
}

qn_status qn_training_save_arguments(const qn_training *o, bool pretraining) {
    json_t *json = qn_training_json(o, pretraining);
    char *path = qn_path_join(o->output, "args.json");
    qn_status status = json && path ? qn_json_save(json, path) : QN_ERROR_MEMORY;
    json_decref(json);
    free(path);
    return status;
}

// --- Report

enum { FACTS = 12 };

typedef struct {
    qn_report_fact facts[FACTS];
    char text[FACTS][64];
    size_t count;
} fact_list;

static void add_fact(fact_list *list, const char *name, double value) {
    snprintf(list->text[list->count], sizeof list->text[0], "%.10g", value);
    list->facts[list->count] = (qn_report_fact){name, list->text[list->count]};
    list->count++;
}

static void model_facts(const qn_network *n, fact_list *list) {
    const qn_encoder_config *e = &n->config.encoder;
    add_fact(list, "layers", (double)e->layers);
    add_fact(list, "width", (double)e->hidden);
    add_fact(list, "heads", (double)e->heads);
    add_fact(list, "feed-forward width", (double)e->intermediate);
    add_fact(list, "vocabulary", (double)e->vocabulary);
    if (n->heads & (QN_HEAD_CLASSIFIER | QN_HEAD_TAGGER)) add_fact(list, "labels", (double)n->config.labels);
}

// "model name" of /proc/cpuinfo; "unknown" elsewhere.
static void cpu_name(char *name, size_t size) {
    char line[256];
    snprintf(name, size, "unknown");
    FILE *file = fopen("/proc/cpuinfo", "r");
    while (file && fgets(line, sizeof line, file))
        if (strncmp(line, "model name", 10) == 0 && strchr(line, ':')) {
            snprintf(name, size, "%s", strchr(line, ':') + 2);
            name[strcspn(name, "\n")] = 0;
            break;
        }
    if (file) fclose(file);
}

static void autoencoder_facts(const qn_autoencoding *a, fact_list *list) {
    add_fact(list, "numbers of a row", (double)a->columns);
    add_fact(list, "hidden layers", (double)(2 * a->layers));
    add_fact(list, "latent width", (double)a->latent);
}

static void fill_report(qn_trainer *t, qn_report *r, const char *task, const qn_outcome *o, const qn_dataset *d) {
    const qn_training *options = t->options;
    r->task = task;
    const char *slash = strrchr(options->output, '/');
    r->title = slash && slash[1] ? slash + 1 : options->output;
    r->model = options->model;
    r->command = options->command;
    r->version = qn_version();
    r->parameters = (int64_t)qn_parameters_total(t->parameters);
    r->trained_parameters = (int64_t)qn_parameters_trained(t->parameters);
    r->autoencoding = t->autoencoding;
    if (t->state.best_step >= 0) {
        r->best_metric = t->best_metric;
        r->best_value = t->state.best_value;
        r->best_step = t->state.best_step;
    }
    r->seconds = t->state.seconds;
    r->tokens = t->state.tokens;
    r->padded_tokens = t->state.padded;
    r->peak_memory = qn_peak_memory();
    r->instruction_set = qn_backend_isa(t->backend);
    r->threads = qn_backend_threads(t->backend);
    r->dtype = t->context.compute == QN_DTYPE_BF16 ? "bfloat16 products, float32 weights" : "float32";
    if (!o) return;
    if (t->network) r->labels = (const char *const *)t->network->config.label_names;
    r->classification = o->classified ? &o->classification : NULL;
    r->multilabel = o->multilabelled ? &o->multilabel : NULL;
    r->regression = o->regressed ? &o->regression : NULL;
    if (o->tagged) {
        r->tagging = &o->tagging;
        r->labels = (const char *const *)o->scheme.names;
    }
    if (r->regression) {
        r->gold = d->scores;
        r->predicted = o->scores;
        r->n_points = o->count;
    }
    if (!o->classified && !o->multilabelled && !o->regressed && !o->tagged) {
        r->metrics = o->metrics;
        r->n_metrics = o->metric_count;
        r->errors_by_value = o->valued;
    }
    r->plane = &o->plane;
    r->errors = o->mistakes;
    r->n_errors = o->mistake_count;
}

qn_status qn_run_report(qn_trainer *t, const char *task, const char *data, const char *eval_name,
                        const qn_outcome *outcome, const qn_dataset *dataset) {
    qn_report r;
    qn_report_init(&r);
    char *log = qn_path_join(t->options->output, "log.jsonl"), *path = qn_path_join(t->options->output, "report.html");
    json_t *arguments = qn_training_json(t->options, t->pretraining);
    qn_history history = {0};
    qn_status status = log && path && arguments ? qn_history_read(log, &history) : QN_ERROR_MEMORY;
    if (status == QN_OK) {
        char cpu[256], date[64];
        time_t now = time(NULL) - (time_t)t->state.seconds;
        struct tm local;
        fact_list facts = {0};
        cpu_name(cpu, sizeof cpu);
        strftime(date, sizeof date, "%Y-%m-%d %H:%M", localtime_r(&now, &local));
        if (t->network)
            model_facts(t->network, &facts);
        else if (t->autoencoding)
            autoencoder_facts(t->autoencoding, &facts);
        fill_report(t, &r, task, outcome, dataset);
        r.cpu = cpu;
        r.date = date;
        r.facts = facts.facts;
        r.n_facts = facts.count;
        r.data = data;
        r.eval_name = eval_name;
        r.history = &history;
        r.arguments = arguments;
        status = qn_report_write(&r, path);
    }
    qn_history_free(&history);
    json_decref(arguments);
    free(log);
    free(path);
    return status;
}
