// The command `quern`: a table of commands, one file each, over include/quern.h alone.
//
// To add the command `quern grind`: write cli/grind.c, and add X(grind) to COMMAND_MAP below.
//
//     typedef struct {                            // What the user may set; the parser writes straight into it.
//         const char *model;
//         size_t batch_tokens;
//         double rate;
//         bool coarse;
//         list files;                             // the arguments that are no options
//     } settings;
//
//     static void defaults(void *memory) {        // --help shows these values as the defaults. The memory comes
//     zeroed.
//         settings *s = memory;
//         s->rate = 0.1;
//     }
//
//     static const option options[] = {           // The type of an option is that of its field; see `option` below.
//         {"model", FIELD(settings, model), "DIR", "folder of the model", .required = true},
//         HEADING("Speed"),
//         {"batch-tokens", FIELD(settings, batch_tokens), "N", "tokens at once", .max = 1e6, .fallback = "chosen"},
//         {"rate", FIELD(settings, rate), "X", "how fast the stone turns", .min = 0, .max = 1},
//         {"coarse", FIELD(settings, coarse), NULL, "grind coarsely"},       // --coarse, --no-coarse
//         ARGUMENTS(settings, files, "FILE"),
//         {0}};
//
//     static int run(const void *memory) {        // Returns the exit status: 0 done, 1 failed, 2 wrong usage.
//         const settings *s = memory;
//         qn_model *model;
//         if (qn_model_open(s->model, NULL, &model) != QN_OK) return failed();  // prints qn_last_error()
//         ...
//         return 0;                               // main checks that standard output took everything
//     }
//
//     const command command_grind = {.name = "grind",
//                                    .help = "Turns grain into flour.",
//                                    .example = "quern grind --model DIR rye.txt",
//                                    .options = options,
//                                    .size = sizeof(settings),
//                                    .defaults = defaults,
//                                    .run = run};
//
// A command may have commands of its own (`quern tokenizer train`): set `.children` instead of options and run.
#pragma once
#include "quern.h"

#define COMMAND_MAP(X)                                                                                                 \
    X(help)                                                                                                            \
    X(tokenizer)                                                                                                       \
    X(pretrain)                                                                                                        \
    X(finetune)                                                                                                        \
    X(tune)                                                                                                            \
    X(merge)                                                                                                           \
    X(eval)                                                                                                            \
    X(predict)                                                                                                         \
    X(answer)                                                                                                          \
    X(embed)                                                                                                           \
    X(mine)                                                                                                            \
    X(fill_mask)                                                                                                       \
    X(rerank)                                                                                                          \
    X(generate)                                                                                                        \
    X(translate)                                                                                                       \
    X(reconstruct)                                                                                                     \
    X(index)                                                                                                           \
    X(search)                                                                                                          \
    X(info)                                                                                                            \
    X(verify)                                                                                                          \
    X(quantize)                                                                                                        \
    X(bench)

// ---- Options -------------------------------------------------------------------------------------------------------

// How a value is written and stored.
typedef enum {
    OPTION_TEXT,    // const char *: as it stands on the command line
    OPTION_FLAG,    // bool: --name, --no-name, --name=true|false
    OPTION_INT,     // int
    OPTION_INT64,   // int64_t
    OPTION_SIZE,    // size_t, uint64_t
    OPTION_REAL,    // double, finite
    OPTION_LIST,    // a pointer to strings and, right behind it, their count (size_t): the option may be repeated
    OPTION_SWITCH,  // int as a flag of three states: 1 for --name, 0 for --no-name; the default is usually -1
    OPTION_MINUTES, // double: 90, 90m, 1.5h, 30s
} option_type;

typedef struct {
    const char *const *items; // on the heap while the command runs
    size_t count;
} list;

