/* Careful mode: a kernel that passes its proof and gives something that is not finite later is found, replaced and
 * quarantined in the middle of an answer, whose text nobody sees change. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <clinfer.h>

#include "profile/quarantine.h"
#include "support/model.h"
#include "support/patched.h"
#include "support/poison.h"
#include "support/process.h"

enum { TOKENS = 24, SESSIONS = 3 };

static char model[4096];

/* ---- what is said ---- */

static struct {
    int replaced, accidents;
    char last[1024];
} said;

static void listen(void *user, enum clinfer_log_level level, const char *message) {
    (void)user;
    if (level != CLINFER_LOG_WARNING) return;
    if (strstr(message, "quarantined; op ")) {
        said.replaced++;
        snprintf(said.last, sizeof said.last, "%s", message);
    }
    if (strstr(message, "no kernel was wrong")) said.accidents++;
}

/* ---- answers ---- */

struct answer {
    int32_t tokens[TOKENS];
    size_t count;
    enum clinfer_status status;
    char message[512];
};

static clinfer_engine *open_engine(const char *device) {
    struct clinfer_engine_options options = test_engine_options(model, device);
    return test_engine_open(&options);
}

static clinfer_session *start(clinfer_engine *engine, const char *prompt) {
    struct clinfer_session_options options;
    clinfer_session *session;
    int32_t *tokens;
    size_t count;
    clinfer_session_options_default(engine, &options);
    options.temperature = 0;
    assert_int_equal(clinfer_session_create(engine, &options, &session), CLINFER_OK);
    assert_int_equal(clinfer_tokenize(engine, prompt, strlen(prompt), false, false, &tokens, &count), CLINFER_OK);
    struct clinfer_request request = {.tokens = tokens, .count = count, .max_tokens = TOKENS};
    if (clinfer_submit(session, &request) != CLINFER_OK) fail_msg("%s", clinfer_error());
    clinfer_free(tokens);
    return session;
}

static void end(clinfer_session *session, struct answer *answer) {
    struct clinfer_result result = {0};
    *answer = (struct answer){.status = clinfer_wait(session, &result)};
    if (answer->status == CLINFER_OK) {
        answer->count = result.generated_tokens;
        memcpy(answer->tokens, result.tokens, sizeof *result.tokens * answer->count);
    } else {
        snprintf(answer->message, sizeof answer->message, "%s", clinfer_error());
    }
    clinfer_session_destroy(session);
}

/* Prompts of 5, 9 and 14 tokens or so, of which several run together. */
static const char *const prompts[SESSIONS] = {"The capital of France is", "Once upon a time there was a king who",
                                              "A list of the planets of our solar system, by distance: Mercury,"};

static void ask(clinfer_engine *engine, int sessions, struct answer *answers) {
    clinfer_session *running[SESSIONS];
    for (int i = 0; i < sessions; i++) running[i] = start(engine, prompts[i]);
    for (int i = 0; i < sessions; i++) end(running[i], &answers[i]);
}

/* Equal, or different only from a position on where two tokens were as good as equal. */
static void assert_same(clinfer_engine *engine, int which, const struct answer *expected, const struct answer *actual) {
    if (actual->status != CLINFER_OK) fail_msg("prompt %d: %s", which, actual->message);
    size_t same = 0;
    while (same < expected->count && same < actual->count && expected->tokens[same] == actual->tokens[same]) same++;
    if (same == expected->count && same == actual->count) return;
    struct clinfer_engine_info info;
    struct clinfer_session_options options;
    clinfer_session *session;
    int32_t *prompt;
    size_t count;
    clinfer_engine_get_info(engine, &info);
    clinfer_session_options_default(engine, &options);
    assert_int_equal(clinfer_tokenize(engine, prompts[which], strlen(prompts[which]), false, false, &prompt, &count),
                     CLINFER_OK);
    int32_t *all = malloc(sizeof *all * (count + same));
    float *logits = malloc(sizeof *logits * (size_t)info.vocabulary);
    assert_non_null(all);
    assert_non_null(logits);
    memcpy(all, prompt, sizeof *all * count);
    memcpy(all + count, expected->tokens, sizeof *all * same);
    assert_int_equal(clinfer_session_create(engine, &options, &session), CLINFER_OK);
    assert_int_equal(clinfer_logits(session, all, count + same, false, logits), CLINFER_OK);
    clinfer_session_destroy(session);
    float margin = test_margin(logits, info.vocabulary);
    if (margin >= 0.02f)
        fail_msg("prompt %d: token %zu is %d, not %d, with a margin of %g", which, same, actual->tokens[same],
                 expected->tokens[same], (double)margin);
    free(all);
    free(logits);
    clinfer_free(prompt);
}

static bool is_opencl(const char *device) { return strcmp(device, "cpu") != 0; }

