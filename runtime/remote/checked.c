#include "remote/checked.h"

#include <stdlib.h>
#include <string.h>

#include "base/append.h"
#include "base/log.h"
#include "base/status.h"
#include "grammar/validate.h"

enum { MOST_ASKED = 2 };

struct held {
    char *text;
    size_t length, capacity;
};

static bool hold(void *user, const char *text, size_t length) {
    struct held *held = user;
    return ci_append(&held->text, &held->length, &held->capacity, text, length);
}

/* CLINFER_OK also where it cannot be judged. */
static enum clinfer_status judge(const struct ci_remote_request *request, const struct held *held) {
    enum clinfer_status status = ci_schema_validate("the schema", request->json_schema, strlen(request->json_schema),
                                                    held->text ? held->text : "", held->length);
    if (status != CLINFER_INVALID_ARGUMENT && status != CLINFER_UNSUPPORTED) return status;
    ci_log(CLINFER_LOG_WARNING, "the remote's answer is not checked: %s", ci_status_message());
    return CLINFER_OK;
}

static enum clinfer_status ask_held(const struct clinfer_remote *remote, const struct ci_remote_request *request,
                                    struct held *held, struct ci_remote_result *result) {
    struct ci_remote_request asked = *request;
    asked.callback = hold;
    asked.user = held;
    for (int times = 1;; times++) {
        held->length = 0;
        enum clinfer_status status = ci_remote_ask(remote, &asked, result);
        result->text_bytes = 0; /* nobody has got it yet */
        if (status != CLINFER_OK || result->finish == CLINFER_FINISH_CANCELLED) return status;
        status = judge(request, held);
        if (status != CLINFER_REMOTE_FAILED) return status;
        bool cut = result->finish == CLINFER_FINISH_LENGTH;
        if (times == MOST_ASKED || cut)
            return ci_fail_prefix(status, "%s%s", remote->name ? remote->name : remote->url,
                                  cut ? ": its answer was cut at the limit of tokens" : "");
        ci_log(CLINFER_LOG_WARNING, "%s; asking once more", ci_status_message());
    }
}

enum clinfer_status ci_remote_ask_checked(const struct clinfer_remote *remote, const struct ci_remote_request *request,
                                          struct ci_remote_result *result) {
    struct held held = {0};
    if (!request->json_schema || request->tools) return ci_remote_ask(remote, request, result);
    enum clinfer_status status = ask_held(remote, request, &held, result);
    if (status == CLINFER_OK && held.length && result->finish != CLINFER_FINISH_CANCELLED) {
        result->text_bytes = held.length;
        if (!request->callback(request->user, held.text, held.length)) result->finish = CLINFER_FINISH_CANCELLED;
    }
    free(held.text);
    return status;
}
