/* Every OpenCL entry point that is used fails: once and for ever, while a model is loaded, while a prompt is read, and
 * at a token of the answer. Nothing crashes, hangs, or is left behind. What fails once is tried again with the same
 * kernels, and nobody sees it in the text; what fails for ever is an error soon that names the call, or another kernel
 * takes over, and the text goes on.
 *
 * Usually each entry point fails in three places; CLINFER_TEST_FULL=1 (make check-faults) goes through all tokens,
 * every buffer and every kernel, and takes a whole model too. What was survived is printed, by call and place. For who
 * looks for something: CLINFER_FAULTS_TEST=*lost* runs some of the tests, CLINFER_FAULTS_ONLY=clFinish breaks one call,
 * CLINFER_FAULTS_LOG=1 shows each case and the log. */
#define _GNU_SOURCE
#include <signal.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/hash.h"
#include "engine/engine_private.h"
#include "profile/quarantine.h"
#include "support/asserts.h"
#include "support/layer.h"
#include "support/model.h"
#include "support/poison.h"
#include "support/survival.h"

enum { TOKENS = 32, PROMPT = 12, OUT_OF_RESOURCES = -5, CASE_SECONDS = 120 };
enum { TOKEN = 5 }; /* of the answer, at which things fail unless they fail at all */

static bool all; /* the whole matrix */

/* ---- models ---- */

struct subject {
    const char *name, *model, *device;
    enum clinfer_activations activations;
    float margin; /* below it two tokens are as good as equal */
    int32_t prompt[PROMPT];
    int32_t tokens[TOKENS];
    float margins[TOKENS]; /* between the first two candidates */
    char text[4096];
    uint64_t plans;         /* what the plans are made of */
    clinfer_engine *engine; /* for faults after loading; NULL: to be opened */
};

/* ---- what is said ---- */

static struct {
    int replaced, accidents, again;
    char all[8192];
} said;

static void listen(void *user, enum clinfer_log_level level, const char *message) {
    (void)user;
    if (getenv("CLINFER_FAULTS_LOG")) fprintf(stderr, "  %d: %s\n", (int)level, message);
    said.replaced += strstr(message, "quarantined; op ") != NULL;
    said.accidents += strstr(message, "no kernel was wrong") != NULL;
    said.again += strstr(message, "tried again") != NULL;
    size_t used = strlen(said.all);
    snprintf(said.all + used, sizeof said.all - used, "%s\n", message);
}

/* ---- what there is to break ---- */

/* Calls by entry point in an undisturbed run. */
enum { MOST_CALLS = 64 };
static long made[SURVIVAL_PLACES][MOST_CALLS];

enum { MOST_KERNELS = 64 };
static char kernels[MOST_KERNELS][64]; /* that decoding uses */
static int kernel_count;

static void note_calls(enum survival_place where) {
    for (int i = 0; layer_name(i); i++) {
        assert_true(i < MOST_CALLS);
        made[where][i] = layer_calls(layer_name(i));
    }
    if (where != AT_TOKEN) return;
    for (kernel_count = 0; kernel_count < MOST_KERNELS && layer_kernel(kernel_count); kernel_count++)
        snprintf(kernels[kernel_count], sizeof *kernels, "%s", layer_kernel(kernel_count));
}

/* ---- one case ---- */

static char now_running[512]; /* which case */

static void too_long(int number) {
    (void)number;
    static const char text[] = "hangs: ";
    if (write(2, text, sizeof text - 1) < 0 || write(2, now_running, strlen(now_running)) < 0) _exit(3);
    _exit(3);
}

struct outcome {
    enum clinfer_status status;
    char message[1024];
    int32_t tokens[TOKENS];
    size_t count;
    char text[4096];
    double seconds; /* from the first call that broke to the end */
    double token;   /* ... to the token that failed; 0: none came */
    long strikes;
    char call[64]; /* that broke last */
};

struct talk {
    const char *faults; /* armed behind token `at` (0: before the prompt); NULL: none */
    size_t at;
    bool armed, counting;
    clinfer_session *session;
    struct outcome *outcome;
};

