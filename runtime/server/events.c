/* events.c: who tells writes to all streams itself, since writing to a stream is copying into its buffer; the handlers
 * of the streams only wait for their end. */
#include "server/events.h"

#include <pthread.h>
#include <stdlib.h>

/* Each takes a thread as long as it lives. */
enum { MOST_FOLLOWERS = 64 };

struct follower {
    struct follower *next;
    struct ci_events *events;
    struct ci_exchange *exchange;
    bool gone;
};

struct ci_events {
    pthread_mutex_t lock;
    pthread_cond_t changed; /* somebody left, all end */
    struct follower *followers;
    int count;
    bool ended;
};

struct ci_events *ci_events_create(void) {
    struct ci_events *events = calloc(1, sizeof *events);
    if (!events) return NULL;
    pthread_mutex_init(&events->lock, NULL);
    pthread_cond_init(&events->changed, NULL);
    return events;
}

void ci_events_destroy(struct ci_events *events) {
    if (!events) return;
    pthread_cond_destroy(&events->changed);
    pthread_mutex_destroy(&events->lock);
    free(events);
}

void ci_events_tell(struct ci_events *events, const char *model, const char *event, json_t *data) {
    json_t *value = json_pack("{s:s, s:s, s:o*}", "model", model, "event", event, "data", data);
    pthread_mutex_lock(&events->lock);
    for (struct follower *follower = events->followers; value && follower; follower = follower->next)
        if (!follower->gone) follower->gone = !ci_stream_json(follower->exchange, NULL, value);
    pthread_cond_broadcast(&events->changed);
    pthread_mutex_unlock(&events->lock);
    json_decref(value);
}

static void on_gone(void *user) {
    struct follower *follower = user;
    pthread_mutex_lock(&follower->events->lock);
    follower->gone = true;
    pthread_cond_broadcast(&follower->events->changed);
    pthread_mutex_unlock(&follower->events->lock);
}

/* false: there are too many. */
static bool enter(struct ci_events *events, struct follower *follower) {
    pthread_mutex_lock(&events->lock);
    bool room = events->count < MOST_FOLLOWERS;
    if (room) {
        ci_stream_begin(follower->exchange, "text/event-stream");
        follower->next = events->followers;
        events->followers = follower;
        events->count++;
    }
    pthread_mutex_unlock(&events->lock);
    return room;
}

static void wait_and_leave(struct ci_events *events, struct follower *follower) {
    pthread_mutex_lock(&events->lock);
    while (!follower->gone && !events->ended) pthread_cond_wait(&events->changed, &events->lock);
    struct follower **link = &events->followers;
    while (*link != follower) link = &(*link)->next;
    *link = follower->next;
    events->count--;
    pthread_mutex_unlock(&events->lock);
}

void ci_events_follow(struct ci_events *events, struct ci_exchange *exchange) {
    static const struct ci_failure full = {
        .kind = CI_FAIL_BUSY, .message = "too many follow the events of this server already", .retry_after = 30};
    struct follower follower = {.events = events, .exchange = exchange};
    if (!enter(events, &follower)) {
        ci_exchange_fail(exchange, &full);
        return;
    }
    ci_exchange_on_gone(exchange, on_gone, &follower);
    wait_and_leave(events, &follower);
    ci_exchange_on_gone(exchange, NULL, NULL);
    ci_stream_end(exchange, true);
}

void ci_events_end(struct ci_events *events) {
    if (!events) return;
    pthread_mutex_lock(&events->lock);
    events->ended = true;
    pthread_cond_broadcast(&events->changed);
    pthread_mutex_unlock(&events->lock);
}
