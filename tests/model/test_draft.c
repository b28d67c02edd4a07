/* Guessed tokens change no answer: with as many guesses as there may be, whether they pay or not, every text is the one
 * without, greedy or of a seed, whatever samplers, grammars, stop texts, lengths and companions it has. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <clinfer.h>

#include "engine/engine_private.h"
#include "ops/product.h"
#include "support/asserts.h"

enum { MOST = 160, CONTEXT = 256, PROMPT = 24, TOGETHER = 5 };

/* A period, which models with random weights go on with, and so do guesses. */
static void fill_prompt(int32_t *tokens, int seed) {
    for (int i = 0; i < PROMPT; i++) tokens[i] = 5 + (i % 6) * 7 + seed % 11;
}

enum who { NOBODY, LOOKUP, MODEL };

static clinfer_engine *open_engine(const char *model, const char *device, enum who who) {
    struct clinfer_engine_options options;
    clinfer_engine *engine;
    clinfer_engine_options_default(&options);
    options.model = model;
    options.device = device;
    options.context = CONTEXT;
    options.batch = CI_PRODUCT_MANY - 1; /* more rows round weights in F16 */
    options.threads = 2;
    options.draft.lookup = who == LOOKUP;
    if (who == MODEL) options.draft.model = model;
    assert_ok(clinfer_engine_open(&options, &engine));
    engine->draft.always = true;
    return engine;
}

struct answer {
    int32_t tokens[2 * CONTEXT];
    size_t count, accepted;
    enum clinfer_finish finish;
    char text[8192];
    size_t length;
    float logprobs[2 * CONTEXT];
};

static bool collect(void *user, const char *text, size_t length) {
    struct answer *answer = user;
    assert_true(answer->length + length < sizeof answer->text);
    memcpy(answer->text + answer->length, text, length);
    answer->length += length;
    return true;
}

static void take(clinfer_session *session, struct answer *answer) {
    struct clinfer_result result;
    assert_ok(clinfer_wait(session, &result));
    assert_true(result.generated_tokens <= 2 * CONTEXT);
    memcpy(answer->tokens, result.tokens, result.generated_tokens * sizeof *result.tokens);
    answer->count = result.generated_tokens;
    answer->accepted = result.accepted_tokens;
    answer->finish = result.finish;
    assert_true(result.accepted_tokens <= result.drafted_tokens && result.accepted_tokens <= result.generated_tokens);
    for (size_t i = 0; result.logprobs && i < result.generated_tokens; i++)
        answer->logprobs[i] = result.logprobs[i * 3].logprob;
}

static void expect_same(const struct answer *without, const struct answer *with, const char *what) {
    if (without->count == with->count && without->finish == with->finish && without->length == with->length &&
        memcmp(without->tokens, with->tokens, with->count * sizeof *with->tokens) == 0 &&
        memcmp(without->text, with->text, with->length) == 0 &&
        memcmp(without->logprobs, with->logprobs, with->count * sizeof *with->logprobs) == 0)
        return;
    size_t at = 0;
    while (at < without->count && at < with->count && without->tokens[at] == with->tokens[at]) at++;
    fail_msg("%s: other answers with guesses, from token %zu on: %zu tokens, %zu with", what, at, without->count,
             with->count);
}

/* The settings of one request. */
struct setting {
    const char *name;
    struct clinfer_session_options options; /* what is not 0 in them counts */
    int most;
    const char *stop, *grammar;
};

static const struct setting settings[] = {
    {.name = "greedy", .most = MOST},
    {.name = "greedy, to the end of the context", .most = -1},
    {.name = "one token", .most = 1},
    {.name = "seven tokens", .most = 7},
    {.name = "sampled", .options = {.temperature = 0.7f}, .most = MOST},
    {.name = "sampled, warm", .options = {.temperature = 1.3f, .seed = 5}, .most = MOST},
    {.name = "penalties", .options = {.temperature = 0.7f, .repeat_penalty = 1.05f, .repeat_last_n = 20}, .most = MOST},
    {.name = "dry", .options = {.temperature = 0.7f, .dry_multiplier = 0.2f}, .most = MOST},
    {.name = "mirostat", .options = {.temperature = 0.7f, .mirostat = 2, .mirostat_tau = 2}, .most = MOST},
    {.name = "xtc", .options = {.temperature = 0.7f, .xtc_probability = 0.3f}, .most = MOST},
    {.name = "logprobs", .options = {.logprobs = 2}, .most = MOST},
    {.name = "shift", .options = {.shift = true}, .most = CONTEXT + 60},
    {.name = "a stop text", .most = MOST, .stop = "e"},
    {.name = "a grammar", .most = MOST, .grammar = "root ::= (\"ab\" [a-f]* \",\")*"},
    {.name = "a grammar on the host",
     .options = {.temperature = 0.7f, .repeat_penalty = 1.05f},
     .most = MOST,
     .grammar = "root ::= (\"ab\" [a-f]* \",\")*"},
};

