/* ranges.h: which bytes of a file are there: a sorted list of ranges that neither touch nor overlap.
 *
 * The list is of fixed size, so that adding to it never allocates. Ranges are begun at the first byte that nobody has
 * or fetches, so there are hardly more of them than connections; the limit stands for files from outside. */
#ifndef CI_HUB_RANGES_H
#define CI_HUB_RANGES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { CI_RANGES = 32, CI_RANGES_TEXT = CI_RANGES * 42 + 1 };

struct ci_range {
    uint64_t from, to; /* bytes [from, to) */
};

struct ci_ranges {
    struct ci_range at[CI_RANGES];
    size_t count;
};

/* Bytes [from, to), from < to. false: there is no room for another range, and nothing was added. */
bool ci_ranges_add(struct ci_ranges *ranges, uint64_t from, uint64_t to);

/* Nothing at or behind `length` stays. */
void ci_ranges_cut(struct ci_ranges *ranges, uint64_t length);

/* All that are there, and those from byte 0 to the first that is not. */
uint64_t ci_ranges_bytes(const struct ci_ranges *ranges);
uint64_t ci_ranges_front(const struct ci_ranges *ranges);

/* The first bytes below `size` that are not there. false: all are. */
bool ci_ranges_missing(const struct ci_ranges *ranges, uint64_t size, struct ci_range *missing);

/* "0-5,7-9": bytes [0, 5) and [7, 9); "" for none. `text` has CI_RANGES_TEXT bytes. */
void ci_ranges_print(const struct ci_ranges *ranges, char *text);

/* false: it is not as ci_ranges_print writes it. */
bool ci_ranges_parse(const char *text, struct ci_ranges *ranges);

/* A number of digits alone that uint64_t holds; *text is behind it then. */
bool ci_ranges_number(const char **text, uint64_t *number);

#endif
