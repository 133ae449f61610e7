// A search for the settings of a fine-tuning in a given time. Every trial is a complete training, with its own warm-up
// and decay, so that what is found at any length is a model to keep.
//   1. The settings that finetune begins with, for a short time: says how fast this machine is.
//   2. Successive halving (Jamieson & Talwalkar 2016, the inner loop of Hyperband): 9 or 27 random settings are trained
//      for a 9th or 27th of the longest training, the best third of them three times as long, and so on.
//   3. The time that is left goes into settings near the best ones, with steps that shrink while nothing gets better.
// trials.jsonl has a line for each trial. A search that goes on reads it and walks the same way again, for what it
// draws is a function of the seed and of the results.
#include "train/tune.h"
#include "base/clock.h"
#include "base/file.h"
#include "base/rng.h"
#include "train/checkpoint.h"
#include "train/run_files.h"
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { THIRD = 3, MOST_RUNGS = 4, DEPTHS = 6, TUNE_STREAM = 0x74756e65 };
static const double PROBE_SHARE = 1.0 / 20, HALVING_SHARE = 0.75; // of the time
static const double FIRST_STEP = 0.7, LAST_STEP = 0.1;            // of the learning rate's logarithm near the best

qn_tuning qn_tuning_defaults(void) {
    return (qn_tuning){.training = qn_training_defaults(false),
                       .minutes = 10,
                       .least_rate = 1e-5,
                       .most_rate = 1e-3,
                       .least_batch = 8,
                       .most_batch = 64,
                       .search_depth = true};
}

typedef struct {
    const qn_tuning *o;
    qn_rng rng;
    int64_t depths[DEPTHS]; // choices of freeze_layers, from all that trains to the head alone
    size_t depth_count, layers;
    qn_trial *trials; // [count]
    size_t count, capacity, best;
    qn_trial *earlier; // [earlier_count] of trials.jsonl, in order: taken before any is trained
    size_t earlier_count, earlier_capacity;
    double longest; // epochs of the longest trainings of the halving; 0: not planned yet
    int64_t rungs;
    double fixed, per_epoch; // seconds of a trial
    double before, began;    // seconds of earlier runs of the search; when this one began
    double lost;             // of them in the trial that is next, which an earlier run has begun
    bool ended;              // no time or number of trials is left
    qn_runlog *log;
    char metric[64];
} search;

static double elapsed(const search *s) {
    return s->before + qn_seconds() - s->began;
}

static bool asked_to_stop(const search *s) {
    return s->o->training.stop && s->o->training.stop(s->o->training.user);
}

// Three digits, so that what is written to trials.jsonl is what was used.
static double rounded(double x) {
    char text[32];
    snprintf(text, sizeof text, "%.3g", x);
    return strtod(text, NULL);
}

static double between(double least, double most, double x) {
    return fmin(most, fmax(least, x));
}

// --- Settings

static qn_trial first_settings(const search *s) {
    const qn_tuning *o = s->o;
    double batch = (double)(o->training.batch_size ? o->training.batch_size : 32);
    return (qn_trial){.learning_rate = between(o->least_rate, o->most_rate, rounded(o->training.learning_rate)),
                      .batch_size = (size_t)between((double)o->least_batch, (double)o->most_batch, batch),
                      .freeze_layers = s->depths[0],
                      .layers = s->layers};
}

// Learning rate and batch are even in their logarithms; batches are powers of two times the smallest.
static qn_trial draw(search *s) {
    const qn_tuning *o = s->o;
    double rate = o->least_rate * pow(o->most_rate / o->least_rate, qn_rng_real(&s->rng));
    size_t doublings = 0, batch = o->least_batch;
    while (batch << (doublings + 1) <= o->most_batch) doublings++;
    batch <<= qn_rng_below(&s->rng, doublings + 1);
    return (qn_trial){.learning_rate = rounded(rate),
                      .batch_size = batch,
                      .freeze_layers = s->depths[qn_rng_below(&s->rng, s->depth_count)],
                      .layers = s->layers};
}

static size_t depth_at(const search *s, int64_t freeze_layers) {
    size_t at = 0;
    while (at + 1 < s->depth_count && s->depths[at] != freeze_layers) at++;
    return at;
}

// -1, 0 or 1, each with the same chance
static int direction(qn_rng *rng) {
    return (int)qn_rng_below(rng, 3) - 1;
}

