/* config.json: what flags are when nobody gives them; what is wrong with it is named. */
#define _GNU_SOURCE
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "support/process.h"

static const char *environment[] = {NULL, "CLINFER_MODEL", NULL};
static const struct process_options options = {.environment = environment};

/* The tool reads `text` from now on. */
static void configure(const char *text) {
    static char variable[512];
    char path[600];
    snprintf(variable, sizeof variable, "XDG_CONFIG_HOME=%s/config", process_folder());
    environment[0] = variable;
    snprintf(path, sizeof path, "%s/config", process_folder());
    mkdir(path, 0700);
    strcat(path, "/clinfer");
    mkdir(path, 0700);
    process_file("config/clinfer/config.json", text, strlen(text));
}

#define RUN(result, ...)                                                                                               \
    process_run(result, &options, process_tool(), "run", "--temp", "0", "-n", "2", __VA_ARGS__, NULL)

static void expect_said(const char *wanted, int exit_status, const char *flag, const char *value) {
    struct process_result result;
    RUN(&result, flag, value, "Hello");
    if (!strstr(result.err, wanted)) fail_msg("\"%s\" is not in: %s", wanted, result.err);
    process_assert_status(&result, exit_status);
    process_free(&result);
}

static void test_wrong_files_are_refused_by_key_and_value(void **state) {
    static const struct {
        const char *text, *message;
    } cases[] = {
        {"{\"devcie\": \"cpu\"}", "config.json: field \"devcie\": unknown; did you mean \"device\"?"},
        {"{\"x\": 1}",
         "unknown; there are model, device, fallback, activations, threads, chat_template, chat_template_file, ops, "
         "remote, remotes"},
        {"{\"threads\": 1025}", "field \"threads\": value 1025: must be a whole number from 0 to 1024"},
        {"{\"threads\": \"4\"}", "field \"threads\": value \"4\": must be a whole number"},
        {"{\"fallback\": \"gpu\"}", "field \"fallback\": value \"gpu\": must be one of cpu|none|remote"},
        {"{\"activations\": \"q\"}", "must be one of auto|f32|q8|q16"},
        {"{\"device\": \"\"}", "field \"device\": value \"\": must be a text that is not empty"},
        {"{\"ops\": \"matmul=cpu\"}", "field \"ops\": value \"matmul=cpu\": must be an array"},
        {"{\"ops\": [\"matmul=cpu\", 3]}", "field \"ops[1]\": value 3: must be a text"},
        {"{\"device\": \"cpu\", \"device\": \"0\"}", "is not JSON: duplicate object key"},
        {"{\"device\": ", "config.json: line 1, column"},
        {"[]", "must hold one JSON object"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        configure(cases[i].text);
        expect_said(cases[i].message, 5, "-m", process_model());
    }
    configure("{\"ops\": [\"matmul=nothing\"]}");
    expect_said("config.json: \"ops\": --op matmul=nothing: op matmul has no such variant", 2, "--device", "cpu");
    configure("{\"ops\": [\"matmul=opencl\"]}");
    expect_said("config.json: \"ops\": --op matmul=opencl: op matmul (", 2, "--device", "cpu");
    expect_said("is placed on the CPU; what can run there: cpu", 2, "--device", "cpu");
}

static void test_verify_names_the_file_too(void **state) {
    struct process_result result;
    (void)state;
    configure("{\"ops\": [\"matmul=nothing\"]}");
    process_run(&result, &options, process_tool(), "verify", "--device", "cpu", NULL);
    process_assert_status(&result, 2);
    if (!strstr(result.err, "config.json: \"ops\": --op matmul=nothing: op matmul has no such variant"))
        fail_msg("the file is not named in: %s", result.err);
    process_free(&result);
}

static void test_file_is_beaten_by_environment_and_flags(void **state) {
    (void)state;
    configure("{\"model\": \"nix\", \"device\": \"cpu\", \"threads\": 1, \"activations\": \"f32\", \"ops\": "
              "[\"matmul=nothing\"]}");
    expect_said("config.json: nix: no such model", 3, "--op", "matmul=cpu");
    /* The flag's line on the same op takes the place of the file's. */
    char model[512];
    snprintf(model, sizeof model, "CLINFER_MODEL=%s", process_model());
    environment[1] = model;
    expect_said("(CLINFER_MODEL;", 0, "--op", "matmul=cpu");
    expect_said(" on the CPU", 0, "--op", "matmul=cpu");
    expect_said("no such device", 0, "--device", "no such device"); /* the next rung answers */
    environment[1] = "CLINFER_MODEL";
    expect_said("op matmul has no such variant", 2, "-m", process_model());
    char text[600];
    snprintf(text, sizeof text, "{\"model\": \"%s\", \"device\": \"no such\"}", process_model());
    configure(text);
    expect_said("(config.json;", 0, "--device", "cpu");
    expect_said("no OpenCL device \"no such\"", 0, "--threads", "1");
    expect_said("no OpenCL device \"no such\"", 8, "--fallback", "none");
    configure("\xef\xbb\xbf{\"device\": \"marked\"}"); /* as some editors write it */
    expect_said("no OpenCL device \"marked\"", 8, "--fallback", "none");
    configure("{}");
    expect_said(" on the CPU", 0, "--device", "cpu");
}

/* On every device: none of them is to blame for it, so none is left for the next. */
static void test_tuning_names_a_profile(void **state) {
    static const char *const devices[] = {"{\"device\": \"cpu\"}", "{\"device\": \"0\"}", "{}",
                                          "{\"fallback\": \"remote\"}"};
    (void)state;
    for (size_t i = 0; i < sizeof devices / sizeof *devices; i++) {
        configure(devices[i]);
        expect_said("/no/such/profile: cannot open", 3, "--tuning", "/no/such/profile");
        expect_said("is not a regular file", 5, "--tuning", process_folder());
        expect_said("bad.json: field \"schema\": missing", 5, "--tuning", process_file("bad.json", "{}", 2));
    }
    configure(devices[0]);
    expect_said(" on the CPU", 0, "--tuning", "none");
}

/* Wherever it was put: as a value, as a name, where a number or a choice belongs. */
static void test_keys_in_the_file_are_not_shown(void **state) {
    static const char *const keys[] = {"sk-ant-api03-Zx9Qw8Er7Ty6", "Bearer abcdef", "8F3kq02LxPz9aaQ1mN7cQw"};
    static const char *const places[] = {"{\"device\": \"%s\"}",
                                         "{\"model\": \"%s\"}",
                                         "{\"remote\": \"%s\"}",
                                         "{\"threads\": \"%s\"}",
                                         "{\"ops\": [\"%s\"]}",
                                         "{\"ops\": \"%s\"}",
                                         "{\"%s\": 1}",
                                         "{\"remotes\": \"%s\"}",
                                         "{\"remotes\": [\"%s\"]}",
                                         "{\"remotes\": [{\"name\": \"%s\"}]}",
                                         "{\"remotes\": [{\"name\": \"a\", \"dialect\": \"%s\"}]}",
                                         "{\"remotes\": [{\"name\": \"a\", \"model\": \"%s\"}]}",
                                         "{\"remotes\": [{\"name\": \"a\", \"url\": \"%s\"}]}",
                                         "{\"remotes\": [{\"name\": \"a\", \"key_variable\": \"%s\"}]}",
                                         "{\"remotes\": [{\"name\": \"a\", \"key_file\": \"%s\"}]}",
                                         "{\"remotes\": [{\"name\": \"a\", \"key_command\": \"%s\"}]}",
                                         "{\"remotes\": [{\"name\": \"a\", \"timeout\": \"%s\"}]}",
                                         "{\"remotes\": [{\"name\": \"a\", \"%s\": 1}]}",
                                         "{\"device\": %s}",
                                         "%s"};
    (void)state;
    for (size_t k = 0; k < sizeof keys / sizeof *keys; k++)
        for (size_t p = 0; p < sizeof places / sizeof *places; p++) {
            char text[256];
            struct process_result result;
            snprintf(text, sizeof text, places[p], keys[k]);
            configure(text);
            process_run(&result, &options, process_tool(), "config", "list", NULL);
            if (strstr(result.err, keys[k]) || strstr(result.out, keys[k]))
                fail_msg("%s is shown: %s%s", keys[k], result.out, result.err);
            process_assert_status(&result, 5);
            process_free(&result);
        }
    configure("{\"model\": \"Mistral-Nemo-Instruct-2407-Q4_K_M\", \"device\": \"NVIDIA GeForce RTX 3090\"}");
    struct process_result result;
    process_run(&result, &options, process_tool(), "config", "list", NULL);
    process_assert_status(&result, 0); /* names are no keys */
    process_free(&result);
    configure("{\"model\": \"/models/blobs/8a83c0eb5f1be4bd8e6a2a1d0b7ba5ed36b3a4d9f0e1\"}");
    process_run(&result, &options, process_tool(), "config", "list", NULL);
    process_assert_status(&result, 0);
    process_free(&result);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_wrong_files_are_refused_by_key_and_value),
        cmocka_unit_test(test_verify_names_the_file_too),
        cmocka_unit_test(test_file_is_beaten_by_environment_and_flags),
        cmocka_unit_test(test_tuning_names_a_profile),
        cmocka_unit_test(test_keys_in_the_file_are_not_shown),
    };
    return cmocka_run_group_tests_name("config", tests, NULL, NULL);
}
