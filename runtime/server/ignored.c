#include "server/ignored.h"

#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "server/exchange_private.h"
#include "server/fields.h"

enum { LONGEST_NAME = 64, MARK_BYTES = 10 /* "@sampling" */ };

/* Whether `word` [length] is among the words; inside: whether words begin with it and a dot. */
static bool lists(const char *fields, const char *word, size_t length, bool inside) {
    for (const char *at = fields; (at = strstr(at, word)); at += length) {
        char before = at == fields ? ' ' : at[-1], after = at[length];
        if (before == ' ' && (inside ? after == '.' : after == ' ' || !after)) return true;
    }
    return false;
}

/* `path`: the name behind those of the objects it is in, with dots. */
static bool is_known(const char *fields, const char *path, const char *name) {
    char mark[LONGEST_NAME * 2 + 2 + MARK_BYTES];
    snprintf(mark, sizeof mark, "%.*s@sampling", (int)(strlen(path) - strlen(name)), path);
    return lists(fields, path, strlen(path), false) ||
           (ci_sampling_knows(name) && lists(fields, mark, strlen(mark), false));
}

static bool is_plain(const char *name) {
    static const char letters[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_.-";
    size_t length = strlen(name);
    return length > 0 && length <= LONGEST_NAME && name[strspn(name, letters)] == 0;
}

/* false: the header is full. */
static bool add(struct ci_exchange *exchange, const char *path) {
    size_t length = strlen(exchange->ignored), room = sizeof exchange->ignored - length;
    if (strlen(path) + 3 > room) return false;
    snprintf(exchange->ignored + length, room, "%s%s", length ? ", " : "", path);
    return true;
}

static bool name_members(struct ci_exchange *exchange, const json_t *object, const char *outer, const char *fields) {
    const char *name;
    json_t *value;
    json_object_foreach((json_t *)object, name, value) {
        char path[LONGEST_NAME * 2 + 2];
        if (json_is_null(value) || !is_plain(name)) continue;
        snprintf(path, sizeof path, "%s%s%s", outer, *outer ? "." : "", name);
        bool goes_on = true;
        if (!*outer && json_is_object(value) && lists(fields, path, strlen(path), true))
            goes_on = name_members(exchange, value, path, fields);
        else if (!is_known(fields, path, name) && !lists(fields, path, strlen(path), true))
            goes_on = add(exchange, path);
        if (!goes_on) return false;
    }
    return true;
}

void ci_ignored_name(struct ci_exchange *exchange, const json_t *body, const char *fields) {
    name_members(exchange, body, "", fields);
    if (*exchange->ignored) ci_reply_header(exchange, "X-Clinfer-Ignored", exchange->ignored);
}

void ci_ignored_add(struct ci_exchange *exchange, const char *name) {
    if (add(exchange, name)) ci_reply_header(exchange, "X-Clinfer-Ignored", exchange->ignored);
}
