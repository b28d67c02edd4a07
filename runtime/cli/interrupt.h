/* interrupt.h: Ctrl-C ends what is being generated, and not the program.
 *
 * Sessions and conversations that generate are watched; the handler cancels them all. It only ever runs on the thread
 * that called ci_interrupt_start() (others pass the signal on), so one that was unwatched there is safe to destroy.
 * Where that is of no use (a driver that hangs, a standard output that nobody reads), another Ctrl-C two seconds later
 * ends the process, or the third in a row. */
#ifndef CI_CLI_INTERRUPT_H
#define CI_CLI_INTERRUPT_H

#include <clinfer.h>
#include <stdbool.h>

enum { CI_INTERRUPT_SESSIONS = 64 };

void ci_interrupt_start(void);

/* At most CI_INTERRUPT_SESSIONS at a time. `cancel` is called with the object from the signal handler. */
typedef void ci_interrupt_cancel(void *object);
void ci_interrupt_watch(void *object, ci_interrupt_cancel *cancel);
void ci_interrupt_unwatch(const void *object);

/* Whether Ctrl-C came since the last call of ci_interrupt_clear(). */
bool ci_interrupted(void);
void ci_interrupt_clear(void);

/* Waits until standard input can be read; false when Ctrl-C came, now or since ci_interrupt_clear(). None is lost
 * between the question and the wait, as it would be in front of a plain read. */
bool ci_interrupt_wait_input(void);

#endif
