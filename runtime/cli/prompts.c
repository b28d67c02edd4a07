#define _GNU_SOURCE
#include "cli/prompts.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/status.h"

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
    prompts->items = grown;
    prompts->items[prompts->count++] = (struct ci_prompt){name, text, length};
    return CLINFER_OK;
}

/* The text is the caller's, whatever comes back. */
static enum clinfer_status read_stream(FILE *file, const char *name, char **text, size_t *length) {
    size_t capacity = 0;
    do {
        if (capacity - *length < 4096) {
            capacity = capacity ? 2 * capacity : 16384;
            char *grown = realloc(*text, capacity);
            if (!grown) return ci_fail(CLINFER_OUT_OF_MEMORY, "%s: out of memory after %zu bytes", name, *length);
            *text = grown;
        }
        *length += fread(*text + *length, 1, capacity - *length - 1, file);
        if (ferror(file)) return ci_fail(CLINFER_IO, "%s: %s", name, strerror(errno));
    } while (!feof(file));
    (*text)[*length] = 0;
    return CLINFER_OK;
}

static enum clinfer_status read_file(const char *path, char **text, size_t *length) {
    *text = NULL;
    *length = 0;
    if (strcmp(path, "-") == 0) return read_stream(stdin, "standard input", text, length);
    FILE *file = fopen(path, "re");
    if (!file) return ci_fail(errno == ENOENT ? CLINFER_NOT_FOUND : CLINFER_IO, "%s: %s", path, strerror(errno));
    enum clinfer_status status = read_stream(file, path, text, length);
    fclose(file);
    return status;
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
    enum clinfer_status status = read_file(path, &text, &length);
    if (status != CLINFER_OK || !text) {
        free(text);
        return status;
    }
    length = without_line_break(text, length);
    text[length] = 0;
    return add(prompts, format_name("%s", strcmp(path, "-") == 0 ? "standard input" : path), text, length);
}

static enum clinfer_status add_lines(struct ci_prompts *prompts, const char *path) {
    char *text;
    size_t length;
    enum clinfer_status status = read_file(path, &text, &length);
    size_t number = 1;
    for (size_t at = 0; status == CLINFER_OK && text && at < length; number++) {
        const char *end = memchr(text + at, '\n', length - at);
        size_t line = end ? (size_t)(end - text) - at : length - at;
        size_t kept = without_line_break(text + at, line);
        if (kept) {
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
        status = add_lines(prompts, sources->batch);
    } else if (sources->files.count) {
        for (size_t i = 0; status == CLINFER_OK && i < sources->files.count; i++)
            status = add_file(prompts, sources->files.items[i]);
    } else {
        status = add_file(prompts, "-");
    }
    for (size_t i = 0; status == CLINFER_OK && i < prompts->count; i++) {
        if (!prompts->items[i].length)
            status = ci_fail(CLINFER_INVALID_ARGUMENT,
                             "%s is empty; give the text as an argument, with -p or -f, or on standard input",
                             prompts->items[i].name);
    }
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
