/* `clinfer config`: what it shows, what it writes, and what it refuses to write. */
#define _GNU_SOURCE
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <jansson.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "support/process.h"

extern char **environ;

static char path[512];

/* A folder of its own, that no other environment speaks into. */
static int set_up(void **state) {
    static char folder[400];
    (void)state;
    snprintf(folder, sizeof folder, "%s/config", process_folder());
    snprintf(path, sizeof path, "%s/clinfer/config.json", folder);
    setenv("XDG_CONFIG_HOME", folder, 1);
    static const char *const others[] = {"CLINFER_MODEL",  "CLINFER_NO_REMOTE",  "OPENAI_BASE_URL",
                                         "OPENAI_API_KEY", "ANTHROPIC_BASE_URL", "ANTHROPIC_API_KEY"};
    for (size_t i = 0; i < sizeof others / sizeof *others; i++) unsetenv(others[i]);
    unlink(path);
    return 0;
}

static void write_file(const char *text) {
    FILE *file = fopen(path, "we");
    assert_non_null(file);
    assert_true(fputs(text, file) >= 0);
    assert_int_equal(fclose(file), 0);
}

static void expect_file(const char *wanted) {
    size_t size;
    char *text = process_read(path, &size);
    assert_string_equal(text, wanted);
    free(text);
}

/* Runs `clinfer config ...` and expects its exit status and these texts in what it writes ("": nothing at all). */
static void expect(int exit_status, const char *out, const char *err, const char *const *words) {
    struct process_result result;
    const char *all[8] = {NULL};
    for (size_t i = 0; words[i] && i < 8; i++) all[i] = words[i];
    process_run(&result, NULL, process_tool(), "config", all[0], all[1], all[2], all[3], all[4], all[5], all[6], all[7],
                NULL);
    process_assert_status(&result, exit_status);
    if (*out ? !strstr(result.out, out) : *result.out) fail_msg("\"%s\" is not in: %s", out, result.out);
    if (*err ? !strstr(result.err, err) : *result.err) fail_msg("\"%s\" is not in: %s", err, result.err);
    process_free(&result);
}

#define EXPECT(exit_status, out, err, ...) expect(exit_status, out, err, (const char *const[]){__VA_ARGS__, NULL})

static void test_set_get_and_unset_go_round(void **state) {
    (void)state;
    EXPECT(0, "auto\n", "", "get", "device");
    EXPECT(3, "", "model: is not set, and has no default", "get", "model");
    EXPECT(0, "", "", "set", "device", "cpu");
    EXPECT(0, "", "", "set", "threads", "4");
    EXPECT(0, "", "", "set", "ops", "matmul=cpu", "rope=cpu");
    EXPECT(0, "cpu\n", "", "get", "device");
    EXPECT(0, "matmul=cpu\nrope=cpu\n", "", "get", "ops");
    expect_file(
        "{\n  \"device\": \"cpu\",\n  \"threads\": 4,\n  \"ops\": [\n    \"matmul=cpu\",\n    \"rope=cpu\"\n  ]\n}\n");
    struct stat info;
    assert_int_equal(stat(path, &info), 0);
    assert_int_equal(info.st_mode & 0777, 0600);
    EXPECT(0, "", "", "unset", "ops");
    EXPECT(0, "", "", "set", "threads", "--unset");
    EXPECT(0, "", "threads was not set", "unset", "threads");
    expect_file("{\n  \"device\": \"cpu\"\n}\n");
}

static void test_remotes_are_made_changed_and_removed_by_name(void **state) {
    (void)state;
    EXPECT(0, "", "plain http is for this host only", "set", "remotes.lan.url", "http://192.168.1.5:8000/v1");
    EXPECT(0, "", "", "set", "remotes.lan.plain_http", "true");
    EXPECT(0, "", "", "set", "remotes.lan.idle_timeout", "2.5");
    EXPECT(0, "", "", "set", "remotes.openai.allow", "true");
    EXPECT(0, "http://192.168.1.5:8000/v1\n", "", "get", "remotes.lan.url");
    EXPECT(0, "2.5\n", "", "get", "remotes.lan.idle_timeout");
    EXPECT(0, "600\n", "", "get", "remotes.lan.timeout");
    EXPECT(0, "https://api.openai.com/v1\n", "", "get", "remotes.openai.url");
    expect_file("{\n  \"remotes\": [\n    {\n      \"name\": \"lan\",\n      \"url\": \"http://192.168.1.5:8000/v1\",\n"
                "      \"plain_http\": true,\n      \"idle_timeout\": 2.5\n    },\n    {\n      \"name\": \"openai\",\n"
                "      \"allow\": true\n    }\n  ]\n}\n");
    EXPECT(3, "", "config.json has no remote \"nobody\"", "get", "remotes.nobody.url");
    EXPECT(0, "remotes.lan.plain_http", "", "get", "remotes.lan");
    EXPECT(0, "", "", "unset", "remotes.lan.plain_http");
    EXPECT(0, "", "", "unset", "remotes.lan");
    EXPECT(0, "", "", "unset", "remotes.openai");
    expect_file("{}\n");
}

