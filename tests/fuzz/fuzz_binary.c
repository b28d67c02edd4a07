/* Any bytes as a cached program binary: as good as absent, or what was stored, with a length and launches that are
 * there to be read. */
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "device/internal.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const uint64_t program = UINT64_C(0x0123456789abcdef);
static char folder[] = "/tmp/fuzz-binary-XXXXXX";

static void clean_up(void) {
    char path[64];
    snprintf(path, sizeof path, "%s/%016llx.bin", folder, (unsigned long long)program);
    unlink(path);
    rmdir(folder);
}

static void write_file(const uint8_t *data, size_t size) {
    char path[64];
    static bool made;
    if (!made) {
        if (!mkdtemp(folder)) abort();
        atexit(clean_up);
        made = true;
    }
    snprintf(path, sizeof path, "%s/%016llx.bin", folder, (unsigned long long)program);
    FILE *file = fopen(path, "wb");
    if (!file || fwrite(data, 1, size, file) != size || fclose(file) != 0) abort();
    chmod(path, 0600);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    struct ci_cached_binary binary, again;
    write_file(data, size);
    if (ci_program_cache_load(folder, program, &binary)) {
        uint8_t *copy = malloc(binary.size);
        if (!copy || binary.size == 0 || binary.launch_count < 0 || binary.launch_count > CI_PROGRAM_LAUNCHES) abort();
        memcpy(copy, binary.bytes, binary.size);
        ci_program_cache_store(folder, program, &binary);
        if (!ci_program_cache_load(folder, program, &again) || again.size != binary.size ||
            memcmp(again.bytes, copy, again.size) != 0)
            abort();
        free(again.bytes);
        free(copy);
    } else if (binary.bytes) {
        abort();
    }
    free(binary.bytes);
    return 0;
}
