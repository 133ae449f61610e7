// See adapters.h.
#include "train/adapters.h"
#include "base/file.h"
#include "models/gguf_model.h"
#include <stdlib.h>

bool qn_training_adapts(const qn_training *o) {
    return o->lora_rank > 0 || o->adapter;
}

qn_status qn_training_check_adapters(const qn_training *o) {
    if (!qn_training_adapts(o)) return QN_OK;
    if (!qn_is_folder(o->model) && !qn_is_gguf(o->model))
        return qn_fail(QN_ERROR_ARGUMENT, "%s: is no folder (expected the model that adapters are for)", o->model);
    if (o->freeze_layers >= 0)
        return qn_fail(QN_ERROR_ARGUMENT, "freezing layers and LoRA exclude each other: LoRA freezes all of them");
    return QN_OK;
}

// With adapters the model is what they are for, and a checkpoint has theirs.
qn_status qn_training_open_adapters(const qn_training *o, const char *checkpoint, qn_lora *lora) {
    const char *from = checkpoint ? checkpoint : o->adapter;
    if (!from) return qn_lora_choose(o, lora);
    QN_TRY(qn_lora_open(from, lora));
    if (o->lora_rank > 0 && o->lora_rank != lora->rank)
        return qn_fail(QN_ERROR_ARGUMENT, "%s: the adapter's rank is %lld, not %lld", from, (long long)lora->rank,
                       (long long)o->lora_rank);
    free(lora->base); // where it is now
    lora->base = qn_strdup(o->model);
    return lora->base ? QN_OK : QN_ERROR_MEMORY;
}
