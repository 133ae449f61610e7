// Which column is the text, the pair, the label and the score; and the cells that hold numbers and lists of labels.
#include "base/buffer.h"
#include "base/memory.h"
#include "data/reader_private.h"
#include <locale.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

// The names under which texts and pairs of texts are found, most telling first. A pair counts only if both columns are
// there.
static const struct {
    const char *text, *pair;
} known_texts[] = {
    {"sentence1", "sentence2"},
    {"text", "text_pair"},
    {"text_a", "text_b"},
    {"text1", "text2"},
    {"sentence_a", "sentence_b"},
    {"text", NULL},
    {"premise", "hypothesis"},
    {"question1", "question2"},
    {"question", "sentence"},
    {"question", "context"},
    {"question", "passage"},
    {"question", "answer"},
    {"query", "passage"},
    {"query", "document"},
    {"anchor", "positive"},
    {"source", "target"},
    {"sentence", NULL},
    {"content", NULL},
    {"document", NULL},
    {"review", NULL},
};
static const char *const known_labels[] = {"label",      "labels", "class",  "category",
                                           "gold_label", "target", "intent", NULL};
static const char *const known_scores[] = {"score", "similarity", "similarity_score", NULL};

static bool is_space(char c) {
    return c == ' ' || (c >= '\t' && c <= '\r');
}

qn_span qn_span_trim(qn_span text) {
    while (text.size > 0 && is_space(text.data[0])) text.data++, text.size--;
    while (text.size > 0 && is_space(text.data[text.size - 1])) text.size--;
    return text;
}

bool qn_parse_number(qn_span text, double *out) {
    char digits[128];
    text = qn_span_trim(text);
    if (text.size == 0 || text.size >= sizeof digits) return false;
    // strtod reads more than numbers of JSON, and expects the locale's decimal point.
    const char *point = localeconv()->decimal_point;
    char decimal = strlen(point) == 1 ? point[0] : '.';
    for (size_t i = 0; i < text.size; i++) {
        char c = text.data[i];
        if (!(c >= '0' && c <= '9') && !strchr("+-.eE", c)) return false;
        digits[i] = c == '.' ? decimal : c;
    }
    digits[text.size] = '\0';
    char *end;
    double value = strtod(digits, &end);
    if (*end != '\0' || end == digits || value - value != 0) return false;
    *out = value;
    return true;
}

static ptrdiff_t find_name(const qn_span *names, size_t count, const char *name) {
    size_t size = strlen(name);
    for (size_t i = 0; i < count; i++)
        if (names[i].size == size && memcmp(names[i].data, name, size) == 0) return (ptrdiff_t)i;
    for (size_t i = 0; i < count; i++)
        if (names[i].size == size && strncasecmp(names[i].data, name, size) == 0) return (ptrdiff_t)i;
    return -1;
}

static ptrdiff_t find_any(const qn_span *names, size_t count, const char *const *known) {
    ptrdiff_t found = -1;
    for (; *known && found < 0; known++) found = find_name(names, count, *known);
    return found;
}

// What the user asked for: a name, or a number from 1.
static ptrdiff_t find_wanted(const qn_span *names, size_t count, bool numbers, const char *wanted) {
    ptrdiff_t found = find_name(names, count, wanted);
    if (found >= 0 || !numbers || *wanted < '0' || *wanted > '9') return found;
    char *end;
    unsigned long number = strtoul(wanted, &end, 10);
    return *end == '\0' && number >= 1 && number <= count ? (ptrdiff_t)number - 1 : -1;
}

bool qn_reader_find_columns(const qn_reader_options *options, const qn_span *names, size_t count, bool numbers,
                            ptrdiff_t column[QN_ROLES]) {
    for (int role = 0; role < QN_ROLES; role++) column[role] = -1;
    if (options->text_column) {
        column[QN_ROLE_TEXT] = find_wanted(names, count, numbers, options->text_column);
    } else {
        for (size_t i = 0; i < sizeof known_texts / sizeof *known_texts; i++) {
            ptrdiff_t text = find_name(names, count, known_texts[i].text), pair = -1;
            if (text < 0) continue;
            // With the pair given by the user, any known text will do.
            if (known_texts[i].pair && !options->pair_column) {
                pair = find_name(names, count, known_texts[i].pair);
                if (pair < 0) continue;
            }
            column[QN_ROLE_TEXT] = text;
            column[QN_ROLE_PAIR] = pair;
            break;
        }
        // A table of one column that has no name is a list of texts.
        if (column[QN_ROLE_TEXT] < 0 && count == 1 && names[0].size == 0) column[QN_ROLE_TEXT] = 0;
    }
    if (options->pair_column) column[QN_ROLE_PAIR] = find_wanted(names, count, numbers, options->pair_column);
    if (options->texts_only) return column[QN_ROLE_TEXT] >= 0;
    column[QN_ROLE_LABEL] = options->label_column ? find_wanted(names, count, numbers, options->label_column)
                                                  : find_any(names, count, known_labels);
    column[QN_ROLE_SCORE] = options->score_column ? find_wanted(names, count, numbers, options->score_column)
                                                  : find_any(names, count, known_scores);
    return column[QN_ROLE_TEXT] >= 0;
}

