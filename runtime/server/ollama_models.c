/* ollama_models.c: which models there are, as Ollama tells it, and the routes that copy and delete them.
 *
 * What a list says comes from the file system alone, so that hundreds of models are listed in no time; `show` opens the
 * file. */
#define _GNU_SOURCE
#include "server/ollama.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/arena.h"
#include "base/hash.h"
#include "base/status.h"
#include "format/gguf.h"
#include "hub/quant.h"
#include "hub/settings.h"
#include "model/source.h"
#include "server/model_delete.h"
#include "server/ollama_read.h"
#include "server/pool.h"
#include "server/server.h"
#include "text/utf8_json.h"

static void fail_with(struct ci_exchange *exchange, enum clinfer_status status) {
    struct ci_failure failure = ci_failure_of_status(status, clinfer_error());
    ci_exchange_fail(exchange, &failure);
}

static struct ci_pool *pool_of(struct ci_exchange *exchange) { return ci_server_pool(ci_exchange_server(exchange)); }

/* ---- names ---- */

static bool is_known(struct ci_exchange *exchange, const char *name) {
    struct ci_pool_info *info = NULL;
    bool known = ci_pool_find(pool_of(exchange), name, &info) == CLINFER_OK;
    free(info);
    return known;
}

const char *ci_ollama_real_name(struct ci_exchange *exchange, const char *name) {
    static const char latest[] = ":latest", *const forms[] = {"%.*s", "ollama:%s", "ollama:%s:latest"};
    size_t length = strlen(name), end = sizeof latest - 1;
    char *made = NULL;
    if (is_known(exchange, name)) return name;
    for (size_t i = 0; i < sizeof forms / sizeof *forms; i++) {
        bool shortened = i == 0 && length > end && strcmp(name + length - end, latest) == 0;
        if (i == 0 && !shortened) continue;
        int wrote = i == 0   ? asprintf(&made, "%.*s", (int)(length - end), name)
                    : i == 1 ? asprintf(&made, "ollama:%s", name)
                             : asprintf(&made, "ollama:%s:latest", name);
        if (wrote < 0) return name;
        const char *kept =
            is_known(exchange, made) ? ci_arena_string(ci_exchange_arena(exchange), made, (size_t)wrote) : NULL;
        free(made);
        if (kept) return kept;
    }
    return name;
}

const char *ci_ollama_named(struct ci_exchange *exchange) {
    const json_t *body = ci_exchange_json(exchange);
    const char *name = body ? ci_ollama_model(body) : NULL;
    if (body && !name) ci_exchange_refuse(exchange, "model", "model is required");
    return name;
}

/* With a tag, as Ollama has it. */
static json_t *name_json(const char *name) {
    char *made = NULL;
    const char *slash = strrchr(name, '/'), *base = slash ? slash + 1 : name;
    if (strncmp(base, "ollama:", 7) == 0) base += 7;
    if (asprintf(&made, "%s%s", name, strchr(base, ':') ? "" : ":latest") < 0) return ci_ollama_text(name);
    json_t *value = ci_ollama_text(made);
    free(made);
    return value;
}

/* ---- lists ---- */

/* "134.5M", "1.5B"; "" where it is not known. */
static const char *parameters_text(uint64_t parameters, char text[32]) {
    double count = (double)parameters;
    if (!parameters)
        *text = 0;
    else if (count >= 1e9)
        snprintf(text, 32, "%.1fB", count / 1e9);
    else
        snprintf(text, 32, "%.2fM", count / 1e6);
    return text;
}

static json_t *details_json(const char *path, const char *family, uint64_t parameters) {
    char quant[CI_HUB_QUANT_BYTES], size[32];
    size_t length = strlen(path);
    bool gguf = length > 5 && strcmp(path + length - 5, ".gguf") == 0;
    return json_pack("{s:s, s:s, s:s, s:o, s:s, s:s}", "parent_model", "", "format",
                     gguf || !*path ? "gguf" : "safetensors", "family", family, "families",
                     *family ? json_pack("[s]", family) : json_array(), "parameter_size",
                     parameters_text(parameters, size), "quantization_level", ci_hub_quant_of(path, quant));
}

