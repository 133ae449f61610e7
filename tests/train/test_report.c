// The report is one well-formed, self-contained page whatever its input is; samples to look at are left in the build
// folder.
#include "base/file.h"
#include "base/rng.h"
#include "train/plot.h"
#include "support.h"
#include "train/report.h"
#include <ctype.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

// ---- a small checker of markup ------------------------------------------------------------------

// Numbers of SVG, and nothing that printf makes of NaN or infinity.
static void check_number_attribute(const char *name, const char *value, size_t size) {
    static const char *const numeric[] = {"x",  "y", "x1", "x2",    "y1",     "y2",      "cx",
                                          "cy", "r", "d",  "width", "height", "viewBox", "fill-opacity"};
    for (size_t i = 0; i < sizeof numeric / sizeof *numeric; i++) {
        if (strcmp(name, numeric[i]) != 0) continue;
        if (size == 0) fail_msg("attribute %s is empty", name);
        for (size_t k = 0; k < size; k++)
            if (!strchr("0123456789.- ML", value[k])) fail_msg("attribute %s: \"%.*s\"", name, (int)size, value);
    }
}

// Checks one tag from '<' on; returns the place after '>'. `name` gets the element's name, *kind 'o'pen, 'c'lose or
// 's'elf-closed.
static const char *check_tag(const char *at, char name[32], char *kind) {
    const char *start = at++;
    *kind = *at == '/' ? 'c' : 'o';
    if (*at == '/') at++;
    size_t n = 0;
    while (isalnum((unsigned char)*at) && n < 31) name[n++] = *at++;
    name[n] = 0;
    if (n == 0) fail_msg("a bare < before: %.60s", start);
    for (;;) {
        while (isspace((unsigned char)*at)) at++;
        if (*at == '>') return at + 1;
        if (at[0] == '/' && at[1] == '>') {
            *kind = 's';
            return at + 2;
        }
        char attribute[32];
        size_t length = 0;
        while ((isalnum((unsigned char)*at) || *at == '-') && length < 31) attribute[length++] = *at++;
        attribute[length] = 0;
        if (length == 0 || at[0] != '=' || at[1] != '"') fail_msg("an odd attribute in: %.100s", start);
        const char *value = at += 2;
        while (*at && *at != '"' && *at != '<') at++;
        if (*at != '"') fail_msg("an unescaped value in: %.100s", start);
        check_number_attribute(attribute, value, (size_t)(at - value));
        if (strcmp(attribute, "src") == 0 || (strcmp(attribute, "href") == 0 && *value != '#'))
            fail_msg("a resource: %.80s", start);
        at++;
    }
}

static void check_entity(const char *at) {
    static const char *const known[] = {"&amp;", "&lt;", "&gt;", "&quot;", "&#39;"};
    for (size_t i = 0; i < sizeof known / sizeof *known; i++)
        if (strncmp(at, known[i], strlen(known[i])) == 0) return;
    fail_msg("a bare & before: %.60s", at);
}

static void check_page(const qn_buffer *page) {
    char stack[64][32], name[32], kind;
    size_t depth = 0;
    assert_int_equal(strlen(page->data), page->size);
    assert_null(strstr(page->data, "http://") && !strstr(page->data, "http://www.w3.org/2000/svg") ? "" : NULL);
    assert_null(strstr(page->data, "https://"));
    const char *at = page->data;
    if (strncmp(at, "<!DOCTYPE html>", 15) == 0) at += 15;
    while (*at) {
        if (*at == '&') check_entity(at);
        if (*at != '<') {
            at++;
            continue;
        }
        at = check_tag(at, name, &kind);
        if (kind == 'o') {
            assert_true(depth < 64);
            strcpy(stack[depth++], name);
            if (strcmp(name, "style") == 0 || strcmp(name, "script") == 0)
                at = strstr(at, strcmp(name, "style") ? "</script>" : "</style>");
        } else if (kind == 'c') {
            if (depth == 0 || strcmp(stack[depth - 1], name) != 0)
                fail_msg("</%s> closes <%s>", name, depth ? stack[depth - 1] : "");
            depth--;
        }
    }
    assert_int_equal(depth, 0);
}