static qn_trial draw_near(search *s, const qn_trial *best, double step) {
    const qn_tuning *o = s->o;
    static const double lengths[] = {1 / 1.5, 1, 1.5};
    qn_trial t = {.layers = s->layers};
    t.learning_rate =
        rounded(between(o->least_rate, o->most_rate, best->learning_rate * exp(step * qn_rng_normal(&s->rng))));
    int batch = direction(&s->rng), depth = direction(&s->rng), length = direction(&s->rng);
    size_t size = batch > 0 ? best->batch_size * 2 : batch < 0 ? best->batch_size / 2 : best->batch_size;
    t.batch_size = size < o->least_batch || size > o->most_batch ? best->batch_size : size;
    size_t at = depth_at(s, best->freeze_layers);
    if ((depth < 0 && at > 0) || (depth > 0 && at + 1 < s->depth_count)) at += (size_t)depth;
    t.freeze_layers = s->depths[at];
    t.epochs = rounded(fmin(o->training.epochs, best->epochs * lengths[length + 1]));
    return t;
}

// Everything, all layers, two thirds, a third, one layer, the head: those that differ.
static void list_depths(search *s) {
    int64_t layers = (int64_t)s->layers;
    const int64_t all[DEPTHS] = {-1, 0, layers / 3, 2 * layers / 3, layers - 1, layers};
    const qn_training *t = &s->o->training;
    if (!s->o->search_depth || t->freeze_layers >= 0 || t->lora_rank > 0 || t->adapter) {
        s->depths[s->depth_count++] = t->freeze_layers;
        return;
    }
    for (size_t i = 0; i < DEPTHS; i++)
        if (s->depth_count == 0 || all[i] > s->depths[s->depth_count - 1]) s->depths[s->depth_count++] = all[i];
}

// --- One trial

static bool stop_trial(void *user) {
    return asked_to_stop(user);
}

static void step_of_trial(void *user, const qn_training_step *step) {
    const search *s = user;
    s->o->training.on_step(s->o->training.user, step);
}

static char *path_of(const search *s, const char *name) {
    return qn_path_join(s->o->training.output, name);
}

static char *trial_folder(const search *s) {
    char name[64];
    snprintf(name, sizeof name, "trial-%zu", s->count + 1);
    return path_of(s, name);
}

static qn_status remove_checkpoints(const char *folder) {
    for (char *old; (old = qn_checkpoint_newest(folder));) {
        qn_status status = qn_remove_tree(old);
        free(old);
        QN_TRY(status);
    }
    return QN_OK;
}

// The best trial's folder becomes best/; others go.
static qn_status keep_or_remove(search *s, const char *folder, bool best) {
    if (!best) return qn_remove_tree(folder);
    char *kept = path_of(s, "best");
    qn_status status = kept ? remove_checkpoints(folder) : QN_ERROR_MEMORY;
    if (status == QN_OK) status = qn_rename_folder(folder, kept);
    free(kept);
    return status;
}

static bool is_better(const search *s, const qn_trial *t) {
    if (isnan(t->value)) return false;
    if (s->best == SIZE_MAX) return true;
    return qn_metric_better(&(qn_metric){s->metric, t->value, t->lower_is_better}, s->trials[s->best].value);
}

static qn_status train(search *s, qn_trial *t, double most_minutes, const char *folder, qn_run_result *result) {
    qn_training training = s->o->training;
    training.learning_rate = t->learning_rate;
    training.batch_size = t->batch_size;
    training.freeze_layers = t->freeze_layers;
    training.epochs = t->epochs;
    training.max_minutes = most_minutes;
    training.output = folder;
    training.test = NULL;
    training.overwrite = true;
    training.resume = ""; // of a trial that was interrupted
    training.on_message = NULL;
    training.on_step = s->o->training.on_step ? step_of_trial : NULL;
    training.stop = stop_trial;
    training.user = s;
    return qn_finetune_trial(&training, result);
}

static qn_status say_interrupted(search *s, double seconds) {
    qn_runlog_begin(s->log, "interrupted", (int64_t)s->count + 1);
    qn_runlog_real(s->log, "lost_seconds", seconds);
    QN_TRY(qn_runlog_end(s->log));
    return qn_fail(QN_INTERRUPTED, "%s: stopped in trial %zu; go on with --resume", s->o->training.output,
                   s->count + 1);
}

