/* Models by name, from the command line, against a Hub that tests/support/hub_server.py plays: what is not here comes
 * by itself and once, what is here is used without one request, and whoever forbids it is told the command. */
#define _GNU_SOURCE
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/file.h"
#include "support/asserts.h"
#include "support/hub_server.h"
#include "support/process.h"

#define COMMIT "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
#define FILE_NAME "Smol-Q4_1.gguf"

/* The words of a command line on a home, which is what its environment says. */
#define TOOL(result, home, ...)                                                                                        \
    process_run(result, &(struct process_options){.environment = (home)->environment}, process_tool(), __VA_ARGS__,    \
                NULL)
#define RUN "run", "--device", "cpu", "-n", "3", "--temp", "0"

enum { VARIABLES = 6 };

struct home {
    char path[300];
    char text[VARIABLES][400];
    const char *environment[VARIABLES + 1];
};

static char model[4096];

/* An empty one. What programs of the device compile, and what was proven, is shared by all. */
static struct home make_home(const char *name) {
    struct home home;
    snprintf(home.path, sizeof home.path, "%s/%s", process_folder(), name);
    assert_int_equal(mkdir(home.path, 0700), 0);
    snprintf(home.text[0], sizeof home.text[0], "HOME=%s", home.path);
    snprintf(home.text[1], sizeof home.text[1], "HF_HOME=%s/hf", home.path);
    snprintf(home.text[2], sizeof home.text[2], "HF_ENDPOINT=%s", hub_server_url("http"));
    snprintf(home.text[3], sizeof home.text[3], "XDG_CACHE_HOME=%s/shared-cache", process_folder());
    snprintf(home.text[4], sizeof home.text[4], "CLINFER_MODEL");
    snprintf(home.text[5], sizeof home.text[5], "HF_HUB_OFFLINE");
    return home;
}

/* Texts are borrowed from the struct itself, so this comes after it has been returned. */
static void set_environment(struct home *home) {
    for (int i = 0; i < VARIABLES; i++) home->environment[i] = home->text[i];
    home->environment[VARIABLES] = NULL;
}

#define HOME(variable, name)                                                                                           \
    struct home variable = make_home(name);                                                                            \
    set_environment(&(variable))

/* The path of something in it, whose folders are made; valid until the next call. */
static const char *inside(const struct home *home, const char *name) {
    static char path[1000];
    snprintf(path, sizeof path, "%s/%s", home->path, name);
    assert_int_equal(ci_file_make_parents(path), 0);
    return path;
}

static void link_model(const struct home *home, const char *name) {
    assert_int_equal(symlink(model, inside(home, name)), 0);
}

static void assert_requests(size_t expected, const char *when) {
    json_t *log = hub_server_log();
    if (json_array_size(log) != expected) fail_msg("%s: %zu requests, not %zu", when, json_array_size(log), expected);
    json_decref(log);
}

/* That it answers, with what on standard error; returns the answer for the caller to free. */
static char *assert_answers(const struct process_result *result, const char *said) {
    process_assert_status(result, 0);
    assert_true(result->out_length > 1);
    if (said) assert_contains(result->err, said);
    return strdup(result->out);
}

#define ANSWERS(home, said, ...)                                                                                       \
    do {                                                                                                               \
        struct process_result result_;                                                                                 \
        TOOL(&result_, home, RUN, __VA_ARGS__, "hi");                                                                  \
        free(assert_answers(&result_, said));                                                                          \
        process_free(&result_);                                                                                        \
    } while (0)

#define FAILS(home, expected, said, ...)                                                                               \
    do {                                                                                                               \
        struct process_result result_;                                                                                 \
        TOOL(&result_, home, __VA_ARGS__);                                                                             \
        process_assert_status(&result_, expected);                                                                     \
        assert_contains(result_.err, said);                                                                            \
        assert_string_equal(result_.out, "");                                                                          \
        process_free(&result_);                                                                                        \
    } while (0)

/* Three repos with the default model, by names of the test's own. */
static int start(void **state) {
    static const char *const names[] = {"Smol-GGUF", "Other-GGUF", "Qwen3-0.6B-GGUF"};
    static const char *const files[] = {FILE_NAME, "Other-Q4_1.gguf", "Qwen3-0.6B-Q8_0.gguf"};
    snprintf(model, sizeof model, "%s", process_model()); /* before HOME is another */
    hub_server_start(state);
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        hub_server_put(
            json_pack("{s:s, s:{s:{s:s, s:b}}}", "name", names[i], "files", files[i], "file", model, "large", 1));
    return 0;
}

