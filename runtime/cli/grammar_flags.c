#define _GNU_SOURCE
#include "cli/grammar_flags.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/output.h"
#include "cli/prompts.h"

/* The words of "a,b,c" as alternatives; those that are empty are an answer without text. */
static char *make_choice(const char *words) {
    char *text = NULL;
    size_t size;
    FILE *out = open_memstream(&text, &size);
    if (!out) return NULL;
    fputs("root ::= \"", out);
    for (const char *c = words; *c; c++) {
        if (*c == ',') {
            fputs("\" | \"", out);
        } else {
            if (*c == '"' || *c == '\\') fputc('\\', out);
            fputc(*c, out);
        }
    }
    fputs("\"\n", out);
    if (fclose(out) == 0) return text;
    free(text);
    return NULL;
}

static enum clinfer_status out_of_memory(void) {
    ci_refuse(CLINFER_OUT_OF_MEMORY, "out of memory for a grammar");
    return CLINFER_OUT_OF_MEMORY;
}

/* The only one of the flags that was given; NULL: none; "": several, which is told. */
static const char *find_flag(const struct ci_grammar_flags *flags) {
    const struct {
        const char *name;
        bool given;
    } all[] = {{"-j", flags->schema},       {"-jf", flags->schema_file},   {"--format json", flags->format},
               {"--choice", flags->choice}, {"--grammar", flags->grammar}, {"--grammar-file", flags->grammar_file}};
    const char *found = NULL;
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
        if (!all[i].given) continue;
        if (found) {
            ci_refuse(CLINFER_INVALID_ARGUMENT, "%s and %s are given; an answer can follow one of them", found,
                      all[i].name);
            return "";
        }
        found = all[i].name;
    }
    return found;
}

static enum clinfer_status read_text(struct ci_grammar_flags *flags, const char *flag) {
    const char *file = flags->schema_file ? flags->schema_file : flags->grammar_file;
    const char *given = flags->schema ? flags->schema : flags->grammar;
    if (file) {
        enum clinfer_status status = ci_prompts_read_text(flag, file, &flags->text);
        if (status != CLINFER_OK) {
            ci_complain(status);
            return status;
        }
    } else if (flags->choice) {
        flags->text = make_choice(flags->choice);
    } else {
        flags->text = strdup(flags->format ? "{\"type\": \"object\", \"additionalProperties\": true}" : given);
    }
    if (asprintf(&flags->name, "%s%s%s", flag, file ? " " : "", file ? file : "") < 0) flags->name = NULL;
    return flags->text && flags->name ? CLINFER_OK : out_of_memory();
}

enum clinfer_status ci_grammar_flags_read(struct ci_grammar_flags *flags, const struct clinfer_grammar **grammar) {
    const char *flag = find_flag(flags);
    *grammar = NULL;
    if (flag && !*flag) return CLINFER_INVALID_ARGUMENT;
    if (!flag && (flags->leave_open || flags->force_bytes)) {
        ci_refuse(CLINFER_INVALID_ARGUMENT, "%s is for answers by -j, --format json, --choice or --grammar",
                  flags->leave_open ? "--no-complete" : "--force-bytes");
        return CLINFER_INVALID_ARGUMENT;
    }
    if (!flag) return CLINFER_OK;
    enum clinfer_status status = read_text(flags, flag);
    bool schema = flags->schema || flags->schema_file || flags->format;
    flags->made = (struct clinfer_grammar){.kind = schema ? CLINFER_GRAMMAR_JSON_SCHEMA : CLINFER_GRAMMAR_GBNF,
                                           .text = flags->text,
                                           .name = flags->name,
                                           .leave_open = flags->leave_open,
                                           .force_bytes = flags->force_bytes};
    if (status == CLINFER_OK) *grammar = &flags->made;
    return status;
}

void ci_grammar_flags_free(struct ci_grammar_flags *flags) {
    free(flags->text);
    free(flags->name);
    flags->text = flags->name = NULL;
}
