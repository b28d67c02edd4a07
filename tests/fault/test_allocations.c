/* Out of memory: each allocation of clinfer's own code fails in turn, once, or together with all after it. No crash, no
 * block that is never freed, CLINFER_OUT_OF_MEMORY with a message or a result like the undisturbed one (where a cache
 * or a message was all that got lost), and the next undisturbed run is right.
 *
 * Every scenario is run to count its allocations first. With CLINFER_TEST_FULL (`make check-faults`) all of them fail,
 * else some, evenly spread. An engine's vocabulary is read on a thread of its own: which allocation of an opening is
 * number i differs a little from run to run. */
#define _GNU_SOURCE
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/file.h"
#include "base/status.h"
#include "engine/engine_private.h"
#include "format/gguf.h"
#include "profile/quarantine.h"
#include "support/asserts.h"
#include "support/data_home.h"
#include "support/fail_each.h"
#include "support/failing_malloc.h"
#include "support/layer.h"
#include "support/model.h"
#include "support/process.h"
#include "support/profile_sample.h"
#include "text/chat.h"
#include "text/prompt.h"
#include "text/tokenizer.h"
#include "text/tool_prompt.h"

static void add_text(char text[FAIL_EACH_TEXT], const char *bytes, size_t length) {
    size_t used = strlen(text);
    assert_true(used + length < FAIL_EACH_TEXT);
    memcpy(text + used, bytes, length);
    text[used + length] = '\0';
}

#define DO(call)                                                                                                       \
    if (status == CLINFER_OK) status = (call)

/* ---- engines ---- */

static const char prompt[] = "the rain in the tower";

static bool collect(void *user, const char *bytes, size_t length) {
    add_text(user, bytes, length);
    return true;
}

static enum clinfer_status open_tiny(const char *device, bool record, clinfer_engine **engine) {
    struct clinfer_engine_options options;
    clinfer_engine_options_default(&options);
    options.model = "tests/data/qwen2_tiny.gguf";
    options.device = device;
    options.activations = CLINFER_ACTIVATIONS_F32;
    options.context = 64;
    options.batch = 16;
    options.threads = 2;
    options.record = record;
    return clinfer_engine_open(&options, engine);
}

/* `other` (may be NULL) is a second session, computed in the same steps. */
static enum clinfer_status answer(clinfer_engine *engine, float temperature, bool other, char text[FAIL_EACH_TEXT]) {
    struct clinfer_session_options options;
    clinfer_session *sessions[2] = {NULL, NULL};
    char texts[2][FAIL_EACH_TEXT] = {"", ""};
    int32_t *tokens = NULL;
    size_t tokens_count = 0;
    int count = other ? 2 : 1;
    clinfer_session_options_default(engine, &options);
    options.temperature = temperature;
    options.repeat_penalty = temperature > 0 ? 1.1f : 1; /* on the host */
    options.seed = 7;
    enum clinfer_status status = CLINFER_OK;
    for (int i = 0; i < count; i++) DO(clinfer_session_create(engine, &options, &sessions[i]));
    DO(clinfer_tokenize(engine, prompt, strlen(prompt), false, false, &tokens, &tokens_count));
    bool submitted[2] = {false, false};
    for (int i = 0; i < count; i++) {
        const struct clinfer_request request = {.tokens = tokens,
                                                .count = tokens_count - (size_t)i,
                                                .max_tokens = 4,
                                                .callback = collect,
                                                .user = texts[i],
                                                .ignore_end = true};
        DO(clinfer_submit(sessions[i], &request));
        submitted[i] = status == CLINFER_OK;
    }
    for (int i = 0; i < count; i++) {
        enum clinfer_status waited = submitted[i] ? clinfer_wait(sessions[i], NULL) : CLINFER_OK;
        DO(waited);
    }
    for (int i = 0; i < 2; i++) {
        add_text(text, texts[i], strlen(texts[i]));
        clinfer_session_destroy(sessions[i]);
    }
    clinfer_free(tokens);
    return status;
}

static const char *device;

static enum clinfer_status open_and_answer(char text[FAIL_EACH_TEXT]) {
    clinfer_engine *engine = NULL;
    enum clinfer_status status = open_tiny(device, false, &engine);
    DO(answer(engine, 0, false, text));
    clinfer_engine_close(engine);
    return status;
}

static clinfer_engine *open_engine; /* that all runs of a scenario use */

static enum clinfer_status two_sessions(char text[FAIL_EACH_TEXT]) {
    enum clinfer_status status = answer(open_engine, 0, true, text);
    DO(answer(open_engine, 0.8f, true, text));
    ci_prefix_drop_all(open_engine); /* what answers leave for those to come is no leak */
    return status;
}

