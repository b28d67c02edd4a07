/* job.c: see job.h.
 *
 * Requests wait in the order in which they came until `parallel` of them leave room; what waits has no conversation
 * yet, so one whose client leaves never starts. */
#define _GNU_SOURCE
#include "server/job.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "base/append.h"
#include "base/clock.h"
#include "base/status.h"
#include "server/ignored.h"
#include "server/pool.h"
#include "server/server_private.h"

/* A choice under way. */
struct choice {
    struct ci_running *running;
    int index;
    clinfer_conversation *conversation;
    char *text, *reasoning;
    size_t length, capacity, reasoning_length, reasoning_capacity;
    double last_piece;
    bool submitted;
    bool no_memory; /* for its text, which is not whole */
};

/* A job that runs or waits; in the server's list, and what its lock is for. */
struct ci_running {
    struct ci_running *next;
    struct ci_server *server;
    struct ci_exchange *exchange;
    struct ci_job *job;
    const char *key, *model;
    bool waits, cancelled;
    pthread_cond_t turn;
    struct choice *choices; /* [count], NULL until they are there */
    int count;
    pthread_mutex_t lock; /* pieces come one at a time */
    bool has_started;
    struct ci_job_facts facts;
    double began, first_piece;
    char message[256]; /* of a failure */
};

void ci_job_init(struct ci_job *job) {
    *job = (struct ci_job){.choices = 1, .keep_alive = NAN, .request = {.max_tokens = -1}};
    clinfer_session_options_default(NULL, &job->sampling);
    job->sampling.seed = UINT64_MAX;
}

static bool has_left(void *user) { return ci_exchange_gone(user); }

bool ci_job_take(struct ci_exchange *exchange, struct ci_job *job) {
    struct ci_server *server = ci_exchange_server(exchange);
    job->pool = ci_server_pool(server);
    double begun = ci_now();
    enum clinfer_status status = ci_pool_take(job->pool, job->model, has_left, exchange, &job->taken);
    job->load_seconds = ci_now() - begun;
    if (status == CLINFER_OK) return true;
    job->taken = NULL;
    struct ci_failure failure = ci_failure_of_status(status, clinfer_error());
    /* A model that does not load is the server's trouble, whatever is wrong with it. */
    if (status == CLINFER_BAD_FILE || status == CLINFER_INVALID_ARGUMENT) failure.kind = CI_FAIL_SERVER;
    if (status == CLINFER_REFUSED) failure.kind = CI_FAIL_INVALID; /* not loaded, and not to be by requests */
    ci_exchange_fail(exchange, &failure);
    return false;
}

static void give_back(struct ci_job *job) {
    if (job->taken) ci_pool_give_back(job->pool, job->taken, job->keep_alive);
    job->taken = NULL;
}

void ci_job_give_back(struct ci_exchange *exchange, struct ci_job *job) {
    (void)exchange;
    give_back(job);
}

clinfer_router *ci_job_router(struct ci_exchange *exchange, const struct ci_job *job) {
    (void)exchange;
    return job->taken ? ci_pool_router(job->taken) : NULL;
}

const char *ci_job_model(struct ci_exchange *exchange, const struct ci_job *job) {
    (void)exchange;
    return job->taken ? ci_pool_name(job->taken) : "";
}

/* ---- the queue ---- */

static void cancel_locked(struct ci_running *running) {
    running->cancelled = true;
    pthread_cond_signal(&running->turn);
    for (int i = 0; running->choices && i < running->count; i++) clinfer_chat_cancel(running->choices[i].conversation);
}

static void on_gone(void *user) {
    struct ci_running *running = user;
    pthread_mutex_lock(&running->server->lock);
    cancel_locked(running);
    pthread_mutex_unlock(&running->server->lock);
}

void ci_job_cancel(struct ci_server *server, const char *key, const char *name) {
    pthread_mutex_lock(&server->lock);
    for (struct ci_running *running = server->running; running; running = running->next)
        if (running->job->name && strcmp(running->job->name, name) == 0 && strcmp(running->key, key) == 0)
            cancel_locked(running);
    pthread_mutex_unlock(&server->lock);
}

