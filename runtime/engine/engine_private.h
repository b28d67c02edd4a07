/* engine_private.h: engine and session from the inside.
 *
 * There is no thread of the engine's own. Sessions submit requests; whoever waits first leads: it computes steps for
 * all active sessions until its own is done, then hands over to another that waits. So one session pays for no
 * hand-over at all, and several are computed in the same steps. Everything below is used by the leader alone, except
 * what `lock` guards.
 *
 * Where sampling runs on a device, one step is always in flight: the next is enqueued before the ids of the last are
 * read, with ids that say "what was sampled for row i" (op embed). At most one row per session is computed in vain. */
#ifndef CI_ENGINE_PRIVATE_H
#define CI_ENGINE_PRIVATE_H

#include <pthread.h>
#include <stdatomic.h>

#include <clinfer.h>

#include "base/arena.h"
#include "base/clock.h"
#include "base/watch.h"
#include "engine/constraint.h"
#include "engine/devices.h"
#include "engine/draft.h"
#include "engine/joined.h"
#include "engine/logprobs.h"
#include "engine/pace.h"
#include "engine/predict.h"
#include "engine/rank.h"
#include "engine/sampler.h"
#include "engine/take_up.h"
#include "format/gguf.h"
#include "graph/places.h"
#include "graph/verify.h"
#include "model/model.h"
#include "tensor/op_params.h"
#include "text/chat.h"
#include "text/stop_texts.h"
#include "text/tokenizer.h"
#include "text/utf8.h"
#include "trace/trace.h"

enum { CI_MAX_SEQUENCES = 64, CI_BUCKETS = 8, CI_DEFAULT_BATCH = 512, CI_FIRST_PAGES = 4 };

/* A plan for at most `rows` rows, made when it is first needed. */
struct ci_bucket {
    int64_t rows[CI_EXTENT_COUNT];
    struct ci_plan *plan;
    struct ci_run run;
    int steps;      /* of this plan, counted up to CI_CHAIN_STEP */
    uint64_t stamp; /* of its programs, see aside.h; 0: not known, or nobody asked */
};

/* What one session contributes to a step. */
struct ci_part {
    struct clinfer_session *session; /* NULL: it has left */
    size_t first;                    /* position of its first row */
    int64_t rows, wanted;            /* so many of its last rows have logits */
    int64_t guessed;                 /* the last of these: tokens that are not known to come (draft.h) */
};

struct ci_batch {
    struct ci_part parts[CI_MAX_SEQUENCES];
    int count;
    int64_t rows, wanted, tiles;
    int64_t decoding; /* of the rows, those of sessions that decode */
    bool cut;         /* there may have been more rows of prompts */
};

/* A step whose results have not been read yet. */
struct ci_flight {
    bool active;
    double started;
    struct ci_bucket *bucket;
    struct ci_batch batch;
    int slot, count;
    struct ci_watch_run run;
    struct clinfer_session *sessions[CI_MAX_SEQUENCES]; /* of each row with logits; NULL: it counts for nothing */
    int places[CI_MAX_SEQUENCES];                       /* of the row: guessed ones before it */
    int32_t ids[CI_MAX_SEQUENCES], not_finite[CI_MAX_SEQUENCES];
};

/* How rows are computed: as fast as can be; kernel by kernel, with a look at what each gives, where a kernel has just
 * taken another's place, or everywhere; each kernel's results compared with the reference, in the step that failed, or
 * from the first token on. */
enum ci_care { CI_CARE_NONE, CI_CARE_SUCCESSOR, CI_CARE_LOOK, CI_CARE_COMPARE, CI_CARE_ALL };

/* What careful mode took: kernels that were run one by one, of these compared, and making plans with others. */
struct ci_careful_cost {
    int steps, compared;
    double seconds, compare_seconds, build_seconds;
};

/* Sessions and kept prefixes with the same tokens hold the same page. One session may write behind the rows that the
 * others read; who else wants to write gets a copy. */
struct ci_page {
    int32_t holders;                      /* 0: it is free */
    int32_t settled;                      /* rows that others than the writer may read */
    const struct clinfer_session *writer; /* NULL: none yet */
};

