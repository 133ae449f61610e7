// quern tokenizer train | encode | decode
#include "cli/cli.h"
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

// ---- train ---------------------------------------------------------------------------------------------------------

typedef struct {
    list files, more_files;
    const char *output, *kind;
    size_t vocab_size, min_frequency, limit_alphabet, max_length;
    bool lowercase, chinese, byte_fallback;
    int strip_accents;
    bool pad_last;
    const char *pad, *unknown, *cls, *sep, *mask;
    const char *format, *text_column;
    bool quiet;
} train_settings;

static void train_defaults(void *memory) {
    train_settings *s = memory;
    qn_tokenizer_options o = qn_tokenizer_defaults(QN_WORDPIECE);
    s->kind = "wordpiece";
    s->vocab_size = o.vocab_size;
    s->min_frequency = o.min_frequency;
    s->limit_alphabet = o.limit_alphabet;
    s->max_length = o.max_length;
    s->lowercase = o.lowercase;
    s->chinese = o.chinese_characters;
    s->strip_accents = -1;
}

static const option train_options[] = {
    {"train-file", FIELD(train_settings, files), "FILE",
     .help = "text to learn from: one text per line, or TSV, CSV, JSON lines, also gzipped; may be repeated"},
    {"output-dir", FIELD(train_settings, output), "DIR",
     .help = "folder for tokenizer.json and its settings; vocab.txt too for wordpiece", .required = true},
    {"kind", FIELD(train_settings, kind), "KIND",
     .help =
         "how words are cut: BERT's longest pieces, merged pairs (of bytes, as in GPT-2 and RoBERTa), the most likely "
         "pieces (as in T5 and XLM-RoBERTa), or not at all",
     .choices = "wordpiece|bpe|unigram|wordlevel"},
    {"byte-fallback", FIELD(train_settings, byte_fallback), NULL,
     .help = "bpe: pairs of characters instead of bytes, as in Llama 2, with tokens of bytes for rare characters"},
    {"vocab-size", FIELD(train_settings, vocab_size), "N", .help = "tokens at most, special ones included", .min = 7,
     .max = 1 << 24},
    {"min-frequency", FIELD(train_settings, min_frequency), "N",
     .help = "pairs of pieces and words seen less often give no token; not of unigram", .min = 1},
    {"limit-alphabet", FIELD(train_settings, limit_alphabet), "N",
     .help = "different characters at most, the most frequent ones; 0 is no limit; not of byte pairs and words"},
    {"max-length", FIELD(train_settings, max_length), "N",
     .help = "tokens of a text that the model will take; kept as model_max_length", .alias = "model-max-length"},
    HEADING("Normalisation (wordpiece and wordlevel)"),
    {"lowercase", FIELD(train_settings, lowercase), NULL, .help = "turn all text into lower case",
     .alias = "do-lower-case"},
    {"strip-accents", FIELD_AS(OPTION_SWITCH, train_settings, strip_accents), NULL, .help = "drop accents",
     .fallback = "as --lowercase"},
    {"chinese-characters", FIELD(train_settings, chinese), NULL, .help = "make each Chinese character a word",
     .alias = "tokenize-chinese-chars"},
    HEADING("Special tokens"),
    {"pad-token", FIELD(train_settings, pad), "TOKEN", .help = "padding", .fallback = "[PAD]; bpe, unigram: <pad>"},
    {"pad-last", FIELD(train_settings, pad_last), NULL,
     .help = "padding gets the last id, as Marian's models have it; not of wordpiece"},
    {"unk-token", FIELD(train_settings, unknown), "TOKEN", .help = "unknown words",
     .fallback = "[UNK]; bpe, unigram: <unk>"},
    {"cls-token", FIELD(train_settings, cls), "TOKEN",
     .help = "the beginning of a text; bpe, unigram: empty for none, as in T5 and Marian",
     .fallback = "[CLS]; bpe, unigram: <s>"},
    {"sep-token", FIELD(train_settings, sep), "TOKEN", .help = "the end of a text",
     .fallback = "[SEP]; bpe, unigram: </s>"},
    {"mask-token", FIELD(train_settings, mask), "TOKEN", .help = "a hidden word",
     .fallback = "[MASK]; bpe, unigram: <mask>"},
    HEADING("Input"),
    {"format", FIELD(train_settings, format), "FORMAT", .help = "of the files",
     .choices = "tsv|csv|jsonl|text|fasttext", .fallback = "by name and first line"},
    {"text-column", FIELD(train_settings, text_column), "NAME", .help = "column of the text", .fallback = "by name"},
    {"quiet", FIELD(train_settings, quiet), NULL, .help = "no progress on standard error", .letter = 'q'},
    ARGUMENTS(train_settings, more_files, "FILE"),
    {0}};

