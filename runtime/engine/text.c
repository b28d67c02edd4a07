/* text.c: the public face of tokenizer, templates and devices. */
#define _GNU_SOURCE
#include <stdlib.h>
#include <string.h>

#include "base/require.h"
#include "engine/engine_private.h"
#include "engine/prompt.h"
#include "engine/runner.h"
#include "text/prompt.h"

static enum clinfer_status tokenize(const clinfer_engine *engine, const char *text, size_t length, unsigned flags,
                                    int32_t **tokens, size_t *count) {
    CI_REQUIRE(engine, "engine");
    CI_REQUIRE(tokens, "tokens");
    CI_REQUIRE(count, "count");
    *tokens = NULL;
    *count = 0;
    if (length) CI_REQUIRE(text, "text");
    ci_chat_tell_types(engine->chat);
    double start = ci_trace_start(engine->trace);
    enum clinfer_status status = ci_tokenizer_encode(engine->tokenizer, text, length, flags, tokens, count);
    ci_trace_host(engine->trace, CI_TRACE_TOKENIZER, start);
    return status;
}

enum clinfer_status clinfer_tokenize(const clinfer_engine *engine, const char *text, size_t length, bool add_begin,
                                     bool parse_special, int32_t **tokens, size_t *count) {
    enum clinfer_status status =
        tokenize(engine, text, length, parse_special ? CI_TOKENIZER_PARSE_SPECIAL : 0u, tokens, count);
    return status == CLINFER_OK && add_begin ? ci_prompt_add_begin(engine->tokenizer, tokens, count) : status;
}

enum clinfer_status clinfer_tokenize_whole(const clinfer_engine *engine, const char *text, size_t length,
                                           int32_t **tokens, size_t *count) {
    return tokenize(engine, text, length, CI_TOKENIZER_ADD_SPECIAL, tokens, count);
}

const char *clinfer_token_text(const clinfer_engine *engine, int32_t token, bool special, size_t *length) {
    size_t ignored;
    if (length) *length = 0;
    return engine ? ci_tokenizer_piece(engine->tokenizer, token, special, length ? length : &ignored) : "";
}

enum clinfer_status clinfer_chat_prompt(const clinfer_engine *engine, const struct clinfer_message *messages,
                                        size_t count, bool add_generation_prompt, char **text) {
    CI_REQUIRE(text, "text");
    *text = NULL;
    CI_REQUIRE(engine, "engine");
    enum clinfer_status status = ci_messages_check(messages, count);
    if (status != CLINFER_OK) return status;
    struct ci_rendered rendered;
    double start = ci_trace_start(engine->trace);
    status = ci_chat_render(engine->chat, messages, count, NULL, add_generation_prompt, &rendered);
    ci_trace_host(engine->trace, CI_TRACE_TOKENIZER, start);
    *text = rendered.text;
    free(rendered.runs);
    return status;
}

enum clinfer_status clinfer_chat_tokens(const clinfer_engine *engine, const struct clinfer_message *messages,
                                        size_t count, bool add_generation_prompt, bool parse_special, int32_t **tokens,
                                        size_t *token_count) {
    CI_REQUIRE(tokens, "tokens");
    CI_REQUIRE(token_count, "token_count");
    *tokens = NULL;
    *token_count = 0;
    CI_REQUIRE(engine, "engine");
    struct ci_prompt prompt;
    const struct ci_prompt_request request = {.messages = messages,
                                              .count = count,
                                              .parse_special = parse_special,
                                              .no_generation_prompt = !add_generation_prompt};
    enum clinfer_status status = ci_messages_check(messages, count);
    if (status != CLINFER_OK) return status;
    status = ci_engine_prompt(engine, &request, &prompt);
    if (status == CLINFER_OK) {
        *tokens = prompt.tokens;
        *token_count = prompt.count;
        prompt.tokens = NULL;
    }
    ci_prompt_free(&prompt);
    return status;
}

bool clinfer_token_ends(const clinfer_engine *engine, int32_t token) {
    return engine && token >= 0 && ci_tokenizer_is_end(engine->tokenizer, token);
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
