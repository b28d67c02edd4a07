/* call.h: a request made ready to be sent, as often as it takes: policy, place, key, body. */
#ifndef CI_REMOTE_CALL_H
#define CI_REMOTE_CALL_H

#include <clinfer.h>

#include "remote/address.h"
#include "remote/answer.h"
#include "remote/dialect.h"
#include "remote/http.h"
#include "remote/key.h"
#include "remote/remote.h"

struct ci_call {
    struct clinfer_remote remote; /* a copy, with its limits filled in */
    const struct ci_remote_request *request;
    struct ci_remote_request plain; /* `request`, once the remote did not take what it said of sampling */
    const struct ci_dialect *dialect;
    struct ci_address address;
    struct ci_key key;
    char *body;
    double until;  /* the remote's limit or the request's deadline, whichever comes first; in the clock of ci_now() */
    bool deadline; /* it is the deadline */
};

/* As ci_remote_check; leaves where and how. */
enum clinfer_status ci_call_check(const struct clinfer_remote *remote, const struct ci_dialect **dialect,
                                  struct ci_address *address);

/* Free in any case; the request is borrowed until then. CLINFER_CANCELLED: while the key was fetched. */
enum clinfer_status ci_call_prepare(const struct clinfer_remote *remote, const struct ci_remote_request *request,
                                    struct ci_call *call);
void ci_call_free(struct ci_call *call);

/* The same request without temperature and top_p; false, and nothing happens, where it has neither. */
bool ci_call_drop_sampling(struct ci_call *call, enum clinfer_status *status);

/* Sends it once. `answer` is to be freed whatever came. */
void ci_call_send(const struct ci_call *call, struct ci_http *http, bool want_certificate,
                  struct ci_http_answer *http_answer, struct ci_answer *answer);

#endif
