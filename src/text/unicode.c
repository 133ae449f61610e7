// Properties of code points: the reference's categories from a generated table, the rest from utf8proc with a list of
// exceptions.
#include "text/unicode.h"
#include "text/unicode_tables.h"
#include <utf8proc.h>

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

static const qn_code_range space_ranges[] = {
    {0x0009, 0x000D}, {0x0020, 0x0020}, {0x0085, 0x0085}, {0x00A0, 0x00A0}, {0x1680, 0x1680},
    {0x2000, 0x200A}, {0x2028, 0x2029}, {0x202F, 0x202F}, {0x205F, 0x205F}, {0x3000, 0x3000},
};
// As BERT's authors wrote them; U+2B820 to U+2B91F are not in it.
static const qn_code_range chinese_ranges[] = {
    {0x3400, 0x4DBF},   {0x4E00, 0x9FFF},   {0xF900, 0xFAFF},   {0x20000, 0x2A6DF},
    {0x2A700, 0x2B73F}, {0x2B740, 0x2B81F}, {0x2B920, 0x2CEAF}, {0x2F800, 0x2FA1F},
};

// What the reference's regular expressions (Unicode 16) call letters, numbers and parts of words, and utf8proc 2.8 and
// PCRE2 10.42 (14 and 15) do not know yet.
static const qn_code_range newer_letters[] = {
    {0x01C89, 0x01C8A}, {0x0A7CB, 0x0A7CD}, {0x0A7DA, 0x0A7DC}, {0x105C0, 0x105F3}, {0x10D4A, 0x10D65},
    {0x10D6F, 0x10D85}, {0x10EC2, 0x10EC4}, {0x1123F, 0x11240}, {0x11380, 0x11389}, {0x1138B, 0x1138B},
    {0x1138E, 0x1138E}, {0x11390, 0x113B5}, {0x113B7, 0x113B7}, {0x113D1, 0x113D1}, {0x113D3, 0x113D3},
    {0x11BC0, 0x11BE0}, {0x11F02, 0x11F02}, {0x11F04, 0x11F10}, {0x11F12, 0x11F33}, {0x1342F, 0x1342F},
    {0x13441, 0x13446}, {0x13460, 0x143FA}, {0x16100, 0x1611D}, {0x16D40, 0x16D6C}, {0x18CFF, 0x18CFF},
    {0x1B132, 0x1B132}, {0x1B155, 0x1B155}, {0x1DF25, 0x1DF2A}, {0x1E030, 0x1E06D}, {0x1E4D0, 0x1E4EB},
    {0x1E5D0, 0x1E5ED}, {0x1E5F0, 0x1E5F0}, {0x2B739, 0x2B739}, {0x2EBF0, 0x2EE5D}, {0x31350, 0x323AF},
};
// Those of them with case; the others are taken for letters without.
static const qn_code_range newer_upper[] = {
    {0x01C89, 0x01C89}, {0x0A7CB, 0x0A7CC}, {0x0A7DA, 0x0A7DA}, {0x0A7DC, 0x0A7DC}, {0x10D50, 0x10D65},
};
static const qn_code_range newer_lower[] = {
    {0x01C8A, 0x01C8A}, {0x0A7CD, 0x0A7CD}, {0x0A7DB, 0x0A7DB}, {0x10D70, 0x10D85}, {0x1DF25, 0x1DF2A},
};
static const qn_code_range newer_numbers[] = {
    {0x10D40, 0x10D49}, {0x116D0, 0x116E3}, {0x11BF0, 0x11BF9}, {0x11F50, 0x11F59}, {0x16130, 0x16139},
    {0x16D70, 0x16D79}, {0x1CCF0, 0x1CCF9}, {0x1D2C0, 0x1D2D3}, {0x1E4F0, 0x1E4F9}, {0x1E5F1, 0x1E5FA},
};
static const qn_code_range newer_words[] = {
    {0x00897, 0x00897}, {0x00CF3, 0x00CF3}, {0x00ECE, 0x00ECE}, {0x01C89, 0x01C8A}, {0x0A7CB, 0x0A7CD},
    {0x0A7DA, 0x0A7DC}, {0x105C0, 0x105F3}, {0x10D40, 0x10D65}, {0x10D69, 0x10D6D}, {0x10D6F, 0x10D85},
    {0x10EC2, 0x10EC4}, {0x10EFC, 0x10EFF}, {0x1123F, 0x11241}, {0x11380, 0x11389}, {0x1138B, 0x1138B},
    {0x1138E, 0x1138E}, {0x11390, 0x113B5}, {0x113B7, 0x113C0}, {0x113C2, 0x113C2}, {0x113C5, 0x113C5},
    {0x113C7, 0x113CA}, {0x113CC, 0x113D3}, {0x113E1, 0x113E2}, {0x116D0, 0x116E3}, {0x11BC0, 0x11BE0},
    {0x11BF0, 0x11BF9}, {0x11F00, 0x11F10}, {0x11F12, 0x11F3A}, {0x11F3E, 0x11F42}, {0x11F50, 0x11F5A},
    {0x1342F, 0x1342F}, {0x13440, 0x13455}, {0x13460, 0x143FA}, {0x16100, 0x16139}, {0x16D40, 0x16D6C},
    {0x16D70, 0x16D79}, {0x18CFF, 0x18CFF}, {0x1B132, 0x1B132}, {0x1B155, 0x1B155}, {0x1CCF0, 0x1CCF9},
    {0x1DF25, 0x1DF2A}, {0x1E030, 0x1E06D}, {0x1E08F, 0x1E08F}, {0x1E4D0, 0x1E4F9}, {0x1E5D0, 0x1E5FA},
    {0x2B739, 0x2B739}, {0x2EBF0, 0x2EE5D}, {0x31350, 0x323AF},
};

