/* From raw text to an encoder: learns a vocabulary, makes a small BERT with random weights and pre-trains it to guess
 * masked words.
 *
 *   cc pretrain.c $(pkg-config --cflags --libs quern) -o pretrain
 *   ./pretrain text.txt FOLDER        (one text per line; may be gzipped)
 *
 * Ctrl-C saves a checkpoint and leaves; the same line again goes on from there. */
#include <quern.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static volatile sig_atomic_t interrupted;

static void on_signal(int number) {
    (void)number;
    interrupted = 1;
}

static int failed(void) {
    fprintf(stderr, "pretrain: %s\n", qn_last_error());
    return 1;
}

/* --- The callbacks. They run on this thread, between two steps. */

static bool stop(void *user) {
    (void)user;
    return interrupted;
}

static void on_step(void *user, const qn_training_step *step) {
    (void)user;
    if (step->step % 50 == 0)
        fprintf(stderr, "step %lld of %lld, loss %.3f, %.0f tokens/s\n", (long long)step->step,
                (long long)step->total_steps, step->loss, step->tokens_per_second);
}

static qn_status next_text(void *user, const char **text, size_t *size) {
    qn_text next;
    qn_status status = qn_texts_next(user, &next);
    *text = status == QN_OK ? next.text : NULL;
    *size = next.size;
    return status;
}

/* --- The steps: each uses what the one before wrote into the folder. */

static qn_status learn_vocabulary(const char *path, const char *folder) {
    qn_texts *texts;
    qn_tokenizer *tokenizer;
    qn_tokenizer_options options = qn_tokenizer_defaults(QN_WORDPIECE);
    options.vocab_size = 8000;
    options.max_length = 128;
    qn_data_options data = {.format = "text"};
    qn_status status = qn_texts_open(&path, 1, &data, false, &texts);
    if (status != QN_OK) return status;
    status = qn_tokenizer_train(&options, next_text, texts, &tokenizer);
    qn_texts_close(texts);
    if (status != QN_OK) return status;
    status = qn_tokenizer_save(tokenizer, folder);
    qn_tokenizer_free(tokenizer);
    return status;
}

/* What the model is, in the words of Hugging Face's config.json. */
static qn_status write_config(const char *path) {
    static const char config[] =
        "{\"model_type\": \"bert\", \"architectures\": [\"BertForMaskedLM\"], \"vocab_size\": 8000,\n"
        " \"hidden_size\": 128, \"num_hidden_layers\": 2, \"num_attention_heads\": 4,\n"
        " \"intermediate_size\": 512, \"max_position_embeddings\": 128, \"type_vocab_size\": 2}\n";
    qn_writer *writer;
    qn_status status = qn_writer_open(path, &writer);
    if (status != QN_OK) return status;
    qn_writer_write(writer, config, strlen(config)); /* commit reports what went wrong */
    return qn_writer_commit(writer);
}

int main(int argc, char **argv) {
    if (argc != 3) {
        fprintf(stderr, "usage: pretrain TEXT FOLDER\n");
        return 2;
    }
    char vocabulary[4096], config[4096 + 16], model[4096];
    snprintf(vocabulary, sizeof vocabulary, "%s/vocabulary", argv[2]);
    snprintf(config, sizeof config, "%s/config.json", vocabulary);
    snprintf(model, sizeof model, "%s/model", argv[2]);
    if (learn_vocabulary(argv[1], vocabulary) != QN_OK || write_config(config) != QN_OK) return failed();

    const char *train[] = {argv[1]};
    qn_training options = qn_training_defaults(true);
    options.model = vocabulary; /* a config.json without weights: random ones */
    options.output = model;
    options.resume = ""; /* from the last checkpoint, if there is one */
    options.train = train;
    options.train_count = 1;
    options.data.format = "text";
    options.learning_rate = 1e-3;
    options.max_steps = 500;
    options.on_step = on_step;
    options.stop = stop;
    signal(SIGINT, on_signal);
    char *json = NULL;
    qn_status status = qn_pretrain(&options, &json);
    if (status != QN_OK && status != QN_INTERRUPTED) return failed();
    puts(status == QN_OK ? json : "stopped; the checkpoint is saved");
    free(json);
    return 0;
}
