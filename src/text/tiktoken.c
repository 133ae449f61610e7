// Reads tiktoken's files, lines of a token in base64 and its rank, by writing them as one tokenizer.json. A file has
// neither pattern nor special tokens: they come with the name of the encoding.
#include "base/memory.h"
#include "text/pipeline.h"
#include <stdlib.h>
#include <string.h>

enum { LONGEST_TOKEN = 512, MAX_SPECIAL = 5, BYTES = 256 };

// tiktoken takes white space at the end of a text as one piece, hence \s+\z.
#define BEHIND_WORDS "\\s+\\z|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+"
#define CONTRACTIONS "(?i:'s|'t|'re|'ve|'m|'ll|'d)"
#define UPPER "[\\p{Lu}\\p{Lt}\\p{Lm}\\p{Lo}\\p{M}]"
#define LOWER "[\\p{Ll}\\p{Lm}\\p{Lo}\\p{M}]"
static const char cl100k[] =
    CONTRACTIONS "|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}{1,3}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|" BEHIND_WORDS;
static const char o200k[] = "[^\\r\\n\\p{L}\\p{N}]?" UPPER "*" LOWER "+" CONTRACTIONS "?"
                            "|[^\\r\\n\\p{L}\\p{N}]?" UPPER "+" LOWER "*" CONTRACTIONS "?"
                            "|\\p{N}{1,3}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n/]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+";

typedef struct {
    const char *name, *pattern; // NULL: GPT-2's, which the pre-tokenizer ByteLevel has
    size_t ranks;               // in the published file, which has these special tokens
    struct {
        const char *token;
        int32_t id;
    } special[MAX_SPECIAL];
} encoding;

#define END "<|endoftext|>"
static const encoding encodings[] = {
    {"gpt2", NULL, 50256, {{END, 50256}}},
    {"r50k_base", NULL, 50256, {{END, 50256}}},
    {"p50k_base", NULL, 50280, {{END, 50256}}},
    {"p50k_edit",
     NULL,
     50280,
     {{END, 50256}, {"<|fim_prefix|>", 50281}, {"<|fim_middle|>", 50282}, {"<|fim_suffix|>", 50283}}},
    {"cl100k_base",
     cl100k,
     100256,
     {{END, 100257},
      {"<|fim_prefix|>", 100258},
      {"<|fim_middle|>", 100259},
      {"<|fim_suffix|>", 100260},
      {"<|endofprompt|>", 100276}}},
    {"o200k_base", o200k, 199998, {{END, 199999}, {"<|endofprompt|>", 200018}}},
};
enum { ENCODINGS = sizeof encodings / sizeof encodings[0] };

// --- The lines of the file ------------------------------------------------------------------------------------------

typedef struct {
    char *bytes; // of all tokens
    size_t byte_count, byte_capacity;
    struct ranked {
        size_t start;
        uint32_t size;
        int32_t rank;
    } * tokens; // in the order of their ranks, after reading
    size_t count, capacity;
    qn_trie trie; // tokens to ranks
} ranks;

static void free_ranks(ranks *r) {
    free(r->bytes);
    free(r->tokens);
    qn_trie_free(&r->trie);
}

static int digit_of(char c) {
    if (c >= 'A' && c <= 'Z') return c - 'A';
    if (c >= 'a' && c <= 'z') return c - 'a' + 26;
    if (c >= '0' && c <= '9') return c - '0' + 52;
    return c == '+' ? 62 : c == '/' ? 63 : -1;
}

// The bytes of text[0, size) in base64; SIZE_MAX where it is none, or is longer than a token may be.
static size_t decode_base64(const char *text, size_t size, uint8_t out[LONGEST_TOKEN]) {
    while (size > 0 && text[size - 1] == '=') size--;
    size_t count = size / 4 * 3 + (size % 4 > 0 ? size % 4 - 1 : 0);
    if (size % 4 == 1 || count == 0 || count > LONGEST_TOKEN) return SIZE_MAX;
    uint32_t bits = 0;
    for (size_t i = 0, at = 0; i < size; i++) {
        int digit = digit_of(text[i]);
        if (digit < 0) return SIZE_MAX;
        bits = bits << 6 | (uint32_t)digit;
        if (i % 4 > 0) out[at++] = (uint8_t)(bits >> (6 - 2 * (i % 4)));
    }
    return count;
}

static bool read_rank(const char *text, size_t size, int32_t *rank) {
    int64_t value = 0;
    for (size_t i = 0; i < size && value <= QN_MAX_TOKEN_ID; i++) {
        if (text[i] < '0' || text[i] > '9') return false;
        value = 10 * value + (text[i] - '0');
    }
    *rank = (int32_t)value;
    return size > 0 && value <= QN_MAX_TOKEN_ID;
}