static void test_what_the_file_would_refuse_is_not_written(void **state) {
    static const struct {
        const char *key, *value, *said;
    } cases[] = {
        {"threads", "1025", "not changed: "},
        {"threads", "four", "field \"threads\": value \"four\": must be a whole number from 0 to 1024"},
        {"fallback", "gpu", "must be one of cpu|none|remote"},
        {"threds", "4", "threds: no such key; did you mean threads?"},
        {"x", "4", "x: no such key; clinfer config --help lists all"},
        {"remotes", "x", "remotes: its members are set one by one, as in remotes.lan.url"},
        {"remotes.a", "x", "remotes.a: its members are set one by one, as in remotes.a.url"},
        {"remotes..url", "x", "a remote's name has 1 to 32 bytes"},
        {"remotes.a.ulr", "x", "remotes.a.ulr: no such key; did you mean remotes.a.url?"},
        {"remotes.a.allow", "true", "field \"remotes[0].url\": missing"},
        {"remotes.a.url", "a.example", "field \"remotes[0].url\": remote \"a\": its URL "},
        {"remotes.a/b.url", "https://a.example", "must have at most 32 letters, digits, - and _"},
        {"remotes.openai.allow", "yes", "value \"yes\": must be true or false"},
        {"remotes.openai.key", "s3cret", "remotes.openai.key: no key stands in this file"},
        {"remotes.openai.key_variable", "sk-s3cret", "must be the name of a variable"},
        {"model", "\xff", "model: the value is no UTF-8 text"},
    };
    static const char before[] = "{\"device\": \"cpu\"}";
    struct process_result result;
    (void)state;
    EXPECT(0, "", "", "set", "device", "cpu");
    write_file(before);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        process_run(&result, NULL, process_tool(), "config", "set", cases[i].key, cases[i].value, NULL);
        if (!strstr(result.err, cases[i].said)) fail_msg("\"%s\" is not in: %s", cases[i].said, result.err);
        if (strstr(result.err, "s3cret")) fail_msg("the secret is in: %s", result.err);
        process_assert_status(&result, 2);
        process_free(&result);
    }
    EXPECT(2, "", "device: takes one value, not 2", "set", "device", "cpu", "0");
    EXPECT(2, "", "no such key; did you mean threads?", "unset", "thread");
    EXPECT(2, "", "config gett: no such action; did you mean get?", "gett", "device");
    EXPECT(2, "", "config takes: list; get KEY; set KEY VALUE", "set", "device");
    expect_file(before);
}

static void test_file_that_is_wrong_is_kept_or_mended(void **state) {
    (void)state;
    EXPECT(0, "", "", "set", "device", "cpu");
    write_file("{\"device\": \"cpu\",");
    EXPECT(5, "", "config.json: line 1, column", "set", "device", "0");
    EXPECT(5, "", "config.json: line 1, column", "list");
    expect_file("{\"device\": \"cpu\",");
    write_file("{\"devcie\": \"cpu\", \"threads\": 3}");
    EXPECT(5, "", "not changed, for it was wrong before: ", "set", "threads", "4");
    expect_file("{\"devcie\": \"cpu\", \"threads\": 3}");
    EXPECT(0, "", "", "unset", "devcie");
    expect_file("{\n  \"threads\": 3\n}\n");
}

static void test_link_stays_a_link(void **state) {
    char real[600];
    struct stat info;
    (void)state;
    EXPECT(0, "", "", "set", "device", "cpu");
    snprintf(real, sizeof real, "%s.real", path);
    assert_int_equal(rename(path, real), 0);
    assert_int_equal(symlink(real, path), 0);
    EXPECT(0, "", "", "set", "threads", "2");
    assert_int_equal(lstat(path, &info), 0);
    assert_true(S_ISLNK(info.st_mode));
    expect_file("{\n  \"device\": \"cpu\",\n  \"threads\": 2\n}\n");
}