/* Whoever has waited longest goes next, as long as there is room. */
static void let_in_locked(struct ci_server *server) {
    for (struct ci_running *running = server->running; running; running = running->next) {
        if (!running->waits || running->cancelled) continue;
        if (server->running_count && server->running_count + running->count > server->options.parallel) return;
        running->waits = false;
        server->waiting_count--;
        server->running_count += running->count;
        pthread_cond_signal(&running->turn);
    }
}

/* false: the queue is full. */
static bool enter(struct ci_running *running) {
    struct ci_server *server = running->server;
    pthread_mutex_lock(&server->lock);
    bool room = server->waiting_count < server->options.queue;
    if (room) {
        struct ci_running **end = &server->running;
        while (*end) end = &(*end)->next;
        *end = running;
        running->waits = true;
        server->waiting_count++;
        let_in_locked(server);
    }
    pthread_mutex_unlock(&server->lock);
    return room;
}

/* false: cancelled before it was let in. */
static bool wait_for_turn(struct ci_running *running) {
    struct ci_server *server = running->server;
    pthread_mutex_lock(&server->lock);
    while (running->waits && !running->cancelled) pthread_cond_wait(&running->turn, &server->lock);
    bool goes_on = !running->cancelled;
    pthread_mutex_unlock(&server->lock);
    return goes_on;
}

static void leave(struct ci_running *running) {
    struct ci_server *server = running->server;
    pthread_mutex_lock(&server->lock);
    struct ci_running **link = &server->running;
    while (*link != running) link = &(*link)->next;
    *link = running->next;
    if (running->waits)
        server->waiting_count--;
    else
        server->running_count -= running->count;
    let_in_locked(server);
    pthread_mutex_unlock(&server->lock);
}

/* ---- pieces ---- */

/* Of a remote nothing is known before its answer. */
static void start_locked(struct ci_running *running, size_t prompt_tokens, size_t cached_tokens) {
    if (running->has_started) return;
    running->has_started = true;
    running->facts.model = running->model;
    running->facts.prompt_tokens = prompt_tokens;
    running->facts.cached_tokens = cached_tokens;
    /* Of an answer that is not streamed the end knows better. */
    struct clinfer_router_state state;
    clinfer_router_get_state(ci_pool_router(running->job->taken), &state);
    ci_reply_header(running->exchange, "X-Clinfer-Route", state.name);
    if (running->job->started) running->job->started(running->job->user, &running->facts);
}

static bool on_piece(void *user, const struct clinfer_piece *piece) {
    struct choice *choice = user;
    struct ci_running *running = choice->running;
    struct ci_job *job = running->job;
    double now = ci_now();
    bool answer = piece->part == CLINFER_PART_ANSWER;
    pthread_mutex_lock(&running->lock);
    start_locked(running, 0, 0);
    if (choice->last_piece > 0)
        ci_metrics_token(&running->server->metrics, now - choice->last_piece);
    else if (running->first_piece == 0)
        running->first_piece = now;
    choice->last_piece = now;
    bool kept = answer ? ci_append(&choice->text, &choice->length, &choice->capacity, piece->text, piece->length)
                       : ci_append(&choice->reasoning, &choice->reasoning_length, &choice->reasoning_capacity,
                                   piece->text, piece->length);
    choice->no_memory = choice->no_memory || !kept;
    bool goes_on = kept && (!job->piece || job->piece(job->user, choice->index, piece));
    pthread_mutex_unlock(&running->lock);
    return goes_on;
}

static void on_started(void *user, size_t prompt_tokens, size_t cached_tokens) {
    struct choice *choice = user;
    pthread_mutex_lock(&choice->running->lock);
    start_locked(choice->running, prompt_tokens, cached_tokens);
    pthread_mutex_unlock(&choice->running->lock);
}

