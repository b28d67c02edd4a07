/* bench_model.c: the whole model with two tunings, in turn, as a user would run it: through the public header. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/status.h"
#include "base/threads.h"
#include "engine/engine_private.h"
#include "tuner/bench.h"
#include "tuner/pairs.h"

/* Tokens decoded in a sample: as many as take so long, within limits; greedy text from tokens without sense may end by
 * itself, and fewer than LEAST_USED say too little. */
static const double sample_seconds = 0.06;
enum { LEAST_TOKENS = 4, MOST_TOKENS = CI_WORKER_ANSWER, LEAST_USED = 3, PROMPTS = 8 };

/* From so many rounds on one looks whether more are worth their time: whether it is far from faster, not by as much as
 * would be kept, or surely faster. */
enum { HOPELESS_ROUNDS = 3, WORTHLESS_ROUNDS = 5, LATE_ROUNDS = 8, CLEAR_ROUNDS = 7 };
static const double worthless = 0.99, late_worthless = 0.985, chance = 0.01;
/* Answers of both lengths: what they differ by are steps that all sequences share from their first to their last,
 * without what it costs that one after the other joins. */
enum { FEW_STEPS = 4, MANY_STEPS = 16, STEP_ROUNDS = 3 };

struct side {
    clinfer_engine *engine;
    clinfer_session *decode; /* keeps the context from round to round */
    int32_t *tokens;         /* [context or prompt, whichever is more] */
};

static void draw_tokens(const struct side *side, int count, int seed) {
    struct clinfer_engine_info info;
    clinfer_engine_get_info(side->engine, &info);
    for (int i = 0; i < count; i++) side->tokens[i] = (int32_t)(((i + seed * 1009LL) * 7919LL + 13) % info.vocabulary);
}

static enum clinfer_status make_session(clinfer_engine *engine, clinfer_session **session) {
    struct clinfer_session_options options;
    clinfer_session_options_default(engine, &options);
    options.temperature = 0;
    options.repeat_penalty = 1;
    return clinfer_session_create(engine, &options, session);
}

static enum clinfer_cache_type cache_type(const char *name) {
    static const struct {
        const char *name;
        enum clinfer_cache_type type;
    } types[] = {{"f32", CLINFER_CACHE_F32}, {"q8_0", CLINFER_CACHE_Q8_0}, {"q4_0", CLINFER_CACHE_Q4_0}};
    for (size_t i = 0; name && i < sizeof types / sizeof *types; i++)
        if (strcmp(types[i].name, name) == 0) return types[i].type;
    return CLINFER_CACHE_F16;
}

/* PoCL keeps what it has compiled, and to hand it over it compiles all once more, for half of the time that two engines
 * need to be ready. */
static bool keeps_its_own(const struct clinfer_engine *engine) {
    return engine->device && strstr(ci_device_caps(engine->device)->platform, "Portable Computing Language");
}

static enum clinfer_status open_side(const struct ci_bench_options *options, const struct ci_worker_model *model,
                                     int which, struct side *side) {
    struct clinfer_engine_options engine;
    char device[16] = "cpu";
    int most = model->context > model->prompt ? model->context : model->prompt;
    if (options->device >= 0) snprintf(device, sizeof device, "%d", options->device);
    clinfer_engine_options_default(&engine);
    engine.model = model->model;
    engine.device = model->devices[which] ? model->devices[which] : device;
    /* As many as a run takes by itself: then the profile may say otherwise. */
    engine.threads = options->threads == ci_threads_default() ? 0 : options->threads;
    engine.context = most + MOST_TOKENS + 1;
    engine.tuning = model->tunings[which];
    engine.key_type = engine.value_type = cache_type(model->caches[which]);
    side->tokens = calloc((size_t)most + 1, sizeof *side->tokens);
    if (!side->tokens) return ci_fail(CLINFER_OUT_OF_MEMORY, "out of memory");
    enum clinfer_status status = clinfer_engine_open(&engine, &side->engine);
    if (status == CLINFER_OK) side->engine->saves_nothing = keeps_its_own(side->engine);
    return status == CLINFER_OK ? make_session(side->engine, &side->decode) : status;
}

static void close_side(struct side *side) {
    if (side->decode) clinfer_session_destroy(side->decode);
    if (side->engine) clinfer_engine_close(side->engine);
    free(side->tokens);
    *side = (struct side){0};
}

static enum clinfer_status decode(const struct side *side, int context, int tokens, double *seconds, size_t *used) {
    struct clinfer_request request = {.tokens = side->tokens, .count = (size_t)context, .max_tokens = tokens};
    struct clinfer_result result;
    enum clinfer_status status = clinfer_generate(side->decode, &request, &result);
    if (status != CLINFER_OK) return status;
    *used = result.generated_tokens > 0 ? result.generated_tokens - 1 : 0;
    *seconds = *used ? result.generate_seconds / (double)*used : 0;
    return CLINFER_OK;
}

