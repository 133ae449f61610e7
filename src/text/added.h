// Added tokens: strings that are cut out of a text before anything else is done with it, special tokens above all.
#pragma once
#include "text/trie.h"

typedef struct {
    char *content;
    size_t size;
    int32_t id;
    bool single_word; // only where no letter or digit touches it
    bool lstrip;      // takes the white space to its left
    bool rstrip;      // and to its right
    bool normalized;  // looked for in the normalised text, in its own normalised form
    bool special;
} qn_added_token;

typedef struct {
    qn_added_token *tokens;
    size_t count, capacity;
    uint32_t *index; // by content: number of the token + 1, 0 where free
    size_t index_mask;
    // Filled by qn_added_finish, [0] for the raw text and [1] for the normalised one; the tries give indices into
    // tokens.
    qn_trie tries[2];
    size_t trie_counts[2];
    uint8_t first[2][256]; // bytes that a token begins with
    int only_first[2];     // the byte, where all begin with the same one; else -1
} qn_added;

// A token with the same content is replaced. The content is copied.
qn_status qn_added_add(qn_added *added, const qn_added_token *token, const char *content, size_t size);
// `normalize` gives the normalised form of a token's content in a buffer that it owns until the next call.
typedef qn_status (*qn_added_normalizer)(void *user, const char *text, size_t size, const char **out, size_t *out_size);
qn_status qn_added_finish(qn_added *added, qn_added_normalizer normalize, void *user);
void qn_added_free(qn_added *added);
const qn_added_token *qn_added_by_content(const qn_added *added, const char *content, size_t size);

typedef struct {
    const qn_added_token *token;
    size_t start, end; // with the white space it takes
} qn_added_match;

// The next token in text[0, size), looked for from *search on (which moves behind what was found); `done` is the end of
// the match before.
bool qn_added_find(const qn_added *added, bool normalized, const char *text, size_t size, size_t done, size_t *search,
                   qn_added_match *match);
