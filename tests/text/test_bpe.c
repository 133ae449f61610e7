// Byte-pair encoding beside the definition, on models that no trainer would make: any merges in any order.
#include "support.h"
#include "text/bpe.h"
#include "text/steps.h"

enum { BYTES = 256, MERGES = 60, TOKENS = BYTES + MERGES, LONGEST_WORD = 200 };

static uint64_t state;
static uint32_t draw(uint32_t below) {
    state = state * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)((state >> 33) % below);
}

// Characters that share their first and last bytes, of one to four bytes.
static const char *const letters[] = {" ",
                                      "a",
                                      "b",
                                      "\xC3\x80",
                                      "\xC3\x81",
                                      "\xC4\x80",
                                      "\xC4\x81",
                                      "\xE3\x80\x80",
                                      "\xE3\x80\x81",
                                      "\xE3\x81\x80",
                                      "\xE4\x80\x80",
                                      "\xE4\x81\x81",
                                      "\xF0\x9F\x80\x80",
                                      "\xF0\x9F\x80\x81",
                                      "\xF0\xA0\x81\x80"};

typedef struct {
    qn_vocabulary vocabulary;
    qn_bpe bpe;
    size_t merge_count;
    int32_t merges[MERGES][3]; // by rank: left, right, what they become
    uint8_t bytes[TOKENS][16];
    size_t sizes[TOKENS];
} model;

static void put_token(model *m, int32_t id) {
    char text[2 * 16];
    size_t size = 0;
    for (size_t i = 0; i < m->sizes[id]; i++) {
        uint32_t code = qn_byte_character(m->bytes[id][i]);
        if (code >= 0x80) text[size++] = (char)(0xC0 | code >> 6);
        text[size++] = (char)(code < 0x80 ? code : 0x80 | (code & 0x3F));
    }
    assert_ok(qn_vocabulary_add(&m->vocabulary, text, size, id));
}

// The bytes of a part of a random text, so that it can be met again.
static size_t draw_bytes(uint8_t *out) {
    uint8_t text[16];
    size_t size = 0;
    for (int i = 0; i < 3; i++) {
        const char *letter = letters[draw(sizeof letters / sizeof letters[0])];
        memcpy(text + size, letter, strlen(letter));
        size += strlen(letter);
    }
    size_t from = draw((uint32_t)size - 1), length = 2 + draw(4);
    if (from + length > size) length = size - from;
    memcpy(out, text + from, length);
    return length;
}

static int32_t find_token(const model *m, size_t count, const uint8_t *bytes, size_t size) {
    for (size_t i = 0; i < count; i++)
        if (m->sizes[i] == size && memcmp(m->bytes[i], bytes, size) == 0) return (int32_t)i;
    return -1;
}

// Tokens of random bytes, and merges of every pair that makes one of them, in a random order.
static void make_model(model *m) {
    memset(m, 0, sizeof *m);
    size_t count = BYTES;
    for (int i = 0; i < BYTES; i++) m->bytes[i][0] = (uint8_t)i, m->sizes[i] = 1;
    while (count < TOKENS) {
        uint8_t bytes[16];
        size_t size = draw_bytes(bytes);
        if (find_token(m, count, bytes, size) >= 0) continue;
        memcpy(m->bytes[count], bytes, size);
        m->sizes[count++] = size;
    }
    for (size_t id = BYTES; id < count; id++)
        for (size_t cut = 1; cut < m->sizes[id] && m->merge_count < MERGES; cut++) {
            int32_t left = find_token(m, count, m->bytes[id], cut);
            int32_t right = find_token(m, count, m->bytes[id] + cut, m->sizes[id] - cut);
            if (left < 0 || right < 0) continue;
            size_t at = draw((uint32_t)m->merge_count + 1), last = m->merge_count++;
            memcpy(m->merges[last], m->merges[at], sizeof m->merges[at]);
            memcpy(m->merges[at], (int32_t[]){left, right, (int32_t)id}, sizeof m->merges[at]);
        }
    while (m->merge_count > 0 && m->merge_count < MERGES && draw(2) == 0) { // some stand there twice
        memcpy(m->merges[m->merge_count], m->merges[draw((uint32_t)m->merge_count)], sizeof m->merges[0]);
        m->merge_count++;
    }
    for (size_t id = 0; id < count; id++) put_token(m, (int32_t)id);
    assert_ok(qn_vocabulary_finish(&m->vocabulary));
    m->bpe = (qn_bpe){.unknown = -1, .vocabulary = &m->vocabulary};
    for (size_t i = 0; i < m->merge_count; i++) {
        size_t left_size, right_size;
        const char *left = qn_vocabulary_token(&m->vocabulary, m->merges[i][0], &left_size);
        const char *right = qn_vocabulary_token(&m->vocabulary, m->merges[i][1], &right_size);
        assert_ok(qn_bpe_add_merge(&m->bpe, "model", i, left, left_size, right, right_size));
    }
    assert_ok(qn_bpe_finish(&m->bpe));
    assert_true(m->bpe.all_bytes);
}

