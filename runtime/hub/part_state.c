#define _GNU_SOURCE
#include "hub/part_state.h"

#include <assert.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/hash.h"

static const char head[] = "clinfer part 1\n";

void ci_part_state_print(const struct ci_part_state *state, char slot[CI_PART_SLOT]) {
    char synced[CI_RANGES_TEXT], written[CI_RANGES_TEXT], body[CI_PART_SLOT];
    ci_ranges_print(&state->synced, synced);
    ci_ranges_print(&state->written, written);
    int length =
        snprintf(body, sizeof body,
                 "sequence %" PRIu64 "\nsize %" PRIu64 "\ndigest %s\nversion %s\nboot %s\nsynced %s\nwritten %s\n",
                 state->sequence, state->size, state->digest, state->version, state->boot, synced, written);
    memset(slot, 0, CI_PART_SLOT);
    uint64_t sum = ci_hash(CI_HASH_START, body, (size_t)length);
    length = snprintf(slot, CI_PART_SLOT, "%s%ssum %016" PRIx64 "\n", head, body, sum);
    assert(length < CI_PART_SLOT);
}

/* The rest of the line that begins with "name ", which ends with a zero from then on; *at becomes the next line. */
static const char *line(char **at, const char *name) {
    size_t length = strlen(name);
    char *end = strchr(*at, '\n');
    if (!end || strncmp(*at, name, length) || (*at)[length] != ' ') return NULL;
    const char *value = *at + length + 1;
    *end = '\0';
    *at = end + 1;
    return value;
}

static bool copy(char **at, const char *name, char *value, size_t size) {
    const char *text = line(at, name);
    return text && (size_t)snprintf(value, size, "%s", text) < size;
}

static bool number(char **at, const char *name, int base, uint64_t *value) {
    const char *text = line(at, name);
    char *end;
    if (!text || !*text) return false;
    *value = strtoull(text, &end, base);
    return !*end;
}

static bool ranges(char **at, const char *name, struct ci_ranges *value) {
    const char *text = line(at, name);
    return text && ci_ranges_parse(text, value);
}

bool ci_part_state_parse(const char slot[CI_PART_SLOT], struct ci_part_state *state) {
    char text[CI_PART_SLOT + 1];
    memcpy(text, slot, CI_PART_SLOT);
    text[CI_PART_SLOT] = '\0';
    char *sum_line = strstr(text, "\nsum ");
    if (strncmp(text, head, sizeof head - 1) || !sum_line) return false;
    char *at = text + sizeof head - 1, *sum_at = sum_line + 1;
    uint64_t told, sum = ci_hash(CI_HASH_START, at, (size_t)(sum_at - at));
    return number(&sum_at, "sum", 16, &told) && told == sum && number(&at, "sequence", 10, &state->sequence) &&
           number(&at, "size", 10, &state->size) && copy(&at, "digest", state->digest, sizeof state->digest) &&
           copy(&at, "version", state->version, sizeof state->version) &&
           copy(&at, "boot", state->boot, sizeof state->boot) && ranges(&at, "synced", &state->synced) &&
           ranges(&at, "written", &state->written);
}

bool ci_part_state_read(int descriptor, struct ci_part_state *state) {
    struct ci_part_state found;
    char slot[CI_PART_SLOT];
    bool any = false;
    for (int i = 0; i < 2; i++) {
        ssize_t got = pread(descriptor, slot, sizeof slot, (off_t)i * CI_PART_SLOT);
        if (got != (ssize_t)sizeof slot || !ci_part_state_parse(slot, &found)) continue;
        if (!any || found.sequence > state->sequence) *state = found;
        any = true;
    }
    return any;
}

bool ci_part_state_write(int descriptor, struct ci_part_state *state) {
    char slot[CI_PART_SLOT];
    state->sequence++;
    ci_part_state_print(state, slot);
    return pwrite(descriptor, slot, sizeof slot, (off_t)(state->sequence % 2) * CI_PART_SLOT) == (ssize_t)sizeof slot;
}

void ci_part_boot(char boot[CI_PART_BOOT_BYTES]) {
    int descriptor = open("/proc/sys/kernel/random/boot_id", O_RDONLY | O_CLOEXEC);
    ssize_t got = descriptor < 0 ? -1 : read(descriptor, boot, CI_PART_BOOT_BYTES - 1);
    if (descriptor >= 0) close(descriptor);
    boot[got > 0 ? got : 0] = '\0';
    boot[strcspn(boot, "\n")] = '\0';
}
