// Model folders of CTranslate2: model.bin with the weights and numbers of a network (versions 2 to 6 of its format),
// config.json, and the vocabularies. Reading maps the weights and checks every size before it hands anything out.
#pragma once
#include "base/status.h"

// Name, number in the file, bytes of an element.
#define QN_CT2_DTYPE_MAP(X)                                                                                            \
    X(F32, 0, 4)                                                                                                       \
    X(I8, 1, 1)                                                                                                        \
    X(I16, 2, 2)                                                                                                       \
    X(I32, 3, 4)                                                                                                       \
    X(F16, 4, 2)                                                                                                       \
    X(BF16, 5, 2)

typedef enum {
#define QN_CT2_DTYPE_ENUM(name, number, bytes) QN_CT2_##name = number,
    QN_CT2_DTYPE_MAP(QN_CT2_DTYPE_ENUM)
#undef QN_CT2_DTYPE_ENUM
        QN_CT2_DTYPES
} qn_ct2_dtype;

const char *qn_ct2_dtype_name(qn_ct2_dtype dtype); // "BF16"

enum { QN_CT2_MAX_DIMS = 4 };

// A tensor, or with no dimensions a number.
typedef struct qn_ct2_variable qn_ct2_variable;
struct qn_ct2_variable {
    const char *name; // "encoder/layer_0/ffn/linear_0/weight"
    qn_ct2_dtype dtype;
    int dims;
    int64_t shape[QN_CT2_MAX_DIMS];
    int64_t count;       // elements
    const uint8_t *data; // `size` bytes
    size_t size;
    const qn_ct2_variable *scale; // what quantized values were multiplied by: F32, one number, or one for each
                                  // shape[0]; NULL where they are not quantized
};

// An open model.bin. Read-only, so any number of threads may use it.
typedef struct qn_ct2 qn_ct2;

qn_status qn_ct2_open(const char *path, qn_ct2 **out);
// The same over bytes in memory, which must outlive the file; `source` names them in messages.
qn_status qn_ct2_open_memory(const void *data, size_t size, const char *source, qn_ct2 **out);
void qn_ct2_close(qn_ct2 *file); // NULL is allowed

const char *qn_ct2_path(const qn_ct2 *file);
const char *qn_ct2_spec(const qn_ct2 *file);  // "TransformerSpec"
uint32_t qn_ct2_revision(const qn_ct2 *file); // of the specification
uint32_t qn_ct2_version(const qn_ct2 *file);  // of the file's format

size_t qn_ct2_count(const qn_ct2 *file);
const qn_ct2_variable *qn_ct2_at(const qn_ct2 *file, size_t index); // in the order of the file
// By its name or by another one that the file gives it; NULL when there is none.
const qn_ct2_variable *qn_ct2_find(const qn_ct2 *file, const char *name);

// Elements first .. first+count-1 as float32, divided by the scale where there is one.
void qn_ct2_to_f32(const qn_ct2_variable *variable, int64_t first, int64_t count, float *out);

// A number that the file must have. Fails, naming file and variable, when it is missing, no number, or outside
// lowest .. highest; `fallback` non-NULL is what a missing one means.
qn_status qn_ct2_read_real(const qn_ct2 *file, const char *name, double lowest, double highest, const double *fallback,
                           double *out);
qn_status qn_ct2_read_integer(const qn_ct2 *file, const char *name, int64_t lowest, int64_t highest,
                              const int64_t *fallback, int64_t *out);
// A tensor of exactly this shape that values can be read from; the same failures.
qn_status qn_ct2_need(const qn_ct2 *file, const char *name, int dims, const int64_t *shape,
                      const qn_ct2_variable **out);

// --- The other files

// The tokens of a vocabulary, whose places are their ids.
typedef struct {
    char **tokens; // [count]
    size_t count;
} qn_ct2_vocabulary;
void qn_ct2_vocabulary_free(qn_ct2_vocabulary *vocabulary);

// config.json of a sequence-to-sequence model. The strings are on the heap; NULL: none.
typedef struct {
    char *unk_token, *bos_token, *eos_token;
    char *decoder_start_token;           // NULL: each text begins with a token that its user gives (a language)
    bool add_source_bos, add_source_eos; // what stands around the tokens of a source text
    double layer_norm_epsilon;           // 0: not stated
} qn_ct2_config;
void qn_ct2_config_free(qn_ct2_config *config);

// A whole folder. The target's vocabulary is the source's where the folder has one for both.
typedef struct {
    qn_ct2 *weights;
    qn_ct2_config config;
    qn_ct2_vocabulary source, target; // target without tokens: as the source
} qn_ct2_folder;

bool qn_ct2_is_folder(const char *path); // it has a model.bin, and no weights of another kind
qn_status qn_ct2_folder_open(const char *path, qn_ct2_folder *out);
void qn_ct2_folder_close(qn_ct2_folder *folder);

// The single files, for the tests. NAME.json is a list of strings, NAME.txt has a token per line.
qn_status qn_ct2_vocabulary_parse(const char *text, size_t size, bool json, const char *source, qn_ct2_vocabulary *out);
qn_status qn_ct2_config_parse(const char *text, size_t size, const char *source, qn_ct2_config *out);
