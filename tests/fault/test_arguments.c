/* What a program does wrong with the library: arguments that are NULL or out of range, objects that are destroyed in
 * the wrong order, use of an engine in a child of the process that opened it. Each is an error that names what was
 * wrong, or is taken well; none ends the process or hangs it. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include <clinfer.h>

static const char tiny[] = "tests/data/llama_tiny.gguf";
static const int32_t tokens[] = {1, 2, 3, 4};

struct fixture {
    struct clinfer_engine_options options;
    clinfer_engine *engine;
    struct clinfer_session_options sampling;
    clinfer_session *session;
};

static int open_fixture(void **state) {
    struct fixture *f = calloc(1, sizeof *f);
    clinfer_engine_options_default(&f->options);
    f->options.model = tiny;
    f->options.device = "cpu";
    f->options.threads = 2;
    if (clinfer_engine_open(&f->options, &f->engine) != CLINFER_OK) fail_msg("%s", clinfer_error());
    clinfer_session_options_default(f->engine, &f->sampling);
    if (clinfer_session_create(f->engine, &f->sampling, &f->session) != CLINFER_OK) fail_msg("%s", clinfer_error());
    *state = f;
    return 0;
}

static int close_fixture(void **state) {
    struct fixture *f = *state;
    clinfer_session_destroy(f->session);
    clinfer_engine_close(f->engine);
    free(f);
    return 0;
}

static void expect_invalid(enum clinfer_status status, const char *named) {
    if (status != CLINFER_INVALID_ARGUMENT) fail_msg("\"%s\": status %d", named, (int)status);
    if (!strstr(clinfer_error(), named)) fail_msg("the message does not name \"%s\": %s", named, clinfer_error());
}

/* ---- NULL ---- */

static void test_null_pointers_are_named(void **state) {
    struct fixture *f = *state;
    struct clinfer_request request = {.tokens = tokens, .count = 4, .max_tokens = 1};
    static const int32_t one = 1;
    struct clinfer_message message = {.role = "user", .content = "hi"}, no_role = {.content = "hi"},
                           no_content = {.role = "user"},
                           many_tokens = {.role = "user", .content = "", .tokens = &one, .token_count = SIZE_MAX};
    clinfer_session *session;
    clinfer_engine *engine;
    int32_t *ids;
    char *text;
    size_t count;
    float logits[4096];
    struct clinfer_model *models;
    expect_invalid(clinfer_devices(NULL, &count), "devices");
    expect_invalid(clinfer_models(NULL, &count), "models");
    expect_invalid(clinfer_models(&models, NULL), "count");
    expect_invalid(clinfer_engine_open(NULL, &engine), "options");
    expect_invalid(clinfer_engine_open(&f->options, NULL), "engine");
    expect_invalid(clinfer_engine_explain(NULL, 1, NULL, NULL, NULL), "engine");
    expect_invalid(clinfer_engine_explain(f->engine, 1, NULL, NULL, NULL), "callback");
    expect_invalid(clinfer_engine_record(NULL, NULL), "engine");
    expect_invalid(clinfer_engine_record(f->engine, NULL), "record");
    expect_invalid(clinfer_engine_record_reset(NULL), "engine");
    expect_invalid(clinfer_engine_write_trace(f->engine, NULL), "path");
    expect_invalid(clinfer_tokenize(NULL, "x", 1, true, true, &ids, &count), "engine");
    expect_invalid(clinfer_tokenize(f->engine, NULL, 5, true, true, &ids, &count), "text");
    expect_invalid(clinfer_tokenize(f->engine, "x", 1, true, true, NULL, &count), "tokens");
    expect_invalid(clinfer_tokenize(f->engine, "x", 1, true, true, &ids, NULL), "count");
    assert_int_equal(clinfer_tokenize(f->engine, NULL, 0, false, true, &ids, &count), CLINFER_OK);
    assert_int_equal(count, 0);
    expect_invalid(clinfer_chat_prompt(NULL, &message, 1, true, &text), "engine");
    expect_invalid(clinfer_chat_prompt(f->engine, &message, 1, true, NULL), "text");
    expect_invalid(clinfer_chat_prompt(f->engine, NULL, 1, true, &text), "messages");
    expect_invalid(clinfer_chat_prompt(f->engine, &no_role, 1, true, &text), "role");
    expect_invalid(clinfer_chat_prompt(f->engine, &no_content, 1, true, &text), "content");
    expect_invalid(clinfer_chat_tokens(NULL, &message, 1, true, false, &ids, &count), "engine");
    expect_invalid(clinfer_chat_tokens(f->engine, &message, 1, true, false, NULL, &count), "tokens");
    expect_invalid(clinfer_chat_tokens(f->engine, &message, 1, true, false, &ids, NULL), "token_count");
    expect_invalid(clinfer_chat_tokens(f->engine, NULL, 1, true, false, &ids, &count), "messages");
    expect_invalid(clinfer_chat_tokens(f->engine, &many_tokens, 1, true, false, &ids, &count), "token_count");
    expect_invalid(clinfer_session_create(NULL, &f->sampling, &session), "engine");
    expect_invalid(clinfer_session_create(f->engine, NULL, &session), "options");
    expect_invalid(clinfer_session_create(f->engine, &f->sampling, NULL), "session");
    expect_invalid(clinfer_generate(NULL, &request, NULL), "session");
    expect_invalid(clinfer_generate(f->session, NULL, NULL), "request");
    expect_invalid(clinfer_submit(NULL, &request), "session");
    expect_invalid(clinfer_wait(NULL, NULL), "session");
    expect_invalid(clinfer_logits(NULL, tokens, 4, false, logits), "session");
    expect_invalid(clinfer_logits(f->session, NULL, 4, false, logits), "tokens");
    expect_invalid(clinfer_logits(f->session, tokens, 4, false, NULL), "logits");
    expect_invalid(clinfer_router_open(NULL, NULL), "router");
    expect_invalid(clinfer_router_start(NULL), "router");
    expect_invalid(clinfer_conversation_create(NULL, NULL, NULL), "conversation");
    expect_invalid(clinfer_chat_submit(NULL, NULL), "conversation");
    expect_invalid(clinfer_chat_wait(NULL, NULL), "conversation");
    request.tokens = NULL;
    expect_invalid(clinfer_generate(f->session, &request, NULL), "tokens");
}

