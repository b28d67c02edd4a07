/* serve_models.h: the models that `clinfer serve` has, by its flags. */
#ifndef CI_CLI_SERVE_MODELS_H
#define CI_CLI_SERVE_MODELS_H

#include <pthread.h>

#include "cli/serve_flags.h"
#include "server/catalog.h"

/* Starts zeroed but for the lock and `chosen`. */
struct ci_serve_models {
    struct ci_pool *pool;
    pthread_mutex_t lock;           /* of the catalog's list of what was named */
    bool follows;                   /* config.json says which model it is */
    char *configured;               /* as it did last; NULL: it named none */
    struct ci_serve_models *later;  /* only what was named: those that came in its place, the last one first */
    struct ci_serve_models *failed; /* the same of those that did not */
    void (*chosen)(void *user);     /* called by _open when it is known which model that is, or that none was named */
    void *user;
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

/* Reads "model" of config.json again. Where it names another one than before, that is loaded and takes the place of the
 * one that was there, which answers until then, and goes on to where loading fails. Waits for that. *name: what it is
 * called; NULL: nothing changed. One at a time. */
enum clinfer_status ci_serve_models_follow(struct ci_serve_models *models, struct ci_serve_flags *flags,
                                           const char **name);
void ci_serve_models_close(struct ci_serve_models *models);

/* "90", "5m", "1h30m", "1.5s" in seconds, "-1" and any other below 0 for ever; false: none of these. */
bool ci_serve_read_time(const char *text, double *seconds);

#endif