/* Ollama's own program shows the first twelve digits and ends itself where there are fewer. Its digest is that of a
 * manifest, which is the same as long as the model is: of a file whose bytes nobody has summed up this says as much. */
static const char *digest_of(const struct ci_pool_info *info, char made[65]) {
    uint64_t hash = CI_HASH_START;
    if (*info->digest) return info->digest;
    hash = ci_hash(hash, info->path, strlen(info->path));
    hash = ci_hash(hash, &info->bytes, sizeof info->bytes);
    hash = ci_hash(hash, &info->modified, sizeof info->modified);
    for (int i = 0; i < 4; i++) {
        hash = ci_hash(hash, &i, sizeof i);
        snprintf(made + (size_t)i * 16, 17, "%016" PRIx64, hash);
    }
    return made;
}

static json_t *model_json(const struct ci_pool_info *info) {
    char modified[CI_OLLAMA_TIME_BYTES], digest[65];
    return json_pack("{s:o, s:o, s:s, s:I, s:s, s:o}", "name", name_json(info->name), "model", name_json(info->name),
                     "modified_at", ci_ollama_time(info->modified, modified), "size", (json_int_t)info->bytes, "digest",
                     digest_of(info, digest), "details", details_json(info->path, "", info->facts.parameters));
}

/* Of one that stays for ever, in a hundred years: a time is what clients read. */
static const char *expiry(const struct ci_pool_info *info, char text[CI_OLLAMA_TIME_BYTES]) {
    const double century = 3.2e9;
    return ci_ollama_time(
        time(NULL) + (int64_t)(info->expires < 0 || info->expires > century ? century : info->expires), text);
}

static void list(struct ci_exchange *exchange, bool loaded) {
    struct ci_pool_info *infos = NULL;
    size_t count = 0;
    enum clinfer_status status = ci_pool_list(pool_of(exchange), &infos, &count);
    if (status != CLINFER_OK) {
        fail_with(exchange, status);
        return;
    }
    json_t *models = json_array();
    for (size_t i = 0; i < count; i++) {
        const struct ci_pool_info *info = &infos[i];
        char expires[CI_OLLAMA_TIME_BYTES];
        if (info->hidden || (loaded && info->state != CI_POOL_LOADED)) continue;
        json_t *model = model_json(info);
        if (loaded) {
            json_object_set_new(model, "size", json_integer((json_int_t)info->facts.bytes));
            json_object_set_new(model, "expires_at", json_string(expiry(info, expires)));
            json_object_set_new(model, "size_vram", json_integer(0));
            json_object_set_new(model, "context_length", json_integer(info->facts.context));
        }
        json_array_append_new(models, model);
    }
    free(infos);
    ci_reply_json(exchange, 200, json_pack("{s:o}", "models", models));
}

void ci_ollama_tags(struct ci_exchange *exchange) { list(exchange, false); }
void ci_ollama_ps(struct ci_exchange *exchange) { list(exchange, true); }

/* ---- show ---- */

static json_t *gguf_text(struct ci_gguf_string text) { return ci_utf8_json(text.text, text.length); }

/* Arrays, of which the vocabulary is one, are null. */
static json_t *value_json(const struct ci_gguf_value *value) {
    if (value->type == CI_GGUF_ARRAY) return json_null();
    if (value->type == CI_GGUF_STRING) return gguf_text(ci_gguf_string_at(value, 0));
    if (value->type == CI_GGUF_BOOL) return json_boolean(ci_gguf_bool_at(value, 0));
    if (ci_gguf_type_is_integer(value->type)) return json_integer(ci_gguf_integer_at(value, 0));
    json_t *number = json_real(ci_gguf_float_at(value, 0));
    return number ? number : json_null(); /* not finite */
}

static uint64_t parameter_count(const struct ci_gguf *gguf) {
    uint64_t sum = 0;
    for (size_t i = 0; i < ci_gguf_tensor_count(gguf); i++) {
        const struct ci_gguf_tensor *tensor = ci_gguf_tensor_at(gguf, i);
        sum += tensor->dims[0] * tensor->dims[1] * tensor->dims[2] * tensor->dims[3];
    }
    return sum;
}

