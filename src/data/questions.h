// Questions about texts, with answers that stand in them: SQuAD's JSON (1.1 and 2.0), and JSON lines.
#pragma once
#include "data/input.h"

// An answer: bytes [begin, end) of the context.
typedef struct {
    qn_span text;
    int64_t begin, end;
} qn_gold_answer;

// All pointers are valid until the next call on the reader.
typedef struct {
    qn_span question, context;
    const qn_gold_answer *answers; // [count]
    size_t count;                  // 0: the context has no answer
    const char *place;             // "FILE:LINE", or "FILE: data[0].paragraphs[2].qas[1]", for messages
    int64_t line;                  // 0 in SQuAD's JSON
} qn_question;

typedef struct qn_question_reader qn_question_reader;
// format: "squad" or "jsonl"; NULL or "auto": by the first line.
qn_status qn_questions_open(const char *path, const char *format, qn_question_reader **out);
void qn_questions_close(qn_question_reader *reader); // NULL is allowed
// The next question, or *end = true. An answer whose place is wrong is looked for in the context; one that is not there
// is an error.
qn_status qn_questions_next(qn_question_reader *reader, qn_question *question, bool *end);
