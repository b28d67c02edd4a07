/* Discovery: which devices there are and what they claim to be able to do.
 *
 * A driver's claims are only claims. Sub-groups, fp16 and dot products are taken over as said here, and a variant that
 * needs them is admitted by building and running it; only memory sharing is measured in this folder (sharing.c),
 * because it decides how a model is loaded. The same chip under two platforms stays twice: both work, and which one
 * is faster is for the measurements to say.
 *
 * OpenCL 1.2 is the least that is used: devices below it, without a compiler or not available are left out. */
#define _GNU_SOURCE
#include <ctype.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#if defined(__x86_64__) || defined(__i386__)
#include <cpuid.h>
#elif defined(__linux__)
#include <sys/auxv.h>
#endif

#include "base/hash.h"
#include "base/log.h"
#include "base/narrow.h"
#include "base/status.h"
#include "device/internal.h"
#include "device/probe.h"

enum { CL_PLATFORM_NOT_FOUND_KHR_CODE = -1001, MAX_PLATFORMS = 64 };

/* OpenCL 2.1; the number of sub-groups a work-group may have, 0 where there are none. */
enum {
    DEVICE_MAX_NUM_SUB_GROUPS = 0x105C,
    DEVICE_COMPUTE_CAPABILITY_MAJOR_NV = 0x4000,
    DEVICE_COMPUTE_CAPABILITY_MINOR_NV = 0x4001
};

/* The caller frees it; "" when the driver does not answer, NULL: out of memory. Blanks at both ends are cut: some
 * drivers pad names. */
static char *trimmed(char *text) {
    if (!text) return NULL;
    char *begin = text;
    while (isspace((unsigned char)*begin)) begin++;
    size_t length = strlen(begin);
    while (length > 0 && isspace((unsigned char)begin[length - 1])) length--;
    memmove(text, begin, length);
    text[length] = '\0';
    return text;
}

/* Profiles, proofs and cached programs go by these answers: an accident is not to make another device of it. */
static bool ask_device(cl_device_id device, cl_device_info what, size_t size, void *value, size_t *needed) {
    cl_int error = clGetDeviceInfo(device, what, size, value, needed);
    if (error != CL_SUCCESS) error = clGetDeviceInfo(device, what, size, value, needed);
    return error == CL_SUCCESS;
}

static bool ask_platform(cl_platform_id platform, cl_platform_info what, size_t size, void *value, size_t *needed) {
    cl_int error = clGetPlatformInfo(platform, what, size, value, needed);
    if (error != CL_SUCCESS) error = clGetPlatformInfo(platform, what, size, value, needed);
    return error == CL_SUCCESS;
}

static char *device_text(cl_device_id device, cl_device_info what) {
    size_t size = 0;
    if (!ask_device(device, what, 0, NULL, &size) || size > (1 << 20)) size = 0;
    char *text = calloc(1, size + 1);
    if (text && size && !ask_device(device, what, size, text, NULL)) text[0] = '\0';
    return trimmed(text);
}

static char *platform_text(cl_platform_id platform, cl_platform_info what) {
    size_t size = 0;
    if (!ask_platform(platform, what, 0, NULL, &size) || size > (1 << 20)) size = 0;
    char *text = calloc(1, size + 1);
    if (text && size && !ask_platform(platform, what, size, text, NULL)) text[0] = '\0';
    return trimmed(text);
}

/* Takes `text` over; false when it is NULL. */
static bool keep(char *target, size_t size, char *text) {
    bool known = text != NULL;
    snprintf(target, size, "%s", known ? text : "");
    free(text);
    return known;
}

static uint64_t device_number(cl_device_id device, cl_device_info what, size_t size) {
    uint64_t wide = 0;
    uint32_t narrow = 0;
    if (size == sizeof narrow) {
        return ask_device(device, what, size, &narrow, NULL) ? narrow : 0;
    }
    return ask_device(device, what, size, &wide, NULL) ? wide : 0;
}

static uint64_t number32(cl_device_id device, cl_device_info what) { return device_number(device, what, 4); }
static uint64_t number64(cl_device_id device, cl_device_info what) { return device_number(device, what, 8); }

static bool has_word(const char *list, const char *word) {
    size_t length = strlen(word);
    for (const char *at = list; (at = strstr(at, word)); at += length)
        if ((at == list || at[-1] == ' ') && (at[length] == ' ' || at[length] == '\0')) return true;
    return false;
}

