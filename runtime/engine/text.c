/* text.c: the public face of tokenizer, templates and devices. */
#define _GNU_SOURCE
#include <stdlib.h>
#include <string.h>

#include "base/require.h"
#include "engine/engine_private.h"
#include "engine/runner.h"

enum clinfer_status clinfer_tokenize(const clinfer_engine *engine, const char *text, size_t length, bool add_begin,
                                     bool parse_special, int32_t **tokens, size_t *count) {
    CI_REQUIRE(engine, "engine");
    CI_REQUIRE(tokens, "tokens");
    CI_REQUIRE(count, "count");
    *tokens = NULL;
    *count = 0;
    if (length) CI_REQUIRE(text, "text");
    const struct ci_tokenizer *tokenizer = engine->tokenizer;
    int32_t begin = ci_tokenizer_bos(tokenizer);
    double start = ci_trace_start(engine->trace);
    enum clinfer_status status =
        ci_tokenizer_encode(tokenizer, text, length, parse_special ? CI_TOKENIZER_PARSE_SPECIAL : 0u, tokens, count);
    ci_trace_host(engine->trace, CI_TRACE_TOKENIZER, start);
    bool has_it = status == CLINFER_OK && *count && (*tokens)[0] == begin;
    if (status != CLINFER_OK || !add_begin || !ci_tokenizer_adds_bos(tokenizer) || has_it) return status;
    int32_t *grown = realloc(*tokens, (*count + 1) * sizeof *grown);
    if (!grown) {
        free(*tokens);
        *tokens = NULL;
        return ci_fail(CLINFER_OUT_OF_MEMORY, "out of memory for %zu tokens", *count);
    }
    memmove(grown + 1, grown, *count * sizeof *grown);
    grown[0] = begin;
    *tokens = grown;
    ++*count;
    return CLINFER_OK;
}

const char *clinfer_token_text(const clinfer_engine *engine, int32_t token, bool special, size_t *length) {
    size_t ignored;
    if (length) *length = 0;
    return engine ? ci_tokenizer_piece(engine->tokenizer, token, special, length ? length : &ignored) : "";
}

static json_t *token_string(const struct clinfer_engine *engine, int32_t token) {
    size_t length;
    const char *text = ci_tokenizer_piece(engine->tokenizer, token, true, &length);
    json_t *string = json_stringn(text, length);
    return string ? string : json_string("");
}

static enum clinfer_status contents(const struct clinfer_message *messages, size_t count, char **text) {
    size_t bytes = 1;
    for (size_t i = 0; i < count; i++) bytes += strlen(messages[i].content);
    char *out = malloc(bytes);
    if (!out) return ci_fail(CLINFER_OUT_OF_MEMORY, "out of memory for %zu bytes of prompt", bytes);
    *text = out;
    for (size_t i = 0; i < count; i++) out = stpcpy(out, messages[i].content);
    *out = 0;
    return CLINFER_OK;
}