// Marks that belong to the character before, of Unicode 17 and not in utf8proc.
static const qn_code_range newer_extenders[] = {
    {0x00897, 0x00897}, {0x01ACF, 0x01ADD}, {0x01AE0, 0x01AEB}, {0x10D69, 0x10D6D}, {0x10EFA, 0x10EFC},
    {0x113B8, 0x113C0}, {0x113C2, 0x113C2}, {0x113C5, 0x113C5}, {0x113C7, 0x113CA}, {0x113CC, 0x113D0},
    {0x113D2, 0x113D2}, {0x113E1, 0x113E2}, {0x11B60, 0x11B67}, {0x11F5A, 0x11F5A}, {0x1611E, 0x1612F},
    {0x1E5EE, 0x1E5EF}, {0x1E6E3, 0x1E6E3}, {0x1E6E6, 0x1E6E6}, {0x1E6EE, 0x1E6EF}, {0x1E6F5, 0x1E6F5},
};

static bool in_ranges(const qn_code_range *ranges, size_t count, uint32_t code) {
    size_t low = 0, high = count;
    while (low < high) {
        size_t middle = (low + high) / 2;
        if (code > ranges[middle].last)
            low = middle + 1;
        else
            high = middle;
    }
    return low < count && code >= ranges[low].first;
}

static const qn_code_override *find_override(uint32_t code) {
    size_t low = 0, high = COUNT(qn_code_overrides);
    while (low < high) {
        size_t middle = (low + high) / 2;
        if (code > qn_code_overrides[middle].last)
            low = middle + 1;
        else
            high = middle;
    }
    bool found = low < COUNT(qn_code_overrides) && code >= qn_code_overrides[low].first;
    return found ? &qn_code_overrides[low] : NULL;
}

bool qn_unicode_is_space(uint32_t code) {
    return in_ranges(space_ranges, COUNT(space_ranges), code);
}

bool qn_unicode_is_removed(uint32_t code) {
    return in_ranges(qn_removed_ranges, COUNT(qn_removed_ranges), code);
}

bool qn_unicode_is_mark(uint32_t code) {
    return in_ranges(qn_mark_ranges, COUNT(qn_mark_ranges), code);
}

bool qn_unicode_is_combining(uint32_t code) {
    return in_ranges(qn_combining_ranges, COUNT(qn_combining_ranges), code);
}

bool qn_unicode_is_punctuation(uint32_t code) {
    return in_ranges(qn_punctuation_ranges, COUNT(qn_punctuation_ranges), code);
}

bool qn_unicode_is_chinese(uint32_t code) {
    return in_ranges(chinese_ranges, COUNT(chinese_ranges), code);
}

bool qn_unicode_is_word(uint32_t code) {
    switch (utf8proc_category((utf8proc_int32_t)code)) {
    case UTF8PROC_CATEGORY_LU:
    case UTF8PROC_CATEGORY_LL:
    case UTF8PROC_CATEGORY_LT:
    case UTF8PROC_CATEGORY_LM:
    case UTF8PROC_CATEGORY_LO:
    case UTF8PROC_CATEGORY_MN:
    case UTF8PROC_CATEGORY_MC:
    case UTF8PROC_CATEGORY_ME:
    case UTF8PROC_CATEGORY_ND:
    case UTF8PROC_CATEGORY_NL:
    case UTF8PROC_CATEGORY_PC:
        return true;
    default:
        break;
    }
    if (in_ranges(newer_words, COUNT(newer_words), code)) return true;
    // Join controls, and the enclosed letters that are symbols with the property Alphabetic.
    return code == 0x200C || code == 0x200D || (code >= 0x24B6 && code <= 0x24E9) ||
           (code >= 0x1F130 && code <= 0x1F149) || (code >= 0x1F150 && code <= 0x1F169) ||
           (code >= 0x1F170 && code <= 0x1F189);
}

