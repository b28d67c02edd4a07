#define _GNU_SOURCE
#include "net/digest.h"

#include <assert.h>
#include <inttypes.h>
#include <openssl/evp.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/library.h"
#include "base/status.h"

/* 1.1 has all of these, too. */
static const char *const files[] = {"libcrypto.so.3", "libcrypto.so.1.1"};

#define CRYPTO_LIST(X)                                                                                                 \
    X(EVP_MD_CTX_new)                                                                                                  \
    X(EVP_MD_CTX_free)                                                                                                 \
    X(EVP_DigestInit_ex)                                                                                               \
    X(EVP_DigestUpdate)                                                                                                \
    X(EVP_DigestFinal_ex)                                                                                              \
    X(EVP_sha256)                                                                                                      \
    X(EVP_sha1)

static pthread_once_t once = PTHREAD_ONCE_INIT;
static struct ci_library library; /* as `crypto`: written once */
static struct crypto {
#define MEMBER(name) __typeof__(name) *name;
    CRYPTO_LIST(MEMBER)
#undef MEMBER
} crypto;

struct ci_digest {
    EVP_MD_CTX *context;
};

static void load(void) {
    ci_library_open(&library, files, sizeof files / sizeof *files);
#define FIND(name) ci_library_find(&library, #name, &crypto.name, sizeof crypto.name);
    CRYPTO_LIST(FIND)
#undef FIND
}

static bool is_hexadecimal(const char *text) { return text[strspn(text, "0123456789abcdefABCDEF")] == 0; }

static bool start(struct ci_digest *digest, bool git, uint64_t size) {
    digest->context = crypto.EVP_MD_CTX_new();
    const EVP_MD *kind = git ? crypto.EVP_sha1() : crypto.EVP_sha256();
    if (!digest->context || crypto.EVP_DigestInit_ex(digest->context, kind, NULL) != 1) return false;
    char head[32];
    int length = snprintf(head, sizeof head, "blob %" PRIu64, size);
    return !git || crypto.EVP_DigestUpdate(digest->context, head, (size_t)length + 1) == 1;
}

enum clinfer_status ci_digest_create(const char *like, uint64_t size, struct ci_digest **digest) {
    *digest = NULL;
    size_t digits = strlen(like);
    if ((digits != 64 && digits != 40) || !is_hexadecimal(like))
        return ci_fail(CLINFER_INVALID_ARGUMENT, "\"%.80s\" is neither a SHA-256 nor a SHA-1", like);
    pthread_once(&once, load);
    if (*library.problem)
        return ci_fail(CLINFER_UNSUPPORTED, "checksums need libcrypto of OpenSSL (Debian: libssl3): %s",
                       library.problem);
    struct ci_digest *made = calloc(1, sizeof *made);
    if (!made || !start(made, digits == 40, size)) {
        ci_digest_destroy(made);
        return ci_fail(CLINFER_OUT_OF_MEMORY, "a checksum cannot be started: out of memory");
    }
    *digest = made;
    return CLINFER_OK;
}

/* Neither of these two fails for a digest that has started. */
void ci_digest_add(struct ci_digest *digest, const void *bytes, size_t length) {
    int good = crypto.EVP_DigestUpdate(digest->context, bytes, length);
    assert(good == 1);
    (void)good;
}

void ci_digest_end(struct ci_digest *digest, char text[CI_DIGEST_BYTES]) {
    unsigned char bytes[EVP_MAX_MD_SIZE];
    unsigned count = 0;
    int good = crypto.EVP_DigestFinal_ex(digest->context, bytes, &count);
    assert(good == 1 && count <= 32);
    (void)good;
    for (unsigned i = 0; i < count; i++) snprintf(text + 2 * i, 3, "%02x", bytes[i]);
    ci_digest_destroy(digest);
}

void ci_digest_destroy(struct ci_digest *digest) {
    if (!digest) return;
    if (digest->context) crypto.EVP_MD_CTX_free(digest->context);
    free(digest);
}
