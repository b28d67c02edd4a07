/* hub_server.h: tests/support/hub_server.py in the background: a Hub, its CDN and Ollama's registry on loopback that
 * fail as the name of a repo asks. hub_switches.py lists the switches, hub_contents.py the repos: "user/tiny" behaves,
 * "x.cdn-status_503_once/tiny" has the same files. */
#ifndef TESTS_SUPPORT_HUB_SERVER_H
#define TESTS_SUPPORT_HUB_SERVER_H

#include <jansson.h>
#include <stddef.h>

/* What gated and private repos of the server want, and nobody else may ever see. */
#define HUB_TOKEN "hf_SentinelOfTheTestsThatNobodyMaySee"

/* Group setup and teardown. SSL_CERT_FILE is the server's authority from then on; the variables of the Hub's clients
 * (HF_*, LLAMA_CACHE, proxies, ...) are unset, HOME is a folder of the test's own. */
int hub_server_start(void **state);
int hub_server_stop(void **state);

/* Unsets these variables, for tests that need no server. */
void hub_server_clear_environment(void);

/* An address for HF_ENDPOINT: "http"; "https", signed by the authority; "untrusted", by another one; "closed", where
 * nobody listens. Valid until the server is stopped. */
const char *hub_server_url(const char *kind);

/* The requests since the last call, an array (hub_server.py says of what); the caller's. What only the first requests
 * of a repo get begins again. An exception in the server fails the test. */
json_t *hub_server_log(void);

/* How many of a log are of such a kind ("refs", "tree", "resolve", "small", "cdn", ...; NULL: all), with such a method
 * (or NULL). */
size_t hub_server_count(const json_t *log, const char *where, const char *method);

/* {"commit", "files": {path: {"size", "sha256", "oid", "etag", "large"}}} of a repo's name (without its namespace); the
 * caller's. */
json_t *hub_server_files(const char *name, int version);

/* "user/name" has another version as main from now on. */
void hub_server_set_version(const char *repo, int version);

/* A name of the test's own: {"name", "version", "files": {path: text | {"file": path} | {"size": bytes}}}. Takes it. */
void hub_server_put(json_t *described);

/* That the token went nowhere but to the Hub's own address, at `endpoint`. */
void hub_server_check_token(const json_t *log, const char *endpoint);

/* Not eight bytes on end of the token are in the text. */
void hub_assert_no_token(const char *text);

#endif
