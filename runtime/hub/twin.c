#define _GNU_SOURCE
#include "hub/twin.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/narrow.h"
#include "hub/cache.h"
#include "hub/hasher.h"
#include "hub/stores.h"

static const double tell_seconds = 0.1;

/* What is smaller is sooner fetched than looked for. */
enum { MIN_BYTES = 1 << 20 };

static bool is_cancelled(const struct ci_hub *hub) { return hub->cancel && atomic_load(hub->cancel); }

/* Whether the bytes are those; says how far it is. */
static bool has_digest(const struct ci_hub *hub, const char *path, const struct ci_hub_file *file) {
    struct ci_hasher *hasher = NULL;
    char digest[CI_DIGEST_BYTES] = "";
    int descriptor = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (descriptor < 0) return false;
    if (ci_hasher_create(descriptor, file->digest, file->size, &hasher) == CLINFER_OK) {
        uint64_t done = 0;
        ci_hasher_advance(hasher, file->size);
        while (done < file->size && !is_cancelled(hub)) {
            uint64_t now = ci_hasher_wait(hasher, file->size, tell_seconds);
            const struct ci_hub_event event = {.kind = CI_HUB_PROGRESS,
                                               .phase = "verify",
                                               .file = path,
                                               .digest = file->digest,
                                               .completed = now,
                                               .total = file->size};
            if (hub->watch) hub->watch(hub->user, &event);
            done = now;
        }
        if (done < file->size || ci_hasher_end(hasher, digest) != CLINFER_OK) *digest = 0;
        ci_hasher_destroy(hasher);
    }
    close(descriptor);
    return strcasecmp(digest, file->digest) == 0;
}

/* The file of that name in the model's folder, which is the model itself, or another part of it. */
static char *named_alike(const struct ci_stored *model, const struct ci_hub_file *file) {
    struct stat status;
    char *path = NULL;
    const char *slash = strrchr(file->path, '/'), *name = slash ? slash + 1 : file->path;
    const char *end = model->folder ? NULL : strrchr(model->path, '/');
    int length = end ? ci_narrowed(end - model->path) : ci_narrowed((int64_t)strlen(model->path));
    if (asprintf(&path, "%.*s/%s", length, model->path, name) < 0) return NULL;
    if (stat(path, &status) == 0 && S_ISREG(status.st_mode) && (uint64_t)status.st_size == file->size) return path;
    free(path);
    return NULL;
}

char *ci_hub_find_twin(struct ci_hub *hub, const struct ci_hub_file *file) {
    char *path = ci_hub_find_digest(hub->settings, file->digest, file->size);
    struct ci_stored *models = NULL;
    size_t count = 0;
    if (path || file->size < MIN_BYTES || file->size == UINT64_MAX) return path;
    if (ci_stores_scan(hub->settings, NULL, &models, &count) != CLINFER_OK) count = 0;
    for (size_t i = 0; i < count && !path && !is_cancelled(hub); i++) {
        path = named_alike(&models[i], file);
        if (!path || has_digest(hub, path, file)) continue;
        free(path);
        path = NULL;
    }
    ci_stores_free(models, count);
    return path;
}