static void test_null_is_nothing_to_close_or_ask(void **state) {
    struct fixture *f = *state;
    struct clinfer_engine_stats stats;
    struct clinfer_engine_info info;
    size_t length = 7;
    clinfer_engine_close(NULL);
    clinfer_session_destroy(NULL);
    clinfer_router_close(NULL);
    clinfer_conversation_destroy(NULL);
    clinfer_free(NULL);
    clinfer_devices_free(NULL, 0);
    clinfer_models_free(NULL, 0);
    clinfer_cancel(NULL);
    clinfer_chat_cancel(NULL);
    clinfer_engine_options_default(NULL);
    clinfer_session_options_default(NULL, &f->sampling);
    clinfer_engine_get_stats(NULL, &stats);
    assert_string_equal(stats.fallback_text, "");
    clinfer_engine_get_stats(f->engine, NULL);
    clinfer_engine_get_info(NULL, &info);
    assert_null(info.device);
    assert_string_equal(clinfer_token_text(NULL, 1, true, &length), "");
    assert_int_equal(length, 0);
    assert_non_null(clinfer_token_text(f->engine, 1, true, NULL));
    assert_null(clinfer_router_engine(NULL));
    struct clinfer_rung *rungs;
    expect_invalid(clinfer_router_rungs(NULL, &rungs, &length), "router");
    struct clinfer_router_state now;
    clinfer_router_get_state(NULL, &now);
    assert_int_equal(now.condition, CLINFER_ROUTER_FAILED);
    clinfer_router_get_state(NULL, NULL);
    struct clinfer_router_stats counted;
    clinfer_router_get_stats(NULL, &counted);
    clinfer_router_get_stats(NULL, NULL);
    assert_null(clinfer_router_take_engine(NULL));
    clinfer_router_give_back_engine(NULL, NULL);
}

/* ---- numbers ---- */

