/* From messages to a prompt's tokens: which template is taken, what is done where it cannot do what the messages need,
 * and who may write control tokens. */
#define _GNU_SOURCE
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/file.h"
#include "format/gguf.h"
#include "support/gguf_writer.h"
#include "support/words.h"
#include "text/chat.h"
#include "text/prompt.h"

#define CHATML                                                                                                         \
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"                         \
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"

/* ---- a model that is a vocabulary and a template ---- */

struct fixture {
    struct words words;
    int32_t start, end; /* <|im_start|>, <|im_end|>; -1: not there */
    struct gguf_writer *writer;
    struct ci_gguf *gguf;
    struct ci_tokenizer *tokenizer;
    struct ci_chat *chat;
    int warnings;
    char warned[2048];
};

static void on_log(void *user, enum clinfer_log_level level, const char *message) {
    struct fixture *fixture = user;
    if (level != CLINFER_LOG_WARNING) return;
    fixture->warnings++;
    strncat(fixture->warned, message, sizeof fixture->warned - strlen(fixture->warned) - 2);
    strcat(fixture->warned, "\n");
}

static void begin(struct fixture *fixture) {
    memset(fixture, 0, sizeof *fixture);
    make_words(&fixture->words);
    fixture->writer = gguf_writer_create();
    fixture->start = fixture->end = -1;
    clinfer_log_to(on_log, fixture);
}

static void begin_with_chatml(struct fixture *fixture, enum ci_token_type type) {
    begin(fixture);
    fixture->start = add_token(&fixture->words, "<|im_start|>", type);
    fixture->end = add_token(&fixture->words, "<|im_end|>", type);
}

static enum clinfer_status make(struct fixture *fixture, const char *template, const char *given) {
    size_t size;
    if (template) gguf_writer_string(fixture->writer, "tokenizer.chat_template", template);
    const uint8_t *bytes = gguf_writer_bytes(fixture->writer, &size);
    if (ci_gguf_open_memory(bytes, size, "model.gguf", &fixture->gguf) != CLINFER_OK) fail_msg("%s", clinfer_error());
    fixture->tokenizer = create_tokenizer(&fixture->words);
    return ci_chat_create(fixture->gguf, given, fixture->tokenizer, &fixture->chat);
}

static void must_make(struct fixture *fixture, const char *template, const char *given) {
    if (make(fixture, template, given) != CLINFER_OK) fail_msg("%s", clinfer_error());
}

static void end(struct fixture *fixture) {
    ci_chat_destroy(fixture->chat);
    ci_tokenizer_destroy(fixture->tokenizer);
    ci_gguf_close(fixture->gguf);
    gguf_writer_destroy(fixture->writer);
    clinfer_log_to(NULL, NULL);
}

#define MESSAGE(who, what)                                                                                             \
    { .role = who, .content = what }
#define COUNT(messages) (sizeof(messages) / sizeof *(messages))

static const struct clinfer_message conversation[] = {MESSAGE("system", "Be brief."), MESSAGE("user", "Hi there"),
                                                      MESSAGE("assistant", "Hello you"), MESSAGE("user", "Bye")};

static void expect_text(struct fixture *fixture, const struct clinfer_message *messages, size_t count,
                        const char *expected) {
    struct ci_rendered rendered;
    if (ci_chat_render(fixture->chat, messages, count, true, &rendered) != CLINFER_OK) fail_msg("%s", clinfer_error());
    assert_string_equal(rendered.text, expected);
    ci_rendered_free(&rendered);
}

static void expect_failure(struct fixture *fixture, const struct clinfer_message *messages, size_t count,
                           enum clinfer_status status, const char *part) {
    struct ci_rendered rendered;
    enum clinfer_status found = ci_chat_render(fixture->chat, messages, count, true, &rendered);
    if (found != status || !strstr(clinfer_error(), part))
        fail_msg("status %d with '%s', not %d with '%s'", found, clinfer_error(), status, part);
    assert_null(rendered.text);
}

static void expect_warnings(const struct fixture *fixture, int count, const char *part) {
    if (fixture->warnings != count || !strstr(fixture->warned, part))
        fail_msg("%d warnings, not %d with '%s':\n%s", fixture->warnings, count, part, fixture->warned);
}

/* ---- content ---- */

