// Beam search writes what transformers' generate() writes, and by CTranslate2's rules what that writes: the same
// tokens, and scores to 1e-4, whatever is searched for at the same time and on any number of threads.
#include "infer/beam.h"
#include "models/golden.h"

typedef struct {
    const char *name;
    qn_search search;
} setting;

// As in SEARCHES of tests/golden/seq2seq/make.py ...
static const int32_t bad[] = {7, 9};
static const setting transformers[] = {
    {"greedy", {.beams = 1, .best = 1, .length_penalty = 1, .first = -1}},
    {"beam", {.beams = 4, .best = 4, .length_penalty = 1, .first = -1}},
    {"short", {.beams = 3, .best = 2, .length_penalty = 0.2f, .stopping = QN_STOP_WHEN_FULL, .first = -1}},
    {"long", {.beams = 4, .best = 1, .length_penalty = 2, .stopping = QN_STOP_NEVER, .min_tokens = 5, .first = -1}},
    {"ngrams", {.beams = 4, .best = 2, .length_penalty = 1, .ngram = 2, .banned = bad, .banned_count = 2, .first = -1}},
    {"forced", {.beams = 4, .best = 4, .length_penalty = 1, .first = 11}},
};
// ... and of tests/golden/ct2_models/make.py.
#define CT2 .first = -1, .rules = QN_RULES_CTRANSLATE2, .renormalize = true
static const setting ctranslate2[] = {
    {"greedy", {.beams = 1, .best = 1, .length_penalty = 1, .min_tokens = 1, CT2}},
    {"beam", {.beams = 4, .best = 4, .length_penalty = 1, .min_tokens = 1, CT2}},
    {"plain", {.beams = 4, .best = 2, .length_penalty = 0, .min_tokens = 1, CT2}},
    {"short", {.beams = 3, .best = 2, .length_penalty = 0.2f, .min_tokens = 1, CT2}},
    {"long", {.beams = 4, .best = 1, .length_penalty = 2, .min_tokens = 5, CT2}},
    {"ngrams", {.beams = 4, .best = 2, .length_penalty = 1, .min_tokens = 1, .ngram = 2, CT2}},
};
enum { SETTINGS = 6, MOST_TOKENS = 24 };

typedef struct {
    const char *name, *search;
    int32_t hidden_end; // that the golden file leaves out; or -1
    const int32_t *ids, *offsets;
    const float *scores;
    size_t best, next;
} expected;

static qn_status receive(void *user, const qn_hypothesis *h) {
    expected *e = user;
    size_t k = h->index * e->best + h->rank;
    assert_int_equal(k, e->next++);
    assert_int_equal(h->last, h->rank + 1 == e->best);
    size_t count = (size_t)(e->offsets[k + 1] - e->offsets[k]), own = h->count;
    if (own > 0 && h->ids[own - 1] == e->hidden_end) own--;
    if (own != count || memcmp(h->ids, e->ids + e->offsets[k], count * sizeof *h->ids) != 0)
        fail_msg("%s, %s: text %zu of source %zu has %zu tokens (expected %zu), or others", e->name, e->search, h->rank,
                 h->index, own, count);
    if (!(fabsf(h->score - e->scores[k]) <= 1e-4f))
        fail_msg("%s, %s: text %zu of source %zu scores %g (expected %g)", e->name, e->search, h->rank, h->index,
                 h->score, e->scores[k]);
    return QN_OK;
}

static size_t special(const qn_network *n, const char *key, int32_t *tokens) {
    const json_t *value = json_object_get(n->config.json, key);
    size_t count = json_is_array(value) ? json_array_size(value) : json_is_integer(value) ? 1 : 0;
    for (size_t i = 0; i < count; i++)
        tokens[i] = (int32_t)json_integer_value(json_is_array(value) ? json_array_get(value, i) : value);
    return count;
}