static qn_status log_trial(search *s, const qn_trial *t) {
    qn_runlog_begin(s->log, "trial", t->number);
    qn_runlog_string(s->log, "message", s->metric);
    qn_runlog_real(s->log, "learning_rate", t->learning_rate);
    qn_runlog_int(s->log, "per_device_train_batch_size", (int64_t)t->batch_size);
    qn_runlog_int(s->log, "freeze_layers", t->freeze_layers);
    qn_runlog_real(s->log, "num_train_epochs", t->epochs);
    qn_runlog_real(s->log, "value", t->value);
    qn_runlog_bool(s->log, "lower_is_better", t->lower_is_better);
    qn_runlog_real(s->log, "seconds", t->seconds);
    QN_TRY(qn_runlog_end(s->log));
    return qn_runlog_sync(s->log);
}

// Trains for at most so many minutes, and measures.
static qn_status train_trial(search *s, qn_trial *t, double most_minutes, qn_run_result *result) {
    char *folder = trial_folder(s);
    if (!folder) return QN_ERROR_MEMORY;
    double start = qn_seconds();
    qn_status status = train(s, t, most_minutes, folder, result);
    t->seconds = qn_seconds() - start;
    t->value = NAN;
    if (status == QN_INTERRUPTED) {
        status = say_interrupted(s, t->seconds);
    } else if (status == QN_OK || status == QN_ERROR_DIVERGED) {
        if (status == QN_OK) {
            snprintf(s->metric, sizeof s->metric, "%s", result->metric);
            t->value = result->value;
            t->lower_is_better = result->lower_is_better;
            if (result->passes < 0.99 * t->epochs) t->epochs = rounded(result->passes);
        }
        status = keep_or_remove(s, folder, is_better(s, t));
        if (status == QN_OK) status = log_trial(s, t);
    }
    free(folder);
    return status;
}

// Whether a trial that was made is the planned one, which the time may have cut short.
static bool same_settings(const qn_trial *planned, const qn_trial *made) {
    return fabs(planned->learning_rate - made->learning_rate) <= 1e-6 * made->learning_rate &&
           planned->batch_size == made->batch_size && planned->freeze_layers == made->freeze_layers &&
           made->epochs <= planned->epochs * (1 + 1e-6);
}

static qn_status write_report(const search *s) {
    char *path = path_of(s, "report.html");
    qn_status status = path ? qn_tune_report(s->o, s->trials, s->count, s->best, elapsed(s), path) : QN_ERROR_MEMORY;
    free(path);
    return status;
}

// Puts a trial behind the others. The first one, which says how fast the machine is, takes its share of the time; the
// others are as long as planned or as the time allows, if that is half of it.
static qn_status try(search *s, qn_trial settings, const char *stage) {
    qn_trial t = settings;
    qn_run_result result = {0};
    bool known = s->count < s->earlier_count, first = s->count == 0;
    double left = 60 * s->o->minutes - elapsed(s), training = left - s->fixed + s->lost;
    if (!known && (left < 0 || (!first && training < t.epochs * s->per_epoch / 2))) s->ended = true;
    if (s->o->most_trials && s->count >= s->o->most_trials) s->ended = true;
    if (s->ended) return QN_OK;
    if (!known && asked_to_stop(s)) return say_interrupted(s, 0);
    QN_TRY(qn_grow((void **)&s->trials, &s->capacity, s->count + 1, sizeof *s->trials));
    t.number = (int64_t)s->count + 1;
    if (known) {
        const qn_trial *earlier = &s->earlier[s->count];
        if (!same_settings(&t, earlier))
            return qn_fail(QN_ERROR_FORMAT, "%s/trials.jsonl: trial %zu is another one than this search would make",
                           s->o->training.output, s->count + 1);
        t.epochs = earlier->epochs;
        t.value = earlier->value;
        t.lower_is_better = earlier->lower_is_better;
        t.seconds = earlier->seconds;
    } else {
        QN_TRY(train_trial(s, &t, first ? s->o->minutes * PROBE_SHARE : fmax(1, training) / 60, &result));
        s->lost = 0;
        if (first && t.epochs > 0) {
            s->per_epoch = fmax(0, result.steps) / t.epochs;
            s->fixed = fmax(0, t.seconds - result.steps);
        }
    }
    t.stage = stage;
    t.metric = s->metric;
    t.best = is_better(s, &t);
    s->trials[s->count++] = t;
    if (t.best) s->best = s->count - 1;
    if (s->o->on_trial) s->o->on_trial(s->o->training.user, &t);
    return known ? QN_OK : write_report(s);
}

