// Protects the reading and writing of sentence-transformers' files: both spellings, the refusals, and paths that lead
// out of the folder.
#include "formats/model_folder.h"
#include "base/file.h"
#include "support.h"

#define GOLDEN QN_SOURCE_DIR "/tests/golden/formats/"
#define TYPES "sentence_transformers.models."

// Today's sentence-transformers: the pooling as a name, module types in new packages, prompts.
static void test_reads_new_spelling(void **state) {
    (void)state;
    qn_sbert config;
    assert_ok(qn_sbert_read(GOLDEN "sbert_new", &config));
    assert_true(config.present);
    assert_string_equal(config.transformer_path, "");
    assert_int_equal(config.width, 24);
    assert_int_equal(config.poolings[0], QN_POOL_LAST_TOKEN);
    assert_false(config.include_prompt);
    assert_true(qn_sbert_normalizes(&config));
    assert_int_equal(config.max_seq_length, 0);
    assert_int_equal(config.prompt_count, 2);
    assert_string_equal(config.prompts[0].name, "query");
    assert_string_equal(config.prompts[0].text, "query: ");
    assert_string_equal(config.default_prompt, "query");
    assert_int_equal(config.similarity, QN_SBERT_DOT);
    qn_sbert_free(&config);
}

// all-MiniLM-L6-v2's files of 2021: one flag for each pooling, the normalisation without a folder of its own.
static void test_reads_old_spelling(void **state) {
    (void)state;
    char *folder = test_folder();
    test_write_text(test_path(folder, "modules.json"),
                    "[{\"idx\":0,\"name\":\"0\",\"path\":\"\",\"type\":\"" TYPES "Transformer\"},"
                    "{\"idx\":1,\"name\":\"1\",\"path\":\"1_Pooling\",\"type\":\"" TYPES "Pooling\"},"
                    "{\"idx\":2,\"name\":\"2\",\"path\":\"2_Normalize\",\"type\":\"" TYPES "Normalize\"}]");
    test_write_text(test_path(folder, "sentence_bert_config.json"), "{\"max_seq_length\":256,\"do_lower_case\":true}");
    test_write_text(test_path(folder, "config_sentence_transformers.json"),
                    "{\"__version__\":{\"sentence_transformers\":\"2.0.0\"}}");
    qn_sbert config;
    assert_fails(qn_sbert_read(folder, &config), QN_ERROR_IO,
                 ": modules.json names \"1_Pooling\", but it holds no config.json");
    assert_ok(qn_make_folders(test_path(folder, "1_Pooling")));
    test_write_text(
        test_path(folder, "1_Pooling/config.json"),
        "{\"word_embedding_dimension\":384,\"pooling_mode_cls_token\":false,\"pooling_mode_mean_tokens\":true,"
        "\"pooling_mode_max_tokens\":false,\"pooling_mode_mean_sqrt_len_tokens\":false}");
    assert_ok(qn_sbert_read(folder, &config));
    assert_true(config.present);
    assert_int_equal(config.width, 384);
    assert_int_equal(config.poolings[0], QN_POOL_MEAN);
    assert_true(config.include_prompt);
    assert_true(qn_sbert_normalizes(&config));
    assert_int_equal(config.max_seq_length, 256);
    assert_true(config.do_lower_case);
    assert_int_equal(config.prompt_count, 0);
    assert_null(config.default_prompt);
    assert_int_equal(config.similarity, QN_SBERT_COSINE);
    qn_sbert_free(&config);
}

// A folder that is not one of sentence-transformers gives its defaults: the mean, without normalisation.
static void test_reads_plain_folder(void **state) {
    (void)state;
    qn_sbert config;
    assert_ok(qn_sbert_read(test_folder(), &config));
    assert_false(config.present);
    assert_int_equal(config.poolings[0], QN_POOL_MEAN);
    assert_false(qn_sbert_normalizes(&config));
    qn_sbert_free(&config);
}