/* Pages of one group of caches. */
struct ci_page_pool {
    bool exists;           /* the model has such caches; said once, when the engine is opened */
    struct ci_page *pages; /* [capacity] */
    int32_t *free;         /* [capacity], of which free_count are free */
    int free_count, capacity;
    int end;    /* behind the last page that is held */
    int window; /* so far back the caches are read; 0: all of them, always */
};

/* A holder's pages in one group: page i has positions from i * CI_PAGE_ROWS on. Those before `first` have left the
 * window and are given back. */
struct ci_page_list {
    int32_t
        *pages; /* of which first .. count are held; of a session [engine->pages_per_sequence]; NULL: no such group */
    int first, count;
};

/* What a request that is over has left in the caches: keys and values of tokens[0, count), as far as a window has not
 * passed them. */
struct ci_kept {
    struct ci_kept *next; /* used before this one */
    int32_t *tokens;
    size_t count, trusted; /* of these, those of which it is known that they were computed as they should be */
    struct ci_page_list lists[CI_CACHE_GROUPS];
};

struct ci_reader {
    bool aside; /* there is a thread */
    pthread_t thread;
    enum clinfer_status status;
    char message[1024];
};

struct clinfer_engine {
    pid_t process; /* that opened it */
    struct clinfer_engine_options options;
    const struct clinfer_engine *lender; /* ci_engine_open_beside, or NULL */
    struct ci_gguf *gguf;
    struct ci_model model;
    struct ci_tokenizer *tokenizer;
    struct ci_chat *chat;
    struct ci_joined joined;
    struct ci_rank rank;
    struct ci_device *device; /* the first one; NULL: the CPU backend */
    struct ci_device *devices[CI_MAX_PLACES - 1];
    int device_count;
    struct ci_choices choices;
    int8_t *place_of_unit;
    bool told_stale;
    struct ci_arena texts;              /* that stay until the engine is closed, whoever still reads them */
    char device_names[512], moved[256]; /* "A + B"; why layers stay on the CPU, or "" */
    struct ci_threads *threads;
    struct ci_reader reader; /* of the vocabulary, while it is opened */
    struct ci_trace *trace;  /* NULL: nothing is recorded */
    struct ci_engine_record *record;
    struct ci_warm *warm;   /* while it is opened: who helps with its kernels, or NULL */
    struct ci_aside *aside; /* who builds its programs, or NULL */
    struct ci_store store;
    struct ci_packed *packed; /* the store borrows it; NULL: nothing is kept on disk */
    struct ci_bucket buckets[CI_BUCKETS];
    int bucket_count;
    int context, pages_per_sequence;
    struct ci_host_bytes predicted; /* before anything was loaded */
    bool pipelined;
    bool each_token_steps;               /* for tests: tokens without a choice have steps of their own, too */
    enum ci_care careful;                /* of the step that is computed next: the most that a session of it wants */
    bool successor;                      /* a plan has a step that took another's place and was not compared yet */
    struct ci_careful_cost careful_cost; /* since all went well */
    char own_numbers[256]; /* the last careful step: where the model's own numbers are not finite, or "" */
    struct clinfer_engine_info info;
    char *model_name, *architecture;

    struct ci_page_pool pools[CI_CACHE_GROUPS];
    struct ci_kept *kept; /* the one that was used last comes first */
    int kept_count;
    uint64_t kept_bytes;  /* the caches do not grow beyond this for what is kept */
    uint64_t cache_limit; /* nor beyond this at all */

    pthread_mutex_t grammars;        /* of the next four; no step waits for it */
    pthread_cond_t grammars_changed; /* one of those that are compiled is done */
    struct ci_compiled *compiling;
    struct ci_compiled *compiled;                     /* grammars of answers, the newest first */
    struct ci_grammar_vocabulary *grammar_vocabulary; /* made for the first of them */
    uint32_t *mask_row; /* [CI_MASK_WORDS(outputs)], where the tokenizer knows fewer tokens: for the next mask */
    float *host_logits; /* [vocabulary], and room for its candidates: made when a session samples on the host */
    struct ci_sampler_room room;