static void search_case(const char *name, int threads, size_t batch_tokens) {
    char folder[512], file[600], key[100];
    bool ct2 = !strncmp(name, "ct2", 3);
    const setting *settings = ct2 ? ctranslate2 : transformers;
    snprintf(folder, sizeof folder, "%s/tests/golden/%s", QN_SOURCE_DIR, name);
    snprintf(file, sizeof file, "%s/%s.safetensors", folder, ct2 ? "search" : "golden");
    qn_model_config config;
    qn_network *network;
    qn_weights *golden;
    qn_context c = {.arena = qn_arena_create(1 << 20), .records = qn_arena_create(1 << 16), .loss_scale = 1};
    assert_ok(qn_model_config_read(folder, &config));
    assert_ok(qn_network_load(&config, folder, &(qn_network_options){.heads = QN_HEAD_LM}, &network));
    assert_ok(qn_weights_open(file, &golden));
    assert_ok(qn_backend_create_cpu(threads, NULL, &c.backend));
    assert_ok(qn_encoder_pack(&network->encoder, c.backend, QN_DTYPE_F32, NULL));
    assert_ok(qn_encoder_pack(&network->decoder_stack, c.backend, QN_DTYPE_F32, NULL));
    qn_encode_options encode = qn_encode_defaults();
    qn_model *m;
    assert_ok(qn_model_lend(network, NULL, &c, &encode, &m));
    m->batch_tokens = batch_tokens;
    size_t count;
    int32_t *ids = golden_i32(golden, "ids", NULL), *offsets = golden_i32(golden, "offsets", &count);
    qn_sequences sources = {0};
    for (size_t i = 0; i + 1 < count; i++) {
        for (int32_t t = offsets[i]; t < offsets[i + 1]; t++) assert_ok(qn_sequences_put(&sources, ids[t]));
        assert_ok(qn_sequences_close(&sources, offsets[i + 1] - offsets[i]));
    }
    int32_t ends[8], last = -1, start = network->config.pad_id, *end = golden_i32(golden, "end", NULL);
    size_t end_count = special(network, "eos_token_id", ends), banned_count = 0;
    special(network, "forced_eos_token_id", &last);
    if (!special(network, "decoder_start_token_id", &start)) start = ct2 ? 2 : 0; // mBART's: <s>
    if (end) ends[0] = *end, end_count = 1;
    const json_t *words = json_object_get(network->config.json, "bad_words_ids"); // Marian's padding
    int32_t padding = (int32_t)json_integer_value(json_array_get(json_array_get(words, 0), 0));
    if (ct2) banned_count = json_array_size(words);
    for (size_t i = 0; i < SETTINGS; i++) {
        qn_search s = settings[i].search;
        s.max_tokens = MOST_TOKENS;
        s.start = start;
        s.last = last;
        s.ends = ends, s.end_count = end_count;
        if (banned_count) s.banned = &padding, s.banned_count = banned_count;
        expected e = {.name = name, .search = settings[i].name, .hidden_end = end ? *end : -1, .best = s.best};
        snprintf(key, sizeof key, "search.%s.ids", e.search);
        int32_t *texts = golden_i32(golden, key, NULL);
        snprintf(key, sizeof key, "search.%s.offsets", e.search);
        int32_t *begins = golden_i32(golden, key, NULL);
        snprintf(key, sizeof key, "search.%s.scores", e.search);
        float *scores = golden_f32(golden, key, NULL);
        e.ids = texts, e.offsets = begins, e.scores = scores;
        assert_ok(qn_beam_search(m, &s, &(qn_sources){&sources, NULL, sources.count}, receive, &e));
        assert_int_equal(e.next, (count - 1) * s.best);
        free(texts), free(begins), free(scores);
    }
    qn_encoder_unpack(&network->encoder, c.backend);
    qn_encoder_unpack(&network->decoder_stack, c.backend);
    qn_model_close(m);
    qn_sequences_free(&sources);
    free(ids), free(offsets), free(end);
    qn_weights_close(golden);
    qn_network_free(network);
    qn_backend_destroy(c.backend);
    qn_arena_destroy(c.arena);
    qn_arena_destroy(c.records);
}

static void test_case(void **state) {
    search_case(*state, 2, 2048);
    search_case(*state, 1, 1); // one source after the other
    search_case(*state, 3, 60);
}

static const char *const cases[] = {"seq2seq/marian",    "seq2seq/marian-two-vocabularies",
                                    "seq2seq/bart",      "seq2seq/mbart",
                                    "seq2seq/t5",        "seq2seq/t5-gated",
                                    "ct2_models/marian", "ct2_models/bart",
                                    "ct2_models/mbart",  "ct2_models/t5"};

int main(void) {
    enum { CASES = sizeof cases / sizeof *cases };
    struct CMUnitTest tests[CASES];
    for (size_t i = 0; i < CASES; i++)
        tests[i] = (struct CMUnitTest){cases[i], test_case, NULL, NULL, (void *)(uintptr_t)cases[i]};
    return _cmocka_run_group_tests("beam", tests, CASES, NULL, NULL);
}
