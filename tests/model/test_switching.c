/* Changing models in one process, by name: what a name means is looked up when it is used; loading, asking and
 * unloading are separate; what cannot be loaded says so and leaves what is loaded alone; fifty changes leave neither
 * memory nor descriptors behind.
 *
 * The names are links in a models folder of the test's own: "large" to the default model, "small" to a tiny one. */
#define _GNU_SOURCE
#include <dirent.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include <clinfer.h>

#include "base/file.h"
#include "support/model.h"
#include "support/process.h"

enum { SWITCHES = 50, TOKENS = 4, MOST_GROWTH = 64 << 20 };

static char models[400], model[4096];

static void link_model(const char *name, const char *target) {
    char *path = NULL;
    assert_true(asprintf(&path, "%s/%s.gguf", models, name) > 0);
    unlink(path);
    assert_int_equal(symlink(target, path), 0);
    free(path);
}

static const char *tiny_path(void) {
    static char path[4400];
    char *here = getcwd(NULL, 0);
    snprintf(path, sizeof path, "%s/tests/data/llama_tiny.gguf", here);
    free(here);
    return path;
}

static int set_up(void **state) {
    static const char *const unset[] = {"HF_ENDPOINT",    "HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE",
                                        "HF_HUB_OFFLINE", "LLAMA_CACHE",  "OLLAMA_MODELS"};
    static char home[400];
    (void)state;
    snprintf(model, sizeof model, "%s", test_model_path()); /* where the user's folder is, while that is known */
    snprintf(home, sizeof home, "%s/hf", process_folder());
    for (size_t i = 0; i < sizeof unset / sizeof *unset; i++) unsetenv(unset[i]);
    setenv("HF_HOME", home, 1);
    setenv("HOME", process_folder(), 1);
    setenv("XDG_DATA_HOME", process_folder(), 1);
    snprintf(models, sizeof models, "%s/clinfer/models/x", process_folder());
    assert_int_equal(ci_file_make_parents(models), 0);
    *strrchr(models, '/') = 0;
    link_model("large", model);
    link_model("small", tiny_path());
    return 0;
}

static enum clinfer_status open_named(const char *name, const char *device, clinfer_engine **engine) {
    struct clinfer_engine_options options = test_engine_options(name, device);
    options.context = 64;
    return clinfer_engine_open(&options, engine);
}

static clinfer_engine *load(const char *name, const char *device) {
    clinfer_engine *engine;
    if (open_named(name, device, &engine) != CLINFER_OK) fail_msg("%s: %s", name, clinfer_error());
    return engine;
}

/* Greedy tokens behind a prompt. */
static void ask(clinfer_engine *engine, int32_t answer[TOKENS]) {
    static const int32_t prompt[] = {1, 5, 9, 7};
    struct clinfer_session_options options;
    clinfer_session *session;
    struct clinfer_result result;
    const struct clinfer_request request = {.tokens = prompt, .count = 4, .max_tokens = TOKENS, .ignore_end = true};
    clinfer_session_options_default(engine, &options);
    options.temperature = 0;
    options.repeat_penalty = 1;
    assert_int_equal(clinfer_session_create(engine, &options, &session), CLINFER_OK);
    if (clinfer_generate(session, &request, &result) != CLINFER_OK) fail_msg("%s", clinfer_error());
    assert_int_equal(result.generated_tokens, TOKENS);
    memcpy(answer, result.tokens, TOKENS * sizeof *answer);
    clinfer_session_destroy(session);
}

static void ask_once(const char *name, const char *device, int32_t answer[TOKENS]) {
    clinfer_engine *engine = load(name, device);
    ask(engine, answer);
    clinfer_engine_close(engine);
}

static size_t resident_bytes(void) {
    long total, resident;
    FILE *file = fopen("/proc/self/statm", "re");
    assert_non_null(file);
    assert_int_equal(fscanf(file, "%ld %ld", &total, &resident), 2);
    fclose(file);
    return (size_t)resident * (size_t)sysconf(_SC_PAGESIZE);
}

static int descriptors(void) {
    DIR *folder = opendir("/proc/self/fd");
    int count = 0;
    assert_non_null(folder);
    while (readdir(folder)) count++;
    closedir(folder);
    return count;
}

