/* tokens.c: /tokenize, /detokenize and /infill, as llama-server has them. */
#include "server/tokens.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/narrow.h"
#include "server/dialect.h"
#include "server/job.h"
#include "server/native.h"
#include "server/openai_request.h"
#include "server/server.h"
#include "text/utf8.h"
#include "text/utf8_json.h"

static bool fail_with(struct ci_exchange *exchange, enum clinfer_status status) {
    struct ci_failure failure = ci_failure_of_status(status, clinfer_error());
    ci_exchange_fail(exchange, &failure);
    return false;
}

/* ---- reading ---- */

struct list {
    int32_t *tokens;
    size_t count;
};

static bool append(struct ci_exchange *exchange, struct list *list, const int32_t *tokens, size_t count) {
    if (!count) return true;
    int32_t *grown = realloc(list->tokens, (list->count + count) * sizeof *grown);
    if (!grown) {
        ci_exchange_fail(exchange, &(struct ci_failure){.kind = CI_FAIL_SERVER, .message = "out of memory"});
        return false;
    }
    memcpy(grown + list->count, tokens, count * sizeof *grown);
    *list = (struct list){grown, list->count + count};
    return true;
}

static bool append_text(struct ci_exchange *exchange, const clinfer_engine *engine, const json_t *text, bool add_begin,
                        bool parse_special, struct list *list) {
    int32_t *tokens;
    size_t count;
    enum clinfer_status status = clinfer_tokenize(engine, json_string_value(text), json_string_length(text), add_begin,
                                                  parse_special, &tokens, &count);
    if (status != CLINFER_OK) return fail_with(exchange, status);
    bool appended = append(exchange, list, tokens, count);
    clinfer_free(tokens);
    return appended;
}

static bool append_id(struct ci_exchange *exchange, const json_t *value, const char *param, int vocabulary,
                      struct list *list) {
    int32_t token;
    if (ci_narrow(json_integer_value(value), &token) && token >= 0 && token < vocabulary)
        return append(exchange, list, &token, 1);
    ci_exchange_refuse(exchange, param,
                       "%s: token %lld is outside this model's vocabulary, which has 0..%d: ids of another model's "
                       "vocabulary mean nothing here; send the text",
                       param, (long long)json_integer_value(value), vocabulary - 1);
    return false;
}

static bool read_list(struct ci_exchange *exchange, const clinfer_engine *engine, const json_t *value,
                      const char *param, bool add_special, bool parse_special, struct list *list) {
    struct clinfer_engine_info info;
    size_t index;
    json_t *item;
    clinfer_engine_get_info(engine, &info);
    if (json_is_string(value)) return append_text(exchange, engine, value, add_special, parse_special, list);
    bool understood = json_is_array(value);
    json_array_foreach(value, index, item) {
        if (json_is_string(item)) {
            bool first = index == 0 && add_special;
            if (!append_text(exchange, engine, item, first, parse_special, list)) return false;
        } else if (json_is_integer(item)) {
            if (!append_id(exchange, item, param, info.vocabulary, list)) return false;
        } else {
            understood = false;
        }
    }
    if (!understood) ci_exchange_refuse(exchange, param, "%s: must be a text, or a list of token ids and texts", param);
    return understood;
}

bool ci_tokens_read(struct ci_exchange *exchange, const clinfer_engine *engine, const json_t *value, const char *param,
                    bool add_special, bool parse_special, int32_t **tokens, size_t *count) {
    struct list list = {0};
    bool read = read_list(exchange, engine, value, param, add_special, parse_special, &list);
    if (!read) free(list.tokens);
    *tokens = read ? list.tokens : NULL;
    *count = read ? list.count : 0;
    return read;
}

/* ---- the engine whose tokens they are ---- */

struct taken {
    struct ci_job job;
    clinfer_router *router;
    clinfer_engine *engine;
};

static void give_back(struct ci_exchange *exchange, struct taken *taken) {
    clinfer_router_give_back_engine(taken->router, taken->engine);
    ci_job_give_back(exchange, &taken->job);
}

