/* watch.h: signs of life of a thread that may hang in a driver.
 *
 * The thread says what it begins and how long that should take; whoever waits for it looks, and gives it up when it has
 * been silent for too long. A sign is two stores and a look at the clock, so it may be given for every run of a plan; a
 * beat is one addition, so it may be given for every kernel. Threads that nobody watches give signs to nobody. */
#ifndef CI_BASE_WATCH_H
#define CI_BASE_WATCH_H

#include <stdatomic.h>
#include <stdbool.h>

/* IDLE: in nobody's driver, such as a text callback. BUILD: compiles kernels, loads weights. STEP: anything else on a
 * device: runs a plan, copies pages. */
enum ci_watch_kind { CI_WATCH_IDLE, CI_WATCH_BUILD, CI_WATCH_STEP };

/* Starts zeroed. */
struct ci_watch {
    atomic_int kind;
    _Atomic double since;    /* of ci_now() */
    _Atomic double estimate; /* seconds that it should take */
    atomic_uint beats;
    double looked, resumed; /* of who waits: the last look, and the first one after a pause of its own or a beat */
    unsigned beats_seen;    /* at the last look */

    /* of the thread itself: runs that began and that have been waited for, and their estimates, since it was made; the
     * run up to which it is building */
    unsigned long begun, waited, built;
    double begun_seconds, waited_seconds;
};

/* Who watches the calling thread from now on; NULL: nobody. The object must outlive the thread, or the next call. */
void ci_watch_by(struct ci_watch *watch);

/* The calling thread's, to be handed to threads that work for it. */
struct ci_watch *ci_watch_mine(void);

/* A sign of life of the calling thread, and what it does next. Returns what it did before. */
enum ci_watch_kind ci_watch_begin(enum ci_watch_kind kind, double estimate);

/* A run begins behind those that are under way, in a device's queue: the estimate is for all of them. It is a step, or
 * building while that is not known to be over. */
void ci_watch_begin_behind(double estimate);

/* What is enqueued next is compiled first, or reads weights for the first time: it is building until the run that began
 * last has been waited for. */
void ci_watch_build_queued(void);

/* The run that began last, to be told when it has been waited for, and with it all that began before. Whoever leads an
 * engine next may be the one who waits: of another thread's runs its watch knows nothing. */
struct ci_watch_run {
    const struct ci_watch *of;
    unsigned long number;
    double seconds;
};

struct ci_watch_run ci_watch_run(void);
void ci_watch_done(const struct ci_watch_run *run);

/* A step with nothing in the queue before it: all of that has been waited for, or counts for nothing. */
void ci_watch_begin_alone(double estimate);

/* In nobody's driver for a while, whatever is in the queue; then as before. */
struct ci_watch_pause {
    enum ci_watch_kind kind;
    double estimate;
};

struct ci_watch_pause ci_watch_pause(void);
void ci_watch_resume(const struct ci_watch_pause *pause);

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
