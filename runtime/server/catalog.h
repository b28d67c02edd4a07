/* catalog.h: which models a server has by its own settings: those that were named, those of a folder (--models-dir) and
 * those of a file of presets (--models-preset), read again on demand (ci_pool_reload).
 *
 * A preset file is llama-server's: sections "[name]" with lines "option = value", the options being those of the
 * command line without their dashes; "[*]" holds for all. Of these the ones are followed that say which model it is and
 * how it is loaded (catalog.c has the list); others are warned of once. */
#ifndef CI_SERVER_CATALOG_H
#define CI_SERVER_CATALOG_H

#include "server/pool.h"

struct ci_catalog {
    const struct ci_pool_entry *named; /* [named_count], as they are */
    size_t named_count;
    const char *folder, *presets;                /* NULL: none */
    const struct clinfer_router_options *router; /* what those of folder and presets begin with */
};

/* *entries is for free(), what it points to for each entry's release(). For struct ci_pool_options.read, `catalog`
 * being its user. CLINFER_IO, CLINFER_BAD_FILE: a folder or file that cannot be read, with the line. */
enum clinfer_status ci_catalog_read(void *catalog, struct ci_pool_entry **entries, size_t *count);

#endif
