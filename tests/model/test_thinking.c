/* Answers with reasoning and with calls of tools, from the message to the callbacks. The model is a chain: one layer
 * that adds nothing, and an output matrix by which each token is followed by the next one of the vocabulary. So a test
 * writes down what it says.
 */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <jansson.h>

#include "support/asserts.h"
#include "support/gguf_writer.h"

enum { WIDTH = 32, F32 = 0, NORMAL = 1, CONTROL = 3, USER_DEFINED = 4 };

struct token {
    const char *text; /* NULL ends the list */
    int type;
};

static void matrix(struct gguf_writer *writer, const char *name, int shift) {
    float numbers[WIDTH][WIDTH] = {{0}};
    for (int row = 0; shift >= 0 && row < WIDTH; row++) numbers[row][(row + WIDTH - shift) % WIDTH] = 1;
    gguf_writer_tensor(writer, name, F32, 2, (uint64_t[]){WIDTH, WIDTH}, numbers);
}

static void ones(struct gguf_writer *writer, const char *name) {
    float numbers[WIDTH];
    for (int i = 0; i < WIDTH; i++) numbers[i] = 1;
    gguf_writer_tensor(writer, name, F32, 1, (uint64_t[]){WIDTH}, numbers);
}

static uint32_t add_vocabulary(struct gguf_writer *writer, const struct token *tokens) {
    const char *texts[WIDTH];
    char names[WIDTH][20];
    int32_t types[WIDTH];
    uint32_t count = 0;
    for (int i = 0; i < WIDTH; i++) {
        snprintf(names[i], sizeof names[i], "unused%d", i);
        bool used = count == (uint32_t)i && tokens[i].text;
        texts[i] = used ? tokens[i].text : names[i];
        types[i] = used ? tokens[i].type : NORMAL;
        count += used;
    }
    gguf_writer_string(writer, "tokenizer.ggml.model", "gpt2");
    gguf_writer_string(writer, "tokenizer.ggml.pre", "gpt-2");
    gguf_writer_strings(writer, "tokenizer.ggml.tokens", texts, WIDTH);
    gguf_writer_array(writer, "tokenizer.ggml.token_type", CI_GGUF_INT32, types, WIDTH);
    gguf_writer_strings(writer, "tokenizer.ggml.merges", NULL, 0);
    return count;
}

/* The last token of the list ends an answer, and so does the one called <|end|>. */
static void write_chain(const char *path, const struct token *tokens, const char *template) {
    static const char *const matrices[] = {"attn_q",   "attn_k", "attn_v",  "attn_output",
                                           "ffn_gate", "ffn_up", "ffn_down"};
    struct gguf_writer *writer = gguf_writer_create();
    gguf_writer_string(writer, "general.architecture", "llama");
    gguf_writer_u32(writer, "llama.block_count", 1);
    gguf_writer_u32(writer, "llama.context_length", 64);
    gguf_writer_u32(writer, "llama.embedding_length", WIDTH);
    gguf_writer_u32(writer, "llama.feed_forward_length", WIDTH);
    gguf_writer_u32(writer, "llama.attention.head_count", 1);
    gguf_writer_f32(writer, "llama.attention.layer_norm_rms_epsilon", 1e-5f);
    uint32_t count = add_vocabulary(writer, tokens);
    gguf_writer_u32(writer, "tokenizer.ggml.eos_token_id", count - 1);
    for (uint32_t i = 0; i < count; i++)
        if (strcmp(tokens[i].text, "<|end|>") == 0) gguf_writer_u32(writer, "tokenizer.ggml.eot_token_id", i);
    gguf_writer_string(writer, "tokenizer.chat_template", template);
    matrix(writer, "token_embd.weight", 0);
    matrix(writer, "output.weight", 1);
    ones(writer, "output_norm.weight");
    ones(writer, "blk.0.attn_norm.weight");
    ones(writer, "blk.0.ffn_norm.weight");
    for (size_t i = 0; i < sizeof matrices / sizeof *matrices; i++) {
        char name[64];
        snprintf(name, sizeof name, "blk.0.%s.weight", matrices[i]);
        matrix(writer, name, -1);
    }
    gguf_writer_save(writer, path);
    gguf_writer_destroy(writer);
}

