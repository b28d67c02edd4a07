/* lookup.c: which profile stands for a device: files by key, the nearest of the same device, the nearest shipped one.
 *
 * A profile of the same device is preferred by how much of the rest of the key agrees; what an older driver was fastest
 * with is a better guess than anything shipped. Of the shipped ones, GPUs are matched by platform and name. CPUs are
 * not: their names are those of their maker's catalogue (and PoCL's carry LLVM's word for the core, too), and what
 * counts for a kernel is the platform's compiler and the width of the vector instructions. */
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/hash.h"
#include "base/log.h"
#include "base/status.h"
#include "profile/fields.h"
#include "profile/profile.h"
#include "profile/profile_fields.h"
#include "profile/shipped.h"

/* ---- keys ---- */

void ci_profile_clean_key(struct ci_profile_key *key) {
    ci_field_clean(key->platform);
    ci_field_clean(key->platform_version);
    ci_field_clean(key->device);
    ci_field_clean(key->driver);
}

bool ci_profile_same_device(const struct ci_profile_key *a, const struct ci_profile_key *b) {
    return strcmp(a->platform, b->platform) == 0 && strcmp(a->device, b->device) == 0 && strcmp(a->kind, b->kind) == 0;
}

/* How many of the other five agree. */
static int agreement(const struct ci_profile_key *a, const struct ci_profile_key *b) {
    return (strcmp(a->platform_version, b->platform_version) == 0) + (strcmp(a->driver, b->driver) == 0) +
           (strcmp(a->cpu, b->cpu) == 0) + (a->compute_units == b->compute_units) + (a->threads == b->threads);
}

bool ci_profile_same_key(const struct ci_profile_key *a, const struct ci_profile_key *b) {
    return ci_profile_same_device(a, b) && agreement(a, b) == 5;
}

/* ---- files ---- */

char *ci_profile_folder(void) { return ci_file_xdg("DATA", "profiles"); }

/* The device's name for people, as far as a file name goes, and a hash of all of the key. */
char *ci_profile_path(const struct ci_profile_key *wanted) {
    struct ci_profile_key key = *wanted;
    ci_profile_clean_key(&key);
    const char *texts[] = {key.kind, key.platform, key.platform_version, key.device, key.driver, key.cpu};
    uint64_t hash = CI_HASH_START;
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) hash = ci_hash(hash, texts[i], strlen(texts[i]) + 1);
    const uint64_t numbers[] = {key.compute_units, (uint64_t)key.threads};
    hash = ci_hash(hash, numbers, sizeof numbers);
    char name[49];
    size_t length = 0;
    for (const char *at = key.device; *at && length + 1 < sizeof name; at++) {
        bool plain = (*at >= 'a' && *at <= 'z') || (*at >= '0' && *at <= '9');
        bool capital = *at >= 'A' && *at <= 'Z';
        if (plain || capital)
            name[length++] = (char)(capital ? *at - 'A' + 'a' : *at);
        else if (length && name[length - 1] != '-')
            name[length++] = '-';
    }
    while (length && name[length - 1] == '-') length--;
    name[length] = '\0';
    char *folder = ci_profile_folder(), *path = NULL;
    if (folder && asprintf(&path, "%s/%s-%016" PRIx64 ".json", folder, length ? name : "device", hash) < 0) path = NULL;
    free(folder);
    return path;
}

/* Names that could do harm on a terminal or in JSON are nobody's profiles. */
static int is_profile(const struct dirent *entry) {
    char clean[sizeof entry->d_name];
    const char *name = entry->d_name;
    snprintf(clean, sizeof clean, "%s", name);
    ci_field_clean(clean);
    if (strcmp(clean, name) != 0) return 0;
    size_t length = strlen(name);
    return name[0] != '.' && length > 5 && strcmp(name + length - 5, ".json") == 0 &&
           strcmp(name, "quarantine.json") != 0;
}

