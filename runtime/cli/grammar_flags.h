/* grammar_flags.h: flags that say what an answer has to be, and the grammar that they mean. */
#ifndef CI_CLI_GRAMMAR_FLAGS_H
#define CI_CLI_GRAMMAR_FLAGS_H

#include <clinfer.h>

#include "cli/options.h"

struct ci_grammar_flags {
    const char *schema, *schema_file, *grammar, *grammar_file, *choice;
    int format; /* index in "any|json" */
    bool leave_open, force_bytes;

    char *text, *name; /* of `made` */
    struct clinfer_grammar made;
};

#define CI_GRAMMAR_OPTIONS(flags)                                                                                      \
    CI_TEXT("-j --json-schema", &(flags)->schema, "SCHEMA",                                                            \
            "the answer is JSON that follows this JSON schema, whatever the model would rather say"),                  \
        CI_TEXT("-jf --json-schema-file", &(flags)->schema_file, "FILE",                                               \
                "the same from a file, - for standard input"),                                                         \
        CI_CHOICE("--format", &(flags)->format, "any|json", "json: the answer is a JSON object, of whatever members"), \
        CI_TEXT("--choice", &(flags)->choice, "A,B,...", "the answer is one of these"),                                \
        CI_TEXT("--grammar", &(flags)->grammar, "GBNF", "the answer follows this grammar, in llama.cpp's notation"),   \
        CI_TEXT("--grammar-file", &(flags)->grammar_file, "FILE", "the same from a file, - for standard input"),       \
        CI_FLAG("--no-complete", &(flags)->leave_open,                                                                 \
                "where -n or the context ends such an answer, leave it cut; else it is closed in time"),               \
        CI_FLAG(                                                                                                       \
            "--force-bytes", &(flags)->force_bytes,                                                                    \
            "what can come in one way only, as the rest of a key, comes without steps: faster, maybe by other tokens")

/* *grammar: borrowed from the flags, NULL where they ask for nothing. CLINFER_INVALID_ARGUMENT: more than one of them;
 * those of a file that cannot be read. Free in any case. */
enum clinfer_status ci_grammar_flags_read(struct ci_grammar_flags *flags, const struct clinfer_grammar **grammar);
void ci_grammar_flags_free(struct ci_grammar_flags *flags);

#endif