static void page_of(const qn_report *report, qn_buffer *page) {
    assert_int_equal(qn_report_html(report, page), QN_OK);
    check_page(page);
}

// ---- samples ------------------------------------------------------------------------------------

enum { STEPS = 2566, EVERY = 5, EVAL_EVERY = 214, EXAMPLES = 8212, TOPICS = 26 };

static const char *const topics[TOPICS] = {
    "Tops",       "act",     "animal",   "artifact", "attribute", "body",   "cognition", "communication", "event",
    "feeling",    "food",    "group",    "location", "motive",    "object", "person",    "phenomenon",    "plant",
    "possession", "process", "quantity", "relation", "shape",     "state",  "substance", "time"};
static const double topic_share[TOPICS] = {7, 674, 754,  1116, 309, 198, 322, 549, 107, 41, 261, 251, 335,
                                           5, 155, 1139, 67,   802, 108, 80,  143, 42,  29, 383, 291, 97};

// A log as a fine-tuning run (or a pre-training run) writes it: noise, a spike that is left out, warm-up and decay.
static qn_history sample_log(bool pretrain) {
    qn_buffer log = {0};
    qn_rng rng = {11, pretrain, 0};
    for (int step = EVERY; step <= STEPS; step++) {
        double t = (double)step / STEPS, warm = fmin(1, t / 0.1), lr = 2e-4 * (t < 0.1 ? warm : (1 - t) / 0.9);
        double level = pretrain ? 2.4 + 6.6 * exp(-3.2 * t) : 0.42 + 2.8 * exp(-9 * t) + 0.25 * (1 - t);
        if (step == 1410)
            qn_buffer_printf(&log, "{\"event\": \"skip\", \"step\": 1410, \"reason\": \"loss spike\", \"loss\": 9.81, "
                                   "\"grad_norm\": 184.2}\n");
        if (step % EVERY == 0) {
            double loss = level * (1 + (pretrain ? 0.03 : 0.16) * qn_rng_normal(&rng)),
                   norm = (0.9 + 2.2 * exp(-12 * t) + 0.5 * t) * exp(0.28 * qn_rng_normal(&rng)) *
                          (step % 725 == 0 ? 9 : 1),
                   speed = 9450 * (1 + 0.02 * qn_rng_normal(&rng)) * (step % 640 < 10 ? 0.8 : 1);
            qn_buffer_printf(&log, "{\"event\": \"train\", \"step\": %d, \"epoch\": %.4f, \"loss\": %.5f, ", step,
                             4 * t, fabs(loss));
            qn_buffer_printf(&log, "\"learning_rate\": %.4e, \"grad_norm\": %.4f, \"tokens_per_second\": %.0f, ", lr,
                             norm, speed);
            if (pretrain)
                qn_buffer_printf(&log, "\"accuracy\": %.4f, ",
                                 0.56 * (1 - exp(-3 * t)) + 0.006 * qn_rng_normal(&rng) + 0.01);
            qn_buffer_printf(&log, "\"peak_memory\": %d}\n", 412000000);
        }
        if (step % EVAL_EVERY == 0) {
            double held = pretrain ? 2.5 + 6.4 * exp(-3.2 * t) : 0.55 + 1.6 * exp(-8 * t) + 0.06 * t * t;
            double accuracy =
                pretrain ? 0.55 * (1 - exp(-3 * t)) : 0.846 - 0.42 * exp(-7 * t) + 0.003 * qn_rng_normal(&rng);
            qn_buffer_printf(
                &log,
                "{\"event\": \"eval\", \"step\": %d, \"epoch\": %.4f, \"eval_loss\": %.5f, \"eval_accuracy\": %.5f",
                step, 4 * t, held, accuracy);
            if (!pretrain)
                qn_buffer_printf(&log, ", \"eval_macro_f1\": %.5f, \"eval_mcc\": %.5f",
                                 accuracy - 0.05 - 0.1 * exp(-5 * t), accuracy - 0.018);
            qn_buffer_text(&log, "}\n");
        }
    }
    qn_buffer_printf(&log, "{\"event\": \"end\", \"step\": %d, \"reason\": \"completed\"}\n", STEPS);
    qn_history history;
    assert_int_equal(qn_history_parse(log.data, log.size, "sample", &history), QN_OK);
    qn_buffer_free(&log);
    return history;
}

