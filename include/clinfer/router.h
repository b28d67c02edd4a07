/* router.h: requests that go down a ladder of devices, the CPU and remote APIs until one answers. */
#ifndef CLINFER_ROUTER_H
#define CLINFER_ROUTER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base.h"
#include "engine.h"
#include "session.h"

#ifdef __cplusplus
extern "C" {
#endif

/* ---- remote APIs ---- */

/* One remote API. All texts are borrowed as long as whoever got them lives. Nothing is ever sent to one that no caller
 * handed over: the library looks for remotes neither in files nor in the environment. */
struct clinfer_remote {
    const char *name;    /* for people and records */
    const char *url;     /* the part before the dialect's own path: "https://api.openai.com/v1" */
    const char *dialect; /* NULL, "openai": chat completions; "anthropic": messages */
    const char *model;   /* NULL: none is named, which servers of one model accept */

    /* Where its key comes from; at most one is not NULL: a variable of the environment, a file that nobody else may
     * read (mode 0600 or less), a command for sh that prints it. */
    const char *key_variable, *key_file, *key_command;
    bool plain_http; /* http:// is allowed to hosts other than this one; never with a key */

    /* Until it is connected, until the first byte of an answer, between two of its bytes, in all; 0: 10, 60, 30, 600.
     */
    double connect_seconds, first_byte_seconds, idle_seconds, total_seconds;
};

/* ---- the request ladder ----
 *
 * A router answers requests on the first rung of its ladder that can: the device asked for, other devices, the CPU,
 * then remote APIs in order. Going down is never silent: each request has a route, and the log tells when it happens. A
 * step down before the first byte of text starts afresh; after it, another local rung goes on with the same tokens, so
 * that text which is out stays; a remote goes on with an answer that has begun only if that was asked for.
 *
 * Engines run on threads of their own: one whose driver hangs is left behind.
 *
 * From several threads: everything here may be called at any time from any thread, also while others wait for answers,
 * but a conversation belongs to one thread at a time (cancelling is for all), and nobody may use what another one
 * destroys or closes. Who waits for an answer sleeps. Callbacks of a request come from the engine's thread, or from the
 * one that waits where a remote answers or the answer ends, one at a time for each conversation; what of the router
 * they may call is clinfer_chat_cancel, clinfer_router_take_engine and _give_back_engine, _get_state, _get_stats and
 * _rungs. They hold up all that the engine computes, so they should not wait for anything. */

typedef struct clinfer_router clinfer_router;
typedef struct clinfer_conversation clinfer_conversation;

struct clinfer_router_options {
    /* What runs here. engine.fallback NONE: only the first rung; CPU: no remote. Texts are borrowed until the router
     * is closed. */
    struct clinfer_engine_options engine;
    const struct clinfer_remote *remotes; /* [remote_count], in the order in which they are asked; copied, not texts */
    size_t remote_count;
    const char *why_no_model; /* where engine.model is NULL: what to say of it */
    bool remote_only;
    bool remote_continues; /* a remote may go on with an answer that has begun here */

    /* A device is given up when nothing of it has come for so long: 0: 30 seconds, or ten times what a step should
     * take on a slow device if that is longer; 300 where kernels are built and weights are loaded. Otherwise exactly
     * this, and ten times as long for the latter. */
    double watchdog_seconds;

    bool prove; /* a rung is ready, and gets requests, only when it has computed a prompt of several tokens and two
                 * tokens more; else when its engine is open */

    /* A rung whose device failed is tried again after so many seconds, and must have computed such a prompt before
     * requests go there; each failure doubles that, up to retry_most_seconds (0: 600). 0: never, as for one that hung.
     */
    double retry_seconds, retry_most_seconds;

    /* Programs that were built for a device are saved for the next process while nobody asks, and when the router is
     * closed: then for so many seconds, and the one that is under way; 0: all of them. */
    double save_seconds;
};

enum clinfer_rung_kind { CLINFER_RUNG_DEVICE, CLINFER_RUNG_CPU, CLINFER_RUNG_REMOTE };

/* A rung, and what came of it. Texts are borrowed as long as what they came with. */
struct clinfer_rung {
    enum clinfer_rung_kind kind;
    const char *name;           /* "0: NAME (PLATFORM)", "cpu", a remote's name */
    const char *url;            /* of a remote, else "" */
    bool tried;                 /* by this request */
    enum clinfer_status status; /* CLINFER_OK: it answered, or was not needed */
    const char *reason;         /* why it did not answer, or was not tried; "" */
    double seconds;             /* that this request spent there */
    size_t tokens;              /* that it generated */

    /* Only of clinfer_router_rungs(). */
    double again_seconds;                    /* until it is tried again, below 0: never; 0 of one that is in use */
    uint64_t answered, failed, total_tokens; /* requests; tokens generated */
};

/* How a request was answered. Borrowed until the conversation's next request. */
struct clinfer_route {
    const struct clinfer_rung *rungs;
    size_t count;
    int answered;   /* index of the rung that ended it; -1: none */
    bool fell_back; /* another than the first */
    bool partial;   /* the text that is out is only the beginning of an answer: what came after it failed */
    /* All of it in one line: "0: A (B): 6 tokens, then the device or its driver failed (1.2 s); cpu: 40 tokens (3.1
     * s)". Reasons that the log has told are short here, and whole in the rungs. */
    const char *text;
    struct clinfer_result result; /* of a remote: what it counted; tokens is NULL */
};

/* Makes the ladder; no engine is opened. CLINFER_NO_DEVICE: engine.device names none, and engine.fallback is NONE. */
CLINFER_API enum clinfer_status clinfer_router_open(const struct clinfer_router_options *options,
                                                    clinfer_router **router);

/* All conversations must be destroyed before. Where some are left, an error goes to the log and the last one closes the
 * router when it is destroyed. An engine that is still being opened, after a deadline for one, is left behind:
 * clinfer_left_behind(). */
CLINFER_API void clinfer_router_close(clinfer_router *router);

/* Opens the first rung's engine, or the next one's when that cannot be, so that loading is done before the first
 * request. Not needed: requests do so too. CLINFER_OK: some rung is ready, which may be a remote. */
CLINFER_API enum clinfer_status clinfer_router_start(clinfer_router *router);

/* Begins to do so, and returns at once; clinfer_router_get_state() tells how far it is. Where the rung that is in use
 * fails later, the next one is opened ahead of requests, too. */
CLINFER_API enum clinfer_status clinfer_router_begin(clinfer_router *router);

/* The engine of the first rung that has one, to ask it things until the next request; NULL: none. */
CLINFER_API clinfer_engine *clinfer_router_engine(clinfer_router *router);

/* The same for programs with several threads: whatever becomes of its rung, the engine stays open until it is given
 * back, which has to be before the router is closed. Nothing happens for a NULL engine. */
CLINFER_API clinfer_engine *clinfer_router_take_engine(clinfer_router *router);
CLINFER_API void clinfer_router_give_back_engine(clinfer_router *router, clinfer_engine *engine);

/* The ladder as it stands, in one block that is the caller's to clinfer_free. */
CLINFER_API enum clinfer_status clinfer_router_rungs(clinfer_router *router, struct clinfer_rung **rungs,
                                                     size_t *count);

/* How things stand, for whoever has to know at once: neither a device that hangs nor a request holds it up. */
enum clinfer_router_condition {
    CLINFER_ROUTER_LOADING,  /* the rung that is next to be used is not ready */
    CLINFER_ROUTER_READY,    /* one of this machine is, or there are only remotes, as was asked for */
    CLINFER_ROUTER_DEGRADED, /* what was to run here does not; a remote is left */
    CLINFER_ROUTER_HANGING,  /* the device gives no sign of life for half of what the watchdog allows; or did so, was
                              * left behind, and nothing else is left */
    CLINFER_ROUTER_FAILED    /* nothing is left */
};
struct clinfer_router_state {
    enum clinfer_router_condition condition;
    int rung;              /* where the next request begins; -1: none */
    char name[128];        /* its name */
    char reason[512];      /* why the first rung is not in use; "" */
    double silent_seconds; /* of HANGING */
};
CLINFER_API void clinfer_router_get_state(clinfer_router *router, struct clinfer_router_state *state);

/* What was done, for metrics. */
struct clinfer_router_stats {
    uint64_t requests, answered, failed, cancelled;          /* so far */
    uint64_t prompt_tokens, cached_tokens, generated_tokens; /* of those that have ended, as in their results */
    double prompt_seconds, generate_seconds;
    uint64_t steps, rows;                     /* runs of a plan, and tokens computed, of engines that are open */
    uint64_t cache_tokens, cache_tokens_used; /* as of engines */
    uint64_t cache_bytes;
    int running, waiting; /* requests that are computed, or on a remote; that wait for an engine */
};
CLINFER_API void clinfer_router_get_stats(clinfer_router *router, struct clinfer_router_stats *stats);

/* Whether a thread was left behind in a driver that hangs: then the process must end with _exit, since drivers wait
 * for their own work at exit. Stays true for the life of the process. */
CLINFER_API bool clinfer_left_behind(void);

/* NAN and -1 in `sampling`: the model's own; NULL: all of them. */
CLINFER_API enum clinfer_status clinfer_conversation_create(clinfer_router *router,
                                                            const struct clinfer_session_options *sampling,
                                                            clinfer_conversation **conversation);
CLINFER_API void clinfer_conversation_destroy(clinfer_conversation *conversation);

/* A piece of a call, as it comes. */
struct clinfer_tool_call_piece {
    size_t index;          /* of the call in the answer */
    const char *id, *name; /* each in one piece of the call, the first if possible, else NULL */
    const char *arguments; /* the next [length] bytes of them, whole characters; maybe none */
    size_t length;
    bool last; /* the call is whole */
};
typedef bool clinfer_tool_call_callback(void *user, const struct clinfer_tool_call_piece *piece);

struct clinfer_chat_request {
    const struct clinfer_message *messages; /* the whole conversation; the last one is to be answered */
    size_t count;
    const int32_t *tokens; /* [token_count], copied: the prompt itself, instead of messages; local rungs only */
    size_t token_count;
    bool raw;           /* the last message's content as it is, without a chat template; local rungs only */
    bool parse_special; /* control tokens in contents count as such, as they always do in a raw one */

    /* What the chat template makes of the messages: without what begins an answer; or so that the last message, which
     * is the assistant's, is an answer that has begun, and the model goes on with it (remotes are asked to do so, too);
     * with variables of its own, a JSON object such as {"enable_thinking": false}, that go before the engine's. No
     * remote is asked for a request with the first of these, nor with the last, unless it may be lost on the way. */
    bool no_generation_prompt;
    bool continue_last;
    const char *template_arguments; /* copied; NULL: none */
    bool optional_arguments;        /* a remote may be asked without them */

    int max_tokens;          /* -1: until the answer or the context ends */
    bool ignore_end;         /* as in struct clinfer_request; local rungs only */
    bool no_cache;           /* the same */
    double deadline_seconds; /* 0: none; after it no local rung goes on, with the prompt or the answer */
    const char *const *stop; /* [stop_count] texts, none empty, borrowed until the wait has ended: the answer ends
                              * before the first of them that comes up, and is held back while one might; in a
                              * call of a tool none counts */
    size_t stop_count;
    const struct clinfer_grammar *grammar; /* NULL: any answer. Borrowed, with its texts, until the wait has ended. What
                                            * a model thinks before it answers is free. Of remotes only those that take
                                            * schemas are asked, and no remote for GBNF */

    /* NULL, or what the model may call: an array as OpenAI's API has it, [{"type": "function", "function": {"name":
     * ..., "description": ..., "parameters": {...}}}, ...]. The chat template shows them to the model, or a system
     * message does where it cannot; calls in the answer become struct clinfer_result's and are no part of its text,
     * nor is reasoning then. Borrowed until the wait has ended, as the next. */
    const char *tools;
    const char *tool_choice; /* NULL, "auto": the model decides; "none": no call; "required": one at least; or the name
                              * of the tool that it has to call */

    /* Maybe from another thread than the caller's, never twice at once, never after clinfer_chat_wait has returned. It
     * may call clinfer_chat_cancel only. */
    clinfer_text_callback *callback;
    void *user;

    /* What a model thinks before it answers (<think> ... </think> and other forms, by its chat template) goes here,
     * and only the answer itself, without these marks, to `callback`; NULL: all of it goes there, marks that are text
     * included. Stop texts end the answer, not the reasoning. Never at the same time as `callback`. Remotes keep their
     * reasoning to themselves. */
    clinfer_text_callback *reasoning;

    /* NULL, or gets calls of tools as they come, else as `callback`; the result has them in any case. */
    clinfer_tool_call_callback *call;

    /* NULL, or gets all text, whatever part it is of, and the tokens: instead of `callback` and `reasoning`, which are
     * NULL then. As `callback`. */
    clinfer_piece_callback *piece;

    /* NULL, or told once a local rung has made the prompt and accepted it, before any text: its tokens, and how many of
     * them need not be computed. Once for a request, as `callback`. */
    void (*started)(void *user, size_t prompt_tokens, size_t cached_tokens);

    /* NULL, or told after each step that computed some of the prompt how much of it is there. As `callback`. */
    void (*progress)(void *user, size_t done, size_t total);
};

/* clinfer_embed_all() on the first rung of this machine that can, from any thread: where a device fails, that rung is
 * out of use, and the next one makes all vectors anew. Remotes are not asked. For an encoder, or with
 * engine.embeddings. CLINFER_UNSUPPORTED: no model runs here. */
CLINFER_API enum clinfer_status clinfer_router_embed(clinfer_router *router, const struct clinfer_tokens *texts,
                                                     size_t count, enum clinfer_pooling pooling,
                                                     bool (*goes_on)(void *user), void *user, float *vectors);

/* What a request becomes, without running it: the prompt's text (*length bytes and a zero; "" where tokens are given)
 * and its tokens, with the tools that the request has, but without the mark that a call which has to come would begin
 * with. Each of the outputs may be NULL; *text and *tokens are the caller's to clinfer_free. An engine is opened where
 * none is. CLINFER_UNSUPPORTED: no model runs here, a remote makes its own prompts. */
CLINFER_API enum clinfer_status clinfer_router_prompt(clinfer_router *router,
                                                      const struct clinfer_chat_request *request, char **text,
                                                      size_t *length, int32_t **tokens, size_t *token_count);

/* Begins the request; several conversations' requests run in the same steps. The messages are copied. */
CLINFER_API enum clinfer_status clinfer_chat_submit(clinfer_conversation *conversation,
                                                    const struct clinfer_chat_request *request);

/* Waits for its end, going down the ladder where that is needed. The status is that of the last rung that was tried,
 * the message says what happened on each; CLINFER_REFUSED: none was, since none is allowed. */
CLINFER_API enum clinfer_status clinfer_chat_wait(clinfer_conversation *conversation,
                                                  const struct clinfer_route **route);

/* Ends the answer after the present token, or the making of the prompt. From any thread, or a signal handler. */
CLINFER_API void clinfer_chat_cancel(clinfer_conversation *conversation);

#ifdef __cplusplus
}
#endif

#endif
