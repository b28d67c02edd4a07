/* inspect.c: `clinfer inspect FILE`: what a model file holds, and whether and how it would run. Works on the file
 * alone; nothing is loaded onto a device. inspect_file.c measures, this file prints. */
#define _GNU_SOURCE
#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>
#include <string.h>

#include "cli/command.h"
#include "cli/inspect_file.h"
#include "cli/models.h"
#include "cli/options.h"
#include "cli/output.h"
#include "model/source.h"

enum { SHOWN_ELEMENTS = 8, SHOWN_BYTES = 100, JSON_ELEMENTS = 16 };

/* ---- for people ---- */

/* One line, whatever is in it. */
static void print_text(const struct ci_gguf_string *string, size_t most) {
    char text[SHOWN_BYTES + 1];
    size_t length = string->length < most ? string->length : most;
    /* Not in the middle of a character. */
    for (int back = 0; length < string->length && back < 3 && ((unsigned char)string->text[length] & 0xc0) == 0x80;
         back++)
        length--;
    ci_printf("\"");
    for (size_t at = 0; at < length;) {
        const char *quote = memchr(string->text + at, '"', length - at),
                   *zero = memchr(string->text + at, 0, length - at);
        const char *end = zero && (!quote || zero < quote) ? zero : quote;
        size_t plain = end ? (size_t)(end - string->text) - at : length - at;
        memcpy(text, string->text + at, plain);
        text[plain] = 0;
        ci_printf("%s%s", ci_one_line(text), !end ? "" : *end ? "\\\"" : "\\u0000");
        at += plain + (end != NULL);
    }
    ci_printf("\"");
    if (string->length > most) ci_printf("... (%zu bytes)", string->length);
}

static void print_element(const struct ci_gguf_value *value, uint64_t index, size_t most) {
    struct ci_gguf_string string;
    if (value->element_type == CI_GGUF_STRING) {
        string = ci_gguf_string_at(value, index);
        print_text(&string, most);
    } else if (value->element_type == CI_GGUF_BOOL) {
        ci_printf("%s", ci_gguf_bool_at(value, index) ? "true" : "false");
    } else if (ci_gguf_type_is_float(value->element_type)) {
        ci_printf("%g", ci_gguf_float_at(value, index));
    } else {
        ci_printf("%" PRId64, ci_gguf_integer_at(value, index));
    }
}

static void print_metadata(const struct ci_gguf *gguf) {
    ci_printf("\nMetadata\n");
    for (size_t i = 0; i < ci_gguf_value_count(gguf); i++) {
        const struct ci_gguf_value *value = ci_gguf_value_at(gguf, i);
        ci_printf("  %-44s ", ci_one_line(value->key));
        if (value->type != CI_GGUF_ARRAY) {
            print_element(value, 0, SHOWN_BYTES);
        } else {
            ci_printf("%s[%" PRIu64 "] ", ci_gguf_type_name(value->element_type), value->count);
            for (uint64_t k = 0; k < value->count && k < SHOWN_ELEMENTS; k++) {
                ci_printf("%s", k ? ", " : "");
                print_element(value, k, SHOWN_BYTES / SHOWN_ELEMENTS);
            }
            if (value->count > SHOWN_ELEMENTS) ci_printf(", ...");
        }
        ci_printf("\n");
    }
}

static const char *type_name(uint32_t type) {
    const struct ci_gguf_tensor_type *known = ci_gguf_tensor_type(type);
    return known ? known->name : "unknown";
}

static void print_tensors(const struct ci_gguf *gguf) {
    ci_printf("\nTensors\n");
    for (size_t i = 0; i < ci_gguf_tensor_count(gguf); i++) {
        const struct ci_gguf_tensor *tensor = ci_gguf_tensor_at(gguf, i);
        char shape[96] = "";
        for (uint32_t k = 0; k < tensor->n_dims; k++)
            snprintf(shape + strlen(shape), sizeof shape - strlen(shape), "%s%" PRIu64, k ? ", " : "", tensor->dims[k]);
        ci_printf("  %-40s %-6s [%s]%*s %12zu bytes\n", ci_one_line(tensor->name), type_name(tensor->type), shape,
                  (int)(18 > strlen(shape) ? 18 - strlen(shape) : 0), "", tensor->bytes);
    }
}

static uint64_t total_of(const struct ci_host_bytes *memory) {
    return memory->weights + memory->cache + memory->activations;
}