static void test_fifty_switches_leave_nothing_behind(void **state) {
    (void)state;
    int32_t large[TOKENS], small[TOKENS], answer[TOKENS];
    int open_before = descriptors();
    size_t before = resident_bytes();
    ask_once("small", "cpu", small);
    ask_once("large", "cpu", large);
    for (int i = 0; i < SWITCHES; i++) {
        ask_once(i % 2 ? "large" : "small", "cpu", answer);
        assert_memory_equal(answer, i % 2 ? large : small, sizeof answer);
    }
    size_t after = resident_bytes();
    assert_int_equal(descriptors(), open_before);
#if defined(__SANITIZE_ADDRESS__)
    after = before; /* it keeps freed memory for a while, and says itself what is never freed */
#endif
    if (after > before + MOST_GROWTH) fail_msg("%zu MiB at the start, %zu behind it", before >> 20, after >> 20);
}

/* A driver keeps what it has compiled, so the first engine there is not counted. */
static void test_switches_on_devices_leave_nothing_behind(void **state) {
    (void)state;
    int32_t first[TOKENS], answer[TOKENS];
    for (const char *const *device = test_devices(); *device; device++) {
        ask_once("small", *device, first);
        ask_once("large", *device, answer);
        int open_before = descriptors();
        size_t before = resident_bytes();
        for (int i = 0; i < 4; i++) {
            ask_once(i % 2 ? "large" : "small", *device, answer);
            if (i % 2 == 0) assert_memory_equal(answer, first, sizeof answer);
        }
        assert_int_equal(descriptors(), open_before);
        if (resident_bytes() > before + MOST_GROWTH)
            fail_msg("device %s: %zu MiB became %zu", *device, before >> 20, resident_bytes() >> 20);
    }
}

static void assert_path(const char *name, const char *path) {
    struct clinfer_engine_info info;
    char *wanted = realpath(path, NULL), *opened;
    clinfer_engine *engine = load(name, "cpu");
    clinfer_engine_get_info(engine, &info);
    opened = realpath(info.model_path, NULL);
    assert_string_equal(opened, wanted);
    clinfer_engine_close(engine);
    free(wanted);
    free(opened);
}

/* The same name, after it has come to mean something else. */
static void test_a_name_is_looked_up_when_it_is_used(void **state) {
    (void)state;
    link_model("changing", tiny_path());
    assert_path("changing", tiny_path());
    char *here = getcwd(NULL, 0), *other = NULL;
    assert_true(asprintf(&other, "%s/tests/data/qwen2_tiny.gguf", here) > 0);
    link_model("changing", other);
    assert_path("changing", other);
    free(other);
    free(here);
}

static void test_a_failed_load_leaves_the_old_model_usable(void **state) {
    (void)state;
    static const struct {
        const char *name;
        enum clinfer_status status;
    } broken[] = {{"cut", CLINFER_BAD_FILE},
                  {"text", CLINFER_BAD_FILE},
                  {"fifo", CLINFER_UNSUPPORTED},
                  {"no-such-model", CLINFER_NOT_FOUND},
                  {"user/repo:Q4_K_M", CLINFER_NOT_FOUND},
                  {"https://example.org/model.gguf", CLINFER_UNSUPPORTED}};
    size_t size;
    int32_t before[TOKENS], answer[TOKENS];
    char *bytes = process_read(tiny_path(), &size), fifo[300];
    link_model("cut", process_file("cut.gguf", bytes, size / 2));
    link_model("text", process_file("text.gguf", "this is no model", 16));
    snprintf(fifo, sizeof fifo, "%s/fifo.gguf", process_folder());
    assert_int_equal(mkfifo(fifo, 0600), 0);
    link_model("fifo", fifo);
    free(bytes);
    clinfer_engine *engine = load("small", "cpu"), *none = engine;
    ask(engine, before);
    for (size_t i = 0; i < sizeof broken / sizeof *broken; i++) {
        enum clinfer_status status = open_named(broken[i].name, "cpu", &none);
        if (status != broken[i].status) fail_msg("%s: status %d: %s", broken[i].name, status, clinfer_error());
        assert_null(none);
        ask(engine, answer);
        assert_memory_equal(answer, before, sizeof answer);
    }
    clinfer_engine_close(engine);
}

