/* base.h: what all of clinfer.h rests on: statuses and messages, the log; which devices and models are on this machine.
 */
#ifndef CLINFER_BASE_H
#define CLINFER_BASE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define CLINFER_VERSION "0.1.0"

/* Marks what libclinfer.so exports; everything else in it is hidden. */
#if defined(__GNUC__)
#define CLINFER_API __attribute__((visibility("default")))
#else
#define CLINFER_API
#endif

/* One list: code, exit status of the command line tool, text. */
#define CLINFER_STATUS_LIST(X)                                                                                         \
    X(CLINFER_OK, 0, "success")                                                                                        \
    X(CLINFER_INVALID_ARGUMENT, 2, "invalid argument")                                                                 \
    X(CLINFER_NOT_FOUND, 3, "file or model not found")                                                                 \
    X(CLINFER_IO, 4, "input or output error")                                                                          \
    X(CLINFER_BAD_FILE, 5, "damaged or malformed file")                                                                \
    X(CLINFER_UNSUPPORTED, 6, "not supported")                                                                         \
    X(CLINFER_OUT_OF_MEMORY, 7, "out of memory")                                                                       \
    X(CLINFER_NO_DEVICE, 8, "no such device")                                                                          \
    X(CLINFER_DEVICE_ERROR, 9, "the device or its driver failed")                                                      \
    X(CLINFER_CONTEXT_FULL, 10, "the context is full")                                                                 \
    X(CLINFER_WRONG_RESULT, 11, "a result failed its check")                                                           \
    X(CLINFER_CANCELLED, 12, "cancelled")                                                                              \
    X(CLINFER_REFUSED, 13, "refused by policy")                                                                        \
    X(CLINFER_REMOTE_FAILED, 14, "the remote API failed")                                                              \
    X(CLINFER_OUT_OF_TIME, 15, "out of time")

enum clinfer_status {
#define CLINFER_STATUS_ENUM(code, exit_status, text) code,
    CLINFER_STATUS_LIST(CLINFER_STATUS_ENUM)
#undef CLINFER_STATUS_ENUM
};

/* NOTICE: what a person in front of a terminal should know although nothing is wrong, such as why the first start takes
 * long. */
enum clinfer_log_level {
    CLINFER_LOG_ERROR,
    CLINFER_LOG_WARNING,
    CLINFER_LOG_NOTICE,
    CLINFER_LOG_INFO,
    CLINFER_LOG_DEBUG
};

typedef void clinfer_log_callback(void *user, enum clinfer_log_level level, const char *message);

/* The text of a status, and the message of the last failure on this thread. Both borrowed. */
CLINFER_API const char *clinfer_status_text(enum clinfer_status status);
CLINFER_API const char *clinfer_error(void);

/* For what the library's outputs say is the caller's to free so; NULL is nothing. */
CLINFER_API void clinfer_free(void *memory);

/* One receiver for the process, which several threads may call at once; NULL is silence. */
CLINFER_API void clinfer_log_to(clinfer_log_callback *callback, void *user);

/* The path of the model file that is mapped at `address`, NULL: none is. For handlers of SIGBUS: an open model is read
 * from its file, and when somebody cuts that (or its disk fails), reading ends the process. The engine looks at the
 * file's size before each step and then fails with CLINFER_IO, but cannot see what happens within a step. The library
 * installs no handlers; one that calls this with si_addr, says what it returns and ends by _exit() is what the command
 * line tool has. May be called in a handler; of the first 64 models that are open. The text is valid until the model is
 * closed. */
CLINFER_API const char *clinfer_file_at(const void *address);

/* ---- devices ---- */

/* One OpenCL device; all borrowed from the list. */
struct clinfer_device {
    const char *name, *vendor, *platform, *platform_version, *version, *driver;
    const char *kind; /* "gpu", "accelerator" or "cpu" */
    unsigned compute_units;
    uint64_t global_bytes, max_alloc_bytes, local_bytes;
    size_t max_work_group;
    bool fp16, fp64, subgroups, integer_dot_product, unified_memory;
};

/* All usable OpenCL devices in the order of their indices: GPUs, accelerators, CPUs. No OpenCL platform is no error:
 * *count is 0. The list is the caller's to free with clinfer_devices_free. */
CLINFER_API enum clinfer_status clinfer_devices(struct clinfer_device **devices, size_t *count);
CLINFER_API void clinfer_devices_free(struct clinfer_device *devices, size_t count);

/* What this processor offers to the CPU backend: "avx512vnni", "avx2", "neondot", ..., "scalar". Borrowed. */
CLINFER_API const char *clinfer_cpu_isa(void);

/* ---- models on this machine ---- */

/* One model; all borrowed from the list. */
struct clinfer_model {
    const char *name;  /* what options.model takes: "user/repo:Q4_K_M", "ollama:llama3.2:1b", "smollm2.gguf", ... */
    const char *path;  /* what is opened: a GGUF file, of a split one its first part, or a folder */
    const char *store; /* whose it is: "models" (the own folder), "hub" (the Hub's cache), "ollama", "lm-studio", ... */
    const char *digest; /* SHA-256 of the file where the store knows it, else "" */
    uint64_t bytes;     /* of all its files */
    int64_t modified;   /* seconds since 1970 */
    bool whole;         /* false: files of it are missing; it cannot be opened */
};

/* All that are in the own models folder, the Hub's cache and the stores of other programs (docs/hub.md), each once;
 * found by names and sizes, none is opened. None is no error: *count is 0. The list is the caller's to free with
 * clinfer_models_free. CLINFER_OUT_OF_MEMORY. */
CLINFER_API enum clinfer_status clinfer_models(struct clinfer_model **models, size_t *count);
CLINFER_API void clinfer_models_free(struct clinfer_model *models, size_t count);

#ifdef __cplusplus
}
#endif

#endif
