/* special.h: finds special tokens inside text. */
#ifndef CI_TEXT_SPECIAL_H
#define CI_TEXT_SPECIAL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <clinfer.h>

struct ci_vocabulary;

/* The special tokens sorted by text. A place in the text narrows the range of those that agree with it byte by byte, so
 * the time per place does not grow with their number. */
struct ci_special {
    struct ci_special_token {
        const char *text; /* borrowed from the vocabulary */
        uint32_t length;
        int32_t id;
        bool always; /* user-defined: also without `control` */
    } * tokens;
    size_t count;
    bool starts[256]; /* whether any starts with this byte */
};

/* Fails on a special token longer than CI_SPECIAL_MAXIMUM: the bound on the time per place. Destroy it in any case. */
enum { CI_SPECIAL_MAXIMUM = 1024 };
enum clinfer_status ci_special_build(const struct ci_vocabulary *vocabulary, struct ci_special *special);
void ci_special_destroy(struct ci_special *special);

/* The longest special token at the first place that has one: its id and where it stands; -1 when there is none.
 * `control` decides whether control tokens count. */
int32_t ci_special_find(const struct ci_special *special, const char *text, size_t length, bool control, size_t *begin,
                        size_t *end);

#endif