static void test_content_comes_in_the_form_that_the_template_reads(void **state) {
    (void)state;
    static const char *const templates[] = {
        CHATML,
        "{% for m in messages %}<|im_start|>{{ m.role }}\n{% for c in m.content %}{% if c.type == 'text' %}{{ c.text }}"
        "{% endif %}{% endfor %}<|im_end|>\n{% endfor %}{{ '<|im_start|>assistant\n' }}",
        "{% for m in messages %}{{ '<|im_start|>' + m['role'] + '\n' + m['content'][0]['text'] + '<|im_end|>\n' }}"
        "{% endfor %}{{ '<|im_start|>assistant\n' }}",
        /* one form for users, another for the model */
        "{% for m in messages %}<|im_start|>{{ m.role }}\n{% if m.role == 'user' %}{{ m.content[0].text }}{% else %}"
        "{{ m.content.strip() }}{% endif %}<|im_end|>\n{% endfor %}{{ '<|im_start|>assistant\n' }}",
        /* filters on the way */
        "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content.split('<cut>')[-1] | trim }}<|im_end|>\n"
        "{% endfor %}{{ '<|im_start|>assistant\n' }}",
        ("{{ bos_token }}{% if messages[0].role != 'system' %}{{ raise_exception('a system message comes first') }}"
         "{% endif %}" CHATML),
    };
    for (size_t i = 0; i < COUNT(templates); i++) {
        struct fixture fixture;
        begin_with_chatml(&fixture, CI_TOKEN_CONTROL);
        must_make(&fixture, templates[i], NULL);
        expect_text(&fixture, conversation, 4,
                    "<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\nHi there<|im_end|>\n"
                    "<|im_start|>assistant\nHello you<|im_end|>\n<|im_start|>user\nBye<|im_end|>\n"
                    "<|im_start|>assistant\n");
        assert_int_equal(fixture.warnings, 0);
        end(&fixture);
    }
}

static void test_a_template_that_loses_what_users_say_is_an_error(void **state) {
    (void)state;
    static const char *const templates[] = {
        "hello",
        "{# nothing #}",
        "{% for m in messages %}{{ m.role }}{% endfor %}",
        "{% for m in messages %}{% if m.content is not string %}{{ m.content }}{% endif %}{% endfor %}",
        ("{% for m in messages %}{% for c in m.content %}{% if c.type == 'image' %}{{ c.text }}{% endif %}{% endfor %}"
         "{% endfor %}"),
    };
    static const struct clinfer_message message[] = {MESSAGE("user", "Hi")};
    for (size_t i = 0; i < COUNT(templates); i++) {
        struct fixture fixture;
        begin_with_chatml(&fixture, CI_TOKEN_CONTROL);
        must_make(&fixture, templates[i], NULL);
        expect_failure(&fixture, message, 1, CLINFER_BAD_FILE,
                       "model.gguf: tokenizer.chat_template: it writes nothing of what a user's message says");
        assert_int_equal(ci_chat_check(fixture.chat), CLINFER_BAD_FILE);
        end(&fixture);
        /* One that the caller gave is the caller's fault, and known at once. */
        if (!strchr(templates[i], '{')) continue;
        begin_with_chatml(&fixture, CI_TOKEN_CONTROL);
        assert_int_equal(make(&fixture, CHATML, templates[i]), CLINFER_INVALID_ARGUMENT);
        assert_non_null(strstr(clinfer_error(), "--chat-template: it writes nothing"));
        end(&fixture);
    }
}

static void test_templates_that_fail_do_so_when_they_are_needed(void **state) {
    (void)state;
    static const struct {
        const char *template;
        enum clinfer_status status;
        const char *part;
    } cases[] = {
        {"{% for m in messages %}{{ m.content }}", CLINFER_BAD_FILE, "no 'endfor'"},
        {"{% for m in messages %}{{ m.content | frobnicate }}{% endfor %}", CLINFER_UNSUPPORTED, "frobnicate"},
        {"{{ raise_exception('never') }}", CLINFER_INVALID_ARGUMENT, "never"},
        {"{% for i in range(100000) %}{% for j in range(100000) %}{% endfor %}{% endfor %}", CLINFER_BAD_FILE,
         "the template takes"},
    };
    static const struct clinfer_message message[] = {MESSAGE("user", "Hi")};
    for (size_t i = 0; i < COUNT(cases); i++) {
        struct fixture fixture;
        begin_with_chatml(&fixture, CI_TOKEN_CONTROL);
        must_make(&fixture, cases[i].template, NULL);
        expect_failure(&fixture, message, 1, cases[i].status, cases[i].part);
        expect_failure(&fixture, message, 1, cases[i].status, "--raw");
        end(&fixture);
    }
}

static void test_a_template_without_history_is_said(void **state) {
    (void)state;
    struct fixture fixture;
    begin_with_chatml(&fixture, CI_TOKEN_CONTROL);
    must_make(&fixture, "<|im_start|>{{ messages[-1].content }}<|im_end|>", NULL);
    expect_text(&fixture, conversation + 1, 1, "<|im_start|>Hi there<|im_end|>");
    assert_int_equal(fixture.warnings, 0);
    expect_text(&fixture, conversation + 1, 3, "<|im_start|>Bye<|im_end|>");
    expect_text(&fixture, conversation + 1, 3, "<|im_start|>Bye<|im_end|>");
    expect_warnings(&fixture, 1, "leaves out what was said before");
    end(&fixture);
}

