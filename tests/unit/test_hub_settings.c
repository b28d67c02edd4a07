/* The variables of the Hub's clients: which one counts, and what is nonsense. */
#define _GNU_SOURCE
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "hub/hub.h"
#include "support/hub_server.h"
#include "support/process.h"

static char home[400];
static struct ci_hub_settings settings;

static int start(void **state) {
    (void)state;
    hub_server_clear_environment();
    snprintf(home, sizeof home, "%s/home-XXXXXX", process_folder());
    assert_non_null(mkdtemp(home));
    setenv("HOME", home, 1);
    return 0;
}

static int stop(void **state) {
    (void)state;
    ci_hub_settings_free(&settings);
    return 0;
}

static void read_well(void) {
    ci_hub_settings_free(&settings);
    if (ci_hub_settings_read(&settings) != CLINFER_OK) fail_msg("%s", clinfer_error());
}

static void read_badly(const char *name, const char *value, const char *hidden) {
    setenv(name, value, 1);
    ci_hub_settings_free(&settings);
    assert_int_equal(ci_hub_settings_read(&settings), CLINFER_OK);
    assert_non_null(settings.cache); /* who asks nobody has all that there is */
    assert_non_null(settings.endpoint);
    assert_null(settings.token);
    assert_int_equal(ci_hub_check_online(&settings, "it"), CLINFER_INVALID_ARGUMENT);
    if (!strstr(clinfer_error(), name)) fail_msg("%s is not named: %s", name, clinfer_error());
    if (hidden && strstr(clinfer_error(), hidden)) fail_msg("%s is shown: %s", hidden, clinfer_error());
    ci_hub_settings_go_offline(&settings, "--offline");
    assert_int_equal(ci_hub_check_online(&settings, "it"), CLINFER_NOT_FOUND);
    unsetenv(name);
}

static const char *at_home(const char *below) {
    static char path[4][600];
    static int next;
    next = (next + 1) % 4;
    snprintf(path[next], sizeof *path, "%s%s", home, below);
    return path[next];
}

static void make(const char *below) {
    char path[600], *slash = path;
    snprintf(path, sizeof path, "%s%s", home, below);
    for (slash = path + strlen(home) + 1; (slash = strchr(slash, '/')); slash++) {
        *slash = 0;
        mkdir(path, 0700);
        *slash = '/';
    }
    mkdir(path, 0700);
}

static void put(const char *below, const char *text) {
    char path[600];
    snprintf(path, sizeof path, "%s%s", home, below);
    *strrchr(path, '/') = 0;
    make(path + strlen(home));
    FILE *file = fopen(at_home(below), "w");
    assert_non_null(file);
    fputs(text, file);
    fclose(file);
}

static void test_without_variables_all_is_as_usual(void **state) {
    (void)state;
    read_well();
    assert_string_equal(settings.endpoint, "https://huggingface.co");
    assert_string_equal(settings.registry, "https://registry.ollama.ai");
    assert_string_equal(settings.cache, at_home("/.cache/huggingface/hub"));
    assert_string_equal(settings.cache_from, "HOME");
    assert_null(settings.caches[0]);
    assert_string_equal(settings.models, at_home("/.local/share/clinfer/models"));
    assert_null(settings.token);
    assert_false(settings.offline || settings.no_symlinks || settings.no_progress_bars || settings.token_withheld);
    assert_true(settings.connect_seconds == 10 && settings.silence_seconds == 30 && settings.tries == 5);
}

