/* bench_server.h: what the files of `clinfer bench --server` share: load on a server, seen from its clients. */
#ifndef CI_CLI_BENCH_SERVER_H
#define CI_CLI_BENCH_SERVER_H

#include <clinfer.h>
#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "cli/bench.h"
#include "cli/options.h"
#include "net/fetch.h"
#include "remote/sse.h"

enum ci_bench_api { CI_BENCH_CHAT, CI_BENCH_COMPLETIONS };

struct ci_bench_server_flags {
    const char *url, *key, *key_file;
    struct ci_texts client_texts;
    double rate, timeout;
    long long requests, seed, shared;
    int api;
};
#define CI_BENCH_SERVER_FLAGS_DEFAULT                                                                                  \
    { .seed = -1, .timeout = 600 }

#define CI_BENCH_SERVER_OPTIONS(flags)                                                                                 \
    CI_SECTION("Load on a server of the OpenAI API, in place of a model here: with -p, -n, -m, -o, --no-warmup"),      \
        CI_TEXT("--server", &(flags)->url, "URL",                                                                      \
                "http://HOST:PORT: stream answers from it and measure what its clients see; -p and -n are tokens of "  \
                "each request, -m is the model's name there (its first)"),                                             \
        CI_TEXTS("--concurrency", &(flags)->client_texts, "N",                                                         \
                 "clients, each with one request at a time (1); with --rate: requests at once at most (512)"),         \
        CI_NUMBER("--rate", &(flags)->rate, 0, 1e6,                                                                    \
                  "requests that arrive per second, at random (Poisson), whether others are answered or not"),         \
        CI_INTEGER("--requests", &(flags)->requests, 0, 10000000, "requests of a row (four of each client, 16)"),      \
        CI_CHOICE("--api", &(flags)->api, "chat|completions", "/v1/chat/completions or /v1/completions"),              \
        CI_INTEGER("--shared-prefix", &(flags)->shared, 0, 1 << 28,                                                    \
                   "tokens with which all prompts begin alike; else none begins as another does"),                     \
        CI_INTEGER("--seed", &(flags)->seed, -1, 9007199254740991, "of prompts and arrivals (-1: another each time)"), \
        CI_TEXT("--api-key-file", &(flags)->key_file, "FILE", "the key for the server, on its first line"),            \
        CI_TEXT("--api-key", &(flags)->key, "KEY", "the same, which others can read in the list of processes"),        \
        CI_NUMBER("--timeout", &(flags)->timeout, 0.1, 86400, "seconds without a byte that end a request (600)")

/* ---- bench_prompt.c: prompts made of words ---- */

enum { CI_BENCH_WORDS = 128 };

struct ci_bench_vocabulary {
    int tokens[CI_BENCH_WORDS]; /* of each word with the space before it */
    uint64_t random;            /* from which the words are drawn */
    uint64_t shared;            /* from which those of the common start are */
};

/* ---- the server that is asked ---- */

struct ci_bench_server {
    char *base, *model, *authorization; /* base: without /v1; authorization: NULL where there is no key */
    enum ci_bench_api api;
    bool ignore_end; /* it takes ignore_eos */
    double timeout;
    struct ci_fetcher *fetcher;
    struct ci_bench_vocabulary words;
};

/* One question and its JSON; NULL: there is none, or no 200. `body` NULL: GET. *fetch, which the caller frees, tells
 * why. */
json_t *ci_bench_server_ask(struct ci_bench_server *server, const char *path, const char *body,
                            struct ci_fetch **fetch);

/* How many tokens each word is, from the server's /tokenize; false: it has none, and each counts as one. */
bool ci_bench_words_measure(struct ci_bench_server *server);

/* Words of so many tokens, the first `shared` of which every prompt has. The caller frees; NULL: out of memory. */
char *ci_bench_prompt(struct ci_bench_vocabulary *words, long long tokens, long long shared);

/* ---- bench_stream.c: one request ---- */

enum { CI_BENCH_PROBLEM = 256 };

struct ci_bench_numbers {
    double *items;
    size_t count, capacity;
};
/* false: memory is out. */
bool ci_bench_numbers_add(struct ci_bench_numbers *numbers, double value);

struct ci_bench_stream {
    struct ci_bench_numbers gaps; /* seconds between pieces of text */
    struct ci_fetch *fetch;       /* NULL: none is under way */
    struct ci_sse sse;
    char *body;
    double begun, now, first, last; /* of ci_now(); first and last piece of text, 0: none */
    long long pieces;
    long long prompt_tokens, generated_tokens; /* as the server counts; -1: it did not say */
    long long cached_tokens;                   /* of the prompt's, that it had kept; likewise */
    bool complete;
    char *answer; /* of an error, its start */
    size_t answer_length, answer_capacity;
    char problem[CI_BENCH_PROBLEM]; /* "": none so far */
};

/* `begun`: when the request arrived, from which its times count. Free in any case. */
enum clinfer_status ci_bench_stream_start(struct ci_bench_server *server, struct ci_bench_stream *stream,
                                          long long prompt, long long shared, long long generated, double begun);
bool ci_bench_stream_has_ended(const struct ci_bench_stream *stream);
/* Of one that has ended: whether the answer came whole; else stream->problem says what went wrong. */
bool ci_bench_stream_finish(struct ci_bench_stream *stream);
void ci_bench_stream_free(struct ci_bench_stream *stream);

/* ---- bench_load.c: what came of a row, and how it is shown ---- */

enum { CI_BENCH_KINDS = 8 };

struct ci_bench_load {
    long long prompt, generated, clients, wanted;
    double rate; /* 0: none */
    double seconds;
    long long completed, failed, prompt_tokens, generated_tokens;
    long long cached_tokens;                           /* -1: no server said */
    struct ci_bench_numbers first, gaps, token, whole; /* seconds */
    struct {
        char text[CI_BENCH_PROBLEM];
        long long count;
    } failures[CI_BENCH_KINDS]; /* the last one: all further kinds */
    const struct ci_bench_server *server;
    long long seed;
};

void ci_bench_load_note(struct ci_bench_load *load, const char *problem);
/* `number`: of the row, from 0. */
void ci_bench_load_print(struct ci_bench_load *load, enum ci_bench_format format, size_t number);
void ci_bench_load_print_end(enum ci_bench_format format, size_t rows);
void ci_bench_load_free(struct ci_bench_load *load);

/* ---- bench_server.c ---- */

/* Returns the exit status. `model` NULL: the server's first. */
int ci_bench_server_run(const struct ci_bench_server_flags *flags, const char *model, const struct ci_texts *prompts,
                        const struct ci_texts *generated, bool warmup, enum ci_bench_format format);

#endif