/* What a template does to a conversation is not what it does to another one. */
static void test_words_that_do_not_come_out_of_this_conversation_are_said(void **state) {
    (void)state;
    static const struct clinfer_message parts[] = {MESSAGE("user", "public|secret"), MESSAGE("assistant", "Hello you"),
                                                   MESSAGE("user", " Bye\n")};
    static const struct {
        const char *template;
        const struct clinfer_message *messages;
        size_t count;
        const char *failure, *warning; /* NULL: none */
    } cases[] = {
        {"{{ messages[0].content }}", conversation + 1, 1, NULL, NULL},
        {"{{ messages[0].content }}", conversation + 1, 3, "leaves out the last message of the user", NULL},
        {"{{ messages[0].content }}", conversation, 2, "leaves out the last message of the user", NULL},
        {"{% for m in messages[-3:] %}{{ m.content }};{% endfor %}", conversation + 1, 3, NULL, NULL},
        {"{% for m in messages[-3:] %}{{ m.content }};{% endfor %}", conversation, 4, NULL,
         "leaves out message 1 of 4 (system)"},
        {"{% for m in messages %}{{ m.content.split('|')[0] }};{% endfor %}", parts, 3, NULL,
         "changes the words of message 1 of 3 (user)"},
        {"{% for m in messages %}{{ m.content | upper }};{% endfor %}", parts, 3, NULL, "changes the words of message"},
        /* none of these changes a word */
        {"{% for m in messages %}{{ m.content | trim }};{% endfor %}", parts, 3, NULL, NULL},
        {"{% for m in messages | reverse %}{{ m.content }};{% endfor %}", conversation, 4, NULL, NULL},
        {"{% for m in messages %}{{ m.role + m.content.split('Hello')[-1] }};{% endfor %}", parts, 3, NULL, NULL},
    };
    for (size_t i = 0; i < COUNT(cases); i++) {
        struct fixture fixture;
        struct ci_rendered rendered;
        begin_with_chatml(&fixture, CI_TOKEN_CONTROL);
        must_make(&fixture, cases[i].template, NULL);
        for (int again = 0; again < 2; again++) {
            if (cases[i].failure) {
                expect_failure(&fixture, cases[i].messages, cases[i].count, CLINFER_BAD_FILE, cases[i].failure);
                continue;
            }
            if (ci_chat_render(fixture.chat, cases[i].messages, cases[i].count, true, &rendered) != CLINFER_OK)
                fail_msg("%s: %s", cases[i].template, clinfer_error());
            ci_rendered_free(&rendered);
        }
        if (cases[i].warning) expect_warnings(&fixture, 1, cases[i].warning);
        if (!cases[i].warning && !cases[i].failure && fixture.warnings)
            fail_msg("%s: %s", cases[i].template, fixture.warned);
        end(&fixture);
    }
}

/* ---- which template ---- */

static void test_without_a_template_there_is_a_format_and_a_warning(void **state) {
    (void)state;
    static const char *const templates[] = {NULL, "", " \n\t"};
    for (size_t i = 0; i < COUNT(templates); i++) {
        struct fixture fixture;
        begin_with_chatml(&fixture, CI_TOKEN_CONTROL);
        must_make(&fixture, templates[i], NULL);
        assert_false(ci_chat_has_template(fixture.chat));
        assert_int_equal(fixture.warnings, 0); /* not everybody asks for a prompt */
        for (int twice = 0; twice < 2; twice++)
            expect_text(&fixture, conversation, 2,
                        "<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\nHi there<|im_end|>\n"
                        "<|im_start|>assistant\n");
        expect_warnings(&fixture, 1,
                        "model.gguf: no chat template (tokenizer.chat_template); messages are written in "
                        "the format \"chatml\"");
        end(&fixture);
        begin(&fixture);
        must_make(&fixture, templates[i], NULL);
        expect_text(&fixture, conversation, 4,
                    "System: Be brief.\nUser: Hi there\nAssistant: Hello you\nUser: Bye\nAssistant:");
        expect_warnings(&fixture, 1, "\"plain\"");
        end(&fixture);
    }
}

static void test_a_given_template_comes_before_the_files(void **state) {
    (void)state;
    static const struct {
        const char *given, *text;
    } cases[] = {
        {"chatml", "<|im_start|>user\nHi there<|im_end|>\n<|im_start|>assistant\n"},
        {"llama3", "<|start_header_id|>user<|end_header_id|>\n\nHi there<|eot_id|><|start_header_id|>assistant"
                   "<|end_header_id|>\n\n"},
        {"Q: {{ messages[-1]['content'] }}\nA:", "Q: Hi there\nA:"},
        {"\xEF\xBB\xBFQ: {{ messages[-1]['content'] }}\nA:", "Q: Hi there\nA:"},
        {" llama2\n", "[INST] Hi there [/INST]"}, /* a file that holds a name */
    };
    for (size_t i = 0; i < COUNT(cases); i++) {
        struct fixture fixture;
        begin_with_chatml(&fixture, CI_TOKEN_CONTROL);
        must_make(&fixture, "no {{ good", cases[i].given);
        expect_text(&fixture, conversation + 1, 1, cases[i].text);
        assert_int_equal(fixture.warnings, 0);
        end(&fixture);
    }
}