static enum clinfer_status prefill(const struct side *side, int prompt, double *seconds) {
    struct clinfer_request request = {.tokens = side->tokens, .count = (size_t)prompt, .max_tokens = 1};
    struct clinfer_result result;
    clinfer_session *session;
    enum clinfer_status status = make_session(side->engine, &session);
    if (status != CLINFER_OK) return status;
    status = clinfer_generate(session, &request, &result);
    if (status == CLINFER_OK) *seconds = result.prompt_seconds;
    clinfer_session_destroy(session);
    return status;
}

/* Builds what is built at first use, and finds a context after which either side goes on for long enough. */
static enum clinfer_status warm_up(struct side sides[2], const struct ci_worker_model *model, int *tokens) {
    double seconds = 0, ignored;
    size_t used = 0;
    enum clinfer_status status = CLINFER_OK;
    *tokens = LEAST_TOKENS;
    for (int i = 0; i < 2 && model->decode_rounds == 0; i++) draw_tokens(&sides[i], model->prompt, 0);
    for (int seed = 0; seed < PROMPTS && status == CLINFER_OK && model->decode_rounds > 0; seed++) {
        size_t least = MOST_TOKENS;
        for (int i = 0; i < 2 && status == CLINFER_OK; i++) {
            draw_tokens(&sides[i], model->context > model->prompt ? model->context : model->prompt, seed);
            status = decode(&sides[i], model->context, *tokens, &seconds, &used);
            if (used < least) least = used;
        }
        if (status == CLINFER_OK && least >= LEAST_USED) break;
        if (seed + 1 == PROMPTS && status == CLINFER_OK)
            status = ci_fail(CLINFER_UNSUPPORTED, "%s: its text ends at once, whatever comes before", model->model);
    }
    if (status == CLINFER_OK && seconds > 0 && sample_seconds / seconds > LEAST_TOKENS)
        *tokens = sample_seconds / seconds < MOST_TOKENS ? (int)(sample_seconds / seconds) : MOST_TOKENS;
    for (int i = 0; i < 2 && status == CLINFER_OK; i++) status = prefill(&sides[i], model->prompt, &ignored);
    /* As it decodes once it has been at it for a while. */
    for (int i = 0; i < 2 && status == CLINFER_OK && model->decode_rounds > 0; i++)
        ci_engine_make_chain(sides[i].engine, 0);
    return status;
}

/* Both sides, each first in every other round: a machine that grows slower does so for both. */
static enum clinfer_status run_round(const struct side sides[2], const struct ci_worker_model *model, int round,
                                     int tokens) {
    enum clinfer_status status = CLINFER_OK;
    for (int turn = 0; turn < 2 && round < model->decode_rounds && status == CLINFER_OK; turn++) {
        int side = (round + turn) % 2;
        size_t used;
        status = decode(&sides[side], model->context, tokens, &model->decode[2 * round + side], &used);
    }
    for (int turn = 0; turn < 2 && round < model->prefill_rounds && status == CLINFER_OK; turn++) {
        int side = (round + turn) % 2;
        status = prefill(&sides[side], model->prompt, &model->prefill[2 * round + side]);
    }
    return status;
}

/* Slower by so much in the first rounds, whatever was timed; some rounds later, not faster by what would be kept. */
static bool is_hopeless(const struct ci_worker_model *model, int rounds) {
    bool decode = model->decode_rounds >= rounds, prefill = model->prefill_rounds >= rounds;
    double limit = rounds >= LATE_ROUNDS ? late_worthless : rounds >= WORTHLESS_ROUNDS ? worthless : model->give_up;
    if (!(model->give_up > 0) || rounds < HOPELESS_ROUNDS || !(decode || prefill)) return false;
    return (!decode || ci_pairs_ratio(model->decode, rounds) >= limit) &&
           (!prefill || ci_pairs_ratio(model->prefill, rounds) >= limit);
}

/* Faster, whatever was timed, and so surely that chance says it one time in a hundred. */
static bool is_clear(const struct ci_worker_model *model, int rounds) {
    bool decode = model->decode_rounds >= rounds, prefill = model->prefill_rounds >= rounds;
    if (!(model->give_up > 0) || rounds < CLEAR_ROUNDS || !(decode || prefill)) return false;
    return (!decode || ci_pairs_are_surely_less(model->decode, rounds, chance)) &&
           (!prefill || ci_pairs_are_surely_less(model->prefill, rounds, chance));
}

