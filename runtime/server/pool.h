/* pool.h: the models that a server has and may load.
 *
 * A model is a router. It is taken for the time of a request, and what is taken is never unloaded. One that is not
 * loaded is loaded when it is taken; who wants the same one meanwhile waits for the same load, and all of them are told
 * if it fails, which disturbs no other model. Models that are wanted and have no room are loaded in the order in which
 * they were asked for: the least recently used ones that nobody has go out for them. Where all are busy, no new request
 * gets the one that has to go, so that nobody waits for ever.
 *
 * Loading and closing happen on threads of their own, one each: a device that hangs holds up nobody but those who want
 * that model. All functions may be called from any thread. */
#ifndef CI_SERVER_POOL_H
#define CI_SERVER_POOL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <clinfer.h>

struct ci_pool;
struct ci_pool_model;

/* SLEEPING: unloaded since nobody asked for long enough, and loaded again when somebody does. FAILED: the last load
 * did; the next request tries again. */
enum ci_pool_state {
    CI_POOL_UNLOADED,
    CI_POOL_LOADING,
    CI_POOL_LOADED,
    CI_POOL_UNLOADING,
    CI_POOL_SLEEPING,
    CI_POOL_FAILED
};

/* "unloaded", "loading", "loaded", "unloading", "sleeping", "failed". */
const char *ci_pool_state_name(enum ci_pool_state state);

/* A model by its own settings. All that it points to is borrowed until the pool is destroyed or `release` is called:
 * when the entry is in no list any more and nobody has the model. */
struct ci_pool_entry {
    const char *name;
    const char *const *aliases; /* [alias_count], names too */
    size_t alias_count;
    const char *const *others; /* [other_count], the same, but in no list */
    size_t other_count;
    const char *const *tags; /* [tag_count], for people */
    size_t tag_count;
    struct clinfer_router_options router; /* engine.model: what is opened */
    double keep_alive;                    /* seconds after its last request; below 0: for ever; NAN: the pool's */
    bool hidden;                          /* answers by its name and is in no list */
    const char *const *hides; /* [hide_count] names of the machine, or repos, that no list shows beside this one */
    size_t hide_count;
    uint64_t version;             /* of its settings: where a later list has another number the model is loaded anew */
    void (*release)(void *owner); /* may be NULL */
    void *owner;
};

/* What is known of a model since it was loaded for the first time; 0: nothing. */
struct ci_pool_facts {
    uint64_t bytes; /* weights, caches and activations */
    uint64_t parameters, weight_bytes;
    int vocabulary, context, model_context, width;
    bool encoder;
};

/* How models are opened and closed; for tests. encodes: whether what is at options.model makes vectors as it is. */
struct ci_pool_methods {
    bool (*encodes)(const struct clinfer_engine_options *options);
    enum clinfer_status (*open)(const struct clinfer_router_options *options, bool unproven, clinfer_router **router);
    void (*describe)(clinfer_router *router, struct ci_pool_facts *facts);
    void (*close)(clinfer_router *router);
    /* clinfer_router_rungs(); NULL: they have none. */
    enum clinfer_status (*rungs)(clinfer_router *router, struct clinfer_rung **rungs, size_t *count);
};

struct ci_pool_options {
    const struct ci_pool_entry *entries; /* [count] */
    size_t count;
    /* NULL, or where entries come from instead, at once and with each ci_pool_reload(); the list is for free(). */
    enum clinfer_status (*read)(void *user, struct ci_pool_entry **entries, size_t *count);
    void *user;
    bool of_machine; /* what clinfer_models() lists may be loaded too, with `router` and its own model */
    struct clinfer_router_options router;
    bool load_on_demand;                   /* else only what ci_pool_load() has loaded answers */
    int most_loaded;                       /* at once; 0: any number */
    uint64_t most_bytes;                   /* of all together; 0: any number */
    double keep_alive;                     /* of models without their own; below 0: for ever */
    double sleep_seconds;                  /* without a request, after which even those sleep; 0: never */
    bool unproven;                         /* no prompt is tried before a model counts as loaded */
    const struct ci_pool_methods *methods; /* NULL: clinfer_router_open() and _start() */
};

enum clinfer_status ci_pool_create(const struct ci_pool_options *options, struct ci_pool **pool);

/* All models must be given back. */
void ci_pool_destroy(struct ci_pool *pool);

/* Whoever waits, or takes from now on, gets CLINFER_CANCELLED. */
void ci_pool_stop(struct ci_pool *pool);

/* As it was made; entries is NULL. */
const struct ci_pool_options *ci_pool_get_options(const struct ci_pool *pool);

