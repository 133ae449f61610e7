// quern pretrain: a model from raw text, from scratch or going on from a folder.
#include "cli/training.h"

static void defaults(void *memory) {
    ((training_settings *)memory)->training = qn_training_defaults(true);
}

static const option options[] = {
    {"model", TRAINING(model), "PATH", .help = "config.json to begin from scratch, or a model's folder or GGUF file to go on from",
     .required = true, .alias = "config-name"},
    TRAINING_FILES,
    {"objective", TRAINING(task), "NAME", .help = "what is learned: mlm, words hidden from an encoder; clm, a decoder's next word; denoise, texts from their noisy "
             "forms, by an encoder-decoder, or by an encoder and a decoder that reads its vector of the text alone; "
             "autoencode, rows of numbers",
     .choices = "mlm|clm|denoise|autoencode", .fallback = "by the model"},
    TRAINING_DATA,
    {"label-column", TRAINING(data.label_column), "NAME", .help = "autoencode, denoise: column that is not learned, but colours the latent vectors in the report",
     .fallback = "by name"},
    {"test-file", TRAINING(test), "FILE", .help = "autoencode: data measured at the end with the best checkpoint"},
    TRAINING_LENGTH,
    TRAINING_LORA,
    HEADING("Masked language modelling"),
    {"mlm-probability", TRAINING(mask_probability), "X", .help = "share of tokens that are hidden", .min = 0.001,
     .max = 0.999},
    {"whole-word", TRAINING(whole_word), NULL, .help = "hide all pieces of a word together",
     .alias = "whole-word-mask"},
    {"next-sentence", TRAINING(next_sentence), NULL, .help = "also learn whether one text follows another"},
    HEADING("Denoising (--objective denoise)"),
    TRAINING_NOISE("tokens (with --whole-word: words)", "0.1 of an encoder where no noise is given",
                   "0.3 of an encoder-decoder where no noise is given", "1 of an encoder-decoder where no noise is given"),
    {"latent", TRAINING(decoder.latent), "N", .help = "of an encoder: numbers of a text's vector", .max = 65536,
     .fallback = "as many as of a token's"},
    {"pooling", TRAINING(embed.pooling), "HOW", .help = "of an encoder: how tokens' vectors become one: mean, cls, ...",
     .fallback = "as the folder says, else mean"},
    TRAINING_DECODER("not tied"),
    {"variational", TRAINING(decoder.variational), NULL,
     .help = "of an encoder: vectors are drawn from normal variables in training, so that random ones are texts too"},
    {"beta", TRAINING(decoder.beta), "X", .help = "... how much their divergence from standard normal ones counts",
     .min = 0},
    {"beta-warmup-steps", TRAINING(decoder.beta_warmup_steps), "N", .help = "... steps in which that weight rises from 0"},
    {"label-smoothing-factor", TRAINING(label_smoothing), "X", .help = "share of the target spread over all tokens",
     .alias = "label-smoothing", .max = 0.999},
    TRAINING_RUN,
    {0}};

static int run(const void *memory) {
    return run_training(memory, qn_pretrain);
}

const command command_pretrain = {
    .name = "pretrain",
    .help = "Trains a model on raw text, from scratch or going on from a folder.",
    .details =
        "Text is one text per line, or a text column of TSV, CSV or JSON lines; also gzipped. A corpus larger than "
        "memory is\n"
        "streamed. SIGINT and SIGTERM save a checkpoint; --resume goes on from there and ends in the same bytes.",
    .example = "quern tokenizer train --vocab-size 8192 --output-dir tokenizer data/wordnet/pretrain.txt.gz\n"
               "quern pretrain --model examples/tiny.json --tokenizer tokenizer --output-dir pretrained "
               "data/wordnet/pretrain.txt.gz",
    .options = options,
    .size = sizeof(training_settings),
    .defaults = defaults,
    .run = run};
