// The loop. A step is: micro-batches forward and backward, the guard, the update, the log; then, where due, evaluation
// and checkpoint. All that decides what follows is in qn_training_state, so a run that goes on from a checkpoint is the
// same run.
#include "train/trainer.h"
#include "train/run_files.h"
#include "base/clock.h"
#include "base/file.h"
#include "base/rng.h"
#include <inttypes.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { PREFETCH = 4, MOST_SKIPPED_IN_A_ROW = 10 };
static const double SPIKE = 25, NORM_MEMORY = 0.98; // a norm above 25 times its running mean is a spike

void qn_trainer_say(qn_trainer *t, const char *format, ...) {
    char message[1024];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(message, sizeof message, format, arguments);
    va_end(arguments);
    if (t->options->on_message) t->options->on_message(t->options->user, message);
}

qn_status qn_training_check(const qn_training *o) {
#define CHECK(condition, text)                                                                                         \
    if (!(condition)) return qn_fail(QN_ERROR_ARGUMENT, "%s", text)
    CHECK(o->model && *o->model, "no model to train (expected a folder or a config.json)");
    CHECK(o->output && *o->output, "no output folder");
    CHECK(o->train && o->train_count > 0, "no training file");
    CHECK(o->learning_rate >= 0 && o->learning_rate < 100, "learning rate is out of range (expected 0 to 100)");
    CHECK(o->weight_decay >= 0 && o->weight_decay <= 10, "weight decay is out of range (expected 0 to 10)");
    CHECK(o->beta1 >= 0 && o->beta1 < 1 && o->beta2 >= 0 && o->beta2 < 1,
          "a beta is out of range (expected 0 to below 1)");
    CHECK(o->epsilon > 0, "epsilon is not above 0");
    CHECK(o->max_gradient_norm >= 0, "the largest gradient norm is negative");
    CHECK(o->warmup_ratio >= 0 && o->warmup_ratio < 1, "warmup ratio is out of range (expected 0 to below 1)");
    CHECK(o->epochs > 0 || o->max_steps > 0 || o->max_minutes > 0,
          "nothing says how long to train (epochs, steps or minutes)");
    CHECK(o->batch_size > 0 || o->batch_tokens > 0, "nothing says how large a batch is (examples or tokens)");
    CHECK(o->accumulation >= 1 && o->accumulation <= 65536,
          "gradient accumulation is out of range (expected 1 to 65536)");
    CHECK(o->average_last >= 0, "the number of checkpoints to average is negative");
    CHECK(o->ema >= 0 && o->ema < 1, "the decay of the mean of the weights is out of range (expected 0 to below 1)");
    CHECK(o->ema == 0 || o->average_last == 0, "the mean of the weights and that of the last checkpoints do not go together");
    CHECK(o->label_smoothing >= 0 && o->label_smoothing < 1, "label smoothing is out of range (expected 0 to below 1)");
    CHECK(o->layer_decay > 0 && o->layer_decay <= 1, "layer-wise decay is out of range (expected above 0 to 1)");
    CHECK(o->lora_rank >= 0 && o->lora_rank <= 4096, "LoRA's rank is out of range (expected 0 to 4096)");
    CHECK(o->lora_alpha >= 0 && o->lora_alpha <= 1e6, "LoRA's alpha is out of range (expected 0 to 1e6)");
    CHECK(o->lora_dropout >= 0 && o->lora_dropout < 1, "LoRA's dropout is out of range (expected 0 to below 1)");
    CHECK(o->dropout < 1, "dropout is out of range (expected 0 to below 1)");
    CHECK(o->mask_probability > 0 && o->mask_probability < 1,
          "mask probability is out of range (expected between 0 and 1)");
#undef CHECK
    qn_compute compute;
    QN_TRY(qn_compute_parse(o->dtype, &compute));
    if (compute != QN_DTYPE_F32 && compute != QN_DTYPE_BF16)
        return qn_fail(QN_ERROR_ARGUMENT, "dtype %s does not train (expected f32 or bf16)", o->dtype);
    qn_schedule_kind kind;
    QN_TRY(qn_schedule_parse(o->schedule, &kind));
    if (kind == QN_SCHEDULE_INVERSE_SQRT && o->warmup_steps <= 0 && o->warmup_ratio <= 0)
        return qn_fail(QN_ERROR_ARGUMENT, "schedule inverse_sqrt without a warmup, from whose end it falls");
    return QN_OK;
}

