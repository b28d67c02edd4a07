#define _GNU_SOURCE
#include "cli/remotes.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/names.h"
#include "base/status.h"

/* Anthropic's own clients put /v1 behind ANTHROPIC_BASE_URL, OpenAI's do not. */
static const struct ci_remote_built_in built_ins[] = {
    {"openai", "openai", "OPENAI_BASE_URL", "https://api.openai.com/v1", "OPENAI_API_KEY", NULL},
    {"anthropic", "anthropic", "ANTHROPIC_BASE_URL", "https://api.anthropic.com/v1", "ANTHROPIC_API_KEY", "/v1"},
};
enum { BUILT_INS = sizeof built_ins / sizeof *built_ins };

static const char *const dialects[] = {"openai", "anthropic"}; /* CI_REMOTE_DIALECTS */

static const char how_to[] = "`clinfer config set remotes.NAME.url https://HOST/v1` and `clinfer config set "
                             "remotes.NAME.allow true` configure one; --remote NAME|URL asks one in this run only, "
                             "also openai and anthropic";

const struct ci_remote_built_in *ci_remotes_built_in(const char *name) {
    for (size_t i = 0; i < BUILT_INS; i++)
        if (strcmp(name, built_ins[i].name) == 0) return &built_ins[i];
    return NULL;
}

bool ci_remotes_is_variable(const char *name) {
    return *name && !(*name >= '0' && *name <= '9') && !strchr(name, '-') &&
           !name[strspn(name, CI_REMOTE_NAME_CHARACTERS)];
}

const char *ci_remotes_wrong_url(const char *url) {
    size_t scheme = strncmp(url, "https://", 8) == 0 ? 8 : strncmp(url, "http://", 7) == 0 ? 7 : 0;
    if (!scheme || !strcspn(url + scheme, "/:?#"))
        return "must be https://HOST and a path, such as https://api.openai.com/v1";
    for (const char *at = url; *at; at++)
        if ((unsigned char)*at <= ' ' || *at == 0x7f) return "must have no spaces and no control characters";
    if (strpbrk(url, "@?#"))
        return "must have no user, no ? and no #: a key is named by key_variable, key_file or key_command";
    return NULL;
}

static const char *variable(const char *name) {
    const char *text = getenv(name);
    return text && *text ? text : NULL;
}

/* NULL: nothing forbids remotes, else what does. */
static const char *forbidden(const struct ci_config *config) {
    const char *text = variable("CLINFER_NO_REMOTE");
    if (text && strcmp(text, "0") != 0) return "CLINFER_NO_REMOTE forbids remotes";
    return config->remote == CI_CONFIG_REMOTE_NEVER ? "\"remote\": \"never\" in config.json forbids remotes" : NULL;
}

/* ---- lists ---- */

static enum clinfer_status out_of_memory(void) { return ci_fail(CLINFER_OUT_OF_MEMORY, "remotes: out of memory"); }

static const char *format(struct ci_remotes *remotes, const char *text, ...) __attribute__((format(printf, 2, 3)));

/* NULL: out of memory. */
static const char *format(struct ci_remotes *remotes, const char *text, ...) {
    char *line = NULL;
    va_list arguments;
    va_start(arguments, text);
    int length = vasprintf(&line, text, arguments);
    va_end(arguments);
    if (length < 0) return NULL;
    const char *copy = ci_arena_string(&remotes->arena, line, (size_t)length);
    free(line);
    return copy;
}

static void leave_out(struct ci_remotes *remotes, const char *name, const char *reason) {
    remotes->left_out[remotes->left_out_count++] = (struct ci_remote_left_out){name, reason};
}

/* Where the environment says, else where it is known to be. NULL: out of memory. */
static const char *built_in_url(struct ci_remotes *remotes, const struct ci_remote_built_in *known) {
    const char *url = variable(known->url_variable);
    if (!url) return known->url;
    size_t length = strlen(url), tail = known->path ? strlen(known->path) : 0;
    while (length && url[length - 1] == '/') length--;
    bool whole = length >= tail && strncmp(url + length - tail, known->path ? known->path : "", tail) == 0;
    return format(remotes, "%.*s%s", (int)length, url, whole ? "" : known->path);
}

/* What the file leaves open of a built-in name. Its key goes to its own URL only. */
static enum clinfer_status complete(struct ci_remotes *remotes, const struct ci_remote_built_in *known,
                                    struct clinfer_remote *remote) {
    if (!known || remote->url) return CLINFER_OK;
    remote->name = known->name;
    remote->url = built_in_url(remotes, known);
    if (!remote->url) return out_of_memory();
    const char *wrong = ci_remotes_wrong_url(remote->url);
    if (wrong) return ci_fail(CLINFER_INVALID_ARGUMENT, "%s: %s", known->url_variable, wrong);
    if (!remote->dialect) remote->dialect = known->dialect;
    if (!remote->key_variable && !remote->key_file && !remote->key_command && variable(known->key_variable))
        remote->key_variable = known->key_variable;
    return CLINFER_OK;
}