static qn_status read_line(ranks *r, const char *path, size_t number, const char *line, size_t size) {
    uint8_t token[LONGEST_TOKEN];
    const char *space = memchr(line, ' ', size);
    size_t encoded = space ? (size_t)(space - line) : size, length = decode_base64(line, encoded, token);
    int32_t rank;
    if (!space || length == SIZE_MAX || !read_rank(space + 1, size - encoded - 1, &rank))
        return qn_fail(QN_ERROR_FORMAT,
                       "%s:%zu: not a tiktoken line (expected 1 to %d bytes in base64, a space, and a rank up to %d)",
                       path, number, LONGEST_TOKEN, QN_MAX_TOKEN_ID);
    QN_TRY(qn_grow((void **)&r->bytes, &r->byte_capacity, r->byte_count + length, 1));
    QN_TRY(qn_grow((void **)&r->tokens, &r->capacity, r->count + 1, sizeof *r->tokens));
    memcpy(r->bytes + r->byte_count, token, length);
    r->tokens[r->count++] = (struct ranked){r->byte_count, (uint32_t)length, rank};
    r->byte_count += length;
    return QN_OK;
}

static int by_rank(const void *left, const void *right) {
    const struct ranked *a = left, *b = right;
    return a->rank < b->rank ? -1 : a->rank > b->rank;
}

static qn_status read_ranks(ranks *r, const char *path, const char *text, size_t size) {
    size_t number = 1;
    for (size_t i = 0; i < size; number++) {
        const char *line = text + i, *newline = memchr(line, '\n', size - i);
        size_t length = newline ? (size_t)(newline - line) : size - i;
        i += length + 1;
        if (length > 0 && line[length - 1] == '\r') length--;
        if (length > 0) QN_TRY(read_line(r, path, number, line, length));
    }
    if (r->count > 0) qsort(r->tokens, r->count, sizeof *r->tokens, by_rank);
    for (size_t i = 1; i < r->count; i++)
        if (r->tokens[i].rank == r->tokens[i - 1].rank)
            return qn_fail(QN_ERROR_FORMAT, "%s: two tokens have the rank %d", path, r->tokens[i].rank);
    qn_trie_entry *entries = qn_malloc(r->count + 1, sizeof *entries);
    if (!entries) return QN_ERROR_MEMORY;
    for (size_t i = 0; i < r->count; i++)
        entries[i] = (qn_trie_entry){r->bytes + r->tokens[i].start, r->tokens[i].size, r->tokens[i].rank};
    qn_status status = qn_trie_build(&r->trie, entries, r->count);
    free(entries);
    QN_TRY(status);
    if (r->trie.duplicates > 0) return qn_fail(QN_ERROR_FORMAT, "%s: a token stands there twice", path);
    for (int byte = 0; byte < BYTES; byte++) {
        int32_t node = qn_trie_step(&r->trie, QN_TRIE_ROOT, (uint8_t)byte);
        if (node < 0 || r->trie.cells[node].value < 0)
            return qn_fail(QN_ERROR_FORMAT, "%s: the byte 0x%02X has no rank (expected all %d single bytes)", path,
                           (unsigned)byte, BYTES);
    }
    return QN_OK;
}

// --- tokenizer.json -------------------------------------------------------------------------------------------------

// A token as GPT-2's characters, without quotes: bytes that JSON escapes are among the printable ones.
static void put_token(const char *token, size_t size, qn_buffer *out) {
    for (size_t i = 0; i < size; i++) {
        uint32_t code = qn_byte_character((uint8_t)token[i]);
        if (code == '"' || code == '\\') qn_buffer_char(out, '\\');
        if (code >= 0x80) qn_buffer_char(out, (char)(0xC0 | code >> 6));
        qn_buffer_char(out, (char)(code < 0x80 ? code : 0x80 | (code & 0x3F)));
    }
}

typedef struct {
    int32_t left, right; // ranks
    size_t left_size;
} cut;

// All pairs of tokens that `token` can be made of, since tiktoken joins any neighbours that are a token together; those
// of lower ranks first, as transformers writes them.
static void put_merges_of(const ranks *r, const struct ranked *token, bool *first, qn_buffer *out) {
    cut cuts[LONGEST_TOKEN];
    size_t count = 0;
    const char *text = r->bytes + token->start;
    int32_t node = QN_TRIE_ROOT;
    for (size_t size = 1; size < token->size; size++) {
        node = qn_trie_step(&r->trie, node, (uint8_t)text[size - 1]);
        int32_t left = r->trie.cells[node].value;
        int32_t end = left < 0 ? -1 : qn_trie_walk(&r->trie, QN_TRIE_ROOT, text + size, token->size - size);
        int32_t right = end < 0 ? -1 : r->trie.cells[end].value;
        if (right < 0) continue;
        size_t at = count++;
        for (; at > 0 && cuts[at - 1].left > left; at--) cuts[at] = cuts[at - 1];
        cuts[at] = (cut){left, right, size};
    }
    for (size_t i = 0; i < count; i++) {
        qn_buffer_text(out, *first ? "\n\"" : ",\n\"");
        put_token(text, cuts[i].left_size, out);
        qn_buffer_char(out, ' ');
        put_token(text + cuts[i].left_size, token->size - cuts[i].left_size, out);
        qn_buffer_char(out, '"');
        *first = false;
    }
}

