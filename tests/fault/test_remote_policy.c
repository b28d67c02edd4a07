/* What is refused before anything is sent to a remote, and where its key comes from and goes to. */
#define _GNU_SOURCE
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "remote/retry.h"
#include "support/asserts.h"
#include "support/process.h"
#include "support/remote_server.h"

static void check_refusal(struct clinfer_remote remote, enum clinfer_status status, const char *says) {
    assert_int_equal(ci_remote_check(&remote), status);
    if (status != CLINFER_OK) assert_message(says);
}

static void test_urls(void **state) {
    static const char *const good[] = {"https://api.example.org/v1", "https://api.example.org/v1/",
                                       "http://localhost:8080",      "http://127.0.0.1/v1",
                                       "http://127.1:80/v1",         "http://[::1]:9/v1"};
    static const struct {
        const char *url;
        enum clinfer_status status;
        const char *says;
    } bad[] = {{NULL, CLINFER_INVALID_ARGUMENT, "has no URL"},
               {"", CLINFER_INVALID_ARGUMENT, "has no URL"},
               {"not a url", CLINFER_INVALID_ARGUMENT, "malformed"},
               {"api.example.org/v1", CLINFER_INVALID_ARGUMENT, "malformed"},
               {"ftp://example.org", CLINFER_INVALID_ARGUMENT, "begins with ftp://"},
               {"file:///etc/passwd", CLINFER_INVALID_ARGUMENT, "file://"},
               {"https://me@example.org/v1", CLINFER_INVALID_ARGUMENT, "a user name"},
               {"https://:secret@example.org/v1", CLINFER_INVALID_ARGUMENT, "leave that out"},
               {"https://example.org/v1?key=secret", CLINFER_INVALID_ARGUMENT, "a query"},
               {"https://example.org/v1#secret", CLINFER_INVALID_ARGUMENT, "a fragment"},
               {"http://api.example.org/v1", CLINFER_REFUSED, "plain http is for this host only"},
               {"http://localhost.example.org", CLINFER_REFUSED, "\"plain_http\": true"},
               {"http://0.0.0.0", CLINFER_REFUSED, "plain http"},
               {"http://128.0.0.1", CLINFER_REFUSED, "plain http"}};
    (void)state;
    for (size_t i = 0; i < sizeof good / sizeof *good; i++)
        assert_ok(ci_remote_check(&(struct clinfer_remote){.url = good[i]}));
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        struct clinfer_remote remote = remote_without_key(bad[i].url);
        check_refusal(remote, bad[i].status, bad[i].says);
        assert_null(strstr(clinfer_error(), "secret"));
        remote.name = bad[i].url; /* as with --remote URL */
        check_refusal(remote, bad[i].status, bad[i].says);
        assert_null(strstr(clinfer_error(), "secret"));
    }
}

static void test_policy(void **state) {
    struct clinfer_remote remote = remote_without_key("http://lan.example.org/v1");
    (void)state;
    remote.plain_http = true;
    check_refusal(remote, CLINFER_OK, NULL);
    remote.key_variable = REMOTE_KEY_VARIABLE;
    check_refusal(remote, CLINFER_REFUSED, "its key would go over plain http");
    remote = remote_at("https://example.org/v1");
    remote.key_file = "key";
    check_refusal(remote, CLINFER_INVALID_ARGUMENT, "leave one");
    remote = remote_at("https://example.org/v1");
    remote.dialect = "french";
    check_refusal(remote, CLINFER_INVALID_ARGUMENT, "unknown dialect \"french\"; there are openai, anthropic");
    remote = remote_at("https://example.org/v1");
    remote.idle_seconds = -1;
    check_refusal(remote, CLINFER_INVALID_ARGUMENT, "idle_seconds is -1");
}

static void test_the_environment_forbids(void **state) {
    struct clinfer_remote remote = remote_at(remote_server_url("http", "good"));
    (void)state;
    setenv("CLINFER_NO_REMOTE", "1", 1);
    check_refusal(remote, CLINFER_REFUSED, "CLINFER_NO_REMOTE is set");
    remote_ask_badly(&remote, CLINFER_REFUSED, "CLINFER_NO_REMOTE is set");
    setenv("CLINFER_NO_REMOTE", "0", 1);
    check_refusal(remote, CLINFER_OK, NULL);
    unsetenv("CLINFER_NO_REMOTE");
    assert_int_equal(remote_server_count(), 0);
}