size_t qn_unicode_decompose(uint32_t code, uint32_t out[4]) {
    out[0] = code;
    if (code < 0xC0 || find_override(code)) return 1;
    utf8proc_int32_t parts[4];
    utf8proc_ssize_t count =
        utf8proc_decompose_char((utf8proc_int32_t)code, parts, 4, UTF8PROC_DECOMPOSE | UTF8PROC_STABLE, NULL);
    if (count < 1 || count > 4) return 1; // not a scalar value
    for (utf8proc_ssize_t i = 0; i < count; i++) out[i] = (uint32_t)parts[i];
    return (size_t)count;
}

size_t qn_unicode_decompose_compatible(uint32_t code, uint32_t out[18]) {
    out[0] = code;
    if (code < 0xA0 || find_override(code) || in_ranges(qn_incompatible_ranges, COUNT(qn_incompatible_ranges), code))
        return 1;
    utf8proc_int32_t parts[18];
    utf8proc_ssize_t count = utf8proc_decompose_char((utf8proc_int32_t)code, parts, 18,
                                                     UTF8PROC_DECOMPOSE | UTF8PROC_COMPAT | UTF8PROC_STABLE, NULL);
    if (count < 1 || count > 18) return 1;
    for (utf8proc_ssize_t i = 0; i < count; i++) out[i] = (uint32_t)parts[i];
    return (size_t)count;
}

uint32_t qn_unicode_compose(uint32_t first, uint32_t second) {
    // Before the first of Hangul's final letters lies U+11A7, which stands for none; utf8proc takes it for one.
    if (first < 0x3C || second < 0x300 || second == 0x11A7) return 0;
    utf8proc_int32_t pair[2] = {(utf8proc_int32_t)first, (utf8proc_int32_t)second};
    return utf8proc_normalize_utf32(pair, 2, UTF8PROC_COMPOSE | UTF8PROC_STABLE) == 1 ? (uint32_t)pair[0] : 0;
}

bool qn_unicode_is_letter(uint32_t code) {
    if (code < 0x80) return (code | 32) >= 'a' && (code | 32) <= 'z';
    utf8proc_category_t category = utf8proc_category((utf8proc_int32_t)code);
    return (category >= UTF8PROC_CATEGORY_LU && category <= UTF8PROC_CATEGORY_LO) ||
           in_ranges(newer_letters, COUNT(newer_letters), code);
}

bool qn_unicode_is_number(uint32_t code) {
    if (code < 0x80) return code >= '0' && code <= '9';
    utf8proc_category_t category = utf8proc_category((utf8proc_int32_t)code);
    return (category >= UTF8PROC_CATEGORY_ND && category <= UTF8PROC_CATEGORY_NO) ||
           in_ranges(newer_numbers, COUNT(newer_numbers), code);
}

bool qn_unicode_is_numeric(uint32_t code) {
    return qn_unicode_is_number(code) || (code >= 0x11DE0 && code <= 0x11DE9) || (code >= 0x16FF4 && code <= 0x16FF6);
}

bool qn_unicode_joins(uint32_t first, uint32_t second, int32_t *state) {
    if (!utf8proc_grapheme_break_stateful((utf8proc_int32_t)first, (utf8proc_int32_t)second, state)) return true;
    if (second < 0x800 || !in_ranges(newer_extenders, COUNT(newer_extenders), second)) return false;
    int class = utf8proc_get_property((utf8proc_int32_t)first)->boundclass;
    return class != UTF8PROC_BOUNDCLASS_CR && class != UTF8PROC_BOUNDCLASS_LF && class != UTF8PROC_BOUNDCLASS_CONTROL;
}

uint8_t qn_unicode_combining_class(uint32_t code) {
    if (code < 0x300 || find_override(code)) return 0;
    return (uint8_t)utf8proc_get_property((utf8proc_int32_t)code)->combining_class;
}

