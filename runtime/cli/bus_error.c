#define _GNU_SOURCE
#include "cli/bus_error.h"

#include <clinfer.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cli/output.h"

static void say(const char *text) {
    if (write(STDERR_FILENO, text, strlen(text)) < 0) return; /* nobody hears it */
}

/* On whatever thread, of ours or a driver's. Any other one is as it would be without this. */
static void on_bus_error(int number, siginfo_t *info, void *context) {
    (void)context;
    bool fault = info->si_code > 0; /* and not a kill(2) */
    const char *name = fault ? clinfer_file_at(info->si_addr) : NULL;
    if (!name) {
        signal(number, SIG_DFL);
        if (!fault) raise(number); /* a fault comes again by itself */
        return;
    }
    say("\nclinfer: ");
    say(name);
    say(": cannot be read any more: it was cut while it was in use, or its disk fails\n");
    _exit(ci_exit_status(CLINFER_IO));
}

void ci_bus_error_catch(void) {
    struct sigaction action = {.sa_sigaction = on_bus_error, .sa_flags = SA_SIGINFO};
    sigemptyset(&action.sa_mask);
    sigaction(SIGBUS, &action, NULL);
}
