#include "proof/measure.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/pages.h"
#include "base/status.h"
#include "cpu/kernels.h"
#include "ops/op_list.h"
#include "ops/signature.h"
#include "proof/dot_peak.h"
#include "proof/read_lines.h"
#include "tensor/op_params.h"

/* Items of an OpenCL device: on a CPU each is a task for a thread, elsewhere a lane. */
enum {
    MOST_STREAMS = 8,
    LINE_BYTES = CI_READ_LINE_BYTES,
    TASKS_PER_UNIT = 4,
    LANES_PER_UNIT = 2048,
    LOCAL = 256,
    CHAINS = 7,
    LAUNCHES = 200,
    SMALL_BYTES = 4096,
    LARGE_BYTES = 32 << 20
};

/* Passes go on for so long, but are at least so many. Where other programs run, short ones have a chance to be left
 * alone: they are made as short as the launch allows, which is not to count. */
static const double pass_seconds = 0.15, long_pass = 2e-3;
enum { LEAST_PASSES = 4, MOST_PASSES = 500, FIRST_ROUNDS = 1000, MOST_TIMES = 500, MOST_PIECES = 16 };

/* The shortest of several passes. */
static enum clinfer_status best_pass_within(double limit, enum clinfer_status (*pass)(void *context), void *context,
                                            double *seconds) {
    double begin = ci_now(), best = 0;
    for (int i = 0; i < MOST_PASSES && (i < LEAST_PASSES || ci_now() - begin < limit); i++) {
        double start = ci_now();
        enum clinfer_status status = pass(context);
        if (status != CLINFER_OK) return status;
        double taken = ci_now() - start;
        if (i == 0 || taken < best) best = taken;
    }
    *seconds = best > 1e-9 ? best : 1e-9;
    return CLINFER_OK;
}

static enum clinfer_status best_pass(enum clinfer_status (*pass)(void *context), void *context, double *seconds) {
    return best_pass_within(pass_seconds, pass, context, seconds);
}

/* ---- an OpenCL device ---- */

struct launch {
    struct ci_device *device;
    struct ci_kernel *kernel;
    size_t global, local; /* local 0: the driver chooses */
    int count;            /* of launches in a pass */
};

static enum clinfer_status run_launches(void *context) {
    const struct launch *launch = context;
    enum clinfer_status status = CLINFER_OK;
    for (int i = 0; i < launch->count && status == CLINFER_OK; i++)
        status = ci_kernel_enqueue(launch->kernel, 1, &launch->global, launch->local ? &launch->local : NULL);
    enum clinfer_status finished = ci_device_finish(launch->device);
    return status == CLINFER_OK ? finished : status;
}

static bool is_cpu(const struct ci_device *device) { return ci_device_caps(device)->kind == CI_DEVICE_CPU; }

static enum clinfer_status make_launch_of(struct ci_device *device, const char *const *sources, int source_count,
                                          const char *options, const char *kernel, struct launch *launch) {
    const struct ci_device_caps *caps = ci_device_caps(device);
    size_t units = caps->compute_units ? caps->compute_units : 1;
    *launch = (struct launch){.device = device, .count = 1};
    launch->local = is_cpu(device) ? 1 : caps->max_work_group < LOCAL ? caps->max_work_group : LOCAL;
    launch->global = units * (is_cpu(device) ? TASKS_PER_UNIT : LANES_PER_UNIT) / launch->local * launch->local;
    return ci_kernel_create(device, sources, source_count, options, kernel, &launch->kernel);
}

static enum clinfer_status make_launch(struct ci_device *device, const char *options, const char *kernel,
                                       struct launch *launch) {
    static const char *const sources[] = {"measure.cl"};
    return make_launch_of(device, sources, 1, options, kernel, launch);
}

/* Passes read one piece after the other, so that each was last read long ago. */
struct pieces {
    struct launch launch;
    uint64_t lines; /* of a piece */
    int count, next;
    int32_t streams; /* of each item, on a CPU */
};

