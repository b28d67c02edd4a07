/* Answers that follow a grammar, of models with random weights, which would say anything: whatever the seed and however
 * little room there is, the text is what the grammar allows, or the request is refused. */
#define _GNU_SOURCE
#include <math.h>
#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <clinfer.h>

#include "engine/engine_private.h"
#include "format/gguf.h"
#include "grammar/gbnf.h"
#include "grammar/matcher.h"
#include "support/asserts.h"
#include "text/tokenizer.h"

static const char model[] = "tests/data/qwen2_tiny.gguf";

/* JSON with two numbers and a text, as deep as it likes. */
static const char values[] =
    "root ::= value\n"
    "value ::= \"[\" (value (\",\" value)*)? \"]\" | \"{\" text \":\" value \"}\" | text | number\n"
    "text ::= \"\\\"\" [^\"\\\\\\x00-\\x1f]* \"\\\"\"\n"
    "number ::= \"-\"? [0-9]{1,9}\n";

struct answer {
    char text[4096];
    size_t length;
    struct clinfer_result result;
};

static bool collect(void *user, const char *text, size_t length) {
    struct answer *answer = user;
    assert_true(answer->length + length < sizeof answer->text);
    memcpy(answer->text + answer->length, text, length);
    answer->length += length;
    return true;
}

static clinfer_engine *open_engine(const char *device) {
    struct clinfer_engine_options options;
    clinfer_engine *engine;
    clinfer_engine_options_default(&options);
    options.model = model;
    options.device = device;
    options.activations = CLINFER_ACTIVATIONS_F32;
    options.context = 96;
    options.threads = 2;
    assert_ok(clinfer_engine_open(&options, &engine));
    return engine;
}

static clinfer_session *make_session_with(clinfer_engine *engine, uint64_t seed, int top_k, int logprobs) {
    struct clinfer_session_options options;
    clinfer_session *session;
    clinfer_session_options_default(engine, &options);
    options.temperature = 1.5f;
    options.top_k = top_k;
    options.logprobs = logprobs;
    options.seed = seed;
    assert_ok(clinfer_session_create(engine, &options, &session));
    return session;
}

/* One that samples on the host: op sample does not take all tokens. */
static clinfer_session *make_session(clinfer_engine *engine, uint64_t seed) {
    return make_session_with(engine, seed, 0, 0);
}

static struct clinfer_request ask(const int32_t *tokens, size_t count, int most, struct answer *answer,
                                  const struct clinfer_grammar *grammar) {
    *answer = (struct answer){.length = 0};
    return (struct clinfer_request){
        .tokens = tokens, .count = count, .max_tokens = most, .callback = collect, .user = answer, .grammar = grammar};
}

static const int32_t prompt[] = {5, 9, 17, 4, 60};
enum { PROMPT = sizeof prompt / sizeof *prompt };

/* How far the text is one of the grammar's: whole, or the beginning of one. */
struct judge {
    struct ci_gguf *gguf;
    struct ci_tokenizer *tokenizer;
    struct ci_grammar_vocabulary *vocabulary;
    struct ci_grammar *grammar;
    struct ci_matcher *matcher;
};

static void make_judge(struct judge *judge, const char *grammar) {
    assert_ok(ci_gguf_open(model, &judge->gguf));
    assert_ok(ci_tokenizer_create_gguf(judge->gguf, &judge->tokenizer));
    assert_ok(ci_grammar_vocabulary_create(judge->tokenizer, &judge->vocabulary));
    assert_ok(ci_gbnf_parse("test", grammar, strlen(grammar), judge->tokenizer, &judge->grammar));
    assert_ok(ci_matcher_create(judge->grammar, judge->vocabulary, &judge->matcher));
}

static void free_judge(struct judge *judge) {
    ci_matcher_destroy(judge->matcher);
    ci_grammar_destroy(judge->grammar);
    ci_grammar_vocabulary_destroy(judge->vocabulary);
    ci_tokenizer_destroy(judge->tokenizer);
    ci_gguf_close(judge->gguf);
}

