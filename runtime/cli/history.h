/* history.h: messages of earlier chats, in a file that only its user may read: $XDG_STATE_HOME/clinfer/history.
 *
 * One message a line, in which "\n" is a line break and "\\" a backslash, so that people can read and cut it. Each
 * message is appended at once, by one write, so that several chats may do so; what is too much goes when a chat begins.
 * A file that cannot be read or written costs the history, with a word about it, and nothing else. */
#ifndef CI_CLI_HISTORY_H
#define CI_CLI_HISTORY_H

#include <stddef.h>

#include <clinfer.h>

enum { CI_HISTORY_MESSAGES = 1000, CI_HISTORY_MESSAGE_BYTES = 64 << 10 };

/* The caller frees. NULL: no home. */
char *ci_history_path(void);

/* Calls `each` with the last CI_HISTORY_MESSAGES messages, the oldest first. */
typedef void ci_history_each(void *user, const char *text, size_t length);
void ci_history_read(const char *path, ci_history_each *each, void *user);

/* One that is longer than CI_HISTORY_MESSAGE_BYTES is left out, and so is each where the file is full. CLINFER_IO: why
 * it cannot be kept. */
enum clinfer_status ci_history_append(const char *path, const char *text, size_t length);

#endif