/* Behind the weights of the file. */
static void print_memory(const struct ci_inspection *found) {
    char token[CI_AMOUNT_BYTES], cache[CI_AMOUNT_BYTES], work[CI_AMOUNT_BYTES], total[CI_AMOUNT_BYTES];
    ci_printf(", KV cache (f16) %s a token, %s for %d, %s to work in: %s on the CPU",
              ci_format_bytes(found->cache_bytes_per_token, token), ci_format_bytes(found->memory.cache, cache),
              found->context, ci_format_bytes(found->memory.activations, work),
              ci_format_bytes(total_of(&found->memory), total));
}

void ci_inspect_print_summary(const struct ci_gguf *gguf, const struct ci_inspection *found) {
    char size[CI_AMOUNT_BYTES], count[CI_AMOUNT_BYTES];
    char format[24] = "SafeTensors";
    if (!ci_gguf_folder(gguf)) snprintf(format, sizeof format, "GGUF v%" PRIu32, ci_gguf_version(gguf));
    ci_printf("%s: %s, %s", ci_one_line(ci_gguf_path(gguf)), format, ci_format_bytes(found->file_bytes, size));
    if (ci_gguf_file_count(gguf) > 1) ci_printf(" in %zu files", ci_gguf_file_count(gguf));
    ci_printf(", %zu metadata entries, %zu tensors\n", ci_gguf_value_count(gguf), ci_gguf_tensor_count(gguf));
    ci_printf("  architecture  %s, %s parameters\n", ci_one_line(found->architecture),
              ci_format_count(found->parameters, count));
    if (found->status == CLINFER_OK)
        ci_printf("  runs          yes: %d layers, width %d, %d heads (%d of keys and values), vocabulary %d, context "
                  "%d%s\n",
                  found->model.hyper.layers, found->model.hyper.embedding, found->model.layers[0].heads,
                  found->model.layers[0].kv_heads, found->model.hyper.vocabulary, found->model.hyper.context,
                  found->has_template ? "" : ", no chat template");
    else
        ci_printf("  runs          no: %s\n", ci_one_line(found->reason));
    ci_printf("  memory        weights %s", ci_format_bytes(found->tensor_bytes, size));
    if (found->status == CLINFER_OK) print_memory(found);
    ci_printf("\n");
    for (size_t i = 0; i < found->type_count; i++)
        ci_printf("  %-13s %s %zu tensor%s, %s%s\n", i ? "" : "weights", type_name(found->types[i].type),
                  found->types[i].tensors, found->types[i].tensors == 1 ? "" : "s",
                  ci_format_bytes(found->types[i].bytes, size), found->types[i].supported ? "" : " (not supported)");
}

/* What the model has and the graph does without. */
static void print_findings(const struct ci_inspection *found) {
    static const char *const kinds[] = {
        [CI_FINDING_LEFT_OUT] = "tensor", [CI_FINDING_NO_EFFECT] = "key", [CI_FINDING_UNKNOWN] = "unknown"};
    if (found->model.findings) ci_printf("\nNot used\n");
    for (const struct ci_finding *finding = found->model.findings; finding; finding = finding->next)
        ci_printf("  %-7s %-44s %s\n", kinds[finding->kind], ci_one_line(finding->name), ci_one_line(finding->why));
}

/* ---- JSON ---- */

static json_t *element_json(const struct ci_gguf_value *value, uint64_t index) {
    if (value->element_type == CI_GGUF_STRING) {
        struct ci_gguf_string string = ci_gguf_string_at(value, index);
        return ci_json_text(string.text, string.length);
    }
    if (value->element_type == CI_GGUF_BOOL) return json_boolean(ci_gguf_bool_at(value, index));
    if (!ci_gguf_type_is_float(value->element_type)) return json_integer(ci_gguf_integer_at(value, index));
    json_t *real = json_real(ci_gguf_float_at(value, index));
    return real ? real : json_null(); /* JSON has no infinity */
}

static json_t *metadata_json(const struct ci_gguf *gguf) {
    json_t *object = json_object();
    for (size_t i = 0; i < ci_gguf_value_count(gguf); i++) {
        const struct ci_gguf_value *value = ci_gguf_value_at(gguf, i);
        json_t *item = NULL;
        if (value->type != CI_GGUF_ARRAY) {
            item = element_json(value, 0);
        } else {
            json_t *first = json_array();
            for (uint64_t k = 0; k < value->count && k < JSON_ELEMENTS; k++)
                json_array_append_new(first, element_json(value, k));
            item = json_object();
            json_object_set_new(item, "array_of", json_string(ci_gguf_type_name(value->element_type)));
            json_object_set_new(item, "count", json_integer((json_int_t)value->count));
            json_object_set_new(item, "first", first);
        }
        json_object_set_new(object, value->key, item);
    }
    return object;
}

