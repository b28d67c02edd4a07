/* prepare.c: see prepare.h. */
#include "proof/prepare.h"

#include <string.h>

#include "device/kernels.h"
#include "ops/bind.h"
#include "proof/known_answer.h"

void ci_proof_prepare(struct ci_device *device, const struct ci_caps *caps, const struct ci_variant *variant,
                      const int *tunables, const struct ci_call *call, bool runs) {
    const char *sources[CI_BIND_SOURCES];
    char options[CI_BIND_OPTIONS_BYTES];
    int count = 0;
    if (runs && ci_proof_known_answer(device, caps, variant, tunables, call) != CLINFER_OK) return;
    /* The program of this very call may have other constants than that of the proof. */
    if (ci_bind_options(variant, tunables, call, sources, &count, options) != CLINFER_OK) return;
    for (int i = 0; i < variant->launch_count; i++) {
        struct ci_kernel *kernel = NULL;
        if (ci_kernel_create(device, sources, count, options, variant->launches[i].kernel, &kernel) == CLINFER_OK)
            ci_kernel_destroy(kernel);
    }
}

/* Taking a binary makes PoCL compile each kernel once more, and what it has compiled it keeps by itself. */
void ci_proof_prepared(struct ci_device *device) {
    if (!strstr(ci_device_caps(device)->platform, "Portable Computing Language")) ci_device_save_programs(device);
}
