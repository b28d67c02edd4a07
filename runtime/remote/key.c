#define _GNU_SOURCE
#include "remote/key.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/child.h"
#include "base/clock.h"
#include "base/status.h"
#include "base/text_file.h"

/* A command may have to ask its user to unlock something. */
static const double command_seconds = 60, look_seconds = 0.02;

bool ci_key_configured(const struct clinfer_remote *remote) {
    return remote->key_variable || remote->key_file || remote->key_command;
}

void ci_key_source(const struct clinfer_remote *remote, char source[CI_KEY_SOURCE_BYTES]) {
    if (remote->key_variable)
        snprintf(source, CI_KEY_SOURCE_BYTES, "$%.100s", remote->key_variable);
    else if (remote->key_file)
        snprintf(source, CI_KEY_SOURCE_BYTES, "%.300s", remote->key_file);
    else if (remote->key_command)
        snprintf(source, CI_KEY_SOURCE_BYTES, "what `%.200s` prints", remote->key_command);
    else
        snprintf(source, CI_KEY_SOURCE_BYTES, "none (key_variable, key_file or key_command names one)");
}

void ci_key_wipe(struct ci_key *key) { explicit_bzero(key, sizeof *key); }

/* ---- what commands have printed ---- */

enum { KEPT = 8 };

/* By its command alone: two remotes with the same one have the same key. */
static struct kept {
    char *command; /* NULL: free */
    struct ci_key key;
} all_kept[KEPT];
static int next_kept;                                         /* the oldest */
static pthread_mutex_t kept_lock = PTHREAD_MUTEX_INITIALIZER; /* of both */

static struct kept *find_kept(const char *command) {
    for (int i = 0; i < KEPT; i++)
        if (all_kept[i].command && strcmp(all_kept[i].command, command) == 0) return &all_kept[i];
    return NULL;
}

static bool take_kept(const char *command, struct ci_key *key) {
    pthread_mutex_lock(&kept_lock);
    const struct kept *kept = find_kept(command);
    if (kept) *key = kept->key;
    key->kept = kept != NULL;
    pthread_mutex_unlock(&kept_lock);
    return key->kept;
}

static void drop(struct kept *kept) {
    ci_key_wipe(&kept->key);
    free(kept->command);
    kept->command = NULL;
}

/* Where memory is out the command runs again the next time. */
static void keep(const char *command, const struct ci_key *key) {
    pthread_mutex_lock(&kept_lock);
    struct kept *kept = find_kept(command); /* another thread may have been first */
    if (!kept) {
        kept = &all_kept[next_kept];
        next_kept = (next_kept + 1) % KEPT;
    }
    drop(kept);
    mlock(kept, sizeof *kept);
    kept->command = strdup(command);
    if (kept->command) kept->key = *key;
    pthread_mutex_unlock(&kept_lock);
}

void ci_key_forget(const struct clinfer_remote *remote) {
    if (!remote->key_command) return;
    pthread_mutex_lock(&kept_lock);
    struct kept *kept = find_kept(remote->key_command);
    if (kept) drop(kept);
    pthread_mutex_unlock(&kept_lock);
}

/* ---- sources ---- */

/* The first line without spaces around it, made of what a header can hold: anything else is no key, and might end the
 * header and begin another. What is wrong is said without the text itself. */
static enum clinfer_status take(const char *label, const char *source, const char *text, size_t length,
                                struct ci_key *key) {
    size_t mark = ci_text_mark(text, length);
    text += mark, length -= mark;
    while (length && (*text == ' ' || *text == '\t')) text++, length--;
    const char *end = memchr(text, '\n', length);
    if (end) length = (size_t)(end - text);
    while (length && (text[length - 1] == ' ' || text[length - 1] == '\t' || text[length - 1] == '\r')) length--;
    if (!length) return ci_fail(CLINFER_REMOTE_FAILED, "%s: its key, %s, is empty", label, source);
    if (length >= sizeof key->text)
        return ci_fail(CLINFER_REMOTE_FAILED, "%s: its key, %s, has %zu bytes; a key has %zu at most", label, source,
                       length, sizeof key->text - 1);
    for (size_t i = 0; i < length; i++)
        if (text[i] <= 0x20 || text[i] >= 0x7f)
            return ci_fail(
                CLINFER_REMOTE_FAILED,
                "%s: its key, %s, has the byte 0x%02x at position %zu; keys are printable ASCII without spaces", label,
                source, (unsigned char)text[i], i + 1);
    memcpy(key->text, text, length);
    key->text[length] = 0;
    return CLINFER_OK;
}