bool ci_device_has_dot4(const char *extensions, const char *name, int nvidia_capability) {
    /* AMD's compilers have it as a builtin on these chips (LLVM's features dot1-insts and dot8-insts). */
    static const char *const amd[] = {"gfx906",  "gfx908",  "gfx90a", "gfx94", "gfx950",
                                      "gfx1011", "gfx1012", "gfx103", "gfx11", "gfx12"};
    for (size_t i = 0; i < sizeof amd / sizeof *amd; i++)
        if (strncmp(name, amd[i], strlen(amd[i])) == 0) return true;
    return has_word(extensions, "cl_khr_integer_dot_product") ||
           has_word(extensions, "cl_arm_integer_dot_product_accumulate_int8") || nvidia_capability >= 61;
}

/* What the host's processor can do: a CPU driver compiles for it, and not every one says so in the device's name. A
 * home directory may be shared by different machines. */
static uint64_t hash_host_features(uint64_t hash) {
#if defined(__x86_64__) || defined(__i386__)
    unsigned a = 0, b = 0, c = 0, d = 0;
    if (__get_cpuid(1, &a, &b, &c, &d)) { /* b holds the number of the core we happen to be on */
        unsigned basic[] = {a, c, d};
        hash = ci_hash(hash, basic, sizeof basic);
    }
    if (__get_cpuid_count(7, 0, &a, &b, &c, &d)) {
        unsigned extended[] = {b, c, d};
        hash = ci_hash(hash, extended, sizeof extended);
    }
#elif defined(__linux__)
    unsigned long features[] = {getauxval(AT_HWCAP), getauxval(AT_HWCAP2)};
    hash = ci_hash(hash, features, sizeof features);
#endif
    return hash;
}

static uint64_t device_key(const struct ci_device_caps *caps, const char *extensions, uint64_t address_bits) {
    const char *texts[] = {caps->platform, caps->platform_version, caps->name, caps->vendor,
                           caps->version,  caps->driver,           extensions};
    uint64_t hash = CI_HASH_START;
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) hash = ci_hash(hash, texts[i], strlen(texts[i]) + 1);
    hash = ci_hash(hash, &address_bits, sizeof address_bits);
    return caps->kind == CI_DEVICE_CPU ? hash_host_features(hash) : hash;
}

static enum ci_device_kind kind_of(cl_device_type type) {
    if (type & CL_DEVICE_TYPE_GPU) return CI_DEVICE_GPU;
    if (type & CL_DEVICE_TYPE_CPU) return CI_DEVICE_CPU;
    return CI_DEVICE_ACCELERATOR;
}

/* A name that is lost to a lack of memory would make another device of it. */
static bool query_names(cl_platform_id platform, cl_device_id device, struct ci_device_caps *caps) {
    return keep(caps->platform, sizeof caps->platform, platform_text(platform, CL_PLATFORM_NAME)) &&
           keep(caps->platform_version, sizeof caps->platform_version, platform_text(platform, CL_PLATFORM_VERSION)) &&
           keep(caps->name, sizeof caps->name, device_text(device, CL_DEVICE_NAME)) &&
           keep(caps->vendor, sizeof caps->vendor, device_text(device, CL_DEVICE_VENDOR)) &&
           keep(caps->version, sizeof caps->version, device_text(device, CL_DEVICE_VERSION)) &&
           keep(caps->driver, sizeof caps->driver, device_text(device, CL_DRIVER_VERSION));
}

static enum clinfer_status query_caps(cl_platform_id platform, cl_device_id device, struct ci_device_caps *caps) {
    *caps = (struct ci_device_caps){0};
    char *extensions = query_names(platform, device, caps) ? device_text(device, CL_DEVICE_EXTENSIONS) : NULL;
    if (!extensions) return ci_fail(CLINFER_OUT_OF_MEMORY, "out of memory for what OpenCL devices tell");
    sscanf(caps->version, "OpenCL %d.%d", &caps->opencl_major, &caps->opencl_minor);
    caps->kind = kind_of(number64(device, CL_DEVICE_TYPE));
    caps->compute_units = ci_low_bits(number32(device, CL_DEVICE_MAX_COMPUTE_UNITS));
    caps->global_bytes = number64(device, CL_DEVICE_GLOBAL_MEM_SIZE);
    caps->max_alloc_bytes = number64(device, CL_DEVICE_MAX_MEM_ALLOC_SIZE);
    caps->local_bytes = number64(device, CL_DEVICE_LOCAL_MEM_SIZE);
    caps->local_is_dedicated = number32(device, CL_DEVICE_LOCAL_MEM_TYPE) == CL_LOCAL;
    caps->base_align_bytes = ci_low_bits(number32(device, CL_DEVICE_MEM_BASE_ADDR_ALIGN)) / 8;
    caps->unified_memory = number32(device, CL_DEVICE_HOST_UNIFIED_MEMORY) != 0;
    caps->fp64 = number64(device, CL_DEVICE_DOUBLE_FP_CONFIG) != 0;
    ask_device(device, CL_DEVICE_MAX_WORK_GROUP_SIZE, sizeof caps->max_work_group, &caps->max_work_group, NULL);
    size_t items[16] = {0}; /* more than three dimensions are allowed, though nobody has them */
    if (ask_device(device, CL_DEVICE_MAX_WORK_ITEM_SIZES, sizeof items, items, NULL))
        memcpy(caps->max_work_item, items, sizeof caps->max_work_item);

