/* Any bytes as platforms.json and as the verdict on a driver's compiler: unknown, or a verdict whose texts end and
 * whose drivers are among those there are. */
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "device/verdicts.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static char driver[] = "/etc/OpenCL/vendors/pocl.icd", folder[] = "/etc/OpenCL/vendors";

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static struct ci_vendors vendors;
    char reason[32] = "untouched";
    vendors = (struct ci_vendors){.folder = folder, .list = {{.path = driver}}, .count = 1, .key = 0x0123456789abcdef};
    json_t *all = ci_verdicts_parse((const char *)data, size);
    if (!json_is_array(json_object_get(all, "sets"))) abort();
    if (!ci_verdicts_apply(all, &vendors) && vendors.list[0].bad) abort();
    if (!memchr(vendors.list[0].reason, 0, sizeof vendors.list[0].reason) || vendors.count != 1) abort();
    json_decref(all);
    bool known =
        ci_verdict_of_compiler((const char *)data, size, 0x0123456789abcdef, 1800000000, reason, sizeof reason);
    if (!memchr(reason, 0, sizeof reason) || (!known && strcmp(reason, "untouched") != 0)) abort();
    return 0;
}
