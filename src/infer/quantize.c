// Writes a model as a folder in int8.
#include "infer/model.h"
#include "base/file.h"
#include <stdlib.h>

static qn_status write_folder(qn_model *m, const qn_exact *exact, const char *output) {
    QN_TRY(qn_quantized_write(m->network, exact, output));
    QN_TRY(qn_tokenizer_save(m->tokenizer, output));
    return qn_sentence_save(m->network, output);
}

qn_status qn_quantize(const char *folder, const char *output) {
    char *config = qn_path_join(output, "config.json");
    if (!config) return QN_ERROR_MEMORY;
    bool taken = qn_is_file(config);
    free(config);
    if (taken) return qn_fail(QN_ERROR_ARGUMENT, "%s: holds another model (expected a new folder)", output);
    qn_model *m;
    qn_exact *exact = NULL;
    QN_TRY(qn_model_open(folder, NULL, &m));
    qn_status status = qn_infer_find_exact(m, &exact);
    if (status == QN_OK) status = write_folder(m, exact, output);
    free(exact);
    qn_model_close(m);
    return status;
}