// Texts, then pairs of texts, as texts of their own.
typedef struct {
    qn_texts *texts;
    qn_text waiting;
} text_source;

static qn_status next_text(void *user, const char **text, size_t *size) {
    text_source *s = user;
    if (s->waiting.pair) {
        *text = s->waiting.pair;
        *size = s->waiting.pair_size;
        s->waiting.pair = NULL;
        return QN_OK;
    }
    qn_status status = qn_texts_next(s->texts, &s->waiting);
    *text = s->waiting.text;
    *size = s->waiting.size;
    return status;
}

static volatile sig_atomic_t interrupted;

static void note_signal(int number) {
    (void)number;
    interrupted = 1;
}

// `user` is whether to print. After Ctrl-C the training ends before anything is written.
static bool go_on(void *user, const char *stage, size_t done, size_t total) {
    const bool *show = user;
    if (interrupted || !*show) return !interrupted;
    if (strcmp(stage, "count") == 0)
        fprintf(stderr, "\rcounting words: %zu texts", done);
    else if (strcmp(stage, "merge") == 0)
        fprintf(stderr, "\rjoining pieces: %zu of %zu tokens", done, total);
    else
        fprintf(stderr, "\rdropping pieces: %zu, of which %zu will stay", done, total);
    if (total > 0 && done == total) fputc('\n', stderr);
    return true;
}

static qn_tokenizer_kind kind_of(const char *name) {
    return strcmp(name, "bpe") == 0         ? QN_BPE
           : strcmp(name, "unigram") == 0   ? QN_UNIGRAM
           : strcmp(name, "wordlevel") == 0 ? QN_WORDLEVEL
                                            : QN_WORDPIECE;
}

static int train_run(const void *memory) {
    const train_settings *s = memory;
    size_t count = s->files.count + s->more_files.count;
    if (count == 0) return wrong_usage("no text to learn from (expected --train-file FILE)");
    qn_tokenizer_options o = qn_tokenizer_defaults(kind_of(s->kind));
    o.vocab_size = s->vocab_size;
    o.min_frequency = s->min_frequency;
    o.limit_alphabet = s->limit_alphabet;
    o.max_length = s->max_length;
    o.lowercase = s->lowercase;
    o.strip_accents = s->strip_accents < 0 ? s->lowercase : s->strip_accents == 1;
    o.chinese_characters = s->chinese;
    const char *special[QN_TOKEN_COUNT] = {s->pad, s->unknown, s->cls, s->sep, s->mask};
    for (size_t i = 0; i < QN_TOKEN_COUNT; i++)
        if (special[i]) o.special[i] = special[i];
    o.byte_fallback = s->byte_fallback;
    o.pad_last = s->pad_last;
    bool show = !s->quiet && isatty(STDERR_FILENO);
    o.progress = go_on;
    o.progress_user = &show;
    signal(SIGINT, note_signal);

    const char **paths = calloc(count, sizeof *paths);
    if (!paths) return fail("out of memory");
    for (size_t i = 0; i < count; i++)
        paths[i] = i < s->files.count ? s->files.items[i] : s->more_files.items[i - s->files.count];
    qn_data_options data = {.format = s->format, .text_column = s->text_column};
    text_source source = {0};
    qn_tokenizer *tokenizer = NULL;
    qn_status status = qn_texts_open(paths, count, &data, false, &source.texts);
    free(paths);
    if (status == QN_OK) status = qn_tokenizer_train(&o, next_text, &source, &tokenizer);
    if (status == QN_OK) status = qn_tokenizer_save(tokenizer, s->output);
    if (status == QN_OK && !s->quiet) fprintf(stderr, "%zu tokens in %s\n", qn_tokenizer_size(tokenizer), s->output);
    qn_tokenizer_free(tokenizer);
    qn_texts_close(source.texts);
    return status == QN_OK ? 0 : failed();
}

