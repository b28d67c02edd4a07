#define _GNU_SOURCE
#include "base/child.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/status.h"

extern char **environ;

/* A child that has closed its stdout ends a moment later, usually: then it is asked for this often. */
enum { POLL_MILLISECONDS = 2, POLLS_AFTER_KILL = 500 };

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

/* Signals as at the start of a program, a group of its own, and the three standard files; `input` -1: /dev/null. */
static int spawn(const char *path, char *const *arguments, char *const *environment, int input, int output,
                 pid_t *process) {
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
    error = input < 0 ? posix_spawn_file_actions_addopen(&files, STDIN_FILENO, "/dev/null", O_RDONLY, 0)
                      : posix_spawn_file_actions_adddup2(&files, input, STDIN_FILENO);
    if (!error) error = posix_spawn_file_actions_adddup2(&files, output, STDOUT_FILENO);
    if (!error) error = posix_spawn_file_actions_addopen(&files, STDERR_FILENO, "/dev/null", O_WRONLY, 0);
    if (!error) error = posix_spawn(process, path, &files, &attributes, arguments, environment);
    posix_spawnattr_destroy(&attributes);
done:
    posix_spawn_file_actions_destroy(&files);
    return error;
}

/* `ends` are ours and the child's, which is closed; ours is closed only when nothing was started. */
static enum clinfer_status start(const char *path, const char *const *arguments, const char *const *changes,
                                 const int ends[2], bool both_ways, pid_t *process) {
    static const char *const no_changes[] = {NULL};
    const char **environment = changed_environment(changes ? changes : no_changes);
    int error = ENOMEM;
    /* The casts: posix_spawn takes char *const[], and promises to leave the strings alone. */
    if (environment)
        error = spawn(path, (char *const *)(uintptr_t)arguments, (char *const *)(uintptr_t)environment,
                      both_ways ? ends[1] : -1, ends[1], process);
    free(environment);
    close(ends[1]);
    if (!error) return CLINFER_OK;
    *process = 0;
    close(ends[0]);
    if (error == ENOMEM) return ci_fail(CLINFER_OUT_OF_MEMORY, "%s: cannot start: out of memory", path);
    return ci_fail(CLINFER_IO, "%s: cannot start: %s", path, strerror(error));
}