static void expect_allowed(struct judge *judge, const struct answer *answer, bool whole) {
    ci_place place;
    assert_ok(
        ci_matcher_take_bytes(judge->matcher, ci_matcher_start(judge->matcher), answer->text, answer->length, &place));
    if (place == CI_PLACE_DEAD || (whole && !ci_matcher_may_end(judge->matcher, place)))
        fail_msg("not what the grammar allows: %.*s", (int)answer->length, answer->text);
}

static void check_answers(const char *device, int seeds) {
    static const int rooms[] = {2, 3, 5, 9, 17, 40, 80, -1};
    const struct clinfer_grammar grammar = {.kind = CLINFER_GRAMMAR_GBNF, .text = values};
    clinfer_engine *engine = open_engine(device);
    struct judge judge;
    make_judge(&judge, values);
    int closed = 0;
    for (int seed = 0; seed < seeds; seed++)
        for (size_t r = 0; r < sizeof rooms / sizeof *rooms; r++) {
            clinfer_session *session = make_session(engine, (uint64_t)seed);
            struct answer answer;
            struct clinfer_request request = ask(prompt, PROMPT, rooms[r], &answer, &grammar);
            assert_ok(clinfer_generate(session, &request, &answer.result));
            expect_allowed(&judge, &answer, true);
            if (rooms[r] >= 0) assert_true(answer.result.generated_tokens <= (size_t)rooms[r]);
            assert_true(answer.result.finish == CLINFER_FINISH_END || answer.result.finish == CLINFER_FINISH_LENGTH);
            closed += answer.result.finish == CLINFER_FINISH_LENGTH;
            clinfer_session_destroy(session);
        }
    assert_true(closed > seeds); /* with so little room many are closed early */
    free_judge(&judge);
    clinfer_engine_close(engine);
}

static void test_answers_are_what_the_grammar_allows(void **state) {
    (void)state;
    check_answers("cpu", 12);
}

static void test_on_a_device_too(void **state) {
    (void)state;
    check_answers("0", 2);
}

/* Who wants the probabilities samples on the host: what it chooses is what op sample does. */
static void check_places_of_sampling(const char *device, int seeds) {
    const struct clinfer_grammar grammar = {.kind = CLINFER_GRAMMAR_GBNF, .text = values};
    clinfer_engine *engine = open_engine(device);
    struct judge judge;
    make_judge(&judge, values);
    for (int seed = 0; seed < seeds; seed++) {
        struct answer answers[2];
        for (int on_host = 0; on_host < 2; on_host++) {
            clinfer_session *session = make_session_with(engine, (uint64_t)seed, seed % 3 ? 40 : 1, on_host);
            struct clinfer_request request = ask(prompt, PROMPT, 60, &answers[on_host], &grammar);
            assert_ok(clinfer_generate(session, &request, &answers[on_host].result));
            expect_allowed(&judge, &answers[on_host], true);
            clinfer_session_destroy(session);
        }
        assert_int_equal(answers[0].length, answers[1].length);
        assert_memory_equal(answers[0].text, answers[1].text, answers[0].length);
    }
    free_judge(&judge);
    clinfer_engine_close(engine);
}

static void test_masked_sampling_chooses_what_the_host_would(void **state) {
    (void)state;
    check_places_of_sampling("cpu", 12);
    check_places_of_sampling("0", 3);
}

/* Few tokens of this model are longer than a letter, so that most of this has no choice. */
static const char report[] =
    "root ::= \"{'kind': '\" kind \"', 'how many there are of it': \" [0-9]{1,3} \", 'and where': [\" kind \"]}\"\n"
    "kind ::= \"a red one that shines\" | \"a blue one that does not\" | \"none\"";

struct forced_case {
    const char *name;
    float temperature, xtc_probability;
    int top_k, logprobs, mirostat, room;
    bool shift;
};

