/* bench_server.c: `clinfer bench --server`: requests to a server of the OpenAI API, and what its clients see of it.
 *
 * One thread moves all streams (net/fetch.h), so that what is measured beside a server on the same machine is the
 * server. Two kinds of load: so many clients that each ask again when they are answered, or, with --rate, requests that
 * arrive at random times whether others are answered or not; there a request's time counts from its arrival, also where
 * it had to wait for others here, since a server that is too slow would else look better than it is. */
#define _GNU_SOURCE
#include "cli/bench_server.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/resource.h>
#include <time.h>

#include "base/clock.h"
#include "base/random.h"
#include "base/status.h"
#include "base/text_file.h"
#include "cli/interrupt.h"
#include "cli/output.h"

enum { MOST_CLIENTS = 4096, MOST_TOKENS = 1 << 24, ANSWER_BYTES = 1 << 20, KEY_BYTES = 4096, WARM_TOKENS = 4 };

static const double slice = 0.05, ask_seconds = 60;

/* ---- questions beside the load ---- */

json_t *ci_bench_server_ask(struct ci_bench_server *server, const char *path, const char *body,
                            struct ci_fetch **fetch) {
    static const char *const headers[] = {"Content-Type: application/json", NULL};
    char url[2048], *text = NULL;
    size_t length = 0;
    snprintf(url, sizeof url, "%s%s", server->base, path);
    const struct ci_fetch_request request = {.url = url,
                                             .headers = body ? headers : NULL,
                                             .authorization = server->authorization,
                                             .body = body,
                                             .body_bytes = body ? strlen(body) : 0,
                                             .connect_seconds = ask_seconds,
                                             .silence_seconds = ask_seconds};
    enum clinfer_status status = ci_fetch_text(server->fetcher, &request, ANSWER_BYTES, fetch, &text, &length);
    bool good = status == CLINFER_OK && ci_fetch_end(*fetch) == CI_FETCH_DONE && ci_fetch_status(*fetch) == 200;
    json_t *answer = good ? json_loadb(text, length, 0, NULL) : NULL;
    free(text);
    return answer;
}

/* ---- where, who, how ---- */

static enum clinfer_status read_key(const struct ci_bench_server_flags *flags, struct ci_bench_server *server) {
    char *text = NULL;
    size_t length = 0;
    enum clinfer_status status = CLINFER_OK;
    if (!flags->key && !flags->key_file) return CLINFER_OK;
    if (!flags->key) status = ci_text_file_read(flags->key_file, KEY_BYTES, &text, &length);
    if (status != CLINFER_OK) return ci_fail_prefix(status, "--api-key-file");
    const char *key = flags->key ? flags->key : text;
    size_t used = strcspn(key, "\r\n");
    if (!used)
        status =
            ci_fail(CLINFER_INVALID_ARGUMENT, "%s: there is no key in it", flags->key ? "--api-key" : flags->key_file);
    else if (asprintf(&server->authorization, "Bearer %.*s", (int)used, key) < 0)
        status = ci_fail(CLINFER_OUT_OF_MEMORY, "out of memory for a key");
    if (text) explicit_bzero(text, length);
    free(text);
    return status;
}

/* Without a slash at its end and without /v1: both spellings are common. */
static enum clinfer_status read_url(const char *url, struct ci_bench_server *server) {
    if (strncmp(url, "http://", 7) != 0 && strncmp(url, "https://", 8) != 0)
        return ci_fail(CLINFER_INVALID_ARGUMENT, "--server %.200s: must be an address, http://127.0.0.1:8080", url);
    server->base = strdup(url);
    if (!server->base) return ci_fail(CLINFER_OUT_OF_MEMORY, "out of memory for an address");
    size_t length = strlen(server->base);
    while (length && server->base[length - 1] == '/') server->base[--length] = 0;
    if (length > 3 && strcmp(server->base + length - 3, "/v1") == 0) server->base[length - 3] = 0;
    return length < 1500 ? CLINFER_OK : ci_fail(CLINFER_INVALID_ARGUMENT, "--server: the address is too long");
}