static enum clinfer_status read_piece(void *context) {
    struct pieces *pieces = context;
    uint64_t first = pieces->lines * (uint64_t)pieces->next;
    pieces->next = (pieces->next + 1) % pieces->count;
    enum clinfer_status status = ci_kernel_set_bytes(pieces->launch.kernel, 1, &pieces->lines, sizeof pieces->lines);
    if (status == CLINFER_OK) status = ci_kernel_set_bytes(pieces->launch.kernel, 2, &first, sizeof first);
    if (status == CLINFER_OK && is_cpu(pieces->launch.device))
        status = ci_kernel_set_bytes(pieces->launch.kernel, 4, &pieces->streams, sizeof pieces->streams);
    return status == CLINFER_OK ? run_launches(&pieces->launch) : status;
}

/* Into how many pieces what takes so long is divided. */
static int pieces_of(double seconds) {
    double pieces = seconds / long_pass;
    return pieces < 1 ? 1 : pieces < MOST_PIECES ? (int)pieces : MOST_PIECES;
}

/* All of `lines`, a multiple of `unit`, at once and in 1, 2, 4 and 8 streams where there are such, and then in pieces.
 */
static enum clinfer_status time_reading(struct pieces *pieces, uint64_t lines, uint64_t unit,
                                        double *bytes_per_second) {
    bool in_streams = is_cpu(pieces->launch.device);
    double seconds = 0, least = 0;
    int32_t best = 1;
    pieces->lines = lines;
    pieces->count = 1;
    for (pieces->streams = 1; pieces->streams <= (in_streams ? MOST_STREAMS : 1); pieces->streams *= 2) {
        double limit = in_streams ? pass_seconds / 4 : pass_seconds;
        enum clinfer_status status = best_pass_within(limit, read_piece, pieces, &seconds);
        if (status != CLINFER_OK) return status;
        if (least > 0 && seconds >= least) continue;
        least = seconds;
        best = pieces->streams;
    }
    *bytes_per_second = (double)lines * LINE_BYTES / least;
    pieces->streams = best;
    pieces->count = pieces_of(least);
    pieces->lines = lines / (uint64_t)pieces->count / unit * unit;
    if (pieces->count == 1 || pieces->lines == 0) return CLINFER_OK;
    enum clinfer_status status = best_pass(read_piece, pieces, &seconds);
    double by_pieces = (double)pieces->lines * LINE_BYTES / seconds;
    if (status == CLINFER_OK && by_pieces > *bytes_per_second) *bytes_per_second = by_pieces;
    return status;
}

/* Bytes to read, where the weights of a model would lie: on a device that shares memory in the host's own. All are
 * written, since memory that never was may be one page of zeros, which the caches hold. *host is freed after *data. */
static enum clinfer_status create_data(struct ci_device *device, uint64_t bytes, void **host, struct ci_buffer **data) {
    bool in_place = ci_device_caps(device)->shares_host_memory;
    uint64_t piece = in_place || bytes < LARGE_BYTES ? bytes : LARGE_BYTES;
    *host = ci_pages_alloc(piece);
    if (!*host)
        return ci_fail(CLINFER_OUT_OF_MEMORY, "out of memory for %llu bytes to read", (unsigned long long)piece);
    memset(*host, 3, piece);
    enum clinfer_status status = ci_buffer_create(device, bytes, in_place ? *host : NULL, data);
    for (uint64_t done = 0; !in_place && done < bytes && status == CLINFER_OK; done += piece)
        status = ci_buffer_write(*data, done, *host, bytes - done < piece ? bytes - done : piece);
    return status;
}

