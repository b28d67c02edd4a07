/* watch.h: signs of life of a thread that may hang in a driver.
 *
 * The thread says what it begins and how long that should take; whoever waits for it looks, and gives it up when it has
 * been silent for too long. A sign is two stores and a look at the clock, so it may be given for every run of a plan; a
 * beat is one addition, so it may be given for every kernel. Threads that nobody watches give signs to nobody. */
#ifndef CI_BASE_WATCH_H
#define CI_BASE_WATCH_H

#include <stdatomic.h>
#include <stdbool.h>

/* IDLE: in nobody's driver, such as a text callback. BUILD: compiles kernels, loads weights. STEP: runs a plan. */
enum ci_watch_kind { CI_WATCH_IDLE, CI_WATCH_BUILD, CI_WATCH_STEP };

/* Starts zeroed. */
struct ci_watch {
    atomic_int kind;
    _Atomic double since;    /* of ci_now() */
    _Atomic double estimate; /* seconds that it should take */
    atomic_uint beats;
    double looked, resumed; /* of who waits: the last look, and the first one after a pause of its own or a beat */
    unsigned beats_seen;    /* at the last look */
};

/* Who watches the calling thread from now on; NULL: nobody. The object must outlive the thread, or the next call. */
void ci_watch_by(struct ci_watch *watch);

/* The calling thread's, to be handed to threads that work for it. */
struct ci_watch *ci_watch_mine(void);

/* A sign of life of the calling thread, and what it does next. Returns what it did before. */
enum ci_watch_kind ci_watch_begin(enum ci_watch_kind kind, double estimate);

/* The same for what begins behind that which is under way, in a device's queue: the estimate is for all of it, and so
 * is the time for building. */
void ci_watch_begin_behind(enum ci_watch_kind kind, double estimate);

/* The first of those has been waited for, whose estimate this was: steps are left, and the rest of the time. */
void ci_watch_done(double estimate);

/* A sign of life in the middle of it: something of it is done. */
void ci_watch_beat(void);

/* How long a silence may be, seconds. A step may also take `times` its own estimate. */
struct ci_watch_limits {
    double step, build, times;
};

/* Whether it has been silent for longer than that; *silent: for how long. To be asked by one thread at a time, several
 * times a second: when that did not look for longer, the process was stopped (Ctrl-Z, a debugger), which says nothing
 * of a device, and the silence counts from now on. */
bool ci_watch_expired(struct ci_watch *watch, const struct ci_watch_limits *limits, double *silent);

#endif