    struct clinfer_session *queue; /* the active ones, as they came; of whoever leads */
    unsigned collected;            /* how many steps were put together */
    bool short_of_pages;           /* somebody who runs could have none: another is to make way */
    struct ci_pace pace;
    struct ci_draft_engine draft;
    atomic_bool chain_tried; /* chain.c: there is nothing more to do about it */

    struct ci_flight flights[2];
    int next_flight;
    struct clinfer_engine_stats stats;

    pthread_mutex_t lock;
    pthread_cond_t changed;
    bool leading;                     /* under lock: somebody computes steps, or has the engine to itself */
    pthread_t leader;                 /* who, while leading */
    int guests;                       /* under lock: how many wait to come in between two steps */
    struct clinfer_session *sessions; /* under lock: all of them */
    bool saves_later;                 /* what was built is not saved when a request is done */
    bool saves_nothing;               /* nor at the end */
    bool closing;                     /* under lock: to be closed when the last of them is destroyed */
    struct clinfer_engine_stats told; /* under lock: as they were after the last step */
    int64_t requests;                 /* so far */
};

enum ci_session_state { CI_SESSION_IDLE, CI_SESSION_ACTIVE, CI_SESSION_DONE };

struct clinfer_session {
    struct clinfer_engine *engine;
    struct clinfer_session *next;
    struct clinfer_session_options options;
    struct ci_sampler sampler;
    struct ci_logprobs logprobs;
    struct ci_stop_texts stop;
    atomic_bool cancel;
    enum ci_session_state state; /* under the engine's lock */
    size_t told_computed;        /* under it: for those who do not compute */

    /* tokens[0, known) are known; keys and values of tokens[0, computed) are in the cache. While an id is in flight,
     * computed may be known + 1: the last one computed is not known yet. */
    int32_t *tokens;
    size_t known, computed, capacity;
    struct ci_page_list lists[CI_CACHE_GROUPS];
    bool shares;   /* what is computed may be of use to other requests, and theirs to this one */
    bool admitted; /* the request runs: it has pages, or is about to have them */
    bool told;     /* that it begins */
    struct clinfer_session *next_in_queue;
    unsigned collected; /* the last step for which it was asked for rows */
    int flights;        /* steps in flight that sample for it */

    /* NULL, or who computes a beginning of the prompt that is worth waiting for: so many tokens, of this request. */
    const struct clinfer_session *follows;
    size_t follow_count;
    int64_t followed;
    size_t trusted; /* tokens whose keys and values were there, and right, before the request began */

    /* the request */
    int64_t request; /* its number, from 1 */
    int32_t *output; /* [output_capacity], of which `generated` */
    size_t generated, output_capacity;
    size_t taken_up; /* of these, those that an earlier engine generated */
    int64_t max_tokens;
    ci_session_token_callback *on_token;                /* or NULL */
    void (*on_start)(void *user, size_t cached_tokens); /* or NULL */
    clinfer_text_callback *callback;
    void *user;
    clinfer_text_callback *reasoning; /* or NULL */
    struct ci_utf8_stream stream;
    struct ci_parts parts;
    const struct ci_tool_format *calls; /* control tokens of its marks have text; NULL: none */
    size_t emitted;                     /* tokens whose text is in the stream */
    size_t skipped_bytes;               /* of the text that comes next: they are out already */
    int in_flight; /* row of the step in flight whose sampled id is this session's next token; -1: none */
    bool refused;  /* the callback wants no more */
    bool ignore_end;
    bool on_host; /* samples on the host: settings that the op does not know */
    struct ci_constraint constraint;
    struct ci_drafting drafting;
    enum ci_care care;
    struct clinfer_result result;
    enum clinfer_status status;
    char message[512];
    double submitted, first_token, last_token;
};

/* load.c: the context is `wanted` tokens, 0: as many as the model was made for (ci_model_set_context). */
enum clinfer_status ci_engine_take_context(struct clinfer_engine *engine, int wanted);

/* load.c: the buckets of an engine, without plans; returns how many. */
int ci_engine_bucket_sizes(const struct clinfer_engine_options *options, const struct ci_model *model, int context,
                           struct ci_bucket buckets[CI_BUCKETS]);

/* load.c: what the engine has counted so far, for the leader. */
void ci_engine_count(const struct clinfer_engine *engine, struct clinfer_engine_stats *stats);

