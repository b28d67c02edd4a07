/* cli/remotes.h: which remotes a run may ask, by flags, environment and file; and that a key goes to its own URL only.
 */
#define _GNU_SOURCE
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/names.h"
#include "base/status.h"
#include "cli/remotes.h"

#define LAN "{\"name\": \"lan\", \"url\": \"http://192.168.1.5:8000/v1\", \"plain_http\": true}"
#define ALLOWED "{\"name\": \"ok\", \"url\": \"https://ok.example/v1\", \"model\": \"m\", \"allow\": true}"
#define SECOND "{\"name\": \"second\", \"url\": \"https://second.example/v1\", \"allow\": true}"
#define FORBIDDEN "{\"name\": \"no\", \"url\": \"https://no.example/v1\", \"allow\": false}"
#define REMOTES(...) "{\"remotes\": [" __VA_ARGS__ "]}"
#define CPU_ONLY(what) "{\"fallback\": \"" what "\", \"remotes\": [" ALLOWED "]}"

enum { UNSAID = -1, CPU = CLINFER_FALLBACK_CPU, NONE = CLINFER_FALLBACK_NONE, REMOTE = CLINFER_FALLBACK_REMOTE };

static const char *const variables[] = {"CLINFER_NO_REMOTE",  "OPENAI_BASE_URL",   "OPENAI_API_KEY",
                                        "ANTHROPIC_BASE_URL", "ANTHROPIC_API_KEY", "HOME"};

/* The environment of a case: "NAME=value NAME=value", nothing else of the above. */
static void set_environment(const char *text) {
    for (size_t i = 0; i < sizeof variables / sizeof *variables; i++) unsetenv(variables[i]);
    setenv("HOME", "/home/somebody", 1);
    char *copy = strdup(text), *rest = copy;
    assert_non_null(copy);
    for (const char *word; (word = strsep(&rest, " ")) != NULL;) {
        const char *equals = strchr(word, '=');
        if (!equals) continue;
        char *name = strndup(word, (size_t)(equals - word));
        assert_non_null(name);
        setenv(name, equals + 1, 1);
        free(name);
    }
    free(copy);
}

static enum clinfer_status resolve(const char *text, const struct ci_remote_flags *flags, int fallback,
                                   struct ci_config *config, struct ci_remotes *remotes) {
    *remotes = (struct ci_remotes){0};
    enum clinfer_status status = ci_config_parse("config.json", text, strlen(text), config);
    return status == CLINFER_OK ? ci_remotes_resolve(flags, config, fallback, remotes) : status;
}

/* ---- who may be asked ---- */

struct rule {
    const char *file, *environment;
    const char *remote;
    bool only, none;
    int fallback;
    enum clinfer_status status;
    const char *used; /* names of those that may be asked */
    const char *said; /* in the message, or in the reason against the first that may not */
};

