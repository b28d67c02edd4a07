/* normal_form.h: Unicode's normal forms (UAX #15), by utf8proc. */
#ifndef CI_TEXT_NORMAL_FORM_H
#define CI_TEXT_NORMAL_FORM_H

#include <stddef.h>

#include <clinfer.h>

#include "text/tokenizer.h"

/* The text in this form, for the caller to free; *normal stays NULL and *normal_length as it was where the text is in
 * it already (text of ASCII always is) or holds bytes that are no UTF-8. */
enum clinfer_status ci_normalise(enum ci_normal_form form, const char *text, size_t length, char **normal,
                                 size_t *normal_length);

#endif
