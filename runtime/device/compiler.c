/* Whether a driver's compiler works, tried aside before this process uses it.
 *
 * A compiler may end the process that calls it: PoCL's links with the system's ld, and aborts where that is not found
 * in PATH. So before the first text is built for a device, clinfer-probe builds and runs a small kernel there. Whether
 * it came through is kept in $XDG_CACHE_HOME/clinfer/compilers, one file per device, for this version of clinfer, this
 * driver and what of the environment a compiler may depend on. A failure holds for a day at most, and until something
 * is installed in a folder of PATH.
 *
 * It is asked only when the compiler is about to be used. A start that finds all programs in the cache asks nothing,
 * one that builds more reads one small file; only the first pays for the child, or not even that where another process
 * has compiled before (engine/warm.h). That a driver refuses the kernel, or returns an error, says nothing here: this
 * process can meet that itself. */
#define _GNU_SOURCE
#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/cache.h"
#include "base/child.h"
#include "base/hash.h"
#include "base/log.h"
#include "base/narrow.h"
#include "base/status.h"
#include "device/internal.h"
#include "device/probe.h"
#include "device/verdicts.h"

extern char **environ;

enum { WORDS_BYTES = 160 };

/* A compiler on a busy machine may take long for its first kernel. CLINFER_PROBE_SECONDS overrides it. */
static const double default_deadline = 60;

/* ---- what the verdict holds for ---- */

/* Variables that choose which compiler runs, or what it finds. */
static bool steers_compilers(const char *entry) {
    static const char *const names[] = {"PATH=", "LD_LIBRARY_PATH=", "LD_PRELOAD=", "OPENCL_LAYERS=", "TMPDIR="};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (strncmp(entry, names[i], strlen(names[i])) == 0) return true;
    return strncmp(entry, "POCL_", strlen("POCL_")) == 0;
}

/* A folder changes when something is installed in it or removed from it. */
static uint64_t hash_folders(uint64_t hash, const char *path) {
    for (const char *end = path; path && *path; path = *end ? end + 1 : end) {
        char folder[1024];
        struct stat info;
        end = path + strcspn(path, ":");
        snprintf(folder, sizeof folder, "%.*s", ci_narrowed(end - path), path);
        if (stat(folder, &info) != 0) continue;
        hash = ci_hash(hash, &info.st_mtim.tv_sec, sizeof info.st_mtim.tv_sec);
        hash = ci_hash(hash, &info.st_mtim.tv_nsec, sizeof info.st_mtim.tv_nsec);
    }
    return hash;
}

static uint64_t key_of(const struct ci_device_caps *caps) {
    uint64_t variables = 0, hash = ci_hash(CI_HASH_START, CLINFER_VERSION, sizeof CLINFER_VERSION);
    hash = ci_hash(hash, &caps->key, sizeof caps->key);
    for (char **entry = environ; entry && *entry; entry++)
        if (steers_compilers(*entry)) variables += ci_hash(CI_HASH_START, *entry, strlen(*entry)); /* in any order */
    hash = ci_hash(hash, &variables, sizeof variables);
    return hash_folders(hash, getenv("PATH"));
}

/* ---- the verdict on disk ---- */

static char *verdict_path(const struct ci_device_caps *caps) {
    char name[64];
    snprintf(name, sizeof name, "compilers/%016" PRIx64 ".json", caps->key);
    return ci_cache_path(name);
}

static bool load_verdict(const struct ci_device_caps *caps, uint64_t key, char *reason, size_t size) {
    char *path = verdict_path(caps), *text = NULL;
    size_t length = 0;
    bool known = path && ci_cache_read(path, CI_VERDICT_BYTES, &text, &length) == CLINFER_OK &&
                 ci_verdict_of_compiler(text, length, key, (int64_t)time(NULL), reason, size);
    free(text);
    free(path);
    return known;
}

static void store_verdict(const struct ci_device_caps *caps, uint64_t key, const char *reason) {
    char *path = verdict_path(caps), hex[17];
    snprintf(hex, sizeof hex, "%016" PRIx64, key);
    json_t *object = json_pack("{s:s, s:s, s:I, s:s}", "device", caps->name, "key", hex, "time", (json_int_t)time(NULL),
                               "failure", reason);
    char *text = object ? json_dumps(object, JSON_INDENT(2)) : NULL;
    if (path && text) ci_cache_write(path, text, strlen(text));
    json_decref(object);
    free(text);
    free(path);
}

void ci_device_forget_compiler(const struct ci_device_caps *caps) {
    char *path = verdict_path(caps);
    if (path) unlink(path);
    free(path);
}

/* ---- the trial ---- */

/* The line of what it printed that tells most, quoted; "" when it printed none: the first with "error" in it, or the
 * last. */
