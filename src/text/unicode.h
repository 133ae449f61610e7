// What the tokenizers ask about one code point. Answers are those of the reference (see scripts/unicode_tables.py), not
// of the newest Unicode, so that ids are equal on every machine whatever utf8proc it has.
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

bool qn_unicode_is_space(uint32_t code);       // the White_Space property
bool qn_unicode_is_removed(uint32_t code);     // what BERT's clean_text drops; tab, newline and return are not in it
bool qn_unicode_is_mark(uint32_t code);        // nonspacing marks, which strip_accents drops
bool qn_unicode_is_combining(uint32_t code);   // all marks, which the normaliser StripAccents drops
bool qn_unicode_is_punctuation(uint32_t code); // ASCII symbols and Unicode punctuation
bool qn_unicode_is_chinese(uint32_t code);     // the blocks that BERT sets spaces around
bool qn_unicode_is_word(uint32_t code); // \w of a regular expression: letters, marks, digits, connectors, joiners

// Canonical decomposition, at most 4 code points; returns how many (1: itself).
size_t qn_unicode_decompose(uint32_t code, uint32_t out[4]);
// The same with compatibility decompositions (of NFKC and NFKD), at most 18 code points.
size_t qn_unicode_decompose_compatible(uint32_t code, uint32_t out[18]);
// The character that two become in NFC; 0 where they stay two.
uint32_t qn_unicode_compose(uint32_t first, uint32_t second);
// What a regular expression means by \p{L} and \p{N}.
bool qn_unicode_is_letter(uint32_t code);
bool qn_unicode_is_number(uint32_t code);
bool qn_unicode_is_numeric(uint32_t code); // what the pre-tokenizer Digits means: a newer Unicode
uint8_t qn_unicode_combining_class(uint32_t code);
// Lower case without context, at most 2 code points (U+0130 gives i and a dot); returns how many.
size_t qn_unicode_lower(uint32_t code, uint32_t out[2]);

// Whether two neighbours are in one grapheme cluster. *state is 0 at the beginning of a cluster.
bool qn_unicode_joins(uint32_t first, uint32_t second, int32_t *state);

// Calls visit for each range of the named set, in ascending order. This is how whole tables are filled fast.
typedef void (*qn_range_visitor)(void *user, uint32_t first, uint32_t last);
// Letters, numbers and parts of words that PCRE2's Unicode may not know yet.
void qn_unicode_visit_newer_letters(qn_range_visitor visit, void *user);
void qn_unicode_visit_newer_upper(qn_range_visitor visit, void *user);
void qn_unicode_visit_newer_lower(qn_range_visitor visit, void *user);
void qn_unicode_visit_newer_caseless(qn_range_visitor visit, void *user); // the other letters
void qn_unicode_visit_newer_marks(qn_range_visitor visit, void *user);
void qn_unicode_visit_newer_numbers(qn_range_visitor visit, void *user);
void qn_unicode_visit_newer_words(qn_range_visitor visit, void *user);
void qn_unicode_visit_removed(qn_range_visitor visit, void *user);
void qn_unicode_visit_marks(qn_range_visitor visit, void *user);
void qn_unicode_visit_punctuation(qn_range_visitor visit, void *user);
void qn_unicode_visit_chinese(qn_range_visitor visit, void *user);
void qn_unicode_visit_spaces(qn_range_visitor visit, void *user);

// Calls visit for each code point that may have a decomposition (other than Hangul's syllables), a combining class
// above 0 or another lower case.
void qn_unicode_visit_special(void (*visit)(void *user, uint32_t code), void *user);
