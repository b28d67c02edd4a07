/* completion.h: what a shell is told about clinfer, so that it completes commands, flags, their values and the names of
 * models. A shell is one file (completion_<shell>.c) that prints a script from the tables of options.h. */
#ifndef CI_CLI_COMPLETION_H
#define CI_CLI_COMPLETION_H

#include <stdbool.h>

#include "cli/command.h"
#include "cli/options.h"

/* What may stand for a value (struct ci_option's `value`, or one of struct ci_usage's `words`). */
enum { CI_COMPLETION_WORDS = 96 };
struct ci_completion {
    char words[CI_COMPLETION_WORDS][CI_OPTION_NAME_BYTES]; /* as they are typed */
    int count;
    bool files, models; /* and paths; and what `clinfer list --names` prints */
};
void ci_completion_of(const char *value, bool choice, struct ci_completion *completion);

/* Whether the flag is followed by a value. */
bool ci_completion_takes_value(const struct ci_option *option);
/* Whether it may be given more than once. */
bool ci_completion_repeats(const struct ci_option *option);

/* The script, on standard output: what comes first, one command, what comes last. */
struct ci_completion_shell {
    const char *name;
    void (*begin)(void);
    void (*command)(const struct ci_command *command, const struct ci_usage *usage);
    void (*end)(void);
};
extern const struct ci_completion_shell ci_completion_bash, ci_completion_zsh, ci_completion_fish;

/* Text that stands between single quotes, of which all three shells take everything as it is: but for the quote, which
 * becomes `quote`, and what is in `escaped`, which gets a backslash before it. */
void ci_completion_print_within_quotes(const char *text, const char *quote, const char *escaped);

#endif
