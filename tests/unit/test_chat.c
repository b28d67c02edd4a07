/* From messages to a text: which template is taken, and what is done where it cannot do what the messages need. */
#define _GNU_SOURCE
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/file.h"
#include "support/chat_fixture.h"
#include "text/tool_format.h"

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
            if (ci_chat_render(fixture.chat, cases[i].messages, cases[i].count, NULL, true, &rendered) != CLINFER_OK)
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
        if (ci_chat_render(fixture.chat, conversation, 4, NULL, true, &rendered) != CLINFER_OK)
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

/* Under the names that templates have for it; whether they write it is theirs to say. */
static void test_templates_get_what_was_thought(void **state) {
    (void)state;
    static const char template[] =
        "{% for m in messages %}[{{ m.role }}{% if m.reasoning_content %} ({{ m.reasoning_content }}, {{ m.thinking }})"
        "{% endif %} {{ m.content }}]{% endfor %}";
    static const struct clinfer_message messages[] = {
        MESSAGE("user", "2 + 2?"),
        {.role = "assistant", .content = "4", .reasoning = "So"},
        MESSAGE("user", "Why?"),
    };
    struct fixture fixture;
    begin(&fixture);
    must_make(&fixture, template, NULL);
    expect_text(&fixture, messages, COUNT(messages), "[user 2 + 2?][assistant (So, So) 4][user Why?]");
    end(&fixture);
    begin(&fixture);
    must_make(&fixture, "{% for m in messages %}[{{ m.role }} {{ m.content }}]{% endfor %}", NULL);
    expect_text(&fixture, messages, COUNT(messages), "[user 2 + 2?][assistant 4][user Why?]");
    end(&fixture);
}

static json_t *one_tool(void) {
    return json_pack("[{s:s, s:{s:s, s:s}}]", "type", "function", "function", "name", "f", "description", "d");
}

static void expect_with_tools(struct fixture *fixture, const struct clinfer_message *messages, size_t count,
                              const char *const *parts, size_t part_count) {
    struct ci_rendered rendered;
    json_t *tools = one_tool();
    if (ci_chat_render(fixture->chat, messages, count, tools, true, &rendered) != CLINFER_OK)
        fail_msg("%s", clinfer_error());
    const char *at = rendered.text;
    for (size_t i = 0; i < part_count; i++) {
        at = strstr(at, parts[i]);
        if (!at) fail_msg("'%s' is not where it should be in '%s'", parts[i], rendered.text);
        at += strlen(parts[i]);
    }
    ci_rendered_free(&rendered);
    json_decref(tools);
}

static const struct clinfer_tool_call f_call = {.id = "123456789", .name = "f", .arguments = "{\"x\": [1, \"<y>\"]}"};
static const struct clinfer_message tool_talk[] = {
    MESSAGE("user", "Hi"),
    {.role = "assistant", .content = "", .calls = &f_call, .call_count = 1},
    {.role = "tool", .content = "sunny", .call_id = "123456789", .tool = "f"}};

static void test_templates_get_tools_and_calls(void **state) {
    (void)state;
    /* With arguments as an object, and as a text, whatever the template can do with. */
    static const char *const templates[] = {
        "{% if tools %}{{ tools | tojson }}{% endif %}{% for m in messages %}<{{ m.role }}>{{ m.content }}"
        "{% for c in m.tool_calls or [] %}<tool_call>{{ c.function.name }}{{ c.function.arguments | tojson }}{% endfor "
        "%}"
        "{{ m.tool_call_id or '' }}{% endfor %}",
        "{% if tools %}{{ tools | tojson }}{% endif %}{% for m in messages %}<{{ m.role }}>{{ m.content }}"
        "{% for c in m.tool_calls or [] %}<tool_call>{{ c.function.name + c.function.arguments }}{% endfor %}"
        "{{ m.tool_call_id or '' }}{% endfor %}"};
    for (size_t i = 0; i < COUNT(templates); i++) {
        struct fixture fixture;
        begin(&fixture);
        must_make(&fixture, templates[i], NULL);
        static const char *const parts[] = {"\"name\": \"f\"", "<user>Hi", "<tool_call>f{\"x\": [1, \"<y>\"]}",
                                            "<tool>sunny", "123456789"};
        expect_with_tools(&fixture, tool_talk, COUNT(tool_talk), parts, COUNT(parts));
        assert_string_equal(ci_chat_calls(fixture.chat)->name, "hermes");
        end(&fixture);
    }
}