enum clinfer_status clinfer_chat_prompt(const clinfer_engine *engine, const struct clinfer_message *messages,
                                        size_t count, bool add_generation_prompt, char **text) {
    CI_REQUIRE(text, "text");
    *text = NULL;
    CI_REQUIRE(engine, "engine");
    enum clinfer_status checked = ci_messages_check(messages, count);
    if (checked != CLINFER_OK) return checked;
    if (engine->chat_template_status != CLINFER_OK)
        return ci_fail(engine->chat_template_status, "%s: tokenizer.chat_template: %s; --raw does without it",
                       engine->options.model, engine->chat_template_message ? engine->chat_template_message : "");
    if (!engine->chat_template) return contents(messages, count, text);
    json_t *list = json_array();
    for (size_t i = 0; i < count; i++) {
        json_t *message = json_pack("{s:s, s:s}", "role", messages[i].role, "content", messages[i].content);
        if (!message) {
            json_decref(list);
            return ci_fail(CLINFER_INVALID_ARGUMENT,
                           "message %zu (%s) is not UTF-8, which the chat template needs; --raw takes any bytes", i,
                           messages[i].role);
        }
        json_array_append_new(list, message);
    }
    json_t *context =
        json_pack("{s:o, s:b, s:o, s:o, s:n, s:n}", "messages", list, "add_generation_prompt",
                  (int)add_generation_prompt, "bos_token", token_string(engine, ci_tokenizer_bos(engine->tokenizer)),
                  "eos_token", token_string(engine, ci_tokenizer_eos(engine->tokenizer)), "tools", "documents");
    if (!context) return ci_fail(CLINFER_OUT_OF_MEMORY, "out of memory for the chat template");
    double start = ci_trace_start(engine->trace);
    struct ci_rendered rendered;
    enum clinfer_status status = ci_template_render(engine->chat_template, context, NULL, &rendered);
    *text = rendered.text;
    free(rendered.runs);
    ci_trace_host(engine->trace, CI_TRACE_TOKENIZER, start);
    json_decref(context);
    return status == CLINFER_OK ? CLINFER_OK
                                : ci_fail_prefix(status, "%s: tokenizer.chat_template", engine->options.model);
}

void clinfer_free(void *memory) { free(memory); }

enum clinfer_status clinfer_devices(struct clinfer_device **devices, size_t *count) {
    struct ci_device_list list = {0};
    CI_REQUIRE(devices, "devices");
    CI_REQUIRE(count, "count");
    *devices = NULL;
    *count = 0;
    enum clinfer_status status = ci_device_list(&list);
    if (status != CLINFER_OK || list.count == 0) return status;
    /* The strings are borrowed from the list's caps, which lie behind the devices in the same block. */
    size_t caps_bytes = sizeof *list.caps * (size_t)list.count;
    struct clinfer_device *out = malloc(sizeof *out * (size_t)list.count + caps_bytes);
    if (!out) {
        ci_device_list_free(&list);
        return ci_fail(CLINFER_OUT_OF_MEMORY, "out of memory for the list of devices");
    }
    static const char *const kinds[] = {
        [CI_DEVICE_GPU] = "gpu", [CI_DEVICE_ACCELERATOR] = "accelerator", [CI_DEVICE_CPU] = "cpu"};
    struct ci_device_caps *caps = (struct ci_device_caps *)(void *)(out + list.count);
    memcpy(caps, list.caps, caps_bytes);
    for (int i = 0; i < list.count; i++)
        out[i] = (struct clinfer_device){.name = caps[i].name,
                                         .vendor = caps[i].vendor,
                                         .platform = caps[i].platform,
                                         .platform_version = caps[i].platform_version,
                                         .version = caps[i].version,
                                         .driver = caps[i].driver,
                                         .kind = kinds[caps[i].kind],
                                         .compute_units = caps[i].compute_units,
                                         .global_bytes = caps[i].global_bytes,
                                         .max_alloc_bytes = caps[i].max_alloc_bytes,
                                         .local_bytes = caps[i].local_bytes,
                                         .max_work_group = caps[i].max_work_group,
                                         .fp16 = caps[i].fp16,
                                         .fp64 = caps[i].fp64,
                                         .subgroups = caps[i].subgroups,
                                         .integer_dot_product = caps[i].integer_dot_product,
                                         .unified_memory = caps[i].unified_memory};
    *devices = out;
    *count = (size_t)list.count;
    ci_device_list_free(&list);
    return CLINFER_OK;
}

void clinfer_devices_free(struct clinfer_device *devices, size_t count) {
    (void)count;
    free(devices);
}

const char *clinfer_cpu_isa(void) {
    const struct ci_cpu_features *features = ci_cpu_features();
    if (features->avx512bf16) return "avx512bf16";
    if (features->avx512vnni) return "avx512vnni";
    if (features->avx2) return "avx2";
    if (features->neondot) return "neondot";
    return features->neon ? "neon" : "scalar";
}
