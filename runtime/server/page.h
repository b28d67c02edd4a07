/* page.h: the files of the web page (runtime/server/page), as scripts/embed_page.py puts them into the program. */
#ifndef CI_SERVER_PAGE_H
#define CI_SERVER_PAGE_H

#include <stddef.h>

struct ci_page_file {
    const char *path, *type, *tag; /* "/page.js", its media type, its ETag with quotes */
    size_t length;
    const char *bytes;
};

extern const struct ci_page_file ci_page_files[]; /* ends with a path of NULL */

#endif