static enum clinfer_status find_model(struct ci_bench_server *server, const char *wanted) {
    struct ci_fetch *fetch = NULL;
    json_t *models = wanted ? NULL : ci_bench_server_ask(server, "/v1/models", NULL, &fetch);
    const char *first = json_string_value(json_object_get(json_array_get(json_object_get(models, "data"), 0), "id"));
    enum clinfer_status status = CLINFER_OK;
    if (fetch && ci_fetch_end(fetch) != CI_FETCH_DONE)
        status = ci_fail(CLINFER_REMOTE_FAILED, "%s cannot be asked: %s", server->base, ci_fetch_problem(fetch));
    server->model = strdup(wanted ? wanted : first ? first : "default");
    if (status == CLINFER_OK && !server->model) status = ci_fail(CLINFER_OUT_OF_MEMORY, "out of memory for a name");
    ci_fetch_free(fetch);
    json_decref(models);
    return status;
}

static enum clinfer_status open_server(const struct ci_bench_server_flags *flags, const char *model,
                                       struct ci_bench_server *server) {
    server->api = (enum ci_bench_api)flags->api;
    server->timeout = flags->timeout;
    server->ignore_end = true;
    enum clinfer_status status = read_url(flags->url, server);
    if (status == CLINFER_OK) status = read_key(flags, server);
    if (status == CLINFER_OK) status = ci_fetcher_create(&server->fetcher);
    if (status == CLINFER_OK) status = find_model(server, model);
    if (status == CLINFER_OK && !ci_bench_words_measure(server))
        ci_say("%s does not answer /tokenize: -p counts words", server->base);
    return status;
}

static void close_server(struct ci_bench_server *server) {
    ci_fetcher_destroy(server->fetcher);
    if (server->authorization) explicit_bzero(server->authorization, strlen(server->authorization));
    free(server->authorization);
    free(server->base);
    free(server->model);
}

/* ---- one load ---- */

struct course {
    struct ci_bench_server *server;
    struct ci_bench_load *load;
    struct ci_bench_stream *streams; /* [load->clients]; without a fetch: free */
    long long shared, started, active;
    double due; /* of ci_now(): the next arrival */
    uint64_t random;
};

/* Exponential times between arrivals make them Poisson. */
static double draw_wait(struct course *course) {
    return -log1p(-(double)ci_random_float(&course->random)) / course->load->rate;
}

static struct ci_bench_stream *free_stream(const struct course *course) {
    struct ci_bench_stream *stream = course->streams;
    while (stream->fetch) stream++;
    return stream;
}

static enum clinfer_status start_due(struct course *course) {
    struct ci_bench_load *load = course->load;
    enum clinfer_status status = CLINFER_OK;
    while (status == CLINFER_OK && course->started < load->wanted && course->active < load->clients) {
        double now = ci_now(), begun = load->rate > 0 ? course->due : now;
        if (begun > now) break;
        struct ci_bench_stream *stream = free_stream(course);
        status = ci_bench_stream_start(course->server, stream, load->prompt, course->shared, load->generated, begun);
        if (status != CLINFER_OK) ci_bench_stream_free(stream);
        course->active++;
        course->started++;
        if (load->rate > 0) course->due += draw_wait(course);
    }
    return status;
}

static enum clinfer_status take(struct ci_bench_load *load, struct ci_bench_stream *stream) {
    if (!ci_bench_stream_finish(stream)) {
        ci_bench_load_note(load, stream->problem);
        return CLINFER_OK;
    }
    long long tokens = stream->generated_tokens >= 0 ? stream->generated_tokens : stream->pieces;
    bool good = ci_bench_numbers_add(&load->whole, stream->now - stream->begun);
    for (size_t i = 0; i < stream->gaps.count && good; i++)
        good = ci_bench_numbers_add(&load->gaps, stream->gaps.items[i]);
    if (stream->first) good = good && ci_bench_numbers_add(&load->first, stream->first - stream->begun);
    if (stream->first && tokens > 1)
        good = good && ci_bench_numbers_add(&load->token, (stream->last - stream->first) / (double)(tokens - 1));
    load->completed++;
    load->generated_tokens += tokens;
    if (stream->cached_tokens >= 0)
        load->cached_tokens = (load->cached_tokens > 0 ? load->cached_tokens : 0) + stream->cached_tokens;
    load->prompt_tokens += stream->prompt_tokens >= 0 ? stream->prompt_tokens : load->prompt;
    return good ? CLINFER_OK : ci_fail(CLINFER_OUT_OF_MEMORY, "out of memory for what was measured");
}