typedef struct {
    int32_t *gold, *predicted;
    float *probability;
    qn_classification metrics;
} sample_classes;

// Predictions of a decent classifier: easily confused neighbours, a little too sure of itself.
static sample_classes classify(size_t n, int32_t classes, const double *shares) {
    sample_classes s = {
        calloc(n, sizeof(int32_t)), calloc(n, sizeof(int32_t)), calloc(n * (size_t)classes, sizeof(float)), {0}};
    qn_rng rng = {5, (uint64_t)classes, 0};
    double total = 0;
    for (int32_t k = 0; k < classes; k++) total += shares ? shares[k] : 1;
    for (size_t i = 0; i < n; i++) {
        double at = qn_rng_real(&rng) * total, sum = 0;
        int32_t gold = 0;
        for (; gold < classes - 1 && at >= (shares ? shares[gold] : 1); gold++) at -= shares ? shares[gold] : 1;
        float *row = s.probability + i * (size_t)classes;
        int32_t top = 0;
        for (int32_t k = 0; k < classes; k++) {
            double likely = shares ? 0.55 * log(shares[k] / 300) : 0, near = (k * 7 + gold * 3) % 11 == 0 ? 1.6 : 0;
            row[k] = (float)exp(1.35 * (likely + near + 1.25 * qn_rng_normal(&rng) + (k == gold ? 4.4 : 0)));
            sum += row[k];
        }
        for (int32_t k = 0; k < classes; k++) {
            row[k] = (float)(row[k] / sum);
            if (row[k] > row[top]) top = k;
        }
        s.gold[i] = gold;
        s.predicted[i] = top;
    }
    qn_classification_input in = {n, classes, s.gold, s.predicted, s.probability};
    assert_int_equal(qn_classification_measure(&in, &s.metrics), QN_OK);
    return s;
}

static void free_classes(sample_classes *s) {
    free(s->gold);
    free(s->predicted);
    free(s->probability);
    qn_classification_free(&s->metrics);
}

static const char *const glosses[] = {
    "a shallow area in which water flows over rocks, used by the villagers as a place to wash clothes",
    "the act of putting something in a certain place",
    "any of several tropical American woody plants with showy flowers that are grown as ornamentals",
    "a unit of weight used in Russia; equal to 36.11 pounds",
    "someone who is employed to deliver messages or documents; \"he sent a runner over with the contract\"",
    "the quality of being unable to be perceived by the senses < or described > & yet present",
    "a gathering of people for the purpose of playing music together, often at short notice and without a fee, in "
    "which those who listen "
    "are expected to join in sooner or later, and where nobody minds a wrong note as long as it is played with "
    "conviction, on the beat, "
    "and not more often than can be put down to the instrument, the weather, the beer or the acoustics of the room",
    "a feeling of great happiness"};

static qn_report common_report(const qn_history *history) {
    static const qn_report_fact facts[] = {{"Layers", "3"},
                                           {"Width", "192 (4 heads of 48, feed-forward 768)"},
                                           {"Vocabulary", "8,192 word pieces"},
                                           {"Longest sequence", "128 tokens"},
                                           {"Validation", "data/wordnet/validation.tsv, 8,211 examples"}};
    qn_report r;
    qn_report_init(&r);
    r.date = "2026-11-24 21:05";
    r.version = "0.1.0";
    r.history = history;
    r.facts = facts;
    r.n_facts = sizeof facts / sizeof *facts;
    r.parameters = 3206426;
    r.seconds = 425.3;
    r.tokens = 4018211;
    r.padded_tokens = 4018211 * 2.57;
    r.peak_memory = 412000000;
    r.cpu = "AMD EPYC 9R14";
    r.instruction_set = "AVX-512 (VNNI, BF16)";
    r.dtype = "float32";
    r.engine = "oneDNN 2.6.3";
    r.threads = 2;
    return r;
}

