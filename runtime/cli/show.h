/* show.h: the parts of `clinfer show` that are no part of `clinfer inspect`: where a model lies and under which licence
 * (show_place.c), what running it here would be like (show_here.c), and what a name would fetch (show_remote.c). Each
 * prints for people, or adds members to the JSON object. */
#ifndef CI_CLI_SHOW_H
#define CI_CLI_SHOW_H

#include <clinfer.h>
#include <jansson.h>

#include "format/gguf.h"
#include "hub/name.h"
#include "hub/settings.h"
#include "hub/stores.h"

/* Where it lies. */
struct ci_show_place {
    struct ci_stored *models; /* [count], of all stores */
    size_t count;
    const struct ci_stored *stored; /* this one; NULL: it is in none of them */
    bool newest;                    /* what the Hub's cache has as the branch main */
    char licence[160], licence_from[64];
    char *licence_file; /* its text lies there; NULL */
};
/* Free in any case. */
enum clinfer_status ci_show_place_find(const struct ci_hub_settings *settings, const char *path,
                                       const struct ci_gguf *gguf, struct ci_show_place *place);
void ci_show_place_free(struct ci_show_place *place);
void ci_show_place_print(const struct ci_show_place *place);
void ci_show_place_add(const struct ci_show_place *place, json_t *object);

/* What would run here. */
enum { CI_SHOW_OPS = 64 };
struct ci_show_here {
    bool runs, fits;
    char reason[1024]; /* why not */
    char device[256], tuning[64];
    int context, model_context;
    struct ci_show_op {
        char op[32], types[64], variant[48], place[128];
        bool fallback;
        int count;
    } ops[CI_SHOW_OPS]; /* of one token, in the order in which they come first */
    int op_count;
    struct ci_show_memory {
        char place[128];
        uint64_t weights, cache, activations, most;
    } memory[8];
    int memory_count;
};
/* CLINFER_OUT_OF_MEMORY: this process has run out of it; other failures are what there is to show. */
enum clinfer_status ci_show_here_find(const struct clinfer_engine_options *options, struct ci_show_here *here);
void ci_show_here_print(const struct ci_show_here *here);
void ci_show_here_add(const struct ci_show_here *here, json_t *object);

/* A repo of the Hub that is not here; returns the exit status. */
int ci_show_remote(const struct ci_hub_settings *settings, const struct ci_hub_name *name, bool json);

#endif
