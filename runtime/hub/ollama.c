/* ollama.c: see ollama.h. The model goes into the models folder (pull.h says why); templates and parameters of the
 * manifest are left, since the GGUF file has its own. */
#define _GNU_SOURCE
#include "hub/ollama.h"

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/append.h"
#include "base/status.h"
#include "hub/place.h"
#include "hub/pull_private.h"

#define MEDIA "application/vnd.ollama.image."

enum { MAX_MANIFEST = 1 << 20, MAX_TOKEN = 8192 };

static const char accept_manifest[] = "Accept: application/vnd.docker.distribution.manifest.v2+json";

/* ---- manifests ---- */

static bool is_sha256(const char *text) {
    size_t length = strspn(text, "0123456789abcdef");
    return length == 64 && !text[64];
}

/* One layer; *models counts those with weights. */
static bool read_layer(const json_t *layer, struct ci_ollama_manifest *manifest, int *models, bool *adapter) {
    const char *type = json_string_value(json_object_get(layer, "mediaType"));
    const char *digest = json_string_value(json_object_get(layer, "digest"));
    const json_t *size = json_object_get(layer, "size");
    if (!type || !digest || strncmp(digest, "sha256:", 7) != 0 || !is_sha256(digest + 7) || !json_is_integer(size) ||
        json_integer_value(size) < 0)
        return false;
    if (strcmp(type, MEDIA "adapter") == 0) *adapter = true;
    if (strcmp(type, MEDIA "projector") == 0) manifest->has_projector = true;
    if (strcmp(type, MEDIA "model") != 0) return true;
    ++*models;
    snprintf(manifest->digest, sizeof manifest->digest, "%s", digest + 7);
    manifest->size = (uint64_t)json_integer_value(size);
    return true;
}

static enum clinfer_status read_manifest(const char *what, const json_t *top, struct ci_ollama_manifest *manifest) {
    const json_t *layers = json_object_get(top, "layers"), *layer;
    size_t index;
    int models = 0;
    bool adapter = false, fine = json_is_array(layers);
    json_array_foreach(layers, index, layer) fine = fine && read_layer(layer, manifest, &models, &adapter);
    if (!fine)
        return ci_fail(CLINFER_REMOTE_FAILED,
                       "%s: what the server sent is no manifest of a model (layers with mediaType, digest and size are "
                       "missing); is it a registry of Ollama models?",
                       what);
    if (models == 0)
        return ci_fail(CLINFER_UNSUPPORTED,
                       "%s: there are no weights in it as a GGUF file; choose another model or tag", what);
    if (models > 1)
        return ci_fail(
            CLINFER_UNSUPPORTED,
            "%s: its weights are in %d files, and only Ollama knows how they belong together; choose another tag", what,
            models);
    if (adapter)
        return ci_fail(CLINFER_UNSUPPORTED,
                       "%s: it is a model and an adapter (LoRA), which clinfer does not apply; choose a model without",
                       what);
    return CLINFER_OK;
}

enum clinfer_status ci_ollama_manifest_parse(const char *what, const char *text, size_t length,
                                             struct ci_ollama_manifest *manifest) {
    json_error_t error;
    *manifest = (struct ci_ollama_manifest){0};
    json_t *top = json_loadb(text, length, JSON_REJECT_DUPLICATES, &error);
    enum clinfer_status status = read_manifest(what, top, manifest);
    json_decref(top);
    if (status != CLINFER_OK) *manifest = (struct ci_ollama_manifest){0};
    return status;
}

/* ---- tokens ---- */

/* The value of name="value" among others, separated by commas; false: it is not there. */
static bool parameter_of(const char *header, const char *name, char *value, size_t size) {
    size_t length = strlen(name), used = 0;
    for (const char *at = strcasestr(header, name); at; at = strcasestr(at + 1, name)) {
        if ((at != header && !strchr(" ,", at[-1])) || at[length] != '=' || at[length + 1] != '"') continue;
        for (const char *c = at + length + 2; *c && *c != '"' && used + 1 < size; c++) value[used++] = *c;
        value[used] = 0;
        return at[length + 2 + used] == '"';
    }
    return false;
}

char *ci_ollama_token_url(const char *header) {
    char realm[1024], service[256] = "", scope[512] = "", *url = NULL;
    if (strncasecmp(header, "Bearer ", 7) != 0 || !parameter_of(header + 7, "realm", realm, sizeof realm)) return NULL;
    if (!ci_hub_is_url(realm)) return NULL;
    parameter_of(header + 7, "service", service, sizeof service);
    parameter_of(header + 7, "scope", scope, sizeof scope);
    char *encoded[] = {ci_hub_encode(service, true), ci_hub_encode(scope, true)};
    if (encoded[0] && encoded[1] &&
        asprintf(&url, "%s%sservice=%s&scope=%s", realm, strchr(realm, '?') ? "&" : "?", encoded[0], encoded[1]) < 0)
        url = NULL;
    free(encoded[0]);
    free(encoded[1]);
    return url;
}

