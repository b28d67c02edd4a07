/* doctor_system.c: what of the machine `clinfer doctor` looks at without OpenCL: the processor, device nodes and who
 * may open them, folders, models, the quarantine. */
#define _GNU_SOURCE
#include <clinfer.h>
#include <dirent.h>
#include <errno.h>
#include <glob.h>
#include <gnu/libc-version.h>
#include <grp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/utsname.h>
#include <unistd.h>

#include "base/child.h"
#include "base/file.h"
#include "cli/doctor.h"
#include "cli/inspect_file.h"
#include "cli/models.h"
#include "cli/output.h"
#include "cpu/cpu.h"
#include "model/model.h"
#include "model/source.h"
#include "ops/bind.h"
#include "ops/signature.h"
#include "profile/profile_fields.h"

static const char system_section[] = "system", folders_section[] = "folders";

/* ---- the machine ---- */

/* The value behind "KEY=" or "Key:" in a small text file; "" when there is none. */
static void read_value(const char *path, const char *key, char *value, size_t size) {
    char line[512];
    FILE *file = fopen(path, "re");
    value[0] = '\0';
    while (file && !*value && fgets(line, sizeof line, file)) {
        if (strncmp(line, key, strlen(key)) != 0) continue;
        char *start = line + strlen(key);
        start += strspn(start, " \t\"");
        start[strcspn(start, "\"\n")] = '\0';
        snprintf(value, size, "%s", start);
    }
    if (file) fclose(file);
}

/* Variables that change what drivers and clinfer do. */
static json_t *environment_json(void) {
    static const char *const prefixes[] = {
        "CLINFER_", "OCL_", "OPENCL_", "POCL_", "RUSTICL_", "MESA_",           "CUDA_",     "NEO_",
        "GPU_",     "XDG_", "HSA_",    "ROCR_", "ZE_",      "LD_LIBRARY_PATH", "LD_PRELOAD"};
    json_t *object = json_object();
    for (char **entry = environ; entry && *entry; entry++) {
        size_t name = strcspn(*entry, "=");
        bool wanted = false;
        for (size_t i = 0; i < sizeof prefixes / sizeof *prefixes; i++)
            wanted = wanted || strncmp(*entry, prefixes[i], strlen(prefixes[i])) == 0;
        if (!wanted || !(*entry)[name]) continue;
        char *key = strndup(*entry, name);
        if (key) json_object_set_new(object, key, ci_json_text(*entry + name + 1, strlen(*entry + name + 1)));
        free(key);
    }
    return object;
}

static json_t *features_json(const struct ci_cpu_features *cpu) {
    return json_pack("{s:b, s:b, s:b, s:b, s:b}", "avx2", cpu->avx2, "avx512vnni", cpu->avx512vnni, "avx512bf16",
                     cpu->avx512bf16, "neon", cpu->neon, "neondot", cpu->neondot);
}

static void check_processor(struct ci_doctor *doctor, json_t *facts) {
    const struct ci_cpu_features *cpu = ci_cpu_features();
    long processors = sysconf(_SC_NPROCESSORS_ONLN);
    bool scalar = strcmp(clinfer_cpu_isa(), "scalar") == 0;
    json_object_set_new(facts, "cpu",
                        json_pack("{s:s, s:s, s:I, s:o}", "name", cpu->name, "isa", clinfer_cpu_isa(), "processors",
                                  (json_int_t)processors, "features", features_json(cpu)));
    ci_doctor_check(doctor, system_section, "processor", scalar ? CI_VERDICT_WARN : CI_VERDICT_OK,
                    "what runs on the CPU backend will be slow: AVX2, or NEON on Arm, is what its kernels are made for",
                    "%s, %ld processors, CPU kernels for %s", cpu->name, processors, clinfer_cpu_isa());
}

static void check_memory(struct ci_doctor *doctor, json_t *facts) {
    enum { LEAST = 512 << 20 };
    uint64_t total = ci_proc_bytes("/proc/meminfo", "MemTotal:");
    uint64_t available = ci_proc_bytes("/proc/meminfo", "MemAvailable:");
    char all[CI_AMOUNT_BYTES], left[CI_AMOUNT_BYTES];
    json_object_set_new(facts, "memory_bytes", json_integer((json_int_t)total));
    json_object_set_new(facts, "memory_available_bytes", json_integer((json_int_t)available));
    if (!total) return;
    ci_doctor_check(doctor, system_section, "memory", available < LEAST ? CI_VERDICT_WARN : CI_VERDICT_OK,
                    "end other programs, or choose a small model and a small context (-c)", "%s, of which %s are free",
                    ci_format_bytes(total, all), ci_format_bytes(available, left));
}