static json_t *sample_arguments(void) {
    json_t *arguments = NULL;
    const char text[] =
        "{\"task\": \"classify\", \"model\": \"demo/pretrained\", \"train_file\": \"data/wordnet/train.tsv\","
        "\"validation_file\": \"data/wordnet/validation.tsv\", \"learning_rate\": 0.0002, \"num_train_epochs\": 4,"
        "\"batch_tokens\": 1024, \"warmup_ratio\": 0.1, \"weight_decay\": 0.01, \"label_smoothing\": 0.1,"
        "\"dropout\": 0.2, \"seed\": 42, \"lr_scheduler_type\": \"linear\", \"max_seq_length\": 128,"
        "\"gradient_clip\": 1.0, \"early_stopping\": null, \"class_weights\": [1, 2.5], \"resume\": false}";
    assert_int_equal(qn_json_parse(text, sizeof text - 1, "args.json", &arguments), QN_OK);
    return arguments;
}

// The page must be writable and read back as it was made; the file stays for people to look at.
static void keep(const qn_report *report, const char *name) {
    char path[512];
    qn_buffer page = {0}, again = {0};
    page_of(report, &page);
    page_of(report, &again);
    assert_string_equal(page.data, again.data);
    snprintf(path, sizeof path, "%s/%s", QN_BINARY_DIR, name);
    assert_int_equal(qn_report_write(report, path), QN_OK);
    qn_buffer_clear(&again);
    assert_int_equal(qn_read_file(path, 1 << 25, &again), QN_OK);
    assert_string_equal(page.data, again.data);
    assert_true(page.size < 1 << 20);
    qn_buffer_free(&page);
    qn_buffer_free(&again);
}

// Protects: a full classification report is well-formed and equal bytes each time.
static void classification_page(void **state) {
    (void)state;
    qn_history history = sample_log(false);
    sample_classes s = classify(EXAMPLES, TOPICS, topic_share);
    qn_report r = common_report(&history);
    qn_mistake errors[12];
    size_t worst[12];
    qn_classification_input in = {EXAMPLES, TOPICS, s.gold, s.predicted, s.probability};
    size_t n = qn_worst_classified(&in, worst, 12);
    for (size_t i = 0; i < n; i++) {
        const float *row = s.probability + worst[i] * TOPICS;
        errors[i] = (qn_mistake){glosses[i % 8],           NULL,
                                      topics[s.gold[worst[i]]], topics[s.predicted[worst[i]]],
                                      row[s.gold[worst[i]]],    row[s.predicted[worst[i]]]};
    }
    qn_report_fact warnings[] = {
        {"Cut texts:", "41 of 65,692 training texts are longer than 128 tokens and were cut"},
        {"Invalid UTF-8:", "12 bytes in 3 lines of data/wordnet/train.tsv were replaced by U+FFFD"}};
    r.title = "Topics of WordNet glosses";
    r.task = "Classification";
    r.model = "from scratch, 3 layers of width 192, pre-trained on 2.0 M tokens of glosses";
    r.data = "data/wordnet/train.tsv, 65,692 examples, 26 topics";
    r.command =
        "quern finetune --task classify --model demo/pretrained --train-file data/wordnet/train.tsv --validation-file "
        "data/wordnet/validation.tsv --num-train-epochs 4 --learning-rate 2e-4 --output-dir demo/topics";
    r.best_metric = "macro_f1";
    r.best_value = 0.7948;
    r.best_step = 214 * 11;
    r.eval_name = "test, 8,212 examples";
    r.classification = &s.metrics;
    r.labels = topics;
    r.errors = errors;
    r.n_errors = n;
    r.warnings = warnings;
    r.n_warnings = 2;
    json_t *arguments = sample_arguments();
    r.arguments = arguments;
    keep(&r, "report-classify.html");
    json_decref(arguments);
    free_classes(&s);
    qn_history_free(&history);
}

