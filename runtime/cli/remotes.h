/* remotes.h: which remote APIs a run may ask, in which order, and why not the others.
 *
 * Nothing leaves this machine by accident. A key in the environment configures nothing. A remote of config.json with
 * "allow": true is the end of the ladder of every run; one without is asked where --remote NAME, --remote-only or
 * --fallback remote says so, one with "allow": false only by its name. A URL on the command line is asked by that run
 * only. --fallback none and cpu end the ladder before any remote. CLINFER_NO_REMOTE=1 and "remote": "never" stand above
 * all of it. */
#ifndef CI_CLI_REMOTES_H
#define CI_CLI_REMOTES_H

#include <clinfer.h>

#include "cli/config.h"
#include "cli/options.h"

#define CI_REMOTE_DIALECTS "openai|anthropic"
#define CI_REMOTE_NAME_CHARACTERS "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_-"

enum { CI_REMOTE_NAME_BYTES = 32 };

struct ci_remote_flags {
    const char *remote; /* a name or a URL */
    const char *model, *key_variable;
    int dialect; /* -1, or the number in CI_REMOTE_DIALECTS */
    bool only;   /* no local attempt at all */
    bool go_on;  /* a remote may continue an answer that began here */
    bool none;   /* no remote at all */
};

/* What flags hold before they are parsed. */
#define CI_REMOTE_FLAGS_DEFAULT                                                                                        \
    { .dialect = -1 }

#define CI_REMOTE_OPTIONS(flags)                                                                                       \
    CI_SECTION(                                                                                                        \
        "Remote APIs, for what this machine cannot finish; none is asked unless it was configured and allowed"),       \
        CI_TEXT("--remote", &(flags)->remote, "NAME|URL",                                                              \
                "this one may be asked: a name in config.json, openai, anthropic, or the URL of a chat completions "   \
                "API, up to and with /v1"),                                                                            \
        CI_TEXT("--remote-model", &(flags)->model, "NAME", "the model's name there"),                                  \
        CI_CHOICE("--remote-dialect", &(flags)->dialect, CI_REMOTE_DIALECTS,                                           \
                  "chat completions, which most servers speak, or Anthropic's messages"),                              \
        CI_TEXT("--remote-key-variable", &(flags)->key_variable, "NAME",                                               \
                "the variable of the environment that holds the key (a key itself is never a flag)"),                  \
        CI_FLAG("--remote-only", &(flags)->only, "nothing runs here: ask the remote at once"),                         \
        CI_FLAG("--remote-continue", &(flags)->go_on,                                                                  \
                "a remote may also go on with an answer that began here (default: it may only start afresh)"),         \
        CI_FLAG("--no-remote", &(flags)->none, "ask no remote, whatever config.json allows")

/* A remote that is not asked, and why. */
struct ci_remote_left_out {
    const char *name, *reason;
};

/* Texts are borrowed from flags, configuration, environment and `arena`. */
struct ci_remotes {
    struct clinfer_remote *items; /* what may be asked, in order */
    size_t count;
    struct ci_remote_left_out *left_out;
    size_t left_out_count;
    bool only, go_on;
    struct ci_arena *arena; /* of their texts */
};

/* `fallback` is what --fallback itself said (ci_engine_flags.fallback_flag), -1: nothing; what the file says of it
 * stands in `config`, as ci_engine_flags_complete has read it. CLINFER_INVALID_ARGUMENT: flags that contradict each
 * other, ask for a remote that there is not, or a remote that ci_remote_check does not take. CLINFER_REFUSED: --remote
 * or
 * --remote-only where it is forbidden. Free in any case. */
enum clinfer_status ci_remotes_resolve(const struct ci_remote_flags *flags, const struct ci_config *config,
                                       int fallback, struct ci_remotes *remotes);
void ci_remotes_free(struct ci_remotes *remotes);

/* A remote that has a name without being configured. */
struct ci_remote_built_in {
    const char *name, *dialect, *url_variable, *url, *key_variable;
};

/* NULL: there is none of that name. */
const struct ci_remote_built_in *ci_remotes_built_in(const char *name);

/* Whether it may be the name of a variable. */
bool ci_remotes_is_variable(const char *name);

#endif
