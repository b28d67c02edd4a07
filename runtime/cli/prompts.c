#define _GNU_SOURCE
#include "cli/prompts.h"

#include <ctype.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/status.h"
#include "base/text_file.h"

bool ci_prompts_given(const struct ci_prompt_sources *sources) {
    return sources->words.count || sources->text || sources->files.count || sources->batch;
}

static char *format_name(const char *format, ...) __attribute__((format(printf, 1, 2)));

static char *format_name(const char *format, ...) {
    char *name = NULL;
    va_list arguments;
    va_start(arguments, format);
    if (vasprintf(&name, format, arguments) < 0) name = NULL;
    va_end(arguments);
    return name;
}

/* Takes name and text, which may be NULL for out of memory. */
static enum clinfer_status add(struct ci_prompts *prompts, char *name, char *text, size_t length) {
    struct ci_prompt *grown = NULL;
    if (name && text) grown = realloc(prompts->items, (prompts->count + 1) * sizeof *grown);
    if (!grown) {
        free(name);
        free(text);
        return ci_fail(CLINFER_OUT_OF_MEMORY, "prompt of %zu bytes: out of memory", length);
    }
    /* Of a text of the command line, and where files were put together. */
    size_t mark = ci_text_mark(text, length);
    length -= mark;
    memmove(text, text + mark, length + 1);
    prompts->items = grown;
    prompts->items[prompts->count++] = (struct ci_prompt){name, text, length};
    return CLINFER_OK;
}

static int hexadecimal(char digit) {
    static const char digits[] = "0123456789abcdef";
    const char *at = digit ? strchr(digits, tolower((unsigned char)digit)) : NULL;
    return at ? (int)(at - digits) : -1;
}

/* What the characters behind a backslash stand for, and how many they are; 0: for themselves. */
static size_t escape(const char *text, size_t length, char *byte) {
    static const char letters[] = "nrt\"'\\", bytes[] = "\n\r\t\"'\\";
    const char *at = length && text[0] ? strchr(letters, text[0]) : NULL;
    if (at) {
        *byte = bytes[at - letters];
        return 1;
    }
    if (length < 3 || text[0] != 'x') return 0;
    int high = hexadecimal(text[1]), low = hexadecimal(text[2]);
    if (high < 0 || low < 0) return 0;
    *byte = (char)(16 * high + low);
    return 3;
}

size_t ci_prompts_unescape(char *text, size_t length) {
    size_t kept = 0;
    for (size_t at = 0; at < length; at++) {
        size_t taken = text[at] == '\\' ? escape(text + at + 1, length - at - 1, text + kept) : 0;
        if (!taken) text[kept] = text[at];
        at += taken;
        kept++;
    }
    text[kept] = 0;
    return kept;
}

/* The line break that editors and echo put at the end of a file is not part of a prompt. */
static size_t without_line_break(const char *text, size_t length) {
    if (length && text[length - 1] == '\n') length--;
    if (length && text[length - 1] == '\r') length--;
    return length;
}

static enum clinfer_status add_file(struct ci_prompts *prompts, const char *path) {
    char *text;
    size_t length;
    enum clinfer_status status = ci_text_file_read(path, CI_TEXT_FILE_BYTES, &text, &length);
    if (status != CLINFER_OK) return status;
    length = without_line_break(text, length);
    text[length] = 0;
    return add(prompts, format_name("%s", strcmp(path, "-") == 0 ? "standard input" : path), text, length);
}

static enum clinfer_status add_lines(struct ci_prompts *prompts, const char *path, bool every_line) {
    char *text;
    size_t length;
    enum clinfer_status status = ci_text_file_read(path, CI_TEXT_FILE_BYTES, &text, &length);
    size_t number = 1;
    for (size_t at = 0; status == CLINFER_OK && at < length; number++) {
        const char *end = memchr(text + at, '\n', length - at);
        size_t line = end ? (size_t)(end - text) - at : length - at;
        size_t kept = without_line_break(text + at, line);
        if (kept || every_line) {
            char *copy = calloc(1, kept + 1);
            if (copy) memcpy(copy, text + at, kept);
            status = add(prompts, format_name("line %zu of %s", number, path), copy, kept);
        }
        at += line + 1;
    }
    free(text);
    if (status == CLINFER_OK && !prompts->count)
        return ci_fail(CLINFER_INVALID_ARGUMENT, "--batch %s: has no lines; write one prompt a line", path);
    return status;
}

static enum clinfer_status add_words(struct ci_prompts *prompts, const struct ci_texts *words) {
    size_t length = 0;
    for (size_t i = 0; i < words->count; i++) length += strlen(words->items[i]) + 1;
    char *text = calloc(1, length);
    for (size_t i = 0, at = 0; text && i < words->count; i++) {
        size_t bytes = strlen(words->items[i]);
        memcpy(text + at, words->items[i], bytes);
        at += bytes;
        if (i + 1 < words->count) text[at++] = ' ';
    }
    return add(prompts, format_name("prompt"), text, length - 1);
}

enum clinfer_status ci_prompts_read(const struct ci_prompt_sources *sources, struct ci_prompts *prompts) {
    *prompts = (struct ci_prompts){0};
    if (!!sources->words.count + !!sources->text + !!sources->files.count + !!sources->batch > 1)
        return ci_fail(CLINFER_INVALID_ARGUMENT, "the prompt is given in several ways:%s%s%s%s; choose one",
                       sources->words.count ? " words" : "", sources->text ? " -p" : "",
                       sources->files.count ? " -f" : "", sources->batch ? " --batch" : "");
    enum clinfer_status status = CLINFER_OK;
    if (sources->words.count) {
        status = add_words(prompts, &sources->words);
    } else if (sources->text) {
        status = add(prompts, format_name("prompt"), strdup(sources->text), strlen(sources->text));
    } else if (sources->batch) {
        status = add_lines(prompts, sources->batch, sources->every_line);
    } else if (sources->files.count) {
        for (size_t i = 0; status == CLINFER_OK && i < sources->files.count; i++)
            status = add_file(prompts, sources->files.items[i]);
    } else {
        status = add_file(prompts, "-");
    }
    for (size_t i = 0; status == CLINFER_OK && i < prompts->count; i++) {
        struct ci_prompt *prompt = &prompts->items[i];
        if (sources->escape) prompt->length = ci_prompts_unescape(prompt->text, prompt->length);
        if (!prompt->length && !(sources->batch && sources->every_line))
            status =
                ci_fail(CLINFER_INVALID_ARGUMENT,
                        "%s is empty; give the text as an argument, with -p or -f, or on standard input", prompt->name);
    }
    return status;
}

enum clinfer_status ci_prompts_read_text(const char *flag, const char *path, char **text) {
    struct ci_prompts prompts = {0};
    *text = NULL;
    enum clinfer_status status = add_file(&prompts, path);
    if (status == CLINFER_OK && strlen(prompts.items[0].text) != prompts.items[0].length)
        status = ci_fail(CLINFER_BAD_FILE, "%s: byte %zu is zero; it is text", path, strlen(prompts.items[0].text));
    if (status == CLINFER_OK) {
        *text = prompts.items[0].text;
        prompts.items[0].text = NULL;
    } else {
        status = ci_fail_prefix(status, "%s", flag);
    }
    ci_prompts_free(&prompts);
    return status;
}

void ci_prompts_free(struct ci_prompts *prompts) {
    for (size_t i = 0; i < prompts->count; i++) {
        free(prompts->items[i].name);
        free(prompts->items[i].text);
    }
    free(prompts->items);
    *prompts = (struct ci_prompts){0};
}
