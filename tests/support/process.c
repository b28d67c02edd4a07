#define _GNU_SOURCE
#include "support/process.h"

#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "support/asserts.h"

extern char **environ;

enum { LIMIT_SECONDS = 240, MOST_WORDS = 64, TOO_LONG = -1000 };

static void stop(const char *what) {
    fprintf(stderr, "process: %s: %s\n", what, strerror(errno));
    exit(1);
}

/* ---- files ---- */

static char folder[256];

static int remove_entry(const char *path, const struct stat *status, int kind, struct FTW *walk) {
    (void)status;
    (void)kind;
    (void)walk;
    return remove(path);
}

static void remove_folder(void) { nftw(folder, remove_entry, 16, FTW_DEPTH | FTW_PHYS); }

const char *process_folder(void) {
    if (*folder) return folder;
    const char *base = getenv("TMPDIR");
    snprintf(folder, sizeof folder, "%s/clinfer-test-XXXXXX", base && *base ? base : "/tmp");
    if (!mkdtemp(folder)) stop(folder);
    atexit(remove_folder);
    return folder;
}

const char *process_file(const char *name, const void *data, size_t size) {
    /* Kept, so that neither the caller nor a leak checker has to care. */
    static char *paths[1024];
    static size_t count;
    char *path = NULL;
    if (asprintf(&path, "%s/%s", process_folder(), name) < 0) stop(name);
    size_t at = 0;
    while (at < count && strcmp(paths[at], path) != 0) at++;
    if (at == sizeof paths / sizeof *paths) stop(name);
    if (at < count)
        free(path);
    else
        paths[count++] = path;
    path = paths[at];
    FILE *file = fopen(path, "wbe");
    if (!file || fwrite(data, 1, size, file) != size || fclose(file) != 0) stop(path);
    return path;
}

char *process_read(const char *path, size_t *size) {
    FILE *file = fopen(path, "rbe");
    if (!file || fseek(file, 0, SEEK_END) != 0) stop(path);
    long length = ftell(file);
    char *text = length >= 0 ? malloc((size_t)length + 1) : NULL;
    rewind(file);
    if (!text || fread(text, 1, (size_t)length, file) != (size_t)length) stop(path);
    fclose(file);
    text[length] = 0;
    *size = (size_t)length;
    return text;
}

json_t *process_json(const struct process_result *result) {
    json_error_t error;
    json_t *value = json_loadb(result->out, result->out_length, 0, &error);
    if (!value)
        fail_msg("standard output is no JSON: %s at line %d: %s%s", error.text, error.line, result->out, result->err);
    return value;
}

const char *process_tool(void) {
    const char *path = getenv("CLINFER_TEST_BINARY");
    if (!path) path = getenv("CLINFER_BINARY");
    return path ? path : "./clinfer";
}

const char *process_model(void) {
    static char path[512];
    const char *given = getenv("CLINFER_TEST_MODEL"), *data = getenv("XDG_DATA_HOME"), *home = getenv("HOME");
    if (given) return given;
    static const char name[] = "clinfer/models/smollm2-135m-instruct-q4_1.gguf";
    if (data)
        snprintf(path, sizeof path, "%s/%s", data, name);
    else
        snprintf(path, sizeof path, "%s/.local/share/%s", home ? home : "", name);
    return path;
}

/* ---- children ---- */

static size_t gather(char *words[MOST_WORDS], const char *program, va_list arguments) {
    size_t count = 0;
    for (const char *word = program; word && count + 1 < MOST_WORDS; word = va_arg(arguments, const char *))
        words[count++] = (char *)(size_t)word;
    words[count] = NULL;
    return count;
}