static void arm(struct talk *talk) {
    if (!talk->faults || talk->armed) return;
    layer_arm("%s", talk->faults);
    talk->armed = true;
}

static bool collect(void *user, const char *bytes, size_t length) {
    struct talk *talk = user;
    size_t used = strlen(talk->outcome->text);
    assert_true(used + length < sizeof talk->outcome->text);
    memcpy(talk->outcome->text + used, bytes, length);
    /* One token is still to come of what was under way. */
    if (talk->armed && talk->outcome->token == 0 && (said.accidents || said.replaced))
        talk->outcome->token = ci_now() - layer_struck_at();
    if (talk->counting && talk->at == 0 && talk->session->generated == 1) note_calls(AT_PROMPT);
    if (talk->session->generated >= talk->at) arm(talk);
    return true;
}

static void note_end(struct outcome *outcome) {
    outcome->strikes = layer_strikes();
    if (outcome->strikes) outcome->seconds = ci_now() - layer_struck_at();
    snprintf(outcome->call, sizeof outcome->call, "%s", layer_struck() ? layer_struck() : "");
    snprintf(outcome->message, sizeof outcome->message, "%s", outcome->status == CLINFER_OK ? "" : clinfer_error());
}

static void answer(const struct subject *subject, clinfer_engine *engine, const char *faults, size_t at,
                   struct outcome *outcome) {
    struct clinfer_session_options options;
    struct clinfer_result result = {0};
    *outcome = (struct outcome){0};
    struct talk talk = {.faults = faults, .at = at, .outcome = outcome, .counting = faults && !*faults};
    clinfer_session_options_default(engine, &options);
    options.temperature = 0;
    options.repeat_penalty = 1;
    assert_ok(clinfer_session_create(engine, &options, &talk.session));
    struct clinfer_request request = {.tokens = subject->prompt,
                                      .count = PROMPT,
                                      .max_tokens = TOKENS,
                                      .callback = collect,
                                      .user = &talk,
                                      .ignore_end = true};
    if (at == 0) arm(&talk);
    outcome->status = clinfer_generate(talk.session, &request, &result);
    note_end(outcome);
    if (talk.counting && at > 0) note_calls(AT_TOKEN);
    outcome->count = outcome->status == CLINFER_OK ? result.generated_tokens : talk.session->generated;
    memcpy(outcome->tokens, talk.session->output, sizeof *outcome->tokens * outcome->count);
    layer_disarm();
    clinfer_session_destroy(talk.session);
}

static void hash_step(void *user, const struct clinfer_plan_step *step) {
    uint64_t *hash = user;
    const char *texts[] = {step->label, step->op, step->variant, step->place, step->layout, step->tunables};
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) *hash = ci_hash(*hash, texts[i], strlen(texts[i]) + 1);
}

static enum clinfer_status hash_plans(clinfer_engine *engine, uint64_t *hash) {
    static const int counts[] = {1, PROMPT};
    enum clinfer_status status = CLINFER_OK;
    *hash = CI_HASH_START;
    for (size_t i = 0; i < sizeof counts / sizeof *counts && status == CLINFER_OK; i++)
        status = clinfer_engine_explain(engine, counts[i], hash_step, hash, NULL);
    return status;
}

static enum clinfer_status open_engine(const struct subject *subject, clinfer_engine **engine) {
    struct clinfer_engine_options options;
    clinfer_engine_options_default(&options);
    options.model = subject->model;
    options.device = subject->device;
    options.activations = subject->activations;
    options.context = 128;
    options.batch = 16;
    return clinfer_engine_open(&options, engine);
}

/* Where the two texts part, and by how much the undisturbed one would have had to move for that. */
static bool is_same_text(const struct subject *subject, const struct outcome *outcome, bool *another) {
    size_t same = 0;
    *another = false;
    while (same < outcome->count && outcome->tokens[same] == subject->tokens[same]) same++;
    if (same == outcome->count) return outcome->status != CLINFER_OK || outcome->count == TOKENS;
    *another = true;
    return subject->margins[same] < subject->margin;
}

