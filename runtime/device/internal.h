/* internal.h: what the files of device/ share. Nobody else includes it: OpenCL's types stay in this folder. */
#ifndef CI_DEVICE_INTERNAL_H
#define CI_DEVICE_INTERNAL_H

#ifndef CL_TARGET_OPENCL_VERSION
#define CL_TARGET_OPENCL_VERSION 120
#endif
#include <CL/cl.h>

#include "device/device.h"

/* A usable device and where it comes from. */
struct ci_device_entry {
    cl_platform_id platform;
    cl_device_id id;
    struct ci_device_caps caps;
};

/* All usable devices in the order of ci_device_list(); the caller frees *entries. */
enum clinfer_status ci_device_enumerate(struct ci_device_entry **entries, int *count);

/* Kernel and local size of a launch, hashed. */
enum { CI_PROGRAM_LAUNCHES = 24 };

/* A program, or the failure to build it. What its compiler refused is kept as well, so that the same text is not
 * compiled again to fail again; after another failure whoever asks next has it built again. */
struct ci_program {
    struct ci_program *next;
    uint64_t key;      /* hash of device key, options and text: also the name of the cache file */
    cl_program handle; /* NULL when the build failed */
    enum clinfer_status status;
    char *message; /* of the failure */
    bool refused;  /* by the compiler */
    bool from_cache;
    bool reported; /* build_seconds was given to a request */
    double build_seconds;
    /* Launches seen or known to be in the cached binary. `unsaved` is set when the binary would grow by saving. */
    uint64_t launches[CI_PROGRAM_LAUNCHES];
    int launch_count;
    bool unsaved;
};

/* The ring behind ci_buffer_write_small(): a piece may be reused when its event is complete. */
enum { CI_STAGING_PIECES = 32, CI_STAGING_BYTES = 256 * 1024 };

/* A kernel whose record was not taken yet. */
struct ci_recorded {
    cl_event event;
    uint64_t tag;
    double enqueued;
    bool more;
};

/* Parameters of one of CLBlast's kernels. */
enum { CI_CLBLAST_OVERRIDES = 4 };
struct ci_clblast_override {
    const char *kernel; /* texts are the caller's */
    int count;
    const char *names[CI_CLBLAST_VALUES];
    size_t values[CI_CLBLAST_VALUES];
};

struct ci_device {
    cl_platform_id platform;
    cl_device_id id;
    cl_context context;
    cl_command_queue queue;
    struct ci_device_caps caps;
    struct ci_device_counts counts;
    char *cache_folder;         /* NULL: no cache */
    bool compiler_asked;        /* compiler.c: whether what follows is known */
    char compiler_failure[384]; /* "": it works, or could not be tried */
    struct ci_program *programs;
    cl_event reads[CI_READ_SLOTS];
    uint8_t *staging; /* [CI_STAGING_PIECES][CI_STAGING_BYTES]; takes no memory until it is used */
    cl_event staged[CI_STAGING_PIECES];
    unsigned next_staging;
    cl_mem clblast_temporary; /* of all products, NULL: none needed one */
    size_t clblast_bytes;
    bool clblast_built; /* its programs, for this context */
    struct ci_clblast_override clblast_overrides[CI_CLBLAST_OVERRIDES];
    int clblast_override_count;
    struct ci_device *clblast_next;   /* in the list of users */
    bool clock;                       /* kernels leave events */
    cl_event first_timed, last_timed; /* of the kernels since the clock was read */
    bool recording, more_of_tag;
    uint64_t tag;
    double clock_offset;          /* seconds from the device's clock to ours */
    struct ci_recorded *recorded; /* [record_capacity], of which [record_first, record_count) are waiting */
    int record_first, record_count, record_capacity;
};

struct ci_buffer {
    struct ci_device *device;
    cl_mem handle;
    size_t bytes;
    bool shared; /* the caller's memory, used in place */
};

/* "CL_OUT_OF_RESOURCES" for -5; the number for codes nobody knows. */
const char *ci_cl_error_name(cl_int error);