// What names of columns of a group begin with, and their order in it; a number or an s may follow.
static const struct {
    const char *stem;
    int rank;
} group_stems[] = {
    {"anchor", 0},   {"query", 0},  {"question", 0},   {"sentence", 0}, {"text", 0},     {"premise", 0},
    {"positive", 1}, {"answer", 1}, {"hypothesis", 1}, {"passage", 1},  {"document", 1}, {"negative", 2},
};
enum { GROUP_RANKS = 3, GROUP_LIMIT = 1024 };

// The rank of a column's name in a group, or -1: "negative_2", "sentence1", "text_pair", "texts".
static int group_rank(qn_span name) {
    for (size_t i = 0; i < sizeof group_stems / sizeof *group_stems; i++) {
        size_t size = strlen(group_stems[i].stem);
        if (name.size < size || strncasecmp(name.data, group_stems[i].stem, size) != 0) continue;
        qn_span rest = {name.data + size, name.size - size};
        if (rest.size == 5 && memcmp(rest.data, "_pair", 5) == 0) return 1;
        if (rest.size > 0 && rest.data[0] == 's') rest.data++, rest.size--;
        if (rest.size > 0 && rest.data[0] == '_') rest.data++, rest.size--;
        if (rest.size == 1 && (rest.data[0] == 'a' || rest.data[0] == 'b')) return group_stems[i].rank;
        while (rest.size > 0 && rest.data[0] >= '0' && rest.data[0] <= '9') rest.data++, rest.size--;
        if (rest.size == 0) return group_stems[i].rank;
    }
    return -1;
}

static qn_status add_column(qn_reader *reader, ptrdiff_t column) {
    if (reader->group_count == GROUP_LIMIT)
        return qn_fail(QN_ERROR_UNSUPPORTED, "%s: more than %d columns of texts", qn_input_name(reader->input),
                       GROUP_LIMIT);
    void *group = qn_realloc(reader->group, reader->group_count + 1, sizeof *reader->group);
    if (!group) return QN_ERROR_MEMORY;
    reader->group = group;
    reader->group[reader->group_count++] = column;
    return QN_OK;
}

// The columns that the user names, one after the other.
static qn_status find_wanted_group(qn_reader *reader, const qn_span *names, size_t count, bool numbers,
                                   const char *found) {
    for (const char *at = reader->options.text_columns; *at;) {
        char name[256];
        size_t size = strcspn(at, ",");
        qn_span wanted = qn_span_trim((qn_span){at, size});
        snprintf(name, sizeof name, "%.*s", (int)(wanted.size < sizeof name ? wanted.size : sizeof name - 1),
                 wanted.data);
        ptrdiff_t column = find_wanted(names, count, numbers, name);
        if (column < 0)
            return qn_fail(QN_ERROR_FORMAT, "%s:%lld: no column \"%s\" (found: %s)", qn_input_name(reader->input),
                           (long long)qn_input_line_number(reader->input), name, found);
        QN_TRY(add_column(reader, column));
        at += size + (at[size] == ',');
    }
    return QN_OK;
}

static qn_status find_group(qn_reader *reader, const qn_span *names, size_t count, bool numbers, const char *found) {
    const qn_reader_options *options = &reader->options;
    if (options->text_columns) {
        QN_TRY(find_wanted_group(reader, names, count, numbers, found));
    } else if (options->text_column) { // found already, as is the pair
        for (int role = QN_ROLE_TEXT; role <= QN_ROLE_PAIR; role++)
            if (reader->column[role] >= 0) QN_TRY(add_column(reader, reader->column[role]));
    } else {
        for (int rank = 0; rank < GROUP_RANKS; rank++)
            for (size_t i = 0; i < count; i++)
                if (group_rank(names[i]) == rank) QN_TRY(add_column(reader, (ptrdiff_t)i));
        if (reader->group_count == 0 && reader->column[QN_ROLE_TEXT] >= 0)
            QN_TRY(add_column(reader, reader->column[QN_ROLE_TEXT]));
    }
    if (reader->group_count == 0)
        return qn_fail(QN_ERROR_FORMAT,
                       "%s:%lld: no columns of texts (expected \"anchor\" and \"positive\", \"sentence1\" and "
                       "\"sentence2\", \"query\" and \"document\", or --text-columns; found: %s)",
                       qn_input_name(reader->input), (long long)qn_input_line_number(reader->input), found);
    reader->column[QN_ROLE_TEXT] = reader->group[0];
    reader->column[QN_ROLE_PAIR] = reader->group_count > 1 ? reader->group[1] : -1;
    return QN_OK;
}

