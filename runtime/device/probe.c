/* The order of a start: the mark is looked at and set, the drivers' .icd files are read, their verdict is looked up or
 * found by children, bad ones are left out of the loader's sight; after the first listing the mark is cleared.
 *
 * The mark is one byte in a file that is locked while it is set. A crash of the process lets go of the lock but leaves
 * the byte, so the next one to get the lock knows. A crash of the machine changes the boot id and thereby the key.
 *
 * Children: first all drivers together, as the parent would load them, since that is nearly always the whole story. If
 * that fails, each alone, at the same time; and if those that are good alone fail together (two that bring the same
 * library in two versions do), they are added one by one and whoever breaks the rest is out. */
#define _GNU_SOURCE
#include "device/probe.h"

#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <jansson.h>
#include <limits.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>

#include "base/cache.h"
#include "base/child.h"
#include "base/file.h"
#include "base/log.h"
#include "base/narrow.h"
#include "base/status.h"
#include "device/vendors.h"
#include "device/verdicts.h"

enum { KEPT_SETS = 8 };

/* Some drivers wake a sleeping card first. */
static const double default_deadline = 20;

static struct {
    pthread_mutex_t lock;
    bool done;
    int mark; /* descriptor of the locked mark, -1 when there is none */
} probe = {PTHREAD_MUTEX_INITIALIZER, false, -1};

/* What the verdicts of one start need. */
struct trial {
    char *program, *cache; /* clinfer-probe; folder for verdicts and links */
    double deadline;
    struct ci_vendors vendors;
    bool no_memory; /* for something that it cannot do without */
};

/* ---- the mark ---- */

/* Sets it; true when it was found set: the last process that loaded drivers did not survive that. */
static bool set_mark(const char *cache) {
    char *path = NULL, byte = ' ';
    if (asprintf(&path, "%s/loading", cache) < 0) return false;
    probe.mark = open(path, O_RDWR | O_CLOEXEC | O_NOFOLLOW);
    if (probe.mark < 0 && errno == ENOENT && ci_cache_write(path, " ", 1) == CLINFER_OK)
        probe.mark = open(path, O_RDWR | O_CLOEXEC | O_NOFOLLOW);
    free(path);
    if (probe.mark < 0) return false;
    if (flock(probe.mark, LOCK_EX | LOCK_NB) != 0) { /* another process is at it this moment */
        close(probe.mark);
        probe.mark = -1;
        return false;
    }
    bool died = pread(probe.mark, &byte, 1, 0) == 1 && byte == 'L';
    if (pwrite(probe.mark, "L", 1, 0) != 1) ci_log(CLINFER_LOG_DEBUG, "%s: cannot write: %s", cache, strerror(errno));
    return died;
}

static void clear_mark(void) {
    if (probe.mark < 0) return;
    if (pwrite(probe.mark, " ", 1, 0) != 1) ci_log(CLINFER_LOG_DEBUG, "cannot clear the mark: %s", strerror(errno));
    close(probe.mark);
    probe.mark = -1;
}

/* ---- finding clinfer-probe ---- */

static enum clinfer_status in_folder_of(const char *file, const char *below, char **path) {
    const char *slash = file ? strrchr(file, '/') : NULL;
    if (!slash || *path) return CLINFER_OK;
    if (asprintf(path, "%.*s/%sclinfer-probe", ci_narrowed(slash - file), file, below) < 0) {
        *path = NULL;
        return ci_fail(CLINFER_OUT_OF_MEMORY, "out of memory while clinfer-probe was looked for");
    }
    if (access(*path, X_OK) == 0) return CLINFER_OK;
    free(*path);
    *path = NULL;
    return CLINFER_OK;
}

/* CLINFER_PROBE (empty: do not probe); else beside the executable, as in a build folder; else in libexec, relative to
 * the executable or to the shared library of ours, as installed; else where libexec is by default. */