static const command command_train = {
    .name = "train",
    .help = "learns a vocabulary from text: WordPiece, BPE, Unigram or whole words",
    .details = "The same texts give the same vocabulary, in whatever order they come. Ctrl-C leaves nothing behind.",
    .example = "quern tokenizer train --train-file data/wordnet/train.tsv --vocab-size 8000 --output-dir vocabulary",
    .options = train_options,
    .size = sizeof(train_settings),
    .defaults = train_defaults,
    .run = train_run};

// ---- encode --------------------------------------------------------------------------------------------------------

typedef struct {
    const char *model, *input, *pair_input, *format, *text_column, *pair_column, *truncation, *side;
    size_t max_length;
    bool special, details;
} encode_settings;

static void encode_defaults(void *memory) {
    encode_settings *s = memory;
    s->input = "-";
    s->truncation = "longest_first";
    s->side = "right";
    s->special = true;
}

static const option encode_options[] = {
    {"model", FIELD(encode_settings, model), "DIR",
     .help = "folder with tokenizer.json or vocab.txt, or one of these files", .required = true, .letter = 'm'},
    {"input", FIELD(encode_settings, input), "FILE", .help = "one text per line, or TSV, CSV, JSON lines",
     .letter = 'i'},
    {"pair-input", FIELD(encode_settings, pair_input), "FILE", .help = "lines that make a pair with those of --input"},
    {"details", FIELD(encode_settings, details), NULL,
     .help = "also types, words, sequences, byte offsets and whether the text was cut"},
    HEADING("Length"),
    {"max-length", FIELD(encode_settings, max_length), "N", .help = "tokens of a text at most; 0 is no limit",
     .alias = "max-seq-length"},
    {"truncation", FIELD(encode_settings, truncation), "WHAT", .help = "what to cut of a pair",
     .choices = "longest_first|only_first|only_second|do_not_truncate"},
    {"truncation-side", FIELD(encode_settings, side), "SIDE", .help = "where to cut", .choices = "right|left"},
    {"special-tokens", FIELD(encode_settings, special), NULL, .help = "add [CLS] and [SEP]",
     .alias = "add-special-tokens"},
    HEADING("Input"),
    {"format", FIELD(encode_settings, format), "FORMAT", .help = "of the input",
     .choices = "tsv|csv|jsonl|text|fasttext", .fallback = "by name; text for standard input"},
    {"text-column", FIELD(encode_settings, text_column), "NAME", .help = "column of the text", .fallback = "by name"},
    {"pair-column", FIELD(encode_settings, pair_column), "NAME", .help = "column of the second text",
     .fallback = "by name"},
    {0}};

static void print_string(const char *text) {
    putchar('"');
    for (; *text; text++) {
        unsigned char c = (unsigned char)*text;
        if (c == '"' || c == '\\')
            printf("\\%c", c);
        else if (c < 0x20 || c == 0x7F)
            printf("\\u%04x", c);
        else
            putchar(c);
    }
    putchar('"');
}

static void print_numbers(const char *key, const int32_t *numbers, size_t count) {
    printf(", \"%s\": [", key);
    for (size_t i = 0; i < count; i++) printf(i ? ", %d" : "%d", (int)numbers[i]);
    putchar(']');
}