static void test_the_first_cache_that_is_set_counts(void **state) {
    (void)state;
    static const char *const order[][2] = {{"XDG_CACHE_HOME", "/huggingface/hub"},
                                           {"HF_HOME", "/hub"},
                                           {"HUGGINGFACE_HUB_CACHE", ""},
                                           {"HF_HUB_CACHE", ""},
                                           {"LLAMA_CACHE", ""}};
    make("/.cache/huggingface/hub");
    for (size_t i = 0; i < 5; i++) {
        char folder[64], below[128];
        snprintf(folder, sizeof folder, "/folder%zu", i);
        snprintf(below, sizeof below, "%s%s", folder, order[i][1]);
        setenv(order[i][0], at_home(folder), 1);
        read_well();
        assert_string_equal(settings.cache, at_home(below));
        assert_string_equal(settings.cache_from, order[i][0]);
        if (i != 2) make(below);
    }
    read_well();
    assert_string_equal(settings.caches[0], at_home("/folder4"));
    assert_string_equal(settings.caches[1], at_home("/folder3"));
    assert_string_equal(settings.caches[2], at_home("/folder1/hub"));
    assert_string_equal(settings.caches[3], at_home("/folder0/huggingface/hub"));
    assert_string_equal(settings.caches[4], at_home("/.cache/huggingface/hub"));
    assert_null(settings.caches[5]);
}

static void test_a_cache_is_listed_once(void **state) {
    (void)state;
    make("/one");
    assert_int_equal(symlink(at_home("/one"), at_home("/link")), 0);
    setenv("LLAMA_CACHE", at_home("/one/"), 1);
    setenv("HF_HUB_CACHE", at_home("/link"), 1);
    read_well();
    assert_string_equal(settings.cache, at_home("/one"));
    assert_string_equal(settings.caches[0], at_home("/one"));
    assert_null(settings.caches[1]);
}

static void test_folders_become_absolute(void **state) {
    (void)state;
    setenv("HF_HUB_CACHE", "~/mine", 1);
    read_well();
    assert_string_equal(settings.cache, at_home("/mine"));
    assert_int_equal(chdir(home), 0);
    setenv("HF_HUB_CACHE", "mine", 1);
    read_well();
    assert_string_equal(settings.cache, at_home("/mine"));
    assert_int_equal(chdir("/"), 0);
}

static void test_an_endpoint_is_an_address(void **state) {
    (void)state;
    setenv("HF_ENDPOINT", "https://mirror.example/path///", 1);
    read_well();
    assert_string_equal(settings.endpoint, "https://mirror.example/path");
    setenv("HF_ENDPOINT", "", 1);
    read_well();
    assert_string_equal(settings.endpoint, "https://huggingface.co");
    read_badly("HF_ENDPOINT", "mirror.example", NULL);
    read_badly("HF_ENDPOINT", "ftp://mirror.example", NULL);
    read_badly("HF_ENDPOINT", "https://", NULL);
    read_badly("HF_ENDPOINT", "https:///x", NULL);
    read_badly("HF_ENDPOINT", "https://name:word@mirror.example", "word");
    read_badly("HF_ENDPOINT", "https://mirror.example/?token=word", "word");
    read_badly("HF_ENDPOINT", "https://mirror.example\r\nX: y", NULL);
}

static void check_token(const char *token, const char *from) {
    read_well();
    assert_non_null(settings.token);
    assert_string_equal(settings.token, token);
    if (!strstr(settings.token_from, from)) fail_msg("it is said to be of %s", settings.token_from);
}

static void test_the_first_token_counts_and_is_trimmed(void **state) {
    (void)state;
    put("/.cache/huggingface/token", "hf_default\n");
    check_token("hf_default", "HF_HOME");
    put("/hf/token", "  hf_home  \n\n");
    setenv("HF_HOME", at_home("/hf"), 1);
    check_token("hf_home", "HF_HOME");
    put("/elsewhere", "hf_path\r\n");
    setenv("HF_TOKEN_PATH", at_home("/elsewhere"), 1);
    check_token("hf_path", "HF_TOKEN_PATH");
    setenv("HUGGING_FACE_HUB_TOKEN", " hf_old ", 1);
    check_token("hf_old", "HUGGING_FACE_HUB_TOKEN");
    setenv("HF_TOKEN", "\n", 1); /* as good as none */
    check_token("hf_old", "HUGGING_FACE_HUB_TOKEN");
    setenv("HF_TOKEN", "hf_new\n", 1);
    check_token("hf_new", "HF_TOKEN");
    setenv("HF_HUB_DISABLE_IMPLICIT_TOKEN", "1", 1);
    read_well();
    assert_null(settings.token);
    assert_null(settings.token_from);
    assert_true(settings.token_withheld);
}