static enum clinfer_status read_device(struct ci_device *device, uint64_t bytes, double *bytes_per_second) {
    const struct ci_device_caps *caps = ci_device_caps(device);
    struct pieces pieces = {.count = 1};
    struct launch *launch = &pieces.launch;
    struct ci_buffer *data = NULL, *out = NULL;
    void *host = NULL;
    if (bytes > caps->max_alloc_bytes) bytes = caps->max_alloc_bytes;
    if (bytes > caps->global_bytes / 4) bytes = caps->global_bytes / 4;
    enum clinfer_status status =
        make_launch(device, "", is_cpu(device) ? "measure_read_streams" : "measure_read_lanes", launch);
    /* Whole lines in every stream of every item. */
    uint64_t unit = (uint64_t)launch->global * MOST_STREAMS, lines = bytes / LINE_BYTES / unit * unit;
    if (lines == 0) lines = unit;
    bytes = lines * LINE_BYTES;
    if (status == CLINFER_OK) status = create_data(device, bytes + CI_PAGE_BYTES, &host, &data);
    if (status == CLINFER_OK) status = ci_buffer_create(device, launch->global * sizeof(uint32_t), NULL, &out);
    if (status == CLINFER_OK) status = ci_kernel_set_buffer(launch->kernel, 0, data);
    if (status == CLINFER_OK) status = ci_kernel_set_buffer(launch->kernel, 3, out);
    if (status == CLINFER_OK) status = time_reading(&pieces, lines, unit, bytes_per_second);
    ci_kernel_destroy(launch->kernel);
    ci_buffer_destroy(out);
    ci_buffer_destroy(data);
    free(host);
    return status;
}

/* A kernel of arithmetic, its argument 1 the rounds, of so many operations for each item; *rounds: how many ran at
 * last. Devices differ by a factor of 100000, and other programs may be in the way: the rounds grow until passes are so
 * long that the launch does not count, which is believed the second time only. */
static enum clinfer_status time_rounds(struct launch *launch, double operations, int32_t *rounds,
                                       double *operations_per_second) {
    enum { MOST_ATTEMPTS = 5 };
    double times = MOST_TIMES;
    enum clinfer_status status = CLINFER_OK;
    *operations_per_second = 0;
    *rounds = FIRST_ROUNDS;
    for (int i = 0; i < MOST_ATTEMPTS && (i < 2 || times >= 2) && status == CLINFER_OK; i++) {
        double seconds = 0;
        if (i > 0 && times >= 2) *rounds = (int32_t)fmin(*rounds * times, FIRST_ROUNDS * MOST_TIMES);
        status = ci_kernel_set_bytes(launch->kernel, 1, rounds, sizeof *rounds);
        if (status == CLINFER_OK) status = best_pass(run_launches, launch, &seconds);
        if (status != CLINFER_OK) break;
        *operations_per_second = fmax(*operations_per_second, operations * *rounds * (double)launch->global / seconds);
        times = *rounds < FIRST_ROUNDS * MOST_TIMES ? long_pass / seconds : 1;
    }
    return status;
}

static enum clinfer_status compute_on_device(struct ci_device *device, enum ci_measure_kind kind,
                                             double *operations_per_second) {
    static const char *const options[][2] = {
        {"-D NUMBER=float", "-D NUMBER=float16 -D LANES=16"},
        {"-D NEEDS_FP16 -D NUMBER=half", "-D NEEDS_FP16 -D NUMBER=half16 -D LANES=16"},
        {"-D NUMBER=int", "-D NUMBER=int16 -D LANES=16"}};
    const float factor = kind == CI_MEASURE_I32 ? 3 : 0.999f, addend = kind == CI_MEASURE_I32 ? 5 : 0.001f;
    struct launch launch = {0};
    struct ci_buffer *out = NULL;
    int32_t rounds;
    if (kind == CI_MEASURE_F16 && !ci_device_caps(device)->fp16)
        return ci_fail(CLINFER_UNSUPPORTED, "\"%s\" has no cl_khr_fp16", ci_device_caps(device)->name);
    enum clinfer_status status = make_launch(device, options[kind][is_cpu(device)], "measure_arithmetic", &launch);
    if (status == CLINFER_OK) status = ci_buffer_create(device, launch.global * sizeof(float), NULL, &out);
    if (status == CLINFER_OK) status = ci_kernel_set_buffer(launch.kernel, 0, out);
    if (status == CLINFER_OK) status = ci_kernel_set_bytes(launch.kernel, 2, &factor, sizeof factor);
    if (status == CLINFER_OK) status = ci_kernel_set_bytes(launch.kernel, 3, &addend, sizeof addend);
    double lanes = is_cpu(device) ? 16 : 1;
    if (status == CLINFER_OK) status = time_rounds(&launch, 2.0 * CHAINS * lanes, &rounds, operations_per_second);
    ci_kernel_destroy(launch.kernel);
    ci_buffer_destroy(out);
    return status;
}