static uint64_t ask_forced(clinfer_engine *engine, const struct forced_case *kind, uint64_t seed, bool each_steps,
                           struct answer *answer, int32_t *tokens) {
    const struct clinfer_grammar grammar = {
        .kind = CLINFER_GRAMMAR_GBNF, .text = report, .leave_open = kind->room == 21};
    struct clinfer_engine_stats before, after;
    int not_known = 0;
    struct clinfer_session_options options;
    clinfer_session *session;
    clinfer_session_options_default(engine, &options);
    options.temperature = kind->temperature;
    options.xtc_probability = kind->xtc_probability;
    options.top_k = kind->top_k;
    options.logprobs = kind->logprobs;
    options.mirostat = kind->mirostat;
    options.shift = kind->shift;
    options.seed = seed;
    engine->each_token_steps = each_steps;
    clinfer_engine_get_stats(engine, &before);
    assert_ok(clinfer_session_create(engine, &options, &session));
    struct clinfer_request request = ask(prompt, PROMPT, kind->room, answer, &grammar);
    assert_ok(clinfer_generate(session, &request, &answer->result));
    memcpy(tokens, answer->result.tokens, answer->result.generated_tokens * sizeof *tokens);
    for (size_t i = 0; kind->logprobs && i < answer->result.generated_tokens; i++) {
        const struct clinfer_logprob *row = &answer->result.logprobs[i * (size_t)(kind->logprobs + 1)];
        assert_int_equal(row->token, tokens[i]);
        not_known += isnan(row->logprob);
    }
    if (kind->logprobs) assert_true(each_steps ? not_known == 0 : not_known > 20); /* nobody computed them */
    clinfer_session_destroy(session);
    clinfer_engine_get_stats(engine, &after);
    return after.steps - before.steps;
}

/* Tokens without a choice take no steps, and change nothing else. */
static void check_forced(const char *device, int seeds) {
    static const struct forced_case cases[] = {
        {"op sample", 1.5f, 0, 40, 0, 0, -1, false},  {"greedy", 0, 0, 40, 0, 0, -1, false},
        {"on the host", 1.5f, 0, 0, 1, 0, -1, false}, {"xtc", 1.5f, 0.9f, 0, 0, 0, -1, false},
        {"mirostat", 1, 0, 0, 0, 2, -1, false},       {"closed early", 1.5f, 0, 40, 0, 0, 80, false},
        {"left open", 1.5f, 0, 40, 0, 0, 21, false},  {"a context that is shifted", 1, 0, 40, 0, 0, 120, true},
    };
    clinfer_engine *engine = open_engine(device);
    int32_t tokens[2][256];
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        for (int seed = 0; seed < seeds; seed++) {
            struct answer answers[2];
            uint64_t with = ask_forced(engine, &cases[i], (uint64_t)seed, true, &answers[0], tokens[0]);
            uint64_t without = ask_forced(engine, &cases[i], (uint64_t)seed, false, &answers[1], tokens[1]);
            size_t count = answers[0].result.generated_tokens;
            if (count != answers[1].result.generated_tokens || memcmp(tokens[0], tokens[1], count * sizeof **tokens) ||
                answers[0].result.finish != answers[1].result.finish)
                fail_msg("%s, seed %d: %.*s (%zu) became %.*s (%zu)", cases[i].name, seed, (int)answers[0].length,
                         answers[0].text, count, (int)answers[1].length, answers[1].text,
                         answers[1].result.generated_tokens);
            if (without * 2 > with)
                fail_msg("%s, seed %d: %d steps, of %d with one for each token: %.*s", cases[i].name, seed,
                         (int)without, (int)with, (int)answers[1].length, answers[1].text);
        }
    clinfer_engine_close(engine);
}

static void test_tokens_without_a_choice_take_no_steps(void **state) {
    (void)state;
    check_forced("cpu", 8);
    check_forced("0", 1);
}

/* ---- bytes that have to come ---- */