static enum clinfer_status collect(struct course *course) {
    enum clinfer_status status = CLINFER_OK;
    for (long long i = 0; i < course->load->clients && status == CLINFER_OK; i++) {
        struct ci_bench_stream *stream = &course->streams[i];
        if (!ci_bench_stream_has_ended(stream)) continue;
        status = take(course->load, stream);
        ci_bench_stream_free(stream);
        course->active--;
    }
    return status;
}

static void rest(double seconds) {
    const struct timespec span = {.tv_nsec = (long)(1e9 * fmax(0, fmin(seconds, slice)))};
    nanosleep(&span, NULL);
}

static void tell(const struct ci_bench_load *load) {
    char text[128];
    snprintf(text, sizeof text, "%lld clients, %lld + %lld tokens: %lld of %lld requests", load->clients, load->prompt,
             load->generated, load->completed + load->failed, load->wanted);
    ci_progress(text);
}

static enum clinfer_status run_course(struct course *course) {
    struct ci_bench_load *load = course->load;
    enum clinfer_status status = CLINFER_OK;
    double begun = ci_now(), told = 0;
    course->due = begun;
    while (status == CLINFER_OK && load->completed + load->failed < load->wanted) {
        status = start_due(course);
        double now = ci_now(), wait = slice;
        if (load->rate > 0 && course->started < load->wanted && course->active < load->clients)
            wait = fmax(0, fmin(wait, course->due - now));
        if (course->active)
            ci_fetcher_run(course->server->fetcher, wait);
        else
            rest(wait);
        if (status == CLINFER_OK) status = collect(course);
        if (status == CLINFER_OK && ci_interrupted()) status = ci_fail(CLINFER_CANCELLED, "cancelled");
        if (now - told > 0.5) tell(load);
        if (now - told > 0.5) told = now;
    }
    load->seconds = ci_now() - begun;
    return status;
}

static enum clinfer_status run_load(struct ci_bench_server *server, struct ci_bench_load *load, long long shared) {
    struct course course = {.server = server, .load = load, .shared = shared, .random = server->words.shared};
    course.streams = calloc((size_t)load->clients, sizeof *course.streams);
    if (!course.streams) return ci_fail(CLINFER_OUT_OF_MEMORY, "out of memory for %lld clients", load->clients);
    enum clinfer_status status = run_course(&course);
    for (long long i = 0; i < load->clients; i++) ci_bench_stream_free(&course.streams[i]);
    free(course.streams);
    return status;
}

/* ---- before it ---- */

/* A request of a few tokens, after which no first one waits for what a server puts off; also whether it takes
 * ignore_eos, which OpenAI's own refuses. Failures are the rows' to count, unless nothing answers there at all. */
static enum clinfer_status warm_up(struct ci_bench_server *server, const struct ci_bench_load *like, long long shared) {
    enum clinfer_status status = CLINFER_OK;
    for (int tries = 0; tries < 2 && status == CLINFER_OK; tries++) {
        struct ci_bench_load load = {.prompt = like->prompt, .clients = 1, .wanted = 1};
        load.generated = like->generated < WARM_TOKENS ? like->generated : WARM_TOKENS;
        status = run_load(server, &load, shared);
        const char *problem = load.failures[0].text;
        bool refused = strncmp(problem, "HTTP 400", 8) == 0 || strncmp(problem, "HTTP 422", 8) == 0;
        if (status == CLINFER_OK && strcmp(problem, "no connection") == 0)
            status = ci_fail(CLINFER_REMOTE_FAILED, "%s cannot be reached", server->base);
        if (tries == 1 && load.completed) ci_say("%s does not take ignore_eos: answers may be shorter", server->base);
        if (tries == 1) server->ignore_end = !load.completed;
        if (tries == 0) server->ignore_end = !refused;
        ci_bench_load_free(&load);
        if (!refused) break;
    }
    return status;
}

/* Each stream is a socket. */
static void allow_sockets(long long clients) {
    struct rlimit limit;
    rlim_t wanted = (rlim_t)clients + 64;
    if (getrlimit(RLIMIT_NOFILE, &limit) != 0 || limit.rlim_cur >= wanted) return;
    limit.rlim_cur = wanted < limit.rlim_max ? wanted : limit.rlim_max;
    setrlimit(RLIMIT_NOFILE, &limit);
}