/* This host is not asked through a proxy, which would be another host. */
static void test_proxy_is_not_for_this_host(void **state) {
    struct ci_remote_request request = remote_request();
    struct remote_asked asked;
    (void)state;
    setenv("http_proxy", remote_server_url("closed", "proxy"), 1);
    setenv("https_proxy", remote_server_url("closed", "proxy"), 1);
    struct clinfer_remote remote = remote_at(remote_server_url("http", "good"));
    remote_ask_well(&remote, &request, &asked);
    remote = remote_without_key("https://api.example.org/v1");
    remote_ask_badly(&remote, CLINFER_REMOTE_FAILED, "cannot be reached");
    unsetenv("http_proxy");
    unsetenv("https_proxy");
}

/* ---- keys ---- */

static void check_key_file(const char *content, mode_t mode, enum clinfer_status status, const char *says) {
    const char *path = process_file("key", content, strlen(content));
    struct clinfer_remote remote = remote_without_key(remote_server_url("http", "good"));
    struct ci_remote_request request = remote_request();
    struct remote_asked asked;
    remote.key_file = path;
    assert_int_equal(chmod(path, mode), 0);
    if (status != CLINFER_OK) {
        remote_ask_badly(&remote, status, says);
        remote_ask_badly(&remote, status, path);
    } else {
        remote_ask_well(&remote, &request, &asked);
        remote_check_requests(1, false);
    }
    unlink(path);
}

static void test_key_files(void **state) {
    (void)state;
    check_key_file(REMOTE_KEY, 0600, CLINFER_OK, NULL);
    check_key_file("  " REMOTE_KEY " \r\nsecond line\n", 0400, CLINFER_OK, NULL);
    check_key_file(REMOTE_KEY, 0640, CLINFER_REFUSED, "has mode 0640, so that others may use it; chmod 600");
    check_key_file(REMOTE_KEY, 0604, CLINFER_REFUSED, "mode 0604");
    check_key_file("\n", 0600, CLINFER_REMOTE_FAILED, "is empty");
    check_key_file(REMOTE_KEY "\x01", 0600, CLINFER_REMOTE_FAILED, "the byte 0x01 at position 25");
    check_key_file("two words", 0600, CLINFER_REMOTE_FAILED, "the byte 0x20");
    struct clinfer_remote remote = remote_without_key(remote_server_url("http", "good"));
    remote.key_file = "/nonexistent/key";
    remote_ask_badly(&remote, CLINFER_REMOTE_FAILED, "key file /nonexistent/key: No such file");
    remote.key_file = process_folder();
    remote_ask_badly(&remote, CLINFER_REFUSED, "is no plain file");
    assert_int_equal(remote_server_count(), 0);
}

static void test_key_file_of_somebody_else(void **state) {
    struct clinfer_remote remote = remote_without_key(remote_server_url("http", "good"));
    (void)state;
    if (geteuid() != 0) {
        print_message("skip: only root can make files of other users\n");
        skip();
    }
    remote.key_file = process_file("foreign", REMOTE_KEY, strlen(REMOTE_KEY));
    assert_int_equal(chmod(remote.key_file, 0600), 0);
    assert_int_equal(chown(remote.key_file, 12345, (gid_t)-1), 0);
    remote_ask_badly(&remote, CLINFER_REFUSED, "belongs to user 12345, not to you (0)");
}

static void test_key_variables(void **state) {
    struct clinfer_remote remote = remote_at(remote_server_url("http", "good"));
    (void)state;
    remote.key_variable = "CLINFER_TEST_OTHER_KEY";
    unsetenv("CLINFER_TEST_OTHER_KEY");
    remote_ask_badly(&remote, CLINFER_REMOTE_FAILED, "$CLINFER_TEST_OTHER_KEY, which is not set");
    setenv("CLINFER_TEST_OTHER_KEY", "a\vb", 1);
    remote_ask_badly(&remote, CLINFER_REMOTE_FAILED, "the byte 0x0b");
    unsetenv("CLINFER_TEST_OTHER_KEY");
    assert_int_equal(remote_server_count(), 0);
}

