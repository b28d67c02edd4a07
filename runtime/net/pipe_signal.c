#define _GNU_SOURCE
#include "net/pipe_signal.h"

#include <time.h>

void ci_pipe_signal_hold(sigset_t *before) {
    sigset_t pipe;
    sigemptyset(&pipe);
    sigaddset(&pipe, SIGPIPE);
    pthread_sigmask(SIG_BLOCK, &pipe, before);
}

void ci_pipe_signal_release(const sigset_t *before) {
    sigset_t pipe;
    const struct timespec at_once = {0};
    sigemptyset(&pipe);
    sigaddset(&pipe, SIGPIPE);
    if (!sigismember(before, SIGPIPE)) sigtimedwait(&pipe, NULL, &at_once);
    pthread_sigmask(SIG_SETMASK, before, NULL);
}