static enum clinfer_status use(struct ci_remotes *remotes, const struct clinfer_remote *remote) {
    struct clinfer_remote *item = &remotes->items[remotes->count++];
    *item = *remote;
    return complete(remotes, ci_remotes_built_in(remote->name), item);
}

/* ---- what the command line names ---- */

static bool is_url(const char *text) { return strstr(text, "://") != NULL; }

static bool same_url(const char *a, const char *b) {
    size_t na = strlen(a), nb = strlen(b);
    while (na && a[na - 1] == '/') na--;
    while (nb && b[nb - 1] == '/') nb--;
    return na == nb && strncmp(a, b, na) == 0;
}

/* No key goes with a URL, unless it is the one that the environment's key is for. */
static enum clinfer_status use_url(struct ci_remotes *remotes, const char *url) {
    struct clinfer_remote remote = {.name = url, .url = url};
    const char *wrong = ci_remotes_wrong_url(url);
    if (wrong) return ci_fail(CLINFER_INVALID_ARGUMENT, "--remote: the URL %s", wrong);
    for (size_t i = 0; i < BUILT_INS; i++) {
        const char *said = variable(built_ins[i].url_variable), *own = built_in_url(remotes, &built_ins[i]);
        if (!own) return out_of_memory();
        if (!same_url(url, own) && !(said && same_url(url, said))) continue;
        remote = (struct clinfer_remote){0};
        enum clinfer_status status = complete(remotes, &built_ins[i], &remote);
        remote.name = url;
        if (status != CLINFER_OK) return status;
        break;
    }
    remotes->items[remotes->count++] = remote;
    return CLINFER_OK;
}

static enum clinfer_status no_such_remote(const struct ci_remotes *remotes, const char *name) {
    enum { MOST_NAMES = 66 };
    const char *names[MOST_NAMES + 1] = {NULL};
    char all[256] = "";
    size_t count = 0;
    for (size_t i = 0; i < remotes->left_out_count && count < MOST_NAMES; i++)
        names[count++] = remotes->left_out[i].name;
    for (size_t i = 0; i < BUILT_INS && count < MOST_NAMES; i++) names[count++] = built_ins[i].name;
    for (size_t i = 0; i < count; i++) ci_names_add(all, sizeof all, names[i]);
    const char *nearest = ci_options_nearest(name, names);
    if (nearest)
        return ci_fail(CLINFER_INVALID_ARGUMENT, "--remote %s: no such remote; did you mean %s?", name, nearest);
    return ci_fail(CLINFER_INVALID_ARGUMENT, "--remote %s: no such remote; there are %s; a URL begins with https://",
                   name, all);
}

static enum clinfer_status use_named(struct ci_remotes *remotes, const char *name) {
    const struct ci_remote_built_in *known = ci_remotes_built_in(name);
    if (is_url(name)) return use_url(remotes, name);
    return known ? use(remotes, &(struct clinfer_remote){.name = known->name}) : no_such_remote(remotes, name);
}

/* ---- the rules ---- */

static enum clinfer_status check_flags(const struct ci_remote_flags *flags, int fallback) {
    const char *asks = flags->remote ? "--remote" : flags->only ? "--remote-only" : NULL;
    if (asks && flags->none) return ci_fail(CLINFER_INVALID_ARGUMENT, "--no-remote and %s contradict each other", asks);
    if (flags->none && fallback == CLINFER_FALLBACK_REMOTE)
        return ci_fail(CLINFER_INVALID_ARGUMENT, "--no-remote and --fallback remote contradict each other");
    if (asks && (fallback == CLINFER_FALLBACK_NONE || fallback == CLINFER_FALLBACK_CPU))
        return ci_fail(CLINFER_INVALID_ARGUMENT,
                       "--fallback %s ends before any remote, and %s asks for one: leave one of the two out",
                       fallback == CLINFER_FALLBACK_NONE ? "none" : "cpu", asks);
    if (flags->key_variable && !ci_remotes_is_variable(flags->key_variable))
        return ci_fail(CLINFER_INVALID_ARGUMENT,
                       "--remote-key-variable takes the name of a variable, of letters, digits and _; a key itself "
                       "never stands on a command line, where every user of this machine can read it");
    return CLINFER_OK;
}

