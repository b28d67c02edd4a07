/* version.c: `clinfer version`. */
#include <clinfer.h>

#include "cli/command.h"
#include "cli/options.h"
#include "cli/output.h"

int ci_command_version(int argc, char **argv) {
    struct ci_usage usage = {.command = "version", .synopsis = "", .about = "Shows the version."};
    int exit_status = ci_options_parse(&usage, argc, argv, NULL);
    if (exit_status != CI_OPTIONS_GO_ON) return exit_status;
    ci_printf("clinfer %s (CPU backend: %s)\n", CLINFER_VERSION, clinfer_cpu_isa());
    return 0;
}