/* step.c: computes one step for all active sessions; false when none is active. Called by the leader, without the lock.
 */
bool ci_engine_step(struct clinfer_engine *engine);

/* logits.c: computes tokens[computed, known) of one idle session and copies logits [all ? known - computed : 1,
 * vocabulary], which are finite: a step that fails is computed again with care, from the first token on where that is
 * needed; `all` is for computed == 0. CLINFER_WRONG_RESULT: they cannot be had. */
enum clinfer_status ci_engine_logits(struct clinfer_engine *engine, struct clinfer_session *session, bool all,
                                     float *logits);

/* rows.c: the same, once, with as much care as engine->careful says. *bad: numbers that are not finite among those that
 * were copied; what comes after them was not computed. *replaced as for ci_careful_run. */
enum clinfer_status ci_engine_compute_logits(struct clinfer_engine *engine, struct clinfer_session *session, bool all,
                                             float *logits, bool *replaced, size_t *bad);

/* schedule.c: the active sessions, in the order in which they came. */
void ci_queue_enter(struct clinfer_engine *engine, struct clinfer_session *session);
void ci_queue_leave(struct clinfer_engine *engine, struct clinfer_session *session);

/* schedule.c: which rows the next step computes; sessions that have all they may have end. Also says with how much
 * care. */
void ci_engine_collect(struct clinfer_engine *engine, struct ci_batch *batch);

/* schedule.c: how many tokens it may still get before its context is full, which prompt and answer together fill. One
 * that is shifted gets one more, which comes before the shift; and so does a prompt that fills it alone, since the
 * token that its last row leads to needs no row itself. */
int64_t ci_session_room(const struct clinfer_session *session);

/* schedule.c: adds the session's next rows, the last one of which may have logits. */
void ci_batch_add(struct ci_batch *batch, struct clinfer_session *session, int64_t rows, bool wanted);

/* schedule.c: of those that run the last one gives its pages back, if there are others, and waits again. Nothing may be
 * in flight. */
void ci_engine_make_way(struct clinfer_engine *engine);

/* schedule.c: the results of a step are there. */
void ci_pace_note(struct clinfer_engine *engine, const struct ci_flight *flight);

/* What becomes of a token that was chosen. */
enum ci_turn {
    CI_TURN_TOKEN,
    CI_TURN_COMPLETE, /* nothing may come any more */
    CI_TURN_CLOSED,   /* the closing comes in its place */
    CI_TURN_THOUGHT   /* what ends reasoning comes in its place */
};

/* answer.c: the token that a step has sampled for its index-th session, which samples on the host or has a grammar. */
enum clinfer_status ci_answer_choose(struct clinfer_engine *engine, const struct ci_flight *flight, int index,
                                     int32_t *id, enum ci_turn *turn);

/* answer.c: the answer goes on with the token, or ends; also with those that come behind it without a choice. */
void ci_answer_take(struct clinfer_session *session, int32_t id, enum ci_turn turn);

/* step.c: writes the inputs of a step; see tensor/op_params.h for what they mean. */
void ci_batch_fill_inputs(const struct ci_batch *batch, const struct ci_run *run);

/* answer.c: the session's request ends; its last text goes out. */
void ci_session_finish(struct clinfer_session *session, enum clinfer_status status, enum clinfer_finish reason);

/* rows.c: all rows of several idle sessions' tokens, in one step: rows [their tokens together, outputs]. A step that
 * fails, or whose numbers are not finite, is not computed again: one by one they are. */
enum clinfer_status ci_engine_compute_together(struct clinfer_engine *engine, struct clinfer_session *const *sessions,
                                               int count, float *rows);

/* session.c: the same for texts, for who does not lead; tokens of all at most so many. */
enum clinfer_status ci_session_compute_together(struct clinfer_session *const *sessions,
                                                const struct clinfer_tokens *texts, int count, float *rows);

/* session.c: an idle session becomes as if it had computed what another idle one has; they share no memory. For who
 * does not lead. */
enum clinfer_status ci_session_copy(struct clinfer_session *to, const struct clinfer_session *from);

/* step.c: reads what steps in flight have sampled, so that nothing depends on the device's state any more. */
void ci_engine_land(struct clinfer_engine *engine);

