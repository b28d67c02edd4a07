/* remote.c: `clinfer remote`: which remote APIs there are and which of them a run would ask, and one tried step by
 * step. */
#define _GNU_SOURCE
#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "base/status.h"
#include "cli/command.h"
#include "cli/config.h"
#include "cli/options.h"
#include "cli/output.h"
#include "cli/remotes.h"
#include "remote/key.h"
#include "remote/remote.h"

struct remote_command {
    struct ci_texts words;
    struct ci_log_flags log;
    struct ci_remote_flags flags;
    bool json;
};

static json_t *text_or_null(const char *text) { return text ? ci_json_text(text, strlen(text)) : json_null(); }

static json_t *key_json(const struct clinfer_remote *remote) {
    char source[CI_KEY_SOURCE_BYTES];
    if (!ci_key_configured(remote)) return json_null();
    ci_key_source(remote, source);
    return text_or_null(source);
}

/* ---- list ---- */

/* What the list says of one. Texts are borrowed. */
struct listed {
    struct clinfer_remote remote;
    const char *reason;  /* why a run without flags does not ask it; NULL: it does */
    const char *problem; /* why no run can, beyond the reason; NULL: nothing is known to be wrong */
};

static json_t *listed_json(const struct listed *listed) {
    const struct clinfer_remote *remote = &listed->remote;
    return json_pack("{s:o, s:o, s:s, s:o, s:o, s:b, s:b, s:o, s:o}", "name", text_or_null(remote->name), "url",
                     text_or_null(remote->url), "dialect", remote->dialect ? remote->dialect : "openai", "model",
                     text_or_null(remote->model), "key", key_json(remote), "plain_http", (int)remote->plain_http,
                     "asked", !listed->reason, "reason", text_or_null(listed->reason), "problem",
                     text_or_null(listed->problem));
}

static void print_listed(const struct listed *listed) {
    const struct clinfer_remote *remote = &listed->remote;
    char source[CI_KEY_SOURCE_BYTES];
    ci_key_source(remote, source);
    ci_printf("%s\n     %s, %s%s%s\n     key: %s\n", remote->name, remote->url ? remote->url : "no URL",
              remote->dialect ? remote->dialect : "openai", remote->model ? ", model " : "",
              remote->model ? remote->model : "", source);
    if (remote->plain_http) ci_printf("     plain http: everybody on the way can read the prompts\n");
    ci_printf("     %s%s\n", listed->reason ? "not asked: " : "asked when this machine cannot answer",
              listed->reason ? listed->reason : "");
    if (listed->problem) ci_printf("     cannot be asked: %s\n", listed->problem);
}

static const char *reason_of(const struct ci_remotes *remotes, const char *name) {
    for (size_t i = 0; i < remotes->left_out_count; i++)
        if (strcmp(remotes->left_out[i].name, name) == 0) return remotes->left_out[i].reason;
    return NULL;
}

/* What the file leaves open is completed as a run would do it that names the remote. What such a run would say against
 * it is the problem, where the reason does not say that already; the caller frees it. */
static char *complete(const struct ci_config *config, struct ci_remotes *named, struct listed *listed) {
    const struct ci_remote_flags flags = {.remote = listed->remote.name, .dialect = -1};
    const struct ci_remote_built_in *known = ci_remotes_built_in(listed->remote.name);
    if (ci_remotes_resolve(&flags, config, -1, named) == CLINFER_OK) {
        listed->remote = named->items[0];
        return NULL;
    }
    if (known && !listed->remote.url) listed->remote.url = known->url;
    return listed->reason && strstr(clinfer_error(), listed->reason) ? NULL : strdup(clinfer_error());
}

static enum clinfer_status add_to_list(const struct remote_command *command, const struct ci_config *config,
                                       const struct ci_remotes *remotes, size_t index, json_t *list) {
    struct ci_remotes named;
    struct listed listed = {.remote = config->remotes[index].remote};
    listed.reason = reason_of(remotes, listed.remote.name);
    char *problem = complete(config, &named, &listed);
    listed.problem = problem;
    enum clinfer_status status = CLINFER_OK;
    if (!command->json)
        print_listed(&listed);
    else if (json_array_append_new(list, listed_json(&listed)) != 0)
        status = ci_fail(CLINFER_OUT_OF_MEMORY, "remotes: out of memory");
    free(problem);
    ci_remotes_free(&named);
    return status;
}

static enum clinfer_status list(const struct remote_command *command, const struct ci_config *config) {
    const struct ci_remote_flags no_flags = CI_REMOTE_FLAGS_DEFAULT;
    struct ci_remotes remotes;
    json_t *items = json_array();
    enum clinfer_status status = ci_remotes_resolve(&no_flags, config, -1, &remotes);
    for (size_t i = 0; i < config->remote_count && status == CLINFER_OK; i++)
        status = add_to_list(command, config, &remotes, i, items);
    if (status == CLINFER_OK && command->json)
        status = ci_print_json(json_pack("{s:O}", "remotes", items)) == 0 ? CLINFER_OK : CLINFER_OUT_OF_MEMORY;
    if (status == CLINFER_OK && !config->remote_count)
        ci_say("no remote is configured; docs/remote.md says how, and `clinfer remote test URL` tries one");
    json_decref(items);
    ci_remotes_free(&remotes);
    return status;
}