// --- The search

// How long the longest trainings are, and on how many rungs: as many as the time allows.
static qn_status plan(search *s) {
    if (s->longest > 0) return QN_OK; // an earlier run has planned
    double most = s->o->training.epochs, time = HALVING_SHARE * (60 * s->o->minutes - elapsed(s));
    for (s->rungs = MOST_RUNGS; s->rungs >= 1; s->rungs--) {
        double trials = (pow(THIRD, (double)s->rungs) - 1) / (THIRD - 1);
        double affordable = (time - trials * s->fixed) / ((double)s->rungs * fmax(s->per_epoch, 1e-9));
        s->longest = rounded(between(0, most, affordable));
        if (s->longest == rounded(most) || (s->rungs < MOST_RUNGS && s->longest >= most / 50)) break;
    }
    if (s->rungs < 1) s->rungs = 1, s->longest = rounded(most / 50);
    qn_runlog_begin(s->log, "plan", 1);
    qn_runlog_real(s->log, "longest_epochs", s->longest);
    qn_runlog_int(s->log, "rungs", s->rungs);
    qn_runlog_real(s->log, "fixed_seconds", s->fixed);
    qn_runlog_real(s->log, "seconds_per_epoch", s->per_epoch);
    return qn_runlog_end(s->log);
}

// The better third of candidates [count], whose results are the last trials, comes to the front.
static void keep_third(const search *s, qn_trial *candidates, size_t count) {
    const qn_trial *results = s->trials + s->count - count;
    qn_trial sorted[27]; // of results, the better ones first, equal ones in their order
    for (size_t i = 0; i < count; i++) {
        size_t at = i;
        for (; at > 0; at--) {
            qn_metric here = {s->metric, results[i].value, results[i].lower_is_better};
            if (!qn_metric_better(&here, sorted[at - 1].value)) break;
            sorted[at] = sorted[at - 1];
        }
        sorted[at] = results[i];
    }
    for (size_t i = 0; i < count; i++) {
        candidates[i] = sorted[i];
        candidates[i].epochs = 0;
    }
}

static qn_status halve(search *s) {
    qn_trial candidates[27];
    size_t count = 1;
    for (int64_t i = 1; i < s->rungs; i++) count *= THIRD;
    double epochs = s->longest / (double)count;
    candidates[0] = first_settings(s);
    for (size_t i = 1; i < count; i++) candidates[i] = draw(s);
    for (; count >= 1 && !s->ended; count /= THIRD, epochs *= THIRD) {
        for (size_t i = 0; i < count && !s->ended; i++) {
            candidates[i].epochs = rounded(epochs);
            QN_TRY(try(s, candidates[i], "halving"));
        }
        if (!s->ended) keep_third(s, candidates, count);
    }
    return QN_OK;
}

static qn_status search_near(search *s) {
    double step = FIRST_STEP;
    while (!s->ended && s->best != SIZE_MAX) {
        size_t best = s->best;
        QN_TRY(try(s, draw_near(s, &s->trials[best], step), "near the best"));
        if (s->best == best) step = fmax(LAST_STEP, 0.85 * step);
    }
    return QN_OK;
}

static qn_status run_search(search *s) {
    qn_trial first = first_settings(s);
    first.epochs = s->o->training.epochs;
    QN_TRY(try(s, first, "first"));
    if (s->count == 0)
        return qn_fail(QN_ERROR_ARGUMENT, "%g minutes are over before the first trial is (expected more)",
                       s->o->minutes);
    QN_TRY(plan(s));
    QN_TRY(halve(s));
    return search_near(s);
}

// --- Beginning, going on, and the end

