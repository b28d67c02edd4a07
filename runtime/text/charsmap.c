/* charsmap.c: see charsmap.h.
 *
 * The map is 32 bits of length, a double array of that many bytes, and the replacements. The array is darts-clone's
 * (Yata): the low 8 bits of a node are the byte that leads to it, bit 8 says that a sequence ends here, the upper bits,
 * shifted by 8 more if bit 9 is set, are XORed with the node's index to find its children. Of the node that ends a
 * sequence (its "child" for the byte 0) the lower 31 bits are the place of the replacement. A damaged map may lead
 * anywhere, so every step is checked: what lies outside matches nothing. */
#include "text/charsmap.h"

#include <stdlib.h>
#include <string.h>

#include "base/status.h"
#include "text/tokenizer.h"

static uint32_t u32(const char *bytes) {
    const uint8_t *b = (const uint8_t *)bytes;
    return (uint32_t)b[0] | (uint32_t)b[1] << 8 | (uint32_t)b[2] << 16 | (uint32_t)b[3] << 24;
}

enum clinfer_status ci_charsmap_build(const struct ci_text_span *bytes, const char *key, struct ci_charsmap *map) {
    memset(map, 0, sizeof *map);
    if (bytes->length == 0) return CLINFER_OK;
    uint32_t size = bytes->length < 4 ? 0 : u32(bytes->text);
    if (bytes->length < 4 || size % 4 != 0 || size > bytes->length - 4)
        return ci_fail(CLINFER_BAD_FILE, "%s: %zu bytes with an array of %u; the file is damaged", key, bytes->length,
                       size);
    map->node_count = size / 4;
    map->replacement_bytes = bytes->length - 4 - size;
    const char *replacements = bytes->text + 4 + size;
    if (map->replacement_bytes == 0 || replacements[map->replacement_bytes - 1] != 0)
        return ci_fail(CLINFER_BAD_FILE, "%s: the last replacement has no end; the file is damaged", key);
    map->nodes = malloc(size ? size : 1);
    map->replacements = malloc(map->replacement_bytes);
    if (!map->nodes || !map->replacements) return ci_fail(CLINFER_OUT_OF_MEMORY, "%s: out of memory", key);
    for (size_t i = 0; i < map->node_count; i++) map->nodes[i] = u32(bytes->text + 4 + 4 * i);
    memcpy(map->replacements, replacements, map->replacement_bytes);
    return CLINFER_OK;
}

void ci_charsmap_destroy(struct ci_charsmap *map) {
    free(map->nodes);
    free(map->replacements);
    memset(map, 0, sizeof *map);
}

static uint32_t children_of(uint32_t node) { return node >> 10 << ((node & UINT32_C(1) << 9) >> 6); }

size_t ci_charsmap_find(const struct ci_charsmap *map, const char *text, size_t length, const char **replacement) {
    size_t found = 0;
    if (map->node_count == 0) return 0;
    uint32_t at = children_of(map->nodes[0]);
    for (size_t i = 0; i < length; i++) {
        uint8_t byte = (uint8_t)text[i];
        at ^= byte;
        if (byte == 0 || at >= map->node_count || (map->nodes[at] & (UINT32_C(1) << 31 | 0xff)) != byte) break;
        bool ends = map->nodes[at] >> 8 & 1;
        at ^= children_of(map->nodes[at]);
        if (!ends || at >= map->node_count) continue;
        uint32_t place = map->nodes[at] & ~(UINT32_C(1) << 31);
        if (place >= map->replacement_bytes) continue;
        *replacement = map->replacements + place;
        found = i + 1;
    }
    return found;
}