/* "Bearer ..." into `text`; whoever asks gets one, so it is a secret of nobody. */
static enum clinfer_status fetch_token(struct ci_hub *hub, const char *base, const char *what, const char *header,
                                       char text[MAX_TOKEN]) {
    char *url = header ? ci_ollama_token_url(header) : NULL;
    /* What was asked over https is not to be answered in the clear. */
    if (!url || (strncasecmp(base, "https:", 6) == 0 && strncasecmp(url, "https:", 6) != 0)) {
        free(url);
        return ci_fail(
            CLINFER_REFUSED,
            "%s: the registry wants a login that is none of Ollama's public models; pull it with `ollama pull`, "
            "and clinfer finds it in Ollama's store",
            what);
    }
    struct ci_hub_reply reply = {0};
    json_error_t error;
    const struct ci_hub_question question = {.url = url, .what = what, .most = MAX_TOKEN};
    enum clinfer_status status = ci_hub_ask(hub, &question, &reply);
    json_t *top = status == CLINFER_OK ? json_loadb(reply.body, reply.length, 0, &error) : NULL;
    const char *token = json_string_value(json_object_get(top, "token"));
    if (!token) token = json_string_value(json_object_get(top, "access_token"));
    bool fine = token && *token && strlen(token) < MAX_TOKEN - 8 && !token[strcspn(token, " \r\n\t")];
    if (fine) snprintf(text, MAX_TOKEN, "Bearer %s", token);
    if (status == CLINFER_OK && !fine)
        status = ci_fail(CLINFER_REMOTE_FAILED, "%s: the registry gave no token to read with; try again later", what);
    json_decref(top);
    ci_hub_reply_free(&reply);
    free(url);
    return status;
}

/* ---- the pull ---- */

static char *base_of(const struct ci_hub *hub, const struct ci_hub_name *name) {
    char *base = NULL;
    if (!name->host[0]) return strdup(hub->settings->registry);
    bool here = strncmp(name->host, "localhost", 9) == 0 || strncmp(name->host, "127.0.0.1", 9) == 0;
    return asprintf(&base, "%s://%s", here ? "http" : "https", name->host) < 0 ? NULL : base;
}

static enum clinfer_status ask_manifest(struct ci_hub *hub, const char *base, const struct ci_hub_name *name,
                                        const char *what, char authorization[MAX_TOKEN],
                                        struct ci_ollama_manifest *manifest) {
    const char *const headers[] = {accept_manifest, NULL};
    char *url = NULL;
    if (asprintf(&url, "%s/v2/%s/manifests/%s", base, name->repo, name->tag) < 0)
        return ci_fail(CLINFER_OUT_OF_MEMORY, "%s: out of memory", what);
    struct ci_hub_question question = {.url = url, .what = what, .headers = headers, .most = MAX_MANIFEST};
    struct ci_hub_reply reply = {0};
    enum clinfer_status status = ci_hub_ask(hub, &question, &reply);
    if (status != CLINFER_OK && reply.fetch && ci_fetch_status(reply.fetch) == 401) {
        status = fetch_token(hub, base, what, ci_fetch_header(reply.fetch, "WWW-Authenticate"), authorization);
        ci_hub_reply_free(&reply);
        question.authorization = authorization;
        if (status == CLINFER_OK) status = ci_hub_ask(hub, &question, &reply);
    }
    if (status == CLINFER_OK) status = ci_ollama_manifest_parse(what, reply.body, reply.length, manifest);
    ci_hub_reply_free(&reply);
    free(url);
    return status;
}

static enum clinfer_status place(struct ci_hub *hub, const char *base, const struct ci_hub_name *name, const char *what,
                                 const char *authorization, const struct ci_ollama_manifest *manifest,
                                 struct ci_hub_pulled *pulled) {
    char *url = NULL, *target = ci_hub_pull_target(hub->settings, name);
    if (asprintf(&url, "%s/v2/%s/blobs/sha256:%s", base, name->repo, manifest->digest) < 0) url = NULL;
    enum clinfer_status status;
    if (!hub->settings->models)
        status = ci_fail(CLINFER_IO, "%s: there is no models folder: neither XDG_DATA_HOME nor HOME is set", what);
    else if (!url || !target)
        status = ci_fail(CLINFER_OUT_OF_MEMORY, "%s: out of memory", what);
    else {
        const struct ci_hub_placing placing = {.url = url,
                                               .authorization = *authorization ? authorization : NULL,
                                               .name = what,
                                               .source = what,
                                               .digest = manifest->digest,
                                               .etag = "",
                                               .size = manifest->size,
                                               .target = target};
        if (manifest->has_projector)
            ci_hub_say(hub, true,
                       "%s reads pictures, too: that part (the projector) is left out, clinfer runs the text", what);
        status = ci_hub_place(hub, &placing, pulled);
    }
    if (status == CLINFER_OK) status = ci_hub_pulled_set(pulled, what, target);
    free(url);
    free(target);
    return status;
}

enum clinfer_status ci_hub_pull_ollama(struct ci_hub *hub, const struct ci_hub_name *name,
                                       struct ci_hub_pulled *pulled) {
    char what[512], authorization[MAX_TOKEN] = "";
    struct ci_ollama_manifest manifest;
    ci_hub_name_text(name, what, sizeof what);
    char *base = base_of(hub, name);
    if (!base) return ci_fail(CLINFER_OUT_OF_MEMORY, "%s: out of memory", what);
    enum clinfer_status status = ask_manifest(hub, base, name, what, authorization, &manifest);
    if (status == CLINFER_OK) status = place(hub, base, name, what, authorization, &manifest, pulled);
    /* An unreachable registry: Ollama's own store, or what was pulled before. */
    if (status == CLINFER_REMOTE_FAILED) {
        char *reason = strdup(ci_status_message());
        if (ci_hub_pull_offline(hub, name, pulled) == CLINFER_OK) {
            ci_hub_say(hub, true, "%s; what is here from before is used",
                       reason ? reason : "the registry cannot be asked");
            status = CLINFER_OK;
        } else {
            status = ci_fail(CLINFER_REMOTE_FAILED, "%s", reason ? reason : "the registry cannot be asked");
        }
        free(reason);
    }
    free(base);
    return status;
}
