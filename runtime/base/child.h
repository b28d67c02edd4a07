/* child.h: programs run aside, with a deadline: what may crash or hang is tried there first.
 *
 * Children are started with posix_spawn, never fork: the process may have threads and an OpenCL driver in it. Each is
 * the leader of a process group, so that what it starts ends with it. Stderr is /dev/null.
 *
 * A struct ci_child runs once: stdin is /dev/null, stdout is read. A struct ci_dialogue lives long and is asked and
 * answers line by line. */
#ifndef CI_BASE_CHILD_H
#define CI_BASE_CHILD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
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

/* Whether it has ended; waits for that up to `seconds`, and leaves it running. It must still come through
 * ci_child_wait. */
bool ci_child_ended(struct ci_child *child, double seconds);

/* One socket is both its stdin and its stdout; it ends (for the child: end of input) when this process does. */
struct ci_dialogue {
    pid_t process; /* 0: not running */
    int socket;
    int exit_status, signal; /* how it ended, as in struct ci_child */
    char *text;              /* [used], of room for `capacity`: what came and was not handed out yet */
    size_t used, capacity, handed_out;
};

/* As ci_child_start. */
enum clinfer_status ci_dialogue_start(const char *path, const char *const *arguments, const char *const *changes,
                                      struct ci_dialogue *dialogue);

/* Sends `line` and a newline; CLINFER_IO when the child does not take it within `seconds` or is gone. */
enum clinfer_status ci_dialogue_send(struct ci_dialogue *dialogue, const char *line, double seconds);

enum ci_dialogue_event {
    CI_DIALOGUE_LINE,   /* *line is one, without newline, valid until the next call */
    CI_DIALOGUE_SILENT, /* none came in time */
    CI_DIALOGUE_ENDED,  /* it ended (exit_status and signal tell how) or closed its stdout, or memory is out */
};
enum ci_dialogue_event ci_dialogue_receive(struct ci_dialogue *dialogue, double seconds, const char **line);

/* Closes the child's stdin, waits for its end up to `seconds`, then kills it and all of its group. Releases what the
 * dialogue holds; exit_status and signal stay. May be called again, and for one that was never started (all zero). */
void ci_dialogue_end(struct ci_dialogue *dialogue, double seconds);

/* Memory of a process's own that is in use at this moment, in bytes: pages of mapped files, which can be had again, do
 * not count. 0 when it is gone. */
uint64_t ci_process_resident_bytes(pid_t process);

/* What a file of /proc says in a line "NAME:  123 kB", in bytes; `name` is "MemAvailable:". 0: it does not say it. */
uint64_t ci_proc_bytes(const char *path, const char *name);

/* The most that this process has ever had in memory at once, mapped files included, since its start or since
 * ci_process_forget_peak(). 0: not known. getrusage() was rejected: after posix_spawn() it includes the parent's. */
uint64_t ci_process_peak_bytes(void);

/* false: the system cannot do that, and the peak stays that of the whole life. */
bool ci_process_forget_peak(void);

#endif