static void test_a_given_template_that_is_wrong_is_refused(void **state) {
    (void)state;
    static const struct {
        const char *given, *part;
    } cases[] = {
        {"chatlm", "--chat-template \"chatlm\": neither Jinja nor the name of a built-in template; these are plain, "
                   "chatml, "},
        {"", "neither Jinja nor the name"},
        {"{{ messages", "--chat-template: chat template: line 1"},
        {"{{ messages[-1].content | frobnicate }}", "frobnicate"},
    };
    for (size_t i = 0; i < COUNT(cases); i++) {
        struct fixture fixture;
        begin_with_chatml(&fixture, CI_TOKEN_CONTROL);
        assert_int_equal(make(&fixture, CHATML, cases[i].given), CLINFER_INVALID_ARGUMENT);
        assert_null(fixture.chat);
        if (!strstr(clinfer_error(), cases[i].part)) fail_msg("'%s' without '%s'", clinfer_error(), cases[i].part);
        end(&fixture);
    }
}

static void test_files_name_their_template_in_several_ways(void **state) {
    (void)state;
    struct fixture fixture;
    begin_with_chatml(&fixture, CI_TOKEN_CONTROL);
    must_make(&fixture, "chatml", NULL);
    expect_text(&fixture, conversation + 1, 1, "<|im_start|>user\nHi there<|im_end|>\n<|im_start|>assistant\n");
    assert_int_equal(fixture.warnings, 0);
    end(&fixture);

    begin_with_chatml(&fixture, CI_TOKEN_CONTROL);
    gguf_writer_string(fixture.writer, "tokenizer.chat_template.default", "Q: {{ messages[-1].content }}");
    must_make(&fixture, NULL, NULL);
    expect_text(&fixture, conversation + 1, 1, "Q: Hi there");
    assert_int_equal(fixture.warnings, 0);
    end(&fixture);

    begin_with_chatml(&fixture, CI_TOKEN_CONTROL);
    must_make(&fixture, "\xEF\xBB\xBFQ: {{ messages[-1].content }}", NULL);
    expect_text(&fixture, conversation + 1, 1, "Q: Hi there");
    end(&fixture);

    begin_with_chatml(&fixture, CI_TOKEN_CONTROL);
    gguf_writer_u32(fixture.writer, "tokenizer.chat_template", 7);
    must_make(&fixture, NULL, NULL);
    expect_failure(&fixture, conversation + 1, 1, CLINFER_BAD_FILE, "tokenizer.chat_template: is");
    end(&fixture);
}

/* Of the built-in templates. */
static const char *const names[] = {
#define X(name, text) name,
#include "text/chat_templates.inc"
#undef X
};

/* The formats as llama.cpp writes them (llama_chat_apply_template, version 0.5.0 of its library, recorded); "plain" is
 * our own, and "yandex" loses the system message there. */
static void test_built_in_templates_write_the_known_formats(void **state) {
    (void)state;
    json_error_t error;
    json_t *recorded = json_load_file("tests/data/chat_templates.json", 0, &error);
    if (!recorded) fail_msg("tests/data/chat_templates.json: %s", error.text);
    assert_int_equal(json_object_size(recorded), COUNT(names));
    for (size_t i = 0; i < COUNT(names); i++) {
        struct fixture fixture;
        struct ci_rendered rendered;
        const char *expected = json_string_value(json_object_get(recorded, names[i]));
        begin(&fixture);
        must_make(&fixture, NULL, names[i]);
        if (ci_chat_render(fixture.chat, conversation, 4, true, &rendered) != CLINFER_OK)
            fail_msg("%s: %s", names[i], clinfer_error());
        if (!expected || strcmp(rendered.text, expected) != 0)
            fail_msg("%s: '%s', not '%s'", names[i], rendered.text, expected ? expected : "");
        ci_rendered_free(&rendered);
        end(&fixture);
    }
    json_decref(recorded);
}

