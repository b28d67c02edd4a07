#define _GNU_SOURCE
#include "base/child.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base/status.h"

extern char **environ;

/* A child that has closed its stdout ends a moment later, usually: then it is asked for this often. */
enum { POLL_MILLISECONDS = 2, POLLS_AFTER_KILL = 500 };

static double now(void) {
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (double)time.tv_sec + 1e-9 * (double)time.tv_nsec;
}

static size_t name_length(const char *entry) { return strcspn(entry, "="); }

static bool is_changed(const char *entry, const char *const *changes) {
    size_t length = name_length(entry);
    for (; *changes; changes++)
        if (name_length(*changes) == length && strncmp(entry, *changes, length) == 0) return true;
    return false;
}

/* Our environment with the changes; the strings are borrowed, the array is the caller's to free. */
static const char **changed_environment(const char *const *changes) {
    size_t own = 0, more = 0, count = 0;
    while (environ && environ[own]) own++;
    while (changes[more]) more++;
    const char **result = calloc(own + more + 1, sizeof *result);
    if (!result) return NULL;
    for (size_t i = 0; i < own; i++)
        if (!is_changed(environ[i], changes)) result[count++] = environ[i];
    for (size_t i = 0; i < more; i++)
        if (changes[i][name_length(changes[i])] == '=' && !is_changed(changes[i], changes + i + 1))
            result[count++] = changes[i];
    return result;
}

/* Signals as at the start of a program, a group of its own, and the three standard files. */
static int spawn(const char *path, char *const *arguments, char *const *environment, int output, pid_t *process) {
    posix_spawn_file_actions_t files;
    posix_spawnattr_t attributes;
    sigset_t none, all;
    sigemptyset(&none);
    sigfillset(&all);
    int error = posix_spawn_file_actions_init(&files);
    if (error) return error;
    error = posix_spawnattr_init(&attributes);
    if (error) goto done;
    posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETPGROUP | POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF);
    posix_spawnattr_setpgroup(&attributes, 0);
    posix_spawnattr_setsigmask(&attributes, &none);
    posix_spawnattr_setsigdefault(&attributes, &all);
    error = posix_spawn_file_actions_addopen(&files, STDIN_FILENO, "/dev/null", O_RDONLY, 0);
    if (!error) error = posix_spawn_file_actions_adddup2(&files, output, STDOUT_FILENO);
    if (!error) error = posix_spawn_file_actions_addopen(&files, STDERR_FILENO, "/dev/null", O_WRONLY, 0);
    if (!error) error = posix_spawn(process, path, &files, &attributes, arguments, environment);
    posix_spawnattr_destroy(&attributes);
done:
    posix_spawn_file_actions_destroy(&files);
    return error;
}

enum clinfer_status ci_child_start(const char *path, const char *const *arguments, const char *const *changes,
                                   struct ci_child *child) {
    static const char *const no_changes[] = {NULL};
    *child = (struct ci_child){.pipe = -1, .exit_status = -1};
    const char **environment = changed_environment(changes ? changes : no_changes);
    if (!environment) return ci_fail(CLINFER_OUT_OF_MEMORY, "%s: out of memory", path);
    int ends[2], error = pipe2(ends, O_CLOEXEC | O_NONBLOCK) == 0 ? 0 : errno;
    if (!error) {
        /* The casts: posix_spawn takes char *const[], and promises to leave the strings alone. */
        error = spawn(path, (char *const *)(uintptr_t)arguments, (char *const *)(uintptr_t)environment, ends[1],
                      &child->process);
        close(ends[1]);
        if (error) {
            child->process = 0;
            close(ends[0]);
        } else {
            child->pipe = ends[0];
        }
    }
    free(environment);
    return error ? ci_fail(CLINFER_IO, "%s: cannot start: %s", path, strerror(error)) : CLINFER_OK;
}

static void close_pipe(struct ci_child *child) {
    if (child->pipe >= 0) close(child->pipe);
    child->pipe = -1;
}

/* Takes what is there. What does not fit is read and dropped, so that the child is not held up. */
static void read_output(struct ci_child *child) {
    char dropped[512];
    while (child->pipe >= 0) {
        size_t room = sizeof child->output - 1 - child->output_bytes;
        ssize_t got =
            read(child->pipe, room ? child->output + child->output_bytes : dropped, room ? room : sizeof dropped);
        if (got > 0 && room) child->output_bytes += (size_t)got;
        if (got > 0 || (got < 0 && errno == EINTR)) continue;
        if (got < 0 && errno == EAGAIN) return;
        close_pipe(child);
    }
}

/* Whether it has ended; fills in how. */
static bool has_ended(struct ci_child *child) {
    int state = 0;
    pid_t ended;
    do ended = waitpid(child->process, &state, WNOHANG);
    while (ended < 0 && errno == EINTR);
    if (ended == 0) return false;
    /* ended < 0: somebody else has collected it, or SIGCHLD is ignored; then only its output speaks. */
    if (ended > 0 && WIFEXITED(state)) child->exit_status = WEXITSTATUS(state);
    if (ended > 0 && WIFSIGNALED(state)) child->signal = WTERMSIG(state);
    child->process = 0;
    read_output(child);
    close_pipe(child);
    return true;
}

/* A process that hangs inside the kernel outlives SIGKILL: it is left behind after a second. */
static void kill_late(struct ci_child *child) {
    kill(-child->process, SIGKILL);
    child->timed_out = true;
    for (int i = 0; i < POLLS_AFTER_KILL && !has_ended(child); i++) poll(NULL, 0, POLL_MILLISECONDS);
    child->process = 0;
    close_pipe(child);
}

void ci_child_wait(struct ci_child *children, int count, double seconds) {
    double deadline = now() + seconds;
    for (;;) {
        int running = 0, first_pipe = -1;
        for (int i = 0; i < count; i++) {
            if (children[i].process <= 0) continue;
            read_output(&children[i]);
            if (has_ended(&children[i])) continue;
            if (now() >= deadline) {
                kill_late(&children[i]);
                continue;
            }
            running++;
            if (first_pipe < 0) first_pipe = children[i].pipe;
        }
        if (running == 0) return;
        /* One pipe is enough to be woken in time; a negative one is only a sleep. */
        struct pollfd wait = {.fd = first_pipe, .events = POLLIN};
        poll(&wait, 1, POLL_MILLISECONDS);
    }
}