static enum clinfer_status logits(char text[FAIL_EACH_TEXT]) {
    struct clinfer_session_options options;
    struct clinfer_engine_info info;
    clinfer_session *session = NULL;
    static float values[4096];
    const int32_t tokens[] = {5, 9, 17, 4, 60};
    char line[64];
    clinfer_engine_get_info(open_engine, &info);
    assert_true((size_t)info.vocabulary <= sizeof values / sizeof *values);
    clinfer_session_options_default(open_engine, &options);
    enum clinfer_status status = clinfer_session_create(open_engine, &options, &session);
    DO(clinfer_logits(session, tokens, sizeof tokens / sizeof *tokens, false, values));
    snprintf(line, sizeof line, "%.2f %.2f", (double)values[0], (double)values[info.vocabulary - 1]);
    if (status == CLINFER_OK) add_text(text, line, strlen(line));
    clinfer_session_destroy(session);
    return status;
}

static void with_engine(bool record, const char *name, fail_each_run *run, int most) {
    char full[128];
    assert_ok(open_tiny(device, record, &open_engine));
    snprintf(full, sizeof full, "%s, device %s", name, device);
    fail_each_keeps_objects = true; /* events */
    fail_each(full, run, most);
    fail_each_keeps_objects = false;
    clinfer_engine_close(open_engine);
    open_engine = NULL;
    assert_int_equal(layer_alive(), 0);
}

static void test_opening_an_engine_and_answering(void **state) {
    (void)state;
    for (const char *const *d = test_devices(); *d; d++) {
        char name[64];
        device = *d;
        snprintf(name, sizeof name, "open and answer, device %s", device);
        fail_each(name, open_and_answer, 30);
    }
    fail_each_end();
}

static void test_sessions_of_an_open_engine(void **state) {
    (void)state;
    for (const char *const *d = test_devices(); *d; d++) {
        device = *d;
        with_engine(false, "two sessions", two_sessions, 1000);
        with_engine(false, "logits", logits, 1000);
    }
    fail_each_end();
}

static char trace_path[512];

static enum clinfer_status record(char text[FAIL_EACH_TEXT]) {
    clinfer_engine *engine = NULL;
    const struct clinfer_record *told;
    enum clinfer_status status = open_tiny(device, true, &engine);
    DO(answer(engine, 0, false, text));
    DO(clinfer_engine_record(engine, &told));
    DO(clinfer_engine_write_trace(engine, trace_path));
    DO(clinfer_engine_record_reset(engine));
    clinfer_engine_close(engine);
    return status;
}

static void test_recording(void **state) {
    (void)state;
    device = "cpu";
    fail_each("record and trace, device cpu", record, 5);
    fail_each_end();
}

static enum clinfer_status list_devices(char text[FAIL_EACH_TEXT]) {
    struct clinfer_device *devices = NULL;
    size_t count = 0;
    enum clinfer_status status = clinfer_devices(&devices, &count);
    for (size_t i = 0; i < count; i++) add_text(text, devices[i].name, strlen(devices[i].name));
    clinfer_devices_free(devices, count);
    return status;
}

static void test_listing_devices(void **state) {
    (void)state;
    fail_each("devices", list_devices, 1000);
    fail_each_end();
}

static enum clinfer_status list_models(char text[FAIL_EACH_TEXT]) {
    struct clinfer_model *models = NULL;
    size_t count = 0;
    enum clinfer_status status = clinfer_models(&models, &count);
    for (size_t i = 0; i < count; i++) add_text(text, models[i].name, strlen(models[i].name));
    clinfer_models_free(models, count);
    return status;
}

static enum clinfer_status open_by_name(char text[FAIL_EACH_TEXT]) {
    struct clinfer_engine_options options = test_engine_options("tiny", "cpu");
    struct clinfer_engine_info info;
    clinfer_engine *engine;
    enum clinfer_status status = clinfer_engine_open(&options, &engine);
    if (status != CLINFER_OK) return status;
    clinfer_engine_get_info(engine, &info);
    add_text(text, info.model_path, strlen(info.model_path));
    clinfer_engine_close(engine);
    return status;
}