static enum clinfer_status from_variable(const char *label, const struct clinfer_remote *remote, const char *source,
                                         struct ci_key *key) {
    const char *value = getenv(remote->key_variable);
    if (!value || !*value)
        return ci_fail(
            CLINFER_REMOTE_FAILED,
            "%s: its key is to come from %s, which is not set; set it, or name another key_variable, key_file "
            "or key_command",
            label, source);
    return take(label, source, value, strlen(value), key);
}

/* Checked on what was opened, not on a path that may change. */
static enum clinfer_status check_file(const char *label, const char *path, int fd) {
    struct stat file;
    if (fstat(fd, &file) != 0)
        return ci_fail(CLINFER_REMOTE_FAILED, "%s: key file %.300s: %s", label, path, strerror(errno));
    if (!S_ISREG(file.st_mode)) return ci_fail(CLINFER_REFUSED, "%s: key file %.300s is no plain file", label, path);
    if (file.st_uid != geteuid())
        return ci_fail(CLINFER_REFUSED, "%s: key file %.300s belongs to user %ld, not to you (%ld); chown it", label,
                       path, (long)file.st_uid, (long)geteuid());
    if (file.st_mode & 077)
        return ci_fail(CLINFER_REFUSED, "%s: key file %.300s has mode %04o, so that others may use it; chmod 600 it",
                       label, path, (unsigned)(file.st_mode & 07777));
    return CLINFER_OK;
}

static enum clinfer_status from_file(const char *label, const struct clinfer_remote *remote, const char *source,
                                     struct ci_key *key) {
    char text[CI_KEY_BYTES + 1];
    /* Without O_NONBLOCK a pipe of that name would keep us waiting. */
    int fd = open(remote->key_file, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0)
        return ci_fail(CLINFER_REMOTE_FAILED, "%s: key file %.300s: %s", label, remote->key_file, strerror(errno));
    enum clinfer_status status = check_file(label, remote->key_file, fd);
    if (status == CLINFER_OK) {
        ssize_t got;
        do got = read(fd, text, sizeof text);
        while (got < 0 && errno == EINTR);
        if (got < 0)
            status =
                ci_fail(CLINFER_REMOTE_FAILED, "%s: key file %.300s: %s", label, remote->key_file, strerror(errno));
        else
            status = take(label, source, text, (size_t)got, key);
        explicit_bzero(text, sizeof text);
    }
    close(fd);
    return status;
}

static enum clinfer_status from_command(const char *label, const struct clinfer_remote *remote, const char *source,
                                        const atomic_bool *cancel, double until, struct ci_key *key) {
    const char *const arguments[] = {"sh", "-c", remote->key_command, NULL};
    struct ci_child child;
    if (take_kept(remote->key_command, key)) return CLINFER_OK;
    enum clinfer_status status = ci_child_start("/bin/sh", arguments, NULL, &child);
    if (status != CLINFER_OK) return ci_fail_prefix(status, "%s: key_command", label);
    double given_up = ci_now() + command_seconds;
    if (until < given_up) given_up = until;
    bool cancelled = false;
    while (!ci_child_ended(&child, look_seconds) && ci_now() < given_up && !cancelled)
        cancelled = cancel && atomic_load(cancel);
    ci_child_wait(&child, 1, 0);
    if (cancelled)
        status = ci_fail(CLINFER_CANCELLED, "%s: cancelled while `%.200s` ran", label, remote->key_command);
    else if (child.timed_out)
        status = ci_fail(CLINFER_REMOTE_FAILED,
                         "%s: key_command `%.200s` printed no key in time; does it wait for somebody?", label,
                         remote->key_command);
    else if (child.exit_status > 0 || child.signal)
        status = ci_fail(CLINFER_REMOTE_FAILED, "%s: key_command `%.200s` failed (%s %d); try it in a shell", label,
                         remote->key_command, child.signal ? "signal" : "exit status",
                         child.signal ? child.signal : child.exit_status);
    else
        status = take(label, source, child.output, child.output_bytes, key);
    explicit_bzero(&child, sizeof child);
    if (status == CLINFER_OK) keep(remote->key_command, key);
    return status;
}

enum clinfer_status ci_key_read(const char *label, const struct clinfer_remote *remote, const atomic_bool *cancel,
                                double until, struct ci_key *key) {
    char source[CI_KEY_SOURCE_BYTES];
    key->text[0] = 0;
    key->kept = false;
    if (!ci_key_configured(remote)) return CLINFER_OK;
    prctl(PR_SET_DUMPABLE, 0, 0, 0, 0);
    ci_key_source(remote, source);
    enum clinfer_status status;
    if (remote->key_variable)
        status = from_variable(label, remote, source, key);
    else if (remote->key_file)
        status = from_file(label, remote, source, key);
    else
        status = from_command(label, remote, source, cancel, until, key);
    if (status != CLINFER_OK) ci_key_wipe(key);
    return status;
}
