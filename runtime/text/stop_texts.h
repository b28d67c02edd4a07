/* stop_texts.h: texts before which an answer ends. What may become one is held back until it is none. */
#ifndef CI_TEXT_STOP_TEXTS_H
#define CI_TEXT_STOP_TEXTS_H

#include <clinfer.h>

struct ci_stop_texts {
    const char *const *texts; /* [count], borrowed */
    size_t count;
    char *held;
    size_t length, capacity;
    bool found;       /* one came up: nothing goes on */
    const char *text; /* that one, of `texts` */
};

/* CLINFER_INVALID_ARGUMENT: one is NULL or empty. */
enum clinfer_status ci_stop_texts_check(const char *const *texts, size_t count);
void ci_stop_texts_begin(struct ci_stop_texts *stop, const char *const *texts, size_t count);

/* Text that comes; what is no part of a stop text goes on to the callback. false: a stop text, the callback wants no
 * more, or memory is out. */
bool ci_stop_texts_push(struct ci_stop_texts *stop, const char *text, size_t length, clinfer_text_callback *callback,
                        void *user);

/* At the end of an answer, whole or not: what might have become a stop text is none. */
bool ci_stop_texts_flush(struct ci_stop_texts *stop, clinfer_text_callback *callback, void *user);
void ci_stop_texts_free(struct ci_stop_texts *stop);

#endif
