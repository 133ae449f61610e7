// The one parser of options, and the help that it prints.
#include "cli/cli.h"
#include <errno.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { HELP_COLUMN = 34, HELP_WIDTH = 100, NAME_LIMIT = 64 };

// What runs, for messages.
static const char *running = "quern";

int wrong_usage(const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    fprintf(stderr, "%s: ", running);
    vfprintf(stderr, format, arguments);
    va_end(arguments);
    fprintf(stderr, " (see %s --help)\n", running);
    return 2;
}

// Edits between two names: insertions, deletions, changes, and swaps of neighbours.
static size_t edits(const char *a, const char *b) {
    size_t n = strlen(a), m = strlen(b), table[3][NAME_LIMIT + 1];
    if (n > NAME_LIMIT || m > NAME_LIMIT) return SIZE_MAX;
    for (size_t j = 0; j <= m; j++) table[0][j] = j;
    for (size_t i = 1; i <= n; i++) {
        size_t *row = table[i % 3], *above = table[(i + 2) % 3], *before = table[(i + 1) % 3];
        row[0] = i;
        for (size_t j = 1; j <= m; j++) {
            size_t best = above[j - 1] + (a[i - 1] != b[j - 1]);
            if (above[j] + 1 < best) best = above[j] + 1;
            if (row[j - 1] + 1 < best) best = row[j - 1] + 1;
            if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] && before[j - 2] + 1 < best)
                best = before[j - 2] + 1;
            row[j] = best;
        }
    }
    return table[n % 3][m];
}

const char *nearest(const char *name, const char *(*next)(void *user), void *user) {
    const char *found = NULL;
    size_t best = strlen(name) / 3 + 2;
    for (const char *candidate; (candidate = next(user));) {
        size_t distance = edits(name, candidate);
        // The beginning of a long name is near too.
        if (strlen(name) >= 3 && !strncmp(name, candidate, strlen(name))) distance = 1;
        if (distance < best) best = distance, found = candidate;
    }
    return found;
}

// ---- Reading -------------------------------------------------------------------------------------------------------

static bool same_name(const char *typed, size_t size, const char *name) {
    if (!name || strlen(name) != size) return false;
    for (size_t i = 0; i < size; i++)
        if ((typed[i] == '_' ? '-' : typed[i]) != name[i]) return false;
    return true;
}

static bool is_flag(const option *o) {
    return o->type == OPTION_FLAG || o->type == OPTION_SWITCH;
}

static const option *find_option(const option *options, const char *typed, size_t size, bool *negated) {
    *negated = false;
    for (const option *o = options; o->name || o->heading || o->arguments; o++)
        if (same_name(typed, size, o->name) || same_name(typed, size, o->alias)) return o;
    if (size > 3 && !strncmp(typed, "no-", 3)) {
        const option *o = find_option(options, typed + 3, size - 3, negated);
        *negated = true;
        if (o && is_flag(o)) return o;
    }
    return NULL;
}

typedef struct {
    const option *at;
    bool alias; // the alias of the option before `at` comes next
} option_names;

static const char *next_option_name(void *user) {
    option_names *names = user;
    if (names->alias && names->at[-1].alias) {
        names->alias = false;
        return names->at[-1].alias;
    }
    while (!names->at->name && (names->at->heading || names->at->arguments)) names->at++;
    names->alias = names->at->name != NULL;
    return names->at->name ? names->at++->name : NULL;
}

static int unknown_option(const option *options, const char *typed, size_t size) {
    char name[NAME_LIMIT + 1];
    snprintf(name, sizeof name, "%.*s", (int)(size < NAME_LIMIT ? size : NAME_LIMIT), typed);
    for (char *c = name; *c; c++)
        if (*c == '_') *c = '-';
    option_names names = {options, false};
    const char *near = nearest(name, next_option_name, &names);
    if (near) return wrong_usage("unknown option --%s; did you mean --%s?", name, near);
    return wrong_usage("unknown option --%s", name);
}

static int add_to_list(list *values, const char *text) {
    const char **items = realloc((void *)values->items, (values->count + 1) * sizeof *items);
    if (!items) return fail("out of memory");
    items[values->count++] = text;
    values->items = items;
    return 0;
}

