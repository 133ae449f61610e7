// quern reconstruct: encodes and decodes, and shows input beside output.
#include "cli/reconstruct.h"

static void defaults(void *memory) {
    ((reconstruct_settings *)memory)->steps = 8;
}

static const option options[] = {
    {"model", FIELD(reconstruct_settings, use.model), "DIR", .help = "folder of an autoencoder, or of an encoder-decoder", .required = true,
     .letter = 'm'},
    {"input", FIELD(reconstruct_settings, use.input), "FILE", .letter = 'i', .fallback = "standard input",
     .help = "rows of numbers: TSV, CSV, JSON lines, .npy, safetensors, IDX; or texts"},
    {"format", FIELD(reconstruct_settings, use.data.format), "FORMAT", .help = "of the file",
     .choices = "tsv|csv|jsonl|text", .fallback = "by name and content"},
    {"columns", FIELD(reconstruct_settings, use.data.columns), "A,B,C",
     .help = "columns of a file without a header line"},
    {"label-column", FIELD(reconstruct_settings, use.data.label_column), "NAME",
     .help = "column of labels, which is not read as a number", .fallback = "by name"},
    {"text-column", FIELD(reconstruct_settings, use.data.text_column), "NAME",
     .help = "column of texts; of numbers the key of JSON lines, or tensor of a safetensors file", .fallback = "by name"},
    {"limit", FIELD(reconstruct_settings, limit), "N", .help = "the first N rows alone", .fallback = "all"},
    HEADING("What is written"),
    {"latent", FIELD(reconstruct_settings, latent), NULL,
     .help = "the vectors between encoder and decoder, not reconstructions"},
    {"interpolate", FIELD(reconstruct_settings, interpolate), NULL,
     .help = "the way from one row to another: two arguments, their numbers in the file, from 1; or two texts"},
    {"steps", FIELD(reconstruct_settings, steps), "N", .help = "of the way, both ends among them", .min = 2,
     .max = 1e6},
    {"sample", FIELD(reconstruct_settings, samples), "N", .help = "N rows, or texts, from random vectors, of a variational model",
     .max = 1e7},
    {"seed", FIELD(reconstruct_settings, seed), "N", .help = "of samples"},
    {"output", FIELD(reconstruct_settings, use.output), "FILE", .letter = 'o',
     .fallback = "JSON lines on standard output",
     .help = "by its name JSON lines (.jsonl), .csv, .npy, or a sheet of pictures (.png, .pgm, .ppm)"},
    HEADING("Speed"),
    {"threads", FIELD(reconstruct_settings, use.options.threads), "N", .help = "threads; they do not change the result",
     .letter = 't', .max = 1024, .fallback = "all"},
    ARGUMENTS(reconstruct_settings, use.texts, "ROW|TEXT"),
    {0}};

static int run(const void *memory) {
    const reconstruct_settings *s = memory;
    if (s->interpolate + s->latent + (s->samples > 0) > 1)
        return wrong_usage("--latent, --interpolate and --sample exclude each other");
    return qn_is_autoencoder(s->use.model) ? reconstruct_numbers(s) : reconstruct_texts(s);
}

const command command_reconstruct = {
    .name = "reconstruct",
    .help = "Shows what an autoencoder makes of its input; its latent vectors, samples and interpolations.",
    .details = "A line of output has a row's \"input\", \"output\", the mean squared \"error\" between them, and its "
               "\"label\" if there "
               "is one;\n.csv and .npy have outputs alone, and a sheet of pictures has lines of inputs above lines of "
               "outputs. Of a text the line says whether it is \"exact\", how many \"tokens\" it has, and how many of these "
               "are \"right\".",
    .example = "quern reconstruct --model digits --input data/digits/test.csv.gz --output digits.png\n"
               "quern reconstruct --model digits --sample 100 --output samples.png\n"
               "quern reconstruct --model glosses --interpolate --steps 5 'a small bird' 'a large building'",
    .options = options,
    .size = sizeof(reconstruct_settings),
    .defaults = defaults,
    .run = run};
