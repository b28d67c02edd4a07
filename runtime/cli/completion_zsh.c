/* completion_zsh.c: the script for zsh, a function for the folders of fpath: each command's flags as _arguments takes
 * them, with their help. */
#include <clinfer.h>
#include <string.h>

#include "cli/completion.h"
#include "cli/output.h"

static void print_within_quotes(const char *text, const char *escaped) {
    ci_completion_print_within_quotes(text, "'\\''", escaped);
}

static void begin(void) {
    ci_printf("#compdef clinfer\n"
              "# zsh completion for clinfer %s, by `clinfer completion zsh`\n\n"
              "_clinfer_models() {\n"
              "    local -a names\n"
              "    names=(${(f)\"$(${~clinfer_tool} list --names 2>/dev/null)\"})\n"
              "    _alternative 'models:model:compadd -a names' 'files:file:_files -g \"*.gguf(-.)\"'\n"
              "}\n\n"
              "_clinfer() {\n"
              "    local clinfer_tool=$words[1] clinfer_command=$words[2] curcontext=$curcontext\n"
              "    if ((CURRENT == 2)); then\n"
              "        local -a commands\n"
              "        commands=(\n",
              CLINFER_VERSION);
    for (const struct ci_command *command = ci_commands; command->name; command++) {
        if (!command->summary) continue;
        ci_printf("            '%s:", command->name);
        print_within_quotes(command->summary, ":\\");
        ci_printf("'\n");
    }
    ci_printf("            'help:show the commands, or examples and flags of one'\n"
              "        )\n"
              "        _describe -t commands command commands\n"
              "        return\n"
              "    fi\n"
              "    shift words\n"
              "    ((CURRENT--))\n"
              "    curcontext=${curcontext%%:*}-$clinfer_command:\n"
              "    case $clinfer_command in\n");
}

static void print_words(const struct ci_completion *completion) {
    for (int i = 0; i < completion->count; i++) ci_printf("%s%s", i ? " " : "", completion->words[i]);
}

/* What is behind the flag's name and help, within quotes: ":value:action". */
static void print_action(const char *value, bool choice) {
    struct ci_completion completion;
    ci_completion_of(value, choice, &completion);
    ci_printf(":");
    print_within_quotes(choice ? "value" : value, ":\\");
    if (completion.count && completion.files) {
        ci_printf(":_alternative \"words:word:(");
        print_words(&completion);
        ci_printf(")\" \"files:file:_files\"");
    } else if (completion.count) {
        ci_printf(":(");
        print_words(&completion);
        ci_printf(")");
    } else {
        ci_printf(":%s", completion.models ? "_clinfer_models" : completion.files ? "_files" : "( )");
    }
}

/* One specification for each of its names; one of them excludes the others. */
static void print_option(const struct ci_option *option) {
    char name[CI_OPTION_NAME_BYTES];
    const char *names = option->names;
    bool value = ci_completion_takes_value(option);
    while (ci_options_next(&names, ' ', name)) {
        ci_printf(" \\\n            '");
        if (ci_completion_repeats(option))
            ci_printf("*");
        else
            ci_printf("(%s)", option->names);
        ci_printf("%s%s[", name, value && strncmp(name, "--", 2) == 0 ? "=" : "");
        print_within_quotes(option->help, "[]:\\");
        ci_printf("]");
        if (value) print_action(option->value, option->kind == CI_OPTION_CHOICE);
        ci_printf("'");
    }
}

static void print_command(const struct ci_command *command, const struct ci_usage *usage) {
    ci_printf("    %s)\n        _arguments", command->name);
    for (size_t i = 0; i < usage->option_count; i++)
        if (usage->options[i].kind != CI_OPTION_SECTION) print_option(&usage->options[i]);
    ci_printf(" \\\n            '(-h --help)-h[this help]' '(-h --help)--help[this help]'");
    char place[CI_OPTION_NAME_BYTES];
    const char *places = usage->words;
    for (int i = 1; places && ci_options_next(&places, ' ', place); i++) {
        ci_printf(" \\\n            '");
        if (*places)
            ci_printf("%d", i);
        else
            ci_printf("*");
        print_action(place, false);
        ci_printf("'");
    }
    ci_printf("\n        ;;\n");
}

static void end(void) {
    ci_printf("    esac\n}\n\n"
              "if [[ $funcstack[1] = _clinfer ]]; then\n"
              "    _clinfer \"$@\"\n"
              "else\n"
              "    compdef _clinfer clinfer\n"
              "fi\n");
}

const struct ci_completion_shell ci_completion_zsh = {"zsh", begin, print_command, end};
