/* serve_models.h: the models that `clinfer serve` has, by its flags. */
#ifndef CI_CLI_SERVE_MODELS_H
#define CI_CLI_SERVE_MODELS_H

#include "cli/serve_flags.h"
#include "server/catalog.h"

/* Starts zeroed. */
struct ci_serve_models {
    struct ci_pool *pool;
    struct ci_model_choice choice;
    struct ci_remotes remotes;
    char *no_model;
    struct clinfer_router_options router; /* of all */
    struct ci_pool_entry entry;           /* of the one that was named */
    char **names, **tags;                 /* of it; the first name is its own */
    size_t name_count, tag_count;
    struct ci_catalog catalog;
};

/* The pool, and in it loaded the model that was named; *name: what it is called, "" where none was. */
enum clinfer_status ci_serve_models_open(struct ci_serve_models *models, struct ci_serve_flags *flags,
                                         const char **name);
void ci_serve_models_close(struct ci_serve_models *models);

/* "90", "5m", "1h30m", "1.5s" in seconds, "-1" and any other below 0 for ever; false: none of these. */
bool ci_serve_read_time(const char *text, double *seconds);

#endif
