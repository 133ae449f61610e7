// What the files of the report share.
#pragma once
#include "train/report.h"

extern const char *const qn_report_css[]; // pieces, ended by NULL
extern const char *const qn_report_js[];

// Returns whether the curve of the speed was put here, to fill the grid, instead of in the section about speed.
bool qn_report_curves(const qn_report *report, qn_buffer *out);
void qn_report_evaluations(const qn_report *report, qn_buffer *out);
void qn_report_results(const qn_report *report, qn_buffer *out);
void qn_report_autoencoding(const qn_report *report, qn_buffer *out); // its sections, if there is one
void qn_report_latent(const qn_report *report, qn_buffer *out);
void qn_report_errors(const qn_report *report, qn_buffer *out);
void qn_report_speed(const qn_report *report, bool with_curve, qn_buffer *out);
void qn_report_speed_curve(const qn_report *report, qn_buffer *out);
void qn_report_warnings(const qn_report *report, qn_buffer *out);
void qn_report_arguments(const qn_report *report, qn_buffer *out);
bool qn_report_has_results(const qn_report *report);
bool qn_report_has_warnings(const qn_report *report);

// Pieces of HTML. A page begins with its title, over which stand `task` and `date`, and ends with the file's name that
// has the numbers.
void qn_report_begin(const char *title, const char *task, const char *date, qn_buffer *out);
void qn_report_end(const char *version, const char *numbers, qn_buffer *out);
void qn_report_text(const char *text, qn_buffer *out);                                       // escaped; NULL is nothing
void qn_report_section(const char *id, const char *title, const char *note, qn_buffer *out); // opens <section>
double qn_report_last_step(const qn_history *history);                                       // 0 when there is none
void qn_report_facts(const qn_report_fact *facts, size_t n, qn_buffer *out);                 // a definition list
// "macro_f1" as people write it, "Macro F1"; names that are not known have their underscores turned into spaces.
void qn_report_metric_name(const char *name, qn_buffer *out);
// A metric's value in its usual form: accuracy 84.6 %, others with four decimals at most.
void qn_report_metric_value(const char *name, double value, qn_buffer *out);
void qn_report_metric_short(const char *name, double value,
                            qn_buffer *out); // for tables: shares without a percent sign
