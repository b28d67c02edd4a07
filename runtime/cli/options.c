#define _GNU_SOURCE
#include "cli/options.h"

#include <clinfer.h>
#include <errno.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/nearest.h"
#include "cli/output.h"

enum { NAME_BYTES = CI_OPTION_NAME_BYTES, HELP_COLUMN = 30, HELP_WIDTH = 100 };

bool ci_options_next(const char **list, char separator, char name[CI_OPTION_NAME_BYTES]) {
    size_t length = strcspn(*list, (const char[]){separator, 0});
    if (!length) return false;
    snprintf(name, CI_OPTION_NAME_BYTES, "%.*s", (int)length, *list);
    *list += length + ((*list)[length] == separator);
    return true;
}

static bool next_name(const char **names, char name[NAME_BYTES]) { return ci_options_next(names, ' ', name); }

/* Who takes tables instead of having them parsed. */
static struct {
    ci_usage_taker *take;
    void *user;
} taker;

void ci_options_hand_to(ci_usage_taker *take, void *user) {
    taker.take = take;
    taker.user = user;
}

static int mistake(const struct ci_usage *usage, const char *format, ...) __attribute__((format(printf, 2, 3)));

static int mistake(const struct ci_usage *usage, const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    char text[4096];
    vsnprintf(text, sizeof text, format, arguments);
    ci_tell("clinfer %s: %s\nclinfer %s --help shows all flags\n", usage->command, ci_one_line(text), usage->command);
    va_end(arguments);
    return ci_exit_status(CLINFER_INVALID_ARGUMENT);
}

/* ---- nearest word ---- */

static size_t smaller(size_t a, size_t b) { return a < b ? a : b; }

const char *ci_options_nearest(const char *word, const char *const *candidates) {
    const char *best = NULL;
    const char *bare = word + strspn(word, "-");
    size_t best_distance = strlen(bare) / 3 + 1;
    for (; *candidates; candidates++) {
        const char *candidate = *candidates + strspn(*candidates, "-");
        size_t found = ci_nearest_distance(bare, candidate);
        /* A word cut short is as near as one wrong letter. */
        if (strlen(bare) >= 3 && strncmp(bare, candidate, strlen(bare)) == 0) found = smaller(found, 1);
        if (found >= strlen(candidate)) continue;
        if (found < best_distance || (found == best_distance && !best)) {
            best_distance = found;
            best = *candidates;
        }
    }
    return best;
}

static int unknown_flag(const struct ci_usage *usage, const char *flag) {
    static char names[128][NAME_BYTES];
    const char *candidates[129] = {"--help", "--version"};
    size_t count = 2;
    for (size_t i = 0; i < usage->option_count; i++) {
        const char *rest = usage->options[i].kind == CI_OPTION_SECTION ? "" : usage->options[i].names;
        while (count < 128 && next_name(&rest, names[count])) {
            candidates[count] = names[count];
            count++;
        }
    }
    const char *nearest = ci_options_nearest(flag, candidates);
    if (nearest) return mistake(usage, "unknown flag %s; did you mean %s?", flag, nearest);
    return mistake(usage, "unknown flag %s (write -- before words that begin with a dash)", flag);
}

/* ---- values ---- */

static int parse_choice(const struct ci_usage *usage, const struct ci_option *option, const char *name,
                        const char *value) {
    const char *word = option->value;
    for (int index = 0;; index++) {
        size_t length = strcspn(word, "|");
        if (strlen(value) == length && strncmp(value, word, length) == 0) {
            *(int *)option->target = index;
            return CI_OPTIONS_GO_ON;
        }
        if (!word[length]) break;
        word += length + 1;
    }
    return mistake(usage, "%s %s: must be one of %s", name, value, option->value);
}

static int parse_number(const struct ci_usage *usage, const struct ci_option *option, const char *name,
                        const char *value) {
    char *end;
    errno = 0;
    bool integer = option->kind == CI_OPTION_INTEGER;
    long long whole = integer ? strtoll(value, &end, 10) : 0;
    double number = integer ? (double)whole : strtod(value, &end);
    if (end == value || *end || errno == ERANGE || !isfinite(number))
        return mistake(usage, "%s %s: must be a%s number", name, value, integer ? " whole" : "");
    if (number < option->minimum || number > option->maximum)
        return mistake(usage, "%s %s: must be %g to %g", name, value, option->minimum, option->maximum);
    if (integer)
        *(long long *)option->target = whole;
    else
        *(double *)option->target = number;
    return CI_OPTIONS_GO_ON;
}

static bool add_text(struct ci_texts *texts, const char *text) {
    const char **grown = realloc(texts->items, (texts->count + 1) * sizeof *grown);
    if (!grown) return false;
    texts->items = grown;
    texts->items[texts->count++] = text;
    return true;
}

static int no_memory(void) { return ci_refuse(CLINFER_OUT_OF_MEMORY, "out of memory for the command line"); }

static int take_value(const struct ci_usage *usage, const struct ci_option *option, const char *name,
                      const char *value) {
    switch (option->kind) {
    case CI_OPTION_TEXT: *(const char **)option->target = value; return CI_OPTIONS_GO_ON;
    case CI_OPTION_TEXTS:
        if (!add_text(option->target, value)) return no_memory();
        return CI_OPTIONS_GO_ON;
    case CI_OPTION_CHOICE: return parse_choice(usage, option, name, value);
    case CI_OPTION_INTEGER:
    case CI_OPTION_NUMBER: return parse_number(usage, option, name, value);
    case CI_OPTION_SECTION:
    case CI_OPTION_FLAG:
    case CI_OPTION_OFF:
    case CI_OPTION_COUNT: break;
    }
    return CI_OPTIONS_GO_ON;
}

