/* sampler_sort.c: candidates in order: the first few by a heap of that many, all of them by their bits (a radix sort,
 * which is stable, so that equals stay in the order that they had). */
#include <math.h>
#include <string.h>

#include "engine/sampler.h"

#define INLINE static inline __attribute__((always_inline))

enum { DIGIT_BITS = 8, DIGITS = 1 << DIGIT_BITS, KEY_DIGITS = 32 / DIGIT_BITS };

typedef bool before(const struct ci_candidate *a, const struct ci_candidate *b);

INLINE bool likelier(const struct ci_candidate *a, const struct ci_candidate *b) {
    return a->logit != b->logit ? a->logit > b->logit : a->id < b->id;
}

INLINE bool more_typical(const struct ci_candidate *a, const struct ci_candidate *b) {
    return a->score != b->score ? a->score < b->score : likelier(a, b);
}

/* ---- the first few ---- */

INLINE void swap(struct ci_candidate *a, struct ci_candidate *b) {
    struct ci_candidate kept = *a;
    *a = *b;
    *b = kept;
}

/* Of a heap whose root comes last of all. */
INLINE void sift_down(struct ci_candidate *items, size_t at, size_t count, before *comes_before) {
    for (size_t child = 2 * at + 1; child < count; at = child, child = 2 * at + 1) {
        if (child + 1 < count && comes_before(&items[child], &items[child + 1])) child++;
        if (!comes_before(&items[at], &items[child])) return;
        swap(&items[at], &items[child]);
    }
}

INLINE void sort_first(struct ci_candidate *items, size_t count, size_t first, before *comes_before) {
    for (size_t i = first / 2; i-- > 0;) sift_down(items, i, first, comes_before);
    for (size_t i = first; i < count && first; i++) {
        if (!comes_before(&items[i], &items[0])) continue;
        swap(&items[i], &items[0]);
        sift_down(items, 0, first, comes_before);
    }
    for (size_t last = first; last-- > 1;) {
        swap(&items[0], &items[last]);
        sift_down(items, 0, last, comes_before);
    }
}

/* ---- all ---- */

/* Whole numbers in the order of the floats; both zeros are one. */
INLINE uint32_t rising(float value) {
    uint32_t bits;
    value += 0.0f;
    memcpy(&bits, &value, sizeof bits);
    return bits >> 31 ? ~bits : bits | UINT32_C(1) << 31;
}

INLINE uint32_t key_of_id(const struct ci_candidate *item) { return (uint32_t)item->id; }
INLINE uint32_t key_of_logit(const struct ci_candidate *item) { return ~rising(item->logit); }
INLINE uint32_t key_of_score(const struct ci_candidate *item) { return rising(item->score); }

/* By one digit after the other, the lowest first; a digit that all have in common is left out. */
INLINE void sort_all(struct ci_candidate *items, struct ci_candidate *others, size_t count,
                     uint32_t (*key)(const struct ci_candidate *item)) {
    size_t counts[KEY_DIGITS][DIGITS] = {{0}};
    struct ci_candidate *from = items, *to = others;
    for (size_t i = 0; i < count; i++)
        for (int digit = 0; digit < KEY_DIGITS; digit++)
            counts[digit][key(&items[i]) >> digit * DIGIT_BITS & (DIGITS - 1)]++;
    for (int digit = 0; digit < KEY_DIGITS; digit++) {
        size_t places[DIGITS], place = 0;
        if (counts[digit][key(&from[0]) >> digit * DIGIT_BITS & (DIGITS - 1)] == count) continue;
        for (int i = 0; i < DIGITS; i++) {
            places[i] = place;
            place += counts[digit][i];
        }
        for (size_t i = 0; i < count; i++) to[places[key(&from[i]) >> digit * DIGIT_BITS & (DIGITS - 1)]++] = from[i];
        struct ci_candidate *last = from;
        from = to;
        to = last;
    }
    if (from != items) memcpy(items, from, count * sizeof *items);
}

/* Below so many a heap is as fast. */
enum { FEW = 256 };

static bool are_by_id(const struct ci_sampling *choice) {
    bool sorted = true;
    for (size_t i = 1; i < choice->count; i++) sorted = sorted && choice->items[i - 1].id < choice->items[i].id;
    return sorted;
}

void ci_sampler_sort(struct ci_sampling *choice, size_t first) {
    if (first < choice->count || first < FEW) {
        sort_first(choice->items, choice->count, first, likelier);
    } else {
        if (!are_by_id(choice)) sort_all(choice->items, choice->room->others, choice->count, key_of_id);
        sort_all(choice->items, choice->room->others, choice->count, key_of_logit);
    }
    choice->sorted = first == choice->count;
}

void ci_sampler_sort_by_score(struct ci_sampling *choice, size_t first) {
    if (first < choice->count || first < FEW) {
        sort_first(choice->items, choice->count, first, more_typical);
    } else {
        if (!choice->sorted) ci_sampler_sort(choice, choice->count);
        sort_all(choice->items, choice->room->others, choice->count, key_of_score);
    }
    choice->sorted = false;
}
