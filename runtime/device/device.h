/* device.h: OpenCL behind one door: devices, buffers, programs, one in-order queue each. No other folder calls OpenCL.
 *
 * A device is used by one thread at a time (the engine's lock sees to it). Every failing OpenCL call becomes
 * CLINFER_DEVICE_ERROR (or OUT_OF_MEMORY) with the call's name, the error's name and the device in the message. */
#ifndef CI_DEVICE_DEVICE_H
#define CI_DEVICE_DEVICE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <clinfer.h>

enum ci_device_kind { CI_DEVICE_GPU, CI_DEVICE_ACCELERATOR, CI_DEVICE_CPU };

/* Plain data, so that recorded devices can stand in for real ones. */
struct ci_device_caps {
    char name[128], vendor[64], platform[128], platform_version[128], version[128], driver[128];
    enum ci_device_kind kind;
    int opencl_major, opencl_minor; /* of the device */
    unsigned compute_units;
    uint64_t global_bytes, max_alloc_bytes, local_bytes;
    size_t max_work_group, max_work_item[3];
    unsigned base_align_bytes;
    bool local_is_dedicated; /* CL_LOCAL */
    bool unified_memory;     /* claimed */
    bool shares_host_memory; /* measured by ci_device_open: a host pointer is used in place */
    bool waits_for_all;      /* measured by ci_device_open: a wait ends only when all enqueued is done */
    bool fp16;               /* cl_khr_fp16 */
    bool fp64;
    bool subgroups; /* cl_khr_subgroups, cl_intel_subgroups or OpenCL C 3.0 feature */
    bool intel_required_subgroup_size;
    bool integer_dot_product; /* cl_khr_integer_dot_product */
    bool dot4;    /* four products of bytes in one instruction, by whatever name: clkernels/common/dot.clh */
    uint64_t key; /* hash of everything above that a compiled program depends on */
};

struct ci_device_list {
    struct ci_device_caps *caps;
    int count;
};

/* caps.dot4 of a device with these extensions, this name and (NVIDIA) this compute capability, 10 * major + minor. */
bool ci_device_has_dot4(const char *extensions, const char *name, int nvidia_capability);

/* All usable devices, GPUs first, then accelerators, then CPUs, in platform order. No platform is no error: count 0.
 * Platforms without devices, and devices without a compiler, are left out and named on the log. */
enum clinfer_status ci_device_list(struct ci_device_list *list);
void ci_device_list_free(struct ci_device_list *list);

struct ci_device;
struct ci_buffer;
struct ci_kernel;

/* Opens list entry `index`. `cache_folder` holds program binaries (NULL: no cache). CLINFER_NO_DEVICE: there is no such
 * entry, or the driver's compiler ended the process that tried it (compiler.c); kernels that would need it to be built
 * fail in the same way. */
enum clinfer_status ci_device_open(int index, const char *cache_folder, struct ci_device **device);
void ci_device_close(struct ci_device *device);
const struct ci_device_caps *ci_device_caps(const struct ci_device *device);

/* Memory on the device. With `host` the bytes of the caller are used in place where the device shares memory (they must
 * be page-aligned and outlive the buffer; nothing may write to it then), else copied. Bytes are undefined without
 * `host`. Memory that the device has not got is reported here and not at first use, as far as the driver lets us know.
 */
enum clinfer_status ci_buffer_create(struct ci_device *device, size_t bytes, const void *host,
                                     struct ci_buffer **buffer);
void ci_buffer_destroy(struct ci_buffer *buffer);
size_t ci_buffer_bytes(const struct ci_buffer *buffer);

/* Whether the buffer is the caller's own memory: then it costs none. */
bool ci_buffer_is_shared(const struct ci_buffer *buffer);

/* Queue order. write returns when `source` may be reused; read returns when the bytes are there; copy and fill only
 * enqueue. */
enum clinfer_status ci_buffer_write(struct ci_buffer *buffer, uint64_t offset, const void *source, size_t bytes);
enum clinfer_status ci_buffer_read(struct ci_buffer *buffer, uint64_t offset, void *target, size_t bytes);
enum clinfer_status ci_buffer_copy(struct ci_buffer *source, uint64_t source_offset, struct ci_buffer *target,
                                   uint64_t target_offset, size_t bytes);

/* A read that is only enqueued: `slot` (0..CI_READ_SLOTS-1) remembers its event until ci_buffer_read_wait(device,
 * slot). `target` must live till then, and a slot is waited for before it is used again. This is how the next token is
 * enqueued before the last one is read. */