// Protects: pre-training has curves of masked accuracy and perplexity and no results; regression has a scatter plot.
static void other_pages(void **state) {
    (void)state;
    qn_history history = sample_log(true);
    qn_report r = common_report(&history);
    r.title = "A small BERT of English glosses";
    r.task = "Masked language modelling";
    r.model = "from scratch, 3 layers of width 192";
    r.data = "data/wordnet/pretrain.txt.gz, 2.0 M tokens an epoch";
    r.best_metric = "loss";
    r.best_value = 2.76;
    r.best_step = 214 * 11;
    keep(&r, "report-pretrain.html");

    enum { PAIRS = 1379 };
    float gold[PAIRS], predicted[PAIRS];
    qn_rng rng = {3, 0, 0};
    for (int i = 0; i < PAIRS; i++) {
        gold[i] = (float)(round(5 * qn_rng_real(&rng) * 5) / 5);
        predicted[i] = (float)fmin(fmax(0.3 + 0.88 * gold[i] + 0.5 * qn_rng_normal(&rng), 0), 5);
    }
    qn_regression metrics;
    assert_int_equal(qn_regression_measure(gold, predicted, PAIRS, &metrics), QN_OK);
    size_t worst[8];
    qn_mistake errors[8];
    size_t n = qn_worst_regressed(gold, predicted, PAIRS, worst, 8);
    for (size_t i = 0; i < n; i++)
        errors[i] = (qn_mistake){glosses[i], glosses[7 - i], NULL, NULL, gold[worst[i]], predicted[worst[i]]};
    r.title = "Similarity of sentence pairs";
    r.task = "Regression";
    r.best_metric = "pearson";
    r.best_value = metrics.pearson;
    r.regression = &metrics;
    r.gold = gold;
    r.predicted = predicted;
    r.n_points = PAIRS;
    r.errors = errors;
    r.n_errors = n;
    r.eval_name = "test, 1,379 pairs";
    keep(&r, "report-regress.html");
    qn_history_free(&history);
}

// Protects: 2, 3, 10, 60, 100 and more classes, and several labels, all have their page.
static void any_number_of_classes(void **state) {
    (void)state;
    static char names[150][24];
    const char *labels[150];
    const int32_t counts[] = {1, 2, 3, 10, 60, 100, 101, 150};
    for (int k = 0; k < 150; k++) {
        snprintf(names[k], sizeof names[k], "class number %d", k * 37);
        labels[k] = names[k];
    }
    for (size_t i = 0; i < sizeof counts / sizeof *counts; i++) {
        sample_classes s = classify(1500, counts[i], NULL);
        qn_report r = common_report(NULL);
        r.title = "Many classes";
        r.classification = &s.metrics;
        r.labels = labels;
        char name[64];
        snprintf(name, sizeof name, "report-classes-%d.html", (int)counts[i]);
        keep(&r, name);
        free_classes(&s);
    }
    uint8_t gold[40];
    float score[40];
    for (int i = 0; i < 40; i++) {
        gold[i] = i % 3 == 0;
        score[i] = (float)(i % 7) / 7;
    }
    qn_multilabel metrics;
    assert_int_equal(qn_multilabel_measure(&(qn_multilabel_input){10, 4, gold, score, 0.5}, &metrics), QN_OK);
    qn_report r = common_report(NULL);
    r.multilabel = &metrics;
    r.labels = labels;
    keep(&r, "report-multilabel.html");
    qn_multilabel_free(&metrics);
}