/* ---- the undisturbed answer ---- */

static void take_margins(struct subject *subject, clinfer_engine *engine) {
    struct clinfer_session_options options;
    struct clinfer_engine_info info;
    clinfer_session *session;
    int32_t tokens[PROMPT + TOKENS];
    clinfer_engine_get_info(engine, &info);
    clinfer_session_options_default(engine, &options);
    assert_ok(clinfer_session_create(engine, &options, &session));
    memcpy(tokens, subject->prompt, sizeof subject->prompt);
    memcpy(tokens + PROMPT, subject->tokens, sizeof subject->tokens);
    float *logits = malloc(sizeof *logits * (size_t)info.vocabulary);
    assert_non_null(logits);
    for (size_t i = 0; i < TOKENS; i++) {
        assert_ok(clinfer_logits(session, tokens, PROMPT + i, false, logits));
        subject->margins[i] = test_margin(logits, info.vocabulary);
    }
    free(logits);
    clinfer_session_destroy(session);
}

/* A prompt whose answer is told token by token, so that each can have its fault. */
static void take_truth(struct subject *subject) {
    struct outcome outcome;
    clinfer_engine *engine;
    layer_disarm();
    assert_ok(open_engine(subject, &engine));
    note_calls(AT_LOAD);
    answer(subject, engine, "", 0, &outcome);
    if (outcome.status != CLINFER_OK) fail_msg("%s: %s", subject->name, outcome.message);
    memcpy(subject->tokens, outcome.tokens, sizeof subject->tokens);
    snprintf(subject->text, sizeof subject->text, "%s", outcome.text);
    answer(subject, engine, "", TOKEN, &outcome);
    assert_memory_equal(outcome.tokens, subject->tokens, sizeof subject->tokens);
    assert_ok(hash_plans(engine, &subject->plans));
    take_margins(subject, engine);
    subject->engine = engine;
}

/* ---- faults ---- */

static void close_engine(struct subject *subject) {
    clinfer_engine_close(subject->engine);
    subject->engine = NULL;
}

/* Nothing that the last case has put into quarantine is to matter to the next. */
static void forget_quarantine(void) { assert_ok(ci_quarantine_clear(NULL)); }

static int quarantined(void) {
    struct ci_quarantine quarantine;
    assert_ok(ci_quarantine_read(&quarantine));
    int count = quarantine.count;
    ci_quarantine_free(&quarantine);
    return count;
}

static void judge_once(const struct subject *subject, const struct outcome *outcome) {
    if (outcome->status != CLINFER_OK) fail_msg("%s: %s", now_running, outcome->message);
    if (memcmp(outcome->tokens, subject->tokens, sizeof subject->tokens) != 0 ||
        strcmp(outcome->text, subject->text) != 0)
        fail_msg("%s: the text is \"%s\", not \"%s\"", now_running, outcome->text, subject->text);
    if (said.replaced || quarantined()) fail_msg("%s: a kernel was replaced", now_running);
}

/* true: another kernel or another place has taken over. */
static bool judge_ever(const struct subject *subject, const struct outcome *outcome, const char *call) {
    bool another;
    if (!is_same_text(subject, outcome, &another)) fail_msg("%s: another text, \"%s\"", now_running, outcome->text);
    if (outcome->status == CLINFER_OK) return another || said.replaced;
    bool kind = outcome->status == CLINFER_DEVICE_ERROR || outcome->status == CLINFER_OUT_OF_MEMORY ||
                outcome->status == CLINFER_NO_DEVICE || outcome->status == CLINFER_WRONG_RESULT;
    bool named = strstr(outcome->message, call) || (outcome->status == CLINFER_NO_DEVICE && strstr(said.all, call)) ||
                 outcome->status == CLINFER_WRONG_RESULT;
    if (!kind || !named)
        fail_msg("%s: status %d does not tell: %s", now_running, (int)outcome->status, outcome->message);
    return false;
}

