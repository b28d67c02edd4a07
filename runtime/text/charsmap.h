/* charsmap.h: SentencePiece's normalisation as files carry it (tokenizer.ggml.precompiled_charsmap): what each sequence
 * of bytes is replaced with, the longest sequence first. */
#ifndef CI_TEXT_CHARSMAP_H
#define CI_TEXT_CHARSMAP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <clinfer.h>

struct ci_text_span;

struct ci_charsmap {
    uint32_t *nodes; /* of a double array, each with the byte that leads to it and where its children are */
    size_t node_count;
    char *replacements; /* [replacement_bytes], each ended by a zero, as the whole is */
    size_t replacement_bytes;
};

/* Copies. An empty span is a map that replaces nothing. CLINFER_BAD_FILE, with `key`, for one that contradicts itself.
 * Destroy it in any case. */
enum clinfer_status ci_charsmap_build(const struct ci_text_span *bytes, const char *key, struct ci_charsmap *map);
void ci_charsmap_destroy(struct ci_charsmap *map);

/* The longest beginning of the text that is replaced: its bytes, and what stands for it; 0: none is. */
size_t ci_charsmap_find(const struct ci_charsmap *map, const char *text, size_t length, const char **replacement);

#endif