enum clinfer_status ci_probe_program(char **path) {
    const char *chosen = getenv("CLINFER_PROBE");
    *path = NULL;
    if (chosen) {
        if (!*chosen || access(chosen, X_OK) != 0) return CLINFER_OK;
        *path = strdup(chosen);
        return *path ? CLINFER_OK : ci_fail(CLINFER_OUT_OF_MEMORY, "out of memory while clinfer-probe was looked for");
    }
    char executable[4096];
    ssize_t length = readlink("/proc/self/exe", executable, sizeof executable - 1);
    executable[length > 0 ? length : 0] = '\0';
    Dl_info library = {0};
    if (!dladdr((void *)(uintptr_t)ci_probe_program, &library)) library.dli_fname = NULL;
    const char *const places[][2] = {{executable, ""},
                                     {executable, "../libexec/clinfer/"},
                                     {library.dli_fname, "../libexec/clinfer/"},
                                     {CLINFER_LIBEXEC "/", ""}};
    enum clinfer_status status = CLINFER_OK;
    for (size_t i = 0; i < sizeof places / sizeof *places && status == CLINFER_OK; i++)
        status = in_folder_of(places[i][0], places[i][1], path);
    return status;
}

/* ---- the verdicts ---- */

static char *verdict_path(const struct trial *trial) {
    char *path = NULL;
    return asprintf(&path, "%s/platforms.json", trial->cache) < 0 ? NULL : path;
}

static char *links_path(const struct trial *trial, const char *key) {
    char *path = NULL;
    return asprintf(&path, "%s/vendors-%s", trial->cache, key) < 0 ? NULL : path;
}

/* Where the cache's are not ours, or cannot be made; NULL: there is no such place. */
static char *links_elsewhere(const char *key) {
    char *folder = ci_file_private_folder("drivers"), *path = NULL;
    if (folder && asprintf(&path, "%s/vendors-%s", folder, key) < 0) path = NULL;
    free(folder);
    return path;
}

static void key_text(const struct trial *trial, char text[17]) {
    snprintf(text, 17, "%016" PRIx64, trial->vendors.key);
}

/* All verdicts as a new reference; an empty one for a file that is absent or damaged. */
static json_t *load_verdicts(const struct trial *trial) {
    char *path = verdict_path(trial), *text = NULL;
    size_t length = 0;
    if (!path || ci_cache_read(path, CI_VERDICT_BYTES, &text, &length) != CLINFER_OK) length = 0;
    json_t *all = ci_verdicts_parse(text ? text : "", length);
    free(text);
    free(path);
    return all;
}

static void store_verdict(const struct trial *trial, json_t *all) {
    char key[17], *path = verdict_path(trial), *text = NULL;
    json_t *sets = json_object_get(all, "sets"), *left_out = json_array();
    key_text(trial, key);
    for (int i = 0; i < trial->vendors.count; i++) {
        const struct ci_vendor *vendor = &trial->vendors.list[i];
        if (vendor->bad)
            json_array_append_new(left_out, json_pack("{s:s, s:s}", "driver", vendor->path, "reason", vendor->reason));
    }
    for (size_t i = json_array_size(sets); i-- > 0;) {
        const char *known = json_string_value(json_object_get(json_array_get(sets, i), "key"));
        bool same = known && strcmp(known, key) == 0;
        if (known && !same && i + 1 < KEPT_SETS) continue;
        /* The links of a set that was tried again may be wrong now; those of a forgotten one are of no use. */
        char *links = known && strlen(known) == 16 && !strchr(known, '/') ? links_path(trial, known) : NULL;
        if (links) ci_vendors_unlink(links);
        free(links);
        json_array_remove(sets, i);
    }
    json_array_insert_new(
        sets, 0, json_pack("{s:s, s:s, s:o}", "key", key, "drivers", trial->vendors.folder, "left_out", left_out));
    text = json_dumps(all, JSON_INDENT(2));
    if (path && text) ci_cache_write(path, text, strlen(text));
    free(text);
    free(path);
}

