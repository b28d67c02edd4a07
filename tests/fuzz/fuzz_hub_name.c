/* Any text as the name of a model: refused with a reason that shows no control character, or taken apart into parts
 * that keep their rules, none of which leads out of a folder; and what they say, said again, means the same. */
#define _GNU_SOURCE
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/status.h"
#include "hub/name.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const char endpoint[] = "http://127.0.0.1:8080/mirror";

/* Once more in other words, so that the rules are not asked about themselves. */
static void check_path(const char *path) {
    if (*path == '/') abort();
    for (const char *part = path; part; part = strchr(part, '/') ? strchr(part, '/') + 1 : NULL) {
        size_t length = strcspn(part, "/");
        if (!length || (length <= 2 && strspn(part, ".") == length)) abort();
    }
    for (const char *at = path; *at; at++)
        if ((unsigned char)*at < 0x20 || *at == 0x7f || *at == '\\') abort();
}

#define END(text)                                                                                                      \
    if (!memchr(text, 0, sizeof(text))) abort()

static void check_name(const struct ci_hub_name *name) {
    END(name->repo);
    END(name->revision);
    END(name->tag);
    END(name->file);
    END(name->host);
    END(name->url);
    if (name->file[0]) check_path(name->file);
    if (name->revision[0]) check_path(name->revision);
    if (name->tag[0]) check_path(name->tag);
    if (name->kind == CI_HUB_URL) {
        if (!ci_hub_is_url(name->url)) abort();
        return;
    }
    check_path(name->repo);
    if (strchr(name->host, '/') || (name->tag[0] && strchr(name->tag, '/'))) abort();
    const char *slash = strchr(name->repo, '/');
    if (slash && strchr(slash + 1, '/')) abort();
    if (name->kind == CI_HUB_REPO && (ci_hub_repo_rule(name->repo) || strstr(name->repo, "--"))) abort();
}

static bool is_same(const struct ci_hub_name *one, const struct ci_hub_name *other) {
    return one->kind == other->kind && !strcmp(one->repo, other->repo) && !strcmp(one->revision, other->revision) &&
           !strcmp(one->tag, other->tag) && !strcmp(one->file, other->file) && !strcmp(one->host, other->host) &&
           !strcmp(one->url, other->url);
}

/* Links can say more than names: repos without a namespace, or that are called as files and hosts are, and files with
 * signs in their names that mean something in ours. */
static bool can_be_typed(const struct ci_hub_name *name) {
    size_t length = strlen(name->repo);
    bool is_file = length > 5 && strcasecmp(name->repo + length - 5, ".gguf") == 0;
    bool is_host = strcasestr(name->repo, "hf.co/") || strcasestr(name->repo, "huggingface.co/");
    return strchr(name->repo, '/') && !is_file && !is_host && !strpbrk(name->file, "@:%");
}

static void check(const char *text) {
    struct ci_hub_name name, again;
    enum clinfer_status status = ci_hub_name_parse(text, endpoint, &name);
    if (status == CLINFER_OK) {
        char said[4096];
        check_name(&name);
        ci_hub_name_text(&name, said, sizeof said);
        if (!memchr(said, 0, sizeof said)) abort();
        if (name.kind == CI_HUB_REPO && !can_be_typed(&name)) return;
        if (ci_hub_name_parse(said, endpoint, &again) != CLINFER_OK || !is_same(&name, &again)) abort();
        return;
    }
    if (status != CLINFER_INVALID_ARGUMENT && status != CLINFER_NOT_FOUND) abort();
    for (const char *at = ci_status_message(); *at; at++)
        if ((unsigned char)*at < 0x20 || *at == 0x7f) abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    char *text = malloc(size + 1);
    if (!text) return 0;
    memcpy(text, data, size);
    text[size] = 0;
    check(text);
    free(text);
    return 0;
}