static qn_status check(const qn_tuning *o) {
    const qn_training *t = &o->training;
    if (!(o->minutes > 0)) return qn_fail(QN_ERROR_ARGUMENT, "a budget of %g minutes (expected above 0)", o->minutes);
    if (!t->output || !*t->output) return qn_fail(QN_ERROR_ARGUMENT, "no output folder");
    if (!t->model || !*t->model)
        return qn_fail(QN_ERROR_ARGUMENT, "no model to train (expected a folder or a config.json)");
    if (!t->validation) return qn_fail(QN_ERROR_ARGUMENT, "no validation file, by which settings are compared");
    if (t->max_steps > 0 || t->max_minutes > 0 || !(t->epochs > 0))
        return qn_fail(QN_ERROR_ARGUMENT,
                       "the length of trainings is searched (expected at most so many epochs, no steps, no time)");
    if (!(o->least_rate > 0 && o->least_rate <= o->most_rate && o->most_rate < 100))
        return qn_fail(QN_ERROR_ARGUMENT, "learning rates from %g to %g (expected an ascending range above 0)",
                       o->least_rate, o->most_rate);
    if (o->least_batch < 1 || o->least_batch > o->most_batch || o->most_batch > 1 << 20)
        return qn_fail(QN_ERROR_ARGUMENT, "batches from %zu to %zu (expected an ascending range from 1)",
                       o->least_batch, o->most_batch);
    return QN_OK;
}

// What must be the same for a search to go on.
static json_t *settings_json(const qn_tuning *o) {
    static const char *const free_ones[] = {"command", "threads"};
    json_t *json = qn_training_json(&o->training, false);
    for (size_t i = 0; json && i < sizeof free_ones / sizeof *free_ones; i++) json_object_del(json, free_ones[i]);
    if (!json) return NULL;
    json_object_set_new(json, "least_learning_rate", json_real(o->least_rate));
    json_object_set_new(json, "most_learning_rate", json_real(o->most_rate));
    json_object_set_new(json, "least_batch_size", json_integer((json_int_t)o->least_batch));
    json_object_set_new(json, "most_batch_size", json_integer((json_int_t)o->most_batch));
    json_object_set_new(json, "search_depth", json_boolean(o->search_depth));
    return json;
}

static qn_status check_same(const char *path, const json_t *settings) {
    json_t *earlier;
    QN_TRY(qn_json_load(path, &earlier));
    const char *key;
    json_t *value;
    qn_status status = QN_OK;
    json_object_foreach((json_t *)(uintptr_t)settings, key, value) {
        const json_t *was = json_object_get(earlier, key);
        bool same = json_is_number(value) && json_is_number(was) ? json_number_value(value) == json_number_value(was)
                                                                 : json_equal(value, was);
        if (status == QN_OK && !same)
            status =
                qn_fail(QN_ERROR_ARGUMENT, "%s: \"%s\" was another (expected the same settings to go on)", path, key);
    }
    json_decref(earlier);
    return status;
}

static double cell(const qn_history *h, const char *key, size_t row) {
    const double *column = qn_history_column(h, key);
    return column ? column[row] : NAN;
}

static qn_status take_row(search *s, const qn_history *h, size_t row) {
    double rate = cell(h, "learning_rate", row), planned = cell(h, "longest_epochs", row);
    double lost = cell(h, "lost_seconds", row);
    if (!isnan(lost)) s->before += lost, s->lost += lost;
    if (planned > 0) {
        s->longest = planned;
        s->rungs = (int64_t)between(1, MOST_RUNGS, cell(h, "rungs", row));
        s->fixed = fmax(0, cell(h, "fixed_seconds", row));
        s->per_epoch = fmax(0, cell(h, "seconds_per_epoch", row));
    }
    if (!(rate > 0)) return QN_OK;
    QN_TRY(qn_grow((void **)&s->earlier, &s->earlier_capacity, s->earlier_count + 1, sizeof *s->earlier));
    s->earlier[s->earlier_count++] =
        (qn_trial){.learning_rate = rate,
                   .batch_size = (size_t)between(1, 1 << 20, cell(h, "per_device_train_batch_size", row)),
                   .freeze_layers = (int64_t)between(-1, QN_MOST_LAYERS, cell(h, "freeze_layers", row)),
                   .epochs = fmax(0, cell(h, "num_train_epochs", row)),
                   .value = cell(h, "value", row),
                   .lower_is_better = cell(h, "lower_is_better", row) == 1,
                   .seconds = fmax(0, cell(h, "seconds", row))};
    s->before += s->earlier[s->earlier_count - 1].seconds;
    s->lost = 0;
    if (h->text[row]) snprintf(s->metric, sizeof s->metric, "%s", h->text[row]);
    return QN_OK;
}

static qn_status read_earlier(search *s, const char *path) {
    qn_history h = {0};
    qn_status status = qn_history_read(path, &h);
    for (size_t row = 0; status == QN_OK && row < h.rows; row++) status = take_row(s, &h, row);
    qn_history_free(&h);
    return status;
}