static void on_progress(void *user, size_t done, size_t total) {
    struct choice *choice = user;
    struct ci_running *running = choice->running;
    if (choice->index) return; /* they share it */
    pthread_mutex_lock(&running->lock);
    running->job->progress(running->job->user, done, total, running->facts.cached_tokens);
    pthread_mutex_unlock(&running->lock);
}

static bool on_call(void *user, const struct clinfer_tool_call_piece *piece) {
    struct choice *choice = user;
    struct ci_running *running = choice->running;
    pthread_mutex_lock(&running->lock);
    start_locked(running, 0, 0);
    bool goes_on = !running->job->call || running->job->call(running->job->user, choice->index, piece);
    pthread_mutex_unlock(&running->lock);
    return goes_on;
}

/* ---- results ---- */

static void *copy(struct ci_arena *arena, const void *bytes, size_t count, size_t size) {
    void *copied = bytes && count ? ci_arena_array(arena, count, size) : NULL;
    if (copied) memcpy(copied, bytes, count * size);
    return copied;
}

static bool copy_calls(struct ci_arena *arena, struct clinfer_result *result) {
    struct clinfer_tool_call *calls = copy(arena, result->calls, result->call_count, sizeof *calls);
    bool fine = calls || !result->call_count;
    for (size_t i = 0; calls && i < result->call_count; i++) {
        calls[i].id = ci_arena_string(arena, calls[i].id, strlen(calls[i].id));
        calls[i].name = ci_arena_string(arena, calls[i].name, strlen(calls[i].name));
        calls[i].arguments = ci_arena_string(arena, calls[i].arguments, strlen(calls[i].arguments));
        fine = fine && calls[i].id && calls[i].name && calls[i].arguments;
    }
    result->calls = calls;
    return fine;
}

/* false: out of memory, and what is kept is not whole. */
static bool keep_result(struct choice *choice, const struct clinfer_route *route, struct ci_job_result *out) {
    struct ci_job_choice *kept = &out->choices[choice->index];
    const struct clinfer_result *given = &route->result;
    kept->result = *given;
    size_t tokens = kept->result.tokens ? kept->result.generated_tokens : 0;
    size_t row = 1 + (size_t)(out->job->sampling.logprobs > 0 ? out->job->sampling.logprobs : 0);
    kept->result.tokens = copy(out->arena, kept->result.tokens, tokens, sizeof *kept->result.tokens);
    kept->result.logprobs = copy(out->arena, kept->result.logprobs, tokens * row, sizeof *kept->result.logprobs);
    bool fine = copy_calls(out->arena, &kept->result) && (kept->result.tokens || !tokens) &&
                (kept->result.logprobs || !given->logprobs || !tokens);
    const char *stop = kept->result.stop_text;
    kept->result.stop_text = stop ? ci_arena_string(out->arena, stop, strlen(stop)) : NULL;
    fine = fine && (kept->result.stop_text || !stop);
    kept->text = choice->text ? choice->text : calloc(1, 1);
    kept->text_length = choice->length;
    kept->reasoning = choice->reasoning ? choice->reasoning : calloc(1, 1);
    kept->reasoning_length = choice->reasoning_length;
    choice->text = choice->reasoning = NULL;
    if (route->answered >= 0 && choice->index == 0) {
        const char *name = route->rungs[route->answered].name;
        out->route = ci_arena_string(out->arena, name, strlen(name));
        if (!out->route) out->route = "";
        out->fell_back = route->fell_back;
    }
    if (kept->result.prompt_seconds > out->prompt_seconds) out->prompt_seconds = kept->result.prompt_seconds;
    if (kept->result.generate_seconds > out->generate_seconds) out->generate_seconds = kept->result.generate_seconds;
    return fine && kept->text && kept->reasoning;
}

void ci_job_free(struct ci_job_result *result) {
    for (int i = 0; result->choices && i < result->count; i++) {
        free(result->choices[i].text);
        free(result->choices[i].reasoning);
    }
    if (result->arena) ci_arena_destroy(result->arena);
    free(result->arena);
    free(result->choices);
    if (result->job) give_back(result->job);
    *result = (struct ci_job_result){0};
}