static bool take(struct ci_exchange *exchange, const json_t *body, struct taken *taken) {
    *taken = (struct taken){0};
    ci_job_init(&taken->job);
    taken->job.model = json_string_value(json_object_get(body, "model"));
    if (!ci_job_take(exchange, &taken->job)) return false;
    taken->router = ci_job_router(exchange, &taken->job);
    taken->engine = taken->router ? clinfer_router_take_engine(taken->router) : NULL;
    if (taken->engine) return true;
    give_back(exchange, taken);
    ci_exchange_fail(exchange, &(struct ci_failure){.kind = CI_FAIL_UNAVAILABLE,
                                                    .message = "the model does not run on this machine at the moment, "
                                                               "and only here are its tokens known",
                                                    .retry_after = 5});
    return false;
}

static bool flag(const json_t *body, const char *name, bool otherwise) {
    const json_t *value = json_object_get(body, name);
    return json_is_boolean(value) ? json_is_true(value) : otherwise;
}

/* ---- /tokenize, /detokenize ---- */

/* A text, or its bytes where they are no whole characters. */
static json_t *piece_json(const char *text, size_t length) {
    if (ci_utf8_valid(text, length) == length) return json_stringn(text, length);
    json_t *bytes = json_array();
    for (size_t i = 0; i < length; i++) json_array_append_new(bytes, json_integer((uint8_t)text[i]));
    return bytes;
}

static json_t *tokens_json(const clinfer_engine *engine, const int32_t *tokens, size_t count, bool with_pieces) {
    json_t *list = json_array();
    for (size_t i = 0; i < count; i++) {
        size_t length = 0;
        const char *text = with_pieces ? clinfer_token_text(engine, tokens[i], true, &length) : NULL;
        json_array_append_new(
            list, with_pieces ? json_pack("{s:i, s:o}", "id", (int)tokens[i], "piece", piece_json(text, length))
                              : json_integer(tokens[i]));
    }
    return list;
}

static void tokenize(struct ci_exchange *exchange) {
    json_t *body = ci_exchange_json(exchange), *content = json_object_get(body, "content");
    struct taken taken;
    int32_t *tokens = NULL;
    size_t count = 0;
    if (!body || !take(exchange, body, &taken)) return;
    if (!content || ci_tokens_read(exchange, taken.engine, content, "content", flag(body, "add_special", false),
                                   flag(body, "parse_special", true), &tokens, &count))
        ci_reply_json(
            exchange, 200,
            json_pack("{s:o}", "tokens", tokens_json(taken.engine, tokens, count, flag(body, "with_pieces", false))));
    clinfer_free(tokens);
    give_back(exchange, &taken);
}

static void detokenize(struct ci_exchange *exchange) {
    json_t *body = ci_exchange_json(exchange), *list = json_object_get(body, "tokens");
    struct taken taken;
    int32_t *tokens = NULL;
    size_t count = 0, used = 0, bytes = 0, length;
    if (!body || !take(exchange, body, &taken)) return;
    bool read = !list || ci_tokens_read(exchange, taken.engine, list, "tokens", false, true, &tokens, &count);
    for (size_t i = 0; i < count; i++) {
        clinfer_token_text(taken.engine, tokens[i], true, &length);
        bytes += length;
    }
    char *text = read ? malloc(bytes + 1) : NULL;
    for (size_t i = 0; text && i < count; i++) {
        const char *piece = clinfer_token_text(taken.engine, tokens[i], true, &length);
        memcpy(text + used, piece, length);
        used += length;
    }
    if (read) ci_reply_json(exchange, 200, text ? json_pack("{s:o}", "content", ci_utf8_json(text, used)) : NULL);
    free(text);
    clinfer_free(tokens);
    give_back(exchange, &taken);
}

/* ---- /infill ---- */

/* NULL: it has been refused; "" where it is not there and may be absent. */
static const char *text_field(struct ci_exchange *exchange, const json_t *body, const char *name, bool required) {
    const json_t *value = json_object_get(body, name);
    if (!value && !required) return "";
    if (json_is_string(value)) return json_string_value(value);
    ci_exchange_refuse(exchange, name, value ? "\"%s\" must be a string" : "\"%s\" is required", name);
    return NULL;
}