struct answer {
    char text[256], reasoning[256], calls[256], pieces[256]; /* calls as NAME(ARGUMENTS) */
    size_t reasoning_tokens, tokens;
    bool reasoning_cut;
};

static bool on_text(void *user, const char *text, size_t length) {
    strncat(((struct answer *)user)->text, text, length);
    return true;
}

static bool on_reasoning(void *user, const char *text, size_t length) {
    strncat(((struct answer *)user)->reasoning, text, length);
    return true;
}

static bool on_call(void *user, const struct clinfer_tool_call_piece *piece) {
    struct answer *answer = user;
    if (piece->name) assert_string_equal(piece->name, "x");
    strncat(answer->pieces, piece->arguments, piece->length);
    return true;
}

/* Of the next requests. */
static const char *tools, *tool_choice;
static const struct clinfer_grammar *grammar;
static int most = 40;
static const char *device = "cpu";
static enum clinfer_status expected; /* of the wait */

static void ask(const struct token *tokens, const char *template, const char *variables, bool parts, const char *stop,
                struct answer *answer) {
    char path[] = "/tmp/clinfer-thinking-XXXXXX";
    int file = mkstemp(path);
    assert_true(file >= 0);
    close(file);
    write_chain(path, tokens, template);
    struct clinfer_router_options options = {0};
    clinfer_engine_options_default(&options.engine);
    options.engine.model = path;
    options.engine.device = device;
    options.engine.chat_template_variables = variables;
    clinfer_router *router;
    clinfer_conversation *conversation;
    const struct clinfer_session_options sampling = {.temperature = 0, .top_k = 1, .top_p = 1, .repeat_penalty = 1};
    const struct clinfer_message messages[] = {{.role = "user", .content = "x"}};
    const struct clinfer_chat_request request = {.messages = messages,
                                                 .count = 1,
                                                 .max_tokens = most,
                                                 .stop = &stop,
                                                 .stop_count = stop ? 1 : 0,
                                                 .grammar = grammar,
                                                 .tools = tools,
                                                 .tool_choice = tool_choice,
                                                 .call = on_call,
                                                 .callback = on_text,
                                                 .reasoning = parts ? on_reasoning : NULL,
                                                 .user = answer};
    const struct clinfer_route *route;
    *answer = (struct answer){0};
    assert_ok(clinfer_router_open(&options, &router));
    assert_ok(clinfer_conversation_create(router, &sampling, &conversation));
    assert_ok(clinfer_chat_submit(conversation, &request));
    assert_int_equal(clinfer_chat_wait(conversation, &route), expected);
    answer->reasoning_cut = route->result.reasoning_cut;
    answer->tokens = route->result.generated_tokens;
    answer->reasoning_tokens = route->result.reasoning_tokens;
    for (size_t i = 0; i < route->result.call_count; i++) {
        const struct clinfer_tool_call *call = &route->result.calls[i];
        size_t used = strlen(answer->calls);
        assert_int_equal(strlen(call->id), 9);
        snprintf(answer->calls + used, sizeof answer->calls - used, "%s(%s)%s", call->name, call->arguments,
                 call->cut ? " cut" : "");
    }
    clinfer_conversation_destroy(conversation);
    clinfer_router_close(router);
    unlink(path);
}

static const struct token thinker[] = {{"x", NORMAL},    {"<go>", CONTROL}, {"<think>", USER_DEFINED},
                                       {"So", NORMAL},   {"!4", NORMAL},    {"</think>", USER_DEFINED},
                                       {"Four", NORMAL}, {"4", NORMAL},     {"<end>", CONTROL},
                                       {NULL, 0}};
#define GO "{% set marks = '<think></think>' %}{{ messages[-1].content }}<go>"