// The transformer may have a folder of its own, and its limits stand there, under the name that its family had.
static void test_reads_inner_transformer(void **state) {
    (void)state;
    char *folder = test_folder();
    assert_ok(qn_make_folders(test_path(folder, "0_Transformer")));
    assert_ok(qn_make_folders(test_path(folder, "1_Pooling")));
    test_write_text(test_path(folder, "modules.json"),
                    "[{\"path\":\"0_Transformer\",\"type\":\"" TYPES "Transformer\"},"
                    "{\"path\":\"1_Pooling\",\"type\":\"" TYPES "Pooling\"}]");
    test_write_text(test_path(folder, "1_Pooling/config.json"), "{\"pooling_mode_cls_token\":true}");
    test_write_text(test_path(folder, "0_Transformer/sentence_roberta_config.json"), "{\"max_seq_length\":128}");
    qn_sbert config;
    assert_ok(qn_sbert_read(folder, &config));
    assert_string_equal(config.transformer_path, "0_Transformer");
    assert_int_equal(config.poolings[0], QN_POOL_CLS);
    assert_int_equal(config.max_seq_length, 128);
    assert_false(qn_sbert_normalizes(&config));
    qn_sbert_free(&config);
}

typedef qn_status (*parser)(const char *text, size_t size, const char *source, qn_sbert *out);