static void test_options_out_of_range_are_named(void **state) {
    (void)state;
    const struct {
        const char *named;
        struct clinfer_engine_options options;
    } cases[] = {{"device_layers", {.device_layers = -2}},
                 {"threads", {.threads = -1}},
                 {"threads", {.threads = 1000000}},
                 {"context", {.context = -5}},
                 {"batch", {.batch = -7}},
                 {"activations", {.activations = (enum clinfer_activations)77}},
                 {"key_type", {.key_type = (enum clinfer_cache_type)5}},
                 {"value_type", {.value_type = (enum clinfer_cache_type) - 5}},
                 {"fallback", {.fallback = (enum clinfer_fallback)9}},
                 {"ops", {.op_count = 1}},
                 {"ops[0]", {.op_count = 1, .ops = (const char *const[]){NULL}}}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct clinfer_router_options router_options = {.engine = cases[i].options};
        struct clinfer_engine_options options = cases[i].options;
        clinfer_engine *engine = (clinfer_engine *)1;
        clinfer_router *router;
        options.model = router_options.engine.model = tiny;
        options.device = router_options.engine.device = "cpu";
        expect_invalid(clinfer_engine_open(&options, &engine), cases[i].named);
        assert_null(engine);
        expect_invalid(clinfer_router_open(&router_options, &router), cases[i].named);
    }
}

static void test_sampling_out_of_range_is_named(void **state) {
    struct fixture *f = *state;
    static const float values[] = {-1, INFINITY, -INFINITY, 1e30f};
    clinfer_session *session;
    for (size_t i = 0; i < sizeof values / sizeof *values; i++) {
        struct clinfer_session_options options[4] = {f->sampling, f->sampling, f->sampling, f->sampling};
        static const char *const names[] = {"temperature", "top_p", "min_p", "repeat_penalty"};
        options[0].temperature = options[1].top_p = options[2].min_p = options[3].repeat_penalty = values[i];
        for (int k = 0; k < 4; k++) expect_invalid(clinfer_session_create(f->engine, &options[k], &session), names[k]);
    }
    struct clinfer_session_options options = f->sampling;
    options.repeat_penalty = 0; /* logits are divided by it */
    expect_invalid(clinfer_session_create(f->engine, &options, &session), "repeat_penalty");
    options = f->sampling;
    options.top_k = INT32_MAX;
    expect_invalid(clinfer_session_create(f->engine, &options, &session), "top_k");
}

static void test_requests_out_of_range_are_named(void **state) {
    struct fixture *f = *state;
    const int32_t outside[] = {-1, INT32_MAX};
    struct clinfer_request request = {.tokens = tokens, .count = 4, .max_tokens = -5};
    float logits[4096];
    expect_invalid(clinfer_generate(f->session, &request, NULL), "max_tokens");
    request = (struct clinfer_request){.tokens = tokens, .count = SIZE_MAX};
    assert_int_equal(clinfer_generate(f->session, &request, NULL), CLINFER_CONTEXT_FULL);
    for (int i = 0; i < 2; i++) {
        request = (struct clinfer_request){.tokens = &outside[i], .count = 1};
        expect_invalid(clinfer_generate(f->session, &request, NULL), "token 0");
        expect_invalid(clinfer_logits(f->session, &outside[i], 1, false, logits), "token 0");
    }
    expect_invalid(clinfer_logits(f->session, tokens, 0, false, logits), "no tokens");
    expect_invalid(clinfer_engine_explain(f->engine, 0, (clinfer_plan_callback *)1, NULL, NULL), "rows");
}

/* ---- what a router is given ---- */