static const struct rule rules[] = {
    /* The default ladder. */
    {"{}", "", NULL, false, false, UNSAID, CLINFER_OK, "", NULL},
    {"{}", "OPENAI_API_KEY=k ANTHROPIC_API_KEY=k OPENAI_BASE_URL=https://x/v1", NULL, false, false, UNSAID, CLINFER_OK,
     "", NULL},
    {REMOTES(LAN), "", NULL, false, false, UNSAID, CLINFER_OK, "", "config.json does not allow it (\"allow\": true)"},
    {REMOTES(ALLOWED), "", NULL, false, false, UNSAID, CLINFER_OK, "ok", NULL},
    {REMOTES(SECOND "," LAN "," ALLOWED), "", NULL, false, false, UNSAID, CLINFER_OK, "second, ok", "does not allow"},
    /* --fallback, and what the file says of it. */
    {REMOTES(LAN "," FORBIDDEN "," ALLOWED), "", NULL, false, false, REMOTE, CLINFER_OK, "lan, ok", "\"allow\": false"},
    {REMOTES(ALLOWED), "", NULL, false, false, CPU, CLINFER_OK, "", "--fallback cpu"},
    {REMOTES(ALLOWED), "", NULL, false, false, NONE, CLINFER_OK, "", "--fallback none"},
    {CPU_ONLY("cpu"), "", NULL, false, false, UNSAID, CLINFER_OK, "", "\"fallback\": \"cpu\" in config.json"},
    {CPU_ONLY("none"), "", NULL, false, false, UNSAID, CLINFER_OK, "", "\"fallback\": \"none\" in config.json"},
    {CPU_ONLY("cpu"), "", NULL, false, false, REMOTE, CLINFER_OK, "ok", NULL},
    {"{\"fallback\": \"remote\", \"remotes\": [" LAN "]}", "", NULL, false, false, UNSAID, CLINFER_OK, "lan", NULL},
    {"{\"fallback\": \"remote\", \"remotes\": [" LAN "]}", "", NULL, false, false, CPU, CLINFER_OK, "",
     "--fallback cpu"},
    {"{\"fallback\": \"remote\"}", "", NULL, false, false, UNSAID, CLINFER_OK, "", NULL},
    {"{}", "", NULL, false, false, REMOTE, CLINFER_INVALID_ARGUMENT, "",
     "--fallback remote: no remote is configured: `clinfer config set remotes.NAME.url https://HOST/v1`"},
    /* What may not be asked as it is configured. */
    {REMOTES("{\"name\": \"far\", \"url\": \"http://192.168.1.5/v1\", \"allow\": true}," ALLOWED), "", NULL, false,
     false, UNSAID, CLINFER_OK, "ok", "plain http is for this host only"},
    {REMOTES("{\"name\": \"far\", \"url\": \"http://192.168.1.5/v1\", \"allow\": true}"), "", "far", false, false,
     UNSAID, CLINFER_REFUSED, "", "plain http is for this host only"},
    {REMOTES("{\"name\": \"far\", \"url\": \"http://192.168.1.5/v1\", \"plain_http\": true, \"key_variable\": \"K\"}"),
     "", "far", false, false, UNSAID, CLINFER_REFUSED, "", "its key would go over plain http"},
    {"{}", "OPENAI_API_KEY=k OPENAI_BASE_URL=https://h.example/v1", "http://h.example/v1", false, false, UNSAID,
     CLINFER_REFUSED, "", "plain http is for this host only"},
    {"{}", "", "https://u:s3cret@h.example/v1", false, false, UNSAID, CLINFER_INVALID_ARGUMENT, "",
     "remote \"h.example\": its URL holds a user name"},
    /* --remote. */
    {REMOTES(ALLOWED "," LAN), "", "lan", false, false, UNSAID, CLINFER_OK, "lan", "--remote names another"},
    {REMOTES(FORBIDDEN), "", "no", false, false, UNSAID, CLINFER_OK, "no", NULL},
    {CPU_ONLY("none"), "", "ok", false, false, UNSAID, CLINFER_OK, "ok", NULL},
    {REMOTES(ALLOWED), "", "ok", false, false, REMOTE, CLINFER_OK, "ok", NULL},
    {"{}", "", "openai", false, false, UNSAID, CLINFER_OK, "openai", NULL},
    {"{}", "", "https://h.example/v1", false, false, UNSAID, CLINFER_OK, "h.example", NULL},
    {REMOTES(ALLOWED), "", "ok", false, false, NONE, CLINFER_INVALID_ARGUMENT, "",
     "--fallback none ends before any remote, and --remote asks for one"},
    {REMOTES(ALLOWED), "", "ok", false, false, CPU, CLINFER_INVALID_ARGUMENT, "", "--fallback cpu ends before"},
    {REMOTES(SECOND), "", "secnd", false, false, UNSAID, CLINFER_INVALID_ARGUMENT, "",
     "--remote secnd: no such remote; did you mean second?"},
    {REMOTES(LAN), "", "zzz", false, false, UNSAID, CLINFER_INVALID_ARGUMENT, "", "there are lan, openai, anthropic"},
    {"{}", "", "ftp://h/v1", false, false, UNSAID, CLINFER_INVALID_ARGUMENT, "",
     "remote \"h\": its URL begins with ftp://"},
    {"{}", "OPENAI_BASE_URL=localhost:8000", "openai", false, false, UNSAID, CLINFER_INVALID_ARGUMENT, "",
     "OPENAI_BASE_URL: remote \"openai\": its URL "},
    /* --remote-only. */
    {REMOTES(LAN "," ALLOWED), "", NULL, true, false, UNSAID, CLINFER_OK, "lan, ok", NULL},
    {CPU_ONLY("none"), "", NULL, true, false, UNSAID, CLINFER_OK, "ok", NULL},
    {REMOTES(LAN), "", "openai", true, false, UNSAID, CLINFER_OK, "openai", NULL},
    {REMOTES(FORBIDDEN), "", NULL, true, false, UNSAID, CLINFER_REFUSED, "",
     "--remote-only: no remote may be asked: no: \"allow\": false"},
    {"{}", "", NULL, true, false, UNSAID, CLINFER_INVALID_ARGUMENT, "", "--remote-only: no remote is configured: `cl"},
    {REMOTES(ALLOWED), "", NULL, true, false, CPU, CLINFER_INVALID_ARGUMENT, "", "and --remote-only asks for one"},
    /* --no-remote. */
    {REMOTES(ALLOWED), "", NULL, false, true, UNSAID, CLINFER_OK, "", "--no-remote"},
    {REMOTES(ALLOWED), "", "ok", false, true, UNSAID, CLINFER_INVALID_ARGUMENT, "", "--no-remote and --remote contra"},
    {REMOTES(ALLOWED), "", NULL, true, true, UNSAID, CLINFER_INVALID_ARGUMENT, "", "--no-remote and --remote-only"},
    {REMOTES(ALLOWED), "", NULL, false, true, REMOTE, CLINFER_INVALID_ARGUMENT, "", "and --fallback remote contra"},
    /* Above everything else. */
    {REMOTES(ALLOWED), "CLINFER_NO_REMOTE=1", NULL, false, false, UNSAID, CLINFER_OK, "", "CLINFER_NO_REMOTE forbids"},
    {REMOTES(ALLOWED), "CLINFER_NO_REMOTE=1", NULL, false, false, REMOTE, CLINFER_OK, "", "CLINFER_NO_REMOTE forbids"},
    {REMOTES(ALLOWED), "CLINFER_NO_REMOTE=1", "ok", false, false, UNSAID, CLINFER_REFUSED, "",
     "--remote: CLINFER_NO_REMOTE forbids remotes"},
    {"{}", "CLINFER_NO_REMOTE=yes", "https://h.example/v1", false, false, UNSAID, CLINFER_REFUSED, "", "--remote: CLI"},
    {REMOTES(ALLOWED), "CLINFER_NO_REMOTE=1", NULL, true, false, UNSAID, CLINFER_REFUSED, "", "--remote-only: CLINFER"},
    {REMOTES(ALLOWED), "CLINFER_NO_REMOTE=0", NULL, false, false, UNSAID, CLINFER_OK, "ok", NULL},
    {REMOTES(ALLOWED), "CLINFER_NO_REMOTE=", NULL, false, false, UNSAID, CLINFER_OK, "ok", NULL},
    {"{\"remote\": \"never\", \"remotes\": [" ALLOWED "]}", "", NULL, false, false, UNSAID, CLINFER_OK, "",
     "\"remote\": \"never\" in config.json forbids"},
    {"{\"remote\": \"never\", \"remotes\": [" ALLOWED "]}", "", "ok", false, false, UNSAID, CLINFER_REFUSED, "",
     "--remote: \"remote\": \"never\" in config.json"},
    {"{\"remote\": \"allowed\", \"remotes\": [" LAN "]}", "", NULL, false, false, UNSAID, CLINFER_OK, "",
     "does not allow it"},
};

