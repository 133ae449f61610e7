// All parameters of a model in one flat float32 buffer, and for training three more with what trains: gradients and the
// two moments. Optimizer, clipping, checkpoint, reading and writing of weight files are loops over the flat arrays
// or over the table of entries.
#pragma once
#include "tensor/tensor.h"
#include "tensor/used_rows.h"

typedef enum { QN_INIT_ZEROS, QN_INIT_ONES, QN_INIT_NORMAL, QN_INIT_UNIFORM } qn_init;

enum { QN_MODULE_DECODER = -1 }; // models/text_decoder.h

typedef struct {
    char *name; // as in Hugging Face files, for example "encoder.layer.0.attention.self.query.weight"
    qn_tensor tensor;
    size_t offset; // in floats from the start of the flat buffer
    size_t slot;   // the same for gradient and moments, once allocated; none where frozen
    qn_init init;
    bool decay;    // weight decay applies: not to biases and norms
    bool optional; // may be missing in a file (a new head): then it keeps its initial value
    int layer;     // depth for layer-wise learning rates: 0 embeddings, 1.. layers, the last + 1 heads
    bool joined;   // lies directly behind the previous entry
    int module;    // not 0: of a module with a file of its own: by its number (models/sentence.h), or the next
    bool frozen; // settled before the memory for training is taken
    bool by_rows; // a table that only embeddings read: its gradient has the rows in use alone (tensor.used)
} qn_parameter;

typedef struct {
    qn_parameter **items; // each on the heap, so that pointers to their tensors stay valid
    size_t count, capacity;
    size_t size;                               // floats in the flat buffer, padding included
    size_t trained;                            // floats in gradients and each moment: less what is frozen
    float *values, *grads, *moment1, *moment2; // NULL until allocated
} qn_parameters;

// What the next entries have in common.
typedef struct {
    qn_init init;
    bool decay, optional;
    int layer;
    bool joined; // directly behind the previous entry, so that both can be viewed as one tensor; otherwise aligned to
                 // 64 bytes
} qn_parameter_options;

// Adds an entry of one or two dimensions (rows 0: a vector of `width`). NULL with the last error set when memory is
// short.
qn_tensor *qn_parameters_add(qn_parameters *set, const char *name, size_t rows, size_t width,
                             qn_parameter_options options);
qn_status qn_parameters_allocate(qn_parameters *set); // values; the entries' tensors point into them
// The same where entries do not train: those whose values are elsewhere[i] (a mapped file) take no memory and keep
// their data.
qn_status qn_parameters_allocate_except(qn_parameters *set, const bool *elsewhere);
// Gradients and moments of what is not frozen, zeroed; the gradient of an entry `by_rows` is zeroed as its rows come into use.
qn_status qn_parameters_allocate_training(qn_parameters *set);
// Where entry i ends in the flat buffer, the padding before the next one included.
size_t qn_parameters_end(const qn_parameters *set, size_t i);
void qn_parameters_free_training(qn_parameters *set); // from now on for inference alone
// Draws values: normal entries with mean 0 and deviation `deviation`, uniform ones between -deviation and deviation, each from its own stream of `seed`, named by the
// entry, so that the same name gets the same values whatever else the model has.
void qn_parameters_initialize(qn_parameters *set, uint64_t seed, double deviation);
void qn_parameter_initialize(qn_parameter *parameter, uint64_t seed, double deviation);
void qn_parameters_free(qn_parameters *set);
qn_parameter *qn_parameters_find(const qn_parameters *set, const char *name); // NULL when absent
size_t qn_parameters_total(const qn_parameters *set);                         // scalar parameters, without padding
size_t qn_parameters_trained(const qn_parameters *set);                       // those that are not frozen
// One tensor over `count` consecutive entries from `first` that were added `joined`: [sum of rows, width] or [sum of
// widths].
qn_tensor qn_parameters_view(const qn_parameters *set, const qn_tensor *first, size_t count);