static void test_a_token_file_that_is_none_is_no_token(void **state) {
    (void)state;
    make("/folder");
    assert_int_equal(mkfifo(at_home("/pipe"), 0600), 0);
    static const char *const none[] = {"/folder", "/pipe", "/missing", "/empty"};
    put("/empty", " \n");
    for (size_t i = 0; i < 4; i++) {
        setenv("HF_TOKEN_PATH", at_home(none[i]), 1);
        read_well();
        assert_null(settings.token);
    }
}

static void test_nonsense_is_named_and_a_token_never_shown(void **state) {
    (void)state;
    char long_one[5001];
    memset(long_one, 'x', 5000);
    long_one[5000] = 0;
    read_badly("HF_TOKEN", "hf_secret and more", "secret");
    read_badly("HF_TOKEN", "hf_secret\nX-Header: y", "secret");
    read_badly("HF_TOKEN", "hf_secr\xc3\xa4t", "secr");
    read_badly("HF_TOKEN", long_one, "xxxxxxxx");
    read_badly("HF_HUB_ETAG_TIMEOUT", "soon", NULL);
    read_badly("HF_HUB_ETAG_TIMEOUT", "0", NULL);
    read_badly("HF_HUB_DOWNLOAD_TIMEOUT", "-1", NULL);
    read_badly("HF_HUB_DOWNLOAD_TIMEOUT", "nan", NULL);
    put("/elsewhere", "hf_secret\x01\n");
    read_badly("HF_TOKEN_PATH", at_home("/elsewhere"), "secret");
}

static void test_what_is_true_is_as_there(void **state) {
    (void)state;
    static const char *const yes[] = {"1", "ON", "yes", "True"}, *const no[] = {"0", "", "off", "no", "2"};
    for (size_t i = 0; i < 4; i++) {
        setenv("HF_HUB_OFFLINE", yes[i], 1);
        read_well();
        assert_true(settings.offline);
        assert_string_equal(settings.offline_from, "HF_HUB_OFFLINE");
    }
    for (size_t i = 0; i < 5; i++) {
        setenv("HF_HUB_OFFLINE", no[i], 1);
        read_well();
        assert_false(settings.offline);
        assert_null(settings.offline_from);
    }
    ci_hub_settings_go_offline(&settings, "--offline");
    assert_string_equal(settings.offline_from, "--offline");
    setenv("TRANSFORMERS_OFFLINE", "1", 1);
    setenv("HF_HUB_DISABLE_SYMLINKS", "1", 1);
    setenv("HF_HUB_DISABLE_PROGRESS_BARS", "1", 1);
    setenv("HF_HUB_ETAG_TIMEOUT", "2.5", 1);
    setenv("HF_HUB_DOWNLOAD_TIMEOUT", "7", 1);
    read_well();
    assert_string_equal(settings.offline_from, "TRANSFORMERS_OFFLINE");
    assert_true(settings.no_symlinks && settings.no_progress_bars);
    assert_true(settings.connect_seconds == 2.5 && settings.silence_seconds == 7);
}

static void test_without_a_home_there_is_no_cache(void **state) {
    (void)state;
    unsetenv("HOME");
    read_well();
    assert_null(settings.cache);
    assert_null(settings.caches[0]);
    assert_null(settings.models);
    assert_null(settings.token);
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, start, stop)

int main(void) {
    const struct CMUnitTest tests[] = {
        CASE(test_without_variables_all_is_as_usual),
        CASE(test_the_first_cache_that_is_set_counts),
        CASE(test_a_cache_is_listed_once),
        CASE(test_folders_become_absolute),
        CASE(test_an_endpoint_is_an_address),
        CASE(test_the_first_token_counts_and_is_trimmed),
        CASE(test_a_token_file_that_is_none_is_no_token),
        CASE(test_nonsense_is_named_and_a_token_never_shown),
        CASE(test_what_is_true_is_as_there),
        CASE(test_without_a_home_there_is_no_cache),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
