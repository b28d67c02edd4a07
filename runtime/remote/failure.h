/* failure.h: what became of a request: well, or what went wrong in words that say what to do, and whether it may be
 * sent again. */
#ifndef CI_REMOTE_FAILURE_H
#define CI_REMOTE_FAILURE_H

#include <stdbool.h>

#include <clinfer.h>

#include "remote/answer.h"
#include "remote/http.h"

enum { CI_FAILURE_BYTES = 900 };

struct ci_failure {
    enum clinfer_status status; /* CLINFER_OK: there is none */
    bool transient;             /* may be sent again, as far as the failure goes */
    bool key_refused;           /* HTTP 401 */
    bool sampling_refused;      /* what it says of the request is about temperature or top_p */
    bool of_request;            /* another request may do better at once: the remote is not left alone for it */
    double retry_after;
    char text[CI_FAILURE_BYTES];
};

/* What is needed for the words. */
struct ci_failure_context {
    const char *label;
    const struct clinfer_remote *remote; /* with its limits filled in */
    const char *key;                     /* to be kept out of the words; may be "" */
    bool deadline;                       /* the caller's, not the remote's limit, is what http's `until` was */
};

/* For an answer that is neither cancelled nor stopped by its reader. */
void ci_failure_judge(const struct ci_failure_context *context, const struct ci_http_answer *http,
                      const struct ci_answer *answer, struct ci_failure *failure);

#endif
