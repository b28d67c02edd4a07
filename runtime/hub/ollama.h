/* ollama.h: a model of Ollama's registry, which speaks the protocol of container registries: a manifest lists layers by
 * media type, digest and size, and the layer "application/vnd.ollama.image.model" is a GGUF file. The pure halves, for
 * tests and fuzzers; ci_hub_pull() does the rest. */
#ifndef CI_HUB_OLLAMA_H
#define CI_HUB_OLLAMA_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <clinfer.h>

#include "net/digest.h"

struct ci_ollama_manifest {
    char digest[CI_DIGEST_BYTES]; /* SHA-256 of the model's file */
    uint64_t size;
    bool has_projector;
};

/* `what` is for messages. CLINFER_REMOTE_FAILED: it is no manifest; CLINFER_UNSUPPORTED: there is no model in it, or
 * what clinfer does not apply (an adapter, weights in several layers). */
enum clinfer_status ci_ollama_manifest_parse(const char *what, const char *text, size_t length,
                                             struct ci_ollama_manifest *manifest);

/* Where a token is to be had, of `WWW-Authenticate: Bearer realm="...",service="...",scope="..."`: an address with its
 * query, encoded; the caller frees it. NULL: it says no such thing. */
char *ci_ollama_token_url(const char *header);

#endif