int64_t qn_training_steps(const qn_training *o, uint64_t whole, uint64_t last) {
    double batches = (double)whole + (o->epochs - floor(o->epochs)) * (double)(last - whole);
    return (int64_t)ceil(batches / o->accumulation - 1e-9); // rounding makes no step more
}

qn_status qn_run_folder(const qn_training *o, char **checkpoint) {
    *checkpoint = NULL;
    if (o->resume && *o->resume) {
        *checkpoint = qn_strdup(o->resume);
        if (!*checkpoint) return QN_ERROR_MEMORY;
        if (!qn_is_folder(*checkpoint)) {
            qn_status status = qn_fail(QN_ERROR_IO, "%s: no such checkpoint", *checkpoint);
            free(*checkpoint);
            *checkpoint = NULL;
            return status;
        }
        return QN_OK;
    }
    char *newest = qn_checkpoint_newest(o->output);
    if (o->resume)
        *checkpoint = newest;
    else
        free(newest);
    if (o->resume || o->overwrite) return QN_OK;
    char *log = qn_path_join(o->output, "log.jsonl"), *config = qn_path_join(o->output, "config.json");
    bool taken = newest || (log && qn_is_file(log)) || (config && qn_is_file(config));
    free(log);
    free(config);
    return taken ? qn_fail(QN_ERROR_ARGUMENT,
                           "%s: holds another run or model (expected a new folder, --resume or --overwrite)", o->output)
                 : QN_OK;
}

qn_context qn_trainer_inference(qn_trainer *t) {
    qn_arena_reset(t->context.arena);
    qn_arena_reset(t->context.records);
    return (qn_context){
        .backend = t->backend, .arena = t->context.arena, .records = t->context.records, .loss_scale = 1};
}

static double elapsed(const qn_trainer *t) {
    return t->seconds_before + qn_seconds() - t->began;
}

// --- Opening

static qn_status open_logs(qn_trainer *t, bool resumed) {
    int64_t last = resumed ? t->state.step : -1;
    char *path = qn_path_join(t->options->output, "log.jsonl");
    qn_status status = path ? qn_runlog_open(path, last, &t->log) : QN_ERROR_MEMORY;
    free(path);
    if (status == QN_OK) status = qn_tfevents_open(t->options->output, last, &t->events);
    return status;
}

static qn_status remove_earlier(const char *output) {
    static const char *const files[] = {"log.jsonl", "args.json", "report.html"};
    for (char *old; (old = qn_checkpoint_newest(output));) {
        qn_status status = qn_remove_tree(old);
        free(old);
        QN_TRY(status);
    }
    for (size_t i = 0; i < sizeof files / sizeof *files; i++) {
        char *path = qn_path_join(output, files[i]);
        qn_status status = path ? qn_remove_tree(path) : QN_ERROR_MEMORY;
        free(path);
        QN_TRY(status);
    }
    return QN_OK;
}