static void test_reasoning_and_answer_come_apart(void **state) {
    (void)state;
    struct answer answer;
    ask(thinker, GO, NULL, true, NULL, &answer);
    assert_string_equal(answer.reasoning, "So!4");
    assert_string_equal(answer.text, "Four4");
    assert_int_equal(answer.tokens, 7);
    assert_int_equal(answer.reasoning_tokens, 4);
}

static void test_who_does_not_ask_gets_all_of_it(void **state) {
    (void)state;
    struct answer answer;
    ask(thinker, GO, NULL, false, NULL, &answer);
    assert_string_equal(answer.text, "<think>So!4</think>Four4");
    assert_int_equal(answer.reasoning_tokens, 0);
}

static void test_stop_texts_end_the_answer_alone(void **state) {
    (void)state;
    struct answer answer;
    ask(thinker, GO, NULL, true, "4", &answer);
    assert_string_equal(answer.reasoning, "So!4");
    assert_string_equal(answer.text, "Four");
}

/* A model that would think on and on, or end there, still answers as the grammar wants it. */
static void test_reasoning_ends_in_time_for_the_answer(void **state) {
    (void)state;
    static const struct token muser[] = {{"</think>", USER_DEFINED},
                                         {"x", NORMAL},
                                         {"<go>", CONTROL},
                                         {"<think>", USER_DEFINED},
                                         {"a", NORMAL},
                                         {"b", NORMAL},
                                         {"c", NORMAL},
                                         {"d", NORMAL},
                                         {"e", NORMAL},
                                         {"[", NORMAL},
                                         {"]", NORMAL},
                                         {"<end>", CONTROL},
                                         {NULL, 0}};
    static const char template[] = GO "<think>";
    static const struct clinfer_grammar list = {.kind = CLINFER_GRAMMAR_GBNF, .text = "root ::= \"[\" [a-e]* \"]\""};
    struct answer answer;
    grammar = &list;
    most = 6; /* three of thought, its end and a list */
    ask(muser, template, NULL, true, NULL, &answer);
    assert_string_equal(answer.reasoning, "abc");
    assert_string_equal(answer.text, "[]");
    assert_true(answer.reasoning_cut);
    assert_int_equal(answer.tokens, 6);
    assert_int_equal(answer.reasoning_tokens, 4);
    most = 40; /* the model's own end */
    ask(muser, template, NULL, true, NULL, &answer);
    assert_string_equal(answer.reasoning, "abcde[]");
    assert_string_equal(answer.text, "[]");
    assert_true(answer.reasoning_cut);
    most = 4;
    ask(muser, template, NULL, true, NULL, &answer);
    assert_string_equal(answer.reasoning, "a");
    assert_string_equal(answer.text, "[]");
    most = 3;
    expected = CLINFER_INVALID_ARGUMENT;
    ask(muser, template, NULL, true, NULL, &answer);
    assert_non_null(strstr(clinfer_error(), "has 4 tokens, with the end of the model's reasoning"));
    expected = CLINFER_OK;
    most = 40;
    grammar = NULL;
    ask(muser, template, NULL, true, NULL, &answer);
    assert_string_equal(answer.reasoning, "abcde[]");
    assert_false(answer.reasoning_cut);
}

static void test_the_prompt_may_open_the_reasoning(void **state) {
    (void)state;
    struct answer answer;
    static const char template[] = GO "{% if enable_thinking | default(true) %}<think>{% else %}</think>{% endif %}";
    ask(thinker, template, NULL, true, NULL, &answer);
    assert_string_equal(answer.reasoning, "So!4");
    assert_string_equal(answer.text, "Four4");
    assert_int_equal(answer.reasoning_tokens, 3);
    ask(thinker, template, "{\"enable_thinking\": false}", true, NULL, &answer);
    assert_string_equal(answer.reasoning, "");
    assert_string_equal(answer.text, "Four4");
    assert_int_equal(answer.reasoning_tokens, 0);
}

