#include "cli/inspect_file.h"

#include <stdio.h>
#include <string.h>

#include "engine/engine_private.h"
#include "engine/read.h"
#include "text/chat.h"
#include "text/tokenizer.h"
#include "types/type.h"

static void add_tensor(struct ci_inspection *found, const struct ci_gguf_tensor *tensor) {
    uint64_t numbers = 1;
    for (uint32_t i = 0; i < tensor->n_dims; i++) numbers *= tensor->dims[i];
    found->parameters += numbers;
    found->tensor_bytes += tensor->bytes;
    size_t at = 0;
    while (at < found->type_count && found->types[at].type != tensor->type) at++;
    if (at == CI_INSPECT_TYPES) return;
    if (at == found->type_count)
        found->types[found->type_count++] =
            (struct ci_inspected_type){.type = tensor->type, .supported = ci_type_from_gguf(tensor->type) != NULL};
    found->types[at].tensors++;
    found->types[at].bytes += tensor->bytes;
}

static void sort_types(struct ci_inspection *found) {
    for (size_t i = 1; i < found->type_count; i++)
        for (size_t k = i; k > 0 && found->types[k].bytes > found->types[k - 1].bytes; k--) {
            struct ci_inspected_type swapped = found->types[k];
            found->types[k] = found->types[k - 1];
            found->types[k - 1] = swapped;
        }
}

/* Reads it as a run would, without a device. */
static enum clinfer_status try_file(const struct ci_gguf *gguf, int context, const struct clinfer_rope_options *rope,
                                    struct ci_inspection *found) {
    struct ci_tokenizer *tokenizer = NULL;
    struct ci_chat *chat = NULL;
    struct ci_threads *threads = NULL;
    enum clinfer_status status = ci_threads_create(0, &threads);
    if (status == CLINFER_OK) status = ci_read_model(gguf, threads, NULL, &found->model, &found->sampling);
    if (status == CLINFER_OK) status = ci_read_vocabulary(gguf, &found->model, &tokenizer);
    if (status == CLINFER_OK) status = ci_chat_create(gguf, NULL, NULL, tokenizer, &chat);
    if (status == CLINFER_OK) status = ci_chat_check(chat);
    if (status == CLINFER_OK) ci_chat_tell_types(chat);
    if (status == CLINFER_OK) status = ci_inspect_text(gguf, tokenizer, chat, &found->text);
    found->has_template = chat && ci_chat_has_template(chat);
    if (status == CLINFER_OK) status = ci_model_set_context(&found->model, context, rope, &found->context);
    if (status == CLINFER_OK) status = ci_predict_cpu(&found->model, threads, found->context, &found->memory);
    ci_threads_destroy(threads);
    ci_chat_destroy(chat);
    ci_tokenizer_destroy(tokenizer);
    return status;
}

void ci_inspect_file(const struct ci_gguf *gguf, int context, const struct clinfer_rope_options *rope,
                     struct ci_inspection *found) {
    *found = (struct ci_inspection){0};
    found->file_bytes = ci_gguf_file_bytes(gguf);
    struct ci_gguf_string name = {"unknown", 7};
    if (ci_gguf_get_string(gguf, "general.architecture", CI_GGUF_OPTIONAL, &name) == CLINFER_OK)
        for (size_t i = 0; i < name.length && i + 1 < sizeof found->architecture; i++)
            found->architecture[i] = name.text[i] < 32 || name.text[i] == 127 ? '?' : name.text[i];
    for (size_t i = 0; i < ci_gguf_tensor_count(gguf); i++) add_tensor(found, ci_gguf_tensor_at(gguf, i));
    sort_types(found);
    found->status = try_file(gguf, context, rope, found);
    if (found->status != CLINFER_OK) {
        snprintf(found->reason, sizeof found->reason, "%s", clinfer_error());
        return;
    }
    found->cache_bytes_per_token = ci_model_cache_bytes(&found->model, &ci_type_f16, &ci_type_f16, 1, 1);
}

void ci_inspect_end(struct ci_inspection *found) { ci_model_close(&found->model); }
