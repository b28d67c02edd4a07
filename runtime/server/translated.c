#include "server/translated.h"

#include "base/status.h"

void ci_translated_fail(struct ci_exchange *exchange, const struct ci_translation *translation) {
    const struct ci_failure failure = {.kind = translation->no_memory ? CI_FAIL_SERVER : CI_FAIL_INVALID,
                                       .message = translation->problem,
                                       .param = translation->param};
    ci_exchange_fail(exchange, &failure);
}

bool ci_translated_count(struct ci_exchange *exchange, struct ci_job *job, size_t *count) {
    int32_t *tokens = NULL;
    if (!ci_job_take(exchange, job)) return false;
    enum clinfer_status status =
        clinfer_router_prompt(ci_job_router(exchange, job), &job->request, NULL, NULL, &tokens, count);
    if (status != CLINFER_OK) {
        struct ci_failure failure = ci_failure_of_status(status, clinfer_error());
        ci_exchange_fail(exchange, &failure);
    }
    clinfer_free(tokens);
    ci_job_give_back(exchange, job);
    return status == CLINFER_OK;
}