enum clinfer_status ci_profile_files(struct ci_profile_files *files) {
    *files = (struct ci_profile_files){0};
    char *folder = ci_profile_folder();
    enum clinfer_status status = folder ? CLINFER_OK : ci_file_no_xdg("DATA", "profiles");
    if (!folder) return status == CLINFER_IO ? CLINFER_OK : status;
    struct dirent **entries = NULL;
    int found = scandir(folder, &entries, is_profile, alphasort);
    if (found < 0 && errno != ENOENT)
        status = ci_fail(errno == ENOMEM ? CLINFER_OUT_OF_MEMORY : CLINFER_IO, "%s: cannot list: %s", folder,
                         strerror(errno));
    if (found > 0 && !(files->paths = calloc((size_t)found, sizeof *files->paths)))
        status = ci_fail(CLINFER_OUT_OF_MEMORY, "%s: out of memory", folder);
    for (int i = 0; i < found; i++) {
        if (status == CLINFER_OK && files->count < CI_PROFILE_FILES) {
            if (asprintf(&files->paths[files->count], "%s/%s", folder, entries[i]->d_name) < 0)
                status = ci_fail(CLINFER_OUT_OF_MEMORY, "%s: out of memory", folder);
            else
                files->count++;
        }
        free(entries[i]);
    }
    free(entries);
    free(folder);
    if (status != CLINFER_OK) ci_profile_files_free(files);
    return status;
}

void ci_profile_files_free(struct ci_profile_files *files) {
    for (int i = 0; i < files->count; i++) free(files->paths[i]);
    free(files->paths);
    *files = (struct ci_profile_files){0};
}

/* ---- the nearest ---- */

/* The best seen so far; `score` is compared first, then the later date wins. */
struct best {
    struct ci_profile profile;
    char *path;
    double score;
    bool any;
};

/* Takes the profile over, and what it takes the place of goes. */
static enum clinfer_status offer(struct best *best, struct ci_profile *profile, double score, const char *path) {
    if (best->any &&
        (score < best->score || (score <= best->score && strcmp(profile->created, best->profile.created) <= 0))) {
        ci_profile_free(profile);
        return CLINFER_OK;
    }
    char *copy = strdup(path);
    if (!copy) {
        ci_profile_free(profile);
        return ci_fail(CLINFER_OUT_OF_MEMORY, "%s: out of memory", path);
    }
    ci_profile_free(&best->profile);
    free(best->path);
    *best = (struct best){*profile, copy, score, true};
    *profile = (struct ci_profile){0};
    return CLINFER_OK;
}

/* Look-ups are many, one per device and engine; a person wants to know once. */
static bool is_news(const char *message) {
    static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
    static uint64_t said[32];
    static int count;
    uint64_t hash = ci_hash(CI_HASH_START, message, strlen(message));
    bool news = true;
    pthread_mutex_lock(&mutex);
    for (int i = 0; i < count; i++) news = news && said[i] != hash;
    if (news && (size_t)count < sizeof said / sizeof *said) said[count++] = hash;
    pthread_mutex_unlock(&mutex);
    return news;
}

/* A bad file is nobody's failure but its own. */
static bool passed_over(enum clinfer_status status) {
    if (status == CLINFER_OUT_OF_MEMORY) return false;
    if (!is_news(ci_status_message())) return true;
    ci_log(CLINFER_LOG_WARNING,
           "%s; this profile is not used: `clinfer tune` makes a new one, `clinfer profile rm` "
           "removes it",
           ci_status_message());
    return true;
}

enum { EXACT_SCORE = 100 };

static enum clinfer_status search_files(const struct ci_profile_key *key, struct best *best) {
    struct ci_profile_files files;
    enum clinfer_status status = ci_profile_files(&files);
    if (status == CLINFER_IO) {
        ci_log(CLINFER_LOG_WARNING, "%s; profiles made on this machine are not used", ci_status_message());
        return CLINFER_OK;
    }
    for (int i = 0; i < files.count && status == CLINFER_OK; i++) {
        struct ci_profile profile;
        status = ci_profile_read_own(files.paths[i], &profile);
        if (status != CLINFER_OK) {
            if (passed_over(status)) status = CLINFER_OK;
        } else if (!ci_profile_same_device(&profile.key, key)) {
            ci_profile_free(&profile);
        } else {
            bool exact = !profile.imported && ci_profile_same_key(&profile.key, key);
            status = offer(best, &profile, exact ? EXACT_SCORE : agreement(&profile.key, key), files.paths[i]);
        }
    }
    ci_profile_files_free(&files);
    return status;
}

