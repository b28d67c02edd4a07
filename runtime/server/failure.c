/* failure.c: failures by their kinds: statuses, and how OpenAI's API writes them. */
#include <stdio.h>
#include <string.h>

#include "server/exchange.h"

static const struct {
    int status;
    const char *type;
} kinds[] = {
    [CI_FAIL_INVALID] = {400, "invalid_request_error"},   [CI_FAIL_KEY] = {401, "authentication_error"},
    [CI_FAIL_PERMISSION] = {403, "permission_error"},     [CI_FAIL_NOT_FOUND] = {404, "not_found_error"},
    [CI_FAIL_METHOD] = {405, "invalid_request_error"},    [CI_FAIL_TOO_LARGE] = {413, "invalid_request_error"},
    [CI_FAIL_HEADER] = {431, "invalid_request_error"},    [CI_FAIL_CONTEXT] = {400, "exceed_context_size_error"},
    [CI_FAIL_BUSY] = {429, "rate_limit_error"},           [CI_FAIL_SERVER] = {500, "server_error"},
    [CI_FAIL_UNSUPPORTED] = {501, "not_supported_error"}, [CI_FAIL_UNAVAILABLE] = {503, "unavailable_error"},
    [CI_FAIL_CANCELLED] = {499, "cancelled_error"}};

int ci_failure_http_status(enum ci_failure_kind kind) { return kinds[kind].status; }

json_t *ci_failure_openai(const struct ci_failure *failure) {
    json_t *error = json_pack("{s:s, s:s, s:s?, s:i}", "message", failure->message, "type", kinds[failure->kind].type,
                              "param", failure->param, "code", kinds[failure->kind].status);
    if (!error) /* the message quotes what is no UTF-8 */
        error = json_pack("{s:s, s:s, s:n, s:i}", "message", "the request cannot be answered", "type",
                          kinds[failure->kind].type, "param", "code", kinds[failure->kind].status);
    if (failure->kind == CI_FAIL_CONTEXT) {
        json_object_set_new(error, "n_prompt_tokens", json_integer(failure->prompt_tokens));
        json_object_set_new(error, "n_ctx", json_integer(failure->context));
    }
    return json_pack("{s:o}", "error", error);
}

/* ---- what the library says ---- */

/* The field of a request that a message of the library begins with; NULL: none. */
static const char *field_of(const char *message) {
    static const struct {
        const char *begins, *field;
    } known[] = {{"logit_bias:", "logit_bias"},
                 {"samplers:", "samplers"},
                 {"tools:", "tools"},
                 {"tool choice ", "tool_choice"},
                 {"token ", "prompt"},
                 {"grammar:", "grammar"},
                 {"json_schema:", "json_schema"},
                 {"response_format:", "response_format"},
                 {"response_format.schema:", "response_format.schema"},
                 {"response_format.json_schema.schema:", "response_format.json_schema.schema"},
                 {"text.format.schema:", "text.format.schema"},
                 {"output_config.format.schema:", "output_config.format.schema"},
                 {"format:", "format"},
                 {"schema:", "schema"}};
    for (size_t i = 0; i < sizeof known / sizeof *known; i++)
        if (strncmp(message, known[i].begins, strlen(known[i].begins)) == 0) return known[i].field;
    return NULL;
}

/* The library speaks to who has the command line. What it would tell them to do there is another thing for a client, or
 * nothing; what it says of flags in brackets, " (--watchdog)", is nothing for any. */
static const char *const words[][2] = {
    {"; raise -n, or let the answer be cut (--no-complete)", "; raise max_tokens"},
    {"; --chat-template chooses another, --raw does without", ""},
    {"; --raw takes any bytes", ""},
    {"; use a smaller -c", ""},
    {", as `clinfer logits --tokens` gives them, and no text", ", and no text"},
};

static void replace(char *at, size_t length, const char *with) {
    size_t other = strlen(with);
    memcpy(at, with, other);
    memmove(at + other, at + length, strlen(at + length) + 1);
}

const char *ci_failure_words(const char *message, char *text, size_t size) {
    char *at;
    snprintf(text, size, "%s", message);
    for (size_t i = 0; i < sizeof words / sizeof *words; i++)
        while ((at = strstr(text, words[i][0])) != NULL) replace(at, strlen(words[i][0]), words[i][1]);
    for (at = text; (at = strstr(at, " (--")) != NULL;) {
        size_t length = strcspn(at, ")");
        if (!at[length]) break;
        replace(at, length + 1, "");
    }
    return text;
}

struct ci_failure ci_failure_of_status(enum clinfer_status status, const char *message) {
    struct ci_failure failure = {.kind = CI_FAIL_SERVER, .status = status, .message = message};
    if (status == CLINFER_INVALID_ARGUMENT || status == CLINFER_UNSUPPORTED) failure.param = field_of(message);
    switch (status) {
    case CLINFER_INVALID_ARGUMENT:
    case CLINFER_BAD_FILE: failure.kind = CI_FAIL_INVALID; break;
    case CLINFER_NOT_FOUND: failure.kind = CI_FAIL_NOT_FOUND; break;
    case CLINFER_CONTEXT_FULL: failure.kind = CI_FAIL_CONTEXT; break;
    case CLINFER_UNSUPPORTED: failure.kind = failure.param ? CI_FAIL_INVALID : CI_FAIL_UNSUPPORTED; break;
    case CLINFER_REFUSED: failure.kind = CI_FAIL_PERMISSION; break;
    case CLINFER_CANCELLED: failure.kind = CI_FAIL_CANCELLED; break;
    case CLINFER_OUT_OF_MEMORY:
    case CLINFER_NO_DEVICE:
    case CLINFER_DEVICE_ERROR:
    case CLINFER_OUT_OF_TIME:
        failure.kind = CI_FAIL_UNAVAILABLE;
        failure.retry_after = 5;
        break;
    case CLINFER_OK:
    case CLINFER_IO:
    case CLINFER_WRONG_RESULT:
    case CLINFER_REMOTE_FAILED: break;
    }
    return failure;
}
