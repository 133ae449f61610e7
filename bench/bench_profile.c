// Which functions the time goes to: samples the program counter every millisecond of processor time while models embed
// and train.
//   bench_profile MODEL TEXTS THREADS       TEXTS has one text a line; prints one JSON object with the shares per
//   function
// A share is named by its function and the source file of the one that called it: "tile, attention" is products inside
// attention. Needs no other program and no rights. Names come from this program's own symbol table; code that oneDNN
// generates while it runs has none and is counted as one.
#include "quern.h"
#include <dlfcn.h>
#include <elf.h>
#include <execinfo.h>
#include <fcntl.h>
#include <link.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <time.h>
#include <ucontext.h>
#include <unistd.h>

enum { SAMPLES = 1 << 16, DEPTH = 10, MOST_TEXTS = 4096, SHOWN = 24, STEPS = 6 };

// ---- Sampling ------------------------------------------------------------------------------------------------------

static void *samples[SAMPLES][DEPTH]; // the innermost frame first; NULL behind the last one
static size_t n_samples;

static void on_tick(int number, siginfo_t *info, void *context) {
    (void)number, (void)info;
    void *frames[DEPTH + 4], *at = NULL;
    size_t sample = __atomic_fetch_add(&n_samples, 1, __ATOMIC_RELAXED);
    if (sample >= SAMPLES) return;
#if defined(__x86_64__)
    at = (void *)((ucontext_t *)context)->uc_mcontext.gregs[REG_RIP];
#elif defined(__aarch64__)
    at = (void *)((ucontext_t *)context)->uc_mcontext.pc;
#else
    (void)context;
#endif
    // The handler's own frames come first; then the one that was interrupted. Code without unwinding tables ends the
    // stack.
    int depth = backtrace(frames, DEPTH + 4), from = 0;
    while (from < depth && frames[from] != at) from++;
    samples[sample][0] = at;
    for (int i = 1; i < DEPTH; i++) samples[sample][i] = from + i < depth ? frames[from + i] : NULL;
}

// The timer counts the processor time of all threads; a signal goes to one that is running.
static void sampling(bool on) {
    struct itimerval timer = {{0, on ? 1000 : 0}, {0, on ? 1000 : 0}};
    if (on) {
        struct sigaction action = {.sa_sigaction = on_tick, .sa_flags = SA_SIGINFO | SA_RESTART};
        void *frame;
        backtrace(&frame, 1); // loads what it needs now, not in the handler
        sigaction(SIGPROF, &action, NULL);
        n_samples = 0;
    }
    setitimer(ITIMER_PROF, &timer, NULL);
}

// ---- Names ---------------------------------------------------------------------------------------------------------

typedef struct {
    uintptr_t begin, end;
    const char *name, *file; // the file is known of static functions only
} symbol;

static symbol *symbols;
static size_t n_symbols;
static uintptr_t base;

static int find_base(struct dl_phdr_info *info, size_t size, void *user) {
    (void)size, (void)user;
    base = info->dlpi_addr;
    return 1; // the program itself is the first one
}

static int compare_symbols(const void *a, const void *b) {
    uintptr_t x = ((const symbol *)a)->begin, y = ((const symbol *)b)->begin;
    return (x > y) - (x < y);
}

// The functions of /proc/self/exe, static ones too. The file stays mapped: names point into it.
static bool read_symbols(void) {
    int file = open("/proc/self/exe", O_RDONLY | O_CLOEXEC);
    struct stat about;
    if (file < 0 || fstat(file, &about) != 0) return false;
    const char *data = mmap(NULL, (size_t)about.st_size, PROT_READ, MAP_PRIVATE, file, 0);
    close(file);
    if (data == MAP_FAILED) return false;
    const ElfW(Ehdr) *header = (const void *)data;
    const ElfW(Shdr) *sections = (const void *)(data + header->e_shoff);
    for (size_t i = 0; i < header->e_shnum; i++) {
        if (sections[i].sh_type != SHT_SYMTAB) continue;
        const ElfW(Sym) *table = (const void *)(data + sections[i].sh_offset);
        const char *names = data + sections[sections[i].sh_link].sh_offset;
        size_t count = sections[i].sh_size / sizeof *table;
        symbols = calloc(count + 1, sizeof *symbols);
        const char *source = NULL; // a file's symbol stands before its static ones
        for (size_t k = 0; symbols && k < count; k++) {
            int kind = table[k].st_info & 15;
            bool local = table[k].st_info >> 4 == STB_LOCAL;
            if (kind == STT_FILE)
                source =
                    names[table[k].st_name] ? names + table[k].st_name : NULL; // hidden functions follow an empty one
            if (kind != STT_FUNC || table[k].st_size == 0) continue;
            symbols[n_symbols++] = (symbol){table[k].st_value, table[k].st_value + table[k].st_size,
                                            names + table[k].st_name, local ? source : NULL};
        }
    }
    dl_iterate_phdr(find_base, NULL);
    if (symbols) qsort(symbols, n_symbols, sizeof *symbols, compare_symbols);
    return n_symbols > 0;
}

