/* policy.h: what holds for every request that leaves this machine, whoever sends it: http and https only, certificates
 * always verified, TLS 1.2 or later, no .netrc, no redirect that libcurl would follow by itself.
 *
 * Certificates are those of $CURL_CA_BUNDLE, $SSL_CERT_FILE or $SSL_CERT_DIR if set, as curl does, else the system's.
 * Proxies are those of the usual variables ($https_proxy, $HTTPS_PROXY, $NO_PROXY, ...), and headers for a server never
 * reach them; this host itself is never asked through one. */
#ifndef CI_NET_POLICY_H
#define CI_NET_POLICY_H

#include <stdbool.h>

#include "net/curl.h"

/* `host` as in a URL, an IPv6 address in brackets. Names are not looked up. */
bool ci_net_is_loopback(const char *host);

/* false: libcurl did not take something. `direct`: not by a proxy. */
bool ci_net_set_policy(CURL *easy, bool direct);

/* The variable that names the certificates, NULL: none does. */
const char *ci_net_certificate_variable(void);

#endif