static void test_chat_requests_are_checked(void **state) {
    struct fixture *f = *state;
    struct clinfer_router_options options = {.engine = f->options, .watchdog_seconds = NAN};
    const struct clinfer_remote nameless = {.url = "http://127.0.0.1:1/v1"};
    const struct clinfer_message message = {.role = "user", .content = "hi"}, no_role = {.content = "hi"};
    const char *const empty[] = {""}, *const null[] = {NULL};
    clinfer_conversation *conversation;
    clinfer_router *router;
    expect_invalid(clinfer_router_open(&options, &router), "watchdog");
    options = (struct clinfer_router_options){.engine = f->options, .remote_count = 1};
    expect_invalid(clinfer_router_open(&options, &router), "remotes");
    options.remotes = &nameless;
    options.remote_only = true;
    expect_invalid(clinfer_router_open(&options, &router), "name");
    options = (struct clinfer_router_options){.engine = f->options};
    assert_int_equal(clinfer_router_open(&options, &router), CLINFER_OK);
    assert_int_equal(clinfer_conversation_create(router, NULL, &conversation), CLINFER_OK);
    expect_invalid(clinfer_chat_submit(conversation, NULL), "request");
    const struct clinfer_tool_call unnamed = {.arguments = "{}"};
    const struct clinfer_message no_calls = {.role = "assistant", .content = "", .call_count = 1};
    const struct clinfer_message no_name = {.role = "assistant", .content = "", .calls = &unnamed, .call_count = 1};
    const struct {
        const char *named;
        struct clinfer_chat_request request;
    } cases[] = {{"no message", {.messages = &message}},
                 {"messages", {.count = 1}},
                 {"role", {.messages = &no_role, .count = 1}},
                 {"stop text 0 is empty", {.messages = &message, .count = 1, .stop = empty, .stop_count = 1}},
                 {"stop text 0 is NULL", {.messages = &message, .count = 1, .stop = null, .stop_count = 1}},
                 {"stop is NULL", {.messages = &message, .count = 1, .stop_count = 1}},
                 {"deadline_seconds", {.messages = &message, .count = 1, .deadline_seconds = NAN}},
                 {"deadline_seconds", {.messages = &message, .count = 1, .deadline_seconds = -1}},
                 {"max_tokens", {.messages = &message, .count = 1, .max_tokens = -2}},
                 {"tools", {.messages = &message, .count = 1, .tools = "{}"}},
                 {"raw prompt", {.messages = &message, .count = 1, .tools = "[]", .raw = true}},
                 {"there are no tools", {.messages = &message, .count = 1, .tool_choice = "required"}},
                 {"its calls are NULL", {.messages = &no_calls, .count = 1}},
                 {"the name of call 0", {.messages = &no_name, .count = 1}}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        expect_invalid(clinfer_chat_submit(conversation, &cases[i].request), cases[i].named);
    clinfer_conversation_destroy(conversation);
    clinfer_router_close(router);
}

/* ---- order ---- */

static void count_errors(void *user, enum clinfer_log_level level, const char *message) {
    (void)message;
    if (level == CLINFER_LOG_ERROR) atomic_fetch_add((atomic_int *)user, 1); /* from any thread */
}

/* Whoever closes too early is told, and nothing is freed under what is left. */
static void test_closing_in_the_wrong_order_is_told_and_survived(void **state) {
    struct fixture *f = *state;
    struct clinfer_request request = {.tokens = tokens, .count = 4, .max_tokens = 400, .ignore_end = true};
    struct clinfer_router_options options = {.engine = f->options};
    struct clinfer_chat_request chat = {.messages = &(struct clinfer_message){.role = "user", .content = "hi"},
                                        .count = 1};
    clinfer_conversation *conversation;
    clinfer_router *router;
    clinfer_engine *engine;
    clinfer_session *session;
    atomic_int errors = 0;
    clinfer_log_to(count_errors, &errors);
    assert_int_equal(clinfer_engine_open(&f->options, &engine), CLINFER_OK);
    assert_int_equal(clinfer_session_create(engine, &f->sampling, &session), CLINFER_OK);
    assert_int_equal(clinfer_submit(session, &request), CLINFER_OK);
    clinfer_engine_close(engine);
    assert_int_equal(errors, 1);
    clinfer_cancel(session);
    assert_int_equal(clinfer_wait(session, NULL), CLINFER_OK);
    clinfer_session_destroy(session);

    assert_int_equal(clinfer_router_open(&options, &router), CLINFER_OK);
    assert_int_equal(clinfer_conversation_create(router, NULL, &conversation), CLINFER_OK);
    chat.max_tokens = 400;
    assert_int_equal(clinfer_chat_submit(conversation, &chat), CLINFER_OK);
    clinfer_router_close(router);
    assert_int_equal(errors, 2);
    clinfer_conversation_destroy(conversation);
    assert_int_equal(errors, 2);
    clinfer_log_to(NULL, NULL);
}

static bool misuse(void *user, const char *text, size_t length) {
    struct fixture *f = user;
    struct clinfer_request request = {.tokens = tokens, .count = 3, .max_tokens = 2};
    struct clinfer_engine_stats stats;
    float logits[4096];
    (void)text;
    (void)length;
    expect_invalid(clinfer_generate(f->session, &request, NULL), "callback");
    expect_invalid(clinfer_wait(f->session, NULL), "callback");
    expect_invalid(clinfer_logits(f->session, tokens, 3, false, logits), "callback");
    clinfer_session_destroy(f->session); /* told, and left alone */
    clinfer_engine_get_stats(f->engine, &stats);
    assert_true(stats.steps > 0);
    clinfer_cancel(f->session);
    return true;
}

static void test_calls_from_a_callback_are_refused(void **state) {
    struct fixture *f = *state;
    struct clinfer_request request = {
        .tokens = tokens, .count = 4, .max_tokens = 40, .callback = misuse, .user = f, .ignore_end = true};
    struct clinfer_result result;
    int errors = 0;
    clinfer_log_to(count_errors, &errors);
    assert_int_equal(clinfer_generate(f->session, &request, &result), CLINFER_OK);
    clinfer_log_to(NULL, NULL);
    assert_int_equal(result.finish, CLINFER_FINISH_CANCELLED);
    assert_true(errors > 0);
}

/* ---- fork ---- */

/* Exit status of a child that does this; a child that hangs dies of its alarm. */
static int in_child(int (*function)(void *), void *user) {
    int status;
    fflush(NULL);
    pid_t child = fork();
    if (child == 0) {
        alarm(20);
        _exit(function(user));
    }
    assert_int_equal(waitpid(child, &status, 0), child);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

static int use_engine(void *user) {
    struct fixture *f = user;
    struct clinfer_request request = {.tokens = tokens, .count = 4, .max_tokens = 2};
    struct clinfer_engine_stats stats;
    clinfer_session *session;
    float logits[4096];
    const enum clinfer_status all[] = {clinfer_generate(f->session, &request, NULL),
                                       clinfer_submit(f->session, &request), clinfer_wait(f->session, NULL),
                                       clinfer_logits(f->session, tokens, 4, false, logits),
                                       clinfer_session_create(f->engine, &f->sampling, &session)};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        if (all[i] != CLINFER_INVALID_ARGUMENT) return 1 + (int)i;
    if (!strstr(clinfer_error(), "process")) return 100;
    clinfer_engine_get_stats(f->engine, &stats);
    clinfer_session_destroy(f->session);
    clinfer_engine_close(f->engine);
    return 0;
}

static int open_own(void *user) {
    struct fixture *f = user;
    clinfer_engine *engine;
    clinfer_session *session;
    struct clinfer_request request = {.tokens = tokens, .count = 4, .max_tokens = 2};
    if (clinfer_engine_open(&f->options, &engine) != CLINFER_OK) return 1;
    if (clinfer_session_create(engine, &f->sampling, &session) != CLINFER_OK) return 2;
    return clinfer_generate(session, &request, NULL) == CLINFER_OK ? 0 : 3;
}

static void test_a_child_is_refused_and_may_open_its_own(void **state) {
    struct fixture *f = *state;
    struct clinfer_request request = {.tokens = tokens, .count = 4, .max_tokens = 2};
    assert_int_equal(in_child(use_engine, f), 0);
    assert_int_equal(in_child(open_own, f), 0);
    assert_int_equal(clinfer_generate(f->session, &request, NULL), CLINFER_OK); /* the parent goes on */
}

struct chat {
    clinfer_router *router;
    clinfer_conversation *conversation;
    struct clinfer_chat_request request;
};

struct chat_misuse {
    struct chat *chat;
    clinfer_conversation *made;
    enum clinfer_status submit, wait, create;
    int calls;
    bool told;
};

/* In a thread of the library, where nothing can be asserted. */
static bool misuse_chat(void *user, const char *text, size_t length) {
    struct chat_misuse *misuse = user;
    (void)text;
    (void)length;
    if (misuse->calls++) return true;
    misuse->submit = clinfer_chat_submit(misuse->chat->conversation, &misuse->chat->request);
    misuse->wait = clinfer_chat_wait(misuse->chat->conversation, NULL);
    misuse->told = strstr(clinfer_error(), "callback") != NULL;
    misuse->create = clinfer_conversation_create(misuse->chat->router, NULL, &misuse->made);
    clinfer_conversation_destroy(misuse->chat->conversation);
    clinfer_router_close(misuse->chat->router);
    return true;
}

/* The wait would be for the step in which the callback stands. */
static void test_chat_calls_from_a_callback_are_refused(void **state) {
    struct fixture *f = *state;
    struct clinfer_router_options options = {.engine = f->options};
    struct chat_misuse misuse = {0};
    struct chat chat = {.request = {.messages = &(struct clinfer_message){.role = "user", .content = "hi"},
                                    .count = 1,
                                    .max_tokens = 8,
                                    .ignore_end = true,
                                    .callback = misuse_chat,
                                    .user = &misuse}};
    int errors = 0;
    misuse.chat = &chat;
    clinfer_log_to(count_errors, &errors);
    assert_int_equal(clinfer_router_open(&options, &chat.router), CLINFER_OK);
    assert_int_equal(clinfer_conversation_create(chat.router, NULL, &chat.conversation), CLINFER_OK);
    assert_int_equal(clinfer_chat_submit(chat.conversation, &chat.request), CLINFER_OK);
    assert_int_equal(clinfer_chat_wait(chat.conversation, NULL), CLINFER_OK);
    assert_true(misuse.calls > 0 && misuse.told);
    assert_int_equal(misuse.submit, CLINFER_INVALID_ARGUMENT);
    assert_int_equal(misuse.wait, CLINFER_INVALID_ARGUMENT);
    assert_int_equal(misuse.create, CLINFER_INVALID_ARGUMENT);
    assert_int_equal(errors, 2); /* destroyed, closed too early */
    clinfer_conversation_destroy(chat.conversation);
    clinfer_log_to(NULL, NULL);
}

static int use_router(void *user) {
    struct chat *chat = user;
    clinfer_conversation *conversation;
    if (clinfer_chat_submit(chat->conversation, &chat->request) != CLINFER_INVALID_ARGUMENT) return 1;
    if (clinfer_chat_wait(chat->conversation, NULL) != CLINFER_INVALID_ARGUMENT) return 2;
    if (clinfer_conversation_create(chat->router, NULL, &conversation) != CLINFER_INVALID_ARGUMENT) return 3;
    if (clinfer_router_start(chat->router) != CLINFER_INVALID_ARGUMENT) return 4;
    if (clinfer_router_engine(chat->router)) return 5;
    clinfer_conversation_destroy(chat->conversation);
    clinfer_router_close(chat->router);
    return 0;
}

static void test_a_child_cannot_use_the_router(void **state) {
    struct fixture *f = *state;
    struct clinfer_router_options options = {.engine = f->options};
    struct chat chat = {.request = {.messages = &(struct clinfer_message){.role = "user", .content = "hi"},
                                    .count = 1,
                                    .max_tokens = 2}};
    assert_int_equal(clinfer_router_open(&options, &chat.router), CLINFER_OK);
    assert_int_equal(clinfer_conversation_create(chat.router, NULL, &chat.conversation), CLINFER_OK);
    assert_int_equal(clinfer_router_start(chat.router), CLINFER_OK);
    assert_int_equal(in_child(use_router, &chat), 0);
    assert_int_equal(clinfer_chat_submit(chat.conversation, &chat.request), CLINFER_OK);
    assert_int_equal(clinfer_chat_wait(chat.conversation, NULL), CLINFER_OK);
    clinfer_conversation_destroy(chat.conversation);
    clinfer_router_close(chat.router);
}

/* Drivers have threads, which do not come along. */
static int list_devices(void *user) {
    struct clinfer_device *devices;
    size_t count;
    (void)user;
    return clinfer_devices(&devices, &count) == CLINFER_INVALID_ARGUMENT && strstr(clinfer_error(), "OpenCL") ? 0 : 1;
}

static void test_a_child_cannot_use_opencl_after_its_parent(void **state) {
    (void)state;
    struct clinfer_device *devices;
    size_t count;
    assert_int_equal(clinfer_devices(&devices, &count), CLINFER_OK);
    clinfer_devices_free(devices, count);
    assert_int_equal(in_child(list_devices, NULL), 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_null_pointers_are_named),
        cmocka_unit_test(test_null_is_nothing_to_close_or_ask),
        cmocka_unit_test(test_options_out_of_range_are_named),
        cmocka_unit_test(test_sampling_out_of_range_is_named),
        cmocka_unit_test(test_requests_out_of_range_are_named),
        cmocka_unit_test(test_chat_requests_are_checked),
        cmocka_unit_test(test_closing_in_the_wrong_order_is_told_and_survived),
        cmocka_unit_test(test_calls_from_a_callback_are_refused),
        cmocka_unit_test(test_chat_calls_from_a_callback_are_refused),
        cmocka_unit_test(test_a_child_is_refused_and_may_open_its_own),
        cmocka_unit_test(test_a_child_cannot_use_the_router),
        cmocka_unit_test(test_a_child_cannot_use_opencl_after_its_parent),
    };
    return cmocka_run_group_tests(tests, open_fixture, close_fixture);
}
