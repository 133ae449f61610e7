// quern info: what is in a model's folder.
#include "cli/cli.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct {
    const char *model;
    bool json;
    list folders;
} settings;

static const option options[] = {
    {"model", FIELD(settings, model), "DIR", .help = "folder of the model; may also stand alone", .letter = 'm'},
    {"json", FIELD(settings, json), NULL, .help = "as JSON"},
    ARGUMENTS(settings, folders, "DIR"),
    {0}};

// Indented JSON without its quotes, braces and commas reads as a list of names and values.
static void print_plain(const char *json) {
    while (*json) {
        int size = (int)strcspn(json, "\n"), begin = (int)strspn(json, " ");
        const char *line = json + begin;
        int length = size - begin;
        json += size + (json[size] == '\n');
        if (length > 0 && line[length - 1] == ',') length--;
        if (length == 0 || strchr("{}[]", line[0])) continue;
        bool inside = false;
        printf("%*s", begin > 2 ? begin - 2 : 0, "");
        for (int i = 0; i < length; i++) {
            if (line[i] == '"')
                inside = !inside;
            else if (line[i] == '\\' && i + 1 < length)
                printf("%.2s", line + i), i++;
            else if (inside || !strchr("{}[]", line[i]))
                putchar(line[i]);
        }
        putchar('\n');
    }
}

static int describe_model(const char *folder, char **json) {
    qn_model *model;
    qn_model_options one = qn_model_defaults();
    if (qn_model_open(folder, &one, &model) != QN_OK) return failed();
    int status = qn_model_describe(model, json) == QN_OK ? 0 : failed();
    qn_model_close(model);
    return status;
}

static int describe_autoencoder(const char *folder, char **json) {
    qn_autoencoder *model;
    if (qn_autoencoder_open(folder, 0, &model) != QN_OK) return failed();
    int status = qn_autoencoder_describe(model, json) == QN_OK ? 0 : failed();
    qn_autoencoder_close(model);
    return status;
}

static int run(const void *memory) {
    const settings *s = memory;
    if ((s->model != NULL) + s->folders.count != 1) return wrong_usage("which folder? (expected one)");
    const char *folder = s->model ? s->model : s->folders.items[0];
    char *json = NULL;
    int status = (qn_is_autoencoder(folder) ? describe_autoencoder : describe_model)(folder, &json);
    if (!status && s->json)
        fputs(json, stdout);
    else if (!status)
        print_plain(json);
    free(json);
    return status;
}

const command command_info = {.name = "info",
                              .help = "Says what a model is: family, shape, heads, labels, weights, pooling.",
                              .example = "quern info all-MiniLM-L6-v2",
                              .options = options,
                              .size = sizeof(settings),
                              .run = run};