/* ---- running ---- */

static enum clinfer_status submit(struct choice *choice) {
    struct ci_running *running = choice->running;
    struct clinfer_session_options sampling = running->job->sampling;
    struct clinfer_chat_request request = running->job->request;
    clinfer_conversation *conversation;
    request.piece = on_piece;
    request.call = on_call;
    request.started = on_started;
    request.progress = running->job->progress ? on_progress : NULL;
    request.user = choice;
    sampling.seed += (uint64_t)choice->index;
    enum clinfer_status status =
        clinfer_conversation_create(ci_pool_router(running->job->taken), &sampling, &conversation);
    if (status != CLINFER_OK) return status;
    status = clinfer_chat_submit(conversation, &request);
    choice->submitted = status == CLINFER_OK;
    pthread_mutex_lock(&running->server->lock);
    choice->conversation = conversation;
    if (running->cancelled) clinfer_chat_cancel(conversation);
    pthread_mutex_unlock(&running->server->lock);
    return status;
}

static void end_choice(struct choice *choice) {
    pthread_mutex_lock(&choice->running->server->lock);
    clinfer_conversation *conversation = choice->conversation;
    choice->conversation = NULL;
    pthread_mutex_unlock(&choice->running->server->lock);
    clinfer_conversation_destroy(conversation);
    free(choice->text);
    free(choice->reasoning);
}

/* What a request leaves open is the server's. */
static void merge_defaults(struct clinfer_session_options *sampling, const struct clinfer_session_options *defaults) {
    float *const numbers[] = {&sampling->temperature,
                              &sampling->top_p,
                              &sampling->min_p,
                              &sampling->repeat_penalty,
                              &sampling->presence_penalty,
                              &sampling->frequency_penalty,
                              &sampling->dry_multiplier,
                              &sampling->dry_base,
                              &sampling->xtc_probability,
                              &sampling->xtc_threshold,
                              &sampling->typical_p,
                              &sampling->top_n_sigma,
                              &sampling->mirostat_tau,
                              &sampling->mirostat_eta};
    int *const integers[] = {&sampling->top_k, &sampling->repeat_last_n, &sampling->dry_allowed_length,
                             &sampling->dry_last_n, &sampling->mirostat};
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++) {
        size_t offset = (size_t)((char *)numbers[i] - (char *)sampling);
        if (isnan(*numbers[i])) memcpy(numbers[i], (const char *)defaults + offset, sizeof(float));
    }
    for (size_t i = 0; i < sizeof integers / sizeof *integers; i++) {
        size_t offset = (size_t)((char *)integers[i] - (char *)sampling);
        if (*integers[i] == -1) memcpy(integers[i], (const char *)defaults + offset, sizeof(int));
    }
    if (!sampling->dry_breakers) sampling->dry_breakers = defaults->dry_breakers;
    if (!sampling->dry_breakers || sampling->dry_breakers == defaults->dry_breakers)
        sampling->dry_breaker_count = defaults->dry_breaker_count;
    if (!sampling->samplers) sampling->samplers = defaults->samplers;
    sampling->shift = sampling->shift || defaults->shift;
    if (sampling->seed == UINT64_MAX) sampling->seed = defaults->seed;
    if (sampling->seed == UINT64_MAX && getrandom(&sampling->seed, sizeof sampling->seed, 0) < 0)
        sampling->seed = (uint64_t)(ci_now() * 1e6);
}