static json_t *tensors_json(const struct ci_gguf *gguf) {
    json_t *list = json_array();
    for (size_t i = 0; i < ci_gguf_tensor_count(gguf); i++) {
        const struct ci_gguf_tensor *tensor = ci_gguf_tensor_at(gguf, i);
        json_t *object = json_object(), *shape = json_array();
        for (uint32_t k = 0; k < tensor->n_dims; k++)
            json_array_append_new(shape, json_integer((json_int_t)tensor->dims[k]));
        json_object_set_new(object, "name", ci_json_text(tensor->name, strlen(tensor->name)));
        json_object_set_new(object, "type", json_string(type_name(tensor->type)));
        json_object_set_new(object, "shape", shape);
        json_object_set_new(object, "bytes", json_integer((json_int_t)tensor->bytes));
        json_object_set_new(object, "offset", json_integer((json_int_t)tensor->offset));
        if (ci_gguf_file_count(gguf) > 1) {
            struct ci_gguf_place place = ci_gguf_tensor_place(gguf, tensor->name);
            json_object_set_new(object, "path", ci_json_text(place.file, strlen(place.file)));
        }
        json_array_append_new(list, object);
    }
    return list;
}

static json_t *types_json(const struct ci_inspection *found) {
    json_t *list = json_array();
    for (size_t i = 0; i < found->type_count; i++) {
        json_t *object = json_object();
        json_object_set_new(object, "type", json_string(type_name(found->types[i].type)));
        json_object_set_new(object, "tensors", json_integer((json_int_t)found->types[i].tensors));
        json_object_set_new(object, "bytes", json_integer((json_int_t)found->types[i].bytes));
        json_object_set_new(object, "supported", json_boolean(found->types[i].supported));
        json_array_append_new(list, object);
    }
    return list;
}

static json_t *memory_json(const struct ci_inspection *found) {
    const struct ci_host_bytes *memory = &found->memory;
    return json_pack("{s:i, s:I, s:I, s:I, s:I}", "context", found->context, "weight_bytes",
                     (json_int_t)memory->weights, "kv_cache_bytes", (json_int_t)memory->cache, "activation_bytes",
                     (json_int_t)memory->activations, "total_bytes", (json_int_t)total_of(memory));
}

static json_t *model_json(const struct ci_inspection *found) {
    json_t *object = json_object();
    json_object_set_new(object, "layers", json_integer(found->model.hyper.layers));
    json_object_set_new(object, "embedding_length", json_integer(found->model.hyper.embedding));
    json_object_set_new(object, "head_count", json_integer(found->model.layers[0].heads));
    json_object_set_new(object, "head_count_kv", json_integer(found->model.layers[0].kv_heads));
    json_object_set_new(object, "vocabulary", json_integer(found->model.hyper.vocabulary));
    json_object_set_new(object, "context", json_integer(found->model.hyper.context));
    json_object_set_new(object, "chat_template", json_boolean(found->has_template));
    json_object_set_new(object, "kv_cache_bytes_per_token", json_integer((json_int_t)found->cache_bytes_per_token));
    json_object_set_new(object, "memory", memory_json(found));
    return object;
}

/* [{"name": ..., "why": ...}] of one kind. */
static json_t *findings_json(const struct ci_inspection *found, enum ci_finding_kind kind) {
    json_t *list = json_array();
    for (const struct ci_finding *finding = found->model.findings; finding; finding = finding->next)
        if (finding->kind == kind)
            json_array_append_new(list,
                                  json_pack("{s:o, s:s}", "name", ci_json_text(finding->name, strlen(finding->name)),
                                            "why", finding->why));
    return list;
}

json_t *ci_inspect_json(const struct ci_gguf *gguf, const struct ci_inspection *found) {
    json_t *object = json_object();
    const char *path = ci_gguf_path(gguf);
    json_object_set_new(object, "path", ci_json_text(path, strlen(path)));
    json_object_set_new(object, "format", json_string(ci_gguf_folder(gguf) ? "safetensors" : "gguf"));
    json_object_set_new(object, "version", json_integer(ci_gguf_version(gguf)));
    json_object_set_new(object, "files", json_integer((json_int_t)ci_gguf_file_count(gguf)));
    json_object_set_new(object, "file_bytes", json_integer((json_int_t)found->file_bytes));
    json_object_set_new(object, "architecture", ci_json_text(found->architecture, strlen(found->architecture)));
    json_object_set_new(object, "parameters", json_integer((json_int_t)found->parameters));
    json_object_set_new(object, "weight_bytes", json_integer((json_int_t)found->tensor_bytes));
    json_object_set_new(object, "runs", json_boolean(found->status == CLINFER_OK));
    json_object_set_new(object, "reason", ci_json_text(found->reason, strlen(found->reason)));
    if (found->status == CLINFER_OK) json_object_set_new(object, "model", model_json(found));
    json_object_set_new(object, "left_out", findings_json(found, CI_FINDING_LEFT_OUT));
    json_object_set_new(object, "keys_without_effect", findings_json(found, CI_FINDING_NO_EFFECT));
    json_object_set_new(object, "unknown_keys", findings_json(found, CI_FINDING_UNKNOWN));
    json_object_set_new(object, "types", types_json(found));
    json_object_set_new(object, "metadata", metadata_json(gguf));
    json_object_set_new(object, "tensors", tensors_json(gguf));
    return object;
}