static void check_rule(size_t index) {
    const struct rule *rule = &rules[index];
    const struct ci_remote_flags flags = {
        .remote = rule->remote, .dialect = -1, .only = rule->only, .none = rule->none};
    struct ci_config config;
    struct ci_remotes remotes;
    char used[256] = "";
    set_environment(rule->environment);
    enum clinfer_status status = resolve(rule->file, &flags, rule->fallback, &config, &remotes);
    if (status != rule->status)
        fail_msg("rule %zu (%s): status %d, not %d: %s", index, rule->file, status, rule->status, ci_status_message());
    for (size_t i = 0; status == CLINFER_OK && i < remotes.count; i++)
        ci_names_add(used, sizeof used, remotes.items[i].name);
    if (strcmp(used, rule->used) != 0)
        fail_msg("rule %zu (%s): may ask \"%s\", not \"%s\"", index, rule->file, used, rule->used);
    const char *said = status != CLINFER_OK     ? ci_status_message()
                       : remotes.left_out_count ? remotes.left_out[0].reason
                                                : "";
    if (rule->said && !strstr(said, rule->said))
        fail_msg("rule %zu (%s): \"%s\" is not in \"%s\"", index, rule->file, rule->said, said);
    if (status == CLINFER_OK && strcmp(rule->used, "") == 0 && remotes.left_out_count != config.remote_count)
        fail_msg("rule %zu (%s): %zu reasons for %zu remotes", index, rule->file, remotes.left_out_count,
                 config.remote_count);
    ci_remotes_free(&remotes);
    ci_config_free(&config);
}

