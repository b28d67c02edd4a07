#include "base/watch.h"

#include "base/clock.h"

static _Thread_local struct ci_watch *mine;

void ci_watch_by(struct ci_watch *watch) { mine = watch; }

struct ci_watch *ci_watch_mine(void) {
    return mine;
}

enum ci_watch_kind ci_watch_begin(enum ci_watch_kind kind, double estimate) {
    struct ci_watch *watch = mine;
    if (!watch) return CI_WATCH_IDLE;
    /* A reader that sees the new kind with the old time would take a long pause for a silence. */
    atomic_store_explicit(&watch->since, ci_now(), memory_order_release);
    atomic_store_explicit(&watch->estimate, estimate, memory_order_release);
    return (enum ci_watch_kind)atomic_exchange_explicit(&watch->kind, (int)kind, memory_order_acq_rel);
}

/* Seconds for what is under way. */
static double estimated(const struct ci_watch *watch) {
    bool idle = atomic_load_explicit(&watch->kind, memory_order_relaxed) == CI_WATCH_IDLE;
    return idle ? 0 : atomic_load_explicit(&watch->estimate, memory_order_relaxed);
}

void ci_watch_begin_behind(enum ci_watch_kind kind, double estimate) {
    const struct ci_watch *watch = mine;
    if (!watch) return;
    bool builds = atomic_load_explicit(&watch->kind, memory_order_relaxed) == CI_WATCH_BUILD;
    ci_watch_begin(builds ? CI_WATCH_BUILD : kind, estimated(watch) + estimate);
}

void ci_watch_done(double estimate) {
    const struct ci_watch *watch = mine;
    if (!watch) return;
    double rest = estimated(watch) - estimate;
    ci_watch_begin(CI_WATCH_STEP, rest > 0 ? rest : 0);
}

/* One thread writes, so nothing is lost between the two halves. */
void ci_watch_beat(void) {
    struct ci_watch *watch = mine;
    if (!watch) return;
    unsigned beats = atomic_load_explicit(&watch->beats, memory_order_relaxed);
    atomic_store_explicit(&watch->beats, beats + 1, memory_order_relaxed);
}

bool ci_watch_expired(struct ci_watch *watch, const struct ci_watch_limits *limits, double *silent) {
    const double pause = 1; /* between two looks; longer than a busy machine makes one wait */
    double now = ci_now();
    unsigned beats = atomic_load_explicit(&watch->beats, memory_order_relaxed);
    if (now - watch->looked > pause || beats != watch->beats_seen) watch->resumed = now;
    watch->beats_seen = beats;
    watch->looked = now;
    enum ci_watch_kind kind = (enum ci_watch_kind)atomic_load(&watch->kind);
    double limit = limits->build;
    double since = atomic_load(&watch->since);
    *silent = ci_now() - (since > watch->resumed ? since : watch->resumed);
    if (kind == CI_WATCH_IDLE) return false;
    if (kind == CI_WATCH_STEP) {
        double estimate = limits->times * atomic_load(&watch->estimate);
        limit = estimate > limits->step ? estimate : limits->step;
    }
    return *silent > limit;
}