// What is the same function on every instruction set, or for several sizes, has one name: qn_avx512_tile_14.part.0 is
// tile.
static void short_name(const char *full, char name[64]) {
    static const char *const prefixes[] = {"qn_avx512_", "qn_avx2_", "qn_ref_", "qn_"};
    for (size_t i = 0; i < sizeof prefixes / sizeof *prefixes; i++)
        if (!strncmp(full, prefixes[i], strlen(prefixes[i]))) {
            full += strlen(prefixes[i]);
            break;
        }
    size_t size = strcspn(full, "."), digits = size;
    while (digits && full[digits - 1] >= '0' && full[digits - 1] <= '9') digits--;
    if (digits > 1 && digits < size && full[digits - 1] == '_') size = digits - 1;
    snprintf(name, 64, "%.*s", (int)(size < 63 ? size : 63), full);
}

static const symbol *find(const void *address) {
    uintptr_t at = (uintptr_t)address - base;
    size_t low = 0, high = n_symbols;
    while (low < high) {
        size_t middle = (low + high) / 2;
        if (symbols[middle].begin <= at)
            low = middle + 1;
        else
            high = middle;
    }
    return low && at < symbols[low - 1].end ? &symbols[low - 1] : NULL;
}

static void name_of(const void *address, const symbol *known, char name[64]) {
    Dl_info info;
    if (known) {
        short_name(known->name, name);
    } else if (!dladdr(address, &info) || !info.dli_fname) {
        snprintf(name, 64, "oneDNN (generated)");
    } else {
        const char *slash = strrchr(info.dli_fname, '/'), *file = slash ? slash + 1 : info.dli_fname;
        snprintf(name, 64, "%.*s", (int)strcspn(file, "."), file);
    }
}

// "function, file": the file is that of the nearest caller that is static and stands in another file. Kernels are
// called through a table by the static tasks of product.c, block.c, attention.c, ...
static void label_of(void *const frames[DEPTH], char label[64]) {
    const symbol *leaf = find(frames[0]);
    const char *own = leaf ? leaf->file : NULL;
    name_of(frames[0], leaf, label);
    for (int i = 1; i < DEPTH && frames[i]; i++) {
        const symbol *caller =
            find((const char *)frames[i] - 1); // a return address may stand behind the function's end
        if (!caller || !caller->file || (own && !strcmp(caller->file, own))) continue;
        size_t used = strlen(label), size = strcspn(caller->file, ".");
        if (used + size + 3 < 64) snprintf(label + used, 64 - used, ", %.*s", (int)size, caller->file);
        return;
    }
}

// ---- Shares --------------------------------------------------------------------------------------------------------

typedef struct {
    char name[64];
    size_t count;
} share;

static int compare_shares(const void *a, const void *b) {
    size_t x = ((const share *)a)->count, y = ((const share *)b)->count;
    return (x < y) - (x > y);
}

static bool print_profile(const char *name) {
    static bool begun;
    size_t all = n_samples < SAMPLES ? n_samples : SAMPLES, n = 0;
    share *shares = calloc(all + 1, sizeof *shares);
    if (!shares) return false;
    for (size_t i = 0; i < all; i++) {
        char function[64];
        size_t k = 0;
        label_of(samples[i], function);
        while (k < n && strcmp(shares[k].name, function) != 0) k++;
        if (k == n) memcpy(shares[n++].name, function, sizeof function);
        shares[k].count++;
    }
    qsort(shares, n, sizeof *shares, compare_shares);
    printf("%s  {\"name\": \"%s\", \"samples\": %zu, \"shares\": [", begun ? ",\n" : "", name, all);
    for (size_t k = 0; k < n && k < SHOWN; k++)
        printf("%s\n    {\"function\": \"%s\", \"share\": %.4f}", k ? "," : "", shares[k].name,
               (double)shares[k].count / (double)all);
    printf("]}");
    begun = true;
    free(shares);
    return true;
}

// ---- What is profiled ----------------------------------------------------------------------------------------------

static qn_text texts[MOST_TEXTS];
static size_t n_texts;