static qn_status begin(qn_trainer *t, const char *checkpoint) {
    const qn_training *o = t->options;
    t->state = (qn_training_state){.best_step = -1, .best_value = NAN, .seed = o->seed};
    QN_TRY(qn_optimizer_create(t->backend, t->parameters,
                               &(qn_optimizer_options){o->beta1, o->beta2, o->epsilon, o->weight_decay, o->layer_decay},
                               &t->optimizer));
    QN_TRY(qn_make_folders(o->output));
    if (o->ema > 0) QN_TRY(qn_average_create(t->backend, t->parameters, o->ema, &t->average));
    if (checkpoint) {
        QN_TRY(qn_checkpoint_restore(checkpoint, t->optimizer, t->average, &t->state));
        if (t->state.seed != o->seed)
            return qn_fail(QN_ERROR_ARGUMENT, "%s: was trained with seed %" PRIu64 ", not %" PRIu64, checkpoint,
                           t->state.seed, o->seed);
        QN_TRY(t->objective->seek(t, &t->state.position));
    } else
        QN_TRY(remove_earlier(o->output));
    QN_TRY(qn_training_save_arguments(o, t->pretraining));
    QN_TRY(qn_checkpoint_prune(o->output, 1 << 30, t->state.best_step)); // half-written ones of a killed run
    QN_TRY(open_logs(t, checkpoint != NULL));
    qn_schedule_kind kind;
    QN_TRY(qn_schedule_parse(o->schedule, &kind));
    double warmup = o->warmup_ratio;
    if (o->warmup_steps > 0) {
        if (t->total_steps <= o->warmup_steps)
            return qn_fail(QN_ERROR_ARGUMENT, "warmup takes %" PRId64 " steps of %" PRId64 " (expected fewer than all)",
                           o->warmup_steps, t->total_steps);
        warmup = (double)o->warmup_steps / (double)t->total_steps;
    }
    t->schedule = (qn_schedule){kind, o->learning_rate, warmup};
    qn_compute compute;
    QN_TRY(qn_compute_parse(o->dtype, &compute));
    if (!t->backend->ops->computes(t->backend, compute))
        return qn_fail(QN_ERROR_UNSUPPORTED, "dtype %s: this CPU has no products in it (expected f32)", o->dtype);
    t->context = (qn_context){.backend = t->backend,
                              .compute = compute,
                              .recompute = o->gradient_checkpointing,
                              .arena = qn_arena_create(1 << 22),
                              .records = qn_arena_create(1 << 16),
                              .loss_scale = 1.0f / (float)o->accumulation};
    if (!t->context.arena || !t->context.records) return QN_ERROR_MEMORY;
    t->seconds_before = t->state.seconds;
    t->began = qn_seconds();
    qn_progress_start(&t->progress, t->total_steps, o->max_steps > 0 ? 0 : o->epochs, t->unit ? t->unit : "tok", t->seconds_before,
                      t->began);
    return QN_OK;
}

void qn_trainer_free(qn_trainer *t) {
    qn_arena_destroy(t->context.arena);
    qn_arena_destroy(t->context.records);
    qn_optimizer_free(t->optimizer);
    qn_average_free(t->average);
    t->optimizer = NULL;
    t->average = NULL;
    qn_runlog_close(t->log);
    if (t->events) qn_tfevents_close(t->events);
    qn_buffer_free(&t->line);
    t->context = (qn_context){0};
    t->log = NULL;
    t->events = NULL;
}

// --- Evaluation and checkpoints

static qn_status write_model(void *trainer, const char *folder) {
    qn_trainer *t = trainer;
    if (t->objective->save) return t->objective->save(t, folder);
    QN_TRY(qn_network_save(t->network, folder));
    return qn_tokenizer_save(t->tokenizer, folder);
}

static qn_status save(qn_trainer *t) {
    double start = qn_seconds();
    t->state.seconds = elapsed(t);
    QN_TRY(qn_runlog_sync(t->log));
    QN_TRY(qn_tfevents_flush(t->events));
    qn_optimizer_settle(t->optimizer);
    qn_average_swap(t->average);
    qn_status status =
        qn_checkpoint_save(t->options->output, write_model, t, t->optimizer, t->average, &t->state);
    qn_average_swap(t->average);
    QN_TRY(status);
    int keep = t->options->keep_checkpoints, average = t->options->average_last;
    QN_TRY(qn_checkpoint_prune(t->options->output, keep > average ? keep : average, t->state.best_step));
    t->aside += qn_seconds() - start;
    return QN_OK;
}

