/* events.h: what happens to models, told to whoever follows it: GET /models/sse, as llama-server has it. */
#ifndef CI_SERVER_EVENTS_H
#define CI_SERVER_EVENTS_H

#include "server/exchange.h"

struct ci_events;

struct ci_events *ci_events_create(void); /* NULL: out of memory */
/* Nobody follows any more. */
void ci_events_destroy(struct ci_events *events);

/* {"model", "event", "data"} to all who follow; `data` (or NULL) is taken. From any thread, never blocks. */
void ci_events_tell(struct ci_events *events, const char *model, const char *event, json_t *data);

/* A handler: the stream of what is told from now on, until its client leaves or the server ends. */
void ci_events_follow(struct ci_events *events, struct ci_exchange *exchange);

/* Ends all streams, and those to come. */
void ci_events_end(struct ci_events *events);

#endif
