/* kernel_worker.c: `clinfer kernel_worker`: proves kernels of a model, see engine/warm.h, or builds all its programs,
 * engine/aside.h. Started by the first start of a model on a device. */
#include <unistd.h>

#include "base/status.h"
#include "cli/command.h"
#include "cli/engine_flags.h"
#include "cli/options.h"
#include "cli/output.h"
#include "engine/aside.h"
#include "engine/warm.h"

int ci_command_kernel_worker(int argc, char **argv) {
    struct ci_engine_flags flags = CI_ENGINE_FLAGS_DEFAULT;
    struct ci_model_choice choice = {0};
    struct clinfer_engine_options engine;
    long long memory = 0, plans = -1;
    bool vectors = false;
    const struct ci_option options[] = {CI_ENGINE_OPTIONS(&flags),
                                        CI_INTEGER("--memory", &memory, 0, 1 << 20, "descriptor of what all share"),
                                        CI_INTEGER("--plans", &plans, -1, 100, "all plans, this one first"),
                                        CI_FLAG("--vectors", &vectors, "an engine that makes vectors")};
    const struct ci_usage usage = {.command = "kernel_worker",
                                   .synopsis = "[options]",
                                   .about = "Started by the first start on a device.",
                                   .options = options,
                                   .option_count = sizeof options / sizeof *options};
    int exit_status = ci_options_parse(&usage, argc, argv, NULL);
    if (exit_status != CI_OPTIONS_GO_ON) return exit_status;
    enum clinfer_status status = ci_engine_flags_options(&flags, &choice, &engine);
    if (status == CLINFER_OK) engine.embeddings = vectors;
    if (status == CLINFER_OK)
        status = plans < 0 ? ci_warm_work(&engine, (int)memory) : ci_aside_work(&engine, (int)plans);
    _exit(ci_exit_status(status)); /* what a driver does at exit is of no use to anybody */
}
