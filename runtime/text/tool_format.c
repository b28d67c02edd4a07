#define _GNU_SOURCE
#include "text/tool_format.h"

#include <string.h>

#define CI_TOOL_FORMAT(name) extern const struct ci_tool_format ci_tool_format_##name;
#include "text/tool_format_list.inc"
#undef CI_TOOL_FORMAT

static const struct ci_tool_format *const formats[] = {
#define CI_TOOL_FORMAT(name) &ci_tool_format_##name,
#include "text/tool_format_list.inc"
#undef CI_TOOL_FORMAT
};

bool ci_tool_format_has(const char *text, size_t length, const char *sign) {
    return memmem(text, length, sign, strlen(sign)) != NULL;
}

const struct ci_tool_format *ci_tool_format_find(const char *text, size_t length) {
    for (size_t i = 0; i < sizeof formats / sizeof *formats; i++)
        if (formats[i]->fits(text, length)) return formats[i];
    return NULL;
}

const struct ci_tool_format *ci_tool_format_generic(void) { return &ci_tool_format_json; }

static bool is_part_of(const char *mark, const char *text, size_t length) {
    return mark && memmem(mark, strlen(mark), text, length);
}

bool ci_tool_format_knows(const struct ci_tool_format *format, const char *text, size_t length) {
    if (!format || !length) return false;
    for (int i = 0; i < CI_TOOL_MARKS && format->marks[i].open; i++)
        if (is_part_of(format->marks[i].open, text, length) || is_part_of(format->marks[i].close, text, length))
            return true;
    const struct ci_tool_tags *tags = format->tags;
    const char *const others[] = {format->name_end,
                                  format->id_mark,
                                  tags ? tags->call : NULL,
                                  tags ? tags->id_end : NULL,
                                  tags ? tags->name_end : NULL,
                                  tags ? tags->call_end : NULL,
                                  tags ? tags->key : NULL,
                                  tags ? tags->key_end : NULL,
                                  tags ? tags->value : NULL,
                                  tags ? tags->value_end : NULL,
                                  tags ? tags->quote : NULL};
    for (size_t i = 0; i < sizeof others / sizeof *others; i++)
        if (is_part_of(others[i], text, length)) return true;
    return false;
}
