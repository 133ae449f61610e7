// The sections about an autoencoder of numbers: reconstructions, the latent space, samples and interpolations.
#include "formats/pictures.h"
#include "metrics/projection.h"
#include "train/autoencoding.h"
#include "train/plot.h"
#include "train/report_internal.h"
#include "base/memory.h"
#include <stdlib.h>
#include <string.h>

// A sheet of rows as a picture in the page.
static void put_sheet(const qn_autoencoding *a, const float *values, size_t count, size_t across, const char *title,
                      const char *note, qn_buffer *out) {
    qn_buffer png = {0};
    qn_picture_sheet sheet = {.values = values,
                              .count = count,
                              .across = a->picture[0] > 1 ? across : 1,
                              .height = a->picture[0],
                              .width = a->picture[1],
                              .channels = a->picture[2],
                              .low = a->low,
                              .high = a->high,
                              // Strips are stretched to the page's width, and so high that they are seen.
                              .scale = a->picture[0] > 1 ? 0 : 1 + 960 / a->picture[1]};
    if (qn_pictures_png(&sheet, &png) != QN_OK) { // too large: the page does without
        qn_buffer_free(&png);
        return;
    }
    qn_buffer_text(out, "<figure class=\"sheet\"><figcaption><b>");
    qn_report_text(title, out);
    qn_buffer_text(out, "</b><span>");
    qn_report_text(note, out);
    qn_buffer_text(out, "</span></figcaption><img alt=\"");
    qn_report_text(title, out);
    qn_buffer_text(out, "\" src=\"data:image/png;base64,");
    qn_buffer_base64(out, png.data, png.size);
    qn_buffer_text(out, "\"/></figure>\n");
    qn_buffer_free(&png);
}

// A line of inputs, under it their reconstructions, and so on. Of strips, which are one to a line, pairs.
static void put_pairs(const qn_autoencoding *a, qn_buffer *out) {
    size_t across = a->picture[0] > 1 ? QN_SHOWN_ACROSS : 1, d = a->columns, done = 0;
    size_t lines = (a->pairs + across - 1) / across;
    if (across == 1 && lines > QN_SHOWN_ACROSS) lines = QN_SHOWN_ACROSS;
    float *both = qn_calloc(2 * lines * across * d, sizeof *both), *at = both;
    if (!both) {
        out->failed = true;
        return;
    }
    // What is missing in the last line is black.
    for (size_t i = 0; i < 2 * lines * across * d; i++) both[i] = a->low;
    for (size_t line = 0; line < lines; line++, at += 2 * across * d) {
        size_t count = a->pairs - done < across ? a->pairs - done : across;
        memcpy(at, a->inputs + done * d, count * d * sizeof *at);
        memcpy(at + across * d, a->outputs + done * d, count * d * sizeof *at);
        done += count;
    }
    put_sheet(a, both, 2 * lines * across, across, "Reconstructions",
              "a line of inputs, and under it what the model makes of them", out);
    free(both);
}

static void put_latent(const qn_plane *p, qn_buffer *out) {
    qn_buffer note = {0};
    if (p->share[0] > 0)
        qn_buffer_printf(&note, "two principal components of %zu, %.0f %% of the variance", p->width,
                         100 * (p->share[0] + p->share[1]));
    qn_scatter_plot plot = {.title = "Latent vectors",
                            .x_label = p->share[0] > 0 ? "first component" : "first number",
                            .y_label = p->share[0] > 0 ? "second component" : "second number",
                            .note = note.data,
                            .x = p->x,
                            .y = p->y,
                            .group = p->name_count ? p->classes : NULL,
                            .groups = p->names,
                            .group_count = p->name_count,
                            .n = p->points};
    qn_plot_scatter(&plot, out);
    if (note.failed) out->failed = true;
    qn_buffer_free(&note);
}

void qn_report_latent(const qn_report *report, qn_buffer *out) {
    if (!report->plane || report->plane->points == 0) return;
    qn_report_section("latent", "Latent vectors", report->eval_name, out);
    qn_buffer_text(out, "<div class=\"grid\">\n");
    put_latent(report->plane, out);
    qn_buffer_text(out, "</div>\n</section>\n");
}

void qn_report_autoencoding(const qn_report *report, qn_buffer *out) {
    const qn_autoencoding *a = report->autoencoding;
    if (!a) return;
    qn_report_section("reconstructions", "Reconstructions", report->eval_name, out);
    put_pairs(a, out);
    qn_buffer_text(out, "<div class=\"grid\">\n");
    qn_plane plane = {a->x, a->y, a->classes, a->points, a->latent, {a->share[0], a->share[1]}, a->names, a->name_count};
    put_latent(&plane, out);
    if (a->samples)
        put_sheet(a, a->samples, QN_SHOWN_SAMPLES, QN_SHOWN_SAMPLES_ACROSS, "Samples",
                  "decoded from standard normal vectors", out);
    qn_buffer_text(out, "</div>\n");
    if (a->ways)
        put_sheet(a, a->steps, a->ways * QN_SHOWN_ACROSS, QN_SHOWN_ACROSS, "Interpolations",
                  "between the latent vectors of two rows", out);
    qn_buffer_text(out, "</section>\n");
}