/* ---- the trials ---- */

static bool survived(const struct ci_child *child) {
    if (child->timed_out || child->signal) return false;
    if (child->exit_status >= 0) return child->exit_status == 0;
    return strncmp(child->output, "end\n", 4) == 0 || strstr(child->output, "\nend\n");
}

static void describe(const struct trial *trial, const struct ci_child *child, struct ci_vendor *vendor) {
    vendor->bad = true;
    if (child->timed_out)
        snprintf(vendor->reason, sizeof vendor->reason, "it did not answer within %g seconds", trial->deadline);
    else if (child->signal)
        snprintf(vendor->reason, sizeof vendor->reason, "it crashed (%s)", strsignal(child->signal));
    else
        snprintf(vendor->reason, sizeof vendor->reason, "it ended the process with status %d", child->exit_status);
}

/* One child per mask of vendors, all at the same time. False when a child could not even be started. */
static bool try_sets(struct trial *trial, const uint32_t *masks, int count, struct ci_child *children) {
    static const char *const arguments[] = {"clinfer-probe", NULL};
    char *folders[CI_MAX_VENDORS] = {0}, *variable = NULL;
    enum clinfer_status status = CLINFER_OK;
    memset(children, 0, (size_t)count * sizeof *children);
    for (int i = 0; status == CLINFER_OK && i < count; i++) {
        if (asprintf(&folders[i], "%s/probe-%d-%d", trial->cache, (int)getpid(), i) < 0) folders[i] = NULL;
        if (!folders[i] || asprintf(&variable, "OCL_ICD_VENDORS=%s", folders[i]) < 0) variable = NULL;
        const char *const changes[] = {variable, NULL};
        status = variable ? ci_vendors_link(&trial->vendors, masks[i], folders[i]) : CLINFER_OUT_OF_MEMORY;
        if (status == CLINFER_OK) status = ci_child_start(trial->program, arguments, changes, &children[i]);
        free(variable);
    }
    trial->no_memory = trial->no_memory || status == CLINFER_OUT_OF_MEMORY;
    ci_child_wait(children, count, trial->deadline);
    for (int i = 0; i < count; i++) {
        if (folders[i]) ci_vendors_unlink(folders[i]);
        free(folders[i]);
    }
    return status == CLINFER_OK;
}

/* Adds the good ones one by one; whoever breaks what worked so far is out. */
static bool find_quarrel(struct trial *trial, struct ci_child *child) {
    uint32_t together = 0;
    for (int i = 0; i < trial->vendors.count; i++) {
        struct ci_vendor *vendor = &trial->vendors.list[i];
        if (vendor->bad) continue;
        uint32_t more = together | UINT32_C(1) << i;
        if (!try_sets(trial, &more, 1, child)) return false;
        if (survived(child)) {
            together = more;
        } else {
            describe(trial, child, vendor);
            size_t length = strlen(vendor->reason);
            snprintf(vendor->reason + length, sizeof vendor->reason - length, " beside the other drivers");
        }
    }
    return true;
}

/* Which of the vendors that were tried alone are bad, and whether the others get along; false when nothing could be
 * found out. `children` [CI_MAX_VENDORS] have tried all alone, and are used again. */
static bool judge(struct trial *trial, struct ci_child *children) {
    uint32_t good = 0;
    for (int i = 0; i < trial->vendors.count; i++) {
        if (survived(&children[i]))
            good |= UINT32_C(1) << i;
        else
            describe(trial, &children[i], &trial->vendors.list[i]);
    }
    if (!try_sets(trial, &good, 1, children)) return false;
    return survived(children) || find_quarrel(trial, children);
}

static bool try_each(struct trial *trial, struct ci_child *children) {
    uint32_t masks[CI_MAX_VENDORS];
    for (int i = 0; i < trial->vendors.count; i++) masks[i] = UINT32_C(1) << i;
    return try_sets(trial, masks, trial->vendors.count, children);
}