static int read_choice(const option *o, const char *text) {
    if (!o->choices) return 0;
    size_t size = strlen(text);
    for (const char *c = o->choices; *c;) {
        size_t length = strcspn(c, "|");
        if (length == size && !strncmp(c, text, size)) return 0;
        c += length + (c[length] == '|');
    }
    return wrong_usage("--%s: \"%s\" is not known (expected %s)", o->name, text, o->choices);
}

static int read_real(const option *o, const char *text, double *value) {
    char *end;
    errno = 0;
    *value = strtod(text, &end);
    if (o->type == OPTION_MINUTES && end != text) {
        static const struct {
            const char *unit;
            double minutes;
        } units[] = {{"s", 1.0 / 60}, {"m", 1}, {"min", 1}, {"h", 60}};
        for (size_t i = 0; i < sizeof units / sizeof *units; i++)
            if (!strcmp(end, units[i].unit)) *value *= units[i].minutes, end += strlen(end);
    }
    if (end == text || *end || !isfinite(*value) || strpbrk(text, "xX"))
        return wrong_usage("--%s: \"%s\" is not a %s", o->name, text,
                           o->type == OPTION_MINUTES ? "time (expected minutes, or 90m, 1.5h, 30s)" : "number");
    return 0;
}

static int check_range(const option *o, const char *text, double value) {
    bool above = o->max != 0, below = !o->unlimited;
    if ((!above || value <= o->max) && (!below || value >= o->min)) return 0;
    if (above && below)
        return wrong_usage("--%s: %s is out of range (expected %g to %g)", o->name, text, o->min, o->max);
    if (above) return wrong_usage("--%s: %s is too large (expected at most %g)", o->name, text, o->max);
    return wrong_usage("--%s: %s is too small (expected at least %g)", o->name, text, o->min);
}

static int read_whole(const option *o, const char *text, long long *value) {
    char *end;
    errno = 0;
    *value = strtoll(text, &end, 10);
    if (end == text || *end) return wrong_usage("--%s: \"%s\" is not a whole number", o->name, text);
    if (errno == ERANGE || (o->type == OPTION_INT && (*value > INT32_MAX || *value < INT32_MIN)))
        return wrong_usage("--%s: %s does not fit into %d bits", o->name, text, o->type == OPTION_INT ? 32 : 64);
    if (o->type == OPTION_SIZE && *value < 0) return wrong_usage("--%s: %s is below zero", o->name, text);
    return check_range(o, text, (double)*value);
}

static int read_value(const option *o, void *settings, const char *text) {
    void *field = (char *)settings + o->offset;
    long long whole;
    double real;
    int status = 0;
    switch (o->type) {
    case OPTION_FLAG:
    case OPTION_SWITCH: {
        bool on = !strcmp(text, "true"), off = !strcmp(text, "false");
        if (!on && !off)
            return wrong_usage("--%s: \"%s\" is not a truth value (expected true or false)", o->name, text);
        if (o->type == OPTION_FLAG)
            *(bool *)field = on;
        else
            *(int *)field = on;
        return 0;
    }
    case OPTION_TEXT:
        *(const char **)field = text;
        return read_choice(o, text);
    case OPTION_LIST:
        return add_to_list(field, text);
    case OPTION_INT:
    case OPTION_INT64:
    case OPTION_SIZE:
        if ((status = read_whole(o, text, &whole))) return status;
        if (o->type == OPTION_INT)
            *(int *)field = (int)whole;
        else if (o->type == OPTION_INT64)
            *(int64_t *)field = whole;
        else
            *(size_t *)field = (size_t)whole;
        return 0;
    case OPTION_REAL:
    case OPTION_MINUTES:
        if ((status = read_real(o, text, &real)) || (status = check_range(o, text, real))) return status;
        *(double *)field = real;
        return 0;
    }
    return 0;
}

static const option *find_letter(const option *options, char letter) {
    for (const option *o = options; o->name || o->heading || o->arguments; o++)
        if (o->name && o->letter == letter) return o;
    return NULL;
}