/* D1, D9, D10, D11: fetched once, with name and size; then not one request, online, offline, or by another command. */
static void test_first_run_fetches_and_the_second_asks_nothing(void **state) {
    (void)state;
    HOME(home, "first");
    struct process_result first, second;
    json_decref(hub_server_log());
    TOOL(&first, &home, RUN, "-m", "user/Smol-GGUF:Q4_1", "hi");
    char *answer = assert_answers(&first, FILE_NAME);
    assert_contains(first.err, "98.4 MB");
    json_t *log = hub_server_log();
    assert_true(hub_server_count(log, "tree", NULL) > 0);
    json_decref(log);
    TOOL(&second, &home, RUN, "-m", "user/Smol-GGUF:Q4_1", "hi");
    char *again = assert_answers(&second, FILE_NAME);
    assert_string_equal(again, answer);
    assert_requests(0, "the second run");
    ANSWERS(&home, FILE_NAME, "-m", "user/Smol-GGUF", "--offline");
    ANSWERS(&home, FILE_NAME, "-m", "hf.co/user/Smol-GGUF:q4_1", "--no-pull");
    ANSWERS(&home, FILE_NAME, "-hf", "user/Smol-GGUF");
    ANSWERS(&home, FILE_NAME, "-hf", "user/Smol-GGUF:Q8_0", "-hff", FILE_NAME);
    ANSWERS(&home, "the only model there is", "-q", "-v"); /* no name at all */
    FAILS(&home, 3, "(of this repo there is: user/Smol-GGUF:Q4_1)", RUN, "-m", "user/Smol-GGUF:Q8_0", "--offline",
          "hi");
    assert_requests(0, "by other names");
    free(answer);
    free(again);
    process_free(&first);
    process_free(&second);
}

/* D9: in an empty HOME without any other variable, it goes where huggingface_hub and llama.cpp look, too. */
static void test_an_empty_home_is_enough(void **state) {
    (void)state;
    HOME(home, "empty");
    home.environment[1] = "HF_HOME";
    home.environment[3] = "XDG_CACHE_HOME";
    ANSWERS(&home, FILE_NAME, "-m", "user/Smol-GGUF:Q4_1");
    assert_int_equal(access(inside(&home, ".cache/huggingface/hub/models--user--Smol-GGUF/refs/main"), R_OK), 0);
}

/* On a terminal, too, nothing is asked. */
static void test_on_a_terminal_it_is_the_same(void **state) {
    (void)state;
    HOME(home, "terminal");
    struct process_terminal terminal;
    size_t at = 0;
    for (int i = 0; i < VARIABLES; i++) {
        char *end = strchr(home.text[i], '=');
        if (!end) continue;
        *end = 0;
        setenv(home.text[i], end + 1, 1);
    }
    process_terminal_start(&terminal, process_tool(), RUN, "-m", "user/Smol-GGUF:Q4_1", "hi", NULL);
    assert_true(process_terminal_expect(&terminal, &at, "98.4 MB"));
    assert_true(process_terminal_expect(&terminal, &at, "generated"));
    assert_int_equal(process_terminal_finish(&terminal), 0);
    free(terminal.text);
    for (int i = 1; i < VARIABLES; i++) unsetenv(home.text[i]);
    setenv("HOME", process_folder(), 1);
}

/* Every command that takes a model; nothing is asked, and the command that would fetch it is named. */
static void test_what_forbids_to_fetch_names_the_command(void **state) {
    static const char *const commands[] = {"run", "tokenize", "inspect", "embed", "ops", "verify", "bench", "tune"};
    (void)state;
    HOME(home, "forbidden");
    static const char said[] =
        "user/Smol-GGUF:Q4_1: not on this machine; `clinfer pull user/Smol-GGUF:Q4_1` fetches it";
    json_decref(hub_server_log());
    for (size_t i = 0; i < sizeof commands / sizeof *commands; i++) {
        const char *prompt = i < 2 || i == 3 ? "hi" : "--offline";
        FAILS(&home, 3, said, commands[i], "-m", "user/Smol-GGUF:Q4_1", "--no-pull", prompt);
    }
    FAILS(&home, 3, said, "logits", "-m", "user/Smol-GGUF:Q4_1", "--no-pull", "-p", "hi", "-o", "/dev/null");
    FAILS(&home, 3, "--offline nothing is fetched", "tokenize", "-hf", "user/Smol-GGUF:Q4_1", "--offline", "hi");
    FAILS(&home, 3, "`clinfer pull user/Smol-GGUF:Q4_1` fetches it", "run", "-m", "user/Smol-GGUF:Q4_1", "--dry-run",
          "hi");
    FAILS(&home, 3, "`clinfer pull qwen3-0.6b` fetches it", "tokenize", "-m", "qwen3-0.6b", "--no-pull", "hi");
    home.environment[5] = "HF_HUB_OFFLINE=1";
    FAILS(&home, 3, "HF_HUB_OFFLINE nothing is fetched", "tokenize", "-m", "user/Smol-GGUF:Q4_1", "hi");
    home.environment[4] = "CLINFER_MODEL=user/Smol-GGUF:Q4_1";
    FAILS(&home, 3, "CLINFER_MODEL: user/Smol-GGUF:Q4_1: not on this machine", "tokenize", "hi");
    assert_requests(0, "what is forbidden");
}