/* ---- shipped ---- */

/* Kernels made for wide vectors are wrong for narrow ones and the other way round, within a width they carry over. */
static int vector_class(const char *features) {
    return strstr(features, "avx512") ? 3 : strstr(features, "avx2") ? 2 : strstr(features, "neon") ? 1 : 0;
}

static int count_features(const char *features) {
    int count = *features != '\0';
    for (; *features; features++) count += *features == ',';
    return count;
}

double ci_profile_shipped_score(const struct ci_profile_key *shipped, const struct ci_profile_key *key) {
    if (strcmp(shipped->platform, key->platform) != 0 || strcmp(shipped->kind, key->kind) != 0) return -1;
    if (strcmp(key->kind, "cpu") != 0)
        return strcmp(shipped->device, key->device) == 0 ? 10 + agreement(shipped, key) : -1;
    if (vector_class(shipped->cpu) != vector_class(key->cpu)) return -1;
    int features = abs(count_features(shipped->cpu) - count_features(key->cpu));
    double units = fabs(log2((1.0 + shipped->compute_units) / (1.0 + key->compute_units)));
    double threads = fabs(log2((1.0 + shipped->threads) / (1.0 + key->threads)));
    bool same_name = strcmp(shipped->device, key->device) == 0;
    return 1 + same_name + 1 / (1.0 + 2 * features + units + threads);
}

/* Reading one takes some milliseconds of every start: its key, which comes first, says whether the rest is for this
 * device. */
static bool may_fit(const struct ci_profile_shipped *file, const struct ci_profile_key *key) {
    struct ci_profile_key shipped;
    return !ci_profile_peek_key(file->text, file->length, &shipped) || ci_profile_shipped_score(&shipped, key) >= 0;
}

static enum clinfer_status search_shipped(const struct ci_profile_key *key, struct best *best) {
    enum clinfer_status status = CLINFER_OK;
    for (const struct ci_profile_shipped *file = ci_profiles_shipped; file->name && status == CLINFER_OK; file++) {
        struct ci_profile profile;
        char name[128];
        if (!may_fit(file, key)) continue;
        snprintf(name, sizeof name, "shipped/%s", file->name);
        status = ci_profile_parse(name, file->text, file->length, &profile);
        if (status != CLINFER_OK) {
            if (passed_over(status)) status = CLINFER_OK;
            continue;
        }
        double score = ci_profile_shipped_score(&profile.key, key);
        if (score < 0)
            ci_profile_free(&profile);
        else
            status = offer(best, &profile, score, name);
    }
    return status;
}

/* ---- look-up ---- */

static enum clinfer_status give(struct best *best, enum clinfer_status status, enum ci_profile_origin found,
                                struct ci_profile *profile, enum ci_profile_origin *origin, char **path) {
    *profile = (struct ci_profile){0};
    *origin = CI_PROFILE_NONE;
    if (path) *path = NULL;
    if (status == CLINFER_OK && best->any) {
        *profile = best->profile;
        *origin = found;
        if (path)
            *path = best->path;
        else
            free(best->path);
    } else {
        ci_profile_free(&best->profile);
        free(best->path);
    }
    return status;
}

enum clinfer_status ci_profile_lookup_shipped(const struct ci_profile_key *key, struct ci_profile *profile,
                                              enum ci_profile_origin *origin, char **path) {
    struct best best = {0};
    return give(&best, search_shipped(key, &best), CI_PROFILE_SHIPPED, profile, origin, path);
}

enum clinfer_status ci_profile_lookup(const struct ci_profile_key *wanted, struct ci_profile *profile,
                                      enum ci_profile_origin *origin, char **path) {
    struct ci_profile_key key = *wanted;
    struct best best = {0};
    ci_profile_clean_key(&key);
    enum clinfer_status status = search_files(&key, &best);
    if (status == CLINFER_OK && !best.any) return ci_profile_lookup_shipped(&key, profile, origin, path);
    enum ci_profile_origin found = best.score >= EXACT_SCORE ? CI_PROFILE_EXACT : CI_PROFILE_DRIVER;
    return give(&best, status, found, profile, origin, path);
}
