#define _GNU_SOURCE
#include "net/digest.h"

#include <assert.h>
#include <dlfcn.h>
#include <inttypes.h>
#include <openssl/evp.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

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
static char problem[256]; /* as `crypto`: written once */
static struct crypto {
#define MEMBER(name) __typeof__(name) *name;
    CRYPTO_LIST(MEMBER)
#undef MEMBER
} crypto;

struct ci_digest {
    EVP_MD_CTX *context;
};

/* `function` is a pointer to a function; C has no cast to one from what dlsym gives. */
static void find(void *library, const char *name, void *function) {
    void *symbol = dlsym(library, name);
    if (!symbol && !*problem) snprintf(problem, sizeof problem, "libcrypto has no %s", name);
    memcpy(function, &symbol, sizeof symbol);
}

static void load(void) {
    void *library = NULL;
    for (size_t i = 0; i < sizeof files / sizeof *files && !library; i++) {
        library = dlopen(files[i], RTLD_NOW | RTLD_LOCAL);
        const char *error = library ? NULL : dlerror();
        if (!library && i == 0) snprintf(problem, sizeof problem, "%s", error ? error : files[i]);
    }
    if (!library) return;
    *problem = 0;
#define FIND(name) find(library, #name, &crypto.name);
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
    if (*problem)
        return ci_fail(CLINFER_UNSUPPORTED, "checksums need libcrypto of OpenSSL (Debian: libssl3): %s", problem);
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
