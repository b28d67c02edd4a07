/* config.h: $XDG_CONFIG_HOME/clinfer/config.json: what flags are when nobody gives them. Flags beat the environment,
 * the environment beats the file. A file that is wrong is an error that names key and value: what it asks for must not
 * be passed over in silence.
 *
 *     { "model": "qwen2.5-1.5b-q4_0", "device": "cpu", "threads": 4, "ops": ["matmul=gemm_vec"],
 *       "remotes": [ {"name": "lan", "url": "http://192.168.1.5:8000/v1", "plain_http": true, "allow": true} ] }
 *
 * No key stands in it: it is shown, copied and kept under version control. A remote says where its key is. */
#ifndef CI_CLI_CONFIG_H
#define CI_CLI_CONFIG_H

#include <clinfer.h>
#include <jansson.h>

#include "cli/options.h"

/* The order of enum clinfer_fallback. */
#define CI_FALLBACK_CHOICES "cpu|none|remote"

struct ci_field_place;

/* One of "remotes". Members that the file does not name: NULL, 0, false. */
struct ci_config_remote {
    struct clinfer_remote remote; /* url: NULL only where the name is built in (cli/remotes.h) */
    bool allow, forbid;           /* "allow": true, "allow": false; neither: the file does not say */
    char *key_path;               /* remote.key_file where it began with ~/ */
};

enum ci_config_remote_policy { CI_CONFIG_REMOTE_NEVER, CI_CONFIG_REMOTE_ALLOWED };

/* Members that the file does not name: NULL, -1, none. All texts are borrowed from `file`. */
struct ci_config {
    const char *model, *device, *chat_template, *chat_template_file;
    int fallback, activations; /* numbers of clinfer.h's enums */
    int remote;                /* enum ci_config_remote_policy */
    long long threads;
    struct ci_texts ops;
    struct ci_config_remote *remotes; /* in the order of the file */
    size_t remote_count;
    json_t *file;
};

/* One row per key: how it is read, and what it is for. Ends with a row without a name. */
struct ci_config_key {
    const char *name;
    enum ci_option_kind kind; /* TEXT (with choices: one of them), TEXTS, INTEGER, NUMBER, CHOICE, FLAG */
    size_t offset;            /* in struct ci_config; of ci_config_remote_keys in struct ci_config_remote */
    const char *choices;      /* "cpu|none" */
    double minimum, maximum;
    const char *otherwise; /* what counts where neither file nor environment says anything; NULL: nothing */
    const char *help;
    const struct ci_config_key *members; /* not NULL: an array of objects that have these; kind means nothing */
};
extern const struct ci_config_key ci_config_keys[], ci_config_remote_keys[];

/* The one whose name is nearest, NULL: none is near. */
const char *ci_config_nearest_key(const struct ci_config_key *keys, const char *name);

/* Why a member of this name, which would hold a key itself, is in no file, and where a key belongs; NULL: it is none.
 */
const char *ci_config_no_key(const char *name);

/* config_secrets.c: CLINFER_BAD_FILE where a text or a name below `value`, member `name` of `place`, looks like a key;
 * it is not shown. */
enum clinfer_status ci_config_refuse_secrets(const struct ci_field_place *place, const char *name, const json_t *value);

/* The caller frees. NULL: no home. */
char *ci_config_path(void);

/* The present failure to read or write it, CLINFER_IO, with the variable that names another place. */
enum clinfer_status ci_config_unreachable(void);

enum { CI_CONFIG_BYTES = 1 << 20 };

/* A file that is not there is empty. CLINFER_BAD_FILE, CLINFER_IO. Free in any case. */
enum clinfer_status ci_config_read(struct ci_config *config);

/* The same of a text; `path` is for messages. */
enum clinfer_status ci_config_parse(const char *path, const char *text, size_t length, struct ci_config *config);
void ci_config_free(struct ci_config *config);

#endif