static clinfer_session *make_session(clinfer_engine *engine, const struct setting *setting, int seed) {
    const struct clinfer_session_options *own = &setting->options;
    struct clinfer_session_options options;
    clinfer_session *session;
    clinfer_session_options_default(engine, &options);
    options.temperature = own->temperature;
    options.seed = own->seed + (uint64_t)seed;
    options.shift = own->shift;
    options.logprobs = own->logprobs;
    options.mirostat = own->mirostat;
    if (own->mirostat) options.mirostat_tau = own->mirostat_tau;
    if (own->repeat_penalty > 0) options.repeat_penalty = own->repeat_penalty;
    if (own->repeat_last_n) options.repeat_last_n = own->repeat_last_n;
    options.dry_multiplier = own->dry_multiplier;
    options.xtc_probability = own->xtc_probability;
    assert_ok(clinfer_session_create(engine, &options, &session));
    return session;
}

static void submit(clinfer_session *session, const struct setting *setting, int seed, struct answer *answer) {
    int32_t prompt[PROMPT];
    const struct clinfer_grammar grammar = {.kind = CLINFER_GRAMMAR_GBNF, .text = setting->grammar};
    fill_prompt(prompt, seed);
    memset(answer, 0, sizeof *answer);
    const struct clinfer_request request = {.tokens = prompt,
                                            .count = PROMPT,
                                            .max_tokens = setting->most,
                                            .callback = collect,
                                            .user = answer,
                                            .ignore_end = true,
                                            .stop = &setting->stop,
                                            .stop_count = setting->stop ? 1 : 0,
                                            .grammar = setting->grammar ? &grammar : NULL};
    assert_ok(clinfer_submit(session, &request));
}

static void generate(clinfer_engine *engine, const struct setting *setting, int seed, struct answer *answer) {
    clinfer_session *session = make_session(engine, setting, seed);
    submit(session, setting, seed, answer);
    take(session, answer);
    clinfer_session_destroy(session);
}

/* Returns how many guesses were right. */
static size_t compare(const char *model, const char *device, enum who who) {
    static struct answer without, with;
    clinfer_engine *plain = open_engine(model, device, NOBODY), *guessing = open_engine(model, device, who);
    size_t accepted = 0;
    for (size_t i = 0; i < sizeof settings / sizeof *settings; i++)
        for (int seed = 0; seed < 3; seed++) {
            generate(plain, &settings[i], seed, &without);
            generate(guessing, &settings[i], seed, &with);
            assert_int_equal(without.accepted, 0);
            expect_same(&without, &with, settings[i].name);
            accepted += with.accepted;
        }
    clinfer_engine_close(plain);
    clinfer_engine_close(guessing);
    return accepted;
}

static void test_guesses_change_no_answer(void **state) {
    (void)state;
    assert_true(compare("tests/data/qwen2_tiny.gguf", "cpu", LOOKUP) > 100);
    assert_true(compare("tests/data/llama_tiny.gguf", "cpu", LOOKUP) > 100);
}

/* A model guesses its own greedy answers right; what it is asked for with other settings it sometimes does. */
static void test_guesses_of_model_change_no_answer(void **state) {
    (void)state;
    assert_true(compare("tests/data/qwen2_tiny.gguf", "cpu", MODEL) > 1000);
}

static void test_model_of_another_vocabulary_is_refused(void **state) {
    (void)state;
    struct clinfer_engine_options options;
    clinfer_engine *engine;
    clinfer_engine_options_default(&options);
    options.model = "tests/data/qwen2_tiny.gguf";
    options.device = "cpu";
    options.draft.model = "tests/data/folders/gpt2";
    assert_int_equal(clinfer_engine_open(&options, &engine), CLINFER_UNSUPPORTED);
    assert_non_null(strstr(clinfer_error(), "-md tests/data/folders/gpt2: it"));
    options.draft.model = "tests/data/none.gguf";
    assert_int_equal(clinfer_engine_open(&options, &engine), CLINFER_NOT_FOUND);
}

