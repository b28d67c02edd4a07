/* completion.c: `clinfer completion bash|zsh|fish`: a script for the shell, made from the tables that are parsed: every
 * command is asked for its own instead of being run. Names of models are not in it: the script asks
 * `clinfer list --names` when somebody presses Tab. */
#include "cli/completion.h"

#include <clinfer.h>
#include <ctype.h>
#include <stdio.h>
#include <string.h>

#include "cli/config.h"
#include "cli/output.h"
#include "hub/name.h"

static const struct ci_completion_shell *const shells[] = {&ci_completion_bash, &ci_completion_zsh,
                                                           &ci_completion_fish};

/* ---- what a value may be ---- */

static void add(struct ci_completion *completion, const char *word) {
    if (completion->count == CI_COMPLETION_WORDS) return;
    snprintf(completion->words[completion->count++], CI_OPTION_NAME_BYTES, "%s", word);
}

static void add_templates(struct ci_completion *completion) {
#define X(name, template) add(completion, name);
#include "text/chat_templates.inc"
#undef X
}

static void add_piece(struct ci_completion *completion, const char *piece, bool word) {
    if (strcmp(piece, "MODEL") == 0 || strncmp(piece, "USER/REPO", 9) == 0) {
        completion->models = true;
    } else if (strncmp(piece, "FILE", 4) == 0) {
        completion->files = true;
    } else if (strcmp(piece, "DEVICE") == 0) { /* those that need no driver to be asked */
        add(completion, "auto");
        add(completion, "cpu");
    } else if (strcmp(piece, "KEY") == 0) {
        for (const struct ci_config_key *key = ci_config_keys; key->name; key++) add(completion, key->name);
    } else if (strcmp(piece, "ALIAS") == 0) {
        for (const struct ci_hub_alias *alias = ci_hub_aliases; alias->alias; alias++) add(completion, alias->alias);
    } else if (strcmp(piece, "TEMPLATE") == 0) {
        add_templates(completion);
    } else if (strcmp(piece, "COMMAND") == 0) {
        for (const struct ci_command *command = ci_commands; command->name; command++)
            if (command->summary) add(completion, command->name);
    } else if (word && !isupper((unsigned char)piece[0])) {
        add(completion, piece);
    }
}

void ci_completion_of(const char *value, bool choice, struct ci_completion *completion) {
    char piece[CI_OPTION_NAME_BYTES];
    *completion = (struct ci_completion){0};
    if (!value) return;
    bool words = choice || strchr(value, '|');
    while (ci_options_next(&value, '|', piece)) add_piece(completion, piece, words);
}

bool ci_completion_takes_value(const struct ci_option *option) {
    return option->kind == CI_OPTION_TEXT || option->kind == CI_OPTION_TEXTS || option->kind == CI_OPTION_INTEGER ||
           option->kind == CI_OPTION_NUMBER || option->kind == CI_OPTION_CHOICE;
}

bool ci_completion_repeats(const struct ci_option *option) {
    return option->kind == CI_OPTION_TEXTS || option->kind == CI_OPTION_COUNT;
}

void ci_completion_print_within_quotes(const char *text, const char *quote, const char *escaped) {
    for (; *text; text++) {
        if (*text == '\'')
            ci_printf("%s", quote);
        else
            ci_printf("%s%c", strchr(escaped, *text) ? "\\" : "", *text);
    }
}

/* ---- the command ---- */

struct printing {
    const struct ci_completion_shell *shell;
    const struct ci_command *command;
};

static void print_command(const struct ci_usage *usage, void *user) {
    const struct printing *printing = user;
    printing->shell->command(printing->command, usage);
}

static void print_script(const struct ci_completion_shell *shell) {
    static const struct ci_command help = {"help", "show the commands, or examples and flags of one", NULL};
    static const struct ci_usage help_usage = {.command = "help", .words = "COMMAND"};
    struct printing printing = {.shell = shell};
    shell->begin();
    ci_options_hand_to(print_command, &printing);
    for (const struct ci_command *command = ci_commands; command->name; command++) {
        if (!command->summary) continue;
        char name[CI_OPTION_NAME_BYTES];
        snprintf(name, sizeof name, "%s", command->name);
        printing.command = command;
        command->run(1, (char *[]){name, NULL});
    }
    ci_options_hand_to(NULL, NULL);
    shell->command(&help, &help_usage);
    shell->end();
}

int ci_command_completion(int argc, char **argv) {
    struct ci_texts words;
    const struct ci_usage usage = {
        .command = "completion",
        .synopsis = "bash|zsh|fish",
        .about =
            "Prints a script with which a shell completes commands, flags, their values, and names of models when\n"
            "Tab is pressed. `make install` puts it where the shells look.",
        .examples = "  source <(clinfer completion bash)\n"
                    "  clinfer completion zsh > \"${fpath[1]}/_clinfer\"\n"
                    "  clinfer completion fish > ~/.config/fish/completions/clinfer.fish",
        .words = "bash|zsh|fish",
    };
    int exit_status = ci_options_parse(&usage, argc, argv, &words);
    if (exit_status == CI_OPTIONS_GO_ON) {
        const struct ci_completion_shell *shell = NULL;
        for (size_t i = 0; words.count == 1 && i < sizeof shells / sizeof *shells; i++)
            if (strcmp(words.items[0], shells[i]->name) == 0) shell = shells[i];
        if (shell) print_script(shell);
        exit_status = shell ? 0
                            : ci_refuse(CLINFER_INVALID_ARGUMENT,
                                        "completion takes the name of a shell: bash, zsh or fish; for example: "
                                        "source <(clinfer completion bash)");
    }
    ci_texts_free(&words);
    return exit_status;
}