static void count_case(const char *name, enum survival_place where, bool ever, const struct outcome *outcome,
                       bool another) {
    enum survival_kind kind = another ? SURVIVED_BY_ANOTHER : SURVIVED_SAME;
    if (outcome->status != CLINFER_OK) kind = SURVIVED_TOLD;
    survival_count(name, where, ever, kind, outcome->seconds, now_running);
}

static void begin_case(const struct subject *subject, enum survival_place where, size_t at, const char *faults) {
    snprintf(now_running, sizeof now_running, "%s, %s %zu, %s", subject->name, survival_place_names[where], at, faults);
    if (getenv("CLINFER_FAULTS_LOG")) fprintf(stderr, "%s\n", now_running);
    memset(&said, 0, sizeof said);
    alarm(CASE_SECONDS);
}

/* Of the last case at a token, and what careful mode took of it. */
static struct outcome last;
static struct ci_careful_cost last_cost;

/* The engine is loaded while a call fails, and answers afterwards. false: no such call was made. */
static bool fail_at_load(struct subject *subject, const char *name, const char *call, const char *faults, bool ever) {
    static struct outcome outcome;
    clinfer_engine *engine = NULL;
    uint64_t plans = 0;
    if (subject->engine) close_engine(subject);
    begin_case(subject, AT_LOAD, 0, faults);
    outcome = (struct outcome){0};
    layer_arm("%s", faults);
    outcome.status = open_engine(subject, &engine);
    note_end(&outcome);
    struct outcome loaded = outcome;
    if (!ever) layer_disarm();
    if (engine) {
        if (!ever && hash_plans(engine, &plans) == CLINFER_OK && plans != subject->plans && loaded.strikes)
            fail_msg("%s: other kernels were chosen", now_running);
        if (ever)
            answer(subject, engine, faults, 0, &outcome);
        else
            answer(subject, engine, NULL, 0, &outcome);
        clinfer_engine_close(engine);
    }
    layer_disarm();
    if (loaded.strikes) {
        bool another = false;
        if (ever)
            another = judge_ever(subject, &outcome, call);
        else
            judge_once(subject, &outcome);
        outcome.seconds = loaded.status == CLINFER_OK ? outcome.seconds : loaded.seconds;
        count_case(name, AT_LOAD, ever, &outcome, another);
    }
    if (layer_alive() != 0) fail_msg("%s: %d OpenCL objects are left", now_running, layer_alive());
    if (quarantined()) forget_quarantine();
    return loaded.strikes > 0;
}

/* A call fails while an engine that is loaded answers, which is then asked again. */
static bool fail_at_token(struct subject *subject, const char *name, const char *call, const char *faults, size_t token,
                          bool ever) {
    static struct outcome afterwards;
    enum survival_place where = token ? AT_TOKEN : AT_PROMPT;
    bool another = false;
    layer_disarm();
    if (where == AT_PROMPT && subject->engine) close_engine(subject); /* whose plan for prompts is not made yet */
    if (!subject->engine) assert_ok(open_engine(subject, &subject->engine));
    begin_case(subject, where, token, faults);
    subject->engine->careful_cost = (struct ci_careful_cost){0};
    answer(subject, subject->engine, faults, token, &last);
    last_cost = subject->engine->careful_cost;
    if (last.strikes == 0) return false;
    if (ever)
        another = judge_ever(subject, &last, call);
    else
        judge_once(subject, &last);
    count_case(name, where, ever, &last, another);
    bool changed = said.replaced || quarantined();
    answer(subject, subject->engine, NULL, 0, &afterwards);
    if (afterwards.status != CLINFER_OK || !is_same_text(subject, &afterwards, &another))
        fail_msg("%s: the next answer: %s%s", now_running, afterwards.message, afterwards.text);
    if (changed) {
        close_engine(subject);
        forget_quarantine();
        if (layer_alive() != 0) fail_msg("%s: %d OpenCL objects are left", now_running, layer_alive());
    }
    return true;
}

/* ---- the matrix ---- */

