/* config.h: $XDG_CONFIG_HOME/clinfer/config.json: what flags are when nobody gives them. Flags beat the environment,
 * the environment beats the file. A file that is wrong is an error that names key and value: what it asks for must not
 * be passed over in silence.
 *
 *     { "model": "qwen2.5-1.5b-q4_0", "device": "cpu", "threads": 4, "ops": ["matmul=gemm_vec"] }
 */
#ifndef CI_CLI_CONFIG_H
#define CI_CLI_CONFIG_H

#include <clinfer.h>
#include <jansson.h>

#include "cli/options.h"

/* Members that the file does not name: NULL, -1, none. All texts are borrowed from `file`. */
struct ci_config {
    const char *model, *device;
    int fallback, activations; /* numbers of clinfer.h's enums */
    long long threads;
    struct ci_texts ops;
    json_t *file;
};

/* One row per key: how it is read, and what it is for. Ends with a row without a name. */
struct ci_config_key {
    const char *name;
    enum ci_option_kind kind; /* TEXT, TEXTS, INTEGER, CHOICE */
    size_t offset;            /* in struct ci_config */
    const char *choices;      /* "cpu|none" */
    double minimum, maximum;
    const char *help;
};
extern const struct ci_config_key ci_config_keys[];

/* The caller frees. NULL: no home. */
char *ci_config_path(void);

/* A file that is not there is empty. CLINFER_BAD_FILE, CLINFER_IO. Free in any case. */
enum clinfer_status ci_config_read(struct ci_config *config);
void ci_config_free(struct ci_config *config);

#endif