static void say_metrics(qn_trainer *t, bool best) {
    qn_buffer text = {0};
    const char *const shown[] = {"loss",       t->best_metric,           "accuracy", "macro_f1",
                                 "perplexity", "bleu", "mean_average_precision", "pearson",  "spearman"};
    for (size_t i = 0; i < sizeof shown / sizeof *shown; i++) {
        const qn_metric *m = qn_metric_find(t->metrics, t->metric_count, shown[i]);
        // The metric that chooses the best model stands in front, and not again.
        if (m && (i == 1 ? strcmp(m->name, "loss") : i == 0 || strcmp(m->name, t->best_metric)))
            qn_buffer_printf(&text, ", %s %.4f", m->name, m->value);
    }
    qn_trainer_say(t, "step %" PRId64 ": validation%s%s", t->state.step, text.data ? text.data + (text.size > 0) : "",
                   best ? " (best so far)" : "");
    qn_buffer_free(&text);
}

static qn_status evaluate(qn_trainer *t, double epoch) {
    double start = qn_seconds();
    qn_optimizer_settle(t->optimizer);
    qn_average_swap(t->average);
    qn_status status = t->objective->evaluate(t, t->metrics, &t->metric_count);
    qn_average_swap(t->average);
    QN_TRY(status);
    const qn_metric *chosen = qn_metric_find(t->metrics, t->metric_count, t->best_metric);
    if (!chosen)
        return qn_fail(QN_ERROR_ARGUMENT, "there is no metric \"%s\" to choose the best checkpoint by", t->best_metric);
    bool best = t->state.best_step < 0 || qn_metric_better(chosen, t->state.best_value);
    if (best) {
        t->state.best_value = chosen->value;
        t->state.best_step = t->state.step;
        t->state.evaluations_without_improvement = 0;
    } else
        t->state.evaluations_without_improvement++;
    t->aside += qn_seconds() - start;
    qn_runlog_begin(t->log, "eval", t->state.step);
    qn_runlog_real(t->log, "epoch", epoch);
    qn_runlog_metrics(t->log, t->metrics, t->metric_count);
    qn_runlog_bool(t->log, "best", best);
    qn_runlog_real(t->log, "seconds", qn_seconds() - start);
    QN_TRY(qn_runlog_end(t->log));
    for (size_t i = 0; i < t->metric_count; i++) {
        char tag[96];
        snprintf(tag, sizeof tag, "eval/%s", t->metrics[i].name);
        QN_TRY(qn_tfevents_scalar(t->events, t->state.step, tag, t->metrics[i].value));
    }
    say_metrics(t, best);
    return QN_OK;
}

// --- One step

typedef struct {
    double loss, norm, rate, epoch, tokens;
    bool ended, ends_epoch, skipped;
} step_result;

static qn_status run_micro_batch(qn_trainer *t, const qn_batch *batch, double *loss) {
    qn_context *c = &t->context;
    qn_arena_reset(c->arena);
    qn_arena_reset(c->records);
    t->tape = (qn_tape){0};
    c->tape = &t->tape;
    c->dropout = true;
    if (t->network) QN_TRY(qn_optimizer_use(t->optimizer, t->network->encoder.word, batch->tokens, batch->ids));
    QN_TRY(t->objective->loss(t, c, batch, loss));
    QN_TRY(c->status);
    return qn_backward(c);
}

// The longest sequence times the number of sequences: what padding would have computed.
static double padded_tokens(const qn_batch *b) {
    int32_t longest = 0;
    for (size_t i = 0; i < b->sequences; i++)
        if (b->offsets[i + 1] - b->offsets[i] > longest) longest = b->offsets[i + 1] - b->offsets[i];
    return (double)longest * (double)b->sequences;
}