static void test_models_by_name(void **state) {
    char path[600], *here = getcwd(NULL, 0), *target = NULL;
    (void)state;
    snprintf(path, sizeof path, "%s/home/clinfer/models/tiny.gguf", process_folder());
    assert_ok(ci_file_make_parents(path) == 0 ? CLINFER_OK : CLINFER_IO);
    assert_true(asprintf(&target, "%s/tests/data/qwen2_tiny.gguf", here) > 0);
    assert_int_equal(symlink(target, path), 0);
    snprintf(path, sizeof path, "%s/home", process_folder());
    setenv("XDG_DATA_HOME", path, 1);
    setenv("HF_HOME", path, 1);
    fail_each("models", list_models, 1000);
    fail_each("a model by name", open_by_name, 60);
    unsetenv("XDG_DATA_HOME");
    unsetenv("HF_HOME");
    fail_each_end();
    free(target);
    free(here);
}

/* ---- text ---- */

static void add_tokens(char text[FAIL_EACH_TEXT], const int32_t *tokens, size_t count) {
    for (size_t i = 0; i < count; i++) {
        char number[16];
        snprintf(number, sizeof number, " %d", (int)tokens[i]);
        add_text(text, number, strlen(number));
    }
}

static enum clinfer_status make_prompt(struct ci_chat *chat, const struct ci_tokenizer *tokenizer,
                                       char text[FAIL_EACH_TEXT]) {
    static const int32_t answer[] = {5, 6};
    static const struct clinfer_tool_call call = {.id = "1", .name = "f", .arguments = "{\"x\": 1}"};
    static const struct clinfer_message messages[] = {
        {.role = "system", .content = "Be brief."},
        {.role = "user", .content = "Why is the sky blue?"},
        {.role = "assistant", .content = "Rayleigh.", .tokens = answer, .token_count = 2},
        {.role = "assistant", .content = "", .calls = &call, .call_count = 1},
        {.role = "tool", .content = "Blue.", .call_id = "1", .tool = "f"},
    };
    struct ci_rendered rendered = {0};
    int32_t *tokens = NULL;
    size_t count = 0;
    json_t *tools = NULL;
    enum clinfer_status status = ci_tools_read("[{\"function\": {\"name\": \"f\"}}]", NULL, &tools);
    DO(ci_chat_render(chat, messages, 5, tools, true, &rendered));
    DO(ci_prompt_tokens(tokenizer, &rendered, messages, 5, false, &tokens, &count));
    json_decref(tools);
    add_tokens(text, tokens, count);
    free(tokens);
    ci_rendered_free(&rendered);
    return status;
}

static enum clinfer_status encode(const struct ci_tokenizer *tokenizer, char text[FAIL_EACH_TEXT]) {
    static const char words[] = "Honoré de Balzac wrote <|im_end|> 1234 novels; some of them were unfinishable.";
    int32_t *tokens = NULL;
    size_t count = 0;
    enum clinfer_status status =
        ci_tokenizer_encode(tokenizer, words, strlen(words), CI_TOKENIZER_PARSE_SPECIAL, &tokens, &count);
    add_tokens(text, tokens, count);
    free(tokens);
    return status;
}

static enum clinfer_status read_text_with(const char *path, const char *given, char text[FAIL_EACH_TEXT]) {
    struct ci_gguf *gguf = NULL;
    struct ci_tokenizer *tokenizer = NULL;
    struct ci_chat *chat = NULL;
    enum clinfer_status status = ci_gguf_open(path, &gguf);
    DO(ci_tokenizer_create_gguf(gguf, &tokenizer));
    DO(ci_chat_create(gguf, given, NULL, tokenizer, &chat));
    DO(make_prompt(chat, tokenizer, text));
    DO(encode(tokenizer, text));
    ci_chat_destroy(chat);
    ci_tokenizer_destroy(tokenizer);
    ci_gguf_close(gguf);
    return status;
}

static enum clinfer_status read_text(char text[FAIL_EACH_TEXT]) {
    return read_text_with(test_model_path(), NULL, text);
}

/* Content as parts, the system message merged. */
static enum clinfer_status read_text_of_parts(char text[FAIL_EACH_TEXT]) {
    return read_text_with("tests/data/llama_tiny.gguf",
                          "{% for m in messages if m.role != 'system' %}<|im_start|>{{ m.role + '\n' + "
                          "m.content[0].text }}<|im_end|>{% endfor %}",
                          text);
}

