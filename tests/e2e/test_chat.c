/* The chat, driven through a terminal of its own. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <string.h>
#include <termios.h>

#include "support/process.h"

static void expect(struct process_terminal *terminal, size_t *at, const char *wanted) {
    if (!process_terminal_expect(terminal, at, wanted)) fail_msg("\"%s\" did not show up", wanted);
}

static void start(struct process_terminal *terminal, const char *tokens) {
    /* The exact model's words: rounded to 8 bits, so small a model may answer otherwise. */
    process_terminal_start(terminal, process_tool(), "run", "-m", process_model(), "--temp", "0", "-n", tokens,
                           "--activations", "f32", "--color", "off", NULL);
}

static void test_chat_keeps_the_conversation(void **state) {
    (void)state;
    struct process_terminal terminal;
    size_t at = 0;
    start(&terminal, "24");
    expect(&terminal, &at, "> ");
    process_terminal_type(&terminal, "What is the capital of France?\n");
    expect(&terminal, &at, "Paris");
    expect(&terminal, &at, "first after");
    expect(&terminal, &at, "> ");
    process_terminal_type(&terminal, "And of \\\n");
    expect(&terminal, &at, "... ");
    process_terminal_type(&terminal, "Italy?\n");
    /* The first turn is still in the KV cache. */
    expect(&terminal, &at, "cached)");
    expect(&terminal, &at, "> ");
    process_terminal_type(&terminal, "/exit\n");
    assert_int_equal(process_terminal_finish(&terminal), 0);
}

static void test_interrupt_stops_the_answer_and_keeps_the_terminal(void **state) {
    (void)state;
    struct process_terminal terminal;
    struct termios before, after;
    size_t at = 0;
    start(&terminal, "-1");
    expect(&terminal, &at, "> ");
    assert_int_equal(tcgetattr(terminal.fd, &before), 0);
    process_terminal_type(&terminal, "Write a long story about a dog.\n");
    expect(&terminal, &at, "dog.\r\n");
    expect(&terminal, &at, " ");
    process_terminal_type(&terminal, "\x03");
    expect(&terminal, &at, "clinfer: stopped");
    expect(&terminal, &at, "> ");
    assert_int_equal(tcgetattr(terminal.fd, &after), 0);
    assert_int_equal(after.c_lflag, before.c_lflag);
    assert_int_equal(after.c_iflag, before.c_iflag);
    assert_int_equal(after.c_oflag, before.c_oflag);
    process_terminal_type(&terminal, "What is the capital of France?\n");
    expect(&terminal, &at, "Paris");
    expect(&terminal, &at, "> ");
    process_terminal_type(&terminal, "\x03");
    expect(&terminal, &at, "Ctrl-C again");
    expect(&terminal, &at, "> ");
    process_terminal_type(&terminal, "\x03");
    assert_int_equal(process_terminal_finish(&terminal), 0);
}

static void test_commands_of_the_chat(void **state) {
    (void)state;
    struct process_terminal terminal;
    size_t at = 0;
    start(&terminal, "4");
    expect(&terminal, &at, "> ");
    process_terminal_type(&terminal, "/nonsense\n");
    expect(&terminal, &at, "unknown command /nonsense; there are /clear, /exit and /help");
    process_terminal_type(&terminal, "hello\n");
    expect(&terminal, &at, "31 prompt tokens at ");
    process_terminal_type(&terminal, "/clear\n");
    expect(&terminal, &at, "a new conversation");
    /* As long a prompt as the first: nothing of that is left in it, only the beginning of the template is cached. */
    process_terminal_type(&terminal, "hello\n");
    expect(&terminal, &at, "1 prompt tokens (+30 cached)");
    process_terminal_type(&terminal, "\x04");
    assert_int_equal(process_terminal_finish(&terminal), 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_chat_keeps_the_conversation),
        cmocka_unit_test(test_interrupt_stops_the_answer_and_keeps_the_terminal),
        cmocka_unit_test(test_commands_of_the_chat),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
