/* config_edit.h: the keys of config.json as people write them, "threads" or "remotes.lan.url", and changes to the file:
 * checked as a whole before anything is written, one process at a time, other members and their order kept. */
#ifndef CI_CLI_CONFIG_EDIT_H
#define CI_CLI_CONFIG_EDIT_H

#include <clinfer.h>
#include <jansson.h>

#include "cli/config.h"
#include "cli/remotes.h"

struct ci_config_name {
    char remote[CI_REMOTE_NAME_BYTES + 1]; /* "": a key of the top */
    const struct ci_config_key *key;       /* NULL: the whole remote */
};

/* CLINFER_INVALID_ARGUMENT: there is no such key; the message says which is near. */
enum clinfer_status ci_config_name(const char *text, struct ci_config_name *name);

/* What a value of the command line is as JSON; one that does not fit the key stays a text, which reading refuses.
 * NULL: it is no UTF-8, or memory is out. */
json_t *ci_config_value(const struct ci_config_key *key, const char *const *words, size_t count);

/* A remote that is not there yet is appended. CLINFER_INVALID_ARGUMENT: what the file would then be is wrong.
 * CLINFER_BAD_FILE: what it is now is not JSON. CLINFER_IO. */
enum clinfer_status ci_config_set(const char *key, const char *const *words, size_t count);

/* Also of members that clinfer does not know. *found: it was there. */
enum clinfer_status ci_config_unset(const char *key, bool *found);

/* The remote of that name in the array "remotes" of `file`, NULL: there is none. Borrowed. */
json_t *ci_config_find_remote(const json_t *file, const char *name);

#endif
