/* tune_worker.c: `clinfer tune_worker`: the process aside in which the tuner tries kernels, see tuner/worker.h. Started
 * by the tuner, for which it reads requests from stdin. */
#include "cli/command.h"
#include "tuner/worker.h"

int ci_command_tune_worker(int argc, char **argv) {
    (void)argc, (void)argv;
    return ci_worker_main();
}
