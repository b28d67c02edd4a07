/* pool_private.h: what the files of the pool share: pool.c (taking and giving back), pool_loads.c (what is loaded and
 * what goes out for it), pool_names.c (which model a name means, and lists). All fields are under the pool's lock. */
#ifndef CI_SERVER_POOL_PRIVATE_H
#define CI_SERVER_POOL_PRIVATE_H

#include <pthread.h>

#include "server/pool.h"

enum { CI_POOL_MESSAGE_BYTES = 1024 };

/* One who waits for a model, on the stack of its thread. */
struct ci_pool_waiter {
    struct ci_pool_waiter *next;
    bool served;
    enum clinfer_status status;
    char message[CI_POOL_MESSAGE_BYTES];
};

struct ci_pool_model {
    struct ci_pool_model *next;
    struct ci_pool *pool;
    struct ci_pool_entry entry;   /* of a model of the machine: made here, its texts in `texts` */
    char *texts, *store, *digest; /* of a model of the machine, else NULL */
    uint64_t file_bytes;
    int64_t modified;
    struct ci_pool_model *vectors; /* the same model once more, for vectors; in the pool's list, too */
    bool is_vectors;               /* it is that of another one, and has no name of its own */
    enum { CI_POOL_NOT_ASKED, CI_POOL_ENCODES, CI_POOL_WRITES } kind;
    bool of_entry; /* else of the machine */
    bool removed;  /* in no list any more: freed when nobody has it and it is closed */

    enum ci_pool_state state;
    clinfer_router *router; /* LOADED, UNLOADING */
    struct ci_pool_facts facts;
    char failure[CI_POOL_MESSAGE_BYTES];
    int users;
    double keep_alive; /* as the last request has it */
    double last_used;  /* base/clock.h: when it was taken, given back or loaded */
    double load_seconds;
    int64_t loaded;
    enum ci_pool_state goes_out; /* UNLOADING: what it is then */
    struct clinfer_rung *rungs; /* [rung_count] as they were when it began to fall asleep, until it is something else */
    size_t rung_count;

    uint64_t ticket; /* its place among those that are to be loaded, the lowest first; 0: it is none of them */
    bool starved;    /* its last load found too little memory, and somebody is on the way out for it */
    bool asked;      /* to be loaded though nobody waits */
    bool leaves;     /* goes out as soon as nobody has it: nobody gets it any more */
    bool drains;     /* the same, as long as others wait for its room */
    struct ci_pool_waiter *waiters;
};

struct ci_pool {
    struct ci_pool_options options;
    const struct ci_pool_methods *methods;
    pthread_mutex_t lock;
    pthread_cond_t changed; /* monotonic clock */
    pthread_t keeper;
    struct ci_pool_model *models; /* in the order in which they became known */
    uint64_t tickets;
    int threads; /* that load or close */
    bool stopped, ends;
    ci_pool_watcher *watch; /* NULL: nobody */
    void *watch_user;
};

/* Another state, which whoever watches is told. With the lock held. */
void ci_pool_enter(struct ci_pool_model *model, enum ci_pool_state state);

/* pool_loads.c: models are loaded and closed as far as there is room. With the lock held; returns at once. */
void ci_pool_schedule(struct ci_pool *pool);

/* pool_loads.c: it goes out, and is `then` afterwards: UNLOADED or SLEEPING. Of one that is LOADED and nobody has. */
void ci_pool_close_model(struct ci_pool_model *model, enum ci_pool_state then);

/* pool_loads.c: lets go of models that nobody asks for, and of entries that are gone, until the pool ends. */
void *ci_pool_keep(void *pool);

/* pool_loads.c: when an idle model goes out; INFINITY: never. *then as above. */
double ci_pool_expiry(const struct ci_pool_model *model, enum ci_pool_state *then);

/* pool_loads.c: until `until` (base/clock.h) or something changes. */
void ci_pool_wait(struct ci_pool *pool, double until);

/* pool_names.c: which model is meant, made known if it is one of the machine. With the lock held, which is let go of
 * while the machine's models are listed. */
enum clinfer_status ci_pool_resolve(struct ci_pool *pool, const char *name, struct ci_pool_model **model);

/* pool_names.c: the same of a name that has to be the model's own, for what changes models or tells of one. */
enum clinfer_status ci_pool_resolve_named(struct ci_pool *pool, const char *name, struct ci_pool_model **model);

/* pool_names.c: *info is for free(). With the lock held. */
enum clinfer_status ci_pool_show(const struct ci_pool_model *model, struct ci_pool_info **info);

/* pool_names.c: takes an entry up. NULL: out of memory. */
struct ci_pool_model *ci_pool_add_entry(struct ci_pool *pool, const struct ci_pool_entry *entry);

/* pool_names.c: a model like this one, but for vectors. NULL: out of memory. */
struct ci_pool_model *ci_pool_add_vectors(struct ci_pool_model *model);

/* pool_names.c */
void ci_pool_free_model(struct ci_pool_model *model);

#endif
