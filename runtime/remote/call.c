#define _GNU_SOURCE
#include "remote/call.h"
#include "remote/logprobs.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/status.h"

enum { HEADERS = 8 };

static const double default_connect = 10, default_first_byte = 60, default_idle = 30, default_total = 600;

/* ---- policy ---- */

static enum clinfer_status check_key(const char *label, const struct clinfer_remote *remote) {
    int sources = (remote->key_variable != NULL) + (remote->key_file != NULL) + (remote->key_command != NULL);
    if (sources <= 1) return CLINFER_OK;
    return ci_fail(CLINFER_INVALID_ARGUMENT,
                   "%s: more than one of key_variable, key_file and key_command is set; leave one", label);
}

static enum clinfer_status check_limits(const char *label, const struct clinfer_remote *remote) {
    const struct {
        const char *name;
        double value;
    } limits[] = {{"connect_seconds", remote->connect_seconds},
                  {"first_byte_seconds", remote->first_byte_seconds},
                  {"idle_seconds", remote->idle_seconds},
                  {"total_seconds", remote->total_seconds}};
    for (size_t i = 0; i < sizeof limits / sizeof *limits; i++)
        if (!(limits[i].value >= 0 && limits[i].value <= 86400))
            return ci_fail(CLINFER_INVALID_ARGUMENT, "%s: %s is %g, and must be from 0 (the default) to 86400", label,
                           limits[i].name, limits[i].value);
    return CLINFER_OK;
}

static enum clinfer_status check_plain(const struct clinfer_remote *remote, const struct ci_address *address) {
    if (address->https || address->loopback) return CLINFER_OK;
    if (ci_key_configured(remote))
        return ci_fail(CLINFER_REFUSED,
                       "%s: its key would go over plain http, where everybody on the way can read it; use https://, or "
                       "configure no key",
                       address->label);
    if (remote->plain_http) return CLINFER_OK;
    return ci_fail(
        CLINFER_REFUSED,
        "%s: plain http is for this host only; use https://, or set \"plain_http\": true if everybody on the "
        "way may read the prompts",
        address->label);
}

enum clinfer_status ci_call_check(const struct clinfer_remote *remote, const struct ci_dialect **dialect,
                                  struct ci_address *address) {
    char names[128];
    const char *forbidden = getenv("CLINFER_NO_REMOTE");
    *dialect = ci_dialect_find(remote->dialect, names, sizeof names);
    enum clinfer_status status = ci_address_parse(remote, *dialect ? (*dialect)->path : "", address);
    if (forbidden && *forbidden && strcmp(forbidden, "0") != 0)
        return ci_fail(CLINFER_REFUSED, "%s: CLINFER_NO_REMOTE is set: no remote is asked", address->label);
    if (status != CLINFER_OK) return status;
    if (!*dialect)
        return ci_fail(CLINFER_INVALID_ARGUMENT, "%s: unknown dialect \"%.60s\"; there are %s", address->label,
                       remote->dialect, names);
    status = check_key(address->label, remote);
    if (status == CLINFER_OK) status = check_limits(address->label, remote);
    return status == CLINFER_OK ? check_plain(remote, address) : status;
}

/* ---- one request ---- */

static double limit(double given, double otherwise) { return given > 0 ? given : otherwise; }

static enum clinfer_status write_body(struct ci_call *call) {
    json_t *body = json_object();
    enum clinfer_status status = CLINFER_OK;
    if (body)
        status = call->dialect->write(call->address.label, call->address.host, &call->remote, call->request, body);
    if (body && status == CLINFER_OK) call->body = json_dumps(body, JSON_COMPACT);
    json_decref(body);
    if (status == CLINFER_OK && !call->body)
        return ci_fail(CLINFER_OUT_OF_MEMORY, "%s: out of memory while the request was written", call->address.label);
    return status;
}

enum clinfer_status ci_call_prepare(const struct clinfer_remote *remote, const struct ci_remote_request *request,
                                    struct ci_call *call) {
    *call = (struct ci_call){.remote = *remote, .request = request};
    call->remote.connect_seconds = limit(remote->connect_seconds, default_connect);
    call->remote.first_byte_seconds = limit(remote->first_byte_seconds, default_first_byte);
    call->remote.idle_seconds = limit(remote->idle_seconds, default_idle);
    call->remote.total_seconds = limit(remote->total_seconds, default_total);
    call->until = ci_now() + call->remote.total_seconds;
    call->deadline = request->deadline > 0 && request->deadline < call->until;
    if (call->deadline) call->until = request->deadline;
    enum clinfer_status status = ci_call_check(remote, &call->dialect, &call->address);
    if (status == CLINFER_OK) status = write_body(call);
    if (status == CLINFER_OK)
        status = ci_key_read(call->address.label, remote, request->cancel, call->until, &call->key);
    bool late = status == CLINFER_REMOTE_FAILED && call->deadline && ci_now() >= call->until;
    return late ? CLINFER_OUT_OF_TIME : status;
}

void ci_call_free(struct ci_call *call) {
    ci_key_wipe(&call->key);
    free(call->body);
    call->body = NULL;
}

bool ci_call_drop_sampling(struct ci_call *call, enum clinfer_status *status) {
    if (isnan(call->request->temperature) && isnan(call->request->top_p)) return false;
    call->plain = *call->request;
    call->plain.temperature = call->plain.top_p = NAN;
    call->request = &call->plain;
    free(call->body);
    call->body = NULL;
    *status = write_body(call);
    return true;
}

void ci_call_send(const struct ci_call *call, struct ci_http *http, bool want_certificate,
                  struct ci_http_answer *http_answer, struct ci_answer *answer) {
    char key_line[CI_KEY_BYTES + 64];
    const char *headers[HEADERS] = {"content-type: application/json",
                                    call->request->whole ? "accept: application/json"
                                                         : "accept: text/event-stream, application/json"};
    size_t count = 2;
    for (const char *const *own = call->dialect->headers; *own && count < HEADERS - 2; own++) headers[count++] = *own;
    if (*call->key.text) {
        snprintf(key_line, sizeof key_line, "%s%s", call->dialect->key_header, call->key.text);
        headers[count++] = key_line;
    }
    const struct ci_http_request post = {
        .url = call->address.url,
        .headers = headers,
        .body = call->body,
        .body_bytes = strlen(call->body),
        .loopback = call->address.loopback,
        .want_certificate = want_certificate,
        .connect_seconds = call->remote.connect_seconds,
        /* An answer in one piece begins when it is whole: there only the limit of the whole counts. */
        .first_byte_seconds = call->request->whole ? INFINITY : call->remote.first_byte_seconds,
        .idle_seconds = call->remote.idle_seconds,
        .until = call->until,
        .cancel = call->request->cancel,
        .receiver = ci_answer_receive,
        .user = answer,
    };
    ci_log(CLINFER_LOG_DEBUG, "%s: POST %s, %zu bytes", call->address.label, call->address.url, post.body_bytes);
    ci_answer_start(answer, call->dialect, call->request->callback, call->request->call, call->request->user);
    answer->reply.logprobs = call->request->logprobs;
    if (answer->reply.logprobs) ci_text_logprobs_clear(answer->reply.logprobs);
    ci_http_post(http, &post, http_answer);
    ci_answer_end(answer, http_answer->end == CI_HTTP_DONE);
    explicit_bzero(key_line, sizeof key_line);
}
