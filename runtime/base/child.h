/* child.h: programs run aside, with a deadline: what may crash or hang is tried there first.
 *
 * Children are started with posix_spawn, never fork: the process may have threads and an OpenCL driver in it. Each is
 * the leader of a process group, so that what it starts ends with it. Its stdout is read; stdin and stderr are
 * /dev/null. */
#ifndef CI_BASE_CHILD_H
#define CI_BASE_CHILD_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

#include <clinfer.h>

enum { CI_CHILD_OUTPUT = 4096 };

struct ci_child {
    pid_t process; /* 0: not running */
    int pipe;
    bool timed_out;  /* killed when the deadline had passed */
    int exit_status; /* -1 when it did not exit, or when this process ignores SIGCHLD and nobody knows */
    int signal;      /* that ended it, or 0 */
    size_t output_bytes;
    char output[CI_CHILD_OUTPUT]; /* the first bytes of its stdout, zero-terminated */
};

/* Starts `path`. `arguments` as for main, NULL-terminated. `changes` to the environment, NULL-terminated: "NAME=value"
 * sets, "NAME" removes, the last one of a name counts; may be NULL. */
enum clinfer_status ci_child_start(const char *path, const char *const *arguments, const char *const *changes,
                                   struct ci_child *child);

/* Waits until all have ended; after `seconds` those that have not are killed. Every child that was started must come
 * through here; those that were not (all zero) are passed over. */
void ci_child_wait(struct ci_child *children, int count, double seconds);

#endif