static void test_the_manual_has_the_names_of_all_templates(void **state) {
    (void)state;
    char *manual, list[2048] = "";
    size_t size;
    for (size_t i = 0; i < COUNT(names); i++) {
        strcat(list, i ? "," : "");
        for (const char *at = names[i]; *at; at++) {
            size_t length = strlen(list);
            if (*at == '-') list[length++] = '\\';
            list[length] = *at;
            list[length + 1] = 0;
        }
    }
    strcat(list, ".");
    if (ci_file_read("docs/clinfer.1", 1 << 20, &manual, &size) != CLINFER_OK) fail_msg("%s", clinfer_error());
    char *out = manual;
    for (const char *at = manual; *at; at++)
        if (*at != ' ' && *at != '\n') *out++ = *at;
    *out = 0;
    if (!strstr(manual, list)) fail_msg("docs/clinfer.1 does not list %s", list);
    free(manual);
}

/* ---- system messages ---- */

#define WITHOUT_SYSTEM                                                                                                 \
    "{% for m in messages if m.role != 'system' %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"   \
    "{{ '<|im_start|>assistant\n' }}"

static void test_system_text_goes_to_the_first_user_where_there_is_no_such_role(void **state) {
    (void)state;
    static const char *const templates[] = {
        WITHOUT_SYSTEM,
        "{% if messages[0].role == 'system' %}{{ raise_exception('System role not supported') }}{% endif %}" CHATML,
        "{% for m in messages %}{% if (m.role == 'user') != (loop.index0 % 2 == 0) %}{{ raise_exception('no') }}"
        "{% endif %}{% endfor %}" CHATML,
    };
    for (size_t i = 0; i < COUNT(templates); i++) {
        struct fixture fixture;
        begin_with_chatml(&fixture, CI_TOKEN_CONTROL);
        must_make(&fixture, templates[i], NULL);
        expect_text(&fixture, conversation + 1, 1, "<|im_start|>user\nHi there<|im_end|>\n<|im_start|>assistant\n");
        assert_int_equal(fixture.warnings, 0);
        for (int twice = 0; twice < 2; twice++)
            expect_text(&fixture, conversation, 4,
                        "<|im_start|>user\nBe brief.\n\nHi there<|im_end|>\n<|im_start|>assistant\nHello you"
                        "<|im_end|>\n<|im_start|>user\nBye<|im_end|>\n<|im_start|>assistant\n");
        expect_warnings(&fixture, 1, "model.gguf: the chat template has no system message");
        end(&fixture);
    }
}

static void test_all_system_messages_are_merged(void **state) {
    (void)state;
    static const struct clinfer_message several[] = {MESSAGE("system", "One."), MESSAGE("assistant", "Yes?"),
                                                     MESSAGE("user", "Hi"), MESSAGE("system", "Two.")},
                                        alone[] = {MESSAGE("system", "One.")};
    struct fixture fixture;
    begin_with_chatml(&fixture, CI_TOKEN_CONTROL);
    must_make(&fixture, WITHOUT_SYSTEM, NULL);
    expect_text(&fixture, several, 4,
                "<|im_start|>assistant\nYes?<|im_end|>\n<|im_start|>user\nOne.\n\nTwo.\n\nHi<|im_end|>\n"
                "<|im_start|>assistant\n");
    expect_text(&fixture, alone, 1, "<|im_start|>user\nOne.\n\n<|im_end|>\n<|im_start|>assistant\n");
    end(&fixture);
}

/* ---- types of tokens ---- */

static void expect_prompt(struct fixture *fixture, const struct clinfer_message *messages, size_t count,
                          bool parse_special, const int32_t *expected, size_t expected_count) {
    struct ci_rendered rendered;
    int32_t *tokens;
    size_t found;
    if (ci_chat_render(fixture->chat, messages, count, true, &rendered) != CLINFER_OK) fail_msg("%s", clinfer_error());
    if (ci_prompt_tokens(fixture->tokenizer, &rendered, messages, count, parse_special, &tokens, &found) != CLINFER_OK)
        fail_msg("%s", clinfer_error());
    for (size_t i = 0; i < found && i < expected_count; i++)
        if (tokens[i] != expected[i]) fail_msg("token %zu is %d, not %d", i, tokens[i], expected[i]);
    assert_int_equal(found, expected_count);
    free(tokens);
    ci_rendered_free(&rendered);
}

/* Each byte of a text is a token in these vocabularies. */
static size_t add_bytes(int32_t *tokens, size_t at, const char *text) {
    for (; *text; text++) tokens[at++] = (uint8_t)*text;
    return at;
}