struct bytes_case {
    const char *name, *stop;
    int room, logprobs, top_k;
    bool shift, leave_open;
};

/* *steps: that it took. The tokens are those that the answer says, and their bytes its text, up to a stop text. */
static void ask_bytes(clinfer_engine *engine, const struct judge *judge, const struct bytes_case *kind, uint64_t seed,
                      bool force, struct answer *answer, uint64_t *steps) {
    const struct clinfer_grammar grammar = {
        .kind = CLINFER_GRAMMAR_GBNF, .text = report, .leave_open = kind->leave_open, .force_bytes = force};
    struct clinfer_engine_stats before, after;
    struct clinfer_session_options options;
    clinfer_session *session;
    char text[4096];
    size_t length = 0, bytes, not_known = 0;
    clinfer_session_options_default(engine, &options);
    options.temperature = 1;
    options.top_k = kind->top_k;
    options.logprobs = kind->logprobs;
    options.shift = kind->shift;
    options.seed = seed;
    clinfer_engine_get_stats(engine, &before);
    assert_ok(clinfer_session_create(engine, &options, &session));
    struct clinfer_request request = ask(prompt, PROMPT, kind->room, answer, &grammar);
    request.stop = &kind->stop;
    request.stop_count = kind->stop != NULL;
    assert_ok(clinfer_generate(session, &request, &answer->result));
    for (size_t i = 0; i < answer->result.generated_tokens; i++) {
        const char *piece = ci_tokenizer_piece(judge->tokenizer, answer->result.tokens[i], false, &bytes);
        memcpy(text + length, piece, bytes);
        length += bytes;
        if (kind->logprobs) not_known += isnan(answer->result.logprobs[i * (size_t)(kind->logprobs + 1)].logprob);
    }
    assert_true(kind->stop ? length >= answer->length : length == answer->length);
    assert_memory_equal(text, answer->text, answer->length);
    if (kind->logprobs && force) assert_true(not_known > answer->result.generated_tokens / 2);
    if (kind->room >= 0) assert_true(answer->result.generated_tokens <= (size_t)kind->room);
    clinfer_session_destroy(session);
    clinfer_engine_get_stats(engine, &after);
    *steps = after.steps - before.steps;
}

static void test_bytes_that_have_to_come_take_no_steps(void **state) {
    static const struct bytes_case cases[] = {
        {"op sample", NULL, -1, 0, 40, false, false},
        {"on the host", NULL, -1, 2, 0, false, false},
        {"greedy", NULL, -1, 0, 1, false, false},
        {"closed early", NULL, 84, 0, 40, false, false},
        {"left open", NULL, 21, 0, 40, false, true},
        {"a stop text", "there are", -1, 0, 40, false, false},
        {"a context that is shifted", NULL, 140, 0, 40, true, false},
    };
    (void)state;
    clinfer_engine *engine = open_engine("cpu");
    struct judge judge;
    uint64_t all[2] = {0};
    make_judge(&judge, report);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        for (uint64_t seed = 0; seed < 6; seed++) {
            struct answer answer;
            uint64_t steps[2];
            for (int force = 0; force < 2; force++) {
                ask_bytes(engine, &judge, &cases[i], seed, force, &answer, &steps[force]);
                all[force] += steps[force];
                expect_allowed(&judge, &answer, !cases[i].stop && !cases[i].leave_open);
                if (cases[i].stop) assert_memory_equal(answer.text + answer.length - 11, " 'how many ", 11);
                if (cases[i].stop) assert_int_equal(answer.result.finish, CLINFER_FINISH_END);
            }
            if (steps[1] > steps[0])
                fail_msg("%s, seed %d: %d steps became %d", cases[i].name, (int)seed, (int)steps[0], (int)steps[1]);
        }
    if (all[1] * 4 > all[0] * 3) fail_msg("%d steps, %d with bytes forced", (int)all[0], (int)all[1]);
    free_judge(&judge);
    clinfer_engine_close(engine);
}