static bool read_texts(const char *path) {
    static char line[1 << 16];
    FILE *file = fopen(path, "r");
    while (file && n_texts < MOST_TEXTS && fgets(line, sizeof line, file)) {
        size_t size = strcspn(line, "\n");
        char *copy = malloc(size + 1);
        if (!copy) break;
        memcpy(copy, line, size);
        texts[n_texts++] = (qn_text){copy, size, NULL, 0};
    }
    if (file) fclose(file);
    return n_texts > 0;
}

static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

// Texts in bulk, or with `window` 1 one after another.
static qn_status profile_embed(const char *folder, const char *dtype, int threads, size_t window, const char *name) {
    qn_model_options o = qn_model_defaults();
    o.dtype = dtype;
    o.threads = threads;
    qn_model *model;
    qn_status status = qn_model_open(folder, &o, &model);
    if (status == QN_ERROR_UNSUPPORTED) return QN_OK; // this CPU has no such instructions
    if (status != QN_OK) return status;
    float *vectors = malloc(n_texts * qn_model_width(model) * sizeof *vectors);
    if (!vectors) status = QN_ERROR_MEMORY;
    if (status == QN_OK) status = qn_embed(model, texts, n_texts < 64 ? n_texts : 64, NULL, vectors);
    sampling(true);
    for (double end = now() + 3; status == QN_OK && now() < end;)
        for (size_t i = 0; i < n_texts && status == QN_OK && now() < end + 1; i += window)
            status = qn_embed(model, texts + i, n_texts - i < window ? n_texts - i : window, NULL, vectors);
    sampling(false);
    if (status == QN_OK && !print_profile(name)) status = QN_ERROR_MEMORY;
    free(vectors);
    qn_model_close(model);
    return status;
}

static void after_first_step(void *user, const qn_training_step *step) {
    (void)user;
    if (step->step == 1) sampling(true);
    if (step->step == STEPS) sampling(false);
}

static qn_status profile_training(const char *folder, int threads) {
    char work[] = "/tmp/quern-profile-XXXXXX", train[64], run[64], command[96];
    if (!mkdtemp(work)) return QN_ERROR_IO;
    snprintf(train, sizeof train, "%s/train.tsv", work);
    snprintf(run, sizeof run, "%s/run", work);
    FILE *file = fopen(train, "w");
    if (!file) return QN_ERROR_IO;
    fputs("label\ttext\n", file);
    for (size_t i = 0; i < n_texts; i++) fprintf(file, "%c\t%.*s\n", "abcd"[i % 4], (int)texts[i].size, texts[i].text);
    fclose(file);
    const char *files[] = {train};
    qn_training t = qn_training_defaults(false);
    t.model = folder;
    t.train = files;
    t.train_count = 1;
    t.output = run;
    t.batch_size = 32;
    t.max_length = 128;
    t.max_steps = STEPS;
    t.threads = threads;
    t.on_step = after_first_step;
    t.progress_width = 80; // a step is shown at once, not every ten seconds
    qn_status status = qn_finetune(&t, NULL);
    sampling(false);
    if (status == QN_OK && !print_profile("fine-tune f32")) status = QN_ERROR_MEMORY;
    snprintf(command, sizeof command, "rm -rf '%s'", work);
    if (system(command) != 0) fprintf(stderr, "bench_profile: %s was left behind\n", work);
    return status;
}

int main(int argc, char **argv) {
    if (argc != 4 || atoi(argv[3]) < 1) {
        fprintf(stderr, "usage: bench_profile MODEL TEXTS THREADS\n");
        return 2;
    }
    int threads = atoi(argv[3]);
    if (!read_texts(argv[2]) || !read_symbols()) {
        fprintf(stderr, "bench_profile: cannot read %s, or this program's own symbols\n", argv[2]);
        return 1;
    }
    printf("{\"threads\": %d, \"profiles\": [\n", threads);
    qn_status status = profile_embed(argv[1], "f32", threads, n_texts, "embed f32");
    if (status == QN_OK) status = profile_embed(argv[1], "bf16", threads, n_texts, "embed bf16");
    if (status == QN_OK) status = profile_embed(argv[1], "int8", threads, n_texts, "embed int8");
    if (status == QN_OK) status = profile_embed(argv[1], "f32", threads, 1, "one text f32");
    if (status == QN_OK) status = profile_training(argv[1], threads);
    printf("\n]}\n");
    if (status != QN_OK) fprintf(stderr, "bench_profile: %s\n", qn_last_error());
    return status == QN_OK ? 0 : 1;
}
