/* Any bytes as a JSON schema: it is refused with the name in the message, or its grammar comes to an end, and the
 * shortest answer of the grammar is one that the validator allows, where it can tell. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "grammar/grammar_private.h"
#include "grammar/schema.h"
#include "grammar/validate.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { MOST_ANSWER = 5000, MOST_CALLS = 1000 };

/* A way of the least cost through the positions; a stack of calls to return to. */
static size_t find_answer(const struct ci_grammar *grammar, char answer[MOST_ANSWER]) {
    uint32_t calls[MOST_CALLS], at = grammar->entries[grammar->root];
    size_t length = 0, depth = 0;
    for (size_t steps = 0; steps < 1000000; steps++) {
        const struct ci_position *position = &grammar->positions[at];
        uint32_t best = 0, cost = UINT32_MAX;
        if (position->kind == CI_POSITION_END) {
            if (depth == 0) return length;
            at = calls[--depth];
        } else if (position->kind == CI_POSITION_CALL) {
            if (depth == MOST_CALLS) return SIZE_MAX;
            calls[depth++] = position->next;
            at = grammar->entries[position->rule];
        } else if (position->kind == CI_POSITION_SPLIT) {
            for (uint32_t i = 0; i < position->count; i++) {
                uint32_t target = grammar->targets[position->first + i];
                if (grammar->positions[target].cost < cost) cost = grammar->positions[best = target].cost;
            }
            at = best;
        } else {
            uint8_t byte = 0;
            for (uint32_t i = 0; i < position->count; i++) {
                const struct ci_edge *edge = &grammar->edges[position->first + i];
                if (grammar->positions[edge->next].cost >= cost) continue;
                cost = grammar->positions[best = edge->next].cost;
                byte = edge->low;
            }
            if (length == MOST_ANSWER) return SIZE_MAX;
            answer[length++] = (char)byte;
            at = best;
        }
        if (cost == UINT32_MAX && position->kind != CI_POSITION_END && position->kind != CI_POSITION_CALL) abort();
    }
    return SIZE_MAX;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    struct ci_grammar *grammar;
    char answer[MOST_ANSWER];
    enum clinfer_status status = ci_schema_compile("input", (const char *)data, size, &grammar);
    if ((status == CLINFER_OK) != (grammar != NULL)) abort();
    if (status != CLINFER_OK) {
        if (strncmp(clinfer_error(), "input: ", 7) != 0) abort();
        for (const char *c = clinfer_error(); *c; c++)
            if ((unsigned char)*c < 0x20 || *c == 0x7f) abort();
        return 0;
    }
    size_t length = find_answer(grammar, answer);
    if (length != SIZE_MAX &&
        ci_schema_validate("input", (const char *)data, size, answer, length) == CLINFER_REMOTE_FAILED) {
        abort();
    }
    ci_grammar_destroy(grammar);
    return 0;
}
