/* confirm.c: see confirm.h. */
#define _GNU_SOURCE
#include "cli/confirm.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

#include "base/narrow.h"
#include "base/status.h"
#include "cli/output.h"

void ci_say_lines(const char *lines) {
    for (const char *line = lines; line && *line;) {
        size_t length = strcspn(line, "\n");
        ci_say("%.*s", ci_shown(length, INT_MAX), line);
        line += length + (line[length] == '\n');
    }
}

enum clinfer_status ci_confirm(bool yes, const char *question) {
    if (yes) return CLINFER_OK;
    if (!isatty(STDIN_FILENO))
        return ci_fail(CLINFER_INVALID_ARGUMENT,
                       "nothing was removed: there is no terminal to ask on; -y removes without asking");
    ci_flush();
    ci_tell("%s [y/N] ", question);
    char *line = NULL;
    size_t room = 0;
    ssize_t length = getline(&line, &room, stdin);
    if (length > 0) line[strcspn(line, "\r\n")] = 0;
    bool agreed = length > 0 && (strcasecmp(line, "y") == 0 || strcasecmp(line, "yes") == 0);
    if (length <= 0) ci_tell("\n");
    free(line);
    return agreed ? CLINFER_OK : ci_fail(CLINFER_CANCELLED, "nothing was removed");
}