size_t qn_unicode_lower(uint32_t code, uint32_t out[2]) {
    if (code < 0x80) {
        out[0] = code >= 'A' && code <= 'Z' ? code + 32 : code;
        return 1;
    }
    if (code == 0x130) { // the only code point whose lower case is longer than itself
        out[0] = 'i';
        out[1] = 0x307;
        return 2;
    }
    const qn_code_override *override = find_override(code);
    out[0] =
        override ? (uint32_t)((int32_t)code + override->lower) : (uint32_t)utf8proc_tolower((utf8proc_int32_t)code);
    return 1;
}

static void visit_ranges(const qn_code_range *ranges, size_t count, qn_range_visitor visit, void *user) {
    for (size_t i = 0; i < count; i++) visit(user, ranges[i].first, ranges[i].last);
}

void qn_unicode_visit_newer_letters(qn_range_visitor visit, void *user) {
    visit_ranges(newer_letters, COUNT(newer_letters), visit, user);
}

void qn_unicode_visit_newer_upper(qn_range_visitor visit, void *user) {
    visit_ranges(newer_upper, COUNT(newer_upper), visit, user);
}

void qn_unicode_visit_newer_lower(qn_range_visitor visit, void *user) {
    visit_ranges(newer_lower, COUNT(newer_lower), visit, user);
}

// What is in the ranges and not in two others.
static void visit_rest(const qn_code_range *ranges, size_t count, const qn_code_range *a, size_t a_count,
                       const qn_code_range *b, size_t b_count, qn_range_visitor visit, void *user) {
    for (size_t i = 0; i < count; i++) {
        uint32_t first = ranges[i].first;
        for (uint32_t code = first; code <= ranges[i].last + 1; code++) {
            if (code <= ranges[i].last && !in_ranges(a, a_count, code) && !in_ranges(b, b_count, code)) continue;
            if (code > first) visit(user, first, code - 1);
            first = code + 1;
        }
    }
}

void qn_unicode_visit_newer_caseless(qn_range_visitor visit, void *user) {
    visit_rest(newer_letters, COUNT(newer_letters), newer_upper, COUNT(newer_upper), newer_lower, COUNT(newer_lower),
               visit, user);
}

void qn_unicode_visit_newer_marks(qn_range_visitor visit, void *user) {
    visit_rest(newer_words, COUNT(newer_words), newer_letters, COUNT(newer_letters), newer_numbers,
               COUNT(newer_numbers), visit, user);
}

void qn_unicode_visit_newer_numbers(qn_range_visitor visit, void *user) {
    visit_ranges(newer_numbers, COUNT(newer_numbers), visit, user);
}

void qn_unicode_visit_newer_words(qn_range_visitor visit, void *user) {
    visit_ranges(newer_words, COUNT(newer_words), visit, user);
}

void qn_unicode_visit_removed(qn_range_visitor visit, void *user) {
    visit_ranges(qn_removed_ranges, COUNT(qn_removed_ranges), visit, user);
}

void qn_unicode_visit_marks(qn_range_visitor visit, void *user) {
    visit_ranges(qn_mark_ranges, COUNT(qn_mark_ranges), visit, user);
}

void qn_unicode_visit_punctuation(qn_range_visitor visit, void *user) {
    visit_ranges(qn_punctuation_ranges, COUNT(qn_punctuation_ranges), visit, user);
}

void qn_unicode_visit_chinese(qn_range_visitor visit, void *user) {
    visit_ranges(chinese_ranges, COUNT(chinese_ranges), visit, user);
}

void qn_unicode_visit_spaces(qn_range_visitor visit, void *user) {
    visit_ranges(space_ranges, COUNT(space_ranges), visit, user);
}

void qn_unicode_visit_special(void (*visit)(void *user, uint32_t code), void *user) {
    // Outside of these areas lie ideographs, Hangul, private use and the unassigned.
    static const qn_code_range areas[] = {
        {0x0000, 0x33FF},
        {0xA000, 0xABFF},
        {0xF900, 0x1FFFF},
        {0x2F800, 0x2FA1F},
    };
    size_t next = 0;
    for (size_t i = 0; i < COUNT(areas); i++) {
        for (uint32_t code = areas[i].first; code <= areas[i].last; code++) {
            while (next < COUNT(qn_code_overrides) && code > qn_code_overrides[next].last) next++;
            const utf8proc_property_t *property = utf8proc_get_property((utf8proc_int32_t)code);
            bool plain = property->decomp_seqindex == UINT16_MAX && property->lowercase_seqindex == UINT16_MAX &&
                         property->combining_class == 0;
            bool listed = next < COUNT(qn_code_overrides) && code >= qn_code_overrides[next].first;
            if (!plain || listed) visit(user, code);
        }
    }
}
