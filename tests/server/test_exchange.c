/* What becomes of an answer that two threads write, without a network. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "server/exchange_private.h"
#include "server/server_private.h"

static void *finish(void *exchange) {
    ci_stream_write(exchange, "more", 4);
    ci_stream_end(exchange, true);
    return NULL;
}

/* The handler's thread comes to its end between the event that says why and the end of the breach. */
static void break_off(struct ci_exchange *exchange, const struct ci_failure *failure) {
    pthread_t handler;
    ci_stream_write(exchange, failure->message, strlen(failure->message));
    assert_int_equal(pthread_create(&handler, NULL, finish, exchange), 0);
    pthread_join(handler, NULL);
    ci_stream_end(exchange, false);
}

static void test_a_stream_that_is_broken_off_is_not_whole(void **state) {
    (void)state;
    static const struct ci_server_dialect dialect = {.name = "test", .break_off = break_off};
    static const struct ci_failure failure = {.kind = CI_FAIL_UNAVAILABLE, .message = "the server has ended"};
    struct ci_server server = {.log_fd = -1};
    struct ci_exchange *exchange = ci_exchange_create(&server);
    assert_non_null(exchange);
    exchange->dialect = &dialect;
    ci_stream_begin(exchange, "text/event-stream");
    ci_exchange_fail(exchange, &failure);
    assert_true(exchange->ended);
    assert_false(exchange->whole);
    assert_int_equal(exchange->length, strlen(failure.message));
    assert_memory_equal(exchange->bytes, failure.message, exchange->length);
    ci_exchange_release(exchange);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_a_stream_that_is_broken_off_is_not_whole)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
