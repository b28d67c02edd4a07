/* slots.h: what a slot last had in its context, by its tokens, so that it can be saved to a file, restored and erased:
 * clinfer keeps prefixes by tokens, and a slot is only a name for some of them. Only with --slot-save-path. */
#ifndef CI_SERVER_SLOTS_H
#define CI_SERVER_SLOTS_H

#include "server/job.h"

struct ci_slots;

struct ci_slots *ci_slots_create(int count); /* NULL: out of memory */
void ci_slots_destroy(struct ci_slots *slots);

/* A job that said which slot it wants (below 0: none) has this result. */
void ci_slots_note(struct ci_exchange *exchange, const struct ci_job *job, int slot,
                   const struct ci_job_result *result);

/* POST /slots/{id}?action=save|restore|erase */
void ci_slots_change(struct ci_exchange *exchange);

#endif