static void test_flags_of_llama_cli_contradict_each_other_aloud(void **state) {
    (void)state;
    HOME(home, "flags");
    json_decref(hub_server_log());
    FAILS(&home, 2, "-m, -hf and -mu each name a model", "tokenize", "-m", "a", "-hf", "user/repo", "hi");
    FAILS(&home, 2, "-hff x.gguf: the repo is missing", "tokenize", "-hff", "x.gguf", "hi");
    FAILS(&home, 2, "no path below the repo", "tokenize", "-hf", "user/repo", "-hff", "../x.gguf", "hi");
    FAILS(&home, 2, "-hf: user/a--b: this name has \"--\"", "tokenize", "-hf", "user/a--b", "hi");
    FAILS(&home, 2, "-hf ollama:x: no repo of the Hub", "tokenize", "-hf", "ollama:x", "hi");
    FAILS(&home, 2, "-mu x.gguf: no address", "tokenize", "-mu", "x.gguf", "hi");
    struct process_result result;
    TOOL(&result, &home, "tokenize", "-hf", "user/repo", "-hft", HUB_TOKEN, "hi");
    process_assert_status(&result, 2);
    assert_contains(result.err, "set HF_TOKEN");
    hub_assert_no_token(result.err);
    process_free(&result);
    assert_requests(0, "wrong flags");
}

/* An alias; an address of another host than the Hub's. */
static void test_aliases_and_addresses(void **state) {
    (void)state;
    HOME(home, "alias");
    char address[300];
    ANSWERS(&home, "Qwen3-0.6B-Q8_0.gguf", "-m", "qwen3-0.6b");
    assert_int_equal(access(inside(&home, "hf/hub/models--Qwen--Qwen3-0.6B-GGUF/refs/main"), R_OK), 0);
    json_decref(hub_server_log());
    ANSWERS(&home, "Qwen3-0.6B-Q8_0.gguf", "-m", "Qwen3-0.6B");
    assert_requests(0, "the alias once more");
    const char *port = strrchr(hub_server_url("http"), ':');
    snprintf(address, sizeof address, "http://127.0.0.2%s/plain/user/tiny/tiny-Q4_K_M.gguf", port);
    struct process_result result;
    TOOL(&result, &home, "inspect", "-mu", address);
    assert_contains(result.err, "tiny-Q4_K_M.gguf");
    process_free(&result);
    assert_int_equal(access(inside(&home, ".local/share/clinfer/models/tiny-Q4_K_M.gguf"), R_OK), 0);
    json_decref(hub_server_log());
    TOOL(&result, &home, "inspect", "-mu", address);
    process_free(&result);
    TOOL(&result, &home, "inspect", "tiny-Q4_K_M");
    process_free(&result);
    assert_requests(0, "the address once more");
}

/* S1, S4, D8: the settings are read when they are used; names and paths. */
static void test_settings_change_the_model_of_the_next_run(void **state) {
    (void)state;
    HOME(home, "settings");
    static const char *const names[] = {"user/Smol-GGUF:Q4_1", "user/Other-GGUF:Q4_1", "user/Smol-GGUF"};
    static const char *const files[] = {FILE_NAME, "Other-Q4_1.gguf", FILE_NAME};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        struct process_result result;
        TOOL(&result, &home, "config", "set", "model", names[i]);
        process_assert_status(&result, 0);
        process_free(&result);
        ANSWERS(&home, files[i], "--device", "cpu");
    }
    struct process_result result;
    TOOL(&result, &home, "config", "set", "model", model);
    process_assert_status(&result, 0);
    process_free(&result);
    ANSWERS(&home, "(config.json;", "--device", "cpu");
    home.environment[4] = "CLINFER_MODEL=user/Other-GGUF";
    ANSWERS(&home, "Other-Q4_1.gguf (CLINFER_MODEL;", "--device", "cpu");
}