static void test_signs_of_any_type_are_control_tokens(void **state) {
    (void)state;
    static const enum ci_token_type types[] = {CI_TOKEN_NORMAL, CI_TOKEN_UNUSED, CI_TOKEN_UNDEFINED, CI_TOKEN_BYTE};
    static const struct clinfer_message message[] = {MESSAGE("user", "Hi")};
    for (size_t i = 0; i <= COUNT(types); i++) {
        struct fixture fixture;
        begin_with_chatml(&fixture, i < COUNT(types) ? types[i] : CI_TOKEN_NORMAL);
        if (i == COUNT(types)) fixture.words.source.types = NULL; /* a file without types */
        must_make(&fixture, CHATML, NULL);
        assert_true(ci_tokenizer_is_end(fixture.tokenizer, fixture.end));
        assert_false(ci_tokenizer_is_end(fixture.tokenizer, fixture.start));
        assert_true(ci_tokenizer_is_control(fixture.tokenizer, fixture.start));
        assert_true(ci_tokenizer_is_control(fixture.tokenizer, fixture.end));
        int32_t expected[64] = {fixture.start};
        size_t at = add_bytes(expected, 1, "user\nHi");
        expected[at++] = fixture.end;
        at = add_bytes(expected, at, "\n");
        expected[at++] = fixture.start;
        at = add_bytes(expected, at, "assistant\n");
        assert_int_equal(fixture.warnings, 0);
        expect_prompt(&fixture, message, 1, false, expected, at);
        expect_prompt(&fixture, message, 1, false, expected, at);
        expect_warnings(&fixture, 1, "tokenizer.ggml.token_type");
        expect_warnings(&fixture, 1, "<|im_end|>, <|im_start|>");
        end(&fixture);
    }
}

static void test_a_sign_behind_answers_ends_them(void **state) {
    (void)state;
    static const struct clinfer_message message[] = {MESSAGE("user", "Hi")};
    struct fixture fixture;
    begin(&fixture);
    int32_t user = add_token(&fixture.words, "<|user|>", CI_TOKEN_NORMAL);
    int32_t model = add_token(&fixture.words, "<|assistant|>", CI_TOKEN_NORMAL);
    int32_t over = add_token(&fixture.words, "[over]", CI_TOKEN_NORMAL);
    int32_t never = add_token(&fixture.words, "<|never|>", CI_TOKEN_NORMAL);
    int32_t typed = add_token(&fixture.words, "[typed]", CI_TOKEN_CONTROL);
    /* Signs that only roles make, too. */
    must_make(&fixture, "{% for m in messages %}<|{{ m.role }}|>{{ m.content }}[over][typed]{% endfor %}<|assistant|>",
              NULL);
    assert_true(ci_tokenizer_is_end(fixture.tokenizer, over));
    assert_false(ci_tokenizer_is_end(fixture.tokenizer, typed));
    assert_false(ci_tokenizer_is_end(fixture.tokenizer, user));
    assert_false(ci_tokenizer_is_control(fixture.tokenizer, never));
    const int32_t expected[] = {user, 'H', 'i', over, typed, model};
    expect_prompt(&fixture, message, 1, false, expected, COUNT(expected));
    end(&fixture);
    /* One whose type is right already is an end only if its name or the file says so. */
    begin(&fixture);
    typed = add_token(&fixture.words, "[typed]", CI_TOKEN_CONTROL);
    must_make(&fixture, "{% for m in messages %}{{ m.content }}[typed]{% endfor %}", NULL);
    assert_false(ci_tokenizer_is_end(fixture.tokenizer, typed));
    end(&fixture);
}

static void test_a_user_defined_sign_behind_answers_ends_them(void **state) {
    (void)state;
    static const struct clinfer_message message[] = {MESSAGE("user", "[over]")};
    struct fixture fixture;
    begin(&fixture);
    int32_t over = add_token(&fixture.words, "[over]", CI_TOKEN_USER_DEFINED);
    must_make(&fixture, "{% for m in messages %}{{ m.content }} [over]{% endfor %}", NULL);
    assert_true(ci_tokenizer_is_end(fixture.tokenizer, over));
    int32_t expected[16];
    size_t count = add_bytes(expected, 0, "[over] ");
    expected[count++] = over;
    expect_prompt(&fixture, message, 1, false, expected, count);
    end(&fixture);
    /* In harmony's format this ends a message, and the answer goes on. */
    begin(&fixture);
    over = add_token(&fixture.words, "<|end|>", CI_TOKEN_USER_DEFINED);
    add_token(&fixture.words, "<|return|>", CI_TOKEN_CONTROL);
    add_token(&fixture.words, "<|call|>", CI_TOKEN_CONTROL);
    must_make(&fixture, "{% for m in messages %}{{ m.content }}<|end|>{% endfor %}", NULL);
    assert_false(ci_tokenizer_is_end(fixture.tokenizer, over));
    end(&fixture);
    /* Markup is part of answers. */
    begin(&fixture);
    add_token(&fixture.words, "<said>", CI_TOKEN_USER_DEFINED);
    int32_t said = add_token(&fixture.words, "</said>", CI_TOKEN_USER_DEFINED);
    must_make(&fixture, "{% for m in messages %}<said>{{ m.content }}</said>{% endfor %}", NULL);
    assert_false(ci_tokenizer_is_end(fixture.tokenizer, said));
    end(&fixture);
}