static struct ci_gguf_string text_of(const struct ci_gguf *gguf, const char *key) {
    struct ci_gguf_string text = {"", 0};
    if (ci_gguf_get_string(gguf, key, CI_GGUF_OPTIONAL, &text) != CLINFER_OK) text = (struct ci_gguf_string){"", 0};
    return text;
}

static json_t *info_json(const struct ci_gguf *gguf) {
    json_t *info = json_object();
    for (size_t i = 0; i < ci_gguf_value_count(gguf); i++) {
        const struct ci_gguf_value *value = ci_gguf_value_at(gguf, i);
        if (strcmp(value->key, "tokenizer.chat_template") != 0)
            json_object_set_new(info, value->key, value_json(value));
    }
    json_object_set_new(info, "general.parameter_count", json_integer((json_int_t)parameter_count(gguf)));
    return info;
}

static bool has(struct ci_gguf_string text, const char *word) {
    return memmem(text.text, text.length, word, strlen(word)) != NULL;
}

/* Tools can be called whatever the template knows: where it shows none a message of the system does. */
static json_t *capabilities_json(const struct ci_gguf *gguf, const char *architecture) {
    struct ci_gguf_string template = text_of(gguf, "tokenizer.chat_template");
    char pooling[96];
    snprintf(pooling, sizeof pooling, "%.64s.pooling_type", architecture);
    json_t *capabilities = json_array();
    if (ci_gguf_find(gguf, pooling)) {
        json_array_append_new(capabilities, json_string("embedding"));
        return capabilities;
    }
    json_array_append_new(capabilities, json_string("completion"));
    json_array_append_new(capabilities, json_string("tools"));
    if (ci_gguf_find(gguf, "tokenizer.ggml.fim_pre_token_id") || ci_gguf_find(gguf, "tokenizer.ggml.prefix_token_id"))
        json_array_append_new(capabilities, json_string("insert"));
    if (has(template, "<think>") || has(template, "enable_thinking") || has(template, "reasoning_effort"))
        json_array_append_new(capabilities, json_string("thinking"));
    return capabilities;
}

/* Lines "name   value", which clients take apart; and the same as Modelfiles have them. */
static json_t *parameters_json(const struct ci_gguf *gguf, const char *before) {
    static const struct {
        const char *key, *name;
    } known[] = {{"general.sampling.temp", "temperature"},
                 {"general.sampling.top_k", "top_k"},
                 {"general.sampling.top_p", "top_p"},
                 {"general.sampling.min_p", "min_p"},
                 {"general.sampling.penalty_repeat", "repeat_penalty"}};
    char text[512] = "";
    size_t used = 0;
    for (size_t i = 0; i < sizeof known / sizeof *known; i++) {
        float number = 0;
        if (!ci_gguf_find(gguf, known[i].key) ||
            ci_gguf_get_number(gguf, known[i].key, CI_GGUF_OPTIONAL, &number) != CLINFER_OK)
            continue;
        int wrote = snprintf(text + used, sizeof text - used, "%s%s%-30s %g", used ? "\n" : "", before, known[i].name,
                             (double)number);
        if (wrote > 0 && (size_t)wrote < sizeof text - used) used += (size_t)wrote;
    }
    return json_string(text);
}

static json_t *show_json(const struct ci_gguf *gguf, const struct ci_pool_info *info) {
    char modified[CI_OLLAMA_TIME_BYTES], architecture[65];
    struct ci_gguf_string said = text_of(gguf, "general.architecture");
    snprintf(architecture, sizeof architecture, "%.*s", (int)(said.length < 64 ? said.length : 64), said.text);
    json_t *of_file = parameters_json(gguf, "PARAMETER ");
    char *modelfile = NULL;
    if (asprintf(&modelfile, "FROM %s\n%s", info->name, json_string_value(of_file)) < 0) modelfile = NULL;
    json_decref(of_file);
    json_t *show = json_pack(
        "{s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:s}", "license", gguf_text(text_of(gguf, "general.license")), "modelfile",
        ci_ollama_text(modelfile), "parameters", parameters_json(gguf, ""), "template",
        gguf_text(text_of(gguf, "tokenizer.chat_template")), "details",
        details_json(info->path, architecture, parameter_count(gguf)), "model_info", info_json(gguf), "capabilities",
        capabilities_json(gguf, architecture), "modified_at", ci_ollama_time(info->modified, modified));
    free(modelfile);
    return show;
}