// Each file's breaches, with the message that a user sees.
static void test_refuses(void **state) {
    (void)state;
    static const struct {
        parser parse;
        const char *text;
        qn_status status;
        const char *message;
    } cases[] = {
        {qn_sbert_parse_modules, "{}", QN_ERROR_FORMAT, "f.json: no list of modules"},
        {qn_sbert_parse_modules, "[1]", QN_ERROR_FORMAT, "f.json: module 0 is no object"},
        {qn_sbert_parse_modules, "[]", QN_ERROR_UNSUPPORTED, "f.json: 0 modules (expected Transformer, Pooling"},
        {qn_sbert_parse_modules, "[{\"type\":\"" TYPES "Transformer\"}]", QN_ERROR_UNSUPPORTED, "f.json: 1 modules"},
        {qn_sbert_parse_modules, "[{\"path\":\"\"}]", QN_ERROR_FORMAT, "f.json: \"type\" is missing"},
        {qn_sbert_parse_modules, "[{\"type\":\"" TYPES "CLIPModel\"}]", QN_ERROR_UNSUPPORTED,
         "f.json: module 0 is \"" TYPES "CLIPModel\" (expected Transformer)"},
        {qn_sbert_parse_modules, "[{\"type\":\"evil.Transformer\"}]", QN_ERROR_UNSUPPORTED, "is \"evil.Transformer\""},
        {qn_sbert_parse_modules,
         "[{\"type\":\"" TYPES "Transformer\"},{\"type\":\"" TYPES
         "Pooling\",\"path\":\"1_Pooling\"},{\"type\":\"" TYPES "WordWeights\"}]",
         QN_ERROR_UNSUPPORTED, "f.json: module 2 is \"" TYPES "WordWeights\" (expected Dense or Normalize)"},
        {qn_sbert_parse_modules, "[{\"type\":\"" TYPES "Transformer\",\"path\":\"../other\"}]", QN_ERROR_FORMAT,
         "f.json: module 0 has the path \"../other\" (expected one inside the folder)"},
        {qn_sbert_parse_modules, "[{\"type\":\"" TYPES "Transformer\",\"path\":\"/etc\"}]", QN_ERROR_FORMAT,
         "\"/etc\""},
        {qn_sbert_parse_modules, "[{\"type\":\"" TYPES "Transformer\",\"path\":\"a/../../b\"}]", QN_ERROR_FORMAT,
         "\"a/../../b\""},
        {qn_sbert_parse_modules, "[{\"type\":\"" TYPES "Transformer\",\"path\":\"a/..\"}]", QN_ERROR_FORMAT,
         "\"a/..\""},
        {qn_sbert_parse_pooling, "[]", QN_ERROR_FORMAT, "f.json: no JSON object"},
        {qn_sbert_parse_pooling, "{", QN_ERROR_FORMAT, "f.json:1:1: "},
        {qn_sbert_parse_pooling, "{\"pooling_mode\":[\"cls\",\"cls\"]}", QN_ERROR_UNSUPPORTED,
         "f.json: pooling_mode \"cls\" twice (expected each pooling once)"},
        {qn_sbert_parse_pooling, "{\"pooling_mode\":[]}", QN_ERROR_FORMAT, "f.json: pooling_mode is an empty list"},
        {qn_sbert_parse_pooling, "{\"pooling_mode_cls_token\":1}", QN_ERROR_FORMAT, "\"pooling_mode_cls_token\" is"},
        {qn_sbert_parse_pooling, "{\"pooling_mode\":\"median\"}", QN_ERROR_UNSUPPORTED,
         "f.json: pooling_mode \"median\" (expected one of mean cls max mean_sqrt_len_tokens weightedmean lasttoken)"},
        {qn_sbert_parse_pooling, "{\"pooling_mode\":3}", QN_ERROR_FORMAT, "f.json: pooling_mode is no string"},
        {qn_sbert_parse_pooling, "{\"embedding_dimension\":0}", QN_ERROR_FORMAT, "\"embedding_dimension\" is 0"},
        {qn_sbert_parse_pooling, "{\"embedding_dimension\":\"a\"}", QN_ERROR_FORMAT, "\"embedding_dimension\" is"},
        {qn_sbert_parse_transformer, "{\"max_seq_length\":-1}", QN_ERROR_FORMAT, "\"max_seq_length\" is -1"},
        {qn_sbert_parse_transformer, "{\"max_seq_length\":1e400}", QN_ERROR_FORMAT, "f.json"},
        {qn_sbert_parse_transformer, "{\"do_lower_case\":\"yes\"}", QN_ERROR_FORMAT, "\"do_lower_case\" is"},
        {qn_sbert_parse_prompts, "{\"prompts\":[]}", QN_ERROR_FORMAT, "\"prompts\" is"},
        {qn_sbert_parse_prompts, "{\"prompts\":{\"a\":1}}", QN_ERROR_FORMAT, "f.json: prompt \"a\" is no string"},
        {qn_sbert_parse_prompts, "{\"prompts\":{\"a\":\"x\"},\"default_prompt_name\":\"b\"}", QN_ERROR_FORMAT,
         "f.json: default_prompt_name is \"b\" (expected one of the prompts)"},
        {qn_sbert_parse_prompts, "{\"similarity_fn_name\":\"hamming\"}", QN_ERROR_UNSUPPORTED,
         "f.json: similarity_fn_name \"hamming\" (expected cosine, dot, euclidean or manhattan)"},
        {qn_sbert_parse_prompts, "{\"model_type\":\"SparseEncoder\"}", QN_ERROR_UNSUPPORTED,
         "f.json: model_type \"SparseEncoder\" (expected SentenceTransformer)"},
        {qn_sbert_parse_normalize, "{\"module_input_name\":\"token_embeddings\"}", QN_ERROR_UNSUPPORTED,
         "f.json: normalises \"token_embeddings\" into \"sentence_embedding\" (expected sentence_embedding)"},
        {qn_sbert_parse_dense, "{\"in_features\":3}", QN_ERROR_FORMAT, "\"out_features\" is missing"},
        {qn_sbert_parse_dense, "{\"in_features\":0,\"out_features\":2}", QN_ERROR_FORMAT, "\"in_features\" is 0"},
        {qn_sbert_parse_dense, "{\"in_features\":3,\"out_features\":2,\"activation_function\":\"torch.nn.PReLU\"}",
         QN_ERROR_UNSUPPORTED, "f.json: activation_function \"torch.nn.PReLU\" (expected torch's Tanh"},
        {qn_sbert_parse_dense, "{\"in_features\":3,\"out_features\":2,\"activation_function\":\"evil.Tanh\"}",
         QN_ERROR_UNSUPPORTED, "\"evil.Tanh\""},
        {qn_sbert_parse_dense, "{\"in_features\":3,\"out_features\":2,\"use_residual\":true}", QN_ERROR_UNSUPPORTED,
         "f.json: use_residual is true"},
        {qn_sbert_parse_dense, "{\"in_features\":3,\"out_features\":2,\"module_output_name\":\"x\"}",
         QN_ERROR_UNSUPPORTED, "f.json: turns \"sentence_embedding\" into \"x\""},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        qn_sbert config = qn_sbert_defaults();
        qn_status status = cases[i].parse(cases[i].text, strlen(cases[i].text), "f.json", &config);
        if (status != cases[i].status || !strstr(qn_last_error(), cases[i].message))
            fail_msg("case %zu: status %d, \"%s\" (expected %d, \"%s\")", i, status, qn_last_error(), cases[i].status,
                     cases[i].message);
        qn_sbert_free(&config);
    }
}