/* Submits and waits for all; the status of the first that fails, with its message. */
static enum clinfer_status run_choices(struct ci_running *running, struct ci_job_result *result) {
    enum clinfer_status status = CLINFER_OK;
    char message[2048] = "";
    for (int i = 0; i < running->count && status == CLINFER_OK; i++) status = submit(&running->choices[i]);
    if (status != CLINFER_OK) strncpy(message, clinfer_error(), sizeof message - 1);
    for (int i = 0; i < running->count; i++) {
        struct choice *choice = &running->choices[i];
        const struct clinfer_route *route = NULL;
        if (choice->submitted) {
            if (status != CLINFER_OK) clinfer_chat_cancel(choice->conversation);
            enum clinfer_status ended = clinfer_chat_wait(choice->conversation, &route);
            if (choice->no_memory || (ended == CLINFER_OK && !keep_result(choice, route, result)))
                ended = ci_fail(CLINFER_OUT_OF_MEMORY, "out of memory for an answer");
            if (ended != CLINFER_OK && status == CLINFER_OK) strncpy(message, clinfer_error(), sizeof message - 1);
            if (status == CLINFER_OK) status = ended;
        }
        end_choice(choice);
    }
    return status == CLINFER_OK ? status : ci_fail(status, "%s", message);
}

static void count(struct ci_exchange *exchange, const struct ci_running *running, struct ci_job_result *result) {
    double now = ci_now();
    size_t generated = 0;
    for (int i = 0; i < result->count; i++) {
        const struct clinfer_result *one = &result->choices[i].result;
        const struct ci_metrics_answer answer = {
            .prompt_tokens = one->prompt_tokens,
            .cached_tokens = one->cached_tokens,
            .generated_tokens = one->generated_tokens,
            .drafts = one->drafts,
            .drafted_tokens = one->drafted_tokens,
            .accepted_tokens = one->accepted_tokens,
            .prompt_seconds = one->prompt_seconds,
            .generate_seconds = one->generate_seconds,
            .queue_seconds = result->queue_seconds,
            .first_seconds = (running->first_piece > 0 ? running->first_piece : now) - ci_exchange_arrived(exchange),
            .whole_seconds = now - ci_exchange_arrived(exchange),
            .finish = one->finish};
        ci_metrics_add(&running->server->metrics, &answer);
        generated += one->generated_tokens;
    }
    ci_metrics_route(&running->server->metrics, result->route, result->fell_back);
    ci_exchange_note_text(exchange, "model", result->model);
    ci_exchange_note_text(exchange, "route", result->route);
    ci_exchange_note_number(exchange, "prompt_tokens", (double)result->choices[0].result.prompt_tokens);
    ci_exchange_note_number(exchange, "cached_tokens", (double)result->choices[0].result.cached_tokens);
    ci_exchange_note_number(exchange, "generated_tokens", (double)generated);
    ci_exchange_note_number(exchange, "queue_ms", result->queue_seconds * 1e3);
    if (!ci_stream_begun(exchange)) ci_reply_header(exchange, "X-Clinfer-Route", result->route);
}

static bool make_result(struct ci_running *running, struct ci_job_result *result) {
    struct ci_job *job = running->job;
    *result = (struct ci_job_result){.count = running->count, .job = job, .model = running->model, .route = ""};
    result->choices = calloc((size_t)running->count, sizeof *result->choices);
    result->arena = calloc(1, sizeof *result->arena);
    struct choice *choices = calloc((size_t)running->count, sizeof *choices);
    for (int i = 0; choices && i < running->count; i++) choices[i] = (struct choice){.running = running, .index = i};
    pthread_mutex_lock(&running->server->lock);
    running->choices = choices;
    pthread_mutex_unlock(&running->server->lock);
    return result->choices && result->arena && choices;
}

static void fail_busy(struct ci_exchange *exchange) {
    static const struct ci_failure busy = {
        .kind = CI_FAIL_BUSY, .message = "the queue of requests is full; try again soon", .retry_after = 1};
    ci_exchange_fail(exchange, &busy);
}

/* How long it is, and how long it might be. */
static void count_prompt(struct ci_running *running, struct ci_failure *failure) {
    struct ci_job *job = running->job;
    clinfer_router *router = ci_pool_router(job->taken);
    struct clinfer_engine_info info;
    size_t tokens = 0;
    clinfer_engine *engine = clinfer_router_take_engine(router);
    if (engine) clinfer_engine_get_info(engine, &info);
    if (engine) failure->context = info.context;
    clinfer_router_give_back_engine(router, engine);
    if (clinfer_router_prompt(router, &job->request, NULL, NULL, NULL, &tokens) != CLINFER_OK) return;
    failure->prompt_tokens = (int64_t)tokens;
    if (!engine) return;
    snprintf(running->message, sizeof running->message,
             "the request (%zu tokens) exceeds the available context size (%d tokens); a shorter prompt, or a server "
             "with a larger context, helps",
             tokens, info.context);
    failure->message = running->message;
}

