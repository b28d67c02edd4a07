/* mapped.h: a file that stays mapped while others may change it. What is cut off it cannot be read any more, and
 * reading it ends the process (SIGBUS). So its size is looked at before each use, which is one cheap call, and a
 * handler of that signal can find out which file it was (clinfer_file_at). Copying the file was rejected: models are as
 * large as the memory. */
#ifndef CI_BASE_MAPPED_H
#define CI_BASE_MAPPED_H

#include <clinfer.h>

#include "base/file.h"

struct ci_mapped {
    struct ci_file file;
    int descriptor; /* -1: it was not opened here */
    int slot;       /* in the list for handlers; -1: it is full */
};

/* As ci_file_map. */
enum clinfer_status ci_mapped_open(const char *path, struct ci_mapped *mapped);
void ci_mapped_close(struct ci_mapped *mapped);

/* CLINFER_IO: it is shorter now; `path` is for the message. */
enum clinfer_status ci_mapped_check(const struct ci_mapped *mapped, const char *path);

#endif
