/* Out of memory in the command line tool: each allocation of clinfer's own code fails in turn, as in
 * test_allocations.c, but in a process of its own each time, so that first starts are among them: no cache, drivers
 * that were never tried. It ends with the exit status for out of memory and says so, or does what it does undisturbed.
 */
#define _GNU_SOURCE
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/file.h"
#include "support/asserts.h"
#include "support/failing_malloc.h"
#include "support/hub_folder.h"
#include "support/process.h"

enum { OUT_OF_MEMORY = 7, WORDS = 12, MOST_TOLD = 20 };

/* `cold`: the cache folder is a new one each time. `most`: how many are to fail in `make check`. */
struct command {
    const char *words[WORDS];
    bool cold;
    int most;
};

static char tool[512], probe[512], count_path[512];

static bool in_full(void) { return getenv("CLINFER_TEST_FULL") != NULL; }

static void run(struct process_result *result, const struct command *command, int number, bool for_ever) {
    static int caches;
    char failing[64], count[600], cache[600], probing[600];
    const char *const *w = command->words;
    snprintf(failing, sizeof failing, "FAILING_MALLOC=%d%s", number, for_ever ? "+" : "");
    snprintf(count, sizeof count, "FAILING_MALLOC_COUNT=%s", count_path);
    snprintf(cache, sizeof cache, "XDG_CACHE_HOME=%s/cache%d", process_folder(), command->cold ? ++caches : 0);
    snprintf(probing, sizeof probing, "CLINFER_PROBE=%s", probe);
    const char *const environment[] = {failing, count, probing, cache, NULL};
    const struct process_options options = {.environment = environment};
    process_run(result, &options, tool, w[0], w[1], w[2], w[3], w[4], w[5], w[6], w[7], w[8], w[9], w[10], w[11], NULL);
}

static int read_count(void) {
    size_t size;
    char *text = process_read(count_path, &size);
    int count = atoi(text);
    free(text);
    return count;
}

static const char *where(void) {
    size_t size;
    char *text = process_read(count_path, &size), *line = strchr(text, '\n');
    if (line) line[1 + strcspn(line + 1, "\n")] = '\0';
    const char *functions = failing_malloc_functions(tool, line ? line + 1 : "");
    free(text);
    return functions;
}

static bool is_right(const struct process_result *result, const struct process_result *right) {
    if (result->status == OUT_OF_MEMORY) return strstr(result->err, "memory") || strstr(result->err, "cannot start");
    return result->status == 0 && strcmp(result->out, right->out) == 0;
}

static void fail_each(const struct command *command) {
    struct process_result right;
    char name[256] = "";
    int problems = 0, tried = 0, lived_with = 0;
    for (int i = 0; command->words[i]; i++)
        snprintf(name + strlen(name), sizeof name - strlen(name), "%s%s", i ? " " : "", command->words[i]);
    run(&right, command, 0, false);
    process_assert_status(&right, 0);
    if (!command->cold) { /* the first one fills the cache */
        process_free(&right);
        run(&right, command, 0, false);
    }
    int count = read_count(), stride = in_full() || count <= command->most ? 1 : count / command->most;
    assert_true(count > 0);
    for (int i = 1; i <= count; i += stride)
        for (int for_ever = 0; for_ever < 2; for_ever++) {
            struct process_result result;
            run(&result, command, i, for_ever);
            tried++;
            lived_with += result.status == 0;
            if (!is_right(&result, &right) && ++problems <= MOST_TOLD)
                print_message("clinfer %s, allocation %d%s of %d: status %d: %s\n%.200s\nafter %s\n", name, i,
                              for_ever ? " and all after it" : "", count, result.status, result.err, result.out,
                              where());
            process_free(&result);
        }
    process_free(&right);
    print_message("clinfer %s: %d of %d survived (%d allocations; %d errors, %d lived with)\n", name, tried - problems,
                  tried, count, tried - lived_with, lived_with);
    if (problems) fail_msg("clinfer %s: %d problems", name, problems);
}

static void test_small_commands(void **state) {
    (void)state;
    fail_each(&(struct command){.words = {"inspect", "tests/data/llama_tiny.gguf"}, .most = 20});
    fail_each(&(struct command){.words = {"show", "tests/data/llama_tiny.gguf", "--device", "cpu"}, .most = 20});
    fail_each(&(struct command){.words = {"completion", "zsh"}, .most = 5});
    fail_each(&(struct command){.words = {"tokenize", "-m", "tests/data/llama_tiny.gguf", "the rain"}, .most = 20});
    fail_each(&(struct command){.words = {"profile", "list"}, .most = 10});
}

