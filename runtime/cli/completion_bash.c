/* completion_bash.c: the script for bash. It needs nothing but bash itself; for paths it leaves the field to readline,
 * which knows about quotes and spaces. Bash cuts words at ':' and '=', which names of models and flags contain: so the
 * word is taken from the line, and what bash believes to be done already is cut off the replies. */
#include <clinfer.h>

#include "cli/completion.h"
#include "cli/output.h"

/* _clinfer_table COMMAND FLAG sets flags, places (what the command's words may be) and, of a flag that takes a value,
 * kind: words, @FILE, @MODEL, or @ALL for what only the user knows. */
static void begin(void) {
    ci_printf("# bash completion for clinfer %s, by `clinfer completion bash`\n\n"
              "_clinfer_table() {\n"
              "    flags= kind= places=()\n"
              "    case $1 in\n",
              CLINFER_VERSION);
}

static void print_kind(const char *value, bool choice) {
    struct ci_completion completion;
    ci_completion_of(value, choice, &completion);
    for (int i = 0; i < completion.count; i++) ci_printf("%s%s", i ? " " : "", completion.words[i]);
    if (completion.models) ci_printf("%s@MODEL", completion.count ? " " : "");
    if (completion.files) ci_printf("%s@FILE", completion.count ? " " : "");
    if (!completion.models && !completion.files && !completion.count) ci_printf("@ALL");
}

static void print_command(const struct ci_command *command, const struct ci_usage *usage) {
    char name[CI_OPTION_NAME_BYTES];
    ci_printf("    %s)\n        flags='", command->name);
    for (size_t i = 0; i < usage->option_count; i++)
        if (usage->options[i].kind != CI_OPTION_SECTION) ci_printf("%s ", usage->options[i].names);
    ci_printf("-h --help'\n");
    const char *places = usage->words;
    if (places) {
        ci_printf("        places=(");
        for (bool first = true; ci_options_next(&places, ' ', name); first = false) {
            ci_printf("%s'", first ? "" : " ");
            print_kind(name, false);
            ci_printf("'");
        }
        ci_printf(")\n");
    }
    ci_printf("        case $2 in\n");
    for (size_t i = 0; i < usage->option_count; i++) {
        const struct ci_option *option = &usage->options[i];
        if (!ci_completion_takes_value(option)) continue;
        ci_printf("        ");
        const char *names = option->names;
        for (bool first = true; ci_options_next(&names, ' ', name); first = false)
            ci_printf("%s%s", first ? "" : " | ", name);
        ci_printf(") kind='");
        print_kind(option->value, option->kind == CI_OPTION_CHOICE);
        ci_printf("' ;;\n");
    }
    ci_printf("        esac\n        ;;\n");
}

static void end(void) {
    ci_printf("    esac\n}\n\n"
              "_clinfer() {\n"
              "    local IFS=$' \\t\\n' tool=${1/#\\~/$HOME} line=${COMP_LINE:0:COMP_POINT}\n"
              "    local words current flags kind places place=0 last at word name done=\n"
              "    COMPREPLY=()\n"
              "    read -ra words <<<\"$line\"\n"
              "    [[ $line != *[[:space:]] ]] || words+=('')\n"
              "    last=$((${#words[@]} - 1))\n"
              "    ((last > 0)) || return 0\n"
              "    current=${words[last]}\n"
              "    if ((last == 1)); then\n"
              "        kind='");
    for (const struct ci_command *command = ci_commands; command->name; command++)
        if (command->summary) ci_printf("%s ", command->name);
    ci_printf("help'\n"
              "        [[ $current != -* ]] || kind='--help --version'\n"
              "    else\n"
              "        for ((at = 2; at < last; at++)); do\n"
              "            _clinfer_table \"${words[1]}\" \"${words[at]}\"\n"
              "            if [[ $kind ]]; then\n"
              "                ((at++))\n"
              "            elif [[ ${words[at]} != -* ]]; then\n"
              "                ((place++))\n"
              "            fi\n"
              "        done\n"
              "        if ((at == last)); then # no flag waits for it\n"
              "            _clinfer_table \"${words[1]}\" \"${current%%%%=*}\"\n"
              "            if [[ $current == -*=* ]]; then\n"
              "                current=${current#*=}\n"
              "            elif [[ $current == -* ]]; then\n"
              "                kind=$flags\n"
              "            else\n"
              "                ((place < ${#places[@]})) || place=$((${#places[@]} - 1))\n"
              "                ((place < 0)) && kind= || kind=${places[place]}\n"
              "            fi\n"
              "        fi\n"
              "    fi\n"
              "    [[ $COMP_WORDBREAKS != *:* || $current != *:* ]] || done=${current%%\"${current##*:}\"}\n"
              "    [[ $COMP_WORDBREAKS != *=* || $done || $current != *=* ]] || done=${current%%\"${current##*=}\"}\n"
              "    for word in $kind; do\n"
              "        case $word in\n"
              "        @ALL) ;;\n"
              "        @FILE) compopt -o default 2>/dev/null ;;\n"
              "        @MODEL)\n"
              "            while IFS= read -r name; do\n"
              "                [[ $name != \"$current\"* ]] || COMPREPLY+=(\"$(printf %%q \"${name#\"$done\"}\")\")\n"
              "            done < <(\"$tool\" list --names 2>/dev/null; compgen -f -X '!*.gguf' -- \"$current\")\n"
              "            compopt -o default 2>/dev/null # paths, where no name fits\n"
              "            ;;\n"
              "        \"$current\"*) COMPREPLY+=(\"${word#\"$done\"}\") ;;\n"
              "        esac\n"
              "    done\n"
              "}\n\n"
              "complete -F _clinfer clinfer\n");
}

const struct ci_completion_shell ci_completion_bash = {"bash", begin, print_command, end};