static void test_rules_of_flags_environment_and_file(void **state) {
    (void)state;
    for (size_t i = 0; i < sizeof rules / sizeof *rules; i++) check_rule(i);
}

/* ---- which key goes where ---- */

struct address {
    const char *file, *environment;
    struct ci_remote_flags flags;
    const char *url, *dialect, *key_variable, *model;
};

static const struct address addresses[] = {
    {"{}", "", {.remote = "openai", .dialect = -1}, "https://api.openai.com/v1", "openai", NULL, NULL},
    {"{}",
     "OPENAI_API_KEY=k",
     {.remote = "openai", .dialect = -1},
     "https://api.openai.com/v1",
     "openai",
     "OPENAI_API_KEY",
     NULL},
    {"{}",
     "ANTHROPIC_API_KEY=k",
     {.remote = "anthropic", .model = "c", .dialect = -1},
     "https://api.anthropic.com/v1",
     "anthropic",
     "ANTHROPIC_API_KEY",
     "c"},
    {"{}",
     "OPENAI_BASE_URL=https://o.example/v1/ OPENAI_API_KEY=k",
     {.remote = "openai", .dialect = -1},
     "https://o.example/v1/",
     "openai",
     "OPENAI_API_KEY",
     NULL},
    {"{}",
     "ANTHROPIC_BASE_URL=https://a.example ANTHROPIC_API_KEY=k",
     {.remote = "anthropic", .dialect = -1},
     "https://a.example",
     "anthropic",
     "ANTHROPIC_API_KEY",
     NULL},
    {"{}",
     "ANTHROPIC_BASE_URL=https://a.example/v1",
     {.remote = "anthropic", .dialect = -1},
     "https://a.example/v1",
     "anthropic",
     NULL,
     NULL},
    /* A URL: no key, but where the environment's key is for this very URL. */
    {"{}",
     "OPENAI_API_KEY=k ANTHROPIC_API_KEY=k",
     {.remote = "https://h.example/v1", .dialect = -1},
     "https://h.example/v1",
     NULL,
     NULL,
     NULL},
    {"{}",
     "OPENAI_API_KEY=k OPENAI_BASE_URL=https://h.example/v1",
     {.remote = "https://h.example/v1/", .dialect = -1},
     "https://h.example/v1",
     "openai",
     "OPENAI_API_KEY",
     NULL},
    {"{}",
     "OPENAI_API_KEY=k OPENAI_BASE_URL=https://h.example/v1",
     {.remote = "https://h.example/v1.evil", .dialect = -1},
     "https://h.example/v1.evil",
     NULL,
     NULL,
     NULL},
    {"{}",
     "OPENAI_API_KEY=k OPENAI_BASE_URL=https://127.0.0.1/v1",
     {.remote = "http://127.0.0.1/v1", .dialect = -1},
     "http://127.0.0.1/v1",
     NULL,
     NULL,
     NULL},
    {"{}",
     "OPENAI_API_KEY=k OPENAI_BASE_URL=https://h.example/v1",
     {.remote = "https://api.openai.com/v1", .dialect = -1},
     "https://api.openai.com/v1",
     NULL,
     NULL,
     NULL},
    {"{}",
     "OPENAI_API_KEY=k",
     {.remote = "https://api.openai.com/v1", .dialect = -1},
     "https://api.openai.com/v1",
     "openai",
     "OPENAI_API_KEY",
     NULL},
    {"{}",
     "ANTHROPIC_API_KEY=k ANTHROPIC_BASE_URL=https://a.example",
     {.remote = "https://a.example", .dialect = -1},
     "https://a.example",
     "anthropic",
     "ANTHROPIC_API_KEY",
     NULL},
    {"{}",
     "OPENAI_API_KEY=k",
     {.remote = "https://h.example/v1", .key_variable = "H_KEY", .dialect = 1},
     "https://h.example/v1",
     "anthropic",
     "H_KEY",
     NULL},
    /* The file: its own URL takes its own key only; what it leaves open of a built-in name is as built in. */
    {"{\"remotes\": [{\"name\": \"openai\", \"url\": \"https://mine.example/v1\", \"allow\": true}]}",
     "OPENAI_API_KEY=k",
     {.dialect = -1},
     "https://mine.example/v1",
     NULL,
     NULL,
     NULL},
    {"{\"remotes\": [{\"name\": \"openai\", \"model\": \"g\", \"allow\": true}]}",
     "OPENAI_API_KEY=k",
     {.dialect = -1},
     "https://api.openai.com/v1",
     "openai",
     "OPENAI_API_KEY",
     "g"},
    {"{\"remotes\": [{\"name\": \"anthropic\", \"key_variable\": \"WORK_KEY\", \"allow\": true}]}",
     "ANTHROPIC_API_KEY=k",
     {.dialect = -1},
     "https://api.anthropic.com/v1",
     "anthropic",
     "WORK_KEY",
     NULL},
    {REMOTES(ALLOWED),
     "",
     {.model = "other", .key_variable = "K", .dialect = 1},
     "https://ok.example/v1",
     "anthropic",
     "K",
     "other"},
};