/* This process's environment with changes; the array is the caller's, the strings are not. */
static char **changed_environment(const char *const *changes) {
    size_t count = 0, change_count = 0;
    while (environ[count]) count++;
    while (changes && changes[change_count]) change_count++;
    char **result = calloc(count + change_count + 1, sizeof *result);
    if (!result) stop("environment");
    size_t kept = 0;
    for (size_t i = 0; i < count; i++) {
        size_t name = strcspn(environ[i], "=");
        bool changed = false;
        for (size_t k = 0; k < change_count; k++)
            changed = changed || (strcspn(changes[k], "=") == name && strncmp(changes[k], environ[i], name) == 0);
        if (!changed) result[kept++] = environ[i];
    }
    for (size_t k = 0; k < change_count; k++)
        if (strchr(changes[k], '=')) result[kept++] = (char *)(size_t)changes[k];
    return result;
}

/* Tests that run in the background inherit that SIGINT is ignored; the program is not to. */
static void make_attributes(posix_spawnattr_t *attributes, short flags) {
    sigset_t signals;
    sigemptyset(&signals);
    sigaddset(&signals, SIGINT);
    posix_spawnattr_init(attributes);
    posix_spawnattr_setsigdefault(attributes, &signals);
    posix_spawnattr_setflags(attributes, (short)(flags | POSIX_SPAWN_SETSIGDEF));
}

static int wait_for(pid_t child, double deadline) {
    int status;
    pid_t ended;
    while ((ended = waitpid(child, &status, WNOHANG)) == 0 && ci_now() < deadline)
        nanosleep(&(struct timespec){0, 2000000}, NULL);
    if (ended == 0) {
        kill(child, SIGKILL);
        waitpid(child, &status, 0);
        return TOO_LONG;
    }
    return WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
}

/* Reads a pipe to its end, or until it is to be closed. */
static void read_pipe(struct process_result *result, const struct process_options *options, int fd, pid_t child,
                      double deadline) {
    char block[4096];
    result->out = calloc(1, 1);
    while (ci_now() < deadline) {
        struct pollfd ready = {.fd = fd, .events = POLLIN};
        if (poll(&ready, 1, 100) <= 0) continue;
        ssize_t bytes = read(fd, block, options->close_after ? 1 : sizeof block);
        if (bytes <= 0) break;
        result->out = realloc(result->out, result->out_length + (size_t)bytes + 1);
        if (!result->out) stop("output");
        memcpy(result->out + result->out_length, block, (size_t)bytes);
        if (!result->out_length && options->signal_at_first) kill(child, options->signal_at_first);
        result->out_length += (size_t)bytes;
        result->out[result->out_length] = 0;
        if (options->close_after && result->out_length >= options->close_after) break;
    }
    close(fd);
}

void process_run(struct process_result *result, const struct process_options *options, const char *program, ...) {
    static const struct process_options none = {0};
    if (!options) options = &none;
    char *words[MOST_WORDS];
    va_list arguments;
    va_start(arguments, program);
    gather(words, program, arguments);
    va_end(arguments);
    const char *input = process_file("input", options->input ? options->input : "", options->input_length);
    const char *output = options->output_path ? options->output_path : process_file("output", "", 0);
    const char *errors = process_file("errors", "", 0);
    bool piped = options->close_after || options->signal_at_first;
    int ends[2] = {-1, -1};
    if (piped && pipe2(ends, O_CLOEXEC) != 0) stop("pipe");
    posix_spawn_file_actions_t actions;
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_addopen(&actions, 0, input, O_RDONLY, 0);
    if (piped)
        posix_spawn_file_actions_adddup2(&actions, ends[1], 1);
    else
        posix_spawn_file_actions_addopen(&actions, 1, output, O_WRONLY, 0);
    posix_spawn_file_actions_addopen(&actions, 2, errors, O_WRONLY, 0);
    posix_spawnattr_t attributes;
    make_attributes(&attributes, 0);
    char **environment = changed_environment(options->environment);
    pid_t child;
    *result = (struct process_result){0};
    errno = posix_spawnp(&child, program, &actions, &attributes, words, environment);
    if (errno) stop(program);
    posix_spawn_file_actions_destroy(&actions);
    posix_spawnattr_destroy(&attributes);
    free(environment);
    double deadline = ci_now() + LIMIT_SECONDS;
    if (piped) {
        close(ends[1]);
        read_pipe(result, options, ends[0], child, deadline);
    }
    result->status = wait_for(child, deadline);
    if (!piped && !options->output_path) result->out = process_read(output, &result->out_length);
    result->err = process_read(errors, &result->err_length);
}