static qn_status open_folder(search *s) {
    const qn_training *t = &s->o->training;
    char *log = path_of(s, "trials.jsonl"), *arguments = path_of(s, "args.json"), *best = path_of(s, "best");
    json_t *settings = settings_json(s->o);
    qn_status status = log && arguments && best && settings ? QN_OK : QN_ERROR_MEMORY;
    bool goes_on = status == QN_OK && t->resume && qn_is_file(log);
    if (status == QN_OK && !goes_on && !t->overwrite && (qn_is_file(log) || qn_is_folder(best)))
        status = qn_fail(QN_ERROR_ARGUMENT, "%s: holds another search (expected a new folder, --resume or --overwrite)",
                         t->output);
    if (status == QN_OK && goes_on) status = check_same(arguments, settings);
    if (status == QN_OK && goes_on) status = read_earlier(s, log);
    if (status == QN_OK && !goes_on) status = qn_remove_tree(best);
    if (status == QN_OK) status = qn_make_folders(t->output);
    if (status == QN_OK && !goes_on) status = qn_json_save(settings, arguments);
    if (status == QN_OK) status = qn_runlog_open(log, goes_on ? INT64_MAX : -1, &s->log);
    json_decref(settings);
    free(log);
    free(arguments);
    free(best);
    return status;
}

static qn_status read_layers(search *s) {
    qn_model_config config;
    QN_TRY(qn_model_config_read(s->o->training.model, &config));
    s->layers = (size_t)qn_model_layers(&config);
    qn_model_config_free(&config);
    return QN_OK;
}

// The measures of the best model on the test file, or "".
static qn_status measure_test(const search *s, const char *folder, char **json) {
    const qn_training *t = &s->o->training;
    qn_model_options options = qn_model_defaults();
    qn_model *model;
    *json = NULL;
    if (!t->test) return QN_OK;
    options.threads = t->threads;
    options.max_length = t->max_length;
    QN_TRY(qn_model_open(folder, &options, &model));
    bool has_head = qn_model_labels(model) > 0;
    qn_status status = qn_evaluate_task(model, has_head ? NULL : t->task, t->test, &t->data, json);
    qn_model_close(model);
    return status;
}

static qn_status finish(search *s, char **json) {
    if (s->best == SIZE_MAX)
        return qn_fail(QN_ERROR_DIVERGED, "%s: none of %zu trials gave a model (try lower learning rates)",
                       s->o->training.output, s->count);
    const qn_trial *b = &s->trials[s->best];
    char *folder = path_of(s, "best"), *test = NULL;
    qn_buffer text = {0};
    qn_status status = folder ? measure_test(s, folder, &test) : QN_ERROR_MEMORY;
    qn_buffer_printf(&text, "{\"trials\": %zu, \"seconds\": %.1f, \"metric\": \"%s\", \"value\": ", s->count,
                     elapsed(s), s->metric);
    qn_buffer_json_number(&text, b->value, 9);
    qn_buffer_printf(&text,
                     ", \"trial\": %lld, \"learning_rate\": %.9g, \"per_device_train_batch_size\": %zu, "
                     "\"num_train_epochs\": %.9g, \"freeze_layers\": %lld, \"model\": ",
                     (long long)b->number, b->learning_rate, b->batch_size, b->epochs, (long long)b->freeze_layers);
    if (folder) qn_buffer_json_string(&text, folder, strlen(folder));
    if (test) qn_buffer_printf(&text, ", \"test\": %s", test);
    qn_buffer_text(&text, "}");
    if (status == QN_OK) status = qn_buffer_status(&text);
    if (status == QN_OK && json)
        *json = text.data;
    else
        qn_buffer_free(&text);
    free(folder);
    free(test);
    return status;
}

qn_status qn_tune(const qn_tuning *tuning, char **json) {
    search s = {.o = tuning, .rng = {tuning->training.seed, TUNE_STREAM, 0}, .best = SIZE_MAX};
    if (json) *json = NULL;
    qn_status status = check(tuning);
    if (status == QN_OK) status = read_layers(&s);
    if (status == QN_OK) list_depths(&s);
    if (status == QN_OK) status = open_folder(&s);
    s.began = qn_seconds();
    if (status == QN_OK) status = run_search(&s);
    if (status == QN_OK) status = write_report(&s);
    if (status == QN_OK) status = finish(&s, json);
    qn_runlog_close(s.log);
    free(s.trials);
    free(s.earlier);
    return status;
}
