/* remote_server.h: tests/support/remote_server.py in the background, and requests to it whose words are kept.
 *
 * Every request carries the sentinel as its key (where one may), and retries wait for hundredths of a second. */
#ifndef TESTS_SUPPORT_REMOTE_SERVER_H
#define TESTS_SUPPORT_REMOTE_SERVER_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>

#include <clinfer.h>

#include "remote/remote.h"

/* The key, and the variable that holds it. */
#define REMOTE_KEY "sk-sentinel-0f9e8d7c6b5a"
#define REMOTE_KEY_VARIABLE "CLINFER_TEST_REMOTE_KEY"

/* What the scripts that answer well say. */
#define REMOTE_TEXT "Hello w\xC3\xB6rld"

/* Group setup and teardown; SSL_CERT_FILE is the server's authority from then on. */
int remote_server_start(void **state);
int remote_server_stop(void **state);

/* Test setup: forgets what failed and what was logged. */
int remote_server_reset(void **state);

/* "http", "closed", or a kind of TLS. Valid until the next but seven calls. */
const char *remote_server_url(const char *kind, const char *script);

/* The requests that came since the last call, an array; the caller's. An exception in a script fails the test. */
json_t *remote_server_log(void);
size_t remote_server_count(void); /* how many */

/* "openai" at the server's plain port, the key in the variable, a few seconds for everything. */
struct clinfer_remote remote_at(const char *url);

struct clinfer_remote remote_without_key(const char *url);

/* One user's message. */
struct ci_remote_request remote_request(void);

struct remote_asked {
    enum clinfer_status status;
    struct ci_remote_result result;
    char message[1100]; /* "" when all went well */
    char text[8192];    /* the first bytes of the answer */
    size_t used;
    double seconds;
};

/* callback and user are set here. */
void remote_ask(const struct clinfer_remote *remote, const struct ci_remote_request *request,
                struct remote_asked *asked);

/* And it goes well; or not, and the message says so, without the key. */
void remote_ask_well(const struct clinfer_remote *remote, const struct ci_remote_request *request,
                     struct remote_asked *asked);
void remote_ask_badly(const struct clinfer_remote *remote, enum clinfer_status status, const char *says);

/* The only request that the server got, of *log, which is the caller's. */
json_t *remote_one_request(json_t **log);

/* That the server got so many requests, and each the key in the one header where it belongs, and what else the dialect
 * wants. */
void remote_check_requests(size_t count, bool anthropic);

/* What the library logged since the reset, at all levels. */
extern char remote_log[1 << 16];

/* Neither message nor log nor text has the key, or eight bytes of it on end. */
void remote_assert_no_key(const char *text);

#endif
