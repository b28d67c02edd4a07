#define _GNU_SOURCE
#include "cli/serve_flags.h"

#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/file.h"
#include "base/status.h"
#include "server/notify.h"

enum { KEY_FILE_BYTES = 1 << 20, PEM_BYTES = 1 << 20 };

bool ci_serve_add_parts(char ***parts, size_t *count, const char *text, const char *separators) {
    while (*text) {
        size_t length = strcspn(text, separators);
        while (length && *text == ' ') text++, length--;
        size_t kept = length;
        while (kept && text[kept - 1] == ' ') kept--;
        if (kept) {
            char **grown = realloc(*parts, (*count + 1) * sizeof *grown);
            if (!grown) return false;
            *parts = grown;
            if (!(grown[*count] = strndup(text, kept))) return false;
            ++*count;
        }
        text += length + (text[length] != 0);
    }
    return true;
}

static enum clinfer_status no_memory(void) {
    return ci_fail(CLINFER_OUT_OF_MEMORY, "out of memory for the command line");
}

static enum clinfer_status read_hosts(struct ci_serve_flags *flags, struct ci_server_options *options) {
    for (size_t i = 0; i < flags->hosts.count; i++)
        if (!ci_serve_add_parts(&flags->host_parts, &flags->host_count, flags->hosts.items[i], ",")) return no_memory();
    options->hosts = (const char *const *)flags->host_parts;
    options->host_count = flags->host_count;
    options->sockets = flags->sockets;
    options->socket_count = (size_t)ci_notify_sockets(flags->sockets, CI_SERVE_SOCKETS);
    return CLINFER_OK;
}

static enum clinfer_status add_keys(struct ci_serve_flags *flags, const char *text, const char *separators) {
    char **parts = NULL;
    size_t count = 0;
    bool added = ci_serve_add_parts(&parts, &count, text, separators);
    struct ci_server_key *keys = realloc(flags->server_keys, (flags->key_count + count + 1) * sizeof *keys);
    if (keys) flags->server_keys = keys;
    for (size_t i = 0; i < count; i++) {
        if (keys && added && parts[i][0] != '#')
            keys[flags->key_count++].text = parts[i];
        else
            free(parts[i]);
    }
    free(parts);
    return keys && added ? CLINFER_OK : no_memory();
}

static void free_keys(struct ci_serve_flags *flags) {
    for (size_t i = 0; i < flags->key_count; i++) free((char *)(uintptr_t)flags->server_keys[i].text);
    free(flags->server_keys);
    free(flags->key_names);
    free(flags->key_text);
    flags->server_keys = NULL;
    flags->key_names = NULL;
    flags->key_text = NULL;
    flags->key_count = 0;
}

enum clinfer_status ci_serve_flags_read_keys(struct ci_serve_flags *flags) {
    enum clinfer_status status = CLINFER_OK;
    const char *variable = getenv("CLINFER_API_KEY");
    size_t length;
    struct stat found;
    free_keys(flags);
    for (size_t i = 0; i < flags->keys.count && status == CLINFER_OK; i++)
        status = add_keys(flags, flags->keys.items[i], ",");
    if (status == CLINFER_OK && variable && !flags->keys.count) status = add_keys(flags, variable, ",");
    if (status == CLINFER_OK && flags->key_file) {
        status = ci_file_read(flags->key_file, KEY_FILE_BYTES, &flags->key_text, &length);
        if (status == CLINFER_OK) status = add_keys(flags, flags->key_text, "\r\n");
        if (status == CLINFER_OK && !flags->key_count)
            status = ci_fail(CLINFER_BAD_FILE, "%s: there is no key in it", flags->key_file);
        if (status != CLINFER_OK) return ci_fail_prefix(status, "--api-key-file");
        if (stat(flags->key_file, &found) == 0 && (found.st_mode & 0077))
            ci_warn("--api-key-file %s: others can read it; chmod 600 keeps the keys secret", flags->key_file);
    }
    if (status != CLINFER_OK) return status;
    flags->key_names = calloc(flags->key_count + 1, sizeof *flags->key_names);
    if (!flags->key_names) return no_memory();
    for (size_t i = 0; i < flags->key_count; i++) {
        snprintf(flags->key_names[i], sizeof flags->key_names[i], "key %zu", i + 1);
        flags->server_keys[i].name = flags->key_names[i];
    }
    return CLINFER_OK;
}

