/* special.h: finds special tokens inside text. */
#ifndef CI_TEXT_SPECIAL_H
#define CI_TEXT_SPECIAL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <clinfer.h>

struct ci_rendered_run;
struct ci_vocabulary;

/* The special tokens sorted by text. A place in the text narrows the range of those that agree with it byte by byte, so
 * the time per place does not grow with their number. */
struct ci_special {
    struct ci_special_token {
        const char *text; /* borrowed from the vocabulary */
        uint32_t length;
        int32_t id;
        bool always; /* user-defined: whoever wrote it */
    } * tokens;
    size_t count;
    bool starts[256]; /* whether any starts with this byte */
};

/* Fails on a special token longer than CI_SPECIAL_MAXIMUM: the bound on the time per place. Destroy it in any case. */
enum { CI_SPECIAL_MAXIMUM = 1024 };
enum clinfer_status ci_special_build(const struct ci_vocabulary *vocabulary, struct ci_special *special);
void ci_special_destroy(struct ci_special *special);

/* Who wrote which bytes of a text: control tokens count only where none of theirs is input. A cursor that goes forward:
 * start it with runs and count alone. */
struct ci_special_origins {
    const struct ci_rendered_run *runs; /* of all bytes */
    size_t count;
    size_t index, begin; /* the run that was looked at last, and where it begins */
};

/* The longest special token at the first place from `at` on that has one: its id and where it stands; -1 when there is
 * none. */
int32_t ci_special_find(const struct ci_special *special, const char *text, size_t at, size_t length,
                        struct ci_special_origins *origins, size_t *begin, size_t *end);

#endif
