#include "base/names.h"

#include <stdio.h>
#include <string.h>

void ci_names_add(char *text, size_t size, const char *name) {
    size_t used = strlen(text), length = strlen(name);
    for (const char *at = text; length && (at = strstr(at, name)); at += length)
        if ((at == text || at[-1] == ' ') && (at[length] == 0 || at[length] == ',')) return;
    snprintf(text + used, size - used, "%s%s", used ? ", " : "", name);
}
