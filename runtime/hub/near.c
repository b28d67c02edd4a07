#define _GNU_SOURCE
#include "hub/near.h"

#include <ctype.h>
#include <stdio.h>
#include <string.h>

#include "base/names.h"
#include "base/nearest.h"
#include "hub/name.h"

enum { SHOWN = 3, FAR = CI_NEAREST_BYTES };

struct near {
    const char *names[SHOWN];
    size_t distances[SHOWN];
};

static void lower(const char *text, size_t length, char target[CI_NEAREST_BYTES + 1]) {
    if (length > CI_NEAREST_BYTES) length = CI_NEAREST_BYTES;
    for (size_t i = 0; i < length; i++) target[i] = (char)tolower((unsigned char)text[i]);
    target[length] = 0;
}

static size_t compare(const char *wanted, const char *name, size_t length) {
    char small_name[CI_NEAREST_BYTES + 1], small_wanted[CI_NEAREST_BYTES + 1];
    lower(name, length, small_name);
    lower(wanted, strlen(wanted), small_wanted);
    size_t typed = strlen(small_wanted), far = ci_nearest_distance(small_wanted, small_name);
    if (typed >= 3 && strstr(small_name, small_wanted)) return 1;
    return far <= typed / 4 + 1 && far < strlen(small_name) ? far : FAR;
}

/* Of the whole name, of its last part, and of that without quant or extension. */
static size_t distance_of(const char *wanted, const char *name) {
    const char *base = strrchr(name, '/') ? strrchr(name, '/') + 1 : name;
    size_t lengths[] = {strlen(base), strcspn(base, ":"),
                        strcasestr(base, ".gguf") ? (size_t)(strcasestr(base, ".gguf") - base) : strlen(base)};
    size_t least = compare(wanted, name, strlen(name));
    for (size_t i = 0; i < sizeof lengths / sizeof *lengths; i++) {
        size_t far = compare(wanted, base, lengths[i]);
        if (far < least) least = far;
    }
    return least;
}

static void offer(struct near *near, const char *wanted, const char *name) {
    size_t far = distance_of(wanted, name), at = SHOWN;
    if (far >= FAR) return;
    while (at > 0 && (!near->names[at - 1] || near->distances[at - 1] > far)) at--;
    if (at == SHOWN) return;
    memmove(&near->names[at + 1], &near->names[at], (SHOWN - 1 - at) * sizeof *near->names);
    memmove(&near->distances[at + 1], &near->distances[at], (SHOWN - 1 - at) * sizeof *near->distances);
    near->names[at] = name;
    near->distances[at] = far;
}

void ci_hub_near_names(const char *wanted, const struct ci_stored *models, size_t count, char *list, size_t size) {
    struct near near = {{NULL}, {0}};
    list[0] = 0;
    for (size_t i = 0; i < count; i++)
        if (models[i].whole) offer(&near, wanted, models[i].name);
    for (const struct ci_hub_alias *alias = ci_hub_aliases; alias->alias; alias++) offer(&near, wanted, alias->alias);
    for (int i = 0; i < SHOWN && near.names[i]; i++) ci_names_add(list, size, near.names[i]);
}