static bool read_files(struct ci_exchange *exchange, const json_t *body, struct clinfer_infill *infill) {
    const json_t *extra = json_object_get(body, "input_extra");
    size_t index;
    json_t *chunk;
    if (!extra || json_is_null(extra)) return true;
    struct clinfer_infill_file *files = json_is_array(extra) ? calloc(json_array_size(extra) + 1, sizeof *files) : NULL;
    bool read = files != NULL;
    json_array_foreach(extra, index, chunk) {
        const json_t *name = json_object_get(chunk, "filename"), *text = json_object_get(chunk, "text");
        read = read && json_is_string(text) && (!name || json_is_string(name));
        if (read) files[index] = (struct clinfer_infill_file){json_string_value(name), json_string_value(text)};
    }
    infill->files = files;
    infill->file_count = json_array_size(extra);
    if (!read)
        ci_exchange_refuse(exchange, "input_extra",
                           "\"input_extra\" must be an array of {\"filename\": string, \"text\": string}");
    return read;
}

static bool read_infill(struct ci_exchange *exchange, const json_t *body, struct clinfer_infill *infill) {
    const struct ci_server_options *options = ci_server_get_options(ci_exchange_server(exchange));
    const json_t *predict = json_object_get(body, "n_predict");
    *infill = (struct clinfer_infill){.room = options->batch, .answer = options->predict};
    if (json_is_integer(predict) && !ci_narrow(json_integer_value(predict), &infill->answer)) infill->answer = 0;
    infill->prefix = text_field(exchange, body, "input_prefix", true);
    infill->suffix = infill->prefix ? text_field(exchange, body, "input_suffix", true) : NULL;
    infill->prompt = infill->suffix ? text_field(exchange, body, "prompt", false) : NULL;
    return infill->prompt && read_files(exchange, body, infill);
}

/* The same request as a completion of the tokens that make its prompt. */
static void infill(struct ci_exchange *exchange) {
    json_t *body = ci_exchange_json(exchange), *completion = NULL;
    struct clinfer_infill infill;
    struct taken taken;
    int32_t *tokens = NULL;
    size_t count;
    if (!body) return;
    bool read = read_infill(exchange, body, &infill) && take(exchange, body, &taken);
    if (read) {
        enum clinfer_status status = clinfer_infill_tokens(taken.engine, &infill, &tokens, &count);
        if (status == CLINFER_OK) {
            completion = json_copy(body);
            json_object_set_new(completion, "prompt", tokens_json(taken.engine, tokens, count, false));
        } else {
            fail_with(exchange, status);
        }
        clinfer_free(tokens);
        give_back(exchange, &taken);
    }
    free((void *)(uintptr_t)infill.files);
    if (completion) ci_native_complete(exchange, completion);
    json_decref(completion);
}

static void fail(struct ci_exchange *exchange, const struct ci_failure *failure) {
    ci_reply_json(exchange, ci_failure_http_status(failure->kind), ci_failure_openai(failure));
}

static void break_off(struct ci_exchange *exchange, const struct ci_failure *failure) {
    json_t *error = ci_failure_openai(failure);
    ci_stream_json(exchange, NULL, error);
    json_decref(error);
    ci_stream_end(exchange, true);
}

static const struct ci_route routes[] = {
    {"POST", "/v1/tokenize", CI_ROUTE_WITHOUT_V1, tokenize, "model content add_special parse_special with_pieces"},
    {"POST", "/v1/detokenize", CI_ROUTE_WITHOUT_V1, detokenize, "model tokens"},
    {"POST", "/infill", 0, infill, CI_NATIVE_FIELDS " input_prefix input_suffix input_extra"},
};

const struct ci_server_dialect ci_server_dialect_tokens = {
    .name = "tokens", .routes = routes, .count = sizeof routes / sizeof *routes, .fail = fail, .break_off = break_off};