/* Finds out which vendors are bad; false when nothing could be found out. */
static bool examine(struct trial *trial) {
    struct ci_child *children = calloc(CI_MAX_VENDORS, sizeof *children);
    uint32_t all = 0;
    for (int i = 0; i < trial->vendors.count; i++) all |= UINT32_C(1) << i;
    ci_log(CLINFER_LOG_DEBUG, "trying the OpenCL drivers of %s in %s", trial->vendors.folder, trial->program);
    bool fine = children && try_sets(trial, &all, 1, children);
    if (fine && !survived(children)) {
        ci_log(CLINFER_LOG_INFO, "an OpenCL driver of %s failed; looking for which", trial->vendors.folder);
        fine = try_each(trial, children) && judge(trial, children);
    }
    trial->no_memory = trial->no_memory || !children;
    free(children);
    return fine;
}

/* ---- leaving them out ---- */

static void leave_out(struct trial *trial) {
    uint32_t good = 0;
    int bad = 0;
    char key[17], *path = verdict_path(trial);
    for (int i = 0; i < trial->vendors.count; i++) {
        const struct ci_vendor *vendor = &trial->vendors.list[i];
        if (!vendor->bad) {
            good |= UINT32_C(1) << i;
            continue;
        }
        bad++;
        ci_log(CLINFER_LOG_WARNING,
               "OpenCL driver %s is left out: %s while its devices were listed; remove %s to try it again",
               vendor->path, vendor->reason, path ? path : "the cache");
    }
    key_text(trial, key);
    char *links = bad ? links_path(trial, key) : NULL;
    enum clinfer_status status = links ? ci_vendors_link(&trial->vendors, good, links) : CLINFER_OUT_OF_MEMORY;
    if (status == CLINFER_REFUSED || status == CLINFER_IO) {
        free(links);
        links = links_elsewhere(key);
        status = links ? ci_vendors_link(&trial->vendors, good, links) : status;
        if (status != CLINFER_OK)
            ci_log(CLINFER_LOG_WARNING, "%s: drivers are loaded as they are", ci_status_message());
    }
    if (links && status == CLINFER_OK && setenv("OCL_ICD_VENDORS", links, 1) != 0) status = CLINFER_OUT_OF_MEMORY;
    trial->no_memory = bad && status == CLINFER_OUT_OF_MEMORY;
    free(links);
    free(path);
}

/* False when drivers cannot be tried here, for the reason that goes to `why_not`. */
static bool open_trial(struct trial *trial, const char **why_not) {
    *trial = (struct trial){.cache = ci_cache_path(NULL), .deadline = default_deadline};
    if (ci_probe_program(&trial->program) != CLINFER_OK) trial->no_memory = true;
    if (!trial->cache && ci_file_no_xdg("CACHE", "drivers") == CLINFER_OUT_OF_MEMORY) trial->no_memory = true;
    const char *seconds = getenv("CLINFER_PROBE_SECONDS");
    if (seconds && strtod(seconds, NULL) > 0) trial->deadline = strtod(seconds, NULL);
    *why_not = !trial->program ? "clinfer-probe was not found, or CLINFER_PROBE forbids it"
               : !trial->cache ? "neither XDG_CACHE_HOME nor HOME is set"
                               : "there are none, or the environment picks them in a way of its own";
    bool fine = trial->program && trial->cache && ci_vendors_read(&trial->vendors);
    if (trial->vendors.no_memory) trial->no_memory = true;
    if (trial->no_memory) *why_not = "memory is out";
    return fine && !trial->no_memory;
}

static void close_trial(struct trial *trial) {
    ci_vendors_free(&trial->vendors);
    free(trial->program);
    free(trial->cache);
}

