/* pipe_signal.h: what OpenSSL writes to a closed connection raises SIGPIPE, which is nobody's business but ours: the
 * thread that asks a server holds the signal back, and takes out what came meanwhile. */
#ifndef CI_NET_PIPE_SIGNAL_H
#define CI_NET_PIPE_SIGNAL_H

#include <signal.h>

/* *before gets the thread's signals, for ci_pipe_signal_release(). */
void ci_pipe_signal_hold(sigset_t *before);
void ci_pipe_signal_release(const sigset_t *before);

#endif