/* rows.c: computes `rows` rows of tokens[computed, known) of one idle session with each kernel checked. */
enum clinfer_status ci_engine_verify_rows(struct clinfer_engine *engine, struct clinfer_session *session, int64_t rows,
                                          ci_verify_callback *callback, void *user);

/* answer.c: whether the next token is the grammar's to allow: there is one, and the model is not thinking. */
bool ci_session_is_constrained(const struct clinfer_session *session);

/* answer.c: the text of a token to the callback. false: the receiver wants no more. */
bool ci_session_emit(struct clinfer_session *session, int32_t id);

/* step.c: what steps in flight compute for this session is thrown away. */
void ci_engine_forget(struct clinfer_session *session);

/* careful.c: the part of a step that failed is to be computed again, with care; the failure is ci_status_message().
 * false: that was done already, or does not help. */
bool ci_careful_retry(struct ci_part *part, enum clinfer_status status);

/* careful.c: ci_plan_run of so many rows as engine->careful says. *replaced: a kernel was wrong, another has taken its
 * place in all plans, or the KV caches have become f32; the rows are to be computed again, as all sessions may be. */
enum clinfer_status ci_careful_run(struct clinfer_engine *engine, struct ci_bucket *bucket, int64_t rows,
                                   bool *replaced);

/* careful.c: a session's token came out of a careful step. */
void ci_careful_end(struct clinfer_session *session);

/* careful.c: sets the variant of a step that is wrong aside, makes the plans again and says so once. *quarantined: it
 * is wrong with numbers of our own, too, and so for all models. CLINFER_WRONG_RESULT or the step's own status: it
 * cannot be replaced. */
enum clinfer_status ci_careful_replace(struct clinfer_engine *engine, struct ci_bucket *bucket,
                                       const struct ci_verify_step *wrong, bool *quarantined);

/* record.c: begins to record what the engine does from now on, when its options say so; and lets go of it. */
enum clinfer_status ci_engine_record_start(struct clinfer_engine *engine);
void ci_engine_record_end(struct clinfer_engine *engine);

/* record.c: clinfer_engine_record, _record_reset and _write_trace for the leader. */
enum clinfer_status ci_engine_record(struct clinfer_engine *engine, const struct clinfer_record **record);
enum clinfer_status ci_engine_record_reset(struct clinfer_engine *engine);
enum clinfer_status ci_engine_write_trace(struct clinfer_engine *engine, const char *path);

/* load.c: makes the plans again. Weights stay where they are; caches stay as they are too, or begin anew: then all
 * sessions are to be computed again. Nothing may be in flight. */
enum clinfer_status ci_engine_rebuild(struct clinfer_engine *engine, bool keep_caches);

/* load.c: gives the KV caches f32 and makes the plans again; all sessions are to be computed again. Nothing may be in
 * flight. */
enum clinfer_status ci_engine_widen_caches(struct clinfer_engine *engine);

/* load.c: where a plan could not be made because a KV cache is on a device that cannot do all that touches it: takes
 * the caches to the CPU, and makes the plans again. Nothing may be in flight. */
enum clinfer_status ci_engine_move_caches(struct clinfer_engine *engine);

/* plans.c: clinfer_engine_explain for the leader, of the plan that gives `wanted` rows logits: 1 for a prompt. */
enum clinfer_status ci_engine_explain(struct clinfer_engine *engine, int rows, int wanted,
                                      clinfer_plan_callback *callback, void *user, int *waits);

/* load.c: the model's graph for a bucket. */
/* embed.c: what the file says of pooling, into the engine's info. */
enum clinfer_status ci_engine_read_pooling(struct clinfer_engine *engine);

/* reader.c: the vocabulary and what needs it, on a thread of its own beside the choice of devices and kernels. The
 * second waits for it and passes on what it says, CLINFER_OK if nothing was begun; the third, before any weight is
 * packed, then reads what needs all of that. */
void ci_engine_begin_reading(struct clinfer_engine *engine);
enum clinfer_status ci_engine_await_reading(struct clinfer_engine *engine);
enum clinfer_status ci_engine_end_reading(struct clinfer_engine *engine);

/* settings.c: what a profile knows of this model beside its kernels, once it was read; after the store, before all that
 * depends on the options. Where the user asked for something that counts. */