static void print_ranges(const char *key, const int32_t *starts, const int32_t *ends, size_t count) {
    printf(", \"%s\": [", key);
    for (size_t i = 0; i < count; i++) printf(i ? ", [%d, %d]" : "[%d, %d]", (int)starts[i], (int)ends[i]);
    putchar(']');
}

static void print_encoding(const qn_tokenizer *tokenizer, const qn_encoding *e, bool details) {
    printf("{\"ids\": [");
    for (size_t i = 0; i < e->count; i++) printf(i ? ", %d" : "%d", (int)e->ids[i]);
    printf("], \"tokens\": [");
    for (size_t i = 0; i < e->count; i++) {
        const char *token = qn_tokenizer_token(tokenizer, e->ids[i]);
        if (i) printf(", ");
        print_string(token ? token : "");
    }
    putchar(']');
    print_ranges("offsets", e->char_starts, e->char_ends, e->count);
    if (details) {
        print_ranges("byte_offsets", e->starts, e->ends, e->count);
        print_numbers("types", e->types, e->count);
        print_numbers("words", e->words, e->count);
        print_numbers("sequences", e->sequences, e->count);
        printf(", \"total\": %zu", e->total);
    }
    if (details || e->truncated) printf(", \"truncated\": %s", e->truncated ? "true" : "false");
    printf("}\n");
}

static qn_status encode_all(const encode_settings *s, const qn_tokenizer *tokenizer, qn_texts *texts, qn_texts *pairs) {
    qn_encode_options o = qn_encode_defaults();
    o.max_length = s->max_length;
    o.add_special_tokens = s->special;
    o.truncate_left = strcmp(s->side, "left") == 0;
    o.truncation = strcmp(s->truncation, "only_first") == 0        ? QN_TRUNCATE_ONLY_FIRST
                   : strcmp(s->truncation, "only_second") == 0     ? QN_TRUNCATE_ONLY_SECOND
                   : strcmp(s->truncation, "do_not_truncate") == 0 ? QN_TRUNCATE_NOT
                                                                   : QN_TRUNCATE_LONGEST_FIRST;
    qn_encoding e = QN_ENCODING_INIT;
    qn_text text, pair = {0};
    qn_status status;
    while ((status = qn_texts_next(texts, &text)) == QN_OK && text.text) {
        if (pairs && (status = qn_texts_next(pairs, &pair)) != QN_OK) break;
        if (pair.text) {
            text.pair = pair.text;
            text.pair_size = pair.size;
        }
        status = qn_tokenizer_encode(tokenizer, text.text, text.size, text.pair, text.pair_size, &o, &e);
        if (status != QN_OK) break;
        print_encoding(tokenizer, &e, s->details);
    }
    qn_encoding_free(&e);
    return status;
}

static qn_status open_texts(const encode_settings *s, const char *path, qn_texts **texts) {
    qn_data_options data = {.format = s->format, .text_column = s->text_column, .pair_column = s->pair_column};
    if (!data.format && strcmp(path, "-") == 0) data.format = "text";
    return qn_texts_open(&path, 1, &data, true, texts);
}

static int encode_run(const void *memory) {
    const encode_settings *s = memory;
    qn_tokenizer *tokenizer = NULL;
    qn_texts *texts = NULL, *pairs = NULL;
    qn_status status = qn_tokenizer_load(s->model, &tokenizer);
    if (status == QN_OK) status = open_texts(s, s->input, &texts);
    if (status == QN_OK && s->pair_input) status = open_texts(s, s->pair_input, &pairs);
    if (status == QN_OK) status = encode_all(s, tokenizer, texts, pairs);
    qn_texts_close(texts);
    qn_texts_close(pairs);
    qn_tokenizer_free(tokenizer);
    return status == QN_OK ? 0 : failed();
}

