#include "device/verdicts.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

enum { FAILURE_SECONDS = 24 * 60 * 60 };

json_t *ci_verdicts_parse(const char *text, size_t length) {
    json_t *all = json_loadb(text, length, 0, NULL);
    bool known = json_is_array(json_object_get(all, "sets")) &&
                 json_integer_value(json_object_get(all, "format")) == CI_VERDICT_FORMAT;
    if (known) return all;
    json_decref(all);
    return json_pack("{s:i, s:[]}", "format", CI_VERDICT_FORMAT, "sets");
}

static void leave_out(struct ci_vendors *vendors, const json_t *entry) {
    const char *path = json_string_value(json_object_get(entry, "driver"));
    const char *reason = json_string_value(json_object_get(entry, "reason"));
    for (int i = 0; path && i < vendors->count; i++) {
        struct ci_vendor *vendor = &vendors->list[i];
        if (strcmp(vendor->path, path) != 0) continue;
        vendor->bad = true;
        snprintf(vendor->reason, sizeof vendor->reason, "%s", reason ? reason : "");
    }
}

bool ci_verdicts_apply(const json_t *all, struct ci_vendors *vendors) {
    char key[17];
    size_t index = 0, at = 0;
    json_t *set = NULL, *entry = NULL;
    snprintf(key, sizeof key, "%016" PRIx64, vendors->key);
    json_array_foreach(json_object_get(all, "sets"), index, set) {
        const char *known = json_string_value(json_object_get(set, "key"));
        if (!known || strcmp(known, key) != 0) continue;
        json_array_foreach(json_object_get(set, "left_out"), at, entry) leave_out(vendors, entry);
        return true;
    }
    return false;
}

bool ci_verdict_of_compiler(const char *text, size_t length, uint64_t key, int64_t now, char *reason, size_t size) {
    char wanted[17];
    snprintf(wanted, sizeof wanted, "%016" PRIx64, key);
    json_t *object = json_loadb(text, length, 0, NULL);
    const char *found = json_string_value(json_object_get(object, "key"));
    const char *why = json_string_value(json_object_get(object, "failure"));
    int64_t then = json_integer_value(json_object_get(object, "time"));
    bool fresh = then <= now && then > now - FAILURE_SECONDS;
    bool known = found && why && strcmp(found, wanted) == 0 && (!*why || fresh);
    if (known) snprintf(reason, size, "%s", why);
    json_decref(object);
    return known;
}
