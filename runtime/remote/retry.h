/* retry.h: when a failed request is sent again, after how long, and what is remembered of remotes: which are left alone
 * for a while, and which models want no sampling settings.
 *
 * Waits have full jitter (AWS Architecture Blog, "Exponential Backoff And Jitter"): anything from nothing to a limit
 * that doubles, so that clients that failed together do not come back together. */
#ifndef CI_REMOTE_RETRY_H
#define CI_REMOTE_RETRY_H

#include <stdbool.h>
#include <stddef.h>

struct ci_retry_policy {
    int retries;             /* beside the first request */
    double first_seconds;    /* the limit of the first wait; that of the next is twice as long */
    double all_seconds;      /* later than this after the start nothing is sent again */
    double cooldown_seconds; /* for so long a remote that failed is not asked */
};

/* Of the whole process; NULL: as shipped (2, 1 s, 60 s, 60 s). Also forgets who failed or refused. */
void ci_retry_set_policy(const struct ci_retry_policy *policy);

/* Seconds to wait after the failure of request number `failed` (from 1), `spent` seconds after the start; negative: it
 * is not sent again. `retry_after` is what the server asks for, 0 if nothing; longer than what is left of the time
 * means no. */
double ci_retry_delay(int failed, double spent, double retry_after);

enum { CI_RETRY_WHY_BYTES = 256 };

/* Whether this URL failed a short time ago: how long it is still left alone, and why (`why` is zero-terminated). */
bool ci_retry_is_cooling(const char *url, double *seconds_left, char why[CI_RETRY_WHY_BYTES]);
void ci_retry_note_failure(const char *url, const char *why);
void ci_retry_note_success(const char *url);

/* Whether this model (NULL: none is named) was noted as one that refuses temperature and top_p. */
bool ci_retry_is_plain(const char *url, const char *model);
void ci_retry_note_plain(const char *url, const char *model);

#endif
