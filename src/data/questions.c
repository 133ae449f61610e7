// Questions with answers.
#include "data/questions.h"
#include "base/json.h"
#include "base/memory.h"
#include "base/utf8.h"
#include "data/reader.h"
#include <stdlib.h>
#include <string.h>

struct qn_question_reader {
    char *path;
    qn_input *input;  // JSON lines
    json_t *document; // SQuAD, or the line that was read
    size_t article, paragraph, question;
    qn_buffer place;
    qn_gold_answer *answers;
    size_t answer_capacity;
};

// --- Opening

// A JSON line has its question in the first line; SQuAD's file has "data" before any, or is laid out on many lines.
static bool looks_like_squad(qn_span first) {
    const char *newline = first.size ? memchr(first.data, '\n', first.size) : NULL;
    if (newline) first.size = (size_t)(newline - first.data);
    first = qn_span_trim(first);
    if (first.size == 1 && first.data[0] == '{') return true;
    for (size_t i = 0; i + 10 <= first.size; i++) {
        if (memcmp(first.data + i, "\"data\"", 6) == 0) return true;
        if (memcmp(first.data + i, "\"question\"", 10) == 0 || memcmp(first.data + i, "\"context\"", 9) == 0)
            return false;
    }
    return false;
}

// All of SQuAD's file; line by line where it is compressed, or a pipe.
static qn_status read_document(qn_question_reader *r) {
    if (qn_input_is_plain(r->input)) return qn_json_load(r->path, &r->document);
    qn_buffer text = {0};
    qn_status status;
    for (bool end = false;;) {
        qn_span line;
        status = qn_input_line(r->input, &line, &end);
        if (status != QN_OK || end) break;
        qn_buffer_append(&text, line.data, line.size);
        qn_buffer_char(&text, '\n');
    }
    if (status == QN_OK) status = qn_buffer_status(&text);
    if (status == QN_OK)
        status = qn_json_parse(text.data ? text.data : "", text.size, qn_input_name(r->input), &r->document);
    qn_buffer_free(&text);
    return status;
}

static qn_status open_reader(qn_question_reader *r, const char *format) {
    bool choose = !format || strcmp(format, "auto") == 0, squad = !choose && strcmp(format, "squad") == 0;
    if (!choose && !squad && strcmp(format, "jsonl") != 0)
        return qn_fail(QN_ERROR_ARGUMENT, "%s: questions are not read as %s (expected squad or jsonl)", r->path,
                       format);
    QN_TRY(qn_input_open(r->path, &r->input));
    if (choose) {
        qn_span first;
        QN_TRY(qn_input_peek(r->input, 4096, &first));
        squad = looks_like_squad(first);
    }
    if (!squad) return QN_OK;
    QN_TRY(read_document(r));
    qn_input_close(r->input);
    r->input = NULL;
    if (json_is_array(json_object_get(r->document, "data"))) return QN_OK;
    return qn_fail(QN_ERROR_FORMAT, "%s: no array \"data\" (expected SQuAD's JSON)", r->path);
}

qn_status qn_questions_open(const char *path, const char *format, qn_question_reader **out) {
    *out = NULL;
    qn_question_reader *r = qn_calloc(1, sizeof *r);
    if (!r) return QN_ERROR_MEMORY;
    r->path = qn_strdup(path);
    qn_status status = r->path ? open_reader(r, format) : QN_ERROR_MEMORY;
    if (status != QN_OK) {
        qn_questions_close(r);
        return status;
    }
    *out = r;
    return QN_OK;
}

void qn_questions_close(qn_question_reader *r) {
    if (!r) return;
    qn_input_close(r->input);
    json_decref(r->document);
    qn_buffer_free(&r->place);
    free(r->answers);
    free(r->path);
    free(r);
}

// --- Answers

static qn_status take_text(const json_t *object, const char *key, qn_span *out) {
    const json_t *value = json_object_get(object, key);
    if (!json_is_string(value)) return qn_fail(QN_ERROR_FORMAT, "\"%s\" is not there, or no string", key);
    *out = (qn_span){json_string_value(value), json_string_length(value)};
    if (memchr(out->data, 0, out->size)) return qn_fail(QN_ERROR_FORMAT, "\"%s\" has a NUL character", key);
    return QN_OK;
}

// Byte of a character; -1 behind the end.
static int64_t byte_of(qn_span text, int64_t character) {
    size_t byte = 0;
    for (int32_t code; character > 0 && byte < text.size; character--)
        byte += qn_utf8_next(text.data + byte, text.size - byte, &code);
    return character == 0 ? (int64_t)byte : -1;
}

// `start` in characters; negative: not given.
static qn_status add_answer(qn_question_reader *r, qn_question *q, const json_t *text, int64_t start) {
    if (!json_is_string(text)) return qn_fail(QN_ERROR_FORMAT, "an answer is no string");
    qn_span answer = {json_string_value(text), json_string_length(text)};
    if (answer.size == 0) return qn_fail(QN_ERROR_FORMAT, "an empty answer (expected none, or some text)");
    if (memchr(answer.data, 0, answer.size)) return qn_fail(QN_ERROR_FORMAT, "an answer with a NUL character");
    int64_t begin = start < 0 ? -1 : byte_of(q->context, start);
    if (begin < 0 || (size_t)begin + answer.size > q->context.size ||
        memcmp(q->context.data + begin, answer.data, answer.size) != 0) {
        const char *found = strstr(q->context.data, answer.data);
        if (!found)
            return qn_fail(QN_ERROR_FORMAT, "the answer \"%.60s\" is not in the context (expected a part of it)",
                           answer.data);
        begin = found - q->context.data;
    }
    void *answers = r->answers;
    qn_status status = qn_grow(&answers, &r->answer_capacity, q->count + 1, sizeof *r->answers);
    r->answers = answers;
    if (status == QN_OK) r->answers[q->count++] = (qn_gold_answer){answer, begin, begin + (int64_t)answer.size};
    return status;
}

