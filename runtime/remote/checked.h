/* checked.h: an answer of a remote that has to follow a JSON schema: believed only when it was looked at. */
#ifndef CI_REMOTE_CHECKED_H
#define CI_REMOTE_CHECKED_H

#include "remote/remote.h"

/* ci_remote_ask, and where the request has a schema the answer is held back until it is whole and valid by it; one that
 * is not is asked for once more. CLINFER_REMOTE_FAILED: neither was valid (the message says where and why); no text has
 * come then. A schema that cannot be judged here is the remote's to hold: its answer passes as it is, which is said.
 * Tools' calls are not looked at. */
enum clinfer_status ci_remote_ask_checked(const struct clinfer_remote *remote, const struct ci_remote_request *request,
                                          struct ci_remote_result *result);

#endif
