/* An answer that one remote has begun and another goes on with, or none, while a part of it is held back since it may
 * become a stop text. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "support/asserts.h"
#include "support/remote_server.h"

struct heard {
    char text[256];
};

static bool hear(void *user, const char *text, size_t length) {
    struct heard *heard = user;
    size_t used = strlen(heard->text);
    assert_true(used + length < sizeof heard->text);
    memcpy(heard->text + used, text, length);
    return true;
}

/* One after the other answers, the first without an end; `stop` is a text that does not come. */
static enum clinfer_status ask_remotes(const char *stop, size_t remotes, struct heard *heard) {
    const struct clinfer_remote items[] = {remote_at(remote_server_url("http", "no_end")),
                                           remote_at(remote_server_url("http", "good"))};
    const struct clinfer_router_options options = {
        .remotes = items, .remote_count = remotes, .remote_only = true, .remote_continues = true};
    const struct clinfer_message hello = {.role = "user", .content = "hello"};
    const struct clinfer_chat_request request = {.messages = &hello,
                                                 .count = 1,
                                                 .max_tokens = 8,
                                                 .stop = &stop,
                                                 .stop_count = 1,
                                                 .callback = hear,
                                                 .user = heard};
    clinfer_conversation *conversation;
    clinfer_router *router;
    remote_server_reset(NULL);
    *heard = (struct heard){""};
    assert_ok(clinfer_router_open(&options, &router));
    assert_ok(clinfer_conversation_create(router, NULL, &conversation));
    assert_ok(clinfer_chat_submit(conversation, &request));
    enum clinfer_status status = clinfer_chat_wait(conversation, NULL);
    clinfer_conversation_destroy(conversation);
    clinfer_router_close(router);
    return status;
}

static const char *const held_back[] = {"w\xC3\xB6rld!", REMOTE_TEXT "!"}; /* the end of the answer; all of it */

/* Who goes on with an answer has to know all that came, not only what was shown. */
static void test_a_remote_is_told_what_was_held_back(void **state) {
    (void)state;
    for (size_t i = 0; i < sizeof held_back / sizeof *held_back; i++) {
        struct heard heard;
        assert_ok(ask_remotes(held_back[i], 2, &heard));
        assert_string_equal(heard.text, REMOTE_TEXT REMOTE_TEXT);
        json_t *log = remote_server_log();
        json_t *messages = json_object_get(json_object_get(json_array_get(log, 1), "body"), "messages");
        assert_int_equal(json_array_size(messages), 3);
        assert_string_equal(json_string_value(json_object_get(json_array_get(messages, 1), "content")), REMOTE_TEXT);
        json_decref(log);
    }
}

static void test_what_was_held_back_is_part_of_an_answer_that_fails(void **state) {
    (void)state;
    for (size_t i = 0; i < sizeof held_back / sizeof *held_back; i++) {
        struct heard heard;
        assert_int_equal(ask_remotes(held_back[i], 1, &heard), CLINFER_REMOTE_FAILED);
        assert_string_equal(heard.text, REMOTE_TEXT);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_remote_is_told_what_was_held_back),
        cmocka_unit_test(test_what_was_held_back_is_part_of_an_answer_that_fails),
    };
    return cmocka_run_group_tests(tests, remote_server_start, remote_server_stop);
}