/* In a child, which gets less memory than the model needs. */
static void test_too_little_memory_is_said(void **state) {
    (void)state;
#if defined(__SANITIZE_ADDRESS__)
    print_message("skip: AddressSanitizer ends a process that has no memory\n");
    skip();
#endif
    int status;
    pid_t child = fork();
    if (child == 0) {
        const struct rlimit limit = {96 << 20, 96 << 20};
        clinfer_engine *engine;
        setrlimit(RLIMIT_AS, &limit);
        _exit((int)open_named("large", "cpu", &engine));
    }
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), CLINFER_OUT_OF_MEMORY);
}

/* Nothing loaded is an error and no crash; loading twice, and unloading nothing, do no harm. */
static void test_loading_asking_and_unloading_are_separate(void **state) {
    (void)state;
    clinfer_session *session = NULL;
    int32_t first[TOKENS], second[TOKENS];
    assert_int_equal(clinfer_session_create(NULL, NULL, &session), CLINFER_INVALID_ARGUMENT);
    clinfer_engine_close(NULL);
    clinfer_engine *one = load("small", "cpu"), *two = load("small", "cpu");
    ask(one, first);
    clinfer_engine_close(one);
    ask(two, second);
    clinfer_engine_close(two);
    assert_memory_equal(first, second, sizeof first);
    struct clinfer_router_options options = {.engine = test_engine_options("small", "cpu")};
    clinfer_router *router;
    assert_int_equal(clinfer_router_open(&options, &router), CLINFER_OK);
    assert_int_equal(clinfer_router_start(router), CLINFER_OK);
    clinfer_engine *loaded = clinfer_router_engine(router);
    assert_non_null(loaded);
    assert_int_equal(clinfer_router_start(router), CLINFER_OK);
    assert_ptr_equal(clinfer_router_engine(router), loaded);
    clinfer_router_close(router);
}

/* Batches of any size compute the same; what the file says of sampling beats what is built in. */
static void test_odd_batches_give_equal_tokens(void **state) {
    static const int batches[] = {1, 3, 5, 64};
    int32_t first[TOKENS], answer[TOKENS];
    (void)state;
    ask_once("large", "cpu", first);
    for (size_t i = 0; i < sizeof batches / sizeof *batches; i++) {
        struct clinfer_engine_options options = test_engine_options("large", "cpu");
        options.context = 64;
        options.batch = batches[i];
        clinfer_engine *engine = test_engine_open(&options);
        ask(engine, answer);
        clinfer_engine_close(engine);
        assert_memory_equal(answer, first, sizeof answer);
    }
}

static void test_models_are_listed_by_the_names_that_open_them(void **state) {
    struct clinfer_model *list;
    size_t count;
    bool found = false;
    (void)state;
    assert_int_equal(clinfer_models(&list, &count), CLINFER_OK);
    for (size_t i = 0; i < count; i++) {
        if (strcmp(list[i].name, "large.gguf") != 0) continue;
        found = true;
        assert_string_equal(list[i].store, "models");
        assert_true(list[i].whole && list[i].bytes > 1 << 20);
        assert_path(list[i].name, list[i].path);
    }
    assert_true(found);
    clinfer_models_free(list, count);
    clinfer_models_free(NULL, 0);
    setenv("HF_ENDPOINT", "no address", 1); /* which is nobody's business who asks no net */
    assert_int_equal(clinfer_models(&list, &count), CLINFER_OK);
    clinfer_models_free(list, count);
    assert_path("large", model);
    unsetenv("HF_ENDPOINT");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_fifty_switches_leave_nothing_behind),
        cmocka_unit_test(test_a_name_is_looked_up_when_it_is_used),
        cmocka_unit_test(test_a_failed_load_leaves_the_old_model_usable),
        cmocka_unit_test(test_too_little_memory_is_said),
        cmocka_unit_test(test_loading_asking_and_unloading_are_separate),
        cmocka_unit_test(test_odd_batches_give_equal_tokens),
        cmocka_unit_test(test_models_are_listed_by_the_names_that_open_them),
        cmocka_unit_test(test_switches_on_devices_leave_nothing_behind),
    };
    return cmocka_run_group_tests(tests, set_up, NULL);
}