// Protects: a run that did nothing, one step, and values that are all null still give a whole page.
static void almost_nothing(void **state) {
    (void)state;
    const char *logs[] = {
        "",
        "{\"event\": \"train\", \"step\": 1, \"epoch\": 0.1, \"loss\": 2.5, \"learning_rate\": 0, \"grad_norm\": 0}\n",
        "{\"event\": \"train\", \"step\": 1, \"loss\": null, \"grad_norm\": null}\n"
        "{\"event\": \"eval\", \"step\": 1, \"eval_loss\": null, \"eval_accuracy\": null}\n",
        "{\"event\": \"eval\", \"step\": 0, \"eval_loss\": 0, \"eval_accuracy\": 0}\n",
        "{\"event\": \"train\", \"step\": 1, \"loss\": 1e300}\n{\"event\": \"train\", \"step\": 2, \"loss\": -1e29}\n",
        "{\"event\": \"train\", \"step\": 9007199254740993, \"loss\": 1}\n"
        "{\"event\": \"train\", \"step\": 9007199254740995, \"loss\": 1.0000000000001}\n"};
    for (size_t i = 0; i < sizeof logs / sizeof *logs; i++) {
        qn_history history;
        qn_report r;
        qn_buffer page = {0};
        assert_int_equal(qn_history_parse(logs[i], strlen(logs[i]), "log", &history), QN_OK);
        qn_report_init(&r);
        r.history = &history;
        page_of(&r, &page);
        qn_buffer_free(&page);
        qn_history_free(&history);
    }
    qn_report r;
    qn_buffer page = {0};
    qn_report_init(&r);
    page_of(&r, &page);
    qn_buffer_free(&page);
}

// Protects: no text of the run can become markup or script, wherever it stands, nor break the page by being long or
// broken UTF-8.
static void hostile_texts(void **state) {
    (void)state;
    const char bad[] = "</script><script>alert(1)</script><img src=x onerror=alert(1)>\"'&\xff\xf0\x9f\x1b[31m</td>";
    const char log[] = "{\"event\": \"train\", \"step\": 1, \"loss\": 2.5}\n"
                       "{\"event\": \"eval\", \"step\": 1, \"eval_<b onclick=x>&\": 2.5}\n"
                       "{\"event\": \"skip\", \"step\": 1, \"reason\": \"<i>\\\"</script>\"}\n"
                       "{\"event\": \"warning\", \"step\": 1, \"message\": \"<i>\\\"</script>\"}\n";
    qn_history history;
    assert_int_equal(qn_history_parse(log, sizeof log - 1, "log", &history), QN_OK);
    char *longest = malloc(100001);
    memset(longest, 'x', 100000);
    longest[100000] = 0;
    const char *labels[] = {bad, longest};
    sample_classes s = classify(50, 2, NULL);
    qn_mistake errors[] = {{bad, bad, bad, bad, NAN, 0.5}, {longest, NULL, NULL, longest, 0.1, NAN}};
    qn_report_fact facts[] = {{bad, bad}, {longest, NULL}};
    json_t *arguments = json_pack("{s:s, s:[s]}", "<key>&\"", "<value>&\"", "k", "<in list>");
    qn_report r;
    qn_report_init(&r);
    r.title = r.task = r.model = r.data = r.date = r.command = r.version = r.eval_name = bad;
    r.cpu = r.instruction_set = r.dtype = r.engine = bad;
    r.best_metric = "<b>_&";
    r.best_value = 0.5;
    r.facts = r.warnings = facts;
    r.n_facts = r.n_warnings = 2;
    r.history = &history;
    r.classification = &s.metrics;
    r.labels = labels;
    r.errors = errors;
    r.n_errors = 2;
    r.arguments = arguments;
    qn_buffer page = {0};
    page_of(&r, &page);
    assert_null(strstr(page.data, "<script>alert"));
    assert_null(strstr(page.data, "<img"));
    assert_null(strchr(page.data, '\x1b'));
    assert_true(page.size < 600000);
    qn_buffer_free(&page);
    json_decref(arguments);
    free(longest);
    free_classes(&s);
    qn_history_free(&history);
}

