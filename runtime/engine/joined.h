/* joined.h: prompts that are made of several texts by rules of the vocabulary: a question and a document to be scored,
 * and what stands before and behind a gap to be filled. */
#ifndef CI_ENGINE_JOINED_H
#define CI_ENGINE_JOINED_H

#include <clinfer.h>

#include "base/arena.h"
#include "format/gguf.h"
#include "text/tokenizer.h"

struct ci_joined {
    int32_t prefix, suffix, middle, repo, file; /* tokens of infilling; -1: the vocabulary has none */
    int32_t end, separator;                     /* of pairs; -1: none */
    bool adds_end, adds_separator;              /* behind each of the two; between them */
    const char *template;                       /* of pairs, with {query} and {document}; NULL: none. In `texts` */
};

/* From the file's keys, else by the names of tokens, as llama.cpp finds them (src/llama-vocab.cpp). */
enum clinfer_status ci_joined_read(const struct ci_gguf *gguf, const struct ci_tokenizer *tokenizer,
                                   struct ci_arena *texts, struct ci_joined *joined);

#endif
