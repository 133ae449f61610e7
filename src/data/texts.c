// The texts of several files as one stream, for callers that want no labels.
#include "base/memory.h"
#include "data/reader.h"
#include <stdlib.h>

struct qn_texts {
    char **paths;
    size_t path_count, next_path;
    qn_reader_options options;
    qn_reader *reader;
    char *columns[3]; // copies of the option's strings: text column, pair column, columns
};

static qn_status copy_options(qn_texts *texts, const qn_data_options *data) {
    const char *from[] = {data->text_column, data->pair_column, data->columns};
    const char **to[] = {&texts->options.text_column, &texts->options.pair_column, &texts->options.columns};
    for (size_t i = 0; i < 3; i++) {
        if (!from[i]) continue;
        *to[i] = texts->columns[i] = qn_strdup(from[i]);
        if (!texts->columns[i]) return QN_ERROR_MEMORY;
    }
    return data->format ? qn_format_parse(data->format, &texts->options.format) : QN_OK;
}

qn_status qn_texts_open(const char *const *paths, size_t count, const qn_data_options *data, bool every_line,
                        qn_texts **out) {
    *out = NULL;
    qn_texts *texts = qn_calloc(1, sizeof *texts);
    if (!texts) return QN_ERROR_MEMORY;
    qn_status status = QN_OK;
    texts->options = (qn_reader_options){.texts_only = true, .keep_blank_lines = every_line};
    if (data) status = copy_options(texts, data);
    if (status == QN_OK && !(texts->paths = qn_calloc(count + 1, sizeof *texts->paths))) status = QN_ERROR_MEMORY;
    for (; status == QN_OK && texts->path_count < count; texts->path_count++)
        if (!(texts->paths[texts->path_count] = qn_strdup(paths[texts->path_count]))) {
            status = QN_ERROR_MEMORY;
            break;
        }
    // The first file is opened here, so that a wrong path is found before anything is done.
    if (status == QN_OK && count > 0)
        status = qn_reader_open(texts->paths[texts->next_path++], &texts->options, &texts->reader);
    if (status != QN_OK) {
        qn_texts_close(texts);
        return status;
    }
    *out = texts;
    return QN_OK;
}

qn_status qn_texts_next(qn_texts *texts, qn_text *text) {
    *text = (qn_text){0};
    while (texts->reader) {
        qn_record record;
        bool end;
        QN_TRY(qn_reader_next(texts->reader, &record, &end));
        if (!end) {
            *text = (qn_text){record.text.size ? record.text.data : "", record.text.size, record.pair.data,
                              record.pair.size};
            return QN_OK;
        }
        qn_reader_close(texts->reader);
        texts->reader = NULL;
        if (texts->next_path < texts->path_count)
            QN_TRY(qn_reader_open(texts->paths[texts->next_path++], &texts->options, &texts->reader));
    }
    return QN_OK;
}

void qn_texts_close(qn_texts *texts) {
    if (!texts) return;
    qn_reader_close(texts->reader);
    for (size_t i = 0; i < texts->path_count; i++) free(texts->paths[i]);
    free(texts->paths);
    for (size_t i = 0; i < 3; i++) free(texts->columns[i]);
    free(texts);
}
