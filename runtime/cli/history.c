/* history.c: see history.h. */
#define _GNU_SOURCE
#include "cli/history.h"

#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"
#include "base/status.h"
#include "base/temporary.h"

/* A file of more takes no more messages until a chat begins, which keeps the last part. */
#define FILE_BYTES ((size_t)4 << 20)
#define KEPT_BYTES (FILE_BYTES / 4)

char *ci_history_path(void) { return ci_file_xdg("STATE", "history"); }

/* In place; the new length. */
static size_t unescape(char *line, size_t length) {
    size_t kept = 0;
    for (size_t at = 0; at < length; at++) {
        if (line[at] == '\\' && at + 1 < length)
            line[kept++] = line[++at] == 'n' ? '\n' : line[at];
        else
            line[kept++] = line[at];
    }
    return kept;
}

/* Where the last lines begin that are few and short enough. */
static size_t last_lines(const char *text, size_t length) {
    size_t first = length, lines = 0;
    for (size_t at = length; at > 0 && length - at < KEPT_BYTES && lines < CI_HISTORY_MESSAGES; at--) {
        if (at > 1 && text[at - 2] != '\n') continue;
        first = at - 1;
        lines++;
    }
    return first;
}

void ci_history_read(const char *path, ci_history_each *each, void *user) {
    char *text;
    size_t length;
    ci_temporary_sweep_beside(path);
    if (ci_file_read(path, FILE_BYTES + 2 * CI_HISTORY_MESSAGE_BYTES, &text, &length) != CLINFER_OK) return;
    size_t first = last_lines(text, length);
    if (length > FILE_BYTES / 2) ci_file_write(path, text + first, length - first);
    for (size_t at = first; at < length;) {
        char *end = memchr(text + at, '\n', length - at);
        if (!end) break; /* cut short by a full disk */
        size_t line = (size_t)(end - text) - at;
        each(user, text + at, unescape(text + at, line));
        at += line + 1;
    }
    free(text);
}

/* One write. */
static enum clinfer_status append(const char *path, const char *line, size_t length, int no_folder) {
    int descriptor = open(path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK, 0600);
    struct stat file;
    if (descriptor < 0 || fstat(descriptor, &file)) goto fail;
    if (!S_ISREG(file.st_mode)) {
        close(descriptor);
        return ci_fail(CLINFER_IO, "%s: is not a regular file", path);
    }
    if ((uintmax_t)file.st_size <= FILE_BYTES && write(descriptor, line, length) < 0) goto fail;
    close(descriptor);
    return CLINFER_OK;
fail:
    ci_fail(CLINFER_IO, "%s: cannot write: %s", path, strerror(errno == ENOENT && no_folder ? no_folder : errno));
    if (descriptor >= 0) close(descriptor);
    return CLINFER_IO;
}

enum clinfer_status ci_history_append(const char *path, const char *text, size_t length) {
    if (!length || length > CI_HISTORY_MESSAGE_BYTES) return CLINFER_OK;
    char *line = malloc(2 * length + 2), *parents = strdup(path);
    size_t count = 0;
    for (size_t i = 0; line && i < length; i++) {
        if (text[i] == '\n' || text[i] == '\\') line[count++] = '\\';
        line[count++] = text[i] == '\n' ? 'n' : text[i];
    }
    int no_folder = parents ? ci_file_make_parents(parents) : 0;
    if (line) line[count++] = '\n';
    enum clinfer_status status =
        line ? append(path, line, count, no_folder) : ci_fail(CLINFER_OUT_OF_MEMORY, "%s: out of memory", path);
    free(parents);
    free(line);
    return status;
}