/* NULL: this run may ask it. */
static const char *reason_against(const struct ci_remote_flags *flags, const struct ci_config *config, int fallback,
                                  const struct ci_config_remote *entry) {
    const char *forbids = forbidden(config);
    if (forbids) return forbids;
    if (flags->none) return "--no-remote";
    if (flags->remote) return strcmp(flags->remote, entry->remote.name) == 0 ? NULL : "--remote names another";
    if (fallback == CLINFER_FALLBACK_NONE) return "--fallback none";
    if (fallback == CLINFER_FALLBACK_CPU) return "--fallback cpu";
    if (!flags->only && fallback < 0 && config->fallback == CLINFER_FALLBACK_NONE)
        return "\"fallback\": \"none\" in config.json";
    if (!flags->only && fallback < 0 && config->fallback == CLINFER_FALLBACK_CPU)
        return "\"fallback\": \"cpu\" in config.json";
    if (entry->forbid) return "\"allow\": false in config.json; --remote and its name ask it nevertheless";
    bool asked = flags->only || fallback == CLINFER_FALLBACK_REMOTE ||
                 (fallback < 0 && config->fallback == CLINFER_FALLBACK_REMOTE);
    return entry->allow || asked ? NULL : "config.json does not allow it (\"allow\": true)";
}

static enum clinfer_status sort_out(const struct ci_remote_flags *flags, const struct ci_config *config, int fallback,
                                    struct ci_remotes *remotes) {
    enum clinfer_status status = CLINFER_OK;
    for (size_t i = 0; i < config->remote_count && status == CLINFER_OK; i++) {
        const struct ci_config_remote *entry = &config->remotes[i];
        const char *reason = reason_against(flags, config, fallback, entry);
        if (reason)
            leave_out(remotes, entry->remote.name, reason);
        else
            status = use(remotes, &entry->remote);
    }
    if (status == CLINFER_OK && flags->remote && !remotes->count) status = use_named(remotes, flags->remote);
    return status;
}

/* The flags that say how, for the one remote that they can mean. */
static enum clinfer_status refine(const struct ci_remote_flags *flags, struct ci_remotes *remotes) {
    const char *flag = flags->model          ? "--remote-model"
                       : flags->dialect >= 0 ? "--remote-dialect"
                       : flags->key_variable ? "--remote-key-variable"
                                             : NULL;
    if (!flag) return CLINFER_OK;
    if (remotes->count != 1)
        return ci_fail(CLINFER_INVALID_ARGUMENT, "%s: %s; --remote NAME|URL says which is meant", flag,
                       remotes->count ? "several remotes may be asked" : "no remote may be asked");
    struct clinfer_remote *remote = remotes->items;
    if (flags->model) remote->model = flags->model;
    if (flags->dialect >= 0) remote->dialect = dialects[flags->dialect];
    if (!flags->key_variable) return CLINFER_OK;
    remote->key_variable = flags->key_variable;
    remote->key_file = remote->key_command = NULL;
    return CLINFER_OK;
}

/* Whoever asks for remotes alone must get one. */
static enum clinfer_status check_result(const struct ci_remote_flags *flags, int fallback,
                                        const struct ci_remotes *remotes) {
    const char *flag = flags->only ? "--remote-only" : "--fallback remote";
    if (remotes->count || !(flags->only || fallback == CLINFER_FALLBACK_REMOTE)) return CLINFER_OK;
    if (!remotes->left_out_count)
        return ci_fail(CLINFER_INVALID_ARGUMENT, "%s: no remote is configured: %s", flag, how_to);
    if (!flags->only) return CLINFER_OK;
    return ci_fail(CLINFER_REFUSED, "%s: no remote may be asked: %s: %s", flag, remotes->left_out[0].name,
                   remotes->left_out[0].reason);
}

enum clinfer_status ci_remotes_resolve(const struct ci_remote_flags *flags, const struct ci_config *config,
                                       int fallback, struct ci_remotes *remotes) {
    *remotes = (struct ci_remotes){.only = flags->only, .go_on = flags->go_on};
    enum clinfer_status status = check_flags(flags, fallback);
    if (status != CLINFER_OK) return status;
    const char *forbids = forbidden(config), *asks = flags->remote ? "--remote" : flags->only ? "--remote-only" : NULL;
    if (forbids && asks) return ci_fail(CLINFER_REFUSED, "%s: %s", asks, forbids);
    remotes->items = ci_arena_array(&remotes->arena, config->remote_count + 1, sizeof *remotes->items);
    remotes->left_out = ci_arena_array(&remotes->arena, config->remote_count + 1, sizeof *remotes->left_out);
    if (!remotes->items || !remotes->left_out) return out_of_memory();
    status = sort_out(flags, config, fallback, remotes);
    if (status == CLINFER_OK) status = refine(flags, remotes);
    if (status == CLINFER_OK) status = check_result(flags, fallback, remotes);
    return status;
}

void ci_remotes_free(struct ci_remotes *remotes) {
    ci_arena_destroy(&remotes->arena);
    *remotes = (struct ci_remotes){0};
}