static long long seed_of(long long wanted) {
    uint64_t drawn = 0;
    if (wanted >= 0) return wanted;
    if (getrandom(&drawn, sizeof drawn, 0) != (ssize_t)sizeof drawn) drawn = (uint64_t)(1e9 * ci_now());
    return (long long)(drawn >> 33);
}

/* ---- all of them ---- */

struct lists {
    struct ci_bench_integers clients, prompts, generated;
};

static enum clinfer_status read_lists(const struct ci_bench_server_flags *flags, const struct ci_texts *prompts,
                                      const struct ci_texts *generated, struct lists *lists) {
    const char *words[] = {"512", "128", flags->rate > 0 ? "512" : "1"};
    const struct ci_texts usual[] = {{&words[0], 1}, {&words[1], 1}, {&words[2], 1}};
    enum clinfer_status status =
        ci_bench_integers("-p", prompts->count ? prompts : &usual[0], 1, MOST_TOKENS, &lists->prompts);
    if (status == CLINFER_OK)
        status = ci_bench_integers("-n", generated->count ? generated : &usual[1], 1, MOST_TOKENS, &lists->generated);
    if (status == CLINFER_OK)
        status = ci_bench_integers("--concurrency", flags->client_texts.count ? &flags->client_texts : &usual[2], 1,
                                   MOST_CLIENTS, &lists->clients);
    return status;
}

/* The load at a place of the lists: clients go round first. */
static struct ci_bench_load load_at(const struct lists *lists, size_t at, const struct ci_bench_server_flags *flags) {
    long long clients = lists->clients.items[at % lists->clients.count], few = 4 * clients;
    at /= lists->clients.count;
    if (few < 16 || flags->rate > 0) few = 16;
    return (struct ci_bench_load){.clients = clients,
                                  .generated = lists->generated.items[at % lists->generated.count],
                                  .prompt = lists->prompts.items[at / lists->generated.count],
                                  .wanted = flags->requests ? flags->requests : few,
                                  .rate = flags->rate,
                                  .cached_tokens = -1};
}

static enum clinfer_status run_rows(struct ci_bench_server *server, const struct ci_bench_server_flags *flags,
                                    const struct lists *lists, long long seed, bool warmup, enum ci_bench_format format,
                                    bool *failed) {
    size_t total = lists->clients.count * lists->prompts.count * lists->generated.count, number = 0;
    enum clinfer_status status = CLINFER_OK;
    for (; number < total && status == CLINFER_OK && !ci_output_failed(); number++) {
        struct ci_bench_load load = load_at(lists, number, flags);
        load.server = server;
        load.seed = seed;
        allow_sockets(load.clients);
        if (warmup && number == 0) status = warm_up(server, &load, flags->shared);
        if (status == CLINFER_OK) status = run_load(server, &load, flags->shared);
        if (status == CLINFER_OK) ci_bench_load_print(&load, format, number);
        *failed = *failed || load.failed;
        ci_bench_load_free(&load);
        if (status != CLINFER_OK) break;
    }
    ci_progress(NULL);
    ci_bench_load_print_end(format, number);
    return status;
}

int ci_bench_server_run(const struct ci_bench_server_flags *flags, const char *model, const struct ci_texts *prompts,
                        const struct ci_texts *generated, bool warmup, enum ci_bench_format format) {
    struct ci_bench_server server = {0};
    struct lists lists = {{0}, {0}, {0}};
    bool failed = false;
    long long seed = seed_of(flags->seed);
    server.words.random = (uint64_t)seed;
    server.words.shared = ~(uint64_t)seed;
    enum clinfer_status status = read_lists(flags, prompts, generated, &lists);
    ci_interrupt_start();
    if (status == CLINFER_OK) status = open_server(flags, model, &server);
    if (status == CLINFER_OK) status = run_rows(&server, flags, &lists, seed, warmup, format, &failed);
    int exit_status = status == CLINFER_OK ? 0 : ci_complain(status);
    if (!exit_status && failed) exit_status = ci_exit_status(CLINFER_REMOTE_FAILED);
    close_server(&server);
    free(lists.clients.items);
    free(lists.prompts.items);
    free(lists.generated.items);
    return exit_status;
}
