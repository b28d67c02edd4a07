/* prompt.c: see prompt.h. */
#define _GNU_SOURCE
#include "text/prompt.h"

#include <stdlib.h>
#include <string.h>

#include "base/status.h"
#include "text/template.h"
#include "text/token_list.h"
#include "text/tokenizer.h"

/* A part of a text, or of some tokens: [begin, end). */
struct range {
    size_t begin, end;
};

static bool is_space(char byte) { return byte == ' ' || (byte >= '\t' && byte <= '\r'); }

static struct range trim(const char *text) {
    struct range range = {0, strlen(text)};
    while (range.end && is_space(text[range.end - 1])) range.end--;
    while (range.begin < range.end && is_space(text[range.begin])) range.begin++;
    return range;
}

/* Where text[0, length) stands in the input's part of the rendered text, from `from` on. */
static bool locate(const struct ci_rendered *rendered, size_t from, const char *text, size_t length,
                   struct range *found) {
    size_t begin = 0;
    for (size_t i = 0; length && i < rendered->run_count; i++) {
        size_t end = begin + rendered->runs[i].length, at = begin < from ? from : begin;
        begin = end;
        if (!rendered->runs[i].input || end < at) continue;
        const char *here = memmem(rendered->text + at, end - at, text, length);
        if (!here) continue;
        found->begin = (size_t)(here - rendered->text);
        found->end = found->begin + length;
        return true;
    }
    return false;
}

/* The tokens of the message that stand for text[skipped, skipped + length) of what they all stand for: false if that is
 * other text, or ends within a token. Tokens without text (a control token within the answer) go with what is before
 * them. */
static bool fit(const struct ci_tokenizer *tokenizer, const struct clinfer_message *message, const char *text,
                size_t skipped, size_t length, struct range *fitting) {
    size_t at = 0, end = skipped + length;
    bool begun = false;
    for (size_t i = 0; i < message->token_count && at < end; i++) {
        size_t bytes;
        const char *piece = ci_tokenizer_piece(tokenizer, message->tokens[i], false, &bytes);
        if (at == skipped && !begun) {
            fitting->begin = i;
            begun = true;
        }
        if (bytes > end - at || (!begun && at + bytes > skipped) || memcmp(piece, text + at, bytes) != 0) return false;
        at += bytes;
        fitting->end = i + 1;
    }
    return begun && at == end;
}

struct assembly {
    const struct ci_tokenizer *tokenizer;
    const struct ci_rendered *rendered, *read; /* the same text; `read` has the origins that count for control tokens */
    size_t located, done;                      /* bytes in which messages were found; whose tokens are in `out` */
    struct ci_token_list out;
};

static enum clinfer_status append_read(struct assembly *assembly, size_t end) {
    size_t begin = assembly->done;
    assembly->done = end;
    return begin < end ? ci_tokenizer_append(assembly->tokenizer, assembly->read, begin, end, &assembly->out)
                       : CLINFER_OK;
}

/* Templates print contents as they are or trimmed; what they change otherwise is read as text. */
static enum clinfer_status add_message(struct assembly *assembly, const struct clinfer_message *message) {
    const char *content = message->content;
    struct range whole = {0, strlen(content)}, trimmed = trim(content), place, fitting = {0, 0};
    struct range *part = &whole;
    bool found = locate(assembly->rendered, assembly->located, content, whole.end, &place);
    if (!found) {
        part = &trimmed;
        found = locate(assembly->rendered, assembly->located, content + part->begin, part->end - part->begin, &place);
    }
    if (!found) return CLINFER_OK;
    assembly->located = place.end;
    if (!message->tokens || !fit(assembly->tokenizer, message, content, part->begin, part->end - part->begin, &fitting))
        return CLINFER_OK;
    enum clinfer_status status = append_read(assembly, place.begin);
    for (size_t i = fitting.begin; i < fitting.end && status == CLINFER_OK; i++)
        status = ci_token_list_append(&assembly->out, message->tokens[i]);
    assembly->done = place.end;
    return status;
}

enum clinfer_status ci_prompt_tokens(const struct ci_tokenizer *tokenizer, const struct ci_rendered *rendered,
                                     const struct clinfer_message *messages, size_t count, bool parse_special,
                                     int32_t **tokens, size_t *token_count) {
    struct ci_rendered_run of_template = {rendered->length, false};
    struct ci_rendered all_special = *rendered;
    all_special.runs = &of_template;
    all_special.run_count = 1;
    struct assembly assembly = {
        .tokenizer = tokenizer, .rendered = rendered, .read = parse_special ? &all_special : rendered};
    enum clinfer_status status = CLINFER_OK;
    *tokens = NULL;
    *token_count = 0;
    for (size_t i = 0; i < count && status == CLINFER_OK; i++) status = add_message(&assembly, &messages[i]);
    if (status == CLINFER_OK) status = append_read(&assembly, rendered->length);
    if (status != CLINFER_OK) {
        free(assembly.out.tokens);
        return status;
    }
    *tokens = assembly.out.tokens;
    *token_count = assembly.out.count;
    return ci_prompt_add_begin(tokenizer, tokens, token_count);
}

enum clinfer_status ci_prompt_add_begin(const struct ci_tokenizer *tokenizer, int32_t **tokens, size_t *count) {
    int32_t begin = ci_tokenizer_bos(tokenizer);
    if (!ci_tokenizer_adds_bos(tokenizer) || (*count && (*tokens)[0] == begin)) return CLINFER_OK;
    int32_t *grown = realloc(*tokens, (*count + 1) * sizeof *grown);
    if (!grown) {
        enum clinfer_status status = ci_fail(CLINFER_OUT_OF_MEMORY, "out of memory for %zu tokens", *count);
        free(*tokens);
        *tokens = NULL;
        *count = 0;
        return status;
    }
    memmove(grown + 1, grown, *count * sizeof *grown);
    grown[0] = begin;
    *tokens = grown;
    ++*count;
    return CLINFER_OK;
}