// Of merges of one pair the last counts.
static bool stands_again(const model *m, size_t rank) {
    for (size_t i = rank + 1; i < m->merge_count; i++)
        if (memcmp(m->merges[i], m->merges[rank], 2 * sizeof(int32_t)) == 0) return true;
    return false;
}

// The definition: the pair of the lowest rank, of equal ones the first, until none is left.
static size_t encode_slowly(const model *m, const char *word, size_t size, int32_t *ids) {
    size_t count = size;
    for (size_t i = 0; i < size; i++) ids[i] = (uint8_t)word[i];
    for (;;) {
        size_t best = m->merge_count, at = 0;
        for (size_t i = 0; i + 1 < count; i++)
            for (size_t rank = 0; rank < best; rank++)
                if (m->merges[rank][0] == ids[i] && m->merges[rank][1] == ids[i + 1] && !stands_again(m, rank))
                    best = rank, at = i;
        if (best == m->merge_count) return count;
        ids[at] = m->merges[best][2];
        memmove(ids + at + 1, ids + at + 2, (count - at - 2) * sizeof *ids);
        count--;
    }
}

// Protects what is merged ahead of its turn (early.h), short and long words, and the table of merges.
static void test_any_merges(void **unused) {
    (void)unused;
    model *m = malloc(sizeof *m);
    qn_bpe_room room = {0};
    qn_pieces pieces = {0};
    for (uint64_t seed = 1; seed < 400; seed++) {
        state = seed * 7919;
        make_model(m);
        for (int i = 0; i < 60; i++) {
            char word[LONGEST_WORD];
            int32_t ids[LONGEST_WORD];
            size_t size = 0, letters_left = 1 + draw(i % 4 == 0 ? 40 : 8);
            for (; letters_left > 0; letters_left--) {
                const char *letter = letters[draw(sizeof letters / sizeof letters[0])];
                memcpy(word + size, letter, strlen(letter));
                size += strlen(letter);
            }
            pieces.count = 0;
            assert_ok(qn_bpe_encode(&m->bpe, &room, word, size, true, &pieces));
            size_t count = encode_slowly(m, word, size, ids);
            assert_int_equal(pieces.count, count);
            uint32_t end = 0;
            for (size_t k = 0; k < count; k++) {
                assert_int_equal(pieces.pieces[k].id, ids[k]);
                assert_int_equal(pieces.pieces[k].start, end);
                end += (uint32_t)m->sizes[ids[k]];
                assert_int_equal(pieces.pieces[k].end, end);
            }
        }
        qn_bpe_clear(&m->bpe);
        qn_vocabulary_free(&m->vocabulary);
    }
    qn_bpe_room_free(&room);
    free(pieces.pieces);
    free(m);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_any_merges)};
    return cmocka_run_group_tests_name("bpe", tests, NULL, NULL);
}
