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

static void go_on(const struct ci_watch *watch) {
    double rest = watch->begun_seconds - watch->waited_seconds;
    ci_watch_begin(watch->built > watch->waited ? CI_WATCH_BUILD : CI_WATCH_STEP, rest > 0 ? rest : 0);
}

void ci_watch_begin_behind(double estimate) {
    struct ci_watch *watch = mine;
    if (!watch) return;
    watch->begun++;
    watch->begun_seconds += estimate;
    go_on(watch);
}

void ci_watch_build_queued(void) {
    struct ci_watch *watch = mine;
    if (!watch) return;
    watch->begun += watch->begun == watch->waited; /* it is no part of a run, but something to wait for */
    watch->built = watch->begun;
    go_on(watch);
}

struct ci_watch_run ci_watch_run(void) {
    return mine ? (struct ci_watch_run){mine, mine->begun, mine->begun_seconds} : (struct ci_watch_run){0};
}

void ci_watch_done(const struct ci_watch_run *run) {
    struct ci_watch *watch = mine;
    if (!watch) return;
    bool own = run->of == watch;
    if (own && run->number > watch->waited) watch->waited = run->number;
    if (own && run->seconds > watch->waited_seconds) watch->waited_seconds = run->seconds;
    go_on(watch);
}

void ci_watch_begin_alone(double estimate) {
    struct ci_watch *watch = mine;
    if (!watch) return;
    watch->waited = watch->begun++;
    watch->waited_seconds = watch->begun_seconds;
    watch->begun_seconds += estimate;
    go_on(watch);
}

struct ci_watch_pause ci_watch_pause(void) {
    struct ci_watch_pause pause = {.estimate = mine ? atomic_load(&mine->estimate) : 0};
    pause.kind = ci_watch_begin(CI_WATCH_IDLE, 0);
    return pause;
}

void ci_watch_resume(const struct ci_watch_pause *pause) { ci_watch_begin(pause->kind, pause->estimate); }

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
