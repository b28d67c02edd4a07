/* text_file.c: see text_file.h. */
#define _GNU_SOURCE
#include "base/text_file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/status.h"

enum { FIRST_BYTES = 16384 };

size_t ci_text_mark(const char *text, size_t length) {
    static const char mark[] = "\xef\xbb\xbf";
    return length >= sizeof mark - 1 && memcmp(text, mark, sizeof mark - 1) == 0 ? sizeof mark - 1 : 0;
}

/* Before a byte is read: what could never be a text of so many bytes. */
static enum clinfer_status check(const char *name, int descriptor, size_t most, bool *endless) {
    struct stat info;
    if (fstat(descriptor, &info) != 0) return ci_fail(CLINFER_IO, "%s: cannot stat: %s", name, strerror(errno));
    if (S_ISDIR(info.st_mode)) return ci_fail(CLINFER_IO, "%s: is a folder; name a file in it", name);
    if (S_ISBLK(info.st_mode)) return ci_fail(CLINFER_IO, "%s: is a device, not a file with text", name);
    *endless = S_ISCHR(info.st_mode) && !isatty(descriptor);
    if (S_ISREG(info.st_mode) && (uintmax_t)info.st_size > most)
        return ci_fail(CLINFER_BAD_FILE, "%s: has %lld bytes; a text may have %zu", name, (long long)info.st_size,
                       most);
    return CLINFER_OK;
}

/* The text is the caller's, whatever comes back. */
static enum clinfer_status read_all(const char *name, int descriptor, size_t most, char **text, size_t *length) {
    size_t capacity = 0;
    bool endless = false;
    enum clinfer_status status = check(name, descriptor, most, &endless);
    while (status == CLINFER_OK) {
        if (*length + 1 >= capacity) {
            capacity = capacity ? 2 * capacity : FIRST_BYTES;
            char *grown = realloc(*text, capacity);
            if (!grown) return ci_fail(CLINFER_OUT_OF_MEMORY, "%s: out of memory after %zu bytes", name, *length);
            *text = grown;
        }
        ssize_t got = read(descriptor, *text + *length, capacity - *length - 1);
        if (got < 0 && errno == EINTR) continue;
        if (got < 0) return ci_fail(CLINFER_IO, "%s: %s", name, strerror(errno));
        if (got == 0) break;
        *length += (size_t)got;
        /* /dev/null is one, and empty. */
        if (endless)
            status = ci_fail(CLINFER_IO, "%s: is a device, not a file with text", name);
        else if (*length > most)
            status = ci_fail(CLINFER_BAD_FILE, "%s: has more than %zu bytes and does not end; a text may have %zu",
                             name, *length - 1, most);
    }
    if (status == CLINFER_OK) (*text)[*length] = 0;
    return status;
}

static enum clinfer_status drop_mark(const char *name, char *text, size_t *length) {
    if (*length >= 2 && (memcmp(text, "\xff\xfe", 2) == 0 || memcmp(text, "\xfe\xff", 2) == 0))
        return ci_fail(CLINFER_BAD_FILE, "%s: is UTF-16; save it as UTF-8", name);
    size_t mark = ci_text_mark(text, *length);
    *length -= mark;
    memmove(text, text + mark, *length + 1);
    return CLINFER_OK;
}

enum clinfer_status ci_text_file_read(const char *path, size_t most, char **text, size_t *length) {
    bool standard = strcmp(path, "-") == 0;
    const char *name = standard ? "standard input" : path;
    *text = NULL;
    *length = 0;
    int descriptor = standard ? STDIN_FILENO : open(path, O_RDONLY | O_CLOEXEC);
    if (descriptor < 0)
        return ci_fail(errno == ENOENT ? CLINFER_NOT_FOUND : CLINFER_IO, "%s: %s", path, strerror(errno));
    enum clinfer_status status = read_all(name, descriptor, most, text, length);
    if (status == CLINFER_OK) status = drop_mark(name, *text, length);
    if (!standard) close(descriptor);
    if (status == CLINFER_OK) return status;
    free(*text);
    *text = NULL;
    *length = 0;
    return status;
}
