// An autoencoder of rows of numbers: an encoder to a short vector, the latent one, and a decoder back, both of linear
// layers. The variational kind (Kingma & Welling 2013) encodes to normal variables, of which the latent vector is
// drawn.
#pragma once
#include "base/json.h"
#include "formats/weights.h"
#include "nn/encoder.h"

enum { QN_AUTOENCODER_LAYERS = 16, QN_AUTOENCODER_WIDTH = 1 << 20 };
extern const char qn_autoencoder_type[]; // "model_type": "autoencoder"

// How numbers become what the layers read: (x - shift) / scale of each column, from the training data.
typedef enum {
    QN_SCALING_NONE,
    QN_SCALING_STANDARD, // mean 0, variance 1
    QN_SCALING_MINMAX,   // 0 to 1
    QN_SCALING_RANGE     // 0 to 1 by one smallest and one largest number of all: pictures
} qn_input_scaling;

typedef struct {
    json_t *json;      // config.json as it was read
    char *source;      // the file, for messages
    size_t inputs;     // columns; 0: as the data has
    size_t picture[3]; // height, width and channels where a row is one; else zeros
    size_t layers;     // hidden ones of the encoder; the decoder has the same in the other order
    size_t hidden[QN_AUTOENCODER_LAYERS];
    size_t latent;
    qn_activation activation;
    bool variational;
    double beta;         // of the divergence (Higgins et al. 2017); 1: the variational bound itself
    int64_t beta_warmup; // steps in which it rises to that
    bool binary;         // the loss is binary cross-entropy, of numbers from 0 to 1; else the squared error
    qn_input_scaling scaling;
    float dropout;       // of hidden values
    float input_dropout; // of inputs, which are still to be given back: a denoising autoencoder (Vincent et al. 2008)
} qn_autoencoder_config;

// qn_is_autoencoder is public: see quern.h.
// Reads a folder's config.json or the file itself. Every value is checked; errors name file and key.
qn_status qn_autoencoder_config_read(const char *path, qn_autoencoder_config *out);
qn_status qn_autoencoder_config_parse(const char *text, size_t size, const char *source, qn_autoencoder_config *out);
void qn_autoencoder_config_free(qn_autoencoder_config *config);
const char *qn_input_scaling_name(qn_input_scaling scaling); // "none", "standard", "minmax", "range"

typedef struct {
    qn_autoencoder_config config;
    qn_parameters parameters;
    qn_dense encoder[QN_AUTOENCODER_LAYERS], decoder[QN_AUTOENCODER_LAYERS];
    qn_dense latent; // of the variational kind the means' part, which the logarithms of the variances stand behind
    qn_tensor latent_weight, latent_bias; // views over all of it
    qn_dense output;
    float *shift, *scale; // [inputs]
} qn_autoencoder_network;

// A network of `config` (which moves into it, also on failure) with random parameters, as torch.nn.Linear draws them:
// uniform within 1 / sqrt(inputs of the layer). config->inputs is known.
qn_status qn_autoencoder_create(qn_autoencoder_config *config, bool trainable, uint64_t seed,
                                qn_autoencoder_network **out);
// The same with the weights of a folder.
qn_status qn_autoencoder_load(qn_autoencoder_config *config, const char *folder, bool trainable,
                              qn_autoencoder_network **out);
void qn_autoencoder_network_free(qn_autoencoder_network *network); // NULL is allowed
// Writes config.json and model.safetensors.
qn_status qn_autoencoder_save(qn_autoencoder_network *network, const char *folder);
qn_status qn_autoencoder_read_weights(qn_autoencoder_network *network, const char *folder);

// Takes shift and scale of each column from data [rows, inputs], as the configuration says.
qn_status qn_autoencoder_fit_scaling(qn_autoencoder_network *network, const float *data, size_t rows);
// What the layers read of numbers [rows, inputs], and numbers from that; `to` may be `from`.
void qn_autoencoder_scale(const qn_autoencoder_network *network, const float *from, size_t rows, float *to);
void qn_autoencoder_unscale(const qn_autoencoder_network *network, const float *from, size_t rows, float *to);
// Numbers from what the decoder gives, which may be logits.
void qn_autoencoder_outputs(const qn_autoencoder_network *network, const float *from, size_t rows, float *to);

// --- Forward, on scaled numbers x [T, inputs]
// The latent vectors [T, latent], or of the variational kind their means and the logarithms of their variances
// [T, 2 latent].
qn_tensor *qn_autoencoder_encoder(qn_context *c, qn_autoencoder_network *network, qn_tensor *x);
// From latent vectors z [T, latent]: scaled numbers [T, inputs], or where `binary` their logits.
qn_tensor *qn_autoencoder_decoder(qn_context *c, qn_autoencoder_network *network, qn_tensor *z);

// The loss of scaled numbers, per number: the squared error or the binary cross-entropy, and of the variational kind
// `beta` times the divergence of a row, which `inputs` numbers share. With a tape its gradient is put.
typedef struct {
    double loss, error, divergence; // error: the first part; divergence: of a row, in nats
} qn_autoencoder_loss;
qn_status qn_autoencoder_loss_of(qn_context *c, qn_autoencoder_network *network, const float *numbers, size_t rows,
                                 double beta, qn_autoencoder_loss *out);
