// What the commands that use a model share: its options, texts that come in windows, and output that is whole or not
// there.
#pragma once
#include "cli/cli.h"

typedef struct {
    const char *model, *input, *output, *overflow;
    qn_model_options options;
    qn_data_options data;
    list texts; // given as arguments
} use_settings;

// Each is a part of a command's table of options; `structure` has a member `use` of type use_settings.
#define USE_MODEL(structure)                                                                                           \
    {"model", FIELD(structure, use.model), "PATH", .help = "folder of the model, or a GGUF file", .required = true, .letter = 'm'}, \
    {                                                                                                                  \
        "adapter", FIELD(structure, use.options.adapter), "DIR", .help = "folder of a LoRA adapter for the model"      \
    }
#define USE_INPUT(structure)                                                                                           \
    {"input",       FIELD(structure, use.input),                                                                       \
     "FILE",        .help = "texts: one per line, or TSV, CSV, JSON lines, also gzipped; - is standard input",         \
     .letter = 'i', .fallback = "standard input"},                                                                     \
        USE_FORMAT(structure)
#define USE_FORMAT(structure)                                                                                          \
    {"format",                                                                                                         \
     FIELD(structure, use.data.format),                                                                                \
     "FORMAT",                                                                                                         \
     .help = "of the file",                                                                                            \
     .choices = "tsv|csv|jsonl|text|fasttext|conll|squad",                                                                    \
     .fallback = "by name; text for standard input"},                                                                  \
        {"text-column", FIELD(structure, use.data.text_column), "NAME", .help = "column of the text",                  \
         .fallback = "by name"},                                                                                       \
        {"text-pair-column",                                                                                           \
         FIELD(structure, use.data.pair_column),                                                                       \
         "NAME",                                                                                                       \
         .help = "column of the second text",                                                                          \
         .alias = "pair-column",                                                                                       \
         .fallback = "by name"},                                                                                       \
    {                                                                                                                  \
        "columns", FIELD(structure, use.data.columns), "A,B,C", .help = "columns of a file without a header line"      \
    }
#define USE_SPEED(structure)                                                                                           \
    HEADING("Speed"),                                                                                                  \
        {"threads",                                                                                                    \
         FIELD(structure, use.options.threads),                                                                        \
         "N",                                                                                                          \
         .help = "threads; they do not change the result",                                                             \
         .letter = 't',                                                                                                \
         .max = 1024,                                                                                                  \
         .fallback = "all"},                                                                                           \
        {"dtype",                                                                                                      \
         FIELD(structure, use.options.dtype),                                                                          \
         "TYPE",                                                                                                       \
         .help = "of products",                                                                                        \
         .choices = DTYPE_CHOICES(""),                                                                                 \
         .fallback = "f32; of a GGUF file as its blocks are"},                                                          \
        {"batch-tokens",                                                                                               \
         FIELD(structure, use.options.batch_tokens),                                                                   \
         "N",                                                                                                          \
         .help = "tokens computed at once; they do not change the result",                                             \
         .max = 1 << 24,                                                                                               \
         .fallback = "chosen"},                                                                                        \
    {                                                                                                                  \
        "max-seq-length", FIELD(structure, use.options.max_length), "N",                                               \
            .help = "tokens of a text; longer texts are cut", .alias = "max-length", .fallback = "the model's limit"   \
    }

// How vectors are made.
#define USE_VECTORS(structure)                                                                                         \
    {"prompt",                                                                                                         \
     FIELD(structure, use.options.prompt),                                                                             \
     "NAME|TEXT",                                                                                                      \
     .help = "put before each text: the name of one of the folder's prompts, or a text",                               \
     .fallback = "the folder's"},                                                                                      \
        USE_DIMENSIONS(structure)
#define USE_DIMENSIONS(structure)                                                                                      \
    {                                                                                                                  \
        "dimensions", FIELD(structure, use.options.dimensions), "N",                                                   \
            .help = "keep the first N columns of vectors (Matryoshka)", .alias = "truncate-dim", .fallback = "all"     \
    }
// Prompts of examples of several texts.
#define USE_PROMPTS(query, document)                                                                                   \
    {"query-prompt", query, "NAME|TEXT", .help = "embeddings: put before the first text of an example",                \
     .fallback = "the folder's"},                                                                                      \
    {                                                                                                                  \
        "document-prompt", document, "NAME|TEXT", .help = "embeddings: put before its other texts",                    \
            .fallback = "the folder's"                                                                                 \
    }

// What happens to texts that are longer than the limit.
#define USE_OVERFLOW(structure)                                                                                        \
    {                                                                                                                  \
        "overflow", FIELD(structure, use.overflow), "HOW", .help = "of texts longer than the limit",                   \
            .choices = "error|truncate|split", .fallback = "split for tagging and answers, else truncate"                   \
    }

// Opens the model with the options of the command line; prints what is wrong. The exit status.
int use_model(const use_settings *use, qn_model **model);

// ---- Texts
// -----------------------------------------------------------------------------------------------------------

// A part of the input that fits into memory, however large the input is.
typedef struct {
    qn_text *texts; // [count], valid until the next window
    size_t count;
    qn_texts *reader; // what follows is the functions' own
    const list *given;
    size_t next, capacity, used, bytes_capacity;
    size_t *places; // of text and pair in `bytes`
    char *bytes;
} text_window;

// The texts given as arguments, or those of the input. Each returns an exit status, having printed what is wrong.
int window_open(text_window *window, const use_settings *use);
int window_next(text_window *window); // count 0 at the end
void window_close(text_window *window);

// ---- Output
// ----------------------------------------------------------------------------------------------------------

// Standard output for NULL or "-"; else a file, which appears under its name when the command has succeeded.
typedef struct {
    qn_writer *file;
    char *buffer;
    size_t used;
} output;

int output_open(output *out, const char *path);
void output_bytes(output *out, const void *data, size_t size);
void output_text(output *out, const char *text);
void output_printf(output *out, const char *format, ...) __attribute__((format(printf, 2, 3)));
void output_quoted(output *out, const char *text, size_t size); // as a JSON string
void output_number(output *out, double value); // digits that read back as the same float32; null for NaN
void output_usage(output *out, const qn_usage *usage); // "tokens": N, "windows": N, "truncated": false
// The same for a text that was read whole or cut, after a comma; prints what is wrong. The exit status.
int write_usage(output *out, qn_model *model, const qn_text *text, bool embedding);
void output_vector(output *out, const float *values, size_t count);
void output_show(const output *out); // what was written to standard output so far appears there
// True when writing has failed, so that a long command need not go on.
bool output_broken(const output *out);
// Completes the file when `status` is 0, else drops it; returns the exit status.
int output_close(output *out, int status);

// ---- Vectors of tokens in FILE.npy: the rows of text i are offsets[i] .. offsets[i+1]-1
typedef struct {
    int64_t *offsets; // [texts + 1]
    size_t texts, capacity;
} text_rows;

bool text_rows_add(text_rows *rows, size_t count); // of the next text; false: out of memory
// FILE.offsets.npy, an int64 array beside FILE.npy; the exit status. Frees the offsets.
int text_rows_write(text_rows *rows, const char *path);