enum clinfer_status ci_child_start(const char *path, const char *const *arguments, const char *const *changes,
                                   struct ci_child *child) {
    *child = (struct ci_child){.pipe = -1, .exit_status = -1};
    int ends[2];
    if (pipe2(ends, O_CLOEXEC | O_NONBLOCK) != 0)
        return ci_fail(CLINFER_IO, "%s: cannot start: %s", path, strerror(errno));
    enum clinfer_status status = start(path, arguments, changes, ends, false, &child->process);
    if (status == CLINFER_OK) child->pipe = ends[0];
    return status;
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

/* Whether the process has ended; fills in how, and makes *process 0. */
static bool collect(pid_t *process, int *exit_status, int *signal) {
    int state = 0;
    pid_t ended;
    do ended = waitpid(*process, &state, WNOHANG);
    while (ended < 0 && errno == EINTR);
    if (ended == 0) return false;
    /* ended < 0: somebody else has collected it, or SIGCHLD is ignored; then only its output speaks. */
    if (ended > 0 && WIFEXITED(state)) *exit_status = WEXITSTATUS(state);
    if (ended > 0 && WIFSIGNALED(state)) *signal = WTERMSIG(state);
    *process = 0;
    return true;
}

static bool has_ended(struct ci_child *child) {
    if (!collect(&child->process, &child->exit_status, &child->signal)) return false;
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

bool ci_child_ended(struct ci_child *child, double seconds) {
    double deadline = ci_now() + seconds;
    while (child->process > 0) {
        read_output(child);
        if (has_ended(child)) return true;
        if (ci_now() >= deadline) return false;
        struct pollfd wait = {.fd = child->pipe, .events = POLLIN};
        poll(&wait, 1, POLL_MILLISECONDS);
    }
    return true;
}

void ci_child_wait(struct ci_child *children, int count, double seconds) {
    double deadline = ci_now() + seconds;
    for (;;) {
        int running = 0, first_pipe = -1;
        for (int i = 0; i < count; i++) {
            if (children[i].process <= 0) continue;
            read_output(&children[i]);
            if (has_ended(&children[i])) continue;
            if (ci_now() >= deadline) {
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

/* ---- dialogues ---- */

enum { FIRST_ROOM = 4096 };

enum clinfer_status ci_dialogue_start(const char *path, const char *const *arguments, const char *const *changes,
                                      struct ci_dialogue *dialogue) {
    *dialogue = (struct ci_dialogue){.exit_status = -1};
    int ends[2];
    /* A socket and not two pipes: writing to one that nobody reads raises no signal. */
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) != 0)
        return ci_fail(CLINFER_IO, "%s: cannot start: %s", path, strerror(errno));
    enum clinfer_status status = start(path, arguments, changes, ends, true, &dialogue->process);
    if (status == CLINFER_OK) dialogue->socket = ends[0];
    return status;
}

static enum clinfer_status send_bytes(struct ci_dialogue *dialogue, const char *bytes, size_t count, double deadline) {
    while (count > 0) {
        ssize_t sent = send(dialogue->socket, bytes, count, MSG_NOSIGNAL | MSG_DONTWAIT);
        if (sent < 0 && errno == EINTR) continue;
        if (sent < 0 && errno == EAGAIN && ci_now() < deadline) {
            struct pollfd wait = {.fd = dialogue->socket, .events = POLLOUT};
            poll(&wait, 1, (int)((deadline - ci_now()) * 1e3) + 1);
            continue;
        }
        if (sent < 0)
            return ci_fail(CLINFER_IO, "process %d takes no more lines: %s", (int)dialogue->process, strerror(errno));
        bytes += sent;
        count -= (size_t)sent;
    }
    return CLINFER_OK;
}

enum clinfer_status ci_dialogue_send(struct ci_dialogue *dialogue, const char *line, double seconds) {
    double deadline = ci_now() + seconds;
    if (dialogue->process <= 0) return ci_fail(CLINFER_IO, "the process to be asked is not running");
    enum clinfer_status status = send_bytes(dialogue, line, strlen(line), deadline);
    return status == CLINFER_OK ? send_bytes(dialogue, "\n", 1, deadline) : status;
}

static bool take_line(struct ci_dialogue *dialogue, const char **line) {
    if (dialogue->used <= dialogue->handed_out) return false; /* there may be no text at all */
    char *start = dialogue->text + dialogue->handed_out;
    char *end = memchr(start, '\n', dialogue->used - dialogue->handed_out);
    if (!end) return false;
    *end = 0;
    *line = start;
    dialogue->handed_out = (size_t)(end + 1 - dialogue->text);
    return true;
}

/* Reads what there is; false at the end of the stream, or without memory for more. */
static bool read_more(struct ci_dialogue *dialogue) {
    if (dialogue->handed_out) {
        dialogue->used -= dialogue->handed_out;
        memmove(dialogue->text, dialogue->text + dialogue->handed_out, dialogue->used);
        dialogue->handed_out = 0;
    }
    if (dialogue->used == dialogue->capacity) {
        size_t capacity = dialogue->capacity ? 2 * dialogue->capacity : FIRST_ROOM;
        char *text = realloc(dialogue->text, capacity);
        if (!text) return false;
        dialogue->text = text;
        dialogue->capacity = capacity;
    }
    ssize_t got;
    do got = recv(dialogue->socket, dialogue->text + dialogue->used, dialogue->capacity - dialogue->used, MSG_DONTWAIT);
    while (got < 0 && errno == EINTR);
    if (got > 0) dialogue->used += (size_t)got;
    return got > 0 || (got < 0 && errno == EAGAIN);
}

enum ci_dialogue_event ci_dialogue_receive(struct ci_dialogue *dialogue, double seconds, const char **line) {
    double deadline = ci_now() + seconds;
    *line = NULL;
    while (dialogue->process > 0) {
        if (take_line(dialogue, line)) return CI_DIALOGUE_LINE;
        double left = deadline - ci_now();
        struct pollfd wait = {.fd = dialogue->socket, .events = POLLIN};
        if (poll(&wait, 1, left > 0 ? (int)(left * 1e3) + 1 : 0) == 0 && ci_now() >= deadline)
            return CI_DIALOGUE_SILENT;
        if (wait.revents && !read_more(dialogue)) break;
    }
    /* Its end is a moment behind that of its output; who closed that and lives on is through with as well. */
    for (int i = 0; dialogue->process > 0 && i < POLLS_AFTER_KILL; i++)
        if (!collect(&dialogue->process, &dialogue->exit_status, &dialogue->signal)) poll(NULL, 0, POLL_MILLISECONDS);
    return CI_DIALOGUE_ENDED;
}

void ci_dialogue_end(struct ci_dialogue *dialogue, double seconds) {
    double deadline = ci_now() + seconds;
    pid_t *process = &dialogue->process;
    if (*process > 0) shutdown(dialogue->socket, SHUT_WR);
    while (*process > 0 && !collect(process, &dialogue->exit_status, &dialogue->signal) && ci_now() < deadline)
        poll(NULL, 0, POLL_MILLISECONDS);
    if (*process > 0) kill(-*process, SIGKILL);
    for (int i = 0; *process > 0 && i < POLLS_AFTER_KILL; i++)
        if (!collect(process, &dialogue->exit_status, &dialogue->signal)) poll(NULL, 0, POLL_MILLISECONDS);
    if (dialogue->socket > 0) close(dialogue->socket);
    free(dialogue->text);
    *dialogue = (struct ci_dialogue){.exit_status = dialogue->exit_status, .signal = dialogue->signal};
}

uint64_t ci_process_resident_bytes(pid_t process) {
    char path[64];
    unsigned long long total = 0, resident = 0, shared = 0;
    snprintf(path, sizeof path, "/proc/%d/statm", (int)process);
    FILE *file = fopen(path, "re");
    if (!file) return 0;
    int found = fscanf(file, "%llu %llu %llu", &total, &resident, &shared);
    fclose(file);
    return found == 3 && resident > shared ? (resident - shared) * (uint64_t)sysconf(_SC_PAGESIZE) : 0;
}

uint64_t ci_proc_bytes(const char *path, const char *name) {
    char line[256];
    unsigned long long kib = 0;
    size_t length = strlen(name);
    FILE *file = fopen(path, "re");
    while (file && fgets(line, sizeof line, file))
        if (strncmp(line, name, length) == 0 && sscanf(line + length, "%llu kB", &kib) == 1) break;
    if (file) fclose(file);
    return (uint64_t)kib * 1024;
}

uint64_t ci_process_peak_bytes(void) { return ci_proc_bytes("/proc/self/status", "VmHWM:"); }

/* proc(5): 5 resets the peak resident size. */
bool ci_process_forget_peak(void) {
    FILE *file = fopen("/proc/self/clear_refs", "we");
    if (!file) return false;
    bool written = fputs("5", file) >= 0;
    return fclose(file) == 0 && written;
}