static qn_status accumulate(qn_trainer *t, qn_prefetch *prefetch, step_result *r) {
    int done = 0;
    t->context.seed = qn_philox(t->options->seed, 0x64726f70, (uint64_t)t->state.step).v[0] | (uint64_t)t->options->seed
                                                                                                  << 32;
    t->context.stream = 0;
    while (done < t->options->accumulation) {
        qn_batch *batch;
        bool end = false;
        double loss;
        QN_TRY(qn_prefetch_next(prefetch, &batch, &end));
        if (end) {
            r->ended = true;
            break;
        }
        QN_TRY(run_micro_batch(t, batch, &loss));
        r->loss += loss;
        r->tokens += (double)batch->tokens;
        t->state.padded += padded_tokens(batch);
        t->state.position = batch->after;
        r->epoch = (double)batch->epoch + batch->progress;
        r->ends_epoch = r->ends_epoch || batch->ends_epoch;
        done++;
    }
    if (done) r->loss /= done;
    t->state.tokens += r->tokens;
    return QN_OK;
}

// The share of the run that is over: by steps, epochs or time, whichever the options bound and is furthest.
static double share_done(const qn_trainer *t, double epoch) {
    double done = 0;
    if (t->total_steps > 0)
        done = (double)t->state.step / (double)t->total_steps;
    else if (t->options->epochs > 0)
        done = epoch / t->options->epochs;
    if (t->options->max_minutes > 0) done = fmax(done, elapsed(t) / (60 * t->options->max_minutes));
    return fmin(1, done);
}

static qn_status skip(qn_trainer *t, const step_result *r) {
    bool finite = isfinite(r->loss) && isfinite(r->norm);
    qn_optimizer_skip(t->optimizer);
    t->state.skipped++;
    t->state.skipped_in_a_row++;
    qn_runlog_begin(t->log, "skip", t->state.step);
    qn_runlog_string(t->log, "reason", finite ? "spike" : "not a number");
    qn_runlog_real(t->log, "loss", r->loss);
    qn_runlog_real(t->log, "grad_norm", r->norm);
    QN_TRY(qn_runlog_end(t->log));
    if (t->state.skipped_in_a_row < MOST_SKIPPED_IN_A_ROW) return QN_OK;
    return qn_fail(
        QN_ERROR_DIVERGED,
        "%s: step %" PRId64
        ": %d steps in a row had %s (loss %g, gradient norm %g); try a lower learning rate, a longer warmup or "
        "clipping",
        t->options->output, t->state.step, MOST_SKIPPED_IN_A_ROW,
        finite ? "a spike" : "a loss or gradient that is not a number", r->loss, r->norm);
}

// Updates the weights, or skips the step when the guard finds NaN or a spike.
static qn_status update(qn_trainer *t, step_result *r, double before) {
    const qn_training *o = t->options;
    qn_training_state *s = &t->state;
    r->norm = qn_optimizer_norm(t->optimizer);
    r->rate = qn_schedule_rate(&t->schedule, before, t->total_steps > 0 ? 1.0 / (double)t->total_steps : 1e-3);
    r->skipped = !isfinite(r->loss) || !isfinite(r->norm) ||
                 (s->typical_norm > 0 && s->updates > 50 && r->norm > SPIKE * s->typical_norm);
    s->step++;
    if (r->skipped) return skip(t, r);
    s->skipped_in_a_row = 0;
    s->typical_norm = s->typical_norm > 0 ? NORM_MEMORY * s->typical_norm + (1 - NORM_MEMORY) * r->norm : r->norm;
    s->updates++;
    s->last_loss = r->loss;
    double scale =
        o->max_gradient_norm > 0 && r->norm > o->max_gradient_norm ? o->max_gradient_norm / (r->norm + 1e-6) : 1;
    qn_optimizer_step(t->optimizer, r->rate, scale);
    if (t->average) qn_average_update(t->average, s->updates == 1);
    return t->backend->status;
}

