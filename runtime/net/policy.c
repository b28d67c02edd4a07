#define _GNU_SOURCE
#include "net/policy.h"

#include <arpa/inet.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

/* libcurl itself makes "localhost" this host, and any other name is somebody's word. */
bool ci_net_is_loopback(const char *host) {
    struct in_addr four;
    if (strcasecmp(host, "localhost") == 0 || strcmp(host, "[::1]") == 0) return true;
    return inet_pton(AF_INET, host, &four) == 1 && ntohl(four.s_addr) >> 24 == 127;
}

static bool is_set(const char *name) {
    const char *value = getenv(name);
    return value && *value;
}

static const char *bundle_variable(void) {
    if (is_set("CURL_CA_BUNDLE")) return "CURL_CA_BUNDLE";
    return is_set("SSL_CERT_FILE") ? "SSL_CERT_FILE" : NULL;
}

const char *ci_net_certificate_variable(void) {
    const char *bundle = bundle_variable();
    if (bundle) return bundle;
    return is_set("SSL_CERT_DIR") ? "SSL_CERT_DIR" : NULL;
}

bool ci_net_set_policy(CURL *easy, bool direct) {
    const char *bundle = bundle_variable();
    bool good = ci_curl->easy_setopt(easy, CURLOPT_PROTOCOLS_STR, "http,https") == CURLE_OK &&
                ci_curl->easy_setopt(easy, CURLOPT_FOLLOWLOCATION, 0L) == CURLE_OK &&
                ci_curl->easy_setopt(easy, CURLOPT_SSL_VERIFYPEER, 1L) == CURLE_OK &&
                ci_curl->easy_setopt(easy, CURLOPT_SSL_VERIFYHOST, 2L) == CURLE_OK &&
                ci_curl->easy_setopt(easy, CURLOPT_SSLVERSION, (long)CURL_SSLVERSION_TLSv1_2) == CURLE_OK &&
                ci_curl->easy_setopt(easy, CURLOPT_NETRC, (long)CURL_NETRC_IGNORED) == CURLE_OK &&
                ci_curl->easy_setopt(easy, CURLOPT_HEADEROPT, (long)CURLHEADER_SEPARATE) == CURLE_OK;
    if (good && bundle) good = ci_curl->easy_setopt(easy, CURLOPT_CAINFO, getenv(bundle)) == CURLE_OK;
    if (good && is_set("SSL_CERT_DIR"))
        good = ci_curl->easy_setopt(easy, CURLOPT_CAPATH, getenv("SSL_CERT_DIR")) == CURLE_OK;
    if (good && direct) good = ci_curl->easy_setopt(easy, CURLOPT_PROXY, "") == CURLE_OK;
    return good;
}
