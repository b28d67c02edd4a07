/* Any bytes as config.json: refused with a message that begins with the file's name and holds no control character, or
 * good: every value within its range, every text with an end. What looks like a key is in no message. */
#define _GNU_SOURCE
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/status.h"
#include "cli/config.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const char key[] = "sk-sentinel-0f9e8d7c6b5a", quoted[] = "\"sk-sentinel-0f9e8d7c6b5a\"";

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    struct ci_config config;
    enum clinfer_status status = ci_config_parse("fuzz", (const char *)data, size, &config);
    if (status == CLINFER_OK) {
        if (config.threads < -1 || config.threads > 1024 || config.fallback > 2 || config.activations > 2) abort();
        for (size_t i = 0; i < config.remote_count; i++)
            if (!config.remotes[i].remote.name || !*config.remotes[i].remote.name) abort();
        for (size_t i = 0; i < config.ops.count; i++)
            if (!*config.ops.items[i]) abort();
    } else {
        const char *message = ci_status_message();
        bool whole = memmem(data, size, quoted, sizeof quoted - 1) != NULL; /* a value or a name of its own */
        if (strncmp(message, "fuzz", 4) != 0 || (whole && strstr(message, key))) abort();
        for (; *message; message++)
            if ((unsigned char)*message < 0x20 || *message == 0x7f) abort();
    }
    ci_config_free(&config);
    return 0;
}