static void expect_text(size_t index, const char *what, const char *found, const char *wanted) {
    if (strcmp(found ? found : "(none)", wanted ? wanted : "(none)") != 0)
        fail_msg("address %zu: %s is %s, not %s", index, what, found ? found : "(none)", wanted ? wanted : "(none)");
}

static void test_keys_go_to_their_own_url_only(void **state) {
    (void)state;
    for (size_t i = 0; i < sizeof addresses / sizeof *addresses; i++) {
        const struct address *address = &addresses[i];
        struct ci_config config;
        struct ci_remotes remotes;
        set_environment(address->environment);
        if (resolve(address->file, &address->flags, UNSAID, &config, &remotes) != CLINFER_OK || remotes.count != 1)
            fail_msg("address %zu: %zu remotes: %s", i, remotes.count, ci_status_message());
        const struct clinfer_remote *remote = remotes.items;
        expect_text(i, "url", remote->url, address->url);
        expect_text(i, "dialect", remote->dialect, address->dialect);
        expect_text(i, "key_variable", remote->key_variable, address->key_variable);
        expect_text(i, "model", remote->model, address->model);
        expect_text(i, "key_file", remote->key_file, NULL);
        ci_remotes_free(&remotes);
        ci_config_free(&config);
    }
}

static void test_flags_that_name_no_single_remote_are_refused(void **state) {
    static const struct {
        const char *file;
        struct ci_remote_flags flags;
        const char *said;
    } cases[] = {
        {"{}", {.model = "m", .dialect = -1}, "--remote-model: no remote may be asked; --remote NAME|URL says which"},
        {"{}", {.dialect = 0}, "--remote-dialect: no remote may be asked"},
        {"{}", {.key_variable = "K", .dialect = -1}, "--remote-key-variable: no remote may be asked"},
        {REMOTES(ALLOWED "," SECOND), {.model = "m", .dialect = -1}, "several remotes may be asked; --remote"},
        {"{}", {.remote = "openai", .key_variable = "sk-s3cret", .dialect = -1}, "takes the name of a variable"},
    };
    (void)state;
    set_environment("");
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct ci_config config;
        struct ci_remotes remotes;
        assert_int_equal(resolve(cases[i].file, &cases[i].flags, UNSAID, &config, &remotes), CLINFER_INVALID_ARGUMENT);
        if (!strstr(ci_status_message(), cases[i].said))
            fail_msg("\"%s\" is not in \"%s\"", cases[i].said, ci_status_message());
        assert_null(strstr(ci_status_message(), "s3cret"));
        ci_remotes_free(&remotes);
        ci_config_free(&config);
    }
}