/* The command's own arguments are seen by everybody on the machine; the key is not in them. */
static void test_key_commands(void **state) {
    char command[512];
    const char *path = process_file("printed", REMOTE_KEY "\n", strlen(REMOTE_KEY) + 1);
    const char *arguments = process_file("arguments", "", 0);
    struct clinfer_remote remote = remote_without_key(remote_server_url("http", "good"));
    struct ci_remote_request request = remote_request();
    struct remote_asked asked;
    size_t size;
    (void)state;
    snprintf(command, sizeof command, "cat %s; cat /proc/$$/cmdline > %s", path, arguments);
    remote.key_command = command;
    remote_ask_well(&remote, &request, &asked);
    remote_check_requests(1, false);
    char *seen = process_read(arguments, &size);
    for (size_t i = 0; i < size; i++)
        if (!seen[i]) seen[i] = ' ';
    assert_non_null(strstr(seen, "sh -c cat "));
    remote_assert_no_key(seen);
    free(seen);
    remote.key_command = "exit 3";
    remote_ask_badly(&remote, CLINFER_REMOTE_FAILED, "failed (exit status 3); try it in a shell");
    remote.key_command = "kill -9 $$";
    remote_ask_badly(&remote, CLINFER_REMOTE_FAILED, "failed (signal 9)");
    remote.key_command = "true";
    remote_ask_badly(&remote, CLINFER_REMOTE_FAILED, "is empty");
    remote.key_command = "head -c 10000 /dev/zero | tr '\\0' x";
    remote_ask_badly(&remote, CLINFER_REMOTE_FAILED, "a key has");
    remote.key_command = "sleep 20";
    remote.total_seconds = 0.3;
    remote_ask_badly(&remote, CLINFER_REMOTE_FAILED, "printed no key in time");
}

static int lines_of(const char *path) {
    size_t size;
    char *text = process_read(path, &size);
    int lines = 0;
    for (size_t i = 0; i < size; i++) lines += text[i] == '\n';
    free(text);
    return lines;
}

/* It runs once, and again when what it printed is not accepted any more; a new key that is refused is refused. */
static void test_what_a_key_command_printed_is_kept(void **state) {
    char command[512];
    const char *printed = process_file("kept", REMOTE_KEY "\n", strlen(REMOTE_KEY) + 1);
    const char *runs = process_file("runs", "", 0);
    struct clinfer_remote remote = remote_without_key(remote_server_url("http", "good"));
    struct ci_remote_request request = remote_request();
    struct remote_asked asked;
    (void)state;
    snprintf(command, sizeof command, "echo run >> %s; cat %s", runs, printed);
    remote.key_command = command;
    for (int i = 0; i < 3; i++) remote_ask_well(&remote, &request, &asked);
    assert_int_equal(lines_of(runs), 1);
    remote.url = remote_server_url("http", "once_401");
    remote_ask_well(&remote, &request, &asked);
    assert_int_equal(asked.result.requests, 2);
    assert_int_equal(lines_of(runs), 2);
    remote.url = remote_server_url("http", "status_401");
    remote_ask_badly(&remote, CLINFER_REMOTE_FAILED, "does not accept the key");
    assert_int_equal(lines_of(runs), 3);
    remote_check_requests(3 + 2 + 2, false);
    /* The last one was not kept; and one that comes fresh is not asked for twice. */
    remote.url = remote_server_url("http", "status_401");
    ci_retry_set_policy(NULL);
    remote_ask_badly(&remote, CLINFER_REMOTE_FAILED, "does not accept the key");
    assert_int_equal(lines_of(runs), 4);
    assert_int_equal(remote_server_count(), 1);
    remote_assert_no_key(remote_log);
}

/* Messages and logs of every failure are searched in test_remote.c. */
static void test_key_stays_where_it_belongs(void **state) {
    static const char *const scripts[] = {"redirect_301", "redirect_302", "redirect_307", "redirect_308"};
    (void)state;
    prctl(PR_SET_DUMPABLE, 1, 0, 0, 0);
    for (size_t i = 0; i < sizeof scripts / sizeof *scripts; i++) {
        struct clinfer_remote remote = remote_at(remote_server_url("http", scripts[i]));
        remote_ask_badly(&remote, CLINFER_REMOTE_FAILED, "not followed");
    }
    assert_int_equal(prctl(PR_GET_DUMPABLE, 0, 0, 0, 0), 0);
    remote_check_requests(4, false); /* and none at /trap */
    assert_non_null(strstr(remote_log, "POST "));
    remote_assert_no_key(remote_log);
}

#define TEST(name) cmocka_unit_test_setup(test_##name, remote_server_reset)

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(urls),
        TEST(policy),
        TEST(the_environment_forbids),
        TEST(proxy_is_not_for_this_host),
        TEST(key_files),
        TEST(key_file_of_somebody_else),
        TEST(key_variables),
        TEST(key_commands),
        TEST(what_a_key_command_printed_is_kept),
        TEST(key_stays_where_it_belongs),
    };
    return cmocka_run_group_tests(tests, remote_server_start, remote_server_stop);
}
