/* editline.c: see editline.h. */
#include "cli/editline.h"

#include "base/library.h"

struct ci_editline ci_editline;

bool ci_editline_load(void) {
    static struct ci_library library;
    static const char *const files[] = {"libedit.so.2", "libedit.so.0"}; /* Debian's name, and that of others */
    if (!library.handle) ci_library_open(&library, files, sizeof files / sizeof *files);
#define FIND(name) ci_library_find(&library, #name, &ci_editline.name, sizeof ci_editline.name);
    CI_EDITLINE_LIST(FIND)
#undef FIND
    return !*library.problem;
}