/* What is forced are the tokens that the tokenizer makes of it, but for the last ones, which may become others. */
static void test_forced_bytes_are_tokens_as_the_tokenizer_makes_them(void **state) {
    (void)state;
    static const char text[] = "root ::= [0-9] \" and then there were several others of which none \" [ab] \" left\"";
    const struct clinfer_grammar grammar = {.kind = CLINFER_GRAMMAR_GBNF, .text = text, .force_bytes = true};
    static const char forced[] = " and then there were several others of which none ";
    clinfer_engine *engine = open_engine("cpu");
    clinfer_session *session = make_session(engine, 3);
    struct judge judge;
    struct answer answer;
    int32_t *ids;
    size_t count;
    make_judge(&judge, text);
    struct clinfer_request request = ask(prompt, PROMPT, -1, &answer, &grammar);
    assert_ok(clinfer_generate(session, &request, &answer.result));
    expect_allowed(&judge, &answer, true);
    assert_ok(ci_tokenizer_encode(judge.tokenizer, forced, strlen(forced), 0, &ids, &count));
    assert_true(answer.result.generated_tokens > count);
    for (size_t i = 0; i + 2 < count; i++) assert_int_equal(answer.result.tokens[1 + i], ids[i]);
    free(ids);
    free_judge(&judge);
    clinfer_session_destroy(session);
    clinfer_engine_close(engine);
}

/* Several requests by several grammars share steps. */
static void test_sessions_follow_grammars_of_their_own(void **state) {
    (void)state;
    enum { SESSIONS = 6 };
    static const char letters[] = "root ::= [a-c]{3,20} \"!\"";
    const struct clinfer_grammar grammars[] = {{.kind = CLINFER_GRAMMAR_GBNF, .text = values, .force_bytes = true},
                                               {.kind = CLINFER_GRAMMAR_GBNF, .text = letters}};
    clinfer_engine *engine = open_engine("cpu");
    struct judge judges[2];
    clinfer_session *sessions[SESSIONS];
    struct answer answers[SESSIONS];
    make_judge(&judges[0], values);
    make_judge(&judges[1], letters);
    for (int i = 0; i < SESSIONS; i++) {
        sessions[i] = make_session_with(engine, (uint64_t)i, i % 3 ? 40 : 0, 0);
        struct clinfer_request request = ask(prompt, PROMPT, 30, &answers[i], i < 4 ? &grammars[i % 2] : NULL);
        assert_ok(clinfer_submit(sessions[i], &request));
    }
    for (int i = 0; i < SESSIONS; i++) {
        assert_ok(clinfer_wait(sessions[i], NULL));
        if (i < 4) expect_allowed(&judges[i % 2], &answers[i], true);
        clinfer_session_destroy(sessions[i]);
    }
    free_judge(&judges[0]);
    free_judge(&judges[1]);
    clinfer_engine_close(engine);
}

/* A session may be asked with and without. */
static void test_room_that_is_too_small_is_an_error_and_may_be_accepted(void **state) {
    (void)state;
    struct clinfer_grammar grammar = {
        .kind = CLINFER_GRAMMAR_GBNF, .text = "root ::= \"one two three four five six seven\"", .name = "--grammar"};
    clinfer_engine *engine = open_engine("cpu");
    clinfer_session *session = make_session(engine, 1);
    struct judge judge;
    struct answer answer;
    make_judge(&judge, grammar.text);
    struct clinfer_request request = ask(prompt, PROMPT, 3, &answer, &grammar);
    assert_int_equal(clinfer_generate(session, &request, NULL), CLINFER_INVALID_ARGUMENT);
    assert_non_null(strstr(clinfer_error(), "room for 3"));
    grammar.leave_open = true;
    request = ask(prompt, PROMPT, 3, &answer, &grammar);
    assert_ok(clinfer_generate(session, &request, &answer.result));
    assert_int_equal(answer.result.finish, CLINFER_FINISH_LENGTH);
    assert_int_equal(answer.result.generated_tokens, 3);
    expect_allowed(&judge, &answer, false);
    request = ask(prompt, PROMPT, -1, &answer, &grammar);
    request.ignore_end = true; /* where nothing can follow the answer ends all the same */
    assert_ok(clinfer_generate(session, &request, &answer.result));
    assert_int_equal(answer.result.finish, CLINFER_FINISH_END);
    assert_memory_equal(answer.text, "one two three four five six seven", answer.length);
    request = ask(prompt, PROMPT, 20, &answer, NULL);
    assert_ok(clinfer_generate(session, &request, &answer.result));
    assert_int_equal(answer.result.generated_tokens > 0, 1);
    free_judge(&judge);
    clinfer_session_destroy(session);
    clinfer_engine_close(engine);
}