// The published file has the special tokens at their places; in any other they follow behind the last rank.
static void put_special_tokens(const ranks *r, const encoding *e, qn_buffer *out) {
    bool published = r->count == e->ranks;
    qn_buffer_text(out, "\"added_tokens\": [");
    for (int32_t i = 0; i < MAX_SPECIAL && e->special[i].token; i++)
        qn_buffer_printf(out,
                         "%s\n{\"id\": %d, \"content\": \"%s\", \"single_word\": false, \"lstrip\": false, \"rstrip\": "
                         "false, \"normalized\": false, \"special\": true}",
                         i > 0 ? "," : "", published ? e->special[i].id : r->tokens[r->count - 1].rank + 1 + i,
                         e->special[i].token);
    qn_buffer_text(out, "],\n\"normalizer\": null,\n");
}

static qn_status put_json(const ranks *r, const encoding *e, qn_buffer *out) {
    static const char byte_level[] = "{\"type\": \"ByteLevel\", \"add_prefix_space\": false, \"trim_offsets\": false, "
                                     "\"use_regex\": ";
    qn_buffer_text(out, "{\"version\": \"1.0\", \"truncation\": null, \"padding\": null,\n");
    put_special_tokens(r, e, out);
    qn_buffer_text(out, "\"pre_tokenizer\": ");
    if (e->pattern) {
        qn_buffer_text(
            out, "{\"type\": \"Sequence\", \"pretokenizers\": [\n{\"type\": \"Split\", \"pattern\": {\"Regex\": ");
        qn_buffer_json_string(out, e->pattern, strlen(e->pattern));
        qn_buffer_printf(out, "}, \"behavior\": \"Isolated\", \"invert\": false},\n%sfalse}]},\n", byte_level);
    } else {
        qn_buffer_printf(out, "%strue},\n", byte_level);
    }
    qn_buffer_printf(out, "\"post_processor\": %strue},\n\"decoder\": %strue},\n", byte_level, byte_level);
    qn_buffer_text(out, "\"model\": {\"type\": \"BPE\", \"dropout\": null, \"unk_token\": null, "
                        "\"continuing_subword_prefix\": null, \"end_of_word_suffix\": null, \"fuse_unk\": false, "
                        "\"byte_fallback\": false, \"ignore_merges\": true,\n\"vocab\": {");
    for (size_t i = 0; i < r->count; i++) {
        qn_buffer_text(out, i > 0 ? ",\n\"" : "\n\"");
        put_token(r->bytes + r->tokens[i].start, r->tokens[i].size, out);
        qn_buffer_printf(out, "\": %d", r->tokens[i].rank);
    }
    qn_buffer_text(out, "},\n\"merges\": [");
    bool first = true;
    for (size_t i = 0; i < r->count; i++) put_merges_of(r, &r->tokens[i], &first, out);
    qn_buffer_text(out, "]}\n}\n");
    return qn_buffer_status(out);
}

// The encoding whose name `name` is, or ends with behind a dot.
static const encoding *find_encoding(const char *name, size_t size) {
    for (size_t i = 0; i < ENCODINGS; i++) {
        size_t length = strlen(encodings[i].name);
        if (size >= length && memcmp(name + size - length, encodings[i].name, length) == 0 &&
            (size == length || name[size - length - 1] == '.'))
            return &encodings[i];
    }
    return NULL;
}

qn_status qn_tiktoken_to_json(const char *path, const void *data, size_t size, const char *name, qn_buffer *out) {
    const char *slash = strrchr(path, '/'), *file = slash ? slash + 1 : path, *dot = strrchr(file, '.');
    const encoding *e = name ? find_encoding(name, strlen(name)) : find_encoding(file, dot ? (size_t)(dot - file) : 0);
    if (!e)
        return qn_fail(QN_ERROR_FORMAT,
                       "%s: %s%s%s does not say which pattern the file is for (expected gpt2, r50k_base, p50k_base, "
                       "p50k_edit, cl100k_base or o200k_base, as in MINE.cl100k_base.tiktoken, or as "
                       "\"tiktoken_encoding\" in tokenizer_config.json)",
                       path, name ? "\"" : "", name ? name : "its name", name ? "\"" : "");
    ranks r = {0};
    qn_status status = read_ranks(&r, path, data, size);
    if (status == QN_OK) status = put_json(&r, e, out);
    free_ranks(&r);
    return status;
}