static void generate_together(clinfer_engine *engine, struct answer *answers) {
    clinfer_session *sessions[TOGETHER];
    for (int i = 0; i < TOGETHER; i++) {
        const struct setting *setting = &settings[i == 3 ? 13 : 4];
        sessions[i] = make_session(engine, setting, i);
        submit(sessions[i], setting, i, &answers[i]);
    }
    for (int i = 0; i < TOGETHER; i++) take(sessions[i], &answers[i]);
    for (int i = 0; i < TOGETHER; i++) clinfer_session_destroy(sessions[i]);
}

/* All of them in the same steps, each with guesses of its own. */
static void test_guesses_of_several_change_no_answer(void **state) {
    (void)state;
    static struct answer without[TOGETHER], with[TOGETHER];
    clinfer_engine *plain = open_engine("tests/data/qwen2_tiny.gguf", "cpu", NOBODY),
                   *guessing = open_engine("tests/data/qwen2_tiny.gguf", "cpu", LOOKUP);
    size_t accepted = 0;
    generate_together(plain, without);
    generate_together(guessing, with);
    for (int i = 0; i < TOGETHER; i++) {
        expect_same(&without[i], &with[i], "together");
        accepted += with[i].accepted;
    }
    assert_true(accepted > 20);
    clinfer_engine_close(plain);
    clinfer_engine_close(guessing);
}

/* Who comes while all rows with logits could be guesses still has one. */
static void test_guesses_leave_room_for_who_comes(void **state) {
    (void)state;
    enum { LATER = 8, STEPS = 30 };
    static struct answer without[LATER], with[LATER], rest[TOGETHER];
    clinfer_engine *plain = open_engine("tests/data/qwen2_tiny.gguf", "cpu", NOBODY),
                   *guessing = open_engine("tests/data/qwen2_tiny.gguf", "cpu", LOOKUP);
    clinfer_session *sessions[TOGETHER], *later[LATER];
    /* As on devices where so many rows are the same as one by one. */
    for (int i = 0; i < CI_DRAFT_RANGES; i++) guessing->draft.proofs[i] = CI_DRAFT_PROVEN;
    for (int i = 0; i < LATER; i++) generate(plain, &settings[0], i, &without[i]);
    for (int i = 0; i < TOGETHER; i++) {
        sessions[i] = make_session(guessing, &settings[0], i);
        submit(sessions[i], &settings[0], i, &rest[i]);
    }
    for (int i = 0; i < STEPS; i++) ci_engine_turn(guessing);
    for (int i = 0; i < LATER; i++) {
        later[i] = make_session(guessing, &settings[0], i);
        submit(later[i], &settings[0], i, &with[i]);
        ci_engine_turn(guessing);
    }
    for (int i = 0; i < LATER; i++) {
        take(later[i], &with[i]);
        expect_same(&without[i], &with[i], "who came later");
        clinfer_session_destroy(later[i]);
    }
    for (int i = 0; i < TOGETHER; i++) clinfer_session_destroy(sessions[i]);
    clinfer_engine_close(plain);
    clinfer_engine_close(guessing);
}

/* A lack of pages passes, and what could not be proven meanwhile is proven later. */
static void test_lack_of_pages_refuses_nothing(void **state) {
    (void)state;
    static struct answer answer;
    enum { ROWS = CI_DRAFT_MOST + 1 };
    clinfer_engine *engine = open_engine("tests/data/qwen2_tiny.gguf", "cpu", LOOKUP);
    clinfer_session *session = make_session(engine, &settings[0], 0);
    int free_counts[CI_CACHE_GROUPS];
    uint64_t limit = engine->cache_limit;
    submit(session, &settings[0], 0, &answer);
    for (int i = 0; i < CI_DRAFT_RANGES; i++) engine->draft.proofs[i] = CI_DRAFT_REFUSED;
    while (session->known < CI_PAGE_ROWS - 2) assert_true(ci_engine_turn(engine));
    ci_engine_land(engine);
    for (int group = 0; group < CI_CACHE_GROUPS; group++) {
        free_counts[group] = engine->pools[group].free_count;
        engine->pools[group].free_count = 0;
    }
    engine->cache_limit = 0;
    for (int i = 0; i < CI_DRAFT_RANGES; i++) engine->draft.proofs[i] = CI_DRAFT_UNPROVEN;
    assert_int_equal(ci_draft_proven_rows(engine, ROWS), 0);
    assert_true(engine->draft.wants_proof);
    ci_draft_prove(engine);
    assert_int_equal(engine->draft.proofs[0], CI_DRAFT_UNPROVEN);
    assert_int_equal(ci_draft_proven_rows(engine, ROWS), 0);
    assert_false(engine->draft.wants_proof); /* not in each step */
    for (int group = 0; group < CI_CACHE_GROUPS; group++) engine->pools[group].free_count = free_counts[group];
    engine->cache_limit = limit;
    take(session, &answer);
    clinfer_session_destroy(session);
    session = make_session(engine, &settings[0], 0);
    submit(session, &settings[0], 0, &answer);
    take(session, &answer);
    assert_int_equal(engine->draft.proofs[0], CI_DRAFT_PROVEN);
    assert_true(answer.accepted > 0);
    clinfer_session_destroy(session);
    clinfer_engine_close(engine);
}