/* An end that only a named token makes cannot be made from bytes: with room enough the answer comes to it. */
static void test_an_end_by_a_named_token_is_waited_for(void **state) {
    (void)state;
    const struct clinfer_grammar grammar = {.kind = CLINFER_GRAMMAR_GBNF, .text = "root ::= \"the\" <[17]>"};
    clinfer_engine *engine = open_engine("cpu");
    clinfer_session *session = make_session(engine, 1);
    struct answer answer;
    struct clinfer_request request = ask(prompt, PROMPT, 20, &answer, &grammar);
    assert_ok(clinfer_generate(session, &request, &answer.result));
    assert_int_equal(answer.result.finish, CLINFER_FINISH_END);
    size_t last = answer.result.generated_tokens - 1;
    if (answer.result.tokens[last] != 17) last--; /* the end token may stand behind it */
    assert_int_equal(answer.result.tokens[last], 17);
    clinfer_session_destroy(session);
    clinfer_engine_close(engine);
}

static void test_what_is_wrong_with_a_grammar_is_told(void **state) {
    (void)state;
    const struct clinfer_grammar wrong = {.kind = CLINFER_GRAMMAR_GBNF, .text = "root ::= [", .name = "--grammar"};
    const struct clinfer_grammar none = {.kind = CLINFER_GRAMMAR_GBNF};
    clinfer_engine *engine = open_engine("cpu");
    clinfer_session *session = make_session(engine, 1);
    struct answer answer;
    struct clinfer_request request = ask(prompt, PROMPT, 3, &answer, &wrong);
    assert_int_equal(clinfer_generate(session, &request, NULL), CLINFER_INVALID_ARGUMENT);
    assert_non_null(strstr(clinfer_error(), "--grammar: line 1, column 11"));
    request = ask(prompt, PROMPT, 3, &answer, &none);
    assert_int_equal(clinfer_generate(session, &request, NULL), CLINFER_INVALID_ARGUMENT);
    assert_non_null(strstr(clinfer_error(), "NULL"));
    clinfer_session_destroy(session);
    clinfer_engine_close(engine);
}

/* ---- grammars are compiled while others compute ---- */

struct talker {
    clinfer_session *session;
    atomic_int pieces;
    atomic_bool enough;
};

static bool count_piece(void *user, const char *text, size_t length) {
    struct talker *talker = user;
    (void)text;
    (void)length;
    atomic_fetch_add(&talker->pieces, 1);
    return !atomic_load(&talker->enough);
}

static void *talk(void *argument) {
    struct talker *talker = argument;
    const struct clinfer_request request = {.tokens = prompt,
                                            .count = PROMPT,
                                            .max_tokens = -1,
                                            .callback = count_piece,
                                            .user = talker,
                                            .ignore_end = true};
    assert_ok(clinfer_generate(talker->session, &request, NULL));
    return NULL;
}