// Protects: wherever memory ends, the page fails with that message, and nothing is lost or read through NULL.
static void out_of_memory(void **state) {
    (void)state;
    const char log[] = "{\"event\": \"train\", \"step\": 1, \"loss\": 2.5, \"accuracy\": 0.5, \"grad_norm\": 1, "
                       "\"learning_rate\": 1}\n"
                       "{\"event\": \"eval\", \"step\": 1, \"eval_loss\": 2.5, \"eval_accuracy\": 0.5}\n"
                       "{\"event\": \"train\", \"step\": 2, \"loss\": 2.4, \"tokens_per_second\": 9}\n";
    qn_history history;
    sample_classes s = classify(50, 3, NULL);
    const char *labels[] = {"a", "b", "c"};
    assert_int_equal(qn_history_parse(log, sizeof log - 1, "log", &history), QN_OK);
    qn_report r = common_report(&history);
    r.best_metric = "loss";
    r.best_value = 2.5;
    r.best_step = 1;
    r.classification = &s.metrics;
    r.labels = labels;
    qn_status status = QN_ERROR_MEMORY;
    for (size_t allowed = 0; status != QN_OK; allowed++) {
        qn_buffer page = {0};
        test_fail_allocations_after(allowed);
        status = qn_report_html(&r, &page);
        test_fail_allocations_off();
        assert_true(status == QN_OK || status == QN_ERROR_MEMORY);
        qn_buffer_free(&page);
    }
    for (size_t allowed = 0; allowed < 40; allowed++) {
        qn_history copy;
        test_fail_allocations_after(allowed);
        status = qn_history_parse(log, sizeof log - 1, "log", &copy);
        test_fail_allocations_off();
        assert_true(status == QN_OK || status == QN_ERROR_MEMORY || status == QN_ERROR_FORMAT);
        qn_history_free(&copy);
    }
    free_classes(&s);
    qn_history_free(&history);
}

// Protects: plots leave out what cannot be drawn and keep long lines short, spikes included.
static void plots(void **state) {
    (void)state;
    enum { POINTS = 100000 };
    double *x = malloc(2 * POINTS * sizeof *x), *y = x + POINTS;
    for (int i = 0; i < POINTS; i++) {
        x[i] = i;
        y[i] = i == 77777 ? 1234.5 : i % 100 == 3 ? NAN : 1 + i % 7;
    }
    qn_line_plot plot = {.title = "Long", .x_label = "step", .log_switch = true, .n_series = 1};
    plot.series[0] = (qn_plot_series){"value", x, y, POINTS, QN_PLOT_LINE, 1};
    qn_buffer out = {0};
    qn_plot_lines(&plot, &out);
    check_page(&out);
    assert_true(out.size < 60000);
    assert_non_null(strstr(out.data, "1234.5"));
    qn_buffer_clear(&out);
    for (int i = 0; i < 5; i++) y[i] = i % 2 ? INFINITY : NAN;
    plot.series[0].n = 5;
    qn_plot_lines(&plot, &out);
    qn_plot_scatter(&(qn_scatter_plot){.title = "None", .x_label = "x", .x = x, .y = y, .n = 5}, &out);
    qn_plot_bars(&(qn_bar_plot){"None", "x", NULL, 0, 1, "a", NULL, y, NULL, 5}, &out);
    qn_plot_heat_map(&(qn_heat_map){"None", "gold", "predicted", NULL, NULL, 0, NULL, 0}, &out);
    check_page(&out);
    assert_non_null(strstr(out.data, "no data"));
    qn_buffer_free(&out);
    free(x);
}

// Protects: numbers on axes and in tooltips read well.
static void plot_numbers(void **state) {
    (void)state;
    const struct {
        double value;
        int digits;
        const char *text;
    } cases[] = {{0, 4, "0"},
                 {0.30000000000000004, 5, "0.3"},
                 {1234567, 4, "1,234,567"},
                 {2500, 5, "2,500"},
                 {-0.5, 4, "\u22120.5"},
                 {NAN, 3, "\u2013"},
                 {0.00012, 3, "0.00012"},
                 {12345.6, 4, "12,346"}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        qn_buffer text = {0};
        qn_plot_number(cases[i].value, cases[i].digits, &text);
        assert_string_equal(text.data, cases[i].text);
        qn_buffer_free(&text);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(classification_page),
        cmocka_unit_test(other_pages),
        cmocka_unit_test(any_number_of_classes),
        cmocka_unit_test(almost_nothing),
        cmocka_unit_test(hostile_texts),
        cmocka_unit_test(out_of_memory),
        cmocka_unit_test(plots),
        cmocka_unit_test(plot_numbers),
    };
    return cmocka_run_group_tests_name("report", tests, NULL, NULL);
}