static void test_session_may_want_none(void **state) {
    (void)state;
    static struct answer answer;
    clinfer_engine *engine = open_engine("tests/data/qwen2_tiny.gguf", "cpu", LOOKUP);
    struct clinfer_session_options options;
    clinfer_session *session;
    struct clinfer_result result;
    clinfer_session_options_default(engine, &options);
    options.temperature = 0;
    for (int most = 0; most < 3; most++) {
        options.draft_most = most;
        assert_ok(clinfer_session_create(engine, &options, &session));
        submit(session, &settings[0], 0, &answer);
        assert_ok(clinfer_wait(session, &result));
        assert_true(result.drafted_tokens <= result.drafts * (size_t)most);
        assert_int_equal(result.drafts > 0, most > 0);
        clinfer_session_destroy(session);
    }
    clinfer_engine_close(engine);
}

static void test_lookup_takes_longest_and_latest_match(void **state) {
    (void)state;
    struct ci_ngrams ngrams = {.first = NULL};
    const int32_t tokens[] = {1, 2, 3, 40, 9, 2, 3, 50, 9, 1, 2, 3, 60, 7, 2, 3, 70, 1, 2, 3};
    assert_int_equal(ci_ngrams_look(&ngrams, tokens, 20), 8); /* 60 follows the latest of the longest */
    assert_int_equal(ngrams.length, 3);
    assert_int_equal(tokens[ngrams.match], 60);
    ci_ngrams_forget(&ngrams);
    assert_int_equal(ci_ngrams_look(&ngrams, tokens, 16), 4); /* of equals the latest */
    ci_ngrams_forget(&ngrams);
    assert_int_equal(ci_ngrams_look(&ngrams, tokens, 5), 0);
    ci_ngrams_free(&ngrams);
}

static void test_counts_follow_chance_and_cost(void **state) {
    (void)state;
    struct ci_draft_engine draft = {.always = false};
    ci_draft_pace_note(&draft, 1, 1e-3);
    ci_draft_pace_note(&draft, 8, 1.2e-3);
    ci_draft_pace_note(&draft, 16, 8e-3);
    assert_int_equal(ci_draft_best(&draft, 1, 1, 16, 0.95, 0), 7);
    assert_int_equal(ci_draft_best(&draft, 1, 1, 4, 0.95, 0), 4);
    assert_int_equal(ci_draft_best(&draft, 1, 1, 16, 0.01, 0), 0);
    assert_int_equal(ci_draft_best(&draft, 1, 1, 16, 0.95, 2e-3), 0); /* guessing takes longer than it saves */
    struct ci_draft_rate rate = {.tried = 0};
    for (int i = 0; i < 50; i++) ci_draft_rate_note(&rate, 4, 0);
    assert_true(ci_draft_chance(&rate, 0.8) < 0.15);
    for (int i = 0; i < 50; i++) ci_draft_rate_note(&rate, 4, 4);
    assert_true(ci_draft_chance(&rate, 0.8) > 0.9);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_lookup_takes_longest_and_latest_match),
        cmocka_unit_test(test_counts_follow_chance_and_cost),
        cmocka_unit_test(test_guesses_change_no_answer),
        cmocka_unit_test(test_guesses_of_model_change_no_answer),
        cmocka_unit_test(test_model_of_another_vocabulary_is_refused),
        cmocka_unit_test(test_guesses_of_several_change_no_answer),
        cmocka_unit_test(test_guesses_leave_room_for_who_comes),
        cmocka_unit_test(test_lack_of_pages_refuses_nothing),
        cmocka_unit_test(test_session_may_want_none),
    };
    return cmocka_run_group_tests_name("draft", tests, NULL, NULL);
}