static void test_words_stay_words_and_markup_stays_visible(void **state) {
    (void)state;
    struct fixture fixture;
    begin(&fixture);
    /* What merges make is a word, whatever it looks like. */
    int32_t word = add_token(&fixture.words, "<>", CI_TOKEN_NORMAL);
    add_merge(&fixture.words, "< >");
    int32_t think = add_token(&fixture.words, "<think>", CI_TOKEN_NORMAL);
    int32_t thought = add_token(&fixture.words, "</think>", CI_TOKEN_NORMAL);
    int32_t turn = add_token(&fixture.words, "<turn>", CI_TOKEN_NORMAL);
    must_make(&fixture, "{% for m in messages %}<turn>{{ m.content }}<>{% endfor %}<think></think>", NULL);
    assert_false(ci_tokenizer_is_control(fixture.tokenizer, word));
    assert_false(ci_tokenizer_is_end(fixture.tokenizer, word));
    assert_true(ci_tokenizer_is_control(fixture.tokenizer, turn));
    size_t length;
    assert_false(ci_tokenizer_is_control(fixture.tokenizer, think));
    assert_memory_equal(ci_tokenizer_piece(fixture.tokenizer, thought, false, &length), "</think>", 8);
    expect_ids(fixture.tokenizer, "<think>a</think>", 0, 3, think, 'a', thought);
    end(&fixture);
}

/* ---- who may write control tokens ---- */

static void test_control_tokens_in_contents_are_text(void **state) {
    (void)state;
    static const struct clinfer_message message[] = {MESSAGE("user", "<|im_end|><own>")};
    struct fixture fixture;
    begin_with_chatml(&fixture, CI_TOKEN_CONTROL);
    int32_t own = add_token(&fixture.words, "<own>", CI_TOKEN_USER_DEFINED);
    must_make(&fixture, "{% for m in messages %}<|im_start|>{{ m.content }}<|im_end|>{% endfor %}", NULL);
    int32_t expected[32] = {fixture.start};
    size_t at = add_bytes(expected, 1, "<|im_end|>");
    expected[at++] = own; /* user-defined: part of the text */
    expected[at++] = fixture.end;
    expect_prompt(&fixture, message, 1, false, expected, at);
    const int32_t parsed[] = {fixture.start, fixture.end, own, fixture.end};
    expect_prompt(&fixture, message, 1, true, parsed, COUNT(parsed));
    end(&fixture);
}

/* Neither alone nor together with what stands around it. */
static void test_contents_do_not_complete_a_control_token(void **state) {
    (void)state;
    static const struct clinfer_message halves[] = {MESSAGE("user", "im_end|>"), MESSAGE("user", "<|im_")},
                                        other_role[] = {MESSAGE("im_end", "x")};
    struct fixture fixture;
    int32_t expected[64];
    begin_with_chatml(&fixture, CI_TOKEN_CONTROL);
    must_make(&fixture, "{% for m in messages %}<|{{ m.content }}end|>{% endfor %}", NULL);
    size_t count = add_bytes(expected, 0, "<|im_end|>end|><|<|im_end|>");
    expect_prompt(&fixture, halves, 2, false, expected, count);
    end(&fixture);
    begin_with_chatml(&fixture, CI_TOKEN_CONTROL);
    must_make(&fixture, "{% for m in messages %}<|{{ m.role }}|>{{ m.content }}{% endfor %}", NULL);
    count = add_bytes(expected, 0, "<|im_end|>x");
    expect_prompt(&fixture, other_role, 1, false, expected, count);
    end(&fixture);
}

static void test_words_are_formed_across_origins(void **state) {
    (void)state;
    static const struct clinfer_message message[] = {MESSAGE("user", "b")};
    struct fixture fixture;
    begin(&fixture);
    const int32_t ab = add_token(&fixture.words, "ab", CI_TOKEN_NORMAL);
    add_merge(&fixture.words, "a b");
    must_make(&fixture, "a{{ messages[-1].content }}", NULL);
    expect_prompt(&fixture, message, 1, false, &ab, 1);
    end(&fixture);
}

static void test_the_first_token_comes_once(void **state) {
    (void)state;
    static const struct clinfer_message message[] = {MESSAGE("user", "x")};
    static const char *const templates[] = {"{{ messages[-1].content }}", "{{ bos_token }}{{ messages[-1].content }}"};
    for (size_t i = 0; i < COUNT(templates); i++) {
        struct fixture fixture;
        begin(&fixture);
        int32_t bos = add_token(&fixture.words, "<s>", CI_TOKEN_CONTROL);
        fixture.words.source.bos_id = bos;
        fixture.words.source.add_bos = 1;
        must_make(&fixture, templates[i], NULL);
        const int32_t expected[] = {bos, 'x'};
        expect_prompt(&fixture, message, 1, false, expected, 2);
        end(&fixture);
    }
}

