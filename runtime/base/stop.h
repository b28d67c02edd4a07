/* stop.h: whether what the calling thread does is still wanted.
 *
 * Whoever gives a thread work that may take long says so here; what takes long asks now and then, however many
 * functions lie between the two. */
#ifndef CI_BASE_STOP_H
#define CI_BASE_STOP_H

#include <stdbool.h>

/* From now on `stop` is asked with `user` on the calling thread; NULL: nobody is, and all is wanted. */
void ci_stop_by(bool (*stop)(void *user), void *user);

/* Whether to end as soon as possible. Cheap enough for every tenth of a millisecond. */
bool ci_stop_is_asked(void);

#endif
