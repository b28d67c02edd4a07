/* dialect.c: which route a request takes. */
#include "server/dialect.h"

#include <stdio.h>
#include <string.h>

static const struct ci_server_dialect *const dialects[] = {
#define CI_SERVER_DIALECT(name) &ci_server_dialect_##name,
#include "server/dialect_list.inc"
#undef CI_SERVER_DIALECT
};
enum { DIALECT_COUNT = sizeof dialects / sizeof *dialects };

/* Whether the path is the pattern's; *parameter: where its {id} begins. */
static bool matches(const char *pattern, const char *path, const char **parameter) {
    size_t fixed = strcspn(pattern, "{");
    *parameter = "";
    if (!pattern[fixed]) return strcmp(pattern, path) == 0;
    if (strncmp(pattern, path, fixed) != 0 || !path[fixed]) return false;
    *parameter = path + fixed;
    return true;
}

static bool takes(const struct ci_route *route, const char *path, const char **parameter) {
    if (matches(route->path, path, parameter)) return true;
    bool without = (route->flags & CI_ROUTE_WITHOUT_V1) && strncmp(route->path, "/v1/", 4) == 0;
    return without && matches(route->path + 3, path, parameter);
}

static void add_method(char allow[64], const char *method) {
    if (strstr(allow, method)) return;
    size_t length = strlen(allow);
    snprintf(allow + length, 64 - length, "%s%s", length ? ", " : "", method);
}

/* How much of the path a dialect knows, in whole segments. */
static size_t shared(const struct ci_server_dialect *dialect, const char *path) {
    size_t best = 0;
    for (size_t i = 0; i < dialect->count; i++) {
        const char *known = dialect->routes[i].path;
        size_t length = 0, whole = 0;
        for (; known[length] && known[length] == path[length]; length++)
            if (length && known[length] == '/') whole = length;
        if (!path[length] || (path[length] == '/' && !known[length])) whole = length;
        if (whole > best) best = whole;
    }
    return best;
}

void ci_route_find(const char *method, const char *path, struct ci_route_match *match) {
    size_t best = 0;
    *match = (struct ci_route_match){.dialect = dialects[0], .parameter = ""};
    for (int i = 0; i < DIALECT_COUNT; i++) {
        for (size_t j = 0; j < dialects[i]->count; j++) {
            const struct ci_route *route = &dialects[i]->routes[j];
            const char *parameter;
            if (!takes(route, path, &parameter)) continue;
            if (!*match->allow) match->dialect = dialects[i];
            add_method(match->allow, route->method);
            if (match->route || strcmp(route->method, method) != 0) continue;
            match->route = route;
            match->dialect = dialects[i];
            match->parameter = parameter;
        }
    }
    for (int i = 0; i < DIALECT_COUNT && !*match->allow; i++) {
        size_t known = shared(dialects[i], path);
        if (known > best) match->dialect = dialects[i];
        if (known > best) best = known;
    }
}
