/* headers.h: the header lines of all answers of one transfer, redirects included. */
#ifndef CI_NET_HEADERS_H
#define CI_NET_HEADERS_H

#include <stdbool.h>
#include <stddef.h>

struct ci_headers {
    struct ci_header_line {
        char *name, *value; /* one allocation, of `name` */
        int answer;
    } * lines;
    size_t count, capacity;
    size_t bytes; /* of the answer at hand */
    int answer;   /* its number */
};

enum ci_headers_result { CI_HEADERS_GOOD, CI_HEADERS_TOO_LONG, CI_HEADERS_NO_MEMORY };

/* Bytes that one answer's header may have. */
enum { CI_HEADERS_BYTES = 256 * 1024 };

/* One line as it came, its end included; status lines, empty ones and what is no header are nothing. A line that begins
 * with a space goes on with the one before. Control characters become '?', so that every value can be shown. */
enum ci_headers_result ci_headers_add(struct ci_headers *headers, const char *line, size_t length);

/* Another answer comes; `instead`: of the last one, which was but an interim one (100-199). */
void ci_headers_next(struct ci_headers *headers, bool instead);

/* Of the answer at hand, or of the first of all that has it; any case; NULL: not there. Borrowed. */
const char *ci_headers_get(const struct ci_headers *headers, const char *name);
const char *ci_headers_first(const struct ci_headers *headers, const char *name);

void ci_headers_free(struct ci_headers *headers);

#endif
