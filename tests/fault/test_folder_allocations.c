/* Out of memory while a folder as the Hub has them is read: config.json and weights, and all kinds of tokenizer files.
 * What holds is told in test_allocations.c. */
#define _GNU_SOURCE
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/status.h"
#include "model/model.h"
#include "model/source.h"
#include "support/asserts.h"
#include "support/data_home.h"
#include "support/fail_each.h"
#include "text/tokenizer.h"
#include "text/tokenizer_json.h"

#define DO(call)                                                                                                       \
    if (status == CLINFER_OK) status = (call)

/* ---- tokenizers ---- */

static const char *source; /* of the scenario at hand */
static bool sentencepiece;

static enum clinfer_status encode(const struct ci_tokenizer *tokenizer, char text[FAIL_EACH_TEXT]) {
    static const char words[] = "Honor\xc3\xa9 <s> ab 1234 <x> going abba";
    int32_t *tokens = NULL;
    size_t count = 0;
    enum clinfer_status status =
        ci_tokenizer_encode(tokenizer, words, strlen(words), CI_TOKENIZER_PARSE_SPECIAL, &tokens, &count);
    for (size_t i = 0; i < count; i++) {
        size_t used = strlen(text);
        snprintf(text + used, FAIL_EACH_TEXT - used, "%d ", (int)tokens[i]);
    }
    free(tokens);
    return status;
}

/* The fuzzers' seeds, which are laid out as those read them. */
static struct ci_tokenizer_json take_apart(const char *data, size_t size) {
    struct ci_tokenizer_json files = {0};
    struct ci_tokenizer_json_file *const parts[] = {&files.tokenizer, &files.config, &files.generation};
    if (sentencepiece) {
        const uint8_t *head = (const uint8_t *)data;
        size_t added = head[0] | (size_t)head[1] << 8, config = head[2] | (size_t)head[3] << 8;
        if (added) files.added = (struct ci_tokenizer_json_file){"added_tokens.json", data + 4, added};
        if (config) files.config = (struct ci_tokenizer_json_file){"tokenizer_config.json", data + 4 + added, config};
        files.sentencepiece =
            (struct ci_tokenizer_json_file){"tokenizer.model", data + 4 + added + config, size - 4 - added - config};
        return files;
    }
    for (size_t i = 0, at = 0; i < 3 && at <= size; i++) {
        const char *end = size > at ? memchr(data + at, 0, size - at) : NULL;
        size_t length = end ? (size_t)(end - data) - at : size - at;
        if (length) *parts[i] = (struct ci_tokenizer_json_file){"a file", data + at, length};
        at += length + 1;
    }
    return files;
}

static enum clinfer_status read_tokenizer(char text[FAIL_EACH_TEXT]) {
    struct ci_tokenizer *tokenizer = NULL;
    char *data = NULL;
    size_t size;
    enum clinfer_status status = ci_file_read(source, 1 << 20, &data, &size);
    if (status == CLINFER_OK) {
        struct ci_tokenizer_json files = take_apart(data, size);
        status = ci_tokenizer_create_json(&files, &tokenizer);
    }
    DO(encode(tokenizer, text));
    ci_tokenizer_destroy(tokenizer);
    free(data);
    return status;
}

static void test_tokenizers(void **state) {
    (void)state;
    static const char *const paths[] = {"json/byte_level", "json/characters", "json/unigram", "json/wordpiece",
                                        "json/generation", "model/bpe",       "model/added"};
    for (size_t i = 0; i < sizeof paths / sizeof *paths; i++) {
        char path[100];
        snprintf(path, sizeof path, "tests/fuzz/corpus/tokenizer_%s", paths[i]);
        source = path;
        sentencepiece = paths[i][0] == 'm';
        fail_each(paths[i], read_tokenizer, 60);
    }
    fail_each_end();
}

/* ---- models ---- */

static const char *weight_type;

static enum clinfer_status read_folder(char text[FAIL_EACH_TEXT]) {
    struct ci_gguf *gguf = NULL;
    struct ci_model model;
    enum clinfer_status status = ci_source_open(source, weight_type, &gguf);
    if (status != CLINFER_OK) return status;
    status = ci_model_open(gguf, &model);
    if (status == CLINFER_OK) {
        snprintf(text, FAIL_EACH_TEXT, "%s %d layers", model.family->architecture, model.hyper.blocks);
        ci_model_close(&model);
    }
    ci_gguf_close(gguf);
    return status;
}

static void test_models(void **state) {
    (void)state;
    static const char *const names[] = {"llama", "qwen3moe", "gpt_oss", "phi3", "gemma3_eyes"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        char path[100];
        snprintf(path, sizeof path, "tests/data/folders/%s", names[i]);
        source = path;
        weight_type = i ? NULL : "q8_0";
        fail_each(names[i], read_folder, 60);
    }
    fail_each_end();
}

int main(void) {
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_tokenizers),
        cmocka_unit_test_setup_teardown(test_models, data_home_set, data_home_unset),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