/* false: nobody waits for the answer, or there is none. */
static bool conclude(struct ci_exchange *exchange, struct ci_running *running, enum clinfer_status status,
                     struct ci_job_result *result) {
    if (status == CLINFER_OK) {
        pthread_mutex_lock(&running->lock);
        start_locked(running, result->choices[0].result.prompt_tokens, result->choices[0].result.cached_tokens);
        pthread_mutex_unlock(&running->lock);
        count(exchange, running, result);
        if (!ci_exchange_gone(exchange)) return true;
    }
    struct ci_failure failure = ci_failure_of_status(status, clinfer_error());
    if (status != CLINFER_OK) ci_metrics_failure(&running->server->metrics);
    if (status == CLINFER_CONTEXT_FULL) count_prompt(running, &failure);
    if (status != CLINFER_OK) ci_exchange_fail(exchange, &failure);
    result->job = NULL; /* whoever took the model gives it back */
    ci_job_free(result);
    return false;
}

/* More room than there is cannot be had by a request: what does not fit is refused, never cut in silence, and that the
 * wish has no effect is told. */
static void check_room(struct ci_exchange *exchange, const struct ci_job *job) {
    if (job->room <= 0) return;
    clinfer_router *router = ci_pool_router(job->taken);
    clinfer_engine *engine = clinfer_router_take_engine(router);
    struct clinfer_engine_info info = {.context = 0};
    if (engine) clinfer_engine_get_info(engine, &info);
    clinfer_router_give_back_engine(router, engine);
    if (info.context < job->room) ci_ignored_add(exchange, job->room_field);
}

bool ci_job_run(struct ci_exchange *exchange, struct ci_job *job, struct ci_job_result *result) {
    struct ci_server *server = ci_exchange_server(exchange);
    struct ci_running running = {.server = server,
                                 .exchange = exchange,
                                 .job = job,
                                 .key = ci_exchange_key(exchange),
                                 .count = job->choices > 0 ? job->choices : 1,
                                 .lock = PTHREAD_MUTEX_INITIALIZER,
                                 .turn = PTHREAD_COND_INITIALIZER};
    *result = (struct ci_job_result){0};
    bool takes = !job->taken;
    if (takes && !ci_job_take(exchange, job)) return false;
    running.model = ci_job_model(exchange, job);
    check_room(exchange, job);
    merge_defaults(&job->sampling, &server->options.sampling);
    if (job->request.max_tokens < 0) job->request.max_tokens = server->options.predict;
    if (!enter(&running)) {
        fail_busy(exchange);
        if (takes) give_back(job);
        return false;
    }
    double entered = ci_now();
    ci_exchange_on_gone(exchange, on_gone, &running);
    bool goes_on = wait_for_turn(&running);
    running.began = ci_now();
    enum clinfer_status status = CLINFER_OK;
    if (goes_on) {
        status = make_result(&running, result) ? run_choices(&running, result)
                                               : ci_fail(CLINFER_OUT_OF_MEMORY, "out of memory for an answer");
        result->load_seconds = job->load_seconds;
        result->queue_seconds = running.began - entered;
        goes_on = conclude(exchange, &running, status, result);
    } else if (!ci_exchange_gone(exchange)) {
        const struct ci_failure cancelled = {.kind = CI_FAIL_CANCELLED, .message = "cancelled"};
        ci_exchange_fail(exchange, &cancelled);
    }
    ci_exchange_on_gone(exchange, NULL, NULL);
    leave(&running);
    free(running.choices);
    pthread_mutex_destroy(&running.lock);
    pthread_cond_destroy(&running.turn);
    if (takes && !goes_on) give_back(job);
    return goes_on;
}