// `"a", "b", ...` for messages.
static void list_names(const qn_span *names, size_t count, qn_buffer *out) {
    for (size_t i = 0; i < count && i < 20; i++) {
        size_t size = names[i].size < 40 ? names[i].size : 40;
        if (names[i].size == 0)
            qn_buffer_printf(out, "%scolumn %zu", i ? ", " : "", i + 1);
        else
            qn_buffer_printf(out, "%s\"%.*s%s\"", i ? ", " : "", (int)size, names[i].data,
                             size < names[i].size ? "..." : "");
    }
    if (count > 20) qn_buffer_printf(out, ", ... (%zu in all)", count);
    if (count == 0) qn_buffer_text(out, "none");
}

qn_status qn_reader_resolve(qn_reader *reader, const qn_span *names, size_t count, bool numbers,
                            ptrdiff_t column[QN_ROLES]) {
    const qn_reader_options *options = &reader->options;
    qn_reader_find_columns(options, names, count, numbers, column);
    bool all = !options->texts_only;
    const char *wanted[QN_ROLES] = {options->text_column, options->pair_column, all ? options->label_column : NULL,
                                    all ? options->score_column : NULL};
    const char *file = qn_input_name(reader->input);
    qn_buffer found = {0};
    list_names(names, count, &found);
    const char *list = found.data && !found.failed ? found.data : "?";
    long long line = (long long)qn_input_line_number(reader->input);
    qn_status status = options->group ? find_group(reader, names, count, numbers, list) : QN_OK;
    for (int role = 0; role < QN_ROLES && status == QN_OK; role++)
        if (wanted[role] && column[role] < 0)
            status = qn_fail(QN_ERROR_FORMAT, "%s:%lld: no column \"%s\" (found: %s)", file, line, wanted[role], list);
    if (status == QN_OK && column[QN_ROLE_TEXT] < 0)
        status =
            qn_fail(QN_ERROR_FORMAT,
                    "%s:%lld: no column of texts (expected \"text\", \"sentence\", \"sentence1\" and \"sentence2\", or "
                    "--text-column; found: %s)",
                    file, line, list);
    if (status == QN_OK && options->need_label && column[QN_ROLE_LABEL] < 0 && column[QN_ROLE_SCORE] < 0)
        status = qn_fail(QN_ERROR_FORMAT,
                         "%s:%lld: no column of labels (expected \"label\", \"score\", or --label-column; found: %s)",
                         file, line, list);
    qn_buffer_free(&found);
    return status;
}

qn_status qn_reader_add_text(qn_reader *reader, qn_record *record, qn_span text) {
    void *texts = reader->text;
    qn_status status = qn_grow(&texts, &reader->text_capacity, record->text_count + 1, sizeof *reader->text);
    reader->text = texts;
    if (status != QN_OK) return status;
    reader->text[record->text_count++] = text;
    record->texts = reader->text;
    return QN_OK;
}

qn_status qn_reader_add_label(qn_reader *reader, qn_record *record, qn_span label) {
    void *labels = reader->label;
    qn_status status = qn_grow(&labels, &reader->label_capacity, record->label_count + 1, sizeof *reader->label);
    reader->label = labels;
    if (status != QN_OK) return status;
    reader->label[record->label_count++] = label;
    record->labels = reader->label;
    return QN_OK;
}

qn_status qn_reader_split_labels(qn_reader *reader, qn_record *record, qn_span cell) {
    cell = qn_span_trim(cell);
    if (cell.size > 0 && cell.data[0] == '[') return qn_reader_json_labels(reader, record, cell);
    char separator = cell.size > 0 && memchr(cell.data, '|', cell.size) ? '|' : ',';
    while (cell.size > 0) {
        const char *at = memchr(cell.data, separator, cell.size);
        size_t size = at ? (size_t)(at - cell.data) : cell.size;
        qn_span label = qn_span_trim((qn_span){cell.data, size});
        if (label.size > 0) QN_TRY(qn_reader_add_label(reader, record, label));
        cell.data += size + (at != NULL);
        cell.size -= size + (at != NULL);
    }
    return QN_OK;
}

size_t qn_reader_split(qn_reader *reader, qn_span line, char delimiter) {
    size_t count = 0;
    for (;;) {
        if (count == reader->cell_capacity) {
            void *cells = reader->cell;
            qn_status status = qn_grow(&cells, &reader->cell_capacity, count + 16, sizeof *reader->cell);
            reader->cell = cells;
            if (status != QN_OK) return 0;
        }
        const char *at = line.size > 0 ? memchr(line.data, delimiter, line.size) : NULL;
        size_t size = at ? (size_t)(at - line.data) : line.size;
        reader->cell[count++] = (qn_span){line.data, size};
        if (!at) return count;
        line.data += size + 1;
        line.size -= size + 1;
    }
}

qn_status qn_reader_reserve(qn_reader *reader, size_t size) {
    void *scratch = reader->scratch;
    qn_status status = qn_grow(&scratch, &reader->scratch_capacity, size, 1);
    reader->scratch = scratch;
    return status;
}
