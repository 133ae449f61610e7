// report.html: one self-contained page about a run (no external resource, light and dark, prints well), deterministic
// given its input.
#pragma once
#include "metrics/projection.h"
#include "base/json.h"
#include "metrics/tagging.h"
#include "train/runlog.h"

// A line of a list of facts, or a warning ("invalid UTF-8", "12 bytes in 3 lines were replaced").
typedef struct {
    const char *name, *value;
} qn_report_fact;

// Everything the page shows. Strings are owned by the caller and may be NULL, numbers NaN or 0, where unknown: what is
// missing is left out of the page. Nothing is escaped beforehand.
typedef struct {
    // What was done.
    const char *title;           // "Topics of WordNet glosses"; the output folder's name if nothing better is known
    const char *task;            // "Classification", "Masked language modelling", ...
    const char *model;           // where it began: "all-MiniLM-L6-v2", or "from scratch, 3 layers of width 192"
    const char *data;            // "data/wordnet/train.tsv, 65,692 examples"
    const char *date;            // when it began, as text; the only place for a clock in the page
    const char *command;         // the command line
    const char *version;         // qn_version()
    const qn_report_fact *facts; // of model and data: layers, width, vocabulary, examples, labels, ...
    size_t n_facts;

    // What came out.
    const char *best_metric; // name of the metric that chose the best checkpoint: "macro_f1", or "loss"
    double best_value;
    int64_t best_step; // -1: no evaluation
    int64_t parameters, trained_parameters;

    // What it took.
    double seconds;       // of the whole run, resumes included
    double tokens;        // real tokens processed in training
    double padded_tokens; // what padding each batch to its longest text would have processed; 0: unknown
    size_t peak_memory;   // bytes
    const char *cpu, *instruction_set, *dtype,
        *engine; // "AMD EPYC 9R14", "AVX-512 (VNNI, BF16)", "float32", "oneDNN 2.6.3"
    int threads;

    // The log; qn_history_read(log.jsonl).
    const qn_history *history;

    // The last evaluation, of the best model; at most one of the four metrics, none for pre-training.
    const char *eval_name; // "test, 8,212 examples"
    const qn_classification *classification;
    const qn_multilabel *multilabel;
    const qn_regression *regression;
    const qn_tagging *tagging;
    const qn_plane *plane; // vectors of the texts of an autoencoder, or NULL
    const struct qn_autoencoding *autoencoding; // of an autoencoder of numbers, whose rows are what tokens are elsewhere
    const qn_metric *metrics; // [n_metrics] of an evaluation that has no more than these
    size_t n_metrics;
    const char *const *labels;     // [classes], for classification and multi-label; [types] for tagging
    const float *gold, *predicted; // [n_points] regression: for the scatter plot
    size_t n_points;
    const qn_mistake *errors; // worst first; qn_worst_classified, qn_worst_regressed choose them
    size_t n_errors;
    bool errors_by_value; // of tasks with scalars alone

    // How it was asked for, and what went wrong.
    const json_t *arguments; // args.json: an object; NULL: left out
    const qn_report_fact *warnings;
    size_t n_warnings; // skipped steps are taken from the log
} qn_report;

// Everything unknown: zero, NULL, NaN and best_step -1. Begin with this.
void qn_report_init(qn_report *report);
// Appends the page.
qn_status qn_report_html(const qn_report *report, qn_buffer *out);
// Writes the page to `path`, atomically.
qn_status qn_report_write(const qn_report *report, const char *path);