/* ---- answers ---- */

/* In a vocabulary with "ab", which merges make of a and b: an answer of two single letters keeps them. */
static void test_answers_keep_their_tokens(void **state) {
    (void)state;
    struct fixture fixture;
    begin_with_chatml(&fixture, CI_TOKEN_CONTROL);
    const int32_t start = fixture.start, over = fixture.end;
    const int32_t hidden = add_token(&fixture.words, "<|hidden|>", CI_TOKEN_CONTROL);
    const int32_t ab = add_token(&fixture.words, "ab", CI_TOKEN_NORMAL);
    add_merge(&fixture.words, "a b");
    must_make(&fixture, "{% for m in messages %}<|im_start|>{{ m.content | trim }}<|im_end|>{% endfor %}", NULL);
    const struct {
        const char *content;
        int32_t tokens[8];
        size_t count;
        int32_t expected[8]; /* between the template's */
        size_t expected_count;
    } cases[] = {
        {"ab", {'a', 'b', over}, 3, {'a', 'b'}, 2},                 /* the end token is the template's to write */
        {"ab", {'a', 'b'}, 2, {'a', 'b'}, 2},                       /* an answer that was cut short */
        {"ab", {'a', hidden, 'b', over}, 4, {'a', hidden, 'b'}, 3}, /* a control token within, which has no text */
        {" ab\n", {' ', 'a', 'b', '\n', over}, 5, {'a', 'b'}, 2},   /* trimmed by the template */
        {"ab", {'a', 'b', 'S', 'T', over}, 5, {'a', 'b'}, 2},       /* ended by a stop text */
        {"ab", {'a', 'x', over}, 3, {ab}, 1},                       /* of another text */
        {"a", {ab, over}, 2, {'a'}, 1},                             /* ends within a token */
        {"b", {ab, over}, 2, {'b'}, 1},
        {" ab", {' ', ab}, 2, {ab}, 1},
        {"<|im_end|>ab", {'<', '|', 'i', 'm'}, 4, {0}, 0}, /* the beginning of it */
    };
    for (size_t i = 0; i < COUNT(cases); i++) {
        const struct clinfer_message messages[] = {
            MESSAGE("user", "ab"),
            {.role = "assistant",
             .content = cases[i].content,
             .tokens = cases[i].tokens,
             .token_count = cases[i].count},
            MESSAGE("user", "ab"),
        };
        int32_t expected[64] = {start, ab, over, start};
        size_t at = 4;
        if (cases[i].expected_count) {
            memcpy(expected + at, cases[i].expected, cases[i].expected_count * sizeof *expected);
            at += cases[i].expected_count;
        } else {
            at = add_bytes(expected, at, "<|im_end|>");
            expected[at++] = ab;
        }
        const int32_t rest[] = {over, start, ab, over};
        memcpy(expected + at, rest, sizeof rest);
        expect_prompt(&fixture, messages, 3, false, expected, at + COUNT(rest));
    }
    end(&fixture);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_content_comes_in_the_form_that_the_template_reads),
        cmocka_unit_test(test_a_template_that_loses_what_users_say_is_an_error),
        cmocka_unit_test(test_templates_that_fail_do_so_when_they_are_needed),
        cmocka_unit_test(test_a_template_without_history_is_said),
        cmocka_unit_test(test_words_that_do_not_come_out_of_this_conversation_are_said),
        cmocka_unit_test(test_without_a_template_there_is_a_format_and_a_warning),
        cmocka_unit_test(test_a_given_template_comes_before_the_files),
        cmocka_unit_test(test_a_given_template_that_is_wrong_is_refused),
        cmocka_unit_test(test_files_name_their_template_in_several_ways),
        cmocka_unit_test(test_built_in_templates_write_the_known_formats),
        cmocka_unit_test(test_the_manual_has_the_names_of_all_templates),
        cmocka_unit_test(test_system_text_goes_to_the_first_user_where_there_is_no_such_role),
        cmocka_unit_test(test_all_system_messages_are_merged),
        cmocka_unit_test(test_signs_of_any_type_are_control_tokens),
        cmocka_unit_test(test_a_sign_behind_answers_ends_them),
        cmocka_unit_test(test_a_user_defined_sign_behind_answers_ends_them),
        cmocka_unit_test(test_words_stay_words_and_markup_stays_visible),
        cmocka_unit_test(test_control_tokens_in_contents_are_text),
        cmocka_unit_test(test_contents_do_not_complete_a_control_token),
        cmocka_unit_test(test_words_are_formed_across_origins),
        cmocka_unit_test(test_the_first_token_comes_once),
        cmocka_unit_test(test_answers_keep_their_tokens),
    };
    return cmocka_run_group_tests_name("chat", tests, NULL, NULL);
}
