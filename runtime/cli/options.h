/* options.h: command line flags as a table: parsing, help and suggestions all come from the same rows.
 *
 * Spellings are those of llama-cli (`-m`, `-ctk`, `--temp`), so a flag is one word with one or two dashes, its value is
 * the next word or follows `=`, and single letters are not bundled. getopt_long was rejected: it neither knows
 * multi-letter flags with one dash nor keeps the help beside the flag. */
#ifndef CI_CLI_OPTIONS_H
#define CI_CLI_OPTIONS_H

#include <stdbool.h>
#include <stddef.h>

enum ci_option_kind {
    CI_OPTION_SECTION, /* a heading in the help */
    CI_OPTION_FLAG,    /* bool: set */
    CI_OPTION_OFF,     /* bool: cleared */
    CI_OPTION_COUNT,   /* int: one more each time */
    CI_OPTION_TEXT,    /* const char * */
    CI_OPTION_TEXTS,   /* struct ci_texts: each use adds one */
    CI_OPTION_INTEGER, /* long long, within [minimum, maximum] */
    CI_OPTION_NUMBER,  /* double, within [minimum, maximum] */
    CI_OPTION_CHOICE   /* int: index of the word in `value`, "f16|f32" */
};

/* Words in the order of the command line; the texts are borrowed from it. */
struct ci_texts {
    const char **items;
    size_t count;
};

struct ci_option {
    const char *names; /* "-n --predict": separated by spaces; for a section its heading */
    enum ci_option_kind kind;
    void *target;
    const char *value; /* what the help calls the value, or the choices */
    const char *help;
    double minimum, maximum;
};

/* A flag that no-one gave keeps the target's value, so callers put the default there first. */
#define CI_SECTION(heading)                                                                                            \
    { heading, CI_OPTION_SECTION, NULL, NULL, NULL, 0, 0 }
#define CI_FLAG(names, target, help)                                                                                   \
    { names, CI_OPTION_FLAG, target, NULL, help, 0, 0 }
#define CI_FLAG_OFF(names, target, help)                                                                               \
    { names, CI_OPTION_OFF, target, NULL, help, 0, 0 }
#define CI_COUNT(names, target, help)                                                                                  \
    { names, CI_OPTION_COUNT, target, NULL, help, 0, 0 }
#define CI_TEXT(names, target, value, help)                                                                            \
    { names, CI_OPTION_TEXT, target, value, help, 0, 0 }
#define CI_TEXTS(names, target, value, help)                                                                           \
    { names, CI_OPTION_TEXTS, target, value, help, 0, 0 }
#define CI_INTEGER(names, target, minimum, maximum, help)                                                              \
    { names, CI_OPTION_INTEGER, target, "N", help, minimum, maximum }
#define CI_NUMBER(names, target, minimum, maximum, help)                                                               \
    { names, CI_OPTION_NUMBER, target, "X", help, minimum, maximum }
#define CI_CHOICE(names, target, choices, help)                                                                        \
    { names, CI_OPTION_CHOICE, target, choices, help, 0, 0 }

struct ci_usage {
    const char *command;  /* "run" */
    const char *synopsis; /* "[options] [prompt]" */
    const char *about;    /* a sentence or two */
    const char *examples; /* lines of their own */
    const struct ci_option *options;
    size_t option_count;
    /* What the words that are no flags may be, for shells that complete them; as `value` of an option ("MODEL",
     * "list|get|set"), of several words separated by spaces, the last one for all that follow. NULL: anything. */
    const char *words;
};

/* Parses argv[1..). Words that are no flags go to `words` (free with ci_texts_free, whatever is returned); NULL: there
 * may be none. Returns -1 to go on, else the exit status: 0 after --help or --version, 2 after a mistake, which is
 * named on standard error. */
enum { CI_OPTIONS_GO_ON = -1 };
int ci_options_parse(const struct ci_usage *usage, int argc, char **argv, struct ci_texts *words);
void ci_texts_free(struct ci_texts *texts);

/* From now on ci_options_parse hands its table to `take` and returns 0, whatever argv holds; NULL: parses as ever. So
 * what shells complete comes from the rows that are parsed. */
typedef void ci_usage_taker(const struct ci_usage *usage, void *user);
void ci_options_hand_to(ci_usage_taker *take, void *user);

/* Takes the next of some names or words out of `list`: "-n --predict" at spaces, "f16|f32" at bars. False at the end.
 */
enum { CI_OPTION_NAME_BYTES = 64 };
bool ci_options_next(const char **list, char separator, char name[CI_OPTION_NAME_BYTES]);

/* The candidate that `word` was probably meant to be, NULL if none is near. Candidates end with NULL. */
const char *ci_options_nearest(const char *word, const char *const *candidates);

/* "Exit status: ..." for helps. */
void ci_options_print_exit_statuses(void);

#endif