/* Each adds one member; none may be lost. */
static void test_writers_at_once_lose_nothing(void **state) {
    enum { WRITERS = 12 };
    pid_t children[WRITERS];
    char key[WRITERS][32];
    (void)state;
    for (int i = 0; i < WRITERS; i++) {
        snprintf(key[i], sizeof key[i], "remotes.r%d.url", i);
        char *const words[] = {
            (char[]){"clinfer"}, (char[]){"config"}, (char[]){"set"}, key[i], (char[]){"https://r.example/v1"}, NULL};
        assert_int_equal(posix_spawn(&children[i], process_tool(), NULL, NULL, words, environ), 0);
    }
    for (int i = 0; i < WRITERS; i++) {
        int status;
        assert_int_equal(waitpid(children[i], &status, 0), children[i]);
        assert_int_equal(status, 0);
    }
    for (int i = 0; i < WRITERS; i++) EXPECT(0, "https://r.example/v1\n", "", "get", key[i]);
}

static json_t *find_setting(const json_t *values, const char *key) {
    for (size_t i = 0; i < json_array_size(values); i++)
        if (strcmp(json_string_value(json_object_get(json_array_get(values, i), "key")), key) == 0)
            return json_array_get(values, i);
    return NULL;
}

static void test_list_says_what_counts_and_where_it_comes_from(void **state) {
    static const struct {
        const char *key, *value, *source;
    } wanted[] = {
        {"model", "small", "CLINFER_MODEL"},
        {"device", "cpu", "file"},
        {"fallback", "cpu", "default"},
        {"remote", "never", "CLINFER_NO_REMOTE"},
        {"remotes.openai.url", "https://o.example/v1", "OPENAI_BASE_URL"},
        {"remotes.openai.model", "m", "file"},
        {"remotes.openai.key_variable", "OPENAI_API_KEY", "OPENAI_API_KEY"},
    };
    static const char *const environment[] = {"CLINFER_MODEL=small", "CLINFER_NO_REMOTE=1", "OPENAI_API_KEY=s3cret",
                                              "OPENAI_BASE_URL=https://o.example/v1", NULL};
    const struct process_options options = {.environment = environment};
    struct process_result result;
    (void)state;
    EXPECT(0, "", "", "set", "device", "cpu");
    EXPECT(0, "", "", "set", "model", "other");
    EXPECT(0, "", "", "set", "remotes.openai.model", "m");
    process_run(&result, &options, process_tool(), "config", "list", "--json", NULL);
    process_assert_status(&result, 0);
    json_t *object = json_loads(result.out, 0, NULL), *values = json_object_get(object, "values");
    assert_string_equal(json_string_value(json_object_get(object, "path")), path);
    for (size_t i = 0; i < sizeof wanted / sizeof *wanted; i++) {
        const json_t *setting = find_setting(values, wanted[i].key);
        if (!setting) fail_msg("%s is not in: %s", wanted[i].key, result.out);
        assert_string_equal(json_string_value(json_object_get(setting, "value")), wanted[i].value);
        assert_string_equal(json_string_value(json_object_get(setting, "source")), wanted[i].source);
    }
    assert_int_equal(json_integer_value(json_object_get(find_setting(values, "threads"), "value")), 0);
    assert_true(json_is_null(json_object_get(find_setting(values, "ops"), "value")));
    assert_null(find_setting(values, "remotes.openai.timeout"));
    assert_null(strstr(result.out, "s3cret"));
    json_decref(object);
    process_free(&result);
    process_run(&result, &options, process_tool(), "config", NULL);
    process_assert_status(&result, 0);
    assert_non_null(strstr(result.out, "device "));
    assert_non_null(strstr(result.out, " file\n"));
    assert_null(strstr(result.out, "s3cret"));
    process_free(&result);
    EXPECT(0, path, "", "path");
    EXPECT(0, "\"source\": \"file\"", "", "get", "device", "--json");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(test_set_get_and_unset_go_round, set_up),
        cmocka_unit_test_setup(test_remotes_are_made_changed_and_removed_by_name, set_up),
        cmocka_unit_test_setup(test_what_the_file_would_refuse_is_not_written, set_up),
        cmocka_unit_test_setup(test_file_that_is_wrong_is_kept_or_mended, set_up),
        cmocka_unit_test_setup(test_link_stays_a_link, set_up),
        cmocka_unit_test_setup(test_writers_at_once_lose_nothing, set_up),
        cmocka_unit_test_setup(test_list_says_what_counts_and_where_it_comes_from, set_up),
    };
    return cmocka_run_group_tests_name("config command", tests, NULL, NULL);
}