// What is written is read back, for every pooling and similarity; sentence-transformers' bytes are checked by
// scripts/parity.
static void test_round_trip(void **state) {
    (void)state;
    char *folder = test_folder();
    qn_sbert_prompt prompts[] = {{(char *)"query", (char *)"Zürich: "}, {(char *)"passage", (char *)""}};
    static const char *const poolings[] = {"mean", "cls", "max", "mean_sqrt_len_tokens", "weightedmean", "lasttoken",
                                           "cls,mean", "lasttoken,cls,max"};
    for (int i = 0; i < (int)(sizeof poolings / sizeof *poolings); i++) {
        qn_sbert in = qn_sbert_defaults(), out;
        in.width = 312;
        assert_ok(qn_sbert_set_poolings(&in, poolings[i]));
        in.include_prompt = i % 2;
        if (i % 3 == 2) assert_ok(qn_sbert_add_dense(&in, 312 * in.pooling_count, 7, i > 4 ? "gelu" : NULL));
        if (i % 3 != 1) assert_ok(qn_sbert_set_normalize(&in, true));
        if (i == 5) assert_ok(qn_sbert_add_dense(&in, 7, 4, "linear")); // before the normalisation
        in.max_seq_length = i ? 100 + i : 0;
        in.do_lower_case = i % 2 == 0;
        in.prompts = prompts;
        in.prompt_count = i ? 2 : 0;
        in.default_prompt = i > 2 ? (char *)"passage" : NULL;
        in.similarity = (qn_sbert_similarity)(i % QN_SBERT_SIMILARITIES);
        assert_ok(qn_sbert_write(folder, &in));
        assert_ok(qn_sbert_read(folder, &out));
        assert_true(out.present);
        assert_int_equal(out.width, in.width);
        assert_int_equal(out.pooling_count, in.pooling_count);
        assert_memory_equal(out.poolings, in.poolings, in.pooling_count * sizeof *in.poolings);
        assert_int_equal(out.include_prompt, in.include_prompt);
        assert_int_equal(qn_sbert_normalizes(&out), i % 3 != 1);
        assert_int_equal(out.module_count, in.module_count);
        for (size_t m = 0; m < in.module_count; m++) {
            assert_int_equal(out.modules[m].kind, in.modules[m].kind);
            assert_int_equal(out.modules[m].out, in.modules[m].out);
            assert_int_equal(out.modules[m].activation, in.modules[m].activation);
        }
        assert_int_equal(qn_sbert_width(&out, 312, 9), qn_sbert_width(&in, 312, 9));
        assert_int_equal(out.max_seq_length, in.max_seq_length);
        assert_int_equal(out.do_lower_case, in.do_lower_case);
        assert_int_equal(out.prompt_count, in.prompt_count);
        if (i) assert_string_equal(out.prompts[0].text, "Zürich: ");
        if (i > 2) assert_string_equal(out.default_prompt, "passage");
        assert_int_equal(out.similarity, in.similarity);
        qn_sbert_free(&out);
        in.prompts = NULL, in.prompt_count = 0, in.default_prompt = NULL;
        qn_sbert_free(&in);
    }
    qn_sbert odd = qn_sbert_defaults();
    assert_fails(qn_sbert_set_poolings(&odd, "mean,median"), QN_ERROR_UNSUPPORTED, "pooling \"median\" (expected one of");
    assert_fails(qn_sbert_add_dense(&odd, 2, 2, "cube"), QN_ERROR_ARGUMENT, "activation is \"cube\"");
    assert_string_equal(qn_pool_name(QN_POOL_MEAN_SQRT_LEN), "mean_sqrt_len_tokens");
    assert_string_equal(qn_sbert_similarity_name(QN_SBERT_DOT), "dot");
    qn_sbert nothing = qn_sbert_defaults();
    assert_fails(qn_sbert_write(folder, &nothing), QN_ERROR_ARGUMENT, "width of the vectors");
    qn_sbert_prompt bad[] = {{(char *)"query", (char *)"\xff"}};
    nothing.width = 1;
    nothing.prompts = bad;
    nothing.prompt_count = 1;
    assert_fails(qn_sbert_write(folder, &nothing), QN_ERROR_ARGUMENT, "config_sentence_transformers.json: ");
}