typedef struct {
    const char *name;     // "batch-tokens"; --batch_tokens works too. NULL in a heading and for arguments
    option_type type;     // FIELD takes it from the field
    size_t offset;        // of the field in the settings
    const char *value;    // what the help calls the value: "DIR"; NULL for a flag
    const char *help;     // one sentence without a full stop
    double min, max;      // of a number, both included; max 0: only min counts
    const char *choices;  // of a text: "mean|cls|max"
    const char *alias;    // a second long name
    const char *fallback; // in the help in place of the default's value
    char letter;          // a short name: 'm' for -m
    bool required;
    bool unlimited; // a number below zero is allowed without a min
    bool heading, arguments;
} option;

// The type of an option and where its value goes, both from one name; a field of a wrong type does not compile. A field
// that needs another reading than its type's is written FIELD_AS(OPTION_SWITCH, settings, normalize).
#define FIELD_TYPE(structure, field)                                                                                   \
    _Generic(((structure *)0)->field,                                                                                  \
        const char *: OPTION_TEXT,                                                                                     \
        bool: OPTION_FLAG,                                                                                             \
        int: OPTION_INT,                                                                                               \
        long: OPTION_INT64,                                                                                            \
        long long: OPTION_INT64,                                                                                       \
        unsigned long: OPTION_SIZE,                                                                                    \
        unsigned long long: OPTION_SIZE,                                                                               \
        double: OPTION_REAL,                                                                                           \
        list: OPTION_LIST,                                                                                             \
        const char *const *: OPTION_LIST)
#define FIELD(structure, field) FIELD_TYPE(structure, field), offsetof(structure, field)
#define FIELD_AS(type, structure, field) type, offsetof(structure, field)
// The choices of an option for a dtype: their names, and `more` ("" or "|all").
#define DTYPE_CHOICE(text, dtype) "|" text
#define DTYPE_CHOICES(more) &(QN_DTYPE_MAP(DTYPE_CHOICE) more)[1]
#define HEADING(text)                                                                                                  \
    { .help = text, .heading = true }
// The arguments that are no options; `field` is a list. Without this entry there may be none.
#define ARGUMENTS(structure, field, what)                                                                              \
    { NULL, FIELD(structure, field), what, .arguments = true }

// ---- Commands ------------------------------------------------------------------------------------------------------

typedef struct command command;
struct command {
    const char *name;
    const char *help;                 // one line, "Turns texts into vectors."
    const char *details;              // more for --help; may be NULL
    const char *example;              // lines that run as they are
    const option *options;            // the last one is {0}
    size_t size;                      // of the settings
    void (*defaults)(void *settings); // may be NULL: all zero
    int (*run)(const void *settings);
    const command *const *children; // NULL at the end; then nothing else but name and help is set
};

#define COMMAND_DECLARE(name) extern const command command_##name;
COMMAND_MAP(COMMAND_DECLARE)
#undef COMMAND_DECLARE
extern const command *const commands[]; // NULL at the end

// Runs a command with its arguments (argv[0] is the first of them). `path` is what the user typed to get here: "quern
// embed".
int run_command(const command *self, const char *path, int argc, char **argv);
// Prints the help of a command, or with NULL that of quern.
void print_help(const command *self, const char *path);
// Finds by name; NULL when there is none, and then prints what is near and the list.
const command *find_command(const command *const *table, const char *path, const char *name);

// ---- Messages, on standard error -----------------------------------------------------------------------------------

// "quern: qn_last_error()"; returns 1.
int failed(void);
// "quern: ..."; returns 1.
int fail(const char *format, ...) __attribute__((format(printf, 1, 2)));
// "quern embed: ... (see quern embed --help)" for the command that runs; returns 2.
int wrong_usage(const char *format, ...) __attribute__((format(printf, 1, 2)));
// The whole command line, quoted so that a shell reads it back; for reports. Lives as long as the process.
const char *command_line(void);
// The candidate nearest to `name` by edits, or NULL when none is near. `next` gives candidates until it gives NULL.
const char *nearest(const char *name, const char *(*next)(void *user), void *user);