/* Control tokens have no text, except in marks; one that ends an answer ends only the reasoning. */
static void test_marks_of_control_tokens(void **state) {
    (void)state;
    static const struct token channels[] = {{"x", NORMAL},
                                            {"<go>", CONTROL},
                                            {"<|think|>", CONTROL},
                                            {"So", NORMAL},
                                            {"<|end|>", CONTROL},
                                            {"<|begin|>", CONTROL},
                                            {"assistant", NORMAL},
                                            {"<|content|>", CONTROL},
                                            {"Four", NORMAL},
                                            {"<|other|>", CONTROL},
                                            {"!", NORMAL},
                                            {"<|return|>", CONTROL},
                                            {NULL, 0}};
    static const char template[] = "{% set m = '<|begin|>assistant<|think|>' %}{{ messages[-1].content }}<go>";
    struct answer answer;
    ask(channels, template, NULL, true, NULL, &answer);
    assert_string_equal(answer.reasoning, "So");
    assert_string_equal(answer.text, "Four!");
    ask(channels, template, NULL, false, NULL, &answer); /* as any other model: the sign ends the answer */
    assert_string_equal(answer.text, "So");
}

static const struct token caller[] = {{"x", NORMAL},
                                      {"<go>", CONTROL},
                                      {"Well.", NORMAL},
                                      {"<tool_call>", CONTROL},
                                      {"{\"name\":\"x\",", NORMAL},
                                      {"\"arguments\":{\"a", NORMAL},
                                      {"\":1}}", NORMAL},
                                      {"</tool_call>", CONTROL},
                                      {"<end>", CONTROL},
                                      {NULL, 0}};
static const char call_template[] =
    "{% set marks = '<tool_call></tool_call>' %}{% if tools %}{{ tools[0].function.name }}{% endif %}"
    "{{ messages[-1].content }}<go>";

static void test_calls_are_no_text(void **state) {
    (void)state;
    struct answer answer;
    tools = "[{\"type\": \"function\", \"function\": {\"name\": \"x\"}}]";
    ask(caller, call_template, NULL, true, NULL, &answer);
    assert_string_equal(answer.text, "Well.");
    assert_string_equal(answer.calls, "x({\"a\":1})");
    assert_string_equal(answer.pieces, "{\"a\":1}");
    tool_choice = "none";
    ask(caller, call_template, NULL, true, NULL, &answer);
    assert_string_equal(answer.text, "Well.{\"name\":\"x\",\"arguments\":{\"a\":1}}");
    assert_string_equal(answer.calls, "");
    tools = tool_choice = NULL;
}

/* The chain would not call anything: the grammar lets nothing else come. */
static void test_a_call_that_is_required_comes(void **state) {
    (void)state;
    static const struct token pieces[] = {
        {"x", NORMAL},      {"<go>", CONTROL}, {"No.", NORMAL},  {"<tool_call>", CONTROL},
        {"{", NORMAL},      {"}", NORMAL},     {"\"", NORMAL},   {":", NORMAL},
        {",", NORMAL},      {"n", NORMAL},     {"a", NORMAL},    {"m", NORMAL},
        {"e", NORMAL},      {"r", NORMAL},     {"g", NORMAL},    {"u", NORMAL},
        {"t", NORMAL},      {"s", NORMAL},     {"true", NORMAL}, {"\u010a", NORMAL},
        {"\u0120", NORMAL}, {"f", NORMAL},     {"l", NORMAL},    {"</tool_call>", CONTROL},
        {"<end>", CONTROL}, {NULL, 0}};
    struct answer answer;
    tools = "[{\"type\": \"function\", \"function\": {\"name\": \"x\", \"parameters\": {\"type\": \"object\","
            "\"properties\": {\"a\": {\"const\": true}}, \"required\": [\"a\"]}}}]";
    static const char *const choices[] = {"required", "x"};
    for (int i = 0; i < 2; i++) {
        tool_choice = choices[i];
        ask(pieces, call_template, NULL, true, NULL, &answer);
        assert_string_equal(answer.text, "");
        json_t *arguments = json_loads(answer.pieces, 0, NULL);
        assert_true(json_is_true(json_object_get(arguments, "a")));
        json_decref(arguments);
    }
    tools = tool_choice = NULL;
}

