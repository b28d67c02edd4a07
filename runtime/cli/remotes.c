#include "cli/remotes.h"

#include <stdlib.h>
#include <string.h>

#include "base/arena.h"
#include "base/names.h"
#include "base/status.h"
#include "remote/remote.h"

static const struct ci_remote_built_in built_ins[] = {
    {"openai", "openai", "OPENAI_BASE_URL", "https://api.openai.com/v1", "OPENAI_API_KEY"},
    {"anthropic", "anthropic", "ANTHROPIC_BASE_URL", "https://api.anthropic.com/v1", "ANTHROPIC_API_KEY"},
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

static void leave_out(struct ci_remotes *remotes, const char *name, const char *reason) {
    remotes->left_out[remotes->left_out_count++] = (struct ci_remote_left_out){name, reason};
}

/* Where the environment says, else where it is known to be. */
static const char *built_in_url(const struct ci_remote_built_in *known) {
    const char *url = variable(known->url_variable);
    return url ? url : known->url;
}

/* What the file leaves open of a built-in name. Its key goes to its own URL only. */
static void complete(const struct ci_remote_built_in *known, struct clinfer_remote *remote) {
    if (!known || remote->url) return;
    remote->url = built_in_url(known);
    if (!remote->dialect) remote->dialect = known->dialect;
    if (!remote->key_variable && !remote->key_file && !remote->key_command && variable(known->key_variable))
        remote->key_variable = known->key_variable;
}

static void use(struct ci_remotes *remotes, const struct clinfer_remote *remote) {
    struct clinfer_remote *item = &remotes->items[remotes->count++];
    *item = *remote;
    complete(ci_remotes_built_in(remote->name), item);
}

/* ---- what the command line names ---- */

static bool is_url(const char *text) { return strstr(text, "://") != NULL; }

static bool same_url(const char *a, const char *b) {
    size_t na = strlen(a), nb = strlen(b);
    while (na && a[na - 1] == '/') na--;
    while (nb && b[nb - 1] == '/') nb--;
    return na == nb && strncmp(a, b, na) == 0;
}

/* No key goes with a URL, unless it is the one that the environment's key is for. Called by its host, as the whole may
 * hold what nobody should see. */
static enum clinfer_status use_url(struct ci_remotes *remotes, const char *url) {
    const char *host = strstr(url, "://") + 1;
    host += strspn(host, "/");
    const char *at = memchr(host, '@', strcspn(host, "/?#"));
    if (at) host = at + 1;
    struct clinfer_remote remote = {.url = url};
    for (size_t i = 0; i < BUILT_INS && !remote.dialect; i++) {
        if (!same_url(url, built_in_url(&built_ins[i]))) continue;
        remote.url = NULL;
        complete(&built_ins[i], &remote);
    }
    remote.name = ci_arena_string(remotes->arena, host, strcspn(host, "/?#"));
    if (!remote.name) return out_of_memory();
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
    if (!known) return no_such_remote(remotes, name);
    use(remotes, &(struct clinfer_remote){.name = known->name});
    return CLINFER_OK;
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
    for (size_t i = 0; i < config->remote_count; i++) {
        const struct ci_config_remote *entry = &config->remotes[i];
        const char *reason = reason_against(flags, config, fallback, entry);
        if (reason)
            leave_out(remotes, entry->remote.name, reason);
        else
            use(remotes, &entry->remote);
    }
    return flags->remote && !remotes->count ? use_named(remotes, flags->remote) : CLINFER_OK;
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

/* Leaves out what may not be asked as it is configured, such as plain http to another host; --remote asked for it. */
static enum clinfer_status check_items(const struct ci_remote_flags *flags, struct ci_remotes *remotes) {
    size_t kept = 0;
    for (size_t i = 0; i < remotes->count; i++) {
        const struct clinfer_remote *item = &remotes->items[i];
        const struct ci_remote_built_in *known = ci_remotes_built_in(item->name);
        enum clinfer_status status = ci_remote_check(item);
        if (status == CLINFER_REFUSED && !flags->remote) {
            const char *message = ci_status_message();
            const char *reason = ci_arena_string(remotes->arena, message, strlen(message));
            if (!reason) return out_of_memory();
            leave_out(remotes, item->name, reason);
            continue;
        }
        if (status != CLINFER_OK && known && item->url == variable(known->url_variable))
            return ci_fail_prefix(status, "%s", known->url_variable);
        if (status != CLINFER_OK) return status;
        remotes->items[kept++] = *item;
    }
    remotes->count = kept;
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
    remotes->arena = calloc(1, sizeof *remotes->arena);
    if (!remotes->arena) return out_of_memory();
    remotes->items = ci_arena_array(remotes->arena, config->remote_count + 1, sizeof *remotes->items);
    remotes->left_out = ci_arena_array(remotes->arena, config->remote_count + 1, sizeof *remotes->left_out);
    if (!remotes->items || !remotes->left_out) return out_of_memory();
    status = sort_out(flags, config, fallback, remotes);
    if (status == CLINFER_OK) status = refine(flags, remotes);
    if (status == CLINFER_OK) status = check_items(flags, remotes);
    if (status == CLINFER_OK) status = check_result(flags, fallback, remotes);
    return status;
}

void ci_remotes_free(struct ci_remotes *remotes) {
    if (remotes->arena) ci_arena_destroy(remotes->arena);
    free(remotes->arena);
    *remotes = (struct ci_remotes){0};
}