static qn_status log_step(qn_trainer *t, const step_result *r) {
    qn_runlog_begin(t->log, "train", t->state.step);
    qn_runlog_real(t->log, "epoch", r->epoch);
    qn_runlog_real(t->log, "loss", r->loss);
    qn_runlog_real(t->log, "learning_rate", r->rate);
    qn_runlog_real(t->log, "grad_norm", r->norm);
    qn_runlog_real(t->log, "tokens", t->state.tokens);
    qn_runlog_real(t->log, "seconds", elapsed(t));
    qn_runlog_real(t->log, "tokens_per_second", qn_progress_speed(&t->progress));
    qn_runlog_int(t->log, "peak_memory", (int64_t)qn_peak_memory());
    QN_TRY(qn_runlog_end(t->log));
    QN_TRY(qn_tfevents_scalar(t->events, t->state.step, "train/loss", r->loss));
    QN_TRY(qn_tfevents_scalar(t->events, t->state.step, "train/learning_rate", r->rate));
    return qn_tfevents_scalar(t->events, t->state.step, "train/grad_norm", r->norm);
}

static void show(qn_trainer *t, const step_result *r) {
    const qn_training *o = t->options;
    double now = qn_seconds();
    qn_progress_step(&t->progress, t->state.step, r->epoch, r->loss, r->rate, r->tokens, qn_peak_memory(), now);
    if (!o->on_step) return;
    bool last = t->total_steps > 0 && t->state.step >= t->total_steps;
    if (!last && !qn_progress_due(&t->progress, o->progress_width ? 0.1 : 10, now)) return;
    qn_buffer_clear(&t->line);
    qn_progress_format(&t->progress, (qn_progress_style){o->progress_width, o->progress_width > 0, o->progress_unicode},
                       now, &t->line);
    o->on_step(o->user,
               &(qn_training_step){t->state.step, t->total_steps, r->epoch, o->epochs, r->loss, r->rate, r->norm,
                                   qn_progress_speed(&t->progress), qn_progress_elapsed(&t->progress, now),
                                   qn_progress_left(&t->progress), qn_peak_memory(), t->line.data ? t->line.data : ""});
}

// --- The loop

static bool out_of_time(const qn_trainer *t) {
    return t->options->max_minutes > 0 && elapsed(t) >= 60 * t->options->max_minutes;
}

static const char *reason_to_end(const qn_trainer *t, const step_result *r) {
    const qn_training *o = t->options;
    if (r->ended || (t->total_steps > 0 && t->state.step >= t->total_steps)) return "completed";
    if (o->stop && o->stop(o->user)) return "interrupted";
    if (out_of_time(t)) return "max_time";
    if (o->patience > 0 && t->state.evaluations_without_improvement >= o->patience) return "early_stopping";
    return NULL;
}

static qn_status run_step(qn_trainer *t, qn_prefetch *prefetch, step_result *r) {
    const qn_training *o = t->options;
    double before = share_done(t, r->epoch);
    *r = (step_result){.epoch = r->epoch};
    QN_TRY(accumulate(t, prefetch, r));
    if (r->tokens == 0) return QN_OK;
    QN_TRY(update(t, r, before));
    show(t, r);
    if (t->state.step % (o->log_steps > 0 ? o->log_steps : 1) == 0) QN_TRY(log_step(t, r));
    return QN_OK;
}

static qn_status after_step(qn_trainer *t, const step_result *r, bool *saved) {
    const qn_training *o = t->options;
    bool last = r->ended || (t->total_steps > 0 && t->state.step >= t->total_steps) || out_of_time(t);
    bool due = last || (o->eval_steps > 0 ? t->state.step % o->eval_steps == 0 : r->ends_epoch);
    bool evaluated = due && t->objective->evaluate;
    if (evaluated) QN_TRY(evaluate(t, r->epoch));
    *saved = last || (evaluated && t->state.best_step == t->state.step) ||
             (o->save_steps > 0 ? t->state.step % o->save_steps == 0 : due);
    return *saved ? save(t) : QN_OK;
}

