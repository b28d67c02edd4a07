/* config_secrets.c: keys that were written into config.json, wherever that was.
 *
 * What is wrong in the file is told with its value, `config list` shows values that are right, and both end up in logs
 * and bug reports. So before anything is read, what looks like a key is refused without being shown: known beginnings,
 * and long runs of letters and digits mixed, which names of models, devices and variables do not have. Paths may hold
 * such runs (the Hub's files are named by their hashes), and are no keys. */
#include <ctype.h>
#include <stdbool.h>
#include <string.h>

#include "base/status.h"
#include "cli/config.h"
#include "profile/fields.h"

/* Shorter texts are names. */
enum { LEAST_KEY = 16, LEAST_RUN = 20, LEAST_OF_EACH = 2 };

static bool begins_like_a_key(const char *text) {
    static const char *const beginnings[] = {"sk-",    "sk_",  "pk-",    "pk_",         "rk_", "gsk_",
                                             "xai-",   "hf_",  "nvapi-", "AIza",        "r8_", "eyJ",
                                             "glpat-", "ghp_", "key-",   "github_pat_", NULL};
    for (const char *const *beginning = beginnings; *beginning; beginning++)
        if (strncmp(text, *beginning, strlen(*beginning)) == 0) return strlen(text) >= LEAST_KEY;
    return false;
}

/* "8F3kq02LxPz9aaQ1mN7c": words are shorter, numbers have no letters. */
static bool has_random_run(const char *text) {
    int digits = 0, letters = 0;
    for (; *text; text++) {
        if (!isalnum((unsigned char)*text)) {
            digits = letters = 0;
            continue;
        }
        digits += isdigit((unsigned char)*text) != 0;
        letters += isdigit((unsigned char)*text) == 0;
        if (digits + letters >= LEAST_RUN && digits >= LEAST_OF_EACH && letters >= LEAST_OF_EACH) return true;
    }
    return false;
}

static bool looks_like_a_key(const char *text) {
    if (strncasecmp(text, "bearer ", 7) == 0) return true;
    if (strchr("/~.", *text) && *text) return false;
    return begins_like_a_key(text) || (!strpbrk(text, " :{<") && has_random_run(text));
}

static enum clinfer_status refuse(const struct ci_field_place *place, const char *name) {
    return ci_field_refuse_unseen(place, name, "looks like a key: %s", ci_config_no_key("key"));
}

enum clinfer_status ci_config_refuse_secrets(const struct ci_field_place *place, const char *name,
                                             const json_t *value) {
    const char *member;
    json_t *item;
    size_t index;
    enum clinfer_status status = CLINFER_OK;
    if (json_is_string(value) && looks_like_a_key(json_string_value(value))) return refuse(place, name);
    if (json_is_array(value)) {
        json_array_foreach(value, index, item) {
            struct ci_field_place below = ci_field_below(place, name, (long)index);
            if (status == CLINFER_OK) status = ci_config_refuse_secrets(&below, "", item);
        }
    } else if (json_is_object(value)) {
        struct ci_field_place below = *name ? ci_field_below(place, name, -1) : *place;
        json_object_foreach((json_t *)value, member, item) {
            if (status == CLINFER_OK && looks_like_a_key(member)) status = refuse(&below, "(a name)");
            if (status == CLINFER_OK) status = ci_config_refuse_secrets(&below, member, item);
        }
    }
    return status;
}
