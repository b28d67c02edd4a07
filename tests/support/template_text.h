/* template_text.h: a template from its text to what it renders, and texts as long as one likes. */
#ifndef TESTS_SUPPORT_TEMPLATE_TEXT_H
#define TESTS_SUPPORT_TEMPLATE_TEXT_H

#include <stdlib.h>
#include <string.h>

#include "text/template.h"

/* `limits` may be NULL. */
static inline enum clinfer_status template_render(const char *source, const json_t *context,
                                                  const struct ci_template_limits *limits,
                                                  struct ci_rendered *rendered) {
    struct ci_template *template;
    *rendered = (struct ci_rendered){0};
    enum clinfer_status status = ci_template_create(source, strlen(source), &template);
    if (status == CLINFER_OK) status = ci_template_render(template, context, limits, rendered);
    ci_template_destroy(template);
    return status;
}

/* `unit` so often that `size` bytes are full; the caller frees. */
static inline char *template_repeated(const char *unit, size_t size) {
    size_t length = strlen(unit), count = size / length;
    char *text = malloc(count * length + 1);
    for (size_t i = 0; text && i < count; i++) memcpy(text + i * length, unit, length);
    if (text) text[count * length] = 0;
    return text;
}

#endif