static int64_t start_of(const json_t *number) {
    return json_is_integer(number) ? json_integer_value(number) : -1;
}

// A list of {"text", "answer_start"} or of strings; or {"text": [...], "answer_start": [...]} as the hub's data sets
// have it; or one string.
static qn_status take_answers(qn_question_reader *r, const json_t *object, qn_question *q) {
    const json_t *answers = json_object_get(object, "answers"), *one = json_object_get(object, "answer");
    if (!answers && one && !json_is_null(one))
        return add_answer(r, q, one, start_of(json_object_get(object, "answer_start")));
    if (json_is_true(json_object_get(object, "is_impossible")) || !answers || json_is_null(answers)) return QN_OK;
    if (json_is_object(answers)) {
        const json_t *texts = json_object_get(answers, "text"), *starts = json_object_get(answers, "answer_start");
        if (!json_is_array(texts)) return qn_fail(QN_ERROR_FORMAT, "\"answers\" has no list \"text\"");
        for (size_t i = 0; i < json_array_size(texts); i++)
            QN_TRY(add_answer(r, q, json_array_get(texts, i), start_of(json_array_get(starts, i))));
        return QN_OK;
    }
    if (!json_is_array(answers))
        return qn_fail(QN_ERROR_FORMAT, "\"answers\" is neither a list nor an object (expected [{\"text\": ..., "
                                        "\"answer_start\": N}, ...])");
    for (size_t i = 0; i < json_array_size(answers); i++) {
        const json_t *a = json_array_get(answers, i);
        QN_TRY(json_is_object(a)
                   ? add_answer(r, q, json_object_get(a, "text"), start_of(json_object_get(a, "answer_start")))
                   : add_answer(r, q, a, -1));
    }
    return QN_OK;
}

// --- Questions

static qn_status take_question(qn_question_reader *r, const json_t *asked, const json_t *told, qn_question *q) {
    q->place = r->place.data;
    qn_status status = qn_buffer_status(&r->place);
    if (status == QN_OK && r->input && !json_object_get(asked, "question"))
        status =
            qn_fail(QN_ERROR_FORMAT, "no \"question\" (expected {\"question\": ..., \"context\": ...} on each line, or "
                                     "SQuAD's JSON with an array \"data\")");
    if (status == QN_OK) status = take_text(asked, "question", &q->question);
    if (status == QN_OK) status = take_text(told, "context", &q->context);
    if (status == QN_OK) status = take_answers(r, asked, q);
    q->answers = r->answers;
    // As run_qa.py: white space before a question would only take room.
    while (status == QN_OK && q->question.size && strchr(" \t\n\r", *q->question.data))
        q->question.data++, q->question.size--;
    return status == QN_OK || status == QN_ERROR_MEMORY ? status : qn_fail_prefix(status, "%s", q->place);
}

static qn_status next_of_squad(qn_question_reader *r, qn_question *q, bool *end) {
    const json_t *articles = json_object_get(r->document, "data");
    for (; r->article < json_array_size(articles); r->article++, r->paragraph = 0) {
        const json_t *paragraphs = json_object_get(json_array_get(articles, r->article), "paragraphs");
        if (!json_is_array(paragraphs))
            return qn_fail(QN_ERROR_FORMAT, "%s: data[%zu]: no array \"paragraphs\"", r->path, r->article);
        for (; r->paragraph < json_array_size(paragraphs); r->paragraph++, r->question = 0) {
            const json_t *paragraph = json_array_get(paragraphs, r->paragraph),
                         *list = json_object_get(paragraph, "qas");
            qn_buffer_clear(&r->place);
            qn_buffer_printf(&r->place, "%s: data[%zu].paragraphs[%zu]", r->path, r->article, r->paragraph);
            QN_TRY(qn_buffer_status(&r->place));
            if (!json_is_array(list)) return qn_fail(QN_ERROR_FORMAT, "%s: no array \"qas\"", r->place.data);
            if (r->question >= json_array_size(list)) continue;
            qn_buffer_printf(&r->place, ".qas[%zu]", r->question);
            return take_question(r, json_array_get(list, r->question++), paragraph, q);
        }
    }
    *end = true;
    return QN_OK;
}

static qn_status next_line(qn_question_reader *r, qn_question *q, bool *end) {
    qn_span line;
    do {
        QN_TRY(qn_input_line(r->input, &line, end));
        if (*end) return QN_OK;
    } while (qn_span_trim(line).size == 0);
    q->line = qn_input_line_number(r->input);
    json_decref(r->document);
    r->document = NULL;
    qn_buffer_clear(&r->place);
    qn_buffer_printf(&r->place, "%s:%lld", qn_input_name(r->input), (long long)q->line);
    QN_TRY(qn_buffer_status(&r->place));
    QN_TRY(qn_json_parse_line(line.data, line.size, qn_input_name(r->input), q->line, &r->document));
    return take_question(r, r->document, r->document, q);
}

qn_status qn_questions_next(qn_question_reader *r, qn_question *q, bool *end) {
    *q = (qn_question){0};
    *end = false;
    return r->input ? next_line(r, q, end) : next_of_squad(r, q, end);
}