static bool is_asked(const char *call) {
    const char *only = getenv("CLINFER_FAULTS_ONLY");
    return !only || strcmp(only, call) == 0;
}

/* One call, once and for ever, wherever it is made. */
static void fail_everywhere(struct subject *subject, int which, const char *name, int error) {
    const char *call = layer_name(which);
    char faults[128];
    for (int ever = 0; ever < 2; ever++) {
        snprintf(faults, sizeof faults, "%s@1%s:%d", call, ever ? "+" : "", error);
        if (made[AT_LOAD][which]) fail_at_load(subject, name, call, faults, ever);
        if (made[AT_PROMPT][which]) fail_at_token(subject, name, call, faults, 0, ever);
        for (size_t token = 1; token < TOKENS && made[AT_TOKEN][which]; token++)
            if (all || token == TOKEN) fail_at_token(subject, name, call, faults, token, ever);
    }
}

/* Some of 1..count; in the whole matrix up to `most`, else the first and the last. */
static long some(long index, long count, long most) {
    if (!all) most = 2;
    if (count <= most) return index < count ? index + 1 : 0;
    return index < most ? 1 + index * (count - 1) / (most - 1) : 0;
}

static struct subject tiny = {.name = "tiny",
                              .model = "tests/data/llama_tiny.gguf",
                              .device = "0",
                              .activations = CLINFER_ACTIVATIONS_F32,
                              .margin = 0.02f,
                              .prompt = {1, 84, 104, 101, 32, 99, 97, 116, 32, 115, 97, 116}};

/* The whole model, in the whole matrix only. */
static char whole_model[4096];
static struct subject smollm2 = {.name = "SmolLM2, f32",
                                 .device = "0",
                                 .activations = CLINFER_ACTIVATIONS_F32,
                                 .margin = 0.02f,
                                 .prompt = {57, 1990, 282, 260, 17, 88, 99, 1200, 4000, 31000, 725, 339}};
static struct subject smollm2_q8 = {.name = "SmolLM2, q8",
                                    .device = "0",
                                    .activations = CLINFER_ACTIVATIONS_Q8,
                                    .margin = 0.5f,
                                    .prompt = {57, 1990, 282, 260, 17, 88, 99, 1200, 4000, 31000, 725, 339}};

static void end_subject(struct subject *subject) {
    if (subject->engine) close_engine(subject);
    assert_int_equal(layer_alive(), 0);
}

static void test_every_call_fails_at_every_place(void **state) {
    (void)state;
    take_truth(&tiny);
    for (int i = 0; layer_name(i); i++)
        if (is_asked(layer_name(i))) fail_everywhere(&tiny, i, layer_name(i), OUT_OF_RESOURCES);
    end_subject(&tiny);
}

/* The later calls of a start: the first of each name is hardly the one that matters. */
static void test_later_calls_of_a_start_fail(void **state) {
    enum { MOST = 24 };
    char faults[128];
    (void)state;
    take_truth(&tiny);
    for (int i = 0; layer_name(i); i++)
        for (int ever = 0; ever < 2 && is_asked(layer_name(i)) && all; ever++)
            for (long index = 1, call; (call = some(index, made[AT_LOAD][i], MOST)); index++) {
                snprintf(faults, sizeof faults, "%s@%ld%s:%d", layer_name(i), call, ever ? "+" : "", OUT_OF_RESOURCES);
                fail_at_load(&tiny, layer_name(i), layer_name(i), faults, ever);
            }
    end_subject(&tiny);
}

static int index_of(const char *call) {
    int i = 0;
    while (strcmp(layer_name(i), call) != 0) i++;
    return i;
}