// When memory is short at any allocation, reading fails with a status and leaks nothing (a sanitizer build sees leaks).
static void test_out_of_memory(void **state) {
    (void)state;
    qn_status status = QN_ERROR_MEMORY;
    for (size_t allowed = 0; status != QN_OK; allowed++) {
        assert_true(allowed < 200);
        qn_sbert config;
        test_fail_allocations_after(allowed);
        status = qn_sbert_read(GOLDEN "sbert_new", &config);
        test_fail_allocations_off();
        if (status == QN_OK)
            qn_sbert_free(&config);
        else
            assert_int_equal(status, QN_ERROR_MEMORY);
    }
}

// PyLate's files, written and read, and those of colbert-ir.
static void test_late(void **state) {
    (void)state;
    char *folder = test_folder(), *other = test_folder();
    qn_sbert config = qn_sbert_defaults();
    assert_ok(qn_sbert_make_late(&config, 48, "[unused0]", ""));
    config.present = true;
    config.width = config.modules[0].in = 64;
    config.late.length[1] = 200;
    config.late.attend = true;
    assert_ok(qn_sbert_write(folder, &config));
    qn_sbert_free(&config);
    assert_false(qn_is_folder(test_path(folder, "1_Pooling")));
    assert_ok(qn_sbert_read(folder, &config));
    assert_true(config.late.on && config.late.expand && config.late.attend && config.module_count == 1);
    assert_string_equal(config.late.prefix[0], "[unused0]");
    assert_string_equal(config.late.prefix[1], "");
    assert_true(config.late.length[0] == 32 && config.late.length[1] == 200 && config.late.skip_count == 32);
    assert_true(config.modules[0].in == 64 && config.modules[0].out == 48 && !config.modules[0].bias);
    assert_int_equal(qn_sbert_width(&config, 64, 1000), 48);
    qn_sbert_free(&config);
    test_write_text(test_path(other, "artifact.metadata"),
                    "{\"query_token_id\": \"[unused0]\", \"doc_token_id\": \"[unused1]\", \"query_maxlen\": 24, "
                    "\"doc_maxlen\": 90, \"mask_punctuation\": false, \"dim\": 96, \"attend_to_mask_tokens\": true}");
    assert_ok(qn_sbert_read(other, &config));
    assert_true(config.late.on && config.late.attend && config.late.skip_count == 0);
    assert_true(config.late.length[0] == 24 && config.late.length[1] == 90 && config.modules[0].out == 96);
    assert_string_equal(config.modules[0].path, ".");
    qn_sbert_free(&config);
    test_write_text(test_path(folder, "config_sentence_transformers.json"), "{\"query_length\": 1}");
    assert_fails(qn_sbert_read(folder, &config), QN_ERROR_FORMAT, "\"query_length\" is 1");
    test_write_text(test_path(folder, "config_sentence_transformers.json"), "{\"skiplist_words\": [\"a\", 3]}");
    assert_fails(qn_sbert_read(folder, &config), QN_ERROR_FORMAT, "skiplist_words, place 1: no string");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_late),
        cmocka_unit_test(test_reads_new_spelling),
        cmocka_unit_test(test_reads_old_spelling),
        cmocka_unit_test(test_reads_plain_folder),
        cmocka_unit_test(test_reads_inner_transformer),
        cmocka_unit_test(test_refuses),
        cmocka_unit_test(test_round_trip),
        cmocka_unit_test(test_out_of_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
