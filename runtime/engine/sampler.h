/* sampler.h: how tokens are chosen on the host: a chain of samplers over the candidates, as llama.cpp has it, with its
 * numbers of 32 bits, so that the same logits and the same seed give the same token. Each has a line in
 * ci_sampler_kinds and a function that makes candidates fewer or changes their logits; what is left at the end is drawn
 * from. Nothing allocates while choosing. */
#ifndef CI_ENGINE_SAMPLER_H
#define CI_ENGINE_SAMPLER_H

#include <clinfer.h>

#include "base/mersenne.h"
#include "text/tokenizer.h"

struct ci_candidate {
    float logit, p, score; /* p and score: of those who computed them last */
    int32_t id;
};

/* What the host needs for choosing, one for an engine. */
struct ci_sampler_room {
    struct ci_candidate *candidates; /* [vocabulary] */
    struct ci_candidate *others;     /* [vocabulary], of a sort under way */
    int32_t *marks;                  /* [vocabulary], all 0 between two uses */
    int32_t *repeats;                /* [context + 2], where a session uses dry */
};

/* Tokens that end what dry counts as repeated: `head` and, behind it, the tail. */
enum { CI_BREAKER_TAIL = 20, CI_SAMPLERS_MAX = 24, CI_MIROSTAT_TOKENS = 100 };
struct ci_breaker {
    int32_t head, tail[CI_BREAKER_TAIL];
    int tail_length;
};

/* What choosing leaves behind: with these, and its number, the next token is what it would have been. */
enum { CI_LOGPROBS_MAX = 100 };

struct ci_sampler_memory {
    uint64_t words; /* that xtc or mirostat have drawn from the generator of their own */
    float surprise; /* mirostat's mu */
};

struct ci_sampler {
    struct clinfer_session_options options; /* complete; what it points to is not to be used */
    const struct ci_sampler_kind *chain[CI_SAMPLERS_MAX];
    int count; /* of the chain: those that do something */
    struct clinfer_logit_bias *bias;
    size_t bias_count;
    struct ci_breaker *breakers; /* by head */
    size_t breaker_count, breaker_capacity;
    struct ci_draws draws;
    struct ci_mersenne own; /* of xtc or mirostat */
    struct ci_sampler_memory memory;
};

/* One token's choice. */
struct ci_sampling {
    struct ci_sampler *sampler;
    struct ci_sampler_room *room;
    struct ci_candidate *items; /* [count] */
    size_t count;
    bool sorted; /* by falling logits */
    const int32_t *tokens;
    size_t known; /* of tokens: those before this one */
    int vocabulary;
};

struct ci_sampler_kind {
    const char *name, *other_names; /* separated by blanks */
    bool (*active)(const struct clinfer_session_options *options);
    void (*apply)(struct ci_sampling *choice);
};

/* sampler_setup.c: every number and name checked; NAN and -1 are the defaults, of engine->info where that knows. */
struct clinfer_engine;
enum clinfer_status ci_sampler_create(const struct clinfer_engine *engine,
                                      const struct clinfer_session_options *options, struct ci_sampler *sampler);
void ci_sampler_destroy(struct ci_sampler *sampler);

/* sampler_setup.c: NAN and -1 everywhere; and in their place the model's own, else the defaults. */
void ci_sampler_unset(struct clinfer_session_options *options);
void ci_sampler_fill_in(const struct clinfer_engine_info *info, struct clinfer_session_options *options);

/* sampler_setup.c: CLINFER_INVALID_ARGUMENT: one of these names, separated by semicolons, is no sampler's. */
enum clinfer_status ci_sampler_check_names(const char *names);

/* sampler_setup.c: the options with what they point to, which goes into one block for the caller to free. false: memory
 * is out. */
bool ci_sampler_copy_options(const struct clinfer_session_options *options, struct clinfer_session_options *copy,
                             void **block);

/* sampler_repeats.c */
enum clinfer_status ci_sampler_find_breakers(const struct ci_tokenizer *tokenizer, struct ci_sampler *sampler);
bool ci_sampler_has_penalties(const struct clinfer_session_options *options);
bool ci_sampler_has_dry(const struct clinfer_session_options *options);
void ci_sampler_penalties(struct ci_sampling *choice);
void ci_sampler_dry(struct ci_sampling *choice);

/* sampler_filters.c */
extern const struct ci_sampler_kind ci_sampler_kinds[]; /* in the order of the default chain; ends with a NULL name */
void ci_sampler_temperature(struct ci_sampling *choice);

/* sampler_draw.c: the index of the item that is chosen: at `random`, in [0, 1); or by mirostat. */
size_t ci_sampler_draw(struct ci_sampling *choice, double random);
size_t ci_sampler_mirostat(struct ci_sampling *choice);

/* sampler_draw.c: mirostat learns that a token of this probability was chosen. */
void ci_sampler_surprise(struct ci_sampler *sampler, float p);

/* sampler_filters.c: p of all items, which are sorted first if asked for; and the largest logit. */
void ci_sampler_softmax(struct ci_sampling *choice, bool sort);
float ci_sampler_largest(const struct ci_sampling *choice);

/* sampler_sort.c: the `first` best come first, sorted: by falling logits, or by rising scores and among equals by
 * falling logits; the lowest id first among equals. */
void ci_sampler_sort(struct ci_sampling *choice, size_t first);
void ci_sampler_sort_by_score(struct ci_sampling *choice, size_t first);

#endif