static void test_memory_runs_out_at_every_buffer(void **state) {
    static const struct {
        int error;
        const char *name;
    } errors[] = {
        {-4, "no memory: ALLOCATION_FAILURE"}, {-5, "no memory: OUT_OF_RESOURCES"}, {-6, "no memory: OUT_OF_HOST"}};
    char faults[128];
    (void)state;
    take_truth(&tiny);
    int which = index_of("clCreateBuffer");
    for (size_t e = 0; e < sizeof errors / sizeof *errors && is_asked("memory"); e++)
        for (int ever = 0; ever < 2; ever++)
            for (int where = AT_LOAD; where <= AT_PROMPT; where++)
                for (long index = 0, call; (call = some(index, made[where][which], 1000)); index++) {
                    snprintf(faults, sizeof faults, "clCreateBuffer@%ld%s:%d", call, ever ? "+" : "", errors[e].error);
                    if (where == AT_LOAD)
                        fail_at_load(&tiny, errors[e].name, "clCreateBuffer", faults, ever);
                    else
                        fail_at_token(&tiny, errors[e].name, "clCreateBuffer", faults, 0, ever);
                    if (!all && e > 0) break;
                }
    end_subject(&tiny);
}

/* What reads give, and what each kernel gives. For ever: another kernel takes over, or it is told. */
static void test_results_are_spoilt(void **state) {
    char faults[128];
    (void)state;
    take_truth(&tiny);
    for (int ever = 0; ever < 2 && is_asked("corrupt"); ever++) {
        for (int call = 1; call <= 2; call++) {
            snprintf(faults, sizeof faults, "clEnqueueReadBuffer@%d%s:corrupt", call, ever ? "+" : "");
            for (size_t token = 0; token < TOKENS; token++)
                if (all || token == TOKEN) fail_at_token(&tiny, "spoilt: read", "", faults, token, ever);
        }
        for (int kernel = 0; kernel < kernel_count; kernel++) {
            snprintf(faults, sizeof faults, "clEnqueueNDRangeKernel/%.63s@%d%s:corrupt", kernels[kernel], 1 + ever,
                     ever ? "+" : "");
            for (size_t token = 0; token < TOKENS; token++)
                if (token == TOKEN || (all && !ever)) fail_at_token(&tiny, "spoilt: kernel", "", faults, token, ever);
        }
    }
    end_subject(&tiny);
}

static void test_one_kernel_fails_for_ever(void **state) {
    char faults[128];
    (void)state;
    take_truth(&tiny);
    for (int kernel = 0; kernel < kernel_count && is_asked("kernel"); kernel++) {
        snprintf(faults, sizeof faults, "clEnqueueNDRangeKernel/%.63s@1+:%d", kernels[kernel], OUT_OF_RESOURCES);
        for (size_t token = 0; token < TOKENS; token++)
            if (token == TOKEN || (all && token % 8 == 0))
                fail_at_token(&tiny, "one kernel fails", "clEnqueueNDRangeKernel", faults, token, true);
    }
    int replaced = survival_counted("one kernel fails", AT_TOKEN, true, SURVIVED_BY_ANOTHER);
    if (is_asked("kernel") && replaced * 2 < kernel_count)
        fail_msg("of %d kernels %d were replaced", kernel_count, replaced);
    end_subject(&tiny);
}

static void test_device_is_lost(void **state) {
    static const char *const faults[] = {"*@1:lost", "*@20:lost/-36", "clEnqueueReadBuffer@1:lost/-2"};
    (void)state;
    take_truth(&tiny);
    for (size_t i = 0; i < sizeof faults / sizeof *faults && is_asked("lost"); i++)
        for (size_t token = 0; token < TOKENS; token++)
            if (all || token == TOKEN) fail_at_token(&tiny, "device lost", "", faults[i], token, true);
    for (long call = 1; call < 400 && is_asked("lost"); call += all ? 7 : 131) {
        char text[64];
        snprintf(text, sizeof text, "*@%ld:lost", call);
        fail_at_load(&tiny, "device lost", "", text, true);
    }
    end_subject(&tiny);
}

/* So rarely that a step computed again mostly succeeds. */
static void test_calls_fail_by_chance(void **state) {
    char faults[64];
    (void)state;
    take_truth(&tiny);
    for (int seed = 1; seed <= (all ? 100 : 3) && is_asked("chance"); seed++) {
        snprintf(faults, sizeof faults, "*@p0.001/%d:%d", seed, OUT_OF_RESOURCES);
        fail_at_token(&tiny, "by chance", "", faults, 0, true);
    }
    end_subject(&tiny);
}