/* A way to compute dot products of bytes (measure_dot.cl), for devices that a variant of matmul fits; NULL: all. */
struct dot_form {
    const char *variant, *options;
    int chains, steps, quads; /* quads: that a step of a chain adds to */
};

static bool may_use(const struct dot_form *form, const struct ci_device *device) {
    const struct ci_caps caps = {.cpu = ci_cpu_features(), .device = ci_device_caps(device)};
    struct ci_call call = {0};
    if (!form->variant) return true;
    ci_view_set(&call.in[CI_MATMUL_X], &ci_type_q8, 1, 256);
    ci_view_set(&call.in[CI_MATMUL_W0], &ci_type_q4_0, 256, 256);
    ci_view_set(&call.out[0], &ci_type_f32, 1, 256);
    return ci_variant_fits(ci_variant_find(&ci_op_matmul, CI_BACKEND_OPENCL, form->variant), &caps, &call);
}

static enum clinfer_status check_dots(struct ci_buffer *out, size_t items, int32_t expected) {
    int32_t *sums = malloc(items * sizeof *sums);
    enum clinfer_status status = sums ? ci_buffer_read(out, 0, sums, items * sizeof *sums)
                                      : ci_fail(CLINFER_OUT_OF_MEMORY, "out of memory to measure with");
    for (size_t i = 0; i < items && status == CLINFER_OK; i++)
        if (sums[i] != expected)
            status = ci_fail(CLINFER_WRONG_RESULT, "dot products of bytes: item %zu has the sum %d, not %d", i,
                             (int)sums[i], (int)expected);
    free(sums);
    return status;
}

static enum clinfer_status dot_by(struct ci_device *device, const struct dot_form *form,
                                  double *operations_per_second) {
    static const char *const sources[] = {"common/common.clh", "common/dot.clh", "measure_dot.cl"};
    const int32_t w = CI_DOT_PEAK_W, x = CI_DOT_PEAK_X, step = 0;
    struct launch launch = {0};
    struct ci_buffer *out = NULL;
    char options[128];
    int32_t rounds, quads = form->chains * form->steps * form->quads;
    snprintf(options, sizeof options, "%s -D CHAINS=%d -D STEPS=%d", form->options, form->chains, form->steps);
    enum clinfer_status status = make_launch_of(device, sources, 3, options, "measure_dot", &launch);
    if (status == CLINFER_OK) status = ci_buffer_create(device, launch.global * sizeof(int32_t), NULL, &out);
    if (status == CLINFER_OK) status = ci_kernel_set_buffer(launch.kernel, 0, out);
    if (status == CLINFER_OK) status = ci_kernel_set_bytes(launch.kernel, 2, &w, sizeof w);
    if (status == CLINFER_OK) status = ci_kernel_set_bytes(launch.kernel, 3, &x, sizeof x);
    if (status == CLINFER_OK) status = ci_kernel_set_bytes(launch.kernel, 4, &step, sizeof step);
    if (status == CLINFER_OK) status = time_rounds(&launch, 8.0 * quads, &rounds, operations_per_second);
    if (status == CLINFER_OK)
        status = check_dots(out, launch.global, (int32_t)((int64_t)rounds * quads * CI_DOT_PEAK_PRODUCT));
    ci_kernel_destroy(launch.kernel);
    ci_buffer_destroy(out);
    return status;
}

/* By the first form that works: they are in order of speed. */
static enum clinfer_status dot_on_device(struct ci_device *device, double *operations_per_second) {
    static const struct dot_form on_cpus[] = {{"gemv_r16_vnni", "-D VNNI", 12, 1, 16},
                                              {"gemv_r16_avx2", "-D AVX2", 4, 8, 8},
                                              {NULL, "-D CODES_IN_16_BITS", 4, 8, 4},
                                              {0}},
                                 elsewhere[] = {{NULL, "-cl-std=CLnewest -D DOT4", 8, 4, 1}, {0}};
    enum clinfer_status status = CLINFER_UNSUPPORTED;
    for (const struct dot_form *form = is_cpu(device) ? on_cpus : elsewhere; form->options; form++) {
        if (!may_use(form, device)) continue;
        status = dot_by(device, form, operations_per_second);
        if (status == CLINFER_OK) return status;
    }
    return status;
}

