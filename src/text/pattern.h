// What Replace and Split look for: a string, or a regular expression (PCRE2) whose matching is bounded, since patterns
// come from files and texts from anywhere.
#pragma once
#include "base/status.h"

typedef struct qn_pattern qn_pattern;
// `source` names the file for messages.
qn_status qn_pattern_create(const char *source, const char *text, size_t size, bool expression, qn_pattern **out);
void qn_pattern_free(qn_pattern *pattern);

// What matching needs beside the pattern; belongs to one thread. Start from zeros.
typedef struct {
    void *match;
} qn_pattern_room;
void qn_pattern_room_free(qn_pattern_room *room);

// The next match in text[0, size), valid UTF-8, from `at` on. *found is false where there is none.
qn_status qn_pattern_find(const qn_pattern *pattern, qn_pattern_room *room, const char *text, size_t size, size_t at,
                          bool *found, size_t *start, size_t *end);
