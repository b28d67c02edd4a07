/* main.c: finds the subcommand and hands over. */
#include <clinfer.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "cli/bus_error.h"
#include "cli/command.h"
#include "cli/options.h"
#include "cli/output.h"
#include "engine/warm.h"

const struct ci_command ci_commands[] = {
#define CI_COMMAND(name, summary) {#name, summary, ci_command_##name},
#include "cli/command_list.inc"
#undef CI_COMMAND
    {NULL, NULL, NULL}};

static const struct ci_command *find_command(const char *name) {
    for (const struct ci_command *command = ci_commands; command->name; command++)
        if (strcmp(command->name, name) == 0) return command;
    return NULL;
}

static int print_help(void) {
    ci_printf("clinfer runs language models on any OpenCL device, and on the CPU where there is none.\n\n"
              "Example: clinfer run \"Why is the sky blue?\"\n\nCommands\n");
    for (const struct ci_command *command = ci_commands; command->name; command++)
        if (command->summary) ci_printf("  %-10s %s\n", command->name, command->summary);
    ci_printf("\nclinfer COMMAND --help shows examples and flags of a command; man clinfer has everything.\n");
    ci_options_print_exit_statuses();
    return 0;
}

static int unknown_command(const char *word) {
    const char *names[32] = {NULL};
    size_t count = 0;
    for (const struct ci_command *command = ci_commands; command->name && count < 31; command++)
        if (command->summary) names[count++] = command->name;
    if (word[0] == '-')
        ci_tell("clinfer: %s: a command comes before the flags, as in: clinfer run %s ...\n", word, word);
    else if (ci_options_nearest(word, names))
        ci_tell("clinfer: unknown command %s; did you mean %s?\n", word, ci_options_nearest(word, names));
    else
        ci_tell("clinfer: unknown command %s; to ask something: clinfer run \"...\"\n", word);
    ci_tell("clinfer --help lists the commands\n");
    return ci_exit_status(CLINFER_INVALID_ARGUMENT);
}

static int dispatch(int argc, char **argv) {
    if (argc < 2) {
        ci_tell("clinfer: a command is missing, for example: clinfer run \"Why is the sky blue?\"\n"
                "clinfer --help lists the commands\n");
        return ci_exit_status(CLINFER_INVALID_ARGUMENT);
    }
    const char *word = argv[1];
    bool help = strcmp(word, "help") == 0;
    if (strcmp(word, "--help") == 0 || strcmp(word, "-h") == 0 || (help && argc == 2)) return print_help();
    if (strcmp(word, "--version") == 0) word = "version";
    if (strcmp(word, "--completion-bash") == 0) /* llama-cli's */
        return ci_command_completion(2, (char *[]){"completion", "bash", NULL});
    const struct ci_command *command = find_command(help ? argv[2] : word);
    if (!command) return unknown_command(help ? argv[2] : word);
    if (help) return command->run(2, (char *[]){argv[2], "--help", NULL});
    return command->run(argc - 1, argv + 1);
}

/* A file that the library opens must not become standard output because that was closed. Writing to the stand-in fails
 * as it did before. */
static void hold_standard_files(void) {
    int fd = open("/dev/null", O_RDONLY);
    while (fd >= 0 && fd <= STDERR_FILENO) fd = open("/dev/null", O_RDONLY);
    if (fd > STDERR_FILENO) close(fd);
}

int main(int argc, char **argv) {
    hold_standard_files();
    ci_bus_error_catch();
    ci_warm_allow();
    /* A closed pipe is an error of write(), see output.h. */
    signal(SIGPIPE, SIG_IGN);
    /* So is a file that grows beyond ulimit -f. */
    signal(SIGXFSZ, SIG_IGN);
    int exit_status = ci_output_finish(dispatch(argc, argv));
    if (!clinfer_left_behind()) return exit_status;
    fflush(stderr);
    _exit(exit_status); /* a driver would wait at exit for the work that hangs */
}
