/* names.h: lists of names for people, as messages have them: "gemv, gemv_dot, cpu". */
#ifndef CI_BASE_NAMES_H
#define CI_BASE_NAMES_H

#include <stddef.h>

/* Adds `name` to the list in text [size], unless it is one of the list already; cut where there is no room. */
void ci_names_add(char *text, size_t size, const char *name);

#endif