/* ---- test ---- */

struct test_output {
    bool json, failed; /* failed: a step has said so */
    json_t *steps;
};

static void note_step(void *user, const struct ci_remote_step *step) {
    struct test_output *output = user;
    char seconds[CI_AMOUNT_BYTES];
    bool good = step->status == CLINFER_OK;
    output->failed = !good;
    if (output->json) {
        json_array_append_new(output->steps, json_pack("{s:s, s:b, s:f, s:o}", "name", step->name, "ok", (int)good,
                                                       "seconds", step->seconds, "text", text_or_null(step->text)));
        return;
    }
    ci_printf("%-4s  %-12s  %8s  %s\n", good ? "ok" : "fail", step->name,
              step->seconds > 0 ? ci_format_seconds(step->seconds, seconds) : "", step->text);
    ci_flush();
}

static int test_one(const struct remote_command *command, const struct clinfer_remote *remote) {
    struct test_output output = {.json = command->json, .steps = command->json ? json_array() : NULL};
    enum clinfer_status status = ci_remote_check(remote);
    if (status == CLINFER_OK) {
        ci_say("a prompt of two words goes to %s", remote->url);
        if (remote->plain_http) ci_warn("%s: plain http: everybody on the way can read it", remote->url);
        status = ci_remote_test(remote, note_step, &output);
    }
    int exit_status = status == CLINFER_OK || output.failed ? ci_exit_status(status) : ci_complain(status);
    if (!command->json) return exit_status;
    json_t *error = status == CLINFER_OK ? json_null() : text_or_null(clinfer_error());
    int printed = ci_print_json(json_pack("{s:o, s:o, s:o, s:b, s:o, s:o}", "remote", text_or_null(remote->name), "url",
                                          text_or_null(remote->url), "model", text_or_null(remote->model), "ok",
                                          status == CLINFER_OK, "error", error, "steps", output.steps));
    return printed == 0 ? exit_status : printed;
}

static int test(struct remote_command *command, const struct ci_config *config) {
    struct ci_remotes remotes = {0};
    command->flags.remote = command->words.items[1];
    enum clinfer_status status = ci_remotes_resolve(&command->flags, config, -1, &remotes);
    int exit_status = status == CLINFER_OK ? test_one(command, &remotes.items[0]) : ci_complain(status);
    ci_remotes_free(&remotes);
    return exit_status;
}

/* ---- the command ---- */

static int act(struct remote_command *command, const struct ci_config *config) {
    size_t count = command->words.count;
    const char *action = count ? command->words.items[0] : "list";
    if (strcmp(action, "test") == 0 && count == 2) return test(command, config);
    if (strcmp(action, "list") == 0 && count <= 1) {
        enum clinfer_status status = list(command, config);
        return status == CLINFER_OK ? 0 : ci_complain(status);
    }
    if (strcmp(action, "test") == 0)
        return ci_refuse(CLINFER_INVALID_ARGUMENT, "remote test takes one NAME or URL: clinfer remote test openai");
    return ci_refuse(CLINFER_INVALID_ARGUMENT, "remote %s: there are `list` and `test NAME|URL`", action);
}

static int remote_command(struct remote_command *command) {
    struct ci_config config;
    enum clinfer_status status = ci_config_read(&config);
    int exit_status = status == CLINFER_OK ? act(command, &config) : ci_complain(status);
    ci_config_free(&config);
    return exit_status;
}

int ci_command_remote(int argc, char **argv) {
    struct remote_command command = {.flags = CI_REMOTE_FLAGS_DEFAULT};
    const struct ci_option options[] = {
        CI_SECTION("Of test"),
        CI_TEXT("--remote-model", &command.flags.model, "NAME", "the model's name there"),
        CI_CHOICE("--remote-dialect", &command.flags.dialect, CI_REMOTE_DIALECTS,
                  "chat completions, which most servers speak, or Anthropic's messages"),
        CI_TEXT("--remote-key-variable", &command.flags.key_variable, "NAME",
                "the variable of the environment that holds the key"),
        CI_SECTION("Output"),
        CI_FLAG("--json", &command.json, "one JSON object"),
        CI_LOG_OPTIONS(&command.log),
    };
    const struct ci_usage usage = {
        .command = "remote",
        .synopsis = "[list | test NAME|URL] [options]",
        .about = "Remote APIs answer what this machine cannot, where config.json allows it; docs/remote.md says how.\n"
                 "`list` shows those of config.json, and whether a run would ask them. `test` tries one: is its name\n"
                 "found, can it be connected to, is its certificate good, does it accept the key, does it answer one\n"
                 "token, and how fast; it says what to do about the first thing that does not work.",
        .examples = "  clinfer remote\n"
                    "  clinfer remote test openai --remote-model gpt-4o-mini\n"
                    "  clinfer remote test http://localhost:8080/v1",
        .options = options,
        .option_count = sizeof options / sizeof *options,
        .words = "list|test NAME",
    };
    int exit_status = ci_options_parse(&usage, argc, argv, &command.words);
    if (exit_status == CI_OPTIONS_GO_ON) {
        enum clinfer_status status = ci_log_start(&command.log);
        exit_status = status == CLINFER_OK ? remote_command(&command) : ci_exit_status(status);
        ci_log_end();
    }
    ci_texts_free(&command.words);
    return exit_status;
}