/* More of the language than a model's own template has. */
static enum clinfer_status render_large(char text[FAIL_EACH_TEXT]) {
    struct ci_template *template = NULL;
    char *source = NULL;
    struct ci_rendered rendered = {0};
    size_t size;
    json_error_t error;
    json_t *context = json_loads("{\"messages\": [{\"role\": \"user\", \"content\": \"hello\"}], \"tools\": "
                                 "[{\"type\": \"function\", \"function\": {\"name\": \"f\", \"description\": \"d\", "
                                 "\"parameters\": {\"type\": \"object\", \"properties\": {}}}}], "
                                 "\"add_generation_prompt\": true, \"documents\": null, \"bos_token\": \"\", "
                                 "\"eos_token\": \"\"}",
                                 0, &error);
    assert_non_null(context);
    enum clinfer_status status = ci_file_read("tests/data/templates/chat_tools.jinja", 1 << 20, &source, &size);
    DO(ci_template_create(source, size, &template));
    DO(ci_template_render(template, context, NULL, &rendered));
    if (status == CLINFER_OK)
        add_text(text, rendered.text, rendered.length < FAIL_EACH_TEXT / 2 ? rendered.length : FAIL_EACH_TEXT / 2);
    ci_rendered_free(&rendered);
    free(source);
    ci_template_destroy(template);
    json_decref(context);
    return status;
}

static void test_text(void **state) {
    (void)state;
    fail_each("tokenizer and chat template", read_text, 50);
    fail_each("a chat template that takes less", read_text_of_parts, 50);
    fail_each("a template with tools", render_large, 100);
    fail_each_end();
}

/* ---- files ---- */

static enum clinfer_status open_files(char text[FAIL_EACH_TEXT]) {
    static const char *const paths[] = {"tests/data/qwen2_tiny.gguf", "tests/data/llama_tiny.gguf"};
    enum clinfer_status status = CLINFER_OK;
    for (int i = 0; i < 2; i++) {
        struct ci_gguf *gguf = NULL;
        struct ci_gguf_string name = {"", 0};
        DO(ci_gguf_open(paths[i], &gguf));
        DO(ci_gguf_get_string(gguf, "general.architecture", CI_GGUF_REQUIRED, &name));
        add_text(text, name.text, name.length);
        ci_gguf_close(gguf);
    }
    return status;
}

static struct ci_profile sample;

static enum clinfer_status profiles(char text[FAIL_EACH_TEXT]) {
    struct ci_profile_lock lock;
    struct ci_profile found = {0};
    struct ci_profile_files files = {0};
    enum ci_profile_origin origin = CI_PROFILE_NONE;
    char *path = ci_profile_path(&sample.key), *from = NULL, line[64];
    if (!path) return ci_fail(CLINFER_OUT_OF_MEMORY, "out of memory for a path");
    enum clinfer_status status = ci_profile_lock(&sample.key, 1, &lock);
    bool locked = status == CLINFER_OK;
    DO(ci_profile_write(path, &sample));
    if (locked) ci_profile_unlock(&lock);
    DO(ci_profile_files(&files));
    DO(ci_profile_lookup(&sample.key, &found, &origin, &from));
    snprintf(line, sizeof line, "%d files, origin %d, %d entries", files.count, (int)origin, found.entry_count);
    add_text(text, line, strlen(line));
    free(from);
    free(path);
    ci_profile_files_free(&files);
    ci_profile_free(&found);
    return status;
}

static enum clinfer_status quarantine(char text[FAIL_EACH_TEXT]) {
    const struct ci_quarantined item = {
        .device = 7, .device_name = "Thing", .op = "matmul", .variant = "v", .types = "f32", .reason = "error 1"};
    struct ci_quarantine list = {0};
    char line[64];
    enum clinfer_status status = ci_quarantine_add(&item);
    DO(ci_quarantine_read(&list));
    snprintf(line, sizeof line, "%d items", list.count);
    add_text(text, line, strlen(line));
    ci_quarantine_free(&list);
    DO(ci_trial_begin(&item));
    ci_trial_end();
    DO(ci_quarantine_remove(&item));
    return status;
}

static void test_files(void **state) {
    (void)state;
    profile_sample(&sample);
    fail_each("GGUF files", open_files, 1000);
    fail_each("profiles", profiles, 1000);
    fail_each("quarantine", quarantine, 1000);
    ci_profile_free(&sample);
    fail_each_end();
}

/* An argument picks tests by a pattern. */
int main(int argc, char **argv) {
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_files, data_home_set, data_home_unset),
        cmocka_unit_test(test_text),
        cmocka_unit_test(test_listing_devices),
        cmocka_unit_test(test_models_by_name),
        cmocka_unit_test(test_opening_an_engine_and_answering),
        cmocka_unit_test(test_sessions_of_an_open_engine),
        cmocka_unit_test(test_recording),
    };
    if (argc > 1) cmocka_set_test_filter(argv[1]);
    failing_malloc_watch_jansson();
    if (!layer_load()) return 1;
    snprintf(trace_path, sizeof trace_path, "%s/trace.json", process_folder());
    test_model_path();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
