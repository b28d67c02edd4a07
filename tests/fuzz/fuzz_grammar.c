/* Any bytes as GBNF: the text is refused with its name in the message, or the grammar has a way to an end. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "grammar/gbnf.h"
#include "grammar/grammar_private.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    struct ci_grammar *grammar;
    enum clinfer_status status = ci_gbnf_parse("input", (const char *)data, size, NULL, &grammar);
    if ((status == CLINFER_OK) != (grammar != NULL)) abort();
    if (status != CLINFER_OK) {
        if (strncmp(clinfer_error(), "input: ", 7) != 0) abort();
        return 0;
    }
    if (grammar->positions[grammar->entries[grammar->root]].cost == CI_COST_NO_END) abort();
    ci_grammar_destroy(grammar);
    return 0;
}
