/* completion_fish.c: the script for fish: one line per flag, with its help. */
#include <clinfer.h>
#include <stdio.h>
#include <string.h>

#include "cli/completion.h"
#include "cli/output.h"

static void print_text(const char *text) {
    ci_printf("'");
    ci_completion_print_within_quotes(text, "\\'", "\\");
    ci_printf("'");
}

static void begin(void) {
    ci_printf(
        "# fish completion for clinfer %s, by `clinfer completion fish`\n\n"
        "function __clinfer_command\n"
        "    set -l words (commandline -opc)\n"
        "    test (count $words) -ge 2; and test $words[2] = $argv[1]\n"
        "end\n\n"
        "function __clinfer_no_command\n"
        "    test (count (commandline -opc)) -lt 2\n"
        "end\n\n"
        "# So many words that are no flags stand behind the command. Values of flags count, too: where actions are\n"
        "# words, flags come last.\n"
        "function __clinfer_word\n"
        "    set -l words (commandline -opc)\n"
        "    test (count (string match -v -- '-*' $words[3..-1])) -eq $argv[1]\n"
        "end\n\n"
        "function __clinfer_models\n"
        "    set -l words (commandline -opc)\n"
        "    $words[1] list --names 2>/dev/null\n"
        "end\n\n"
        "complete -c clinfer -f\n"
        "complete -c clinfer -n __clinfer_no_command -l help -d 'the commands'\n"
        "complete -c clinfer -n __clinfer_no_command -l version -d 'the version'\n",
        CLINFER_VERSION);
}

/* What may stand there, and whether paths may; of a flag (-x, -r) or of words. */
static void print_value(const char *value, bool choice, bool of_flag) {
    struct ci_completion completion;
    ci_completion_of(value, choice, &completion);
    bool paths = completion.files || completion.models;
    ci_printf("%s%s", of_flag ? (paths ? " -r" : " -x") : "", paths ? " -F" : "");
    if (completion.count || completion.models) {
        ci_printf(" -a '");
        for (int i = 0; i < completion.count; i++) ci_printf("%s%s", i ? " " : "", completion.words[i]);
        ci_printf("%s'", completion.models ? "(__clinfer_models)" : "");
    }
}

static void print_names(const char *names) {
    char name[CI_OPTION_NAME_BYTES];
    while (ci_options_next(&names, ' ', name)) {
        if (strncmp(name, "--", 2) == 0)
            ci_printf(" -l %s", name + 2);
        else
            ci_printf(" -%s %s", name[2] ? "o" : "s", name + 1);
    }
}

static void print_command(const struct ci_command *command, const struct ci_usage *usage) {
    ci_printf("\ncomplete -c clinfer -n __clinfer_no_command -a %s -d ", command->name);
    print_text(command->summary);
    ci_printf("\n");
    for (size_t i = 0; i < usage->option_count; i++) {
        const struct ci_option *option = &usage->options[i];
        if (option->kind == CI_OPTION_SECTION) continue;
        ci_printf("complete -c clinfer -n '__clinfer_command %s'", command->name);
        print_names(option->names);
        if (ci_completion_takes_value(option)) {
            print_value(option->value, option->kind == CI_OPTION_CHOICE, true);
        }
        ci_printf(" -d ");
        print_text(option->help);
        ci_printf("\n");
    }
    ci_printf("complete -c clinfer -n '__clinfer_command %s' -s h -l help -d 'this help'\n", command->name);
    char place[CI_OPTION_NAME_BYTES];
    const char *places = usage->words;
    for (int i = 0; places && ci_options_next(&places, ' ', place); i++) {
        ci_printf("complete -c clinfer -n '__clinfer_command %s; and __clinfer_word %d'", command->name, i);
        print_value(place, false, false);
        ci_printf("\n");
    }
}

static void end(void) {}

const struct ci_completion_shell ci_completion_fish = {"fish", begin, print_command, end};