    caps->fp16 = has_word(extensions, "cl_khr_fp16");
    caps->intel_required_subgroup_size = has_word(extensions, "cl_intel_required_subgroup_size");
    caps->integer_dot_product = has_word(extensions, "cl_khr_integer_dot_product");
    uint64_t capability = 0;
    if (has_word(extensions, "cl_nv_device_attribute_query"))
        capability = 10 * number32(device, (cl_device_info)DEVICE_COMPUTE_CAPABILITY_MAJOR_NV) +
                     number32(device, (cl_device_info)DEVICE_COMPUTE_CAPABILITY_MINOR_NV);
    caps->dot4 = ci_device_has_dot4(extensions, caps->name, (int)ci_low_bits(capability));
    caps->subgroups = has_word(extensions, "cl_khr_subgroups") || has_word(extensions, "cl_intel_subgroups");
    if (!caps->subgroups && caps->opencl_major >= 2)
        caps->subgroups = number32(device, (cl_device_info)DEVICE_MAX_NUM_SUB_GROUPS) > 0;
    caps->key = device_key(caps, extensions, number32(device, CL_DEVICE_ADDRESS_BITS));
    free(extensions);
    return CLINFER_OK;
}

/* NULL when the device can be used, else why not. */
static const char *reason_against(cl_device_id device, const struct ci_device_caps *caps) {
    cl_bool available = CL_FALSE, compiles = CL_FALSE;
    if (!ask_device(device, CL_DEVICE_AVAILABLE, sizeof available, &available, NULL) ||
        !ask_device(device, CL_DEVICE_COMPILER_AVAILABLE, sizeof compiles, &compiles, NULL) || !*caps->version ||
        caps->max_alloc_bytes == 0 || caps->max_work_group == 0)
        return "its driver does not answer questions (clGetDeviceInfo)";
    if (!available) return "it is not available";
    if (!compiles) return "its driver has no compiler";
    if (caps->opencl_major < 1 || (caps->opencl_major == 1 && caps->opencl_minor < 2))
        return "it is older than OpenCL 1.2";
    return NULL;
}

/* What fails once may be an accident; what fails twice is said. */
static cl_int list_ids(cl_platform_id platform, const char *name, cl_uint room, cl_device_id *ids, cl_uint *found) {
    cl_int error = clGetDeviceIDs(platform, CL_DEVICE_TYPE_ALL, room, ids, found);
    if (error == CL_SUCCESS || error == CL_DEVICE_NOT_FOUND) return error;
    error = clGetDeviceIDs(platform, CL_DEVICE_TYPE_ALL, room, ids, found);
    if (error != CL_SUCCESS)
        ci_log(CLINFER_LOG_WARNING, "clGetDeviceIDs: %s: no device of OpenCL platform \"%s\"", ci_cl_error_name(error),
               name ? name : "?");
    return error;
}