enum { CI_READ_SLOTS = 4 };
enum clinfer_status ci_buffer_read_start(struct ci_buffer *buffer, uint64_t offset, void *target, size_t bytes,
                                         int slot);
enum clinfer_status ci_buffer_read_wait(struct ci_device *device, int slot);

/* A write that does not wait, for small inputs of a run: the driver copies `source` before the call returns or the
 * bytes lie in a ring of pinned memory owned by the device; either way `source` may be reused at once. */
enum clinfer_status ci_buffer_write_small(struct ci_buffer *buffer, uint64_t offset, const void *source, size_t bytes);

/* A kernel of a program made of `sources` (names as in kernels.h) with `options`. Programs are built once per device
 * and text, come from the binary cache when that has them, and live until the device is closed. The kernel is the
 * caller's. A build failure's message carries the end of the build log. Options that begin with "-cl-std=CLnewest" ask
 * for OpenCL C 3.0 where the device has it, else 1.2; DEVICE_DOT4 is defined where caps.dot4 is true. */
enum clinfer_status ci_kernel_create(struct ci_device *device, const char *const *sources, int source_count,
                                     const char *options, const char *kernel_name, struct ci_kernel **kernel);
void ci_kernel_destroy(struct ci_kernel *kernel);

/* Mixes into *hash what stands before the sources of a program with these options, if anything does: declarations of
 * built-in functions for this device's compiler (builtins.c). */
enum clinfer_status ci_kernel_builtins_hash(const struct ci_device *device, const char *options, uint64_t *hash);

/* Many kernels at once: programs that must be built are built on all processors. The first three fields and kernel_name
 * as in ci_kernel_create(); the others are results, per request. Returns the first failure; kernels that could be made
 * are made all the same, and are the caller's. */
struct ci_kernel_request {
    const char *const *sources;
    int source_count;
    const char *options;
    const char *kernel_name;
    struct ci_kernel *kernel; /* NULL when it failed */
    enum clinfer_status status;
    double build_seconds; /* 0 when it came from the cache */
    char message[1024];   /* of the failure */
};

enum clinfer_status ci_kernel_create_many(struct ci_device *device, struct ci_kernel_request *requests, int count);

/* A kernel of a program that is linked from parts. A part is `before`, then its sources, compiled with its own options.
 * Without `build` it comes from the cache or not at all (CLINFER_NOT_FOUND). ci_linked_key: what the program is known
 * by.
 */
struct ci_program_part {
    const char *options, *before;
    const char *const *sources;
    int source_count;
};
enum clinfer_status ci_kernel_create_linked(struct ci_device *device, const struct ci_program_part *parts, int count,
                                            const char *kernel_name, bool build, struct ci_kernel **kernel);
enum clinfer_status ci_linked_key(const struct ci_device *device, const struct ci_program_part *parts, int count,
                                  uint64_t *key);

/* CL_KERNEL_WORK_GROUP_SIZE and CL_KERNEL_LOCAL_MEM_SIZE of what was really built. */
size_t ci_kernel_max_work_group(const struct ci_kernel *kernel);
uint64_t ci_kernel_local_bytes(const struct ci_kernel *kernel);

enum clinfer_status ci_kernel_set_buffer(struct ci_kernel *kernel, unsigned index, struct ci_buffer *buffer);
enum clinfer_status ci_kernel_set_bytes(struct ci_kernel *kernel, unsigned index, const void *value, size_t bytes);
enum clinfer_status ci_kernel_set_local(struct ci_kernel *kernel, unsigned index, size_t bytes);

/* Enqueues; local may be NULL. */
enum clinfer_status ci_kernel_enqueue(struct ci_kernel *kernel, int dimensions, const size_t *global,
                                      const size_t *local);

/* A product by CLBlast's SGEMM: c [m, n] = a [m, k] b [n, k]^T + beta c, floats, row by row; `c_stride` columns from
 * row to row of c. Offsets in bytes, multiples of 4. */
struct ci_gemm {
    struct ci_buffer *a, *b, *c;
    uint64_t a_offset, b_offset, c_offset;
    int64_t m, n, k, c_stride;
    float beta;
};

/* Makes ready for products of this n, k and up to m rows; its buffers are not looked at. Enlarges the device's
 * temporary buffer, which all of them share since the queue runs one after the other, and has CLBlast build its
 * programs if it has not yet in this process: seconds, see counts.clblast_seconds. */