static const command command_encode = {.name = "encode",
                                       .help = "turns texts into token ids, as JSON lines",
                                       .details = "Offsets count Unicode characters of the original text.",
                                       .example = "echo 'Hello, world!' | quern tokenizer encode --model vocabulary",
                                       .options = encode_options,
                                       .size = sizeof(encode_settings),
                                       .defaults = encode_defaults,
                                       .run = encode_run};

// ---- decode --------------------------------------------------------------------------------------------------------

typedef struct {
    const char *model, *input;
    bool special;
} decode_settings;

static void decode_defaults(void *memory) {
    ((decode_settings *)memory)->input = "-";
}

static const option decode_options[] = {
    {"model", FIELD(decode_settings, model), "DIR",
     .help = "folder with tokenizer.json or vocab.txt, or one of these files", .required = true, .letter = 'm'},
    {"input", FIELD(decode_settings, input), "FILE",
     .help = "on each line numbers, or a JSON object with \"ids\" as encode writes it", .letter = 'i'},
    {"special-tokens", FIELD(decode_settings, special), NULL, .help = "keep special tokens in the text"},
    {0}};

// Reads the ids of one line into *ids, grown as needed. False where the line has something else.
static bool read_ids(const char *line, size_t size, int32_t **ids, size_t *capacity, size_t *count) {
    char *text = strndup(line, size), *at = text;
    *count = 0;
    if (!text) return false;
    if (*at == '{' && (at = strstr(at, "\"ids\""))) at = strchr(at, '[');
    bool good = at != NULL;
    if (good && *at == '[') at++;
    while (good) {
        at += strspn(at, " \t\r,");
        if (*at == 0 || *at == ']') break;
        char *end;
        errno = 0;
        long id = strtol(at, &end, 10);
        good = end != at && errno == 0 && id >= INT32_MIN && id <= INT32_MAX;
        if (good && *count == *capacity) {
            size_t wanted = *capacity ? 2 * *capacity : 512;
            int32_t *grown = realloc(*ids, wanted * sizeof **ids);
            good = grown != NULL;
            if (good) {
                *ids = grown;
                *capacity = wanted;
            }
        }
        if (good) (*ids)[(*count)++] = (int32_t)id;
        at = end;
    }
    free(text);
    return good;
}

static int decode_run(const void *memory) {
    const decode_settings *s = memory;
    qn_tokenizer *tokenizer = NULL;
    qn_texts *texts = NULL;
    qn_data_options data = {.format = "text"};
    qn_status status = qn_tokenizer_load(s->model, &tokenizer);
    if (status == QN_OK) status = qn_texts_open(&s->input, 1, &data, true, &texts);
    int32_t *ids = NULL;
    size_t capacity = 0, count, line = 0;
    qn_text text;
    int result = 0;
    while (status == QN_OK && (status = qn_texts_next(texts, &text)) == QN_OK && text.text && result == 0) {
        line++;
        if (!read_ids(text.text, text.size, &ids, &capacity, &count)) {
            result = fail("%s:%zu: not token ids (expected numbers, or an object with \"ids\")",
                          strcmp(s->input, "-") == 0 ? "standard input" : s->input, line);
            break;
        }
        char *decoded;
        status = qn_tokenizer_decode(tokenizer, ids, count, !s->special, &decoded);
        if (status == QN_OK) puts(decoded);
        free(decoded);
    }
    free(ids);
    qn_texts_close(texts);
    qn_tokenizer_free(tokenizer);
    return status == QN_OK ? result : failed();
}

static const command command_decode = {
    .name = "decode",
    .help = "turns token ids back into texts",
    .example =
        "echo 'Hello, world!' | quern tokenizer encode --model vocabulary | quern tokenizer decode --model vocabulary",
    .options = decode_options,
    .size = sizeof(decode_settings),
    .defaults = decode_defaults,
    .run = decode_run};

static const command *const children[] = {&command_train, &command_encode, &command_decode, NULL};
const command command_tokenizer = {
    .name = "tokenizer", .help = "learns a vocabulary; turns text into tokens and back", .children = children};
