/* stop.c: see stop.h. */
#include "base/stop.h"

#include <stddef.h>

static _Thread_local struct {
    bool (*stop)(void *user);
    void *user;
} mine;

void ci_stop_by(bool (*stop)(void *user), void *user) {
    mine.stop = stop;
    mine.user = user;
}

bool ci_stop_is_asked(void) { return mine.stop != NULL && mine.stop(mine.user); }