static void print_careful(const struct subject *subject, const char *kernel, const char *how) {
    print_message("%s, %s %s: %.0f ms from there to the token: %d kernels one by one %.0f, %d compared %.0f, other "
                  "plans %.0f: 1 of 1 survived\n",
                  subject->name, kernel, how, 1e3 * last.token, last_cost.steps, 1e3 * last_cost.seconds,
                  last_cost.compared, 1e3 * last_cost.compare_seconds, 1e3 * last_cost.build_seconds);
}

static void fail_whole_model(struct subject *subject) {
    char faults[128];
    subject->model = whole_model;
    take_truth(subject);
    for (int i = 0; layer_name(i); i++)
        for (int ever = 0; ever < 2 && is_asked(layer_name(i)); ever++) {
            snprintf(faults, sizeof faults, "%s@1%s:%d", layer_name(i), ever ? "+" : "", OUT_OF_RESOURCES);
            if (made[AT_LOAD][i]) fail_at_load(subject, layer_name(i), layer_name(i), faults, ever);
            if (made[AT_PROMPT][i]) fail_at_token(subject, layer_name(i), layer_name(i), faults, 0, ever);
            if (made[AT_TOKEN][i]) fail_at_token(subject, layer_name(i), layer_name(i), faults, TOKEN, ever);
        }
    for (int kernel = 0; kernel < kernel_count && is_asked("whole"); kernel++) {
        snprintf(faults, sizeof faults, "clEnqueueNDRangeKernel/%.63s@1:%d", kernels[kernel], OUT_OF_RESOURCES);
        fail_at_token(subject, "one kernel fails", "clEnqueueNDRangeKernel", faults, TOKEN, false);
        print_careful(subject, kernels[kernel], "fails once");
        snprintf(faults, sizeof faults, "clEnqueueNDRangeKernel/%.63s@1+:%d", kernels[kernel], OUT_OF_RESOURCES);
        fail_at_token(subject, "one kernel fails", "clEnqueueNDRangeKernel", faults, TOKEN, true);
        print_careful(subject, kernels[kernel], "fails for ever");
        snprintf(faults, sizeof faults, "clEnqueueNDRangeKernel/%.63s@1:corrupt", kernels[kernel]);
        if (subject->activations == CLINFER_ACTIVATIONS_F32)
            fail_at_token(subject, "spoilt: kernel", "", faults, TOKEN, false);
    }
    end_subject(subject);
}

static void test_every_call_fails_with_a_whole_model(void **state) {
    (void)state;
    fail_whole_model(&smollm2);
    fail_whole_model(&smollm2_q8);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_call_fails_at_every_place),
        cmocka_unit_test(test_later_calls_of_a_start_fail),
        cmocka_unit_test(test_memory_runs_out_at_every_buffer),
        cmocka_unit_test(test_results_are_spoilt),
        cmocka_unit_test(test_one_kernel_fails_for_ever),
        cmocka_unit_test(test_device_is_lost),
        cmocka_unit_test(test_calls_fail_by_chance),
        cmocka_unit_test(test_every_call_fails_with_a_whole_model),
    };
    all = getenv("CLINFER_TEST_FULL") != NULL;
    if (!layer_load()) return 1;
    snprintf(whole_model, sizeof whole_model, "%s", test_model_path()); /* while it is known where models are */
    poison_fresh_data();
    signal(SIGALRM, too_long);
    clinfer_log_to(listen, NULL);
    if (getenv("CLINFER_FAULTS_TEST")) cmocka_set_test_filter(getenv("CLINFER_FAULTS_TEST"));
    size_t count = sizeof tests / sizeof *tests - !all; /* the last takes minutes */
    int failures = _cmocka_run_group_tests("tests", tests, count, NULL, NULL);
    survival_print();
    return failures;
}