/* Fails with `<call>: <error> on "<device>" (<platform>)`; memory errors become CLINFER_OUT_OF_MEMORY. */
enum clinfer_status ci_cl_fail(const struct ci_device_caps *caps, const char *call, cl_int error);

/* What a cache file says beside the binary. */
struct ci_cached_binary {
    uint8_t *bytes;
    size_t size;
    uint64_t launches[CI_PROGRAM_LAUNCHES];
    int launch_count;
};

/* One file per program in `folder`. Load returns false when there is no such file, or (said on the log) when it is
 * damaged or belongs to another program; store overwrites it atomically. Neither is ever an error. */
bool ci_program_cache_load(const char *folder, uint64_t key, struct ci_cached_binary *binary);
void ci_program_cache_store(const char *folder, uint64_t key, const struct ci_cached_binary *binary);

/* Removes the files that were not used for longest until the rest is at most `limit` bytes. */
void ci_program_cache_trim(const char *folder, uint64_t limit);

/* Takes over the event of a kernel while the clock is on. */
void ci_device_clock_note(struct ci_device *device, cl_event event);
void ci_device_clock_forget(struct ci_device *device);

/* A kernel from text that is no named source: for the device's own probes. */
enum clinfer_status ci_kernel_create_from_text(struct ci_device *device, const char *text, const char *kernel_name,
                                               struct ci_kernel **kernel);

/* A kernel of a program that was built, or the failure of that build. */
enum clinfer_status ci_kernel_of_program(struct ci_device *device, struct ci_program *program, const char *kernel_name,
                                         struct ci_kernel **kernel);

void ci_programs_destroy(struct ci_device *device);

/* The program of this key that the device has, or NULL. */
struct ci_program *ci_program_find(struct ci_device *device, uint64_t key);

/* From the cache, on any thread: touches nothing of the device but its context. Without a handle when the cache has it
 * not, or the driver refuses it. */
void ci_program_load(const struct ci_device *device, struct ci_program *program, const char *kernel,
                     const char *options);

/* The caller's to free: the sources of a request as one text; the options as the compiler gets them. */
enum clinfer_status ci_program_text(const struct ci_kernel_request *request, char **text);
char *ci_program_options(const struct ci_device_caps *caps, const char *options);

/* Short declarations of built-in functions in place of a compiler's header (builtins.c). The option that says so, the
 * last of all, or "". */
const char *ci_builtins_option(const struct ci_device_caps *caps, const char *options);

/* Where the options end with it: what is to stand before the program's text (else ""; the caller frees it), and what it
 * adds to the program's key. */
enum clinfer_status ci_builtins_load(const char *options, char **text);
enum clinfer_status ci_builtins_hash(const char *options, uint64_t *key);

/* Takes that option away; false: it was not there. The text may stay as it is. */
bool ci_builtins_leave_out(char *options);

/* A failure to build, with the end of the build log; program: NULL if there is none. */
enum clinfer_status ci_program_fail(const struct ci_device *device, cl_program program, const char *call, cl_int error);

/* To be asked before the driver's compiler is used for what no cache is known to have: whether it comes through, tried
 * in a process of its own where that is not known yet. CLINFER_NO_DEVICE: it would end this process; the message says
 * what happened. */
enum clinfer_status ci_device_compiler_works(struct ci_device *device);

/* Gives back what products needed. */
void ci_clblast_close(struct ci_device *device);

/* Sets caps.shares_host_memory from an experiment. A failure in it, twice, means no. */
void ci_device_measure_sharing(struct ci_device *device);

/* Sets caps.waits_for_all from an experiment. A failure in it means no. */
void ci_device_measure_waiting(struct ci_device *device);

/* Whether a read that was started is over; it still has to be waited for. */
bool ci_buffer_read_is_done(const struct ci_device *device, int slot);

/* Kernel `probe`: each word of its one argument, times 3, plus 1. */
extern const char ci_device_probe_text[];

#endif