void ci_inspect_print_rest(const struct ci_gguf *gguf, const struct ci_inspection *found, bool metadata, bool tensors) {
    print_findings(found);
    if (metadata) print_metadata(gguf);
    if (tensors) print_tensors(gguf);
}

/* ---- the command ---- */

struct inspect {
    bool json, tensors, metadata;
    struct ci_log_flags log;
    struct ci_model_flags from;
    long long context;
};

static int print_inspection(const struct inspect *inspect, const struct ci_gguf *gguf) {
    struct ci_inspection found;
    int exit_status = 0;
    ci_inspect_file(gguf, (int)inspect->context, NULL, &found);
    if (found.status == CLINFER_OUT_OF_MEMORY) { /* says nothing about the file */
        exit_status = ci_complain(found.status);
    } else if (inspect->json) {
        exit_status = ci_print_json(ci_inspect_json(gguf, &found));
    } else {
        bool all = !inspect->tensors && !inspect->metadata;
        ci_inspect_print_summary(gguf, &found);
        ci_inspect_print_rest(gguf, &found, inspect->metadata || all, inspect->tensors || all);
    }
    ci_inspect_end(&found);
    return exit_status;
}

static int inspect_with(const struct inspect *inspect) {
    struct ci_model_choice choice;
    struct ci_gguf *gguf = NULL;
    enum clinfer_status status = ci_models_choose(&inspect->from, &choice);
    if (status == CLINFER_OK) status = ci_source_open(choice.path, NULL, &gguf);
    int exit_status = status == CLINFER_OK ? print_inspection(inspect, gguf) : ci_complain(status);
    ci_gguf_close(gguf);
    ci_models_free(&choice);
    return exit_status;
}

int ci_command_inspect(int argc, char **argv) {
    struct inspect inspect = {0};
    struct ci_texts words;
    const struct ci_option options[] = {
        CI_SECTION("Output"),
        CI_TEXT("-m --model", &inspect.from.model, "MODEL", "the same as the word FILE"),
        CI_HUB_OPTIONS(&inspect.from),
        CI_INTEGER("-c --ctx-size", &inspect.context, 0, 1 << 28,
                   "tokens for which memory is predicted (default 0: what the model was made for)"),
        CI_FLAG("--metadata", &inspect.metadata, "the summary and the metadata"),
        CI_FLAG("--tensors", &inspect.tensors, "the summary and the tensors"),
        CI_FLAG("--json", &inspect.json, "one JSON object with all of it"),
        CI_LOG_OPTIONS(&inspect.log),
    };
    const struct ci_usage usage = {
        .command = "inspect",
        .synopsis = "[FILE] [--json]",
        .about =
            "Shows what a model holds (metadata, tensors) and whether clinfer runs it. FILE is the path of a GGUF\n"
            "file or of a folder with SafeTensors, whose metadata and tensors have GGUF's names here, or a name\n"
            "as behind the -m of `clinfer run`; without it, the model that `clinfer run` would take.",
        .examples = "  clinfer inspect my.gguf\n  clinfer inspect --tensors my.gguf\n"
                    "  clinfer inspect --json my.gguf",
        .options = options,
        .option_count = sizeof options / sizeof *options,
        .words = "MODEL",
    };
    int exit_status = ci_options_parse(&usage, argc, argv, &words);
    if (exit_status == CI_OPTIONS_GO_ON) {
        enum clinfer_status status = ci_log_start(&inspect.log);
        if (status != CLINFER_OK)
            exit_status = ci_exit_status(status);
        else if (words.count + (inspect.from.model != NULL) > 1)
            exit_status = ci_refuse(CLINFER_INVALID_ARGUMENT, "inspect takes one file; see clinfer inspect --help");
        if (words.count) inspect.from.model = words.items[0];
        if (exit_status == CI_OPTIONS_GO_ON) exit_status = inspect_with(&inspect);
        ci_log_end();
    }
    ci_texts_free(&words);
    return exit_status;
}
