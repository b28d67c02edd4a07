/* prompts.h: the texts that a command works on, wherever they come from. */
#ifndef CI_CLI_PROMPTS_H
#define CI_CLI_PROMPTS_H

#include <clinfer.h>
#include <stdbool.h>
#include <stddef.h>

#include "cli/options.h"

struct ci_prompt {
    char *name; /* where it came from: a file's name, "line 3 of prompts.txt" */
    char *text; /* zero-terminated, and may hold zeros */
    size_t length;
};

struct ci_prompts {
    struct ci_prompt *items;
    size_t count;
};

/* What the command line said. One of them at most may be there. */
struct ci_prompt_sources {
    struct ci_texts words; /* joined by spaces: one prompt */
    const char *text;      /* -p */
    struct ci_texts files; /* -f, each one prompt; "-" is standard input */
    const char *batch;     /* --batch: one prompt a line, empty lines left out */
    bool every_line;       /* none is: what comes out has a row for each line */
    bool escape;           /* -e: "\n" and its like in all of these stand for what they stand for in C */
};
#define CI_PROMPT_OPTIONS(sources)                                                                                     \
    CI_TEXT("-p --prompt", &(sources)->text, "TEXT", "the prompt"),                                                    \
        CI_TEXTS("-f --file", &(sources)->files, "FILE", "a file with the prompt, - for standard input"),              \
        CI_FLAG("-e --escape", &(sources)->escape,                                                                     \
                "\\n, \\r, \\t, \\\", \\', \\\\ and \\xHH in it are what they stand for (default: text as it is)"),    \
        CI_FLAG_OFF("--no-escape", &(sources)->escape, "the opposite; the later counts")

/* True when the command line gives a prompt by any of them. */
bool ci_prompts_given(const struct ci_prompt_sources *sources);

/* Reads them all; without any, standard input is the prompt. CLINFER_INVALID_ARGUMENT for two ways at once and for an
 * empty prompt, said with what to do. Free in any case. */
enum clinfer_status ci_prompts_read(const struct ci_prompt_sources *sources, struct ci_prompts *prompts);

/* Replaces escapes where they stand, by what is never longer; a backslash before anything else stays. Returns the new
 * length; the text, which may then hold zeros, ends with one. */
size_t ci_prompts_unescape(char *text, size_t length);

/* The text of a file, "-" for standard input, without the line break at its end; the caller frees it. CLINFER_BAD_FILE:
 * a byte of it is zero. `flag` is for messages. */
enum clinfer_status ci_prompts_read_text(const char *flag, const char *path, char **text);
void ci_prompts_free(struct ci_prompts *prompts);

#endif