static qn_status loop(qn_trainer *t, qn_prefetch *prefetch) {
    step_result r = {0};
    if (t->total_steps > 0 && t->state.step >= t->total_steps) {
        t->end = "completed";
        return QN_OK;
    }
    while (!t->end) {
        bool saved = false;
        QN_TRY(run_step(t, prefetch, &r));
        QN_TRY(after_step(t, &r, &saved));
        t->end = reason_to_end(t, &r);
        if (t->end && !saved) QN_TRY(save(t));
    }
    qn_runlog_begin(t->log, "end", t->state.step);
    qn_runlog_string(t->log, "reason", t->end);
    qn_runlog_real(t->log, "seconds", elapsed(t));
    QN_TRY(qn_runlog_end(t->log));
    QN_TRY(qn_runlog_sync(t->log));
    return strcmp(t->end, "interrupted") == 0
               ? qn_fail(QN_INTERRUPTED, "%s: stopped at step %" PRId64 "; go on with --resume", t->options->output,
                         t->state.step)
               : QN_OK;
}

qn_status qn_trainer_run(qn_trainer *t, const char *checkpoint) {
    qn_prefetch *prefetch = NULL;
    if (!t->parameters) t->parameters = &t->network->parameters;
    QN_TRY(begin(t, checkpoint));
    QN_TRY(qn_prefetch_start(t->source, PREFETCH, &prefetch));
    qn_status status = loop(t, prefetch);
    qn_prefetch_stop(prefetch);
    t->state.seconds = elapsed(t);
    // What follows only reads the weights, or rather their mean.
    qn_average_swap(t->average);
    qn_average_free(t->average);
    qn_optimizer_free(t->optimizer);
    t->average = NULL;
    t->optimizer = NULL;
    qn_parameters_free_training(t->parameters);
    qn_arena_trim(t->context.arena);
    return status;
}

// --- The model in the end

static qn_status take_checkpoint(qn_trainer *t, int64_t step) {
    char *folder = qn_checkpoint_path(t->options->output, step);
    qn_status status = !folder              ? QN_ERROR_MEMORY
                       : t->objective->read ? t->objective->read(t, folder)
                                            : qn_network_read_trained(t->network, folder);
    free(folder);
    return status;
}

// The mean of the last checkpoints' weights (as fairseq's average_checkpoints).
static qn_status take_average(qn_trainer *t) {
    qn_parameters *set = t->parameters;
    int64_t *steps = NULL;
    size_t count = 0;
    QN_TRY(qn_checkpoint_steps(t->options->output, &steps, &count));
    if (count > (size_t)t->options->average_last) count = (size_t)t->options->average_last;
    double *sum = qn_calloc(set->size, sizeof *sum);
    qn_status status = sum ? QN_OK : QN_ERROR_MEMORY;
    for (size_t i = 0; i < count && status == QN_OK; i++) {
        status = take_checkpoint(t, steps[i]);
        for (size_t k = 0; k < set->size; k++) sum[k] += (double)set->values[k];
    }
    for (size_t k = 0; k < set->size && status == QN_OK; k++) set->values[k] = (float)(sum[k] / (double)count);
    if (status == QN_OK && count)
        qn_trainer_say(t, "the model is the mean of %zu checkpoints, of steps %" PRId64 " to %" PRId64, count,
                       steps[count - 1], steps[0]);
    free(sum);
    free(steps);
    return status;
}

qn_status qn_trainer_take_final(qn_trainer *t) {
    if (t->options->average_last > 0) return take_average(t);
    if (t->state.best_step < 0 || t->state.best_step == t->state.step) return QN_OK;
    return take_checkpoint(t, t->state.best_step);
}