/* The chain writes marks and what is no call behind them: what comes behind a mark is held to the schemas until the
 * call is there, the text around it is free. */
static void test_a_call_is_held_from_its_mark_on(void **state) {
    (void)state;
    static const struct token pieces[] = {
        {"x", NORMAL},    {"<go>", CONTROL},  {"y", NORMAL}, {"<tool_call>", CONTROL},
        {"true", NORMAL}, {"{", NORMAL},      {"}", NORMAL}, {"\"", NORMAL},
        {":", NORMAL},    {",", NORMAL},      {"n", NORMAL}, {"a", NORMAL},
        {"m", NORMAL},    {"e", NORMAL},      {"r", NORMAL}, {"g", NORMAL},
        {"u", NORMAL},    {"t", NORMAL},      {"s", NORMAL}, {"1", NORMAL},
        {"2", NORMAL},    {"f", NORMAL},      {"l", NORMAL}, {"</tool_call>", CONTROL},
        {"z", NORMAL},    {"<end>", CONTROL}, {NULL, 0}};
    struct answer answer;
    tools = "[{\"type\": \"function\", \"function\": {\"name\": \"x\", \"parameters\": {\"type\": \"object\","
            "\"properties\": {\"a\": {\"const\": 12}}, \"required\": [\"a\"]}}}]";
    most = 60;
    for (int i = 0; i < 2; i++) {
        device = i ? "0" : "cpu"; /* there the step behind the mark is under way when the mark is seen */
        ask(pieces, call_template, NULL, true, NULL, &answer);
        assert_string_equal(answer.text, "yz");
        assert_string_equal(answer.calls, "x({\"a\":12})");
    }
    device = "cpu";
    most = 40;
    tools = NULL;
}

static void test_reasoning_comes_before_calls(void **state) {
    (void)state;
    static const struct token thoughtful[] = {{"x", NORMAL},
                                              {"<go>", CONTROL},
                                              {"<think>", USER_DEFINED},
                                              {"<tool_call>{", NORMAL},
                                              {"</think>", USER_DEFINED},
                                              {"<tool_call>", NORMAL},
                                              {"{\"name\":\"x\",\"arguments\":{}}", NORMAL},
                                              {"<end>", CONTROL},
                                              {NULL, 0}};
    static const char template[] =
        "{% set marks = '<tool_call></tool_call><think></think>' %}{% if tools %}{{ tools[0].function.name }}"
        "{% endif %}{{ messages[-1].content }}<go>";
    struct answer answer;
    tools = "[{\"type\": \"function\", \"function\": {\"name\": \"x\"}}]";
    for (int parts = 0; parts < 2; parts++) {
        ask(thoughtful, template, NULL, parts, NULL, &answer);
        assert_string_equal(answer.reasoning, parts ? "<tool_call>{" : "");
        assert_string_equal(answer.text, "");
        assert_string_equal(answer.calls, "x({})");
    }
    tools = NULL;
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_reasoning_and_answer_come_apart),
        cmocka_unit_test(test_who_does_not_ask_gets_all_of_it),
        cmocka_unit_test(test_stop_texts_end_the_answer_alone),
        cmocka_unit_test(test_reasoning_ends_in_time_for_the_answer),
        cmocka_unit_test(test_the_prompt_may_open_the_reasoning),
        cmocka_unit_test(test_marks_of_control_tokens),
        cmocka_unit_test(test_calls_are_no_text),
        cmocka_unit_test(test_a_call_that_is_required_comes),
        cmocka_unit_test(test_a_call_is_held_from_its_mark_on),
        cmocka_unit_test(test_reasoning_comes_before_calls),
    };
    return cmocka_run_group_tests_name("thinking", tests, NULL, NULL);
}