enum clinfer_status ci_gemm_prepare(struct ci_device *device, const struct ci_gemm *gemm);

/* Allocates nothing of ours; CLBlast makes and drops its kernel objects. */
enum clinfer_status ci_gemm_enqueue(struct ci_device *device, const struct ci_gemm *gemm);

/* Gives a kernel of CLBlast ("Xgemm", "XgemmDirect", "GemmRoutine") other parameters, for floats. CLBlast wants a value
 * for each of the kernel's parameters and does not check them: wrong ones give wrong results (ops/clblast.h checks).
 * Nothing is done until ci_gemm_prepare() builds CLBlast's programs, which fails when CLBlast knows no such kernel or
 * parameter, and which must be called again for products that were prepared before. They are then those of the device
 * in all of this process; where another ci_device of the same device uses CLBlast already, that one's stay. The texts
 * live as long as the device. */
enum { CI_CLBLAST_VALUES = 16 };
void ci_device_clblast_parameters(struct ci_device *device, const char *kernel, int count, const char *const *names,
                                  const size_t *values);

/* Whether the device still does anything: a buffer is written, changed by a kernel and read back. Who has seen a kernel
 * or a program fail asks this to know whose fault it was. The failure is the device's, by the call that it fails at. */
enum clinfer_status ci_device_works(struct ci_device *device);

/* What is known about a driver's compiler is forgotten: whoever uses it next has it tried again (compiler.c). */
void ci_device_forget_compiler(const struct ci_device_caps *caps);

/* Nothing is tried any more in this process: it is one that may die of a compiler itself. */
void ci_device_trust_compilers(void);

/* In such a process: its compiler has built something that ran and was right. So others need not try it aside. */
void ci_device_vouch_for_compiler(struct ci_device *device);

/* Gives up memory that a device which cannot be waited for may still touch: never freed, but remembered, so that tools
 * which look for leaks know that it is meant. NULL is allowed. */
void ci_device_abandon(void *memory);

enum clinfer_status ci_device_flush(struct ci_device *device);
enum clinfer_status ci_device_finish(struct ci_device *device);

/* The device's own clock, for measurements. While it is on, kernels leave events, on a queue that times them; switching
 * waits for all that is enqueued. elapsed: seconds from the start of the first kernel enqueued since the last call to
 * the end of the last one, which it waits for; 0 when there was none, or when the driver does not tell. Not every
 * driver tells the truth: who uses it compares with the time on the wall. */
enum clinfer_status ci_device_clock(struct ci_device *device, bool on);
enum clinfer_status ci_device_clock_elapsed(struct ci_device *device, double *seconds);

/* What each kernel did, for a profile. While recording is on, the clock is too, and every kernel leaves a record with
 * the tag that was set last; `more`: not the first one since. Times are seconds of ci_now(): how far the two clocks are
 * apart is measured when recording begins, and corrected wherever a kernel would have begun before it was enqueued or
 * ended in the future. CLINFER_UNSUPPORTED: the driver does not tell its times. */
struct ci_device_record {
    uint64_t tag;
    double enqueued, start, end;
    bool more;
};
#define CI_DEVICE_NO_TAG UINT64_MAX /* until a tag is set */
enum clinfer_status ci_device_record(struct ci_device *device, bool on);
void ci_device_record_tag(struct ci_device *device, uint64_t tag);

/* Takes over up to `most` records of kernels that have ended, in order; returns how many. */
int ci_device_record_take(struct ci_device *device, struct ci_device_record *records, int most);

/* Binaries of programs built from source in this process go to the cache folder. To be called after their kernels have
 * run once: PoCL compiles work-group functions at the first enqueue and only then do its binaries hold them. Nothing is
 * done for what the cache has already; but for new programs PoCL compiles every kernel once more, for any local size
 * (60-160 ms a kernel, also those that were never used), so the answer should be out by then. */
void ci_device_save_programs(struct ci_device *device);

/* The next of them; false: there is none. All of them end in the middle where base/stop.h says so. */
bool ci_device_save_program(struct ci_device *device);

/* Counters since the device was opened, for tests and profiling: commands enqueued, calls that waited for the device,
 * buffers, programs and kernels made, programs built from source, programs that came from the cache. */
struct ci_device_counts {
    uint64_t enqueues, waits, objects, builds, cache_hits;
    double build_seconds;
    double clblast_seconds; /* what CLBlast's programs cost this process; 0 as long as no product was prepared */
};
void ci_device_counts(const struct ci_device *device, struct ci_device_counts *counts);

#endif
