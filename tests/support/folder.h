/* folder.h: copies of the tests' model folders (tests/data/folders) that may be changed. */
#ifndef TESTS_SUPPORT_FOLDER_H
#define TESTS_SUPPORT_FOLDER_H

#include <stddef.h>

/* A copy of the files of `source` in a new folder of its own; ends the process where that is not possible. Its path is
 * for folder_remove(), which removes all that is in it. */
char *folder_copy(const char *source);
void folder_remove(char *path);

/* What stands in one of its files, for the caller to free. */
char *folder_read(const char *path, const char *file, size_t *size);
void folder_write(const char *path, const char *file, const void *data, size_t size);

/* Replaces the first `find` by `put` in a file (in the header of a .safetensors, whose length follows); `find` NULL:
 * the whole file, `put` NULL: there is no such file any more. 0: `find` is not in it. */
int folder_patch(const char *path, const char *file, const char *find, const char *put);

/* The file is as in `source` again: there is none if that has none. */
void folder_restore(const char *path, const char *source, const char *file);

#endif
