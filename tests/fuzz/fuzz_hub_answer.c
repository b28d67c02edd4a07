/* Any bytes as an answer of the Hub or of Ollama's registry; the first says of which. Refused with a message that can
 * be shown, or taken apart into files that stay in their folder, commits and digests that are such, and addresses that
 * are encoded. */
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/status.h"
#include "hub/hub.h"
#include "hub/ollama.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_shown(const char *text) {
    for (; *text; text++)
        if ((unsigned char)*text < 0x20 || *text == 0x7f) abort();
}

static void check_failure(enum clinfer_status status) {
    if (status != CLINFER_REMOTE_FAILED && status != CLINFER_NOT_FOUND && status != CLINFER_UNSUPPORTED) abort();
    check_shown(ci_status_message());
}

/* In other words than the Hub's rule has. */
static void check_path(const char *path) {
    check_shown(path);
    if (!*path || *path == '/' || strchr(path, '\\')) abort();
    for (const char *part = path; part; part = strchr(part, '/') ? strchr(part, '/') + 1 : NULL) {
        size_t length = strcspn(part, "/");
        if (!length || length > 255 || (length <= 2 && strspn(part, ".") == length)) abort();
    }
}

static void check_digits(const char *text, size_t length) {
    if (strlen(text) != length || strspn(text, "0123456789abcdef") != length) abort();
}

static void check_files(struct ci_hub_tree *tree) {
    ci_hub_tree_sort(tree);
    for (size_t i = 0; i < tree->count; i++) {
        check_path(tree->files[i].path);
        if (i && strcmp(tree->files[i - 1].path, tree->files[i].path) >= 0) abort();
        size_t digits = strlen(tree->files[i].digest);
        if (digits) check_digits(tree->files[i].digest, digits == 40 ? 40 : 64);
        if (tree->files[i].size != UINT64_MAX && tree->files[i].size > INT64_MAX) abort();
    }
    check_shown(tree->first_left_out);
    ci_hub_tree_free(tree);
}

/* Two pages, the same one again. */
static void check_tree(const char *text, size_t length) {
    struct ci_hub_tree tree = {.repo = "user/repo"};
    enum clinfer_status status = ci_hub_tree_parse(text, length, &tree);
    if (status == CLINFER_OK) status = ci_hub_tree_parse(text, length, &tree);
    if (status != CLINFER_OK) check_failure(status);
    check_files(&tree);
}

static void check_revision(const char *text, size_t length) {
    struct ci_hub_tree tree = {.repo = "user/repo"};
    enum clinfer_status status = ci_hub_revision_parse(text, length, true, &tree);
    if (status != CLINFER_OK)
        check_failure(status);
    else
        check_digits(tree.commit, 40);
    check_files(&tree);
}

static void check_refs(const char *text, size_t length) {
    static const char *const revisions[] = {"main", "v1.0", "refs/pr/1", ""};
    for (size_t i = 0; i < sizeof revisions / sizeof *revisions; i++) {
        char commit[41] = "";
        enum clinfer_status status = ci_hub_refs_parse(text, length, revisions[i], commit);
        if (status == CLINFER_OK)
            check_digits(commit, 40);
        else
            check_failure(status);
    }
}

static void check_manifest(const char *text, size_t length) {
    struct ci_ollama_manifest manifest;
    enum clinfer_status status = ci_ollama_manifest_parse("ollama:fuzz", text, length, &manifest);
    if (status != CLINFER_OK)
        check_failure(status);
    else
        check_digits(manifest.digest, 64);
}

static void check_headers(const char *text, size_t length) {
    char *header = malloc(length + 1);
    if (!header) abort();
    memcpy(header, text, length);
    header[length] = 0;
    char *next = NULL, *token = ci_ollama_token_url(header);
    if (ci_hub_next_link(header, &next) != CLINFER_OK) abort();
    if (token && strncasecmp(token, "http://", 7) != 0 && strncasecmp(token, "https://", 8) != 0) abort();
    char *encoded = ci_hub_encode(header, false);
    if (encoded && encoded[strspn(encoded, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~/%")])
        abort();
    free(encoded);
    free(next);
    free(token);
    free(header);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static void (*const checks[])(const char *, size_t) = {check_tree, check_refs, check_manifest, check_headers,
                                                           check_revision};
    if (size == 0) return 0;
    char *text = malloc(size); /* of its own, so that AddressSanitizer sees its end */
    if (!text) return 0;
    memcpy(text, data + 1, size - 1);
    checks[data[0] % (sizeof checks / sizeof *checks)](text, size - 1);
    free(text);
    return 0;
}