/* ---- device nodes ---- */

/* What drivers of GPUs open. */
static const char *const node_patterns[] = {"/dev/dri/renderD*", "/dev/kfd",   "/dev/nvidiactl", "/dev/nvidia[0-9]*",
                                            "/dev/mali[0-9]*",   "/dev/kgsl*", "/dev/dxg"};

static void check_node(struct ci_doctor *doctor, const char *path, json_t *nodes, int *closed) {
    struct stat info;
    char todo[256];
    bool usable = access(path, R_OK | W_OK) == 0;
    const struct group *group = stat(path, &info) == 0 ? getgrgid(info.st_gid) : NULL;
    const char *name = group ? group->gr_name : "render";
    json_array_append_new(nodes, json_pack("{s:s, s:b, s:s}", "path", path, "usable", usable, "group", name));
    if (usable) return;
    ++*closed;
    if (group && (info.st_mode & 0060) == 0060 && strcmp(name, "root") != 0)
        snprintf(todo, sizeof todo, "join the group that may: sudo usermod -aG %s $(id -un), then log in again", name);
    else
        snprintf(todo, sizeof todo, "the rules of udev give no group access to it: install the driver's package anew");
    ci_doctor_check(doctor, system_section, "permissions", CI_VERDICT_WARN, todo,
                    "%s may not be opened: a GPU behind it is not seen", path);
}

/* Graphics cards that the kernel sees, those of virtual machines aside. */
static int count_cards(void) {
    glob_t found;
    int count = 0;
    if (glob("/sys/bus/pci/devices/*/class", 0, NULL, &found) != 0) return 0;
    for (size_t i = 0; i < found.gl_pathc; i++) {
        char class[32], vendor[32], path[256];
        read_value(found.gl_pathv[i], "0x", class, sizeof class);
        snprintf(path, sizeof path, "%.*svendor", (int)(strlen(found.gl_pathv[i]) - 5), found.gl_pathv[i]);
        read_value(path, "0x", vendor, sizeof vendor);
        bool graphics = strncmp(class, "03", 2) == 0;
        count +=
            graphics && (strcmp(vendor, "10de") == 0 || strcmp(vendor, "1002") == 0 || strcmp(vendor, "8086") == 0);
    }
    globfree(&found);
    return count;
}

static void check_nodes(struct ci_doctor *doctor, json_t *facts) {
    json_t *nodes = json_array();
    int closed = 0, cards = count_cards();
    for (size_t i = 0; i < sizeof node_patterns / sizeof *node_patterns; i++) {
        glob_t found;
        if (glob(node_patterns[i], 0, NULL, &found) != 0) continue;
        for (size_t k = 0; k < found.gl_pathc; k++) check_node(doctor, found.gl_pathv[k], nodes, &closed);
        globfree(&found);
    }
    size_t count = json_array_size(nodes);
    json_object_set_new(facts, "device_nodes", nodes);
    json_object_set_new(facts, "graphics_cards", json_integer(cards));
    if (count == 0 && cards > 0)
        ci_doctor_check(doctor, system_section, "permissions", CI_VERDICT_WARN,
                        "load the card's kernel driver; a container needs its device nodes (--device /dev/dri)",
                        "%d graphics card%s on the bus, but no device node of a GPU", cards, cards == 1 ? "" : "s");
    else if (closed == 0)
        ci_doctor_check(doctor, system_section, "permissions", CI_VERDICT_OK, NULL,
                        count ? "all %zu device nodes of GPUs may be opened" : "there is no device node of a GPU",
                        count);
}

void ci_doctor_system(struct ci_doctor *doctor) {
    struct utsname names;
    char system[128];
    json_t *facts = json_object();
    json_object_set_new(doctor->root, "system", facts);
    read_value("/etc/os-release", "PRETTY_NAME=", system, sizeof system);
    json_object_set_new(facts, "os", ci_json_text(system, strlen(system)));
    json_object_set_new(facts, "libc", json_string(gnu_get_libc_version()));
    if (uname(&names) == 0)
        json_object_set_new(
            facts, "kernel",
            json_pack("{s:s, s:s, s:s}", "name", names.sysname, "release", names.release, "machine", names.machine));
    json_object_set_new(facts, "environment", environment_json());
    check_processor(doctor, facts);
    check_memory(doctor, facts);
    check_nodes(doctor, facts);
}

/* ---- folders ---- */

