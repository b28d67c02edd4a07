/* A request that waits for its turn may be answered with comments while its handler fails: one of both wins, and what
 * went wrong is told. */
#include <string.h>

#include "base/clock.h"
#include "server/dialect.h"
#include "server/exchange_private.h"
#include "server/server_private.h"
#include "support/asserts.h"

static const double long_silence = 1000;

/* The watcher looks at it just now. */
static void fail_late(struct ci_exchange *exchange, const struct ci_failure *failure) {
    ci_exchange_tick(exchange, ci_now() + long_silence);
    ci_reply_json(exchange, 503, json_pack("{s:s}", "error", failure->message));
}

static void break_off(struct ci_exchange *exchange, const struct ci_failure *failure) {
    ci_stream_write(exchange, failure->message, strlen(failure->message));
}

static const struct ci_server_dialect dialect = {.name = "late", .fail = fail_late, .break_off = break_off};
static struct ci_server server = {.options.ping = 1};

static struct ci_exchange *begin(void) {
    struct ci_exchange *exchange = ci_exchange_create(&server);
    assert_non_null(exchange);
    exchange->dialect = &dialect;
    ci_stream_expect_events(exchange);
    return exchange;
}

static void test_failure_is_told_before_comments(void **state) {
    (void)state;
    struct ci_exchange *exchange = begin();
    const struct ci_failure failure = {.kind = CI_FAIL_UNAVAILABLE, .message = "no room"};
    ci_exchange_fail(exchange, &failure);
    assert_int_equal(exchange->status, 503);
    assert_false(exchange->streaming);
    assert_non_null(strstr(exchange->bytes, "no room"));
    ci_exchange_release(exchange);
}

static void test_failure_is_told_behind_comments(void **state) {
    (void)state;
    struct ci_exchange *exchange = begin();
    const struct ci_failure failure = {.kind = CI_FAIL_UNAVAILABLE, .message = "no room"};
    ci_exchange_tick(exchange, ci_now() + long_silence);
    ci_exchange_fail(exchange, &failure);
    assert_int_equal(exchange->status, 200);
    assert_true(exchange->streaming && exchange->ended && !exchange->whole);
    assert_int_equal(strncmp(exchange->bytes, ": still here", strlen(": still here")), 0);
    assert_non_null(strstr(exchange->bytes, "no room"));
    ci_exchange_release(exchange);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_failure_is_told_before_comments),
        cmocka_unit_test(test_failure_is_told_behind_comments),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