/* D5, D6, D7: what others or people put there, with links of all kinds and without any. */
static void test_caches_of_others_are_used(void **state) {
    (void)state;
    HOME(home, "others");
    link_model(&home, "hf/hub/models--u--absolute/snapshots/" COMMIT "/a-Q4_1.gguf");
    link_model(&home, "hf/hub/models--u--linked/blobs/" COMMIT);
    assert_int_equal(
        symlink("../../blobs/" COMMIT, inside(&home, "hf/hub/models--u--linked/snapshots/" COMMIT "/b-Q4_1.gguf")), 0);
    assert_int_equal(
        symlink("../../blobs/gone", inside(&home, "hf/hub/models--u--dangling/snapshots/" COMMIT "/c-Q4_1.gguf")), 0);
    link_model(&home, "hf/hub/by-hand.gguf");
    link_model(&home, ".local/share/clinfer/models/own/model.gguf");
    link_model(&home, ".lmstudio/models/publisher/repo/studio-Q4_1.gguf");
    json_decref(hub_server_log());
    ANSWERS(&home, "a-Q4_1.gguf", "-m", "u/absolute", "--offline");
    ANSWERS(&home, "b-Q4_1.gguf", "-m", "u/linked:Q4_1");
    ANSWERS(&home, "by-hand.gguf", "-m", "by-hand");
    ANSWERS(&home, "model.gguf", "-m", "model");
    ANSWERS(&home, "studio-Q4_1.gguf", "-m", "publisher/repo");
    FAILS(&home, 3, "u/dangling: not on this machine", RUN, "-m", "u/dangling", "--offline", "hi");
    FAILS(&home, 3, "did you mean by-hand.gguf", RUN, "-m", "by-hnd", "hi");
    assert_requests(0, "what is here");
}

/* S6 with names: never as if it had worked. The server's other failures are test_hub_pull's. */
static void test_what_cannot_be_had_or_loaded_says_so(void **state) {
    (void)state;
    HOME(home, "failing");
    FAILS(&home, 3, "nobody/nothing", "run", "-m", "nobody/nothing", "hi");
    FAILS(&home, 3, "Q5_0", "run", "-m", "user/Smol-GGUF:Q5_0", "hi");
    FAILS(&home, 2, "does not allow", "run", "-hf", "user/-x", "hi");
    FAILS(&home, 3, "three parts or more", "run", "-m", "user/repo/nothing", "hi");
    snprintf(home.text[2], sizeof home.text[2], "HF_ENDPOINT=%s", hub_server_url("closed"));
    FAILS(&home, 14, "127.0.0.1", "run", "-m", "user/Smol-GGUF:Q4_1", "hi");
    struct process_result result;
    TOOL(&result, &home, "list", "--names");
    assert_string_equal(result.out, "");
    process_free(&result);
}

/* J5: a system message from a file is the one that -sys gives. */
static void test_system_message_from_a_file(void **state) {
    (void)state;
    HOME(home, "system");
    static const char text[] = "You answer with one word.";
    const char *file = process_file("system.txt", "You answer with one word.\n", sizeof text);
    struct process_result by_text, by_file;
    TOOL(&by_text, &home, RUN, "-m", model, "-sys", text, "hi");
    TOOL(&by_file, &home, RUN, "-m", model, "-sysf", file, "hi");
    char *one = assert_answers(&by_text, NULL), *other = assert_answers(&by_file, NULL);
    assert_string_equal(one, other);
    free(one);
    free(other);
    process_free(&by_text);
    process_free(&by_file);
    FAILS(&home, 2, "-sys and -sysf are given", "run", "-sys", "a", "-sysf", file, "hi");
    FAILS(&home, 3, "-sysf: /no/such/file", "run", "-sysf", "/no/such/file", "hi");
    FAILS(&home, 5, "byte 1 is zero", "run", "-sysf", process_file("zero.txt", "a\0b", 3), "hi");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_first_run_fetches_and_the_second_asks_nothing),
        cmocka_unit_test(test_an_empty_home_is_enough),
        cmocka_unit_test(test_on_a_terminal_it_is_the_same),
        cmocka_unit_test(test_what_forbids_to_fetch_names_the_command),
        cmocka_unit_test(test_flags_of_llama_cli_contradict_each_other_aloud),
        cmocka_unit_test(test_aliases_and_addresses),
        cmocka_unit_test(test_settings_change_the_model_of_the_next_run),
        cmocka_unit_test(test_caches_of_others_are_used),
        cmocka_unit_test(test_what_cannot_be_had_or_loaded_says_so),
        cmocka_unit_test(test_system_message_from_a_file),
    };
    return cmocka_run_group_tests(tests, start, hub_server_stop);
}