/* The way that programs write to it: a file that appears and goes again. */
static void check_folder(struct ci_doctor *doctor, const char *kind, const char *name, const char *todo) {
    enum { LEAST = 200 << 20 };
    char text[CI_AMOUNT_BYTES], *folder = ci_file_xdg(kind, NULL), *path = NULL;
    struct statvfs room;
    if (!folder) {
        ci_doctor_check(doctor, folders_section, name, CI_VERDICT_WARN, todo,
                        "there is none: neither XDG_%s_HOME nor HOME is set", kind);
        return;
    }
    if (asprintf(&path, "%s/doctor-%d", folder, (int)getpid()) < 0) path = NULL; /* cache.c knows the name */
    if (path && ci_file_write(path, "doctor\n", 7) != CLINFER_OK) {
        char *why = strdup(clinfer_error());
        ci_doctor_check(doctor, folders_section, name, CI_VERDICT_WARN, todo, "%s", why ? why : folder);
        free(why);
    } else if (statvfs(folder, &room) == 0 && (uint64_t)room.f_bavail * room.f_frsize < LEAST) {
        ci_doctor_check(doctor, folders_section, name, CI_VERDICT_WARN, "make room on its file system",
                        "%s: %s are left there", folder,
                        ci_format_bytes((uint64_t)room.f_bavail * room.f_frsize, text));
    } else {
        ci_doctor_check(doctor, folders_section, name, CI_VERDICT_OK, NULL, "%s", folder);
    }
    if (path) unlink(path);
    free(path);
    free(folder);
}

/* What is there and would not be loaded, since others may have written it: the first is named. Links to drivers are
 * what their folder is. */
static int count_foreign(const char *folder, int depth, char **first) {
    DIR *directory = opendir(folder);
    int count = 0;
    for (const struct dirent *entry; directory && (entry = readdir(directory));) {
        char *path = NULL;
        if (entry->d_name[0] == '.' || strstr(entry->d_name, ".icd")) continue;
        if (asprintf(&path, "%s/%s", folder, entry->d_name) < 0) break;
        bool foreign = ci_file_check_own(path, "clinfer") == CLINFER_REFUSED;
        if (foreign && !*first) *first = strdup(clinfer_error());
        count += foreign;
        if (!foreign && depth > 0) count += count_foreign(path, depth - 1, first);
        free(path);
    }
    if (directory) closedir(directory);
    return count;
}

static void check_owner(struct ci_doctor *doctor, const char *kind, const char *below, const char *name) {
    enum { DEPTH = 2 };
    char *folder = ci_file_xdg(kind, below), *first = NULL;
    int count = 0;
    if (folder && ci_file_check_own(folder, "clinfer") == CLINFER_REFUSED) {
        first = strdup(clinfer_error());
        count = 1;
    } else if (folder) {
        count = count_foreign(folder, DEPTH, &first);
    }
    if (count)
        ci_doctor_check(doctor, folders_section, name, CI_VERDICT_WARN,
                        "until then it is not used: remove it if you do not know who wrote it", "%s%s",
                        first ? first : folder, count > 1 ? " (and others)" : "");
    free(first);
    free(folder);
}

/* Header and shapes; the weights are not read. */
static enum clinfer_status try_model(const char *path) {
    struct ci_gguf *gguf = NULL;
    struct ci_model model = {0};
    enum clinfer_status status = ci_source_open(path, NULL, &gguf);
    if (status == CLINFER_OK) status = ci_model_open(gguf, &model);
    if (status == CLINFER_OK) ci_model_close(&model);
    ci_gguf_close(gguf);
    return status;
}

/* What clinfer cannot run may be there for another program. */
static void tell_bad_model(struct ci_doctor *doctor, enum clinfer_status status) {
    if (status == CLINFER_UNSUPPORTED)
        ci_doctor_check(doctor, folders_section, "models", CI_VERDICT_WARN,
                        "clinfer does not run it; `clinfer inspect` tells more", "%s", clinfer_error());
    else
        ci_doctor_check(doctor, folders_section, "models", CI_VERDICT_FAIL,
                        "fetch the file again, or remove it; `clinfer inspect` tells more", "%s", clinfer_error());
}

/* The one that a run takes: its numbers, vocabulary and template too. */
static enum clinfer_status read_model(const char *path) {
    struct ci_gguf *gguf;
    struct ci_inspection found = {0};
    enum clinfer_status status = ci_source_open(path, NULL, &gguf);
    if (status != CLINFER_OK) return status;
    ci_inspect_file(gguf, 0, NULL, &found);
    status = found.status;
    ci_inspect_end(&found);
    ci_gguf_close(gguf);
    return status;
}

