// A model and its adapter as one model folder.
#include "infer/model.h"
#include "models/lora.h"

qn_status qn_merge(const char *model, const char *adapter, const char *output) {
    qn_model *m;
    QN_TRY(qn_model_open(model, &(qn_model_options){.threads = 1, .adapter = adapter}, &m));
    qn_status status = qn_network_save(m->network, output);
    if (status == QN_OK) status = qn_tokenizer_save(m->tokenizer, output);
    qn_model_close(m);
    return status;
}