static enum clinfer_status probe_once(void) {
    struct trial trial;
    const char *unused;
    json_t *verdicts = NULL;
    bool died = false;
    ci_pocl_cache_prepare();
    if (!open_trial(&trial, &unused)) goto done;
    died = set_mark(trial.cache);
    verdicts = load_verdicts(&trial);
    trial.no_memory = !verdicts;
    if (!verdicts) goto done;
    if (died)
        ci_log(CLINFER_LOG_INFO, "the last process that loaded OpenCL drivers died in that; they are tried again");
    if (died || !ci_verdicts_apply(verdicts, &trial.vendors)) {
        if (!examine(&trial)) goto done;
        store_verdict(&trial, verdicts);
    }
    leave_out(&trial);
done:
    json_decref(verdicts);
    close_trial(&trial);
    if (trial.no_memory && died) { /* it stays set: the next one is to know */
        close(probe.mark);
        probe.mark = -1;
    }
    return trial.no_memory ? ci_fail(CLINFER_OUT_OF_MEMORY, "out of memory while OpenCL drivers were tried")
                           : CLINFER_OK;
}

enum clinfer_status ci_probe_begin(void) {
    pthread_mutex_lock(&probe.lock);
    enum clinfer_status status = probe.done ? CLINFER_OK : probe_once();
    probe.done = status == CLINFER_OK;
    pthread_mutex_unlock(&probe.lock);
    return status;
}

void ci_probe_end(void) {
    pthread_mutex_lock(&probe.lock);
    clear_mark();
    pthread_mutex_unlock(&probe.lock);
}

/* ---- the report ---- */

/* "platform NAME" and "device NAME" lines of clinfer-probe. */
static void read_listing(const char *text, struct ci_probe_driver *driver) {
    for (; *text; text += strcspn(text, "\n"), text += *text == '\n') {
        size_t used = strlen(driver->platforms);
        if (strncmp(text, "device ", 7) == 0) driver->devices++;
        if (strncmp(text, "platform ", 9) != 0) continue;
        snprintf(driver->platforms + used, sizeof driver->platforms - used, "%s%.*s", used ? ", " : "",
                 ci_shown(strcspn(text + 9, "\n"), INT_MAX), text + 9);
    }
}

static void read_library(const char *icd, char *library, size_t size) {
    FILE *file = fopen(icd, "re");
    library[0] = '\0';
    if (file && !fgets(library, ci_shown(size, INT_MAX), file)) library[0] = '\0';
    if (file) fclose(file);
    library[strcspn(library, "\r\n")] = '\0';
}

void ci_probe_examine(struct ci_probe_report *report) {
    struct trial trial;
    const char *why_not;
    *report = (struct ci_probe_report){.count = 0};
    ci_pocl_cache_prepare();
    bool fine = open_trial(&trial, &why_not);
    struct ci_child *children = fine ? calloc(CI_MAX_VENDORS, sizeof *children) : NULL;
    if (fine) {
        why_not = "clinfer-probe cannot be started, or the cache folder cannot be written to";
        fine = children && try_each(&trial, children);
        snprintf(report->folder, sizeof report->folder, "%s", trial.vendors.folder);
    }
    for (int i = 0; fine && i < trial.vendors.count; i++) read_listing(children[i].output, &report->drivers[i]);
    if (fine) fine = judge(&trial, children);
    if (!fine) snprintf(report->why_not, sizeof report->why_not, "%s", why_not);
    for (int i = 0; i < trial.vendors.count; i++) {
        struct ci_probe_driver *driver = &report->drivers[report->count++];
        const struct ci_vendor *vendor = &trial.vendors.list[i];
        snprintf(driver->icd, sizeof driver->icd, "%s", vendor->path);
        snprintf(driver->reason, sizeof driver->reason, "%s", vendor->reason);
        driver->bad = vendor->bad;
        read_library(vendor->path, driver->library, sizeof driver->library);
    }
    json_t *verdicts = fine ? load_verdicts(&trial) : NULL;
    if (verdicts) store_verdict(&trial, verdicts);
    json_decref(verdicts);
    free(children);
    close_trial(&trial);
}