enum clinfer_status ci_bench_model(const struct ci_bench_options *options, struct ci_worker_model *model) {
    struct side sides[2] = {0};
    int tokens = 0, round = 0;
    double start = ci_now();
    enum clinfer_status status = CLINFER_OK;
    if (model->context < 1 || model->prompt < 1)
        return ci_fail(CLINFER_INVALID_ARGUMENT, "context and prompt must be at least 1");
    for (int i = 0; i < 2 && status == CLINFER_OK; i++) {
        if (options->tell) options->tell(options->user, "loading the model");
        status = open_side(options, model, i, &sides[i]);
        if (status != CLINFER_OK && model->devices[i])
            ci_fail_prefix(status, "on %s", model->devices[i]);
        else if (status != CLINFER_OK)
            ci_fail_prefix(status, "with tuning \"%s\"", model->tunings[i] ? model->tunings[i] : "auto");
    }
    if (options->tell) options->tell(options->user, "running the model");
    if (status == CLINFER_OK) status = warm_up(sides, model, &tokens);
    double now = ci_now(), end = fmin(start + model->seconds, now + model->rounds_seconds), longest = 0;
    while ((round < model->decode_rounds || round < model->prefill_rounds) && now + longest < end &&
           status == CLINFER_OK && !is_hopeless(model, round) && !is_clear(model, round)) {
        double before = now;
        status = run_round(sides, model, round++, tokens);
        now = ci_now();
        longest = fmax(longest, now - before);
    }
    if (model->decode_rounds > round) model->decode_rounds = round;
    if (model->prefill_rounds > round) model->prefill_rounds = round;
    for (int i = 0; i < 2; i++) close_side(&sides[i]);
    return status;
}

/* ---- steps of several rows ---- */

static int by_size(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* Seconds until each of `count` sessions has its answer, behind the same tokens, all at once: `most` tokens, or as many
 * as there are in *tokens where the text ends. */
static enum clinfer_status time_answers(const struct side *side, clinfer_session *const *sessions, int count,
                                        int context, int most, double *seconds, int *tokens) {
    const struct clinfer_request request = {.tokens = side->tokens, .count = (size_t)context, .max_tokens = most};
    enum clinfer_status status = CLINFER_OK;
    int submitted = 0;
    double start = ci_now();
    *tokens = most;
    while (submitted < count && status == CLINFER_OK) {
        status = clinfer_submit(sessions[submitted], &request);
        submitted += status == CLINFER_OK;
    }
    for (int i = 0; i < submitted; i++) {
        struct clinfer_result result;
        enum clinfer_status ended = clinfer_wait(sessions[i], &result);
        if (status == CLINFER_OK) status = ended;
        if (ended == CLINFER_OK && result.generated_tokens < (size_t)*tokens) *tokens = (int)result.generated_tokens;
    }
    *seconds = ci_now() - start;
    return status;
}

/* Seconds of a step with a row of each; 0: the text ends too soon. */
static enum clinfer_status time_step(const struct side *side, clinfer_session *const *sessions, int count, int context,
                                     double *seconds) {
    double few = 0, many = 0;
    int few_tokens = 0, many_tokens = 0;
    enum clinfer_status status = time_answers(side, sessions, count, context, FEW_STEPS, &few, &few_tokens);
    if (status == CLINFER_OK) status = time_answers(side, sessions, count, context, MANY_STEPS, &many, &many_tokens);
    *seconds = many_tokens > few_tokens ? fmax(0, many - few) / (many_tokens - few_tokens) : 0;
    return status;
}

enum clinfer_status ci_bench_steps(const struct ci_bench_options *options, const struct ci_worker_model *model,
                                   struct ci_profile_steps *steps) {
    enum { MOST_ROWS = 1 << (CI_PROFILE_STEPS - 1) };
    struct side side = {0};
    clinfer_session *sessions[MOST_ROWS] = {NULL};
    *steps = (struct ci_profile_steps){0};
    if (model->context < 1) return ci_fail(CLINFER_INVALID_ARGUMENT, "context must be at least 1");
    if (options->tell) options->tell(options->user, "loading the model");
    enum clinfer_status status = open_side(options, model, 0, &side);
    if (options->tell) options->tell(options->user, "running the model");
    if (status == CLINFER_OK) draw_tokens(&side, model->context, 0);
    for (int i = 0; i < MOST_ROWS && status == CLINFER_OK; i++) status = make_session(side.engine, &sessions[i]);
    for (int i = 0; i < CI_PROFILE_STEPS && status == CLINFER_OK; i++) {
        double samples[STEP_ROUNDS + 1] = {0}; /* the first builds, and computes what comes before */
        for (int round = 0; round <= STEP_ROUNDS && status == CLINFER_OK; round++)
            status = time_step(&side, sessions, 1 << i, model->context, &samples[round]);
        qsort(samples + 1, STEP_ROUNDS, sizeof *samples, by_size);
        steps->seconds[i] = samples[1 + STEP_ROUNDS / 2];
    }
    for (int i = 0; i < MOST_ROWS; i++)
        if (sessions[i]) clinfer_session_destroy(sessions[i]);
    close_side(&side);
    return status;
}
