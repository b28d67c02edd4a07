/* text_file.h: texts that people write, from a file, a pipe or standard input: whole, or an error.
 *
 * Endless ones (a device, a pipe that somebody keeps filling) end at a limit. A byte order mark is no part of the text:
 * editors put it there, and nobody means it. UTF-16, which has one too, is refused; other bytes are the caller's to
 * judge. */
#ifndef CI_BASE_TEXT_FILE_H
#define CI_BASE_TEXT_FILE_H

#include <clinfer.h>
#include <stddef.h>

/* The most that any text here may have; no context holds as much. */
#define CI_TEXT_FILE_BYTES ((size_t)256 << 20)

/* "-" is standard input. `text`: the caller's to free, a zero byte behind it; NULL after a failure. CLINFER_NOT_FOUND,
 * CLINFER_IO (folders and devices too); CLINFER_BAD_FILE: more than `most` bytes, or UTF-16. */
enum clinfer_status ci_text_file_read(const char *path, size_t most, char **text, size_t *length);

/* The bytes at its start that are a UTF-8 byte order mark: 3 or 0. */
size_t ci_text_mark(const char *text, size_t length);

#endif