void process_free(struct process_result *result) {
    free(result->out);
    free(result->err);
    *result = (struct process_result){0};
}

/* ---- terminals ---- */

void process_terminal_start(struct process_terminal *terminal, const char *program, ...) {
    char *words[MOST_WORDS];
    va_list arguments;
    va_start(arguments, program);
    gather(words, program, arguments);
    va_end(arguments);
    *terminal = (struct process_terminal){.fd = posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC)};
    if (terminal->fd < 0 || grantpt(terminal->fd) != 0 || unlockpt(terminal->fd) != 0) stop("terminal");
    posix_spawn_file_actions_t actions;
    posix_spawnattr_t attributes;
    posix_spawn_file_actions_init(&actions);
    /* In a session of its own the first terminal that is opened becomes the controlling one, which Ctrl-C needs. */
    make_attributes(&attributes, POSIX_SPAWN_SETSID);
    posix_spawn_file_actions_addopen(&actions, 0, ptsname(terminal->fd), O_RDWR, 0);
    posix_spawn_file_actions_adddup2(&actions, 0, 1);
    posix_spawn_file_actions_adddup2(&actions, 0, 2);
    pid_t child;
    errno = posix_spawnp(&child, program, &actions, &attributes, words, environ);
    if (errno) stop(program);
    posix_spawn_file_actions_destroy(&actions);
    posix_spawnattr_destroy(&attributes);
    terminal->child = child;
    terminal->text = calloc(1, 1);
    if (!terminal->text) stop("terminal");
}

void process_terminal_type(struct process_terminal *terminal, const char *text) {
    size_t length = strlen(text);
    if (write(terminal->fd, text, length) != (ssize_t)length) stop("terminal");
}

/* What came within a moment; false when nothing will come any more. */
static bool read_terminal(struct process_terminal *terminal) {
    char block[4096];
    struct pollfd ready = {.fd = terminal->fd, .events = POLLIN};
    if (poll(&ready, 1, 100) <= 0) return true;
    ssize_t bytes = read(terminal->fd, block, sizeof block);
    if (bytes <= 0) return false;
    terminal->text = realloc(terminal->text, terminal->length + (size_t)bytes + 1);
    if (!terminal->text) stop("terminal");
    memcpy(terminal->text + terminal->length, block, (size_t)bytes);
    terminal->length += (size_t)bytes;
    terminal->text[terminal->length] = 0;
    return true;
}

bool process_terminal_expect(struct process_terminal *terminal, size_t *at, const char *wanted) {
    double deadline = ci_now() + LIMIT_SECONDS;
    bool open = true;
    while (true) {
        const char *found = strstr(terminal->text + *at, wanted);
        if (found) {
            *at = (size_t)(found - terminal->text) + strlen(wanted);
            return true;
        }
        if (!open || ci_now() > deadline) break;
        open = read_terminal(terminal);
    }
    fprintf(stderr, "terminal: \"%s\" did not show up; after it was: %s\n", wanted, terminal->text + *at);
    return false;
}

int process_terminal_finish(struct process_terminal *terminal) {
    double deadline = ci_now() + LIMIT_SECONDS;
    while (ci_now() < deadline && read_terminal(terminal)) {
    }
    int status = wait_for(terminal->child, deadline);
    close(terminal->fd);
    free(terminal->text);
    *terminal = (struct process_terminal){.fd = -1};
    return status;
}