/* ---- help ---- */

/* Wraps `text` into the help's column; the cursor stands at `column`. */
static void print_wrapped(const char *text, int column) {
    for (bool first = true; *text; first = false) {
        int word = (int)strcspn(text, " ");
        if (column + 1 + word > HELP_WIDTH) {
            ci_printf("\n%*s", HELP_COLUMN, "");
            column = HELP_COLUMN;
        } else if (!first) {
            ci_printf(" ");
            column++;
        }
        ci_printf("%.*s", word, text);
        column += word;
        text += word + (text[word] == ' ');
    }
    ci_printf("\n");
}

static void print_option(const struct ci_option *option) {
    if (option->kind == CI_OPTION_SECTION) {
        ci_printf("\n%s\n", option->names);
        return;
    }
    char line[256] = "  ", name[NAME_BYTES];
    const char *names = option->names;
    for (bool first = true; next_name(&names, name); first = false)
        snprintf(line + strlen(line), sizeof line - strlen(line), "%s%s", first ? "" : ", ", name);
    if (option->value) snprintf(line + strlen(line), sizeof line - strlen(line), " %s", option->value);
    int column = (int)strlen(line);
    ci_printf("%s", line);
    if (column > HELP_COLUMN - 2) {
        ci_printf("\n");
        column = 0;
    }
    ci_printf("%*s", HELP_COLUMN - column, "");
    print_wrapped(option->help, HELP_COLUMN);
}

void ci_options_print_exit_statuses(void) {
    ci_printf("\nExit status\n");
#define EXIT_STATUS(code, exit_status, text) ci_printf("  %2d  %s\n", exit_status, text);
    CLINFER_STATUS_LIST(EXIT_STATUS)
#undef EXIT_STATUS
}

static int print_help(const struct ci_usage *usage) {
    ci_printf("Usage: clinfer %s %s\n\n%s\n", usage->command, usage->synopsis, usage->about);
    if (usage->examples) ci_printf("\nExamples\n%s\n", usage->examples);
    for (size_t i = 0; i < usage->option_count; i++) print_option(&usage->options[i]);
    ci_printf("  -h, --help%*sthis help\n", HELP_COLUMN - 12, "");
    ci_options_print_exit_statuses();
    return 0;
}

/* ---- parsing ---- */

static const struct ci_option *find_option(const struct ci_usage *usage, const char *flag) {
    for (size_t i = 0; i < usage->option_count; i++) {
        char name[NAME_BYTES];
        const char *names = usage->options[i].kind == CI_OPTION_SECTION ? "" : usage->options[i].names;
        while (next_name(&names, name))
            if (strcmp(name, flag) == 0) return &usage->options[i];
    }
    return NULL;
}

/* One flag at argv[*at]; advances *at over its value. */
static int parse_flag(const struct ci_usage *usage, int argc, char **argv, int *at) {
    const char *word = argv[*at], *equals = strchr(word, '=');
    size_t length = equals ? (size_t)(equals - word) : strlen(word);
    char flag[NAME_BYTES];
    if (length >= sizeof flag) return unknown_flag(usage, word);
    snprintf(flag, sizeof flag, "%.*s", (int)length, word);
    const struct ci_option *option = find_option(usage, flag);
    if (!option && (strcmp(word, "--help") == 0 || strcmp(word, "-h") == 0)) return print_help(usage);
    if (!option && strcmp(word, "--version") == 0) {
        ci_printf("clinfer %s\n", CLINFER_VERSION);
        return 0;
    }
    if (!option) return unknown_flag(usage, flag);
    if (option->kind == CI_OPTION_FLAG || option->kind == CI_OPTION_OFF || option->kind == CI_OPTION_COUNT) {
        if (equals) return mistake(usage, "%s takes no value", flag);
        if (option->kind == CI_OPTION_COUNT)
            ++*(int *)option->target;
        else
            *(bool *)option->target = option->kind == CI_OPTION_FLAG;
        return CI_OPTIONS_GO_ON;
    }
    if (equals) return take_value(usage, option, flag, equals + 1);
    if (*at + 1 >= argc) return mistake(usage, "%s needs a value: %s %s", flag, flag, option->value);
    return take_value(usage, option, flag, argv[++*at]);
}

int ci_options_parse(const struct ci_usage *usage, int argc, char **argv, struct ci_texts *words) {
    bool flags = true;
    if (words) *words = (struct ci_texts){0};
    if (taker.take) {
        taker.take(usage, taker.user);
        return 0;
    }
    for (int i = 1; i < argc; i++) {
        const char *word = argv[i];
        if (flags && strcmp(word, "--") == 0) {
            flags = false;
        } else if (flags && word[0] == '-' && word[1]) {
            int exit_status = parse_flag(usage, argc, argv, &i);
            if (exit_status != CI_OPTIONS_GO_ON) return exit_status;
        } else if (!words) {
            return mistake(usage, "%s: this command takes flags only", word);
        } else if (!add_text(words, word)) {
            return no_memory();
        }
    }
    return CI_OPTIONS_GO_ON;
}

void ci_texts_free(struct ci_texts *texts) {
    free(texts->items);
    *texts = (struct ci_texts){0};
}