static enum clinfer_status add_platform(cl_platform_id platform, struct ci_device_entry **entries, int *count) {
    enum clinfer_status status = CLINFER_OK;
    char *name = platform_text(platform, CL_PLATFORM_NAME);
    cl_device_id *ids = NULL;
    cl_uint found = 0;
    cl_int error = list_ids(platform, name, 0, NULL, &found);
    if (error != CL_SUCCESS || found == 0) {
        ci_log(CLINFER_LOG_DEBUG, "OpenCL platform \"%s\" has no device (%s)", name ? name : "?",
               ci_cl_error_name(error));
        goto done;
    }
    ids = calloc(found, sizeof *ids);
    struct ci_device_entry *more = realloc(*entries, ((size_t)*count + found) * sizeof **entries);
    if (more) *entries = more;
    if (!ids || !more) {
        status = ci_fail(CLINFER_OUT_OF_MEMORY, "out of memory for %u OpenCL devices", (unsigned)found);
        goto done;
    }
    if (list_ids(platform, name, found, ids, NULL) != CL_SUCCESS) goto done;
    for (cl_uint i = 0; i < found; i++) {
        struct ci_device_entry *entry = &(*entries)[*count];
        *entry = (struct ci_device_entry){.platform = platform, .id = ids[i]};
        status = query_caps(platform, ids[i], &entry->caps);
        if (status != CLINFER_OK) goto done;
        const char *reason = reason_against(ids[i], &entry->caps);
        if (reason)
            ci_log(CLINFER_LOG_INFO, "OpenCL device \"%s\" (%s) is left out: %s", entry->caps.name, name ? name : "?",
                   reason);
        else
            ++*count;
    }
done:
    free(ids);
    free(name);
    return status;
}

/* Stable, and there are only a few. */
static void sort_by_kind(struct ci_device_entry *entries, int count) {
    for (int i = 1; i < count; i++) {
        struct ci_device_entry entry = entries[i];
        int at = i;
        for (; at > 0 && entries[at - 1].caps.kind > entry.caps.kind; at--) entries[at] = entries[at - 1];
        entries[at] = entry;
    }
}

static enum clinfer_status list_entries(struct ci_device_entry **entries, int *count) {
    cl_platform_id platforms[MAX_PLATFORMS];
    cl_uint found = 0;
    cl_int error = clGetPlatformIDs(MAX_PLATFORMS, platforms, &found);
    if (error != CL_SUCCESS && error != CL_PLATFORM_NOT_FOUND_KHR_CODE)
        error = clGetPlatformIDs(MAX_PLATFORMS, platforms, &found);
    if (error != CL_SUCCESS) {
        ci_log(error == CL_PLATFORM_NOT_FOUND_KHR_CODE ? CLINFER_LOG_DEBUG : CLINFER_LOG_WARNING,
               "clGetPlatformIDs: %s: no OpenCL platform", ci_cl_error_name(error));
        return CLINFER_OK;
    }
    if (found > MAX_PLATFORMS) found = MAX_PLATFORMS;
    for (cl_uint i = 0; i < found; i++) {
        enum clinfer_status status = add_platform(platforms[i], entries, count);
        if (status != CLINFER_OK) {
            free(*entries);
            *entries = NULL;
            *count = 0;
            return status;
        }
    }
    sort_by_kind(*entries, *count);
    return CLINFER_OK;
}

/* Drivers have threads, which a child of the process that started them has not: it would wait for them for ever. */
static enum clinfer_status require_first_process(void) {
    static atomic_int first;
    int none = 0, own = (int)getpid();
    if (atomic_compare_exchange_strong(&first, &none, own) || none == own) return CLINFER_OK;
    return ci_fail(
        CLINFER_INVALID_ARGUMENT,
        "OpenCL was used by process %d, from which this one was forked, and drivers do not survive that: the "
        "CPU backend (device \"cpu\") does, or a new program (exec)",
        none);
}

enum clinfer_status ci_device_enumerate(struct ci_device_entry **entries, int *count) {
    *entries = NULL;
    *count = 0;
    enum clinfer_status status = require_first_process();
    if (status != CLINFER_OK) return status;
    status = ci_probe_begin();
    if (status == CLINFER_OK) status = list_entries(entries, count);
    ci_probe_end();
    return status;
}

enum clinfer_status ci_device_list(struct ci_device_list *list) {
    *list = (struct ci_device_list){0};
    struct ci_device_entry *entries = NULL;
    int count = 0;
    enum clinfer_status status = ci_device_enumerate(&entries, &count);
    if (status == CLINFER_OK && count > 0) {
        list->caps = calloc((size_t)count, sizeof *list->caps);
        if (!list->caps) status = ci_fail(CLINFER_OUT_OF_MEMORY, "out of memory for %d OpenCL devices", count);
        for (int i = 0; list->caps && i < count; i++) list->caps[i] = entries[i].caps;
        if (list->caps) list->count = count;
    }
    free(entries);
    return status;
}

void ci_device_list_free(struct ci_device_list *list) {
    free(list->caps);
    *list = (struct ci_device_list){0};
}