/* ---- the file ---- */

static void test_remotes_of_the_file_are_read_whole(void **state) {
    static const char text[] =
        "{\"remotes\": [{\"name\": \"lan\", \"url\": \"http://127.0.0.1:8000/v1\", \"dialect\": \"anthropic\","
        " \"model\": \"qwen\", \"key_file\": \"~/.lan key\", \"plain_http\": true, \"allow\": true,"
        " \"connect_timeout\": 1.5, \"first_byte_timeout\": 2, \"idle_timeout\": 3, \"timeout\": 4},"
        " {\"name\": \"b_2\", \"url\": \"https://b\", \"key_command\": \"pass show b\", \"allow\": true}]}";
    struct ci_config config;
    struct ci_remotes remotes;
    (void)state;
    set_environment("");
    assert_int_equal(resolve(text, &(struct ci_remote_flags)CI_REMOTE_FLAGS_DEFAULT, UNSAID, &config, &remotes),
                     CLINFER_OK);
    assert_int_equal(remotes.count, 2);
    const struct clinfer_remote *lan = &remotes.items[0], *second = &remotes.items[1];
    assert_string_equal(lan->name, "lan");
    assert_string_equal(lan->dialect, "anthropic");
    assert_string_equal(lan->model, "qwen");
    assert_string_equal(lan->key_file, "/home/somebody/.lan key");
    assert_true(lan->plain_http);
    assert_float_equal(lan->connect_seconds, 1.5, 0);
    assert_float_equal(lan->first_byte_seconds, 2, 0);
    assert_float_equal(lan->idle_seconds, 3, 0);
    assert_float_equal(lan->total_seconds, 4, 0);
    assert_string_equal(second->name, "b_2");
    assert_string_equal(second->key_command, "pass show b");
    assert_false(second->plain_http);
    ci_remotes_free(&remotes);
    ci_config_free(&config);
}

#define REMOTE_WITH(members) "{\"remotes\": [{\"name\": \"a\", \"url\": \"https://a/v1\"" members "}]}"

