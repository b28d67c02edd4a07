#include "hub/ranges.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

bool ci_ranges_add(struct ci_ranges *ranges, uint64_t from, uint64_t to) {
    size_t first = 0;
    while (first < ranges->count && ranges->at[first].to < from) first++;
    size_t end = first;
    struct ci_range whole = {from, to};
    for (; end < ranges->count && ranges->at[end].from <= to; end++) {
        if (ranges->at[end].from < whole.from) whole.from = ranges->at[end].from;
        if (ranges->at[end].to > whole.to) whole.to = ranges->at[end].to;
    }
    if (end == first && ranges->count == CI_RANGES) return false;
    memmove(&ranges->at[first + 1], &ranges->at[end], (ranges->count - end) * sizeof ranges->at[0]);
    ranges->at[first] = whole;
    ranges->count = ranges->count - (end - first) + 1;
    return true;
}

void ci_ranges_cut(struct ci_ranges *ranges, uint64_t length) {
    while (ranges->count && ranges->at[ranges->count - 1].from >= length) ranges->count--;
    if (ranges->count && ranges->at[ranges->count - 1].to > length) ranges->at[ranges->count - 1].to = length;
}

uint64_t ci_ranges_bytes(const struct ci_ranges *ranges) {
    uint64_t bytes = 0;
    for (size_t i = 0; i < ranges->count; i++) bytes += ranges->at[i].to - ranges->at[i].from;
    return bytes;
}

uint64_t ci_ranges_front(const struct ci_ranges *ranges) {
    return ranges->count && ranges->at[0].from == 0 ? ranges->at[0].to : 0;
}

bool ci_ranges_missing(const struct ci_ranges *ranges, uint64_t size, struct ci_range *missing) {
    size_t next = ranges->count && ranges->at[0].from == 0;
    missing->from = next ? ranges->at[0].to : 0;
    missing->to = next < ranges->count && ranges->at[next].from < size ? ranges->at[next].from : size;
    return missing->from < size;
}

void ci_ranges_print(const struct ci_ranges *ranges, char *text) {
    size_t used = 0;
    *text = '\0';
    for (size_t i = 0; i < ranges->count; i++)
        used += (size_t)snprintf(text + used, CI_RANGES_TEXT - used, "%s%" PRIu64 "-%" PRIu64, i ? "," : "",
                                 ranges->at[i].from, ranges->at[i].to);
}

bool ci_ranges_number(const char **text, uint64_t *number) {
    const char *start = *text;
    *number = 0;
    for (; **text >= '0' && **text <= '9'; (*text)++)
        if (__builtin_mul_overflow(*number, 10, number) ||
            __builtin_add_overflow(*number, (uint64_t)(**text - '0'), number))
            return false;
    return *text != start;
}

bool ci_ranges_parse(const char *text, struct ci_ranges *ranges) {
    *ranges = (struct ci_ranges){.count = 0};
    while (*text) {
        struct ci_range range;
        if (ranges->count && *text++ != ',') return false;
        if (!ci_ranges_number(&text, &range.from) || *text++ != '-' || !ci_ranges_number(&text, &range.to))
            return false;
        uint64_t end = ranges->count ? ranges->at[ranges->count - 1].to : 0;
        bool behind = ranges->count ? range.from > end : true;
        if (range.from >= range.to || !behind || ranges->count == CI_RANGES) return false;
        ranges->at[ranges->count++] = range;
    }
    return true;
}