/* Poisons, asks, and looks at answers, log and quarantine. The poison must not act before an answer has begun. */
static void check_replaced(const char *device, int sessions, const char *source, const char *from, const char *to,
                           const char *op) {
    struct answer expected[SESSIONS], actual[SESSIONS];
    clinfer_engine *right = open_engine(device);
    ask(right, sessions, expected);
    memset(&said, 0, sizeof said);
    poison_fresh_data();
    poison(source, from, to);
    clinfer_engine *engine = open_engine(device);
    assert_int_equal(said.replaced, 0);
    ask(engine, sessions, actual);
    poison_end();
    clinfer_engine_close(engine);
    if (said.replaced != 1)
        fail_msg("on %s: replaced %d times, not once, %d accidents: %s", device, said.replaced, said.accidents,
                 said.last);
    if (!strstr(said.last, op)) fail_msg("\"%s\" is not in: %s", op, said.last);
    struct ci_quarantine quarantine;
    assert_int_equal(ci_quarantine_read(&quarantine), CLINFER_OK);
    assert_int_equal(quarantine.count, 1);
    assert_string_equal(quarantine.items[0].op, op);
    ci_quarantine_free(&quarantine);
    for (int i = 0; i < sessions; i++) assert_same(right, i, &expected[i], &actual[i]);
    clinfer_engine_close(right);
}

#define TABLE "rope_table.cl"
#define TABLE_FROM "position * DATA(const float, frequencies)[i]"
#define TABLE_NAN(position_) "(position == " position_ " ? NAN : " TABLE_FROM ")"

static void test_a_kernel_that_gives_nan_is_replaced_in_the_middle_of_an_answer(void **state) {
    (void)state;
    for (const char *const *device = test_devices(); *device; device++)
        if (is_opencl(*device)) check_replaced(*device, 1, TABLE, TABLE_FROM, TABLE_NAN("19"), "rope_table");
}

static void test_several_sessions_go_on_without_the_kernel(void **state) {
    (void)state;
    for (const char *const *device = test_devices(); *device; device++)
        if (is_opencl(*device)) check_replaced(*device, SESSIONS, TABLE, TABLE_FROM, TABLE_NAN("21"), "rope_table");
}

/* It ruins the keys of an early token when a later one comes. The careful step finds nothing wrong, since it starts
 * with what the failed one has left behind; only from the first token on it shows. */
static void test_what_a_kernel_left_in_the_caches_is_found(void **state) {
    (void)state;
    static const char from[] = "    APPEND(VALUES, to + value_column";
    static const char to[] = /* no number in f16 and in f32 */
        "    if (slot == 24 && first == key_column)\n"
        "        *(__global uint *)(keys_buffer + keys_offset + 2 * BYTES(KEYS, key_cols)) = 0x7fff7fffu;\n"
        "    APPEND(VALUES, to + value_column";
    for (const char *const *device = test_devices(); *device; device++)
        if (is_opencl(*device)) check_replaced(*device, 1, "rope.cl", from, to, "rope_kv_append");
}

/* A copy of a tiny model whose token 200 alone has a number that the first norm makes infinite. */
static const char *model_that_overflows(void) {
    enum { TOKEN = 200, COLS = 64, COLUMN = 5 };
    const float weight = 3e38f;
    struct patched file;
    size_t bytes;
    patched_begin(&file, "tests/data/llama_tiny.gguf");
    uint8_t *embedding = patched_tensor(&file, "token_embd.weight", &bytes);
    for (size_t row = 0; row < bytes / (sizeof(uint16_t) * COLS); row++) {
        uint16_t number = row == TOKEN ? 0x7bff : 0; /* f16, the largest */
        memcpy(embedding + sizeof number * (row * COLS + COLUMN), &number, sizeof number);
    }
    memcpy(patched_tensor(&file, "blk.0.attn_norm.weight", NULL) + sizeof weight * COLUMN, &weight, sizeof weight);
    return patched_end(&file, "overflows.gguf");
}

static void test_numbers_of_the_model_itself_are_no_kernels_fault(void **state) {
    (void)state;
    char before[sizeof model];
    memcpy(before, model, sizeof model);
    snprintf(model, sizeof model, "%s", model_that_overflows());
    for (const char *const *device = test_devices(); *device; device++) {
        static const int32_t tokens[] = {1, 17, 200, 31};
        struct clinfer_session_options options;
        clinfer_session *session;
        clinfer_engine *engine = open_engine(*device);
        memset(&said, 0, sizeof said);
        clinfer_session_options_default(engine, &options);
        assert_int_equal(clinfer_session_create(engine, &options, &session), CLINFER_OK);
        struct clinfer_request request = {.tokens = tokens, .count = 4, .max_tokens = 4};
        assert_int_equal(clinfer_generate(session, &request, NULL), CLINFER_WRONG_RESULT);
        assert_non_null(strstr(clinfer_error(), "are not finite on "));
        if (said.replaced) fail_msg("on %s: %s", *device, said.last);
        request.count = 2;
        if (clinfer_generate(session, &request, NULL) != CLINFER_OK) fail_msg("%s", clinfer_error());
        clinfer_session_destroy(session);
        clinfer_engine_close(engine);
    }
    memcpy(model, before, sizeof model);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_kernel_that_gives_nan_is_replaced_in_the_middle_of_an_answer),
        cmocka_unit_test(test_several_sessions_go_on_without_the_kernel),
        cmocka_unit_test(test_what_a_kernel_left_in_the_caches_is_found),
        cmocka_unit_test(test_numbers_of_the_model_itself_are_no_kernels_fault),
    };
    snprintf(model, sizeof model, "%s", test_model_path());
    clinfer_log_to(listen, NULL);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
