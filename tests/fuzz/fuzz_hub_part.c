/* Any bytes as the record of a part, damaged or made up: what is taken from it is a list of ranges in order, within its
 * size where it has one, and says the same when it is written and read again. Its check sum is put right first, or
 * nothing would come behind it. */
#define _GNU_SOURCE
#include <inttypes.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/hash.h"
#include "hub/part_state.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_ranges(const struct ci_ranges *ranges) {
    char text[CI_RANGES_TEXT];
    struct ci_ranges again;
    struct ci_range missing;
    uint64_t bytes = 0;
    if (ranges->count > CI_RANGES) abort();
    for (size_t i = 0; i < ranges->count; i++) {
        if (ranges->at[i].from >= ranges->at[i].to) abort();
        if (i && ranges->at[i].from <= ranges->at[i - 1].to) abort();
        bytes += ranges->at[i].to - ranges->at[i].from;
    }
    if (ci_ranges_bytes(ranges) != bytes || ci_ranges_front(ranges) > bytes) abort();
    ci_ranges_print(ranges, text);
    if (!memchr(text, 0, sizeof text) || !ci_ranges_parse(text, &again) || again.count != ranges->count) abort();
    if (ci_ranges_missing(ranges, UINT64_MAX, &missing) && missing.from >= missing.to) abort();
}

static void check_cut(const struct ci_ranges *ranges, uint64_t length) {
    struct ci_ranges cut = *ranges;
    ci_ranges_cut(&cut, length);
    check_ranges(&cut);
    if (cut.count && cut.at[cut.count - 1].to > length) abort();
    if (length > 9 && ci_ranges_add(&cut, length - 9, length)) check_ranges(&cut);
}

static void check_slot(const char slot[CI_PART_SLOT]) {
    struct ci_part_state state, again;
    char written[CI_PART_SLOT];
    if (!ci_part_state_parse(slot, &state)) return;
    if (!memchr(state.digest, 0, sizeof state.digest) || !memchr(state.version, 0, sizeof state.version) ||
        !memchr(state.boot, 0, sizeof state.boot))
        abort();
    check_ranges(&state.synced);
    check_ranges(&state.written);
    check_cut(&state.synced, state.size);
    check_cut(&state.written, 1000);
    ci_part_state_print(&state, written);
    if (!ci_part_state_parse(written, &again) || again.size != state.size || again.sequence != state.sequence ||
        strcmp(again.version, state.version) != 0 || again.written.count != state.written.count)
        abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static const char head[] = "clinfer part 1\n";
    char *slot = calloc(1, CI_PART_SLOT), line[64];
    size_t start = sizeof head - 1;
    if (!slot || size + start + sizeof line >= CI_PART_SLOT) {
        free(slot);
        return 0;
    }
    memcpy(slot, data, size);
    check_slot(slot);
    memcpy(slot, head, start);
    memcpy(slot + start, data, size);
    snprintf(line, sizeof line, "sum %016" PRIx64 "\n", ci_hash(CI_HASH_START, data, size));
    memcpy(slot + start + size, line, strlen(line) + 1);
    check_slot(slot);
    free(slot);
    return 0;
}
