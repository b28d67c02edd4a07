/* normal_form.c: see normal_form.h. */
#include "text/normal_form.h"

#include <stdint.h>
#include <utf8proc.h>

#include "base/status.h"
#include "text/utf8.h"

static const utf8proc_option_t options_of[] = {
    [CI_NORMAL_NFC] = UTF8PROC_STABLE | UTF8PROC_COMPOSE,
    [CI_NORMAL_NFD] = UTF8PROC_STABLE | UTF8PROC_DECOMPOSE,
    [CI_NORMAL_NFKC] = UTF8PROC_STABLE | UTF8PROC_COMPOSE | UTF8PROC_COMPAT,
    [CI_NORMAL_NFKD] = UTF8PROC_STABLE | UTF8PROC_DECOMPOSE | UTF8PROC_COMPAT,
};

enum clinfer_status ci_normalise(enum ci_normal_form form, const char *text, size_t length, char **normal,
                                 size_t *normal_length) {
    size_t ascii = 0;
    *normal = NULL;
    if (form == CI_NORMAL_AS_IT_IS) return CLINFER_OK;
    while (ascii < length && (uint8_t)text[ascii] < 128) ascii++;
    if (ascii == length || ci_utf8_valid(text, length) != length) return CLINFER_OK;
    utf8proc_uint8_t *mapped = NULL;
    utf8proc_ssize_t bytes =
        utf8proc_map((const utf8proc_uint8_t *)text, (utf8proc_ssize_t)length, &mapped, options_of[form]);
    if (bytes < 0)
        return ci_fail(bytes == UTF8PROC_ERROR_NOMEM ? CLINFER_OUT_OF_MEMORY : CLINFER_INVALID_ARGUMENT,
                       "normalising %zu bytes of text: %s", length, utf8proc_errmsg(bytes));
    *normal = (char *)mapped;
    *normal_length = (size_t)bytes;
    return CLINFER_OK;
}