/* As FireFunction's. */
static void test_a_template_that_wants_functions_as_a_text_gets_them(void **state) {
    (void)state;
    struct fixture fixture;
    begin(&fixture);
    must_make(
        &fixture,
        "{{ 'Functions: ' + functions + ' at ' + datetime }}{% for m in messages %}[{{ m.role }}: {{ m.content }}]"
        "{% endfor %}",
        NULL);
    static const char *const parts[] = {"Functions: [\n", "\"name\": \"f\"", " GMT", "[user: Hi]"};
    expect_with_tools(&fixture, tool_talk, 1, parts, COUNT(parts));
    end(&fixture);
}

static void test_a_template_without_tools_gets_them_in_words(void **state) {
    (void)state;
    struct fixture fixture;
    begin(&fixture);
    must_make(&fixture, "{% for m in messages %}[{{ m.role }}: {{ m.content }}]{% endfor %}", NULL);
    static const char *const parts[] = {
        "[system: You can call", "{\"name\": \"f\", \"description\": \"d\"}", "[user: Hi]",
        "[assistant: {\"name\": \"f\", \"arguments\": {\"x\": [1, \"<y>\"]}}]", "[user: Result of f:\nsunny]"};
    expect_with_tools(&fixture, tool_talk, COUNT(tool_talk), parts, COUNT(parts));
    assert_non_null(strstr(fixture.warned, "knows no tools"));
    assert_string_equal(ci_chat_calls(fixture.chat)->name, "json");
    static const struct clinfer_message own[] = {MESSAGE("system", "Be brief."), MESSAGE("user", "Hi")};
    static const char *const behind[] = {"[system: Be brief.\n\nYou can call", "[user: Hi]"};
    expect_with_tools(&fixture, own, COUNT(own), behind, COUNT(behind));
    end(&fixture);
}

static void test_a_template_of_its_own_for_tools_is_used_for_them(void **state) {
    (void)state;
    static const char usual[] = "{% for m in messages %}[{{ m.role }}: {{ m.content }}]{% endfor %}";
    static const char for_tools[] =
        "{% if tools %}[TOOLS {{ tools | tojson }}]{% endif %}{% for m in messages %}<{{ m.role }}>{{ m.content }}"
        "{% for c in m.tool_calls or [] %}<tool_call>{{ c.function.name }}{{ c.function.arguments | tojson }}{% endfor "
        "%}{{ m.tool_call_id or '' }}{% endfor %}";
    static const char *const others[] = {"{% broken", "no tools: {{ messages[-1].content }}"};
    static const char *const parts[] = {"[TOOLS", "<user>Hi", "<tool_call>f{\"x\"", "<tool>sunny"};
    struct fixture fixture;
    begin(&fixture);
    gguf_writer_string(fixture.writer, "tokenizer.chat_template.tool_use", for_tools);
    must_make(&fixture, usual, NULL);
    expect_with_tools(&fixture, tool_talk, COUNT(tool_talk), parts, COUNT(parts));
    assert_int_equal(fixture.warnings, 0);
    expect_text(&fixture, tool_talk, 1, "[user: Hi]");
    assert_string_equal(ci_chat_calls(fixture.chat)->name, "hermes");
    end(&fixture);
    for (size_t i = 0; i < COUNT(others); i++) {
        static const char *const words[] = {"[system: You can call", "[user: Hi]"};
        begin(&fixture);
        gguf_writer_string(fixture.writer, "tokenizer.chat_template.tool_use", others[i]);
        must_make(&fixture, usual, NULL);
        expect_with_tools(&fixture, tool_talk, 1, words, COUNT(words));
        end(&fixture);
    }
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
        cmocka_unit_test(test_templates_get_what_was_thought),
        cmocka_unit_test(test_templates_get_tools_and_calls),
        cmocka_unit_test(test_a_template_that_wants_functions_as_a_text_gets_them),
        cmocka_unit_test(test_a_template_without_tools_gets_them_in_words),
        cmocka_unit_test(test_a_template_of_its_own_for_tools_is_used_for_them),
        cmocka_unit_test(test_system_text_goes_to_the_first_user_where_there_is_no_such_role),
        cmocka_unit_test(test_all_system_messages_are_merged),
    };
    return cmocka_run_group_tests_name("chat", tests, NULL, NULL);
}
