#define _GNU_SOURCE
#include "cli/interrupt.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <unistd.h>

#include "cli/output.h"

enum { GIVE_UP_AFTER = 3 };
static const double in_vain_seconds = 2;

static pthread_t owner;
static _Atomic(void *) watched[CI_INTERRUPT_SESSIONS];
static ci_interrupt_cancel *cancels[CI_INTERRUPT_SESSIONS]; /* of what is watched */
static atomic_int presses;
static _Atomic double first_press;

static void on_interrupt(int signal_number) {
    if (!pthread_equal(pthread_self(), owner)) {
        pthread_kill(owner, signal_number);
        return;
    }
    int count = atomic_fetch_add(&presses, 1) + 1;
    bool generating = false;
    for (int i = 0; i < CI_INTERRUPT_SESSIONS; i++) {
        void *object = atomic_load(&watched[i]);
        if (!object) continue;
        generating = true;
        cancels[i](object);
    }
    if (count == 1) atomic_store(&first_press, ci_seconds());
    bool in_vain = count >= GIVE_UP_AFTER || ci_seconds() - atomic_load(&first_press) > in_vain_seconds;
    if (generating && in_vain) _exit(128 + signal_number);
}

void ci_interrupt_start(void) {
    /* Who starts a program in the background asks for Ctrl-C not to reach it. */
    struct sigaction before;
    if (sigaction(SIGINT, NULL, &before) == 0 && before.sa_handler == SIG_IGN) return;
    owner = pthread_self();
    /* Without SA_RESTART: a read of the terminal is to end too. */
    struct sigaction action = {.sa_handler = on_interrupt};
    sigemptyset(&action.sa_mask);
    sigaction(SIGINT, &action, NULL);
}

void ci_interrupt_watch(void *object, ci_interrupt_cancel *cancel) {
    for (int i = 0; i < CI_INTERRUPT_SESSIONS; i++) {
        if (atomic_load(&watched[i])) continue;
        cancels[i] = cancel;
        atomic_store(&watched[i], object);
        /* It may have come just before. */
        if (ci_interrupted()) cancel(object);
        return;
    }
}

void ci_interrupt_unwatch(const void *object) {
    for (int i = 0; i < CI_INTERRUPT_SESSIONS; i++)
        if (atomic_load(&watched[i]) == object) atomic_store(&watched[i], NULL);
}

bool ci_interrupt_wait_input(void) {
    sigset_t interrupt, before;
    sigemptyset(&interrupt);
    sigaddset(&interrupt, SIGINT);
    pthread_sigmask(SIG_BLOCK, &interrupt, &before);
    struct pollfd input = {.fd = STDIN_FILENO, .events = POLLIN};
    /* Another signal, a changed window for one, is no reason to stop waiting. */
    while (!ci_interrupted() && ppoll(&input, 1, NULL, &before) < 0 && errno == EINTR) {
    }
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return !ci_interrupted();
}

bool ci_interrupted(void) { return atomic_load(&presses) > 0; }

void ci_interrupt_clear(void) { atomic_store(&presses, 0); }