static enum clinfer_status read_certificate(struct ci_serve_flags *flags, struct ci_server_options *options) {
    size_t length;
    if (!flags->certificate_file && !flags->certificate_key_file) return CLINFER_OK;
    if (!flags->certificate_file || !flags->certificate_key_file)
        return ci_fail(CLINFER_INVALID_ARGUMENT, "TLS needs both --ssl-cert-file and --ssl-key-file");
    enum clinfer_status status = ci_file_read(flags->certificate_file, PEM_BYTES, &flags->certificate, &length);
    if (status == CLINFER_OK)
        status = ci_file_read(flags->certificate_key_file, PEM_BYTES, &flags->certificate_key, &length);
    options->certificate = flags->certificate;
    options->certificate_key = flags->certificate_key;
    return status;
}

static void say_ignored(const struct ci_serve_flags *flags) {
    if (flags->ignored.count || flags->ignored_flag || flags->media_path)
        ci_say("some flags of llama-server have no meaning here and change nothing (clinfer serve --help says which)");
}

static void copy_rest(const struct ci_serve_flags *flags, struct ci_server_options *options) {
    static const char *const formats[] = {"auto", "deepseek", "none", "deepseek-legacy"};
    static const char *const reasoning[] = {"on", "off", "auto"};
    options->port = (int)flags->port;
    options->prefix = flags->prefix;
    options->names = flags->names.items;
    options->name_count = flags->names.count;
    options->origins = flags->origins;
    options->model_changes = flags->model_changes;
    options->most_connections = (int)flags->connections;
    options->most_body = (size_t)flags->body_mb << 20;
    options->queue = (int)flags->queue;
    options->timeout = (double)flags->timeout;
    options->ping = flags->ping > 0 ? (double)flags->ping : -1;
    options->log_path = flags->log_jsonl;
    options->parallel = flags->parallel ? (int)flags->parallel : 4;
    options->context = (int)flags->engine.context;
    options->predict = (int)flags->predict;
    options->batch = (int)flags->engine.batch;
    options->alias = flags->alias;
    options->tags = flags->tags;
    options->slot_save_path = flags->slot_save_path;
    options->chat_template = flags->engine.chat_template;
    options->media_path = flags->media_path;
    options->slots = !flags->no_slots;
    options->metrics = flags->metrics;
    options->props = flags->props;
    options->verbose = flags->log.verbose > 0;
    options->web_page = flags->web_page;
    options->embeddings = flags->embeddings;
    options->reranking = flags->reranking;
    options->shift = flags->shift;
    options->jinja = !flags->no_jinja;
    options->reasoning_format = formats[flags->reasoning_format];
    options->reasoning = reasoning[flags->reasoning];
    options->pooling = flags->pooling;
    options->offline = flags->engine.from.offline;
}

enum clinfer_status ci_serve_flags_read(struct ci_serve_flags *flags, struct ci_server_options *options) {
    *options = (struct ci_server_options){0};
    /* As llama-server: -c is what all slots have together, unless nobody said how many there are. */
    if (flags->parallel && flags->engine.context && !flags->unified) {
        flags->engine.context /= flags->parallel;
        if (!flags->engine.context)
            return ci_fail(CLINFER_INVALID_ARGUMENT, "-c is too little for -np %lld", flags->parallel);
    }
    if (flags->prefix && (flags->prefix[0] != '/' || flags->prefix[strlen(flags->prefix) - 1] == '/'))
        return ci_fail(CLINFER_INVALID_ARGUMENT, "--api-prefix %s: must begin with / and not end with one",
                       flags->prefix);
    enum clinfer_status status = read_hosts(flags, options);
    if (status == CLINFER_OK) status = ci_serve_flags_read_keys(flags);
    options->keys = flags->server_keys;
    options->key_count = flags->key_count;
    if (status == CLINFER_OK) status = read_certificate(flags, options);
    if (status == CLINFER_OK) status = ci_sampling_flags_read(&flags->sampling, false, &options->sampling);
    /* Each request draws its own, where neither it nor the command line says one. */
    if (flags->sampling.seed < 0) options->sampling.seed = UINT64_MAX;
    options->sampling.shift = flags->shift;
    copy_rest(flags, options);
    say_ignored(flags);
    return status;
}

void ci_serve_flags_free(struct ci_serve_flags *flags) {
    for (size_t i = 0; i < flags->host_count; i++) free(flags->host_parts[i]);
    free(flags->host_parts);
    free_keys(flags);
    free(flags->certificate);
    free(flags->certificate_key);
    ci_texts_free(&flags->hosts);
    ci_texts_free(&flags->keys);
    ci_texts_free(&flags->names);
    ci_texts_free(&flags->ignored);
    ci_sampling_flags_free(&flags->sampling);
}