struct transfer {
    struct ci_buffer *buffer;
    void *host;
    size_t bytes;
};

static enum clinfer_status read_back(void *context) {
    const struct transfer *transfer = context;
    return ci_buffer_read(transfer->buffer, 0, transfer->host, transfer->bytes);
}

static enum clinfer_status read_and_write(void *context) {
    const struct transfer *transfer = context;
    enum clinfer_status status = read_back(context);
    return status == CLINFER_OK ? ci_buffer_write(transfer->buffer, 0, transfer->host, transfer->bytes) : status;
}

static enum clinfer_status measure_calls(struct ci_device *device, struct ci_profile_device *measured) {
    struct launch launch = {0};
    void *host = calloc(1, LARGE_BYTES);
    struct transfer transfer = {.host = host, .bytes = SMALL_BYTES};
    const uint32_t never = 0;
    double many = 0, one = 0, large = 0;
    enum clinfer_status status = host ? CLINFER_OK : ci_fail(CLINFER_OUT_OF_MEMORY, "out of memory");
    if (status == CLINFER_OK) status = make_launch(device, "", "measure_nothing", &launch);
    launch.global = launch.local;
    if (status == CLINFER_OK) status = ci_buffer_create(device, LARGE_BYTES, NULL, &transfer.buffer);
    if (status == CLINFER_OK) status = ci_buffer_write(transfer.buffer, 0, host, LARGE_BYTES);
    if (status == CLINFER_OK) status = ci_kernel_set_buffer(launch.kernel, 0, transfer.buffer);
    if (status == CLINFER_OK) status = ci_kernel_set_bytes(launch.kernel, 1, &never, sizeof never);
    if (status == CLINFER_OK) status = best_pass(run_launches, &launch, &one);
    launch.count = LAUNCHES + 1;
    if (status == CLINFER_OK) status = best_pass(run_launches, &launch, &many);
    if (status == CLINFER_OK) status = best_pass(read_back, &transfer, &measured->crossing_seconds);
    transfer.bytes = LARGE_BYTES;
    if (status == CLINFER_OK) status = best_pass(read_and_write, &transfer, &large);
    if (status == CLINFER_OK) {
        measured->wait_seconds = one;
        measured->launch_seconds = many > one ? (many - one) / LAUNCHES : many / LAUNCHES;
        measured->crossing_bytes_per_second = 2.0 * LARGE_BYTES / large;
    }
    ci_kernel_destroy(launch.kernel);
    ci_buffer_destroy(transfer.buffer);
    free(host);
    return status;
}

/* ---- the CPU backend ---- */

struct threads_pass {
    struct ci_threads *threads;
    ci_threads_function *function;
    const char *memory, *piece; /* all, and the piece of this pass */
    int pieces, next;
    size_t streams, lines_per_stream; /* of each thread */
    ci_read_lines *read;
    int64_t rounds, operations;
    float (*peak)(int64_t rounds, int64_t *operations);
    ci_dot_peak *dot_peak;
    uint64_t used; /* what is computed must be of use */
    bool wrong;
};

static void find_reader(struct threads_pass *pass) {
    pass->read = ci_read_lines_plain;
#if defined(__x86_64__)
    const struct ci_cpu_features *features = ci_cpu_features();
    if (features->avx512vnni)
        pass->read = ci_read_lines_avx512vnni;
    else if (features->avx2)
        pass->read = ci_read_lines_avx2;
#endif
}

static enum clinfer_status run_threads(void *context) {
    struct threads_pass *pass = context;
    ci_threads_run(pass->threads, pass->function, pass);
    return CLINFER_OK;
}

static void read_share(void *argument, int thread, int threads) {
    struct threads_pass *pass = argument;
    size_t share = pass->lines_per_stream * pass->streams * LINE_BYTES;
    (void)threads;
    uint64_t sum = pass->read(pass->piece + (size_t)thread * share, pass->lines_per_stream, pass->streams);
    __atomic_fetch_add(&pass->used, sum, __ATOMIC_RELAXED);
}

