// Tags: their scheme, the entities that a sequence of tags means, and entity scores equal to seqeval's.
#pragma once
#include "metrics/metrics.h"

// What the labels of a tagger mean. BIO (IOB2) and IOB1 have B- and I-, BIOES (IOBES) also E- and S-, BILOU calls these
// L- and U-. Labels without such prefixes, as of parts of speech, are plain: each word is an entity of its own.
typedef struct {
    char prefix;  // 'O', 'B', 'I', 'E' or 'S'
    int32_t type; // -1 for O
} qn_tag_kind;
typedef struct {
    size_t labels, types;
    qn_tag_kind *kinds; // [labels]
    char **names;       // [types] sorted: "LOC", "PER"
    bool plain, ended;  // ended: BIOES or BILOU
    bool constrained;   // some sequences of tags are not legal; not so in plain schemes and in IOB1
} qn_tag_scheme;
qn_status qn_tag_scheme_init(const char *const *labels, size_t count, qn_tag_scheme *out);
void qn_tag_scheme_free(qn_tag_scheme *scheme);

// An entity: words first .. last.
typedef struct {
    int32_t type;
    uint32_t first, last;
} qn_entity;
// The entities of tags [n] into out [n], in order; returns how many. As seqeval's default mode finds them, in which an
// I- may begin one; or, `strict`, as its mode "strict" with IOB2 or IOBES does, in which what is not well-formed is
// none.
size_t qn_tag_entities(const qn_tag_scheme *scheme, const int32_t *tags, size_t n, bool strict, qn_entity *out);

// The most probable legal sequence of tags (Viterbi 1967): scores [n, labels] are logits, tags [n]. The legal ones are
// those that strict mode reads to the last word. Not `constrained`, or in a scheme where all are legal, it is the best
// tag of each word.
qn_status qn_tag_decode(const qn_tag_scheme *scheme, const float *scores, size_t n, bool constrained, int32_t *tags);

typedef struct {
    double precision, recall, f1;                   // of all entities together
    double macro_precision, macro_recall, macro_f1; // means over the types that occur in gold or prediction
    double weighted_f1;                             // by support
} qn_entity_scores;

typedef struct {
    size_t sentences, words;
    double accuracy; // of words
    qn_entity_scores lenient, strict;
    size_t types;
    qn_class_score *per_type; // [types], lenient; those of the scheme
} qn_tagging;

// gold, predicted: tags of all sentences, one after the other; sentence i is [offsets[i], offsets[i+1]). An undefined
// precision or recall is 0 in every mean, as in seqeval. `out` is to be freed, also after a failure.
qn_status qn_tagging_measure(const qn_tag_scheme *scheme, size_t sentences, const size_t *offsets, const int32_t *gold,
                             const int32_t *predicted, qn_tagging *out);
void qn_tagging_free(qn_tagging *metrics);
size_t qn_tagging_scalars(const qn_tagging *metrics, qn_metric out[QN_METRICS_MAX]);
// {"task": "tag", "sentences": n, "words": w, "accuracy": ..., "precision": ..., "recall": ..., "f1": ..., "macro_f1":
//  ..., "weighted_f1": ..., "strict": {...}, "constrained": {...}, "per_type": [{"type", "precision", "recall", "f1",
//  "support", "predicted"}, ...]}; `constrained` may be NULL.
void qn_tagging_json(const qn_tagging *metrics, const qn_tag_scheme *scheme, const qn_entity_scores *constrained,
                     qn_buffer *out);