enum clinfer_status ci_engine_take_settings(struct clinfer_engine *engine);

/* plans.c: the store, the states, where each layer is computed, and the plan for one row, all as far as `depth` goes.
 */
enum clinfer_status ci_engine_make_plans(struct clinfer_engine *engine, const struct ci_engine_devices *devices,
                                         enum ci_engine_depth depth);

/* models.c: options.model, a name perhaps, becomes a path of the engine's. */
enum clinfer_status ci_engine_find_model(struct clinfer_engine *engine);

enum clinfer_status ci_engine_graph(struct clinfer_engine *engine, struct ci_bucket *bucket, struct ci_graph *graph);

/* place.c: where each layer is to run, once for all plans, since caches and weights have one place: by hand, by memory,
 * or by what was measured. CLINFER_OUT_OF_MEMORY before anything is loaded that cannot be kept. */
enum clinfer_status ci_engine_place(struct clinfer_engine *engine, const struct ci_engine_devices *devices);

/* load.c: the smallest bucket that holds so many rows, `wanted` of which are asked for logits; its plan made. */
enum clinfer_status ci_engine_bucket(struct clinfer_engine *engine, int64_t rows, int64_t wanted,
                                     struct ci_bucket **bucket);

/* chain.c: the launches of a plan for one row become one, where that was built and proven before; with its second
 * step, since loading takes 8 ms and the first token of an answer should not wait for it. And: it is built
 * and proven now, which takes seconds, where that would pay: once as many steps were computed. For who does not lead
 * and holds no lock; nothing is done while somebody waits for text. */
enum { CI_CHAIN_STEP = 2, CI_CHAIN_STEPS = 64 };
void ci_engine_take_chain(struct clinfer_engine *engine, struct ci_bucket *bucket);
void ci_engine_make_chain(struct clinfer_engine *engine, uint64_t steps);

/* After a step that failed, for this engine: what a launch that was cut short leaves in its counters, the next would
 * wait for without end or take for done; and careful mode, which runs single kernels, cannot find fault with it. */
void ci_engine_drop_chains(struct clinfer_engine *engine);

/* session.c: becomes the one who computes, between two steps of whoever does, and returns with the lock held; and no
 * longer is. */
enum clinfer_status ci_engine_lead(struct clinfer_engine *engine);
void ci_engine_stop_leading(struct clinfer_engine *engine);

/* session.c: checks a request's tokens, and makes room for all that it can lead to. With the lock held. */
enum clinfer_status ci_session_reserve(struct clinfer_session *session, const struct clinfer_request *request);

/* pages.c: the most pages that one session has in caches with this window (0: none), in steps of so many rows. */
int ci_engine_most_pages(int window, int context, int64_t step);

/* pages.c: a pool of so many pages, all of them free. */
enum clinfer_status ci_pages_begin(struct ci_page_pool *pool, int capacity);

/* pages.c: makes sure that the session has pages for positions [computed, count) that it may write, and what these see;
 * grows the caches when none is free. What no later row sees is given back. */
enum clinfer_status ci_engine_take_pages(struct clinfer_engine *engine, struct clinfer_session *session, size_t count);
void ci_engine_return_pages(struct clinfer_engine *engine, struct clinfer_session *session, size_t count);

/* pages.c: gives a session that has no rows yet pages of its own with what another one has computed. */
enum clinfer_status ci_pages_copy(struct clinfer_engine *engine, const struct clinfer_session *from,
                                  struct clinfer_session *to);

/* pages.c: makes pages for so many tokens of a session that has some already; false: there is no room. */
bool ci_engine_has_room(struct clinfer_engine *engine, const struct clinfer_session *session, size_t count);

/* pages.c: whether lists of pages have what a row at `position` sees of the positions before it. */
bool ci_pages_reach(const struct clinfer_engine *engine, const struct ci_page_list *lists, size_t position);

/* pages.c: lists without pages hold those of others that a row at `position` sees, and from `first` on. The pages go
 * into to[].pages, which have room. */
void ci_pages_hold(struct clinfer_engine *engine, const struct ci_page_list *from, size_t position,
                   struct ci_page_list *to);