static size_t piece_bytes(const struct threads_pass *pass) {
    return pass->lines_per_stream * pass->streams * (size_t)ci_threads_count(pass->threads) * LINE_BYTES;
}

static enum clinfer_status read_piece_of_cpu(void *context) {
    struct threads_pass *pass = context;
    pass->piece = pass->memory + piece_bytes(pass) * (size_t)pass->next;
    pass->next = (pass->next + 1) % pass->pieces;
    return run_threads(pass);
}

/* Reads `bytes`, or a little less, in `pieces`; false: they are too few. */
static bool divide(struct threads_pass *pass, size_t bytes, size_t streams, int pieces) {
    size_t lines = bytes / LINE_BYTES / (size_t)pieces / streams / (size_t)ci_threads_count(pass->threads);
    /* An odd number of lines each: streams that are a power of two apart would share the same sets of the caches. */
    pass->lines_per_stream = lines > 0 ? (lines - 1) | 1 : 0;
    pass->streams = streams;
    pass->pieces = pieces;
    pass->next = 0;
    return lines > 0;
}

/* At once, in 1, 2, 4 and 8 streams for each thread; then in pieces, as time_reading. */
static enum clinfer_status read_cpu(struct ci_threads *threads, uint64_t bytes, double *bytes_per_second) {
    size_t least = (size_t)ci_threads_count(threads) * MOST_STREAMS * LINE_BYTES;
    size_t total = bytes > least ? (size_t)bytes : least, best = 1;
    void *memory = ci_pages_alloc(total + 2 * CI_PAGE_BYTES); /* prefetched beyond the end */
    if (!memory) return ci_fail(CLINFER_OUT_OF_MEMORY, "out of memory for %zu bytes to read", total);
    memset(memory, 3, total);
    struct threads_pass pass = {.threads = threads, .function = read_share, .memory = memory};
    find_reader(&pass);
    enum clinfer_status status = CLINFER_OK;
    double seconds = 1, of_best = 1;
    *bytes_per_second = 0;
    for (size_t streams = 1; streams <= MOST_STREAMS && status == CLINFER_OK; streams *= 2) {
        divide(&pass, total, streams, 1);
        status = best_pass_within(pass_seconds / 4, read_piece_of_cpu, &pass, &seconds);
        double rate = (double)piece_bytes(&pass) / seconds;
        if (status != CLINFER_OK || rate <= *bytes_per_second) continue;
        *bytes_per_second = rate;
        of_best = seconds;
        best = streams;
    }
    int pieces = pieces_of(of_best);
    if (status == CLINFER_OK && pieces > 1 && divide(&pass, total, best, pieces)) {
        status = best_pass(read_piece_of_cpu, &pass, &seconds);
        double by_pieces = (double)piece_bytes(&pass) / seconds;
        if (by_pieces > *bytes_per_second) *bytes_per_second = by_pieces;
    }
    free(memory);
    return status;
}

static void compute_share(void *argument, int thread, int threads) {
    struct threads_pass *pass = argument;
    int64_t operations = 0;
    (void)thread, (void)threads;
    float result = pass->peak(pass->rounds, &operations);
    __atomic_fetch_add(&pass->used, (uint64_t)(int64_t)result, __ATOMIC_RELAXED);
    __atomic_store_n(&pass->operations, operations, __ATOMIC_RELAXED);
}

static void dot_share(void *argument, int thread, int threads) {
    struct threads_pass *pass = argument;
    int64_t operations = 0;
    (void)thread, (void)threads;
    int32_t sum = pass->dot_peak(pass->rounds, &operations);
    if (sum != (int32_t)(operations / 8 * CI_DOT_PEAK_PRODUCT)) __atomic_store_n(&pass->wrong, true, __ATOMIC_RELAXED);
    __atomic_store_n(&pass->operations, operations, __ATOMIC_RELAXED);
}