static void test_wrong_remotes_are_refused_and_secrets_not_shown(void **state) {
    static const struct {
        const char *text, *said;
    } cases[] = {
        {REMOTE_WITH(", \"key\": \"s3cret\""), "field \"remotes[0].key\": no key stands in this file"},
        {REMOTE_WITH(", \"api_key\": \"s3cret\""), "field \"remotes[0].api_key\": no key stands in this file"},
        {"{\"token\": \"s3cret\"}", "field \"token\": no key stands in this file"},
        {REMOTE_WITH(", \"key_varable\": \"s3cret\""), "unknown; did you mean \"key_variable\"?"},
        {REMOTE_WITH(", \"x\": \"s3cret\""), "unknown; there are name, url, dialect, model, key_variable, key_file"},
        {REMOTE_WITH(", \"key_variable\": \"sk-s3cret\""), "field \"remotes[0].key_variable\": must be the name of a"},
        {REMOTE_WITH(", \"key_file\": \"s3cret\""), "field \"remotes[0].key_file\": must be a path that begins with /"},
        {REMOTE_WITH(", \"key_file\": \"/k\", \"key_command\": \"s3cret\""), "has more than one of key_variable"},
        {"{\"remotes\": [{\"name\": \"a\", \"url\": \"https://u:s3cret@a/v1\"}]}",
         "remotes[0].url\": remote \"a\": its URL holds a user name"},
        {"{\"remotes\": [{\"name\": \"a\", \"url\": \"https://a/v1?key=s3cret\"}]}", "its URL holds a query"},
        {"{\"remotes\": [{\"name\": \"a\", \"url\": \"a/v1\"}]}", "field \"remotes[0].url\": remote \"a\": its URL "},
        {"{\"remotes\": [{\"name\": \"a\", \"url\": \"https://\"}]}",
         "field \"remotes[0].url\": remote \"a\": its URL "},
        {"{\"remotes\": [{\"name\": \"a\", \"url\": \"https://a/\\nb\"}]}",
         "field \"remotes[0].url\": remote \"a\": its URL is malformed"},
        {"{\"remotes\": [{\"name\": \"a\"}]}", "field \"remotes[0].url\": missing: every remote has one"},
        {"{\"remotes\": [{\"url\": \"https://a\"}]}", "field \"remotes[0].name\": missing: every remote has one"},
        {"{\"remotes\": [{\"name\": \"a.b\", \"url\": \"https://a\"}]}",
         "must have at most 32 letters, digits, - and _"},
        {REMOTES(LAN "," ALLOWED "," LAN), "field \"remotes[2].name\": there are two remotes \"lan\""},
        {REMOTE_WITH(", \"dialect\": \"gpt\""), "value \"gpt\": must be one of openai|anthropic"},
        {REMOTE_WITH(", \"allow\": \"yes\""), "field \"remotes[0].allow\": value \"yes\": must be true or false"},
        {REMOTE_WITH(", \"timeout\": -1"), "remotes[0].timeout\": value -1: must be a number from 0 to 86400"},
        {"{\"remotes\": {}}", "field \"remotes\": value (an object): must be an array"},
        {"{\"remotes\": [\"s3cret\"]}", "field \"remotes[0]\": must be an object"},
        {"{\"remote\": \"maybe\"}", "field \"remote\": value \"maybe\": must be one of never|allowed"},
    };
    (void)state;
    set_environment("");
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct ci_config config;
        enum clinfer_status status = ci_config_parse("config.json", cases[i].text, strlen(cases[i].text), &config);
        if (status != CLINFER_BAD_FILE) fail_msg("%s: status %d", cases[i].text, status);
        if (!strstr(ci_status_message(), cases[i].said))
            fail_msg("\"%s\" is not in \"%s\"", cases[i].said, ci_status_message());
        if (strstr(ci_status_message(), "s3cret")) fail_msg("the secret is in \"%s\"", ci_status_message());
        ci_config_free(&config);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_rules_of_flags_environment_and_file),
        cmocka_unit_test(test_keys_go_to_their_own_url_only),
        cmocka_unit_test(test_flags_that_name_no_single_remote_are_refused),
        cmocka_unit_test(test_remotes_of_the_file_are_read_whole),
        cmocka_unit_test(test_wrong_remotes_are_refused_and_secrets_not_shown),
    };
    return cmocka_run_group_tests_name("remotes", tests, NULL, NULL);
}