void ci_pages_release(struct clinfer_engine *engine, struct ci_page_list *lists);

/* pages.c: a session with two pages has `count` + 1: the first one `count` times, which it no longer writes, then the
 * other. For who wants to compute far behind and does not care what with. false: some group has not both pages. */
bool ci_pages_repeat_first(struct clinfer_engine *engine, struct clinfer_session *session, int count);

/* pages.c: bytes of a page of one group, in all layers. */
uint64_t ci_engine_page_bytes(const struct clinfer_engine *engine, enum ci_cache_group group);

/* prefix.c: up to which size the caches grow for what is kept, by the options. */
void ci_prefix_set_bound(struct clinfer_engine *engine);

/* prefix.c: what the session has computed stays when it computes something else, if others may share it. Where there is
 * no memory for that it does not. */
void ci_prefix_keep(struct clinfer_engine *engine, struct clinfer_session *session);

/* prefix.c: the session's prompt is computed: where a window would pass it with the answer, it is kept from now on. */
void ci_prefix_mark(struct clinfer_engine *engine, struct clinfer_session *session);

/* prefix.c: takes over the longest beginning of the session's tokens that anybody has computed, if it is longer than
 * what the session has. At least one token is left to compute. */
void ci_prefix_take(struct clinfer_engine *engine, struct clinfer_session *session);

/* prefix.c: lets go of what is kept of these tokens and nothing else: their beginnings, and what goes on behind them.
 * How many tokens of them that were at most. */
size_t ci_prefix_forget(struct clinfer_engine *engine, const int32_t *tokens, size_t count);

/* prefix.c: gives the pages of the one back that was used longest ago; false: none is kept. */
bool ci_prefix_drop_oldest(struct clinfer_engine *engine);
void ci_prefix_drop_all(struct clinfer_engine *engine);

/* prefix.c: the same of a session that has no request, but for this one; what it has computed is computed again then.
 */
bool ci_prefix_drop_idle(struct clinfer_engine *engine, const struct clinfer_session *but);

/* prefix.c: another session that came before is computing a beginning of this one's prompt: to wait for it is faster
 * than to compute it, too. */
bool ci_prefix_is_coming(struct clinfer_engine *engine, struct clinfer_session *session);

/* pages.c: where a session went back to a position whose window is gone, it begins anew: computed = 0. */
void ci_engine_check_window(struct clinfer_engine *engine, struct clinfer_session *session);

/* pages.c: rows of the caches up to the last page that a session has, and those that a run of so many rows writes. */
struct ci_cache_use ci_engine_cache_use(const struct clinfer_engine *engine, const struct ci_run *run, int64_t rows);

/* sampler.c: whether op `sample` knows these settings, and the choice where it does not. `ahead` tokens are sampled and
 * not read yet. */
bool ci_sampler_needs_host(const struct ci_sampler *sampler);
void ci_sampler_fill(struct clinfer_session *session, int ahead, float sampler[CI_SAMPLER_COLS]);
enum clinfer_status ci_sampler_reserve(struct clinfer_engine *engine, const struct ci_sampler *sampler);
int32_t ci_sampler_choose(struct clinfer_session *session, const float *logits);

/* sampler.c: a token that was the only one: what choosing it would leave behind. And whether a bias lets it not come.
 */
void ci_sampler_pass(struct ci_sampler *sampler);
bool ci_sampler_forbids(const struct ci_sampler *sampler, int32_t token);

/* sampler.c: the first token of an answer, or the one after those that were generated before, comes next. */
void ci_sampler_begin(struct ci_sampler *sampler, const struct ci_sampler_memory *memory);

/* load.c: an engine on the CPU for the lender's model, which outlives it, beside that one: what the lender has packed
 * into the host's memory is not packed again. It computes logits; it has no vocabulary. */
enum clinfer_status ci_engine_open_beside(const struct clinfer_engine *lender,
                                          const struct clinfer_engine_options *options, clinfer_engine **engine);

/* first_run.c: the first time that a model's plan runs on a device, five tokens of prompt and two of decode are
 * compared with the CPU backend. CLINFER_WRONG_RESULT tells how far off they are. */
enum clinfer_status ci_engine_first_run(struct clinfer_engine *engine);

#endif