// Reads the option at argv[*i]; moves *i to the last argument that belongs to it.
static int read_option(const option *options, void *settings, int argc, char **argv, int *i, bool *seen) {
    const char *typed = argv[*i], *value = NULL;
    const option *o;
    bool negated = false;
    if (typed[1] == '-') {
        size_t size = strcspn(typed + 2, "=");
        o = find_option(options, typed + 2, size, &negated);
        if (!o) return unknown_option(options, typed + 2, size);
        if (typed[2 + size] == '=') value = typed + 3 + size;
    } else {
        o = find_letter(options, typed[1]);
        if (!o) return wrong_usage("unknown option %.2s", typed);
        if (typed[2]) value = typed + 2;
    }
    seen[o - options] = true;
    if (is_flag(o)) {
        if (value && negated) return wrong_usage("--no-%s takes no value", o->name);
        return read_value(o, settings, value ? value : negated ? "false" : "true");
    }
    if (!value) {
        if (*i + 1 >= argc || !strncmp(argv[*i + 1], "--", 2))
            return wrong_usage("--%s needs a value: --%s %s", o->name, o->name, o->value);
        value = argv[++*i];
    }
    return read_value(o, settings, value);
}

static int read_options(const option *options, void *settings, int argc, char **argv) {
    const option *arguments = NULL;
    size_t count = 0;
    for (; options[count].name || options[count].heading || options[count].arguments; count++)
        if (options[count].arguments) arguments = &options[count];
    bool *seen = calloc(count + 1, sizeof *seen), only_arguments = false;
    if (!seen) return fail("out of memory");
    int status = 0;
    for (int i = 0; i < argc && !status; i++) {
        if (!only_arguments && !strcmp(argv[i], "--"))
            only_arguments = true;
        else if (!only_arguments && argv[i][0] == '-' && argv[i][1])
            status = read_option(options, settings, argc, argv, &i, seen);
        else if (arguments)
            status = add_to_list((void *)((char *)settings + arguments->offset), argv[i]);
        else
            status = wrong_usage("unexpected argument \"%s\"", argv[i]);
    }
    for (size_t i = 0; i < count && !status; i++)
        if (options[i].required && !seen[i])
            status = wrong_usage("--%s %s is missing", options[i].name, options[i].value);
    free(seen);
    return status;
}

// ---- Help ----------------------------------------------------------------------------------------------------------

// Prints text from HELP_COLUMN on, wrapped; `column` is where the cursor stands.
static void print_wrapped(const char *text, int column) {
    if (column >= HELP_COLUMN) {
        printf("\n");
        column = 0;
    }
    column += printf("%*s", HELP_COLUMN - column, "");
    while (*text) {
        int size = (int)strcspn(text, " ");
        if (column > HELP_COLUMN && column + 1 + size > HELP_WIDTH)
            printf("\n%*s", HELP_COLUMN, ""), column = HELP_COLUMN;
        if (column > HELP_COLUMN) column += printf(" ");
        column += printf("%.*s", size, text);
        text += size;
        while (*text == ' ') text++;
    }
    printf("\n");
}

static void default_text(const option *o, const void *settings, char *out, size_t size) {
    const void *field = (const char *)settings + o->offset;
    *out = 0;
    if (o->fallback)
        snprintf(out, size, "%s", o->fallback);
    else if (o->required)
        snprintf(out, size, "required");
    else
        switch (o->type) {
        case OPTION_TEXT:
            if (*(const char *const *)field) snprintf(out, size, "default: %s", *(const char *const *)field);
            return;
        case OPTION_FLAG:
            if (*(const bool *)field) snprintf(out, size, "default: on; --no-%s", o->name);
            return;
        case OPTION_INT:
            snprintf(out, size, "default: %d", *(const int *)field);
            return;
        case OPTION_INT64:
            snprintf(out, size, "default: %lld", (long long)*(const int64_t *)field);
            return;
        case OPTION_SIZE:
            snprintf(out, size, "default: %zu", *(const size_t *)field);
            return;
        case OPTION_REAL:
        case OPTION_MINUTES:
            if (isfinite(*(const double *)field))
                snprintf(out, size, "default: %g%s", *(const double *)field, o->type == OPTION_MINUTES ? "m" : "");
            return;
        case OPTION_LIST:
        case OPTION_SWITCH:
            return;
        }
}

static void print_option(const option *o, const void *settings) {
    char text[512], shown[128];
    int column = o->letter ? printf("  -%c, --%s", o->letter, o->name) : printf("  --%s", o->name);
    if (o->choices)
        column += printf(" %s", o->choices);
    else if (o->value)
        column += printf(" %s", o->value);
    default_text(o, settings, shown, sizeof shown);
    snprintf(text, sizeof text, "%s%s%s%s%s%s", o->help, o->alias ? "; also --" : "", o->alias ? o->alias : "",
             *shown ? " (" : "", shown, *shown ? ")" : "");
    print_wrapped(text, column);
}