/* ci_pool_set() with what options.read() gives now; nothing without that. */
enum clinfer_status ci_pool_reload(struct ci_pool *pool);

/* Another list of entries: what is not in it any more, or in another version, goes out when nobody has it. */
enum clinfer_status ci_pool_set(struct ci_pool *pool, const struct ci_pool_entry *entries, size_t count);

/* Loads it if need be and waits for that. `name`: of an entry, an alias, the name of a model of the machine; NULL, "":
 * the only entry; where there is one entry and no other model may be loaded, any name means it. `gone` (may be NULL)
 * says now and then whether who waits has left. CLINFER_NOT_FOUND: no such model; CLINFER_REFUSED: it is not loaded and
 * may not be; CLINFER_CANCELLED; or why it did not load. */
enum clinfer_status ci_pool_take(struct ci_pool *pool, const char *name, bool (*gone)(void *user), void *user,
                                 struct ci_pool_model **model);

/* The same in a form that makes vectors and scores: one that writes text is opened once more for that, and counts as a
 * model of its own. */
enum clinfer_status ci_pool_take_vectors(struct ci_pool *pool, const char *name, bool (*gone)(void *user), void *user,
                                         struct ci_pool_model **model);

/* keep_alive: as of an entry, from now on for this model; NAN: its own; 0: it goes out with its last request. */
void ci_pool_give_back(struct ci_pool *pool, struct ci_pool_model *model, double keep_alive);

/* Of one that is taken. */
clinfer_router *ci_pool_router(struct ci_pool_model *model);
const char *ci_pool_name(const struct ci_pool_model *model);

/* Calls `watch` whenever a model's state changes, with the pool's lock held: it may not block, nor ask the pool. NULL:
 * no more. */
typedef void ci_pool_watcher(void *user, const char *name, enum ci_pool_state state);
void ci_pool_watch(struct ci_pool *pool, ci_pool_watcher *watch, void *user);

struct ci_pool_info;

/* The same of one that is loaded, for a look that is no use of it: it wakes none, and keeps none awake. *model NULL: it
 * is not loaded. ci_pool_looked() gives it back; *info is for free(). */
enum clinfer_status ci_pool_look(struct ci_pool *pool, const char *name, struct ci_pool_model **model,
                                 struct ci_pool_info **info);
void ci_pool_looked(struct ci_pool *pool, struct ci_pool_model *model);

/* Here and below `name` has to be one of the model's: any other is CLINFER_NOT_FOUND, also where there is only one.
 *
 * Begins to load it, as if somebody had asked for it; does not wait. */
enum clinfer_status ci_pool_load(struct ci_pool *pool, const char *name);

/* It goes out as soon as nobody has it; one that is not loaded is nothing. */
enum clinfer_status ci_pool_unload(struct ci_pool *pool, const char *name);

/* Calls `look` for each model that is loaded, with the pool's lock held: it may ask what answers at once, and nothing
 * of the pool. */
void ci_pool_each(struct ci_pool *pool, void (*look)(void *user, const char *name, clinfer_router *router), void *user);

/* The same with the rungs of each; a model that sleeps has those with which it fell asleep. */
void ci_pool_each_rung(struct ci_pool *pool, void (*look)(void *user, const struct clinfer_rung *rung), void *user);

/* A model as it was when the list was made. Texts lie in the list's own block. */
struct ci_pool_info {
    const char *name, *path, *store; /* path: what is opened; store: where it lies, "" for an entry's */
    const char *failure;             /* of FAILED, else "" */
    const char **aliases, **tags;    /* of the entry */
    size_t alias_count, tag_count;
    enum ci_pool_state state;
    bool entry; /* of the list of entries, else of the machine */
    bool hidden;
    int users;          /* requests that have it */
    int waiting;        /* requests that wait for it */
    uint64_t bytes;     /* of its files; 0: not known */
    int64_t modified;   /* of its files, seconds since 1970; 0: not known */
    const char *digest; /* where its store knows it, else "" */
    struct ci_pool_facts facts;
    double expires; /* seconds until it goes out; below 0: never; 0 where it is not loaded */
    double load_seconds;
    int64_t loaded; /* when it was loaded, seconds since 1970; 0: never */
};

/* Entries, hidden ones too, then what the machine has; *list is for free(). */
enum clinfer_status ci_pool_list(struct ci_pool *pool, struct ci_pool_info **list, size_t *count);

/* The same of one by any of its names. CLINFER_NOT_FOUND. */
enum clinfer_status ci_pool_find(struct ci_pool *pool, const char *name, struct ci_pool_info **info);

#endif