static void last_words(const char *output, char words[WORDS_BYTES]) {
    const char *line = output, *chosen = NULL;
    size_t length = 0;
    words[0] = '\0';
    for (; *line; line += strcspn(line, "\n"), line += *line == '\n') {
        size_t here = strcspn(line, "\n");
        if (here == 0) continue;
        bool error = memmem(line, here, "error", strlen("error")) != NULL;
        chosen = line;
        length = here;
        if (error) break;
    }
    if (!chosen) return;
    int used = snprintf(words, WORDS_BYTES, ", \"%.*s\"", ci_shown(length, 120), chosen);
    for (int i = 0; i < used && i < WORDS_BYTES; i++)
        if ((unsigned char)words[i] < ' ' || (unsigned char)words[i] > '~') words[i] = '?';
}

/* "": it came through, or gave an answer that this process may get as well. */
static void judge(const struct ci_device_caps *caps, const struct ci_child *child, double deadline, char *reason,
                  size_t size) {
    char how[96], words[WORDS_BYTES];
    bool ended = strstr(child->output, "end\n") != NULL, links = strstr(child->output, "link") != NULL;
    reason[0] = '\0';
    if (child->timed_out)
        snprintf(how, sizeof how, "did not end within %g seconds", deadline);
    else if (child->signal)
        snprintf(how, sizeof how, "crashed (%s)", strsignal(child->signal));
    else if (child->exit_status == 0 || (child->exit_status < 0 && ended))
        return;
    else
        snprintf(how, sizeof how, "ended the process with status %d", child->exit_status);
    last_words(child->output, words);
    bool pocl = strstr(caps->platform, "Portable Computing Language") != NULL;
    snprintf(reason, size, "%s%s%s", how, words,
             pocl && links ? "; PoCL needs the linker ld in a folder of PATH (Debian: binutils)" : "");
}

/* What a trial needs and this process has not got is no reason against the compiler. */
static enum clinfer_status try_aside(const struct ci_device_caps *caps, char *reason, size_t size, bool *tried) {
    const char *seconds = getenv("CLINFER_PROBE_SECONDS");
    double deadline = seconds && strtod(seconds, NULL) > 0 ? strtod(seconds, NULL) : default_deadline;
    char *program = NULL;
    *tried = false;
    enum clinfer_status status = ci_probe_program(&program);
    if (status != CLINFER_OK || !program) return status;
    struct ci_child *child = calloc(1, sizeof *child);
    if (!child) {
        free(program);
        return ci_fail(CLINFER_OUT_OF_MEMORY, "out of memory while an OpenCL compiler was tried");
    }
    const char *const arguments[] = {"clinfer-probe", "compile", caps->platform, caps->name, caps->driver, NULL};
    ci_log(CLINFER_LOG_DEBUG, "trying the compiler of \"%s\" in %s", caps->name, program);
    status = ci_child_start(program, arguments, NULL, child);
    if (status == CLINFER_OK) {
        ci_child_wait(child, 1, deadline);
        judge(caps, child, deadline, reason, size);
        *tried = true;
    } else if (status != CLINFER_OUT_OF_MEMORY) {
        ci_log(CLINFER_LOG_INFO, "%s; the compiler of \"%s\" is used untried", ci_status_message(), caps->name);
        status = CLINFER_OK;
    }
    free(child);
    free(program);
    return status;
}

static bool trusted;

void ci_device_trust_compilers(void) { trusted = true; }

void ci_device_vouch_for_compiler(struct ci_device *device) {
    const bool compiled = device->counts.builds > 0;
    if (!trusted || !compiled || device->compiler_asked) return;
    store_verdict(&device->caps, key_of(&device->caps), "");
    device->compiler_asked = true; /* once */
}

enum clinfer_status ci_device_compiler_works(struct ci_device *device) {
    const struct ci_device_caps *caps = &device->caps;
    if (!device->compiler_asked && !trusted) {
        char *reason = device->compiler_failure;
        uint64_t key = key_of(caps);
        bool tried = false;
        enum clinfer_status status = CLINFER_OK;
        if (!load_verdict(caps, key, reason, sizeof device->compiler_failure))
            status = try_aside(caps, reason, sizeof device->compiler_failure, &tried);
        if (status != CLINFER_OK) return status;
        if (tried) store_verdict(caps, key, reason);
        device->compiler_asked = true;
    }
    if (!*device->compiler_failure) return CLINFER_OK;
    return ci_fail(CLINFER_NO_DEVICE,
                   "\"%s\" (%s): its compiler %s; it is tried again by `clinfer doctor`, when PATH or a folder in it "
                   "changes, and after a day",
                   caps->name, caps->platform, device->compiler_failure);
}