static void check_models(struct ci_doctor *doctor) {
    struct ci_own_models own;
    size_t good = 0;
    enum clinfer_status status = ci_models_own(&own);
    if (status != CLINFER_OK)
        ci_doctor_check(doctor, folders_section, "models", CI_VERDICT_WARN, "see what it says", "%s", clinfer_error());
    json_t *list = json_array();
    for (size_t i = 0; i < own.count; i++) {
        status = try_model(own.paths[i]);
        json_array_append_new(list, ci_json_text(own.names[i], strlen(own.names[i])));
        if (status == CLINFER_OK)
            good++;
        else
            tell_bad_model(doctor, status);
    }
    json_object_set_new(doctor->root, "models", list);
    struct ci_model_choice choice;
    const struct ci_model_flags from = {.local = true};
    status = ci_models_choose(&from, &choice);
    if (status != CLINFER_OK)
        ci_doctor_check(doctor, folders_section, "models", CI_VERDICT_WARN,
                        "fetch one, or say which at each run with -m", "%s", clinfer_error());
    else if (good == own.count && (status = read_model(choice.path)) != CLINFER_OK) /* it may lie elsewhere */
        tell_bad_model(doctor, status);
    else if (good == own.count)
        ci_doctor_check(doctor, folders_section, "models", CI_VERDICT_OK, NULL, "%zu; without -m it is %s (%s)",
                        own.count, choice.path, choice.why);
    ci_models_free(&choice);
    ci_models_own_free(&own);
}

/* What a run may miss is worth a look: what failed as a whole, with its usual tunables, or in a run; other combinations
 * of tunables that failed while a tune tried them are all in a day's work. */
static bool is_missed(const struct ci_quarantined *item) {
    static const enum ci_backend backends[] = {CI_BACKEND_OPENCL, CI_BACKEND_CPU, CI_BACKEND_CLBLAST};
    const struct ci_op *op = ci_op_find(item->op);
    if (item->tunable_count == 0 || !ci_quarantined_by_tune(item)) return true;
    for (size_t i = 0; op && i < sizeof backends / sizeof *backends; i++) {
        const struct ci_variant *variant = ci_variant_find(op, backends[i], item->variant);
        struct ci_profile_tunable usual[CI_PROFILE_TUNABLES];
        int values[CI_MAX_TUNABLES] = {0};
        if (!variant) continue;
        ci_bind_defaults(variant, values);
        int count = ci_signature_tunables(variant, values, usual);
        if (ci_profile_same_tunables(item->tunables, item->tunable_count, usual, count)) return true;
    }
    return false;
}

static void check_quarantine(struct ci_doctor *doctor) {
    enum { SHOWN = 8 };
    struct ci_quarantine quarantine;
    json_t *list = json_array();
    int whole = 0;
    json_object_set_new(doctor->root, "quarantine", list);
    if (ci_quarantine_read(&quarantine) != CLINFER_OK) {
        ci_doctor_check(doctor, folders_section, "quarantine", CI_VERDICT_WARN, "remove the file", "%s",
                        clinfer_error());
        return;
    }
    for (int i = 0; i < quarantine.count; i++) {
        const struct ci_quarantined *item = &quarantine.items[i];
        json_array_append_new(list, json_pack("{s:s, s:s, s:s, s:i, s:s, s:s, s:s, s:s}", "device", item->device_name,
                                              "op", item->op, "variant", item->variant, "tunables", item->tunable_count,
                                              "types", item->types, "reason", item->reason, "date", item->date,
                                              "clinfer", item->clinfer));
        if (!is_missed(item) || whole++ >= SHOWN) continue;
        ci_doctor_check(doctor, folders_section, "quarantine", CI_VERDICT_WARN,
                        "another kernel takes its place; another driver or version of clinfer tries it again, and so "
                        "does a run after `clinfer profile quarantine --clear`",
                        "%s/%s on %s since %s: %s", item->op, item->variant, item->device_name, item->date,
                        item->reason);
    }
    if (whole > SHOWN)
        ci_doctor_check(doctor, folders_section, "quarantine", CI_VERDICT_WARN, "--json has them all",
                        "%d more kernels are not to be used", whole - SHOWN);
    if (whole == 0)
        ci_doctor_check(doctor, folders_section, "quarantine", CI_VERDICT_OK, NULL,
                        "no kernel; %d combinations of tunables that a tune has tried", quarantine.count);
    ci_quarantine_free(&quarantine);
}

void ci_doctor_folders(struct ci_doctor *doctor) {
    check_folder(doctor, "CACHE", "cache",
                 "every start compiles and proves all kernels again: make it writable, or set XDG_CACHE_HOME");
    check_folder(doctor, "DATA", "data",
                 "`clinfer tune` cannot keep what it finds out: make it writable, or set XDG_DATA_HOME");
    check_owner(doctor, "CACHE", NULL, "cache");
    check_owner(doctor, "DATA", "profiles", "data");
    check_models(doctor);
    check_quarantine(doctor);
}