/* One of many long texts. The caller frees it. */
static char *make_large_schema(void) {
    enum { TEXTS = 9000, LENGTH = 380 };
    char *schema = malloc((size_t)TEXTS * (LENGTH + 16) + 100), *end = schema;
    assert_non_null(schema);
    end += sprintf(end, "{\"enum\":[");
    for (int i = 0; i < TEXTS; i++) end += sprintf(end, "%s\"%05d%0*d\"", i ? "," : "", i * 7919 % 100000, LENGTH, i);
    strcpy(end, "]}");
    return schema;
}

static void test_answers_go_on_while_a_grammar_is_compiled(void **state) {
    (void)state;
    clinfer_engine *engine = open_engine("cpu");
    struct clinfer_session_options options;
    struct talker talker = {.session = NULL};
    struct answer answer;
    pthread_t thread;
    clinfer_session_options_default(engine, &options);
    options.shift = true;
    assert_ok(clinfer_session_create(engine, &options, &talker.session));
    char *schema = make_large_schema();
    const struct clinfer_grammar grammar = {.kind = CLINFER_GRAMMAR_JSON_SCHEMA, .text = schema, .leave_open = true};
    clinfer_session *session = make_session(engine, 1);
    assert_int_equal(pthread_create(&thread, NULL, talk, &talker), 0);
    while (atomic_load(&talker.pieces) < 5) sched_yield();
    struct clinfer_request request = ask(prompt, PROMPT, 5, &answer, &grammar);
    int before = atomic_load(&talker.pieces);
    assert_ok(clinfer_submit(session, &request));
    int meanwhile = atomic_load(&talker.pieces) - before;
    assert_ok(clinfer_wait(session, &answer.result));
    atomic_store(&talker.enough, true);
    pthread_join(thread, NULL);
    assert_int_equal(answer.text[0], '"');
    if (meanwhile < 20) fail_msg("%d pieces of another answer came while a schema was compiled", meanwhile);
    free(schema);
    clinfer_session_destroy(session);
    clinfer_session_destroy(talker.session);
    clinfer_engine_close(engine);
}

/* Those that nobody uses any more are let go when there are many. */
static void test_grammars_are_kept_within_bounds(void **state) {
    (void)state;
    enum { GRAMMARS = 24 };
    clinfer_engine *engine = open_engine("cpu");
    clinfer_session *session = make_session(engine, 1);
    for (int i = 0; i < GRAMMARS; i++) {
        char text[64];
        struct answer answer;
        snprintf(text, sizeof text, "root ::= \"%d\" [a-z]{20000}", i);
        struct clinfer_grammar grammar = {.kind = CLINFER_GRAMMAR_GBNF, .text = text, .leave_open = true};
        if (i % 2) snprintf(text, sizeof text, "root ::= \"%d\" [a-z]{5}", i);
        struct clinfer_request request = ask(prompt, PROMPT, 3, &answer, &grammar);
        assert_ok(clinfer_generate(session, &request, NULL));
        assert_true(strtol(answer.text, NULL, 10) == i || answer.length < 2);
    }
    assert_true(ci_compiled_count(engine) <= 17);
    clinfer_session_destroy(session);
    clinfer_engine_close(engine);
}

int main(void) {
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_answers_are_what_the_grammar_allows),
        cmocka_unit_test(test_on_a_device_too),
        cmocka_unit_test(test_masked_sampling_chooses_what_the_host_would),
        cmocka_unit_test(test_tokens_without_a_choice_take_no_steps),
        cmocka_unit_test(test_bytes_that_have_to_come_take_no_steps),
        cmocka_unit_test(test_forced_bytes_are_tokens_as_the_tokenizer_makes_them),
        cmocka_unit_test(test_sessions_follow_grammars_of_their_own),
        cmocka_unit_test(test_room_that_is_too_small_is_an_error_and_may_be_accepted),
        cmocka_unit_test(test_an_end_by_a_named_token_is_waited_for),
        cmocka_unit_test(test_what_is_wrong_with_a_grammar_is_told),
        cmocka_unit_test(test_answers_go_on_while_a_grammar_is_compiled),
        cmocka_unit_test(test_grammars_are_kept_within_bounds),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
