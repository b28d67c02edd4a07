/* settings.h: where the Hub is and where its cache lies: the environment variables of huggingface_hub and llama.cpp,
 * and what is no one's business to set (times), which tests make short.
 *
 * A variable that is set but empty counts as not set; one that is true or false is true as "1", "ON", "YES" or "TRUE",
 * as there. "~" at the start of a folder is the home. */
#ifndef CI_HUB_SETTINGS_H
#define CI_HUB_SETTINGS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <clinfer.h>

struct ci_hub_settings {
    char *endpoint;           /* HF_ENDPOINT or the public Hub; no '/' at its end */
    char *registry;           /* Ollama's registry, likewise */
    char *cache;              /* where the Hub's layout is written and read first: the first that is set of LLAMA_CACHE,
                                 HF_HUB_CACHE, HUGGINGFACE_HUB_CACHE, HF_HOME/hub, XDG_CACHE_HOME/huggingface/hub, else
                                 ~/.cache/huggingface/hub. Absolute; NULL: no home. */
    const char *cache_from;   /* the variable that said so, for messages: "HOME" */
    char **caches;            /* all of these that exist, in that order, each folder once, NULL-terminated: read */
    char *models;             /* the own models folder ($XDG_DATA_HOME/clinfer/models); NULL: no home */
    char *token;              /* or NULL. Not in cores; `ci_hub_authorization` makes the header and nothing shows it. */
    const char *token_from;   /* "HF_TOKEN", ..., or "the file HF_TOKEN_PATH names"; NULL: none */
    bool token_withheld;      /* there may be one, and HF_HUB_DISABLE_IMPLICIT_TOKEN keeps it back */
    bool offline;             /* no request at all */
    const char *offline_from; /* "HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE", "--offline"; NULL: online */
    char problem[300];        /* a variable about the net holds nonsense; "": none. A failure of who asks the net. */
    bool no_symlinks, no_progress_bars;      /* HF_HUB_DISABLE_SYMLINKS, HF_HUB_DISABLE_PROGRESS_BARS */
    double connect_seconds, silence_seconds; /* HF_HUB_ETAG_TIMEOUT, HF_HUB_DOWNLOAD_TIMEOUT; 10, 30 */
    int tries;                               /* of one request that may pass, while no byte comes: 5 */
    double first_pause;                      /* 1 s, doubled each time; and what is added to what a server wants */
    double longest_wait;                     /* what a server wants beyond that is a failure: 300 s */
    double lock_seconds;     /* how long another pull of the same file is waited for without its moving */
    uint64_t parallel_bytes; /* files above it come in several ranges: 64 MiB */
    int most_ranges;         /* 8 */
    double probe_seconds;    /* how long the speed of so many connections is measured before more are added: 1.5 */
    uint64_t spare_bytes;    /* free space that stays: 64 MiB */
};

/* Free in any case. CLINFER_OUT_OF_MEMORY. What holds nonsense is as if it were not set, and named in `problem` (a
 * token is never shown). What cannot be read of a token's file is no token. */
enum clinfer_status ci_hub_settings_read(struct ci_hub_settings *settings);
void ci_hub_settings_free(struct ci_hub_settings *settings);

/* By a flag: `from` is what messages call it ("--offline"), a literal. */
void ci_hub_settings_go_offline(struct ci_hub_settings *settings, const char *from);

#endif
