/* Any text as the URL of a remote: refused without being shown, since a key may stand in it, or taken apart: within its
 * bounds, printable, without user, password, query or fragment; and what results means the same when it is given again.
 */
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/status.h"
#include "remote/address.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_text(const char *text, size_t size) {
    if (!memchr(text, 0, size)) abort();
    for (; *text; text++)
        if ((unsigned char)*text < 0x20 || *text == 0x7f) abort();
}

static void check(const char *url, const char *path) {
    const struct clinfer_remote remote = {.name = "fuzz", .url = url};
    struct ci_address address, again;
    enum clinfer_status status = ci_address_parse(&remote, path, &address);
    if (status != CLINFER_OK) {
        if (status != CLINFER_INVALID_ARGUMENT && status != CLINFER_UNSUPPORTED) abort();
        check_text(ci_status_message(), 1024);
        if (strlen(url) >= 12 && strstr(ci_status_message(), url)) abort();
        return;
    }
    check_text(address.url, sizeof address.url);
    check_text(address.host, sizeof address.host);
    check_text(address.label, sizeof address.label);
    if (!*address.host || strpbrk(address.url, "?#")) abort();
    const char *authority = strstr(address.url, "://") + 3;
    if (memchr(authority, '@', strcspn(authority, "/"))) abort();
    if (strncmp(address.url, address.https ? "https://" : "http://", address.https ? 8 : 7) != 0) abort();
    const struct clinfer_remote whole = {.name = "fuzz", .url = address.url};
    if (ci_address_parse(&whole, path, &again) != CLINFER_OK || strcmp(again.url, address.url) != 0 ||
        strcmp(again.host, address.host) != 0 || again.loopback != address.loopback || again.https != address.https)
        abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    char *url = malloc(size + 1);
    if (!url) return 0;
    memcpy(url, data, size);
    url[size] = 0;
    check(url, "/v1/chat/completions");
    check(url, "/v1/messages");
    free(url);
    return 0;
}
