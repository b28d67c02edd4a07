/* command.h: the subcommands of the tool. One file each, one line each in command_list.inc; main.c dispatches. */
#ifndef CI_CLI_COMMAND_H
#define CI_CLI_COMMAND_H

struct ci_command {
    const char *name;
    const char *summary;               /* NULL: for other processes of clinfer, not for people; help does not list it */
    int (*run)(int argc, char **argv); /* argv[0] is the command's name; returns the exit status */
};

/* Ends with an entry without a name. */
extern const struct ci_command ci_commands[];

#define CI_COMMAND(name, summary) int ci_command_##name(int argc, char **argv);
#include "cli/command_list.inc"
#undef CI_COMMAND

#endif
