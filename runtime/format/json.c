#include "format/json.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/status.h"
#include "base/text_file.h"

/* jansson quotes what it does not understand. */
static void printable(char *text) {
    for (; *text; text++)
        if ((unsigned char)*text < 0x20 || *text == 0x7f) *text = '?';
}

bool ci_json_is_printable(const char *text) {
    for (; *text; text++)
        if ((unsigned char)*text < 0x20 || *text == 0x7f) return false;
    return true;
}

enum clinfer_status ci_json_parse(const char *path, const char *text, size_t length, json_t **object) {
    json_error_t error;
    size_t mark = ci_text_mark(text, length);
    *object = NULL;
    json_t *top = json_loadb(text + mark, length - mark, JSON_REJECT_DUPLICATES, &error);
    if (!top && json_error_code(&error) == json_error_out_of_memory)
        return ci_fail(CLINFER_OUT_OF_MEMORY, "%s: out of memory", path);
    if (!top) {
        printable(error.text);
        return ci_fail(CLINFER_BAD_FILE, "%s: line %d, column %d: is not JSON: %s", path, error.line, error.column,
                       error.text);
    }
    if (!json_is_object(top)) {
        json_decref(top);
        return ci_fail(CLINFER_BAD_FILE, "%s: must hold one JSON object", path);
    }
    *object = top;
    return CLINFER_OK;
}

enum clinfer_status ci_json_read(const char *path, size_t most, json_t **object) {
    char *text = NULL;
    size_t length;
    *object = NULL;
    enum clinfer_status status = ci_file_read(path, most, &text, &length);
    if (status == CLINFER_OK) status = ci_json_parse(path, text, length, object);
    free(text);
    return status;
}

const char *ci_json_shown(const json_t *value, char text[CI_JSON_SHOWN]) {
    if (!value) return "missing";
    size_t length = json_dumpb(value, text, CI_JSON_SHOWN - 1, JSON_ENCODE_ANY | JSON_COMPACT | JSON_ENSURE_ASCII);
    if (length > 0 && length < CI_JSON_SHOWN) {
        text[length] = 0;
        printable(text); /* jansson escapes all that is not ASCII, but not DEL */
        return text;
    }
    snprintf(text, CI_JSON_SHOWN, "%s",
             json_is_object(value)  ? "an object"
             : json_is_array(value) ? "a long list"
                                    : "a long text");
    return text;
}