/* NULL: it is none that this server knows, and the exchange has been answered. */
static struct ci_pool_info *find(struct ci_exchange *exchange, const char *name) {
    struct ci_pool_info *info = NULL;
    enum clinfer_status status = ci_pool_find(pool_of(exchange), ci_ollama_real_name(exchange, name), &info);
    if (status == CLINFER_OK) return info;
    fail_with(exchange, status);
    return NULL;
}

void ci_ollama_show(struct ci_exchange *exchange) {
    struct ci_gguf *gguf = NULL;
    const char *name = ci_ollama_named(exchange);
    struct ci_pool_info *info = name ? find(exchange, name) : NULL;
    if (!info) return;
    enum clinfer_status status = ci_source_open(info->path, NULL, &gguf);
    if (status == CLINFER_OK)
        ci_reply_json(exchange, 200, show_json(gguf, info));
    else
        fail_with(exchange, status);
    ci_gguf_close(gguf);
    free(info);
}

/* ---- delete ---- */

void ci_ollama_delete(struct ci_exchange *exchange) {
    const char *name = ci_ollama_named(exchange);
    struct ci_pool_info *info = name ? find(exchange, name) : NULL;
    if (!info) return;
    enum clinfer_status status = ci_model_delete(exchange, name, info);
    if (status == CLINFER_OK)
        ci_reply_bytes(exchange, 200, "text/plain; charset=utf-8", "", 0);
    else
        fail_with(exchange, status);
    free(info);
}

/* ---- copy ---- */

/* What it will be called in the models folder, without ".gguf"; false: it can be no name there. */
static bool copy_name(const char *wanted, char *name, size_t size) {
    static const char latest[] = ":latest";
    size_t length = strlen(wanted), end = sizeof latest - 1;
    if (length > end && strcmp(wanted + length - end, latest) == 0) length -= end;
    if (!length || length >= size || *wanted == '.') return false;
    memcpy(name, wanted, length);
    name[length] = 0;
    return !strpbrk(name, "/:\\") && !strchr(name, '\n');
}

/* Another name of the same file: a link in the models folder. */
static enum clinfer_status link_copy(const char *source, const char *name) {
    struct ci_hub_settings settings;
    char *target = NULL, *real = realpath(source, NULL);
    size_t length = strlen(source);
    const char *ending = length > 5 && strcmp(source + length - 5, ".gguf") == 0 ? ".gguf" : "";
    enum clinfer_status status = ci_hub_settings_read(&settings);
    if (status == CLINFER_OK && !real)
        status = ci_fail(CLINFER_NOT_FOUND, "the file of the model that is to be copied is not there");
    else if (status == CLINFER_OK && !settings.models)
        status = ci_fail(CLINFER_IO, "there is no models folder, since there is no home");
    if (status == CLINFER_OK && asprintf(&target, "%s/%s%s", settings.models, name, ending) < 0) {
        target = NULL;
        status = ci_fail(CLINFER_OUT_OF_MEMORY, "out of memory");
    }
    if (status == CLINFER_OK && symlink(real, target) != 0)
        status = ci_fail(errno == EEXIST ? CLINFER_INVALID_ARGUMENT : CLINFER_IO, "%s: %s", name, strerror(errno));
    free(target);
    free(real);
    ci_hub_settings_free(&settings);
    return status;
}

void ci_ollama_copy(struct ci_exchange *exchange) {
    char name[200];
    const json_t *body = ci_exchange_json(exchange);
    const char *source = json_string_value(json_object_get(body, "source"));
    const char *destination = json_string_value(json_object_get(body, "destination"));
    if (!body) return;
    if (!source || !destination || !copy_name(destination, name, sizeof name)) {
        ci_exchange_refuse(exchange, source ? "destination" : "source",
                           "source and destination: must be names of models; the second one without '/' and tag");
        return;
    }
    struct ci_pool_info *info = find(exchange, source);
    if (!info) return;
    enum clinfer_status status = link_copy(info->path, name);
    if (status == CLINFER_OK)
        ci_reply_bytes(exchange, 200, "text/plain; charset=utf-8", "", 0);
    else
        fail_with(exchange, status);
    free(info);
}
