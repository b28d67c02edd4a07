/* session.h: text and tokens; a session is one conversation, its tokens, its rows in the KV cache, its sampler. */
#ifndef CLINFER_SESSION_H
#define CLINFER_SESSION_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base.h"
#include "engine.h"

#ifdef __cplusplus
extern "C" {
#endif

/* ---- text ---- */

/* *tokens is the caller's to clinfer_free (NULL when *count is 0). add_begin: the model's begin-of-text token comes
 * first if it wants one and the text does not start with it already. parse_special: control tokens written in the text
 * count as such. */
CLINFER_API enum clinfer_status clinfer_tokenize(const clinfer_engine *engine, const char *text, size_t length,
                                                 bool add_begin, bool parse_special, int32_t **tokens, size_t *count);

/* A text that is complete, as clinfer_embed() wants it: with what the model puts before and behind one ([CLS] and
 * [SEP], an end-of-text token); control tokens written in it are text. */
CLINFER_API enum clinfer_status clinfer_tokenize_whole(const clinfer_engine *engine, const char *text, size_t length,
                                                       int32_t **tokens, size_t *count);

/* A question and a text that may answer it, as a model that ranks wants to see the two (CLINFER_POOLING_RANK). */
struct clinfer_pair {
    const char *query, *document;
    size_t query_length, document_length;
};
CLINFER_API enum clinfer_status clinfer_tokenize_pair(const clinfer_engine *engine, const struct clinfer_pair *pair,
                                                      int32_t **tokens, size_t *count);

/* A gap to be filled, for models of code: a prompt of tokens made as llama-server makes it. All texts end with a zero
 * byte. Of what is before the gap three quarters of `room` are kept, the last, of what is behind it one quarter; what
 * other files say gets the rest of the context, less twice the answer. */
struct clinfer_infill_file {
    const char *name; /* NULL: "tmp" */
    const char *text;
};
struct clinfer_infill {
    const char *prefix, *suffix; /* before the gap, and behind it */
    const char *prompt;          /* with which the gap begins already; NULL: nothing */
    const struct clinfer_infill_file *files;
    size_t file_count;
    int room;          /* tokens; 0: 512 */
    int answer;        /* tokens that may come; 0 or less: as many as fit */
    bool suffix_first; /* for models that want what is behind the gap first */
};

/* CLINFER_UNSUPPORTED: the model's vocabulary has no tokens for that. */
CLINFER_API enum clinfer_status clinfer_infill_tokens(const clinfer_engine *engine, const struct clinfer_infill *infill,
                                                      int32_t **tokens, size_t *count);

/* The bytes of one token, borrowed; possibly part of a character. Control tokens have none unless `special`. */
CLINFER_API const char *clinfer_token_text(const clinfer_engine *engine, int32_t token, bool special, size_t *length);

/* Whether answers end with this token; several of a vocabulary may be such. */
CLINFER_API bool clinfer_token_ends(const clinfer_engine *engine, int32_t token);

/* A call of a tool that a model asks for. */
struct clinfer_tool_call {
    const char *id;        /* which results refer to */
    const char *name;      /* of the tool */
    const char *arguments; /* JSON, an object; held to no schema */
    bool cut;              /* the answer ended before the arguments did: they are only the beginning of JSON */
};

struct clinfer_message {
    const char *role; /* "system", "user", "assistant", "tool" */
    const char *content;

    /* Of an answer that the model itself gave, if the caller has kept them: clinfer_result.tokens. They go into the
     * next prompt as they are where they still stand for what content says, so that nothing is computed again. NULL:
     * content is read as any other text. */
    const int32_t *tokens;
    size_t token_count;

    /* Of an answer: what the model thought before it, or NULL. Most templates leave it out of later turns. */
    const char *reasoning;

    /* Of an answer: the calls in it. */
    const struct clinfer_tool_call *calls;
    size_t call_count;

    /* Of a tool's result: which call it answers, and the tool's name. NULL: not known, which some templates take. */
    const char *call_id, *tool;
};

/* The conversation as the model's chat template writes it, to be looked at; clinfer_chat_tokens is for computing. *text
 * is the caller's to clinfer_free. A file without a template gets ChatML if its vocabulary has the tokens, else lines
 * "User: ..."; where the template has no system message, its text begins the first message of the user. Both are said
 * once on the log. CLINFER_BAD_FILE: the template loses what users say. */
CLINFER_API enum clinfer_status clinfer_chat_prompt(const clinfer_engine *engine,
                                                    const struct clinfer_message *messages, size_t count,
                                                    bool add_generation_prompt, char **text);

/* The same as the tokens of a request, the begin-of-text token included if the model wants one. Control tokens count
 * where the template writes them; in contents they are plain text unless parse_special, so that nobody ends a turn by
 * writing "<|im_end|>". The text of clinfer_chat_prompt cannot tell the two apart: tokenizing it lets contents speak
 * for the template. *tokens is the caller's to clinfer_free. */
CLINFER_API enum clinfer_status clinfer_chat_tokens(const clinfer_engine *engine,
                                                    const struct clinfer_message *messages, size_t count,
                                                    bool add_generation_prompt, bool parse_special, int32_t **tokens,
                                                    size_t *token_count);

/* ---- sessions ---- */

typedef struct clinfer_session clinfer_session;

/* What is added to a token's logit before anything else; -INFINITY: it never comes. */
struct clinfer_logit_bias {
    int32_t token;
    float bias;
};

/* How tokens are chosen, as llama.cpp does: the same seed and the same logits give the same text. NAN of a float and -1
 * of an int: the model's own, else the value in parentheses. What it points to is borrowed until the session, or the
 * conversation, is destroyed. Penalties and all that follows them is done by the host, which then waits for each token;
 * so is a top_k of 0, or above 64, unless the temperature is 0. */
struct clinfer_session_options {
    float temperature; /* 0: greedy */
    int top_k;         /* 0: all */
    float top_p, min_p;
    float repeat_penalty; /* 0.001 to 1000; 1: none */
    uint64_t seed; /* a token's random number depends on it (its two halves, xored) and on the token's place in the
                    * answer, on nothing else; its probabilities may, in their last digits, on who shares the steps */
    bool shift;    /* when the context is full, drop its older half and go on, instead of ending */

    int repeat_last_n; /* tokens that the repeat penalty and the next two look back over (64); 0: none of the three */
    float presence_penalty, frequency_penalty; /* once, and for each time that a token stands there (0) */

    /* DRY: a token that makes a repetition of n tokens longer loses
     * dry_multiplier * dry_base ^ (n - dry_allowed_length). */
    float dry_multiplier;            /* (0: none) */
    float dry_base;                  /* 1 or more (1.75) */
    int dry_allowed_length;          /* (2) */
    int dry_last_n;                  /* tokens that it looks back over (64) */
    const char *const *dry_breakers; /* [dry_breaker_count] texts across which nothing is a repetition; NULL: newline,
                                      * colon, quotation mark and asterisk */
    size_t dry_breaker_count;

    float xtc_probability; /* of leaving out the likeliest of the tokens above the threshold but the last (0: never) */
    float xtc_threshold;   /* (0.1); above 0.5: never */
    float typical_p;       /* those whose surprise is usual, of this probability together; 0 or 1: all (1) */
    float top_n_sigma;     /* those within so many standard deviations of the largest logit; 0: all (0) */

    /* 1 or 2, that version of Mirostat: after bias and temperature it alone chooses, to keep the surprise at
     * mirostat_tau bits (5), at a learning rate of mirostat_eta (0.1). 0: none. */
    int mirostat;
    float mirostat_tau, mirostat_eta;

    /* Which of these are used and in which order, the names separated by semicolons. NULL: the model's own, else
     * "penalties;dry;top_n_sigma;top_k;typ_p;top_p;min_p;xtc;temperature". */
    const char *samplers;

    const struct clinfer_logit_bias *logit_bias; /* [logit_bias_count] */
    size_t logit_bias_count;

    int draft_most, draft_least; /* tokens guessed for a step, where the engine guesses; most 0: none; -1, and NAN of
                                  * the next: as struct clinfer_draft_options has it */
    float draft_p_min;

    /* clinfer_result.logprobs has so many of the likeliest for each token, and the token itself; 0: NULL. */
    int logprobs;
};

/* The engine's defaults (struct clinfer_engine_info), seed 0. Without an engine NAN and -1. */
CLINFER_API void clinfer_session_options_default(const clinfer_engine *engine, struct clinfer_session_options *options);
CLINFER_API enum clinfer_status clinfer_session_create(clinfer_engine *engine,
                                                       const struct clinfer_session_options *options,
                                                       clinfer_session **session);
/* Ends its request first. Not from a text callback. */
CLINFER_API void clinfer_session_destroy(clinfer_session *session);

/* Called with complete UTF-8 characters (bytes that are no UTF-8 pass as they are; half a character at the end does not
 * where the answer was cut in it). false ends the generation. It may come from any thread that is inside clinfer_wait
 * or clinfer_generate on this engine, never twice at once. */
typedef bool clinfer_text_callback(void *user, const char *text, size_t length);

/* What an answer has to be: text by a grammar in llama.cpp's notation (GBNF), or JSON by a schema (draft 2020-12). A
 * token that cannot be part of such an answer is never taken. */
enum clinfer_grammar_kind { CLINFER_GRAMMAR_GBNF, CLINFER_GRAMMAR_JSON_SCHEMA };
struct clinfer_grammar {
    enum clinfer_grammar_kind kind;
    const char *text;
    const char *name; /* for messages: "--grammar-file x.gbnf"; NULL: none */
    bool leave_open;  /* where max_tokens or the context ends first, the text is cut there; else it is closed in time,
                       * with the same CLINFER_FINISH_LENGTH, and where the shortest answer has more tokens than
                       * max_tokens the request is CLINFER_INVALID_ARGUMENT */
    bool force_bytes; /* where only certain bytes may come, as the rest of a key that has begun, they are made tokens
                       * of as the tokenizer would, and take no steps: faster, but they may be other tokens than those
                       * that the model would have drawn, and so may be what follows. Not of remotes */
};

struct clinfer_request {
    const int32_t *tokens; /* the whole conversation; what this or another session has computed of it, from the first
                            * token on, is not computed again */
    size_t count;
    int max_tokens; /* -1: until the answer or the context ends */
    clinfer_text_callback *callback;
    void *user;
    bool ignore_end;         /* go on behind the token that ends an answer, which has no text */
    bool no_cache;           /* all tokens are computed, whatever was computed before, and others do not share them */
    const char *const *stop; /* [stop_count] texts, none empty, borrowed until the wait has ended: the answer ends
                              * before the first of them that comes up, and is held back while one might */
    size_t stop_count;
    const struct clinfer_grammar *grammar; /* NULL: any answer; borrowed for the call. An answer that is complete by it
                                            * ends, whatever ignore_end says */
};

enum clinfer_finish { CLINFER_FINISH_END, CLINFER_FINISH_LENGTH, CLINFER_FINISH_CONTEXT, CLINFER_FINISH_CANCELLED };

/* The natural logarithm of a token's probability, by the logits as the model gave them, before bias, samplers and
 * grammar. NAN: nobody computed it, since a grammar left no choice, or another engine had begun the answer. */
struct clinfer_logprob {
    int32_t token; /* -1: none */
    float logprob;
};

/* The same of a remote's token, which has a text and no number here; NULL: none. */
struct clinfer_text_logprob {
    const char *text; /* [length] bytes, a zero byte behind them */
    size_t length;
    float logprob; /* NAN: it was not told */
};

/* What has come of an answer since the piece before: text of one part, whole characters, with the tokens that came
 * meanwhile. Text may be held back, where it may become a stop text, a mark or a call, or is half a character: then its
 * tokens come with a later piece or with the last one, which may have no text. All pieces of a local answer together
 * have the result's tokens. */
enum clinfer_part { CLINFER_PART_ANSWER, CLINFER_PART_REASONING };
struct clinfer_piece {
    enum clinfer_part part;
    const char *text;
    size_t length;
    const int32_t *tokens; /* [token_count]; of a remote none */
    size_t token_count;
    const struct clinfer_logprob *logprobs; /* [token_count, 1 + sampling.logprobs], as in the result; NULL: not
                                             * wanted */
};
typedef bool clinfer_piece_callback(void *user, const struct clinfer_piece *piece);

struct clinfer_result {
    enum clinfer_finish finish;
    size_t prompt_tokens, cached_tokens, generated_tokens;
    double prompt_seconds, generate_seconds; /* to the first token; from there to the last */
    const int32_t *tokens; /* generated, the end token included; valid until the session's next request */
    size_t drafts, drafted_tokens,
        accepted_tokens;     /* steps with guesses; guessed; of these, so many are the answer's */
    size_t reasoning_tokens; /* of these, so many stand before the answer proper; 0 where nobody asked for the parts */
    bool reasoning_cut; /* its end was written for the model: the answer by a grammar would not have come any more */
    const struct clinfer_logprob *logprobs; /* [generated_tokens, 1 + options.logprobs]: the token itself, then the
                                             * likeliest in falling order; valid as long as tokens; NULL: not wanted */

    /* Of a remote's answer, where its API has them (OpenAI's); each [1 + sampling.logprobs], as above. Borrowed until
     * the conversation's next request. */
    const struct clinfer_text_logprob *remote_logprobs;
    size_t remote_logprob_count;

    /* What the answer calls, where the request had tools; borrowed until the conversation's next request. The finish
     * is END then. */
    const struct clinfer_tool_call *calls;
    size_t call_count;

    const char *stop_text; /* the one of the request's stop texts that ended it; NULL: none */
};

/* Submits and waits. CLINFER_CONTEXT_FULL: the prompt is longer than the context. */
CLINFER_API enum clinfer_status clinfer_generate(clinfer_session *session, const struct clinfer_request *request,
                                                 struct clinfer_result *result);

/* The two halves: requests of several sessions submitted before the first wait are computed in the same steps. The
 * request's tokens are copied. */
CLINFER_API enum clinfer_status clinfer_submit(clinfer_session *session, const struct clinfer_request *request);
CLINFER_API enum clinfer_status clinfer_wait(clinfer_session *session, struct clinfer_result *result);

/* Ends the session's generation after the present token. From any thread, or a signal handler. */
CLINFER_API void clinfer_cancel(clinfer_session *session);

/* Computes logits of the tokens as a continuation of nothing: float [all ? count : 1, outputs]. `all` needs the
 * engine's all_logits unless the tokens come one at a time. CLINFER_WRONG_RESULT: not all of them are finite, though
 * what was wrong was replaced; the message says where that comes from. */
CLINFER_API enum clinfer_status clinfer_logits(clinfer_session *session, const int32_t *tokens, size_t count, bool all,
                                               float *logits);

/* One vector for a text: [outputs]; RANK: [scores]; NONE: [count, outputs]. The engine's `embeddings` or an encoder. As
 * the model gives it; most users want it divided by its length. CLINFER_INVALID_ARGUMENT: the engine makes logits, or
 * the model does not rank. CLINFER_CONTEXT_FULL: the text has more tokens than the context. */
CLINFER_API enum clinfer_status clinfer_embed(clinfer_session *session, const int32_t *tokens, size_t count,
                                              enum clinfer_pooling pooling, float *vector);

/* The same of many texts, one behind the other in `vectors`, with a session of their own. From any thread, several at
 * once too: short texts of an encoder share steps, between which others' come in. `goes_on`, NULL or asked before each
 * step by the calling thread, ends it with CLINFER_CANCELLED. The message of a failure that is one text's
 * begins with its number, from 0. */
struct clinfer_tokens {
    const int32_t *tokens;
    size_t count;
};
CLINFER_API enum clinfer_status clinfer_embed_all(clinfer_engine *engine, const struct clinfer_tokens *texts,
                                                  size_t count, enum clinfer_pooling pooling,
                                                  bool (*goes_on)(void *user), void *user, float *vectors);

#ifdef __cplusplus
}
#endif

#endif