static void find_peaks(struct threads_pass *pass) {
    const struct ci_cpu_features *features = ci_cpu_features();
#if defined(__x86_64__)
    if (features->avx512vnni) {
        pass->peak = ci_cpu_peak_avx512vnni;
        pass->dot_peak = ci_dot_peak_avx512vnni;
    } else if (features->avx2) {
        pass->peak = ci_cpu_peak_avx2;
        pass->dot_peak = ci_dot_peak_avx2;
    }
#elif defined(__aarch64__)
    if (features->neon) pass->peak = ci_cpu_peak_neon;
    if (features->neondot) pass->dot_peak = ci_dot_peak_neondot;
#else
    (void)features;
#endif
}

static enum clinfer_status compute_on_cpu(struct ci_threads *threads, enum ci_measure_kind kind,
                                          double *operations_per_second) {
    bool dot = kind == CI_MEASURE_DOT8;
    struct threads_pass pass = {.threads = threads, .function = dot ? dot_share : compute_share, .rounds = 100000};
    double seconds = 1;
    find_peaks(&pass);
    if (dot ? !pass.dot_peak : kind != CI_MEASURE_F32 || !pass.peak)
        return ci_fail(CLINFER_UNSUPPORTED,
                       "the CPU backend measures f32 and dot products of bytes, with vector instructions only");
    enum clinfer_status status = best_pass(run_threads, &pass, &seconds);
    if (status == CLINFER_OK && pass.wrong) return ci_fail(CLINFER_WRONG_RESULT, "dot products of bytes are wrong");
    *operations_per_second = (double)pass.operations * ci_threads_count(threads) / seconds;
    return status;
}

static void pass_barriers(void *argument, int thread, int threads) {
    const struct threads_pass *pass = argument;
    (void)thread, (void)threads;
    for (int64_t i = 0; i < pass->rounds; i++) ci_threads_barrier(pass->threads);
}

/* A launch is one more step in a section, a wait one more section. */
static enum clinfer_status measure_steps(struct ci_threads *threads, struct ci_profile_device *measured) {
    struct threads_pass pass = {.threads = threads, .function = pass_barriers, .rounds = 0};
    double one = 0, many = 0;
    enum clinfer_status status = best_pass(run_threads, &pass, &one);
    pass.rounds = LAUNCHES;
    if (status == CLINFER_OK) status = best_pass(run_threads, &pass, &many);
    measured->wait_seconds = one;
    measured->launch_seconds = many > one ? (many - one) / LAUNCHES : many / LAUNCHES;
    return status;
}

/* ---- both ---- */

enum clinfer_status ci_measure_read(struct ci_device *device, struct ci_threads *threads, uint64_t bytes,
                                    double *bytes_per_second) {
    return device ? read_device(device, bytes, bytes_per_second) : read_cpu(threads, bytes, bytes_per_second);
}

enum clinfer_status ci_measure_arithmetic(struct ci_device *device, struct ci_threads *threads,
                                          enum ci_measure_kind kind, double *operations_per_second) {
    if (!device) return compute_on_cpu(threads, kind, operations_per_second);
    return kind == CI_MEASURE_DOT8 ? dot_on_device(device, operations_per_second)
                                   : compute_on_device(device, kind, operations_per_second);
}

enum clinfer_status ci_measure(struct ci_device *device, struct ci_threads *threads, uint64_t bytes,
                               struct ci_profile_device *measured) {
    *measured = (struct ci_profile_device){0};
    enum clinfer_status status = ci_measure_read(device, threads, bytes, &measured->read_bytes_per_second);
    if (status != CLINFER_OK) return status;
    /* Without vector instructions nobody needs to know. */
    status = ci_measure_arithmetic(device, threads, CI_MEASURE_F32, &measured->operations_per_second);
    if (status == CLINFER_UNSUPPORTED) measured->operations_per_second = 0;
    if (status != CLINFER_OK && status != CLINFER_UNSUPPORTED) return status;
    /* A driver that does these wrong may be right in all that the kernels do with it. */
    status = ci_measure_arithmetic(device, threads, CI_MEASURE_DOT8, &measured->dot8_operations_per_second);
    if (status != CLINFER_OK) measured->dot8_operations_per_second = 0;
    return device ? measure_calls(device, measured) : measure_steps(threads, measured);
}