/* The model and the remote come from config.json, in a home of the test's own. */
static void test_configured_commands(void **state) {
    static const char config[] = "{\"model\": \"tiny\", \"device\": \"cpu\", \"ops\": [\"matmul=cpu\"], \"remote\": "
                                 "\"never\", \"remotes\": [{\"name\": \"lan\", \"url\": \"http://127.0.0.1:1/v1\", "
                                 "\"key_file\": \"~/.key\"}]}";
    char path[600], folder[512];
    size_t size;
    (void)state;
    snprintf(folder, sizeof folder, "%s/home", process_folder());
    snprintf(path, sizeof path, "%s/clinfer/models/tiny.gguf", folder);
    (void)ci_file_make_parents(path);
    char *model = process_read("tests/data/qwen2_tiny.gguf", &size);
    assert_ok(ci_file_write(path, model, size));
    free(model);
    snprintf(path, sizeof path, "%s/clinfer/config.json", folder);
    assert_ok(ci_file_write(path, config, strlen(config)));
    setenv("XDG_DATA_HOME", folder, 1);
    setenv("XDG_CONFIG_HOME", folder, 1);
    fail_each(&(struct command){.words = {"inspect"}, .most = 15});
    fail_each(&(struct command){.words = {"run", "--temp", "0", "-n", "4", "the rain"}, .most = 15});
    unsetenv("XDG_DATA_HOME");
    unsetenv("XDG_CONFIG_HOME");
}

/* Of all stores. */
static void test_models_of_a_home(void **state) {
    hub_folder_set(state);
    hub_blob("u--r", HUB_COMMIT, "m-Q4_0-00001-of-00002.gguf", HUB_DIGEST("a"), 10);
    hub_blob("u--r", HUB_OLDER, "sub/m-Q4_0-00001-of-00002.gguf", HUB_DIGEST("b"), 20);
    hub_blob("u--r", HUB_COMMIT, "m-Q8_0.gguf", HUB_DIGEST("c"), 30);
    hub_blob("u--r", HUB_OLDER, "m-Q8_0.gguf", HUB_DIGEST("d"), 40);
    hub_ref("u--r", "v1", HUB_OLDER);
    hub_blob("u--weights", HUB_COMMIT, "model.safetensors", HUB_DIGEST("e"), 50);
    hub_put_bytes("hub/models--u--r/blobs/" HUB_DIGEST("f"), 60);
    hub_put_bytes("hub/models--u--r/blobs/" HUB_DIGEST("0") ".clinfer.incomplete", 70);
    hub_put_bytes("hub/by-hand.gguf", 80);
    hub_put_bytes(".local/share/clinfer/models/sub/own.gguf", 90);
    hub_put_bytes(".lmstudio/models/maker/repo/m-Q4_0.gguf", 100);
    hub_put_bytes(".ollama/models/blobs/sha256-" HUB_DIGEST("c"), 30);
    hub_put(".ollama/models/manifests/registry.ollama.ai/library/tiny/1b",
            "{\"layers\":[{\"mediaType\":\"application/vnd.ollama.image.model\",\"digest\":\"sha256:" HUB_DIGEST(
                "c") "\",\"size\":30}]}");
    setenv("HF_HUB_CACHE", hub_path("hub"), 1);
    fail_each(&(struct command){.words = {"list", "--json"}, .most = 25});
    fail_each(&(struct command){.words = {"prune", "--all", "-n"}, .most = 15});
    unsetenv("HF_HUB_CACHE");
    hub_folder_unset(state);
}

static void test_answering(void **state) {
    (void)state;
    fail_each(&(struct command){
        .words = {"run", "-m", "tests/data/qwen2_tiny.gguf", "--device", "cpu", "--temp", "0", "-n", "4", "the rain"},
        .most = 15});
}

static void test_drivers_that_were_never_tried(void **state) {
    (void)state;
    fail_each(&(struct command){.words = {"devices"}, .cold = true, .most = 10});
}

/* An argument picks tests by a pattern. */
int main(int argc, char **argv) {
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_small_commands),
        cmocka_unit_test(test_configured_commands),
        cmocka_unit_test(test_models_of_a_home),
        cmocka_unit_test(test_answering),
        cmocka_unit_test(test_drivers_that_were_never_tried),
    };
    char here[400];
    if (argc > 1) cmocka_set_test_filter(argv[1]);
    ssize_t length = readlink("/proc/self/exe", here, sizeof here - 1);
    here[length > 0 ? length : 0] = '\0';
    char *slash = strrchr(here, '/');
    if (slash) *slash = '\0';
    snprintf(tool, sizeof tool, "%s/failing_clinfer", here);
    snprintf(probe, sizeof probe, "%s/../../clinfer-probe", here);
    snprintf(count_path, sizeof count_path, "%s/count", process_folder());
    return cmocka_run_group_tests(tests, NULL, NULL);
}