static void print_commands(const command *const *table) {
    printf("\nCommands:\n");
    for (; *table; table++) print_wrapped((*table)->help, printf("  %s", (*table)->name));
}

static void print_indented(const char *title, const char *text) {
    printf("\n%s\n", title);
    while (*text) {
        int size = (int)strcspn(text, "\n");
        printf("  %.*s\n", size, text);
        text += size + (text[size] == '\n');
    }
}

void print_help(const command *self, const char *path) {
    if (!self || self->children) {
        printf("Usage: %s COMMAND [options]\n", path);
        if (self)
            printf("\n%s\n", self->help);
        else
            printf("\nBuilds, pre-trains, fine-tunes, evaluates and uses transformer encoders.\n");
        print_commands(self ? self->children : commands);
        printf("\n%s COMMAND --help says more about each.\n", path);
        return;
    }
    // The defaults are read from the settings themselves, so that the help cannot lie.
    void *settings = calloc(1, self->size ? self->size : 1);
    if (!settings) return;
    if (self->defaults) self->defaults(settings);
    printf("Usage: %s", path);
    bool others = false, headed = false;
    for (const option *o = self->options; o->name || o->heading || o->arguments; o++) {
        if (o->required && !o->arguments)
            printf(" --%s %s", o->name, o->value);
        else
            others |= o->name != NULL;
    }
    if (others) printf(" [options]");
    for (const option *o = self->options; o->name || o->heading || o->arguments; o++)
        if (o->arguments) printf(o->required ? " %s ..." : " [%s ...]", o->value);
    printf("\n\n%s\n", self->help);
    if (self->details) printf("%s\n", self->details);
    for (const option *o = self->options; o->name || o->heading || o->arguments; o++) {
        if (o->arguments) continue;
        if (o->heading)
            printf("\n%s:\n", o->help);
        else if (!headed)
            printf("\nOptions:\n");
        headed = true;
        if (!o->heading) print_option(o, settings);
    }
    if (self->example) print_indented("Example:", self->example);
    free(settings);
}

// ---- Running -------------------------------------------------------------------------------------------------------

typedef struct {
    const command *const *at;
} command_names;

static const char *next_command_name(void *user) {
    command_names *names = user;
    return *names->at ? (*names->at++)->name : NULL;
}

const command *find_command(const command *const *table, const char *path, const char *name) {
    for (const command *const *at = table; *at; at++)
        if (!strcmp((*at)->name, name)) return *at;
    command_names names = {table};
    const char *near = nearest(name, next_command_name, &names);
    running = path;
    if (near)
        wrong_usage("unknown command \"%s\"; did you mean %s?", name, near);
    else
        wrong_usage("unknown command \"%s\"", name);
    return NULL;
}

static bool asks_for_help(int argc, char **argv) {
    for (int i = 0; i < argc && strcmp(argv[i], "--"); i++)
        if (!strcmp(argv[i], "--help") || !strcmp(argv[i], "-h")) return true;
    return false;
}

int run_command(const command *self, const char *path, int argc, char **argv) {
    running = path;
    if (self->children) {
        if (argc < 1) return wrong_usage("which command?");
        if (!strcmp(argv[0], "--help") || !strcmp(argv[0], "-h")) return print_help(self, path), 0;
        const command *child = find_command(self->children, path, argv[0]);
        if (!child) return 2;
        char longer[256];
        snprintf(longer, sizeof longer, "%s %s", path, child->name);
        return run_command(child, longer, argc - 1, argv + 1);
    }
    if (asks_for_help(argc, argv)) return print_help(self, path), 0;
    void *settings = calloc(1, self->size ? self->size : 1);
    if (!settings) return fail("out of memory");
    if (self->defaults) self->defaults(settings);
    int status = read_options(self->options, settings, argc, argv);
    if (!status) status = self->run(settings);
    for (const option *o = self->options; o->name || o->heading || o->arguments; o++)
        if (!o->heading && o->type == OPTION_LIST)
            free((void *)((list *)(void *)((char *)settings + o->offset))->items);
    free(settings);
    return status;
}
