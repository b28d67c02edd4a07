/* Times variants of matmul on a device side by side, in turn (A B A B), on random data of one shape. Built by
 * scripts/measure_clblast.sh.
 *
 * usage: time_variants [KERNEL:NAME=VALUE,...]... DEVICE X_TYPE W_TYPE ROWS K N VARIANT...
 *
 * KERNEL:... gives a kernel of CLBlast other parameters, all of them: GemmRoutine:XGEMM_MIN_INDIRECT_SIZE=1
 *
 * Prints a line per variant: its name, the seconds that its first call took (programs of ours, of CLBlast, and the
 * rest), the median of the next ones in milliseconds, and GFLOP/s. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/status.h"
#include "ops/op_list.h"
#include "proof/device_call.h"
#include "tensor/op_params.h"

enum { MOST_VARIANTS = 8, MOST_ROUNDS = 15 };
static const double ENOUGH_SECONDS = 3;

struct contender {
    const struct ci_variant *variant;
    struct ci_bound *bound;
    struct ci_buffer *scratch;
    double clblast_seconds, first_seconds, seconds[MOST_ROUNDS];
};

static double now(void) {
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (double)time.tv_sec + 1e-9 * (double)time.tv_nsec;
}

static void check(enum clinfer_status status) {
    if (status == CLINFER_OK) return;
    fprintf(stderr, "time_variants: %s\n", clinfer_error());
    exit(1);
}

static const struct ci_type *type_of(const char *name) {
    static const struct ci_type *const types[] = {
#define CI_TYPE(symbol) &ci_type_##symbol,
#include "types/type_list.inc"
#undef CI_TYPE
    };
    for (size_t i = 0; i < sizeof types / sizeof *types; i++)
        if (strcmp(types[i]->name, name) == 0) return types[i];
    fprintf(stderr, "time_variants: %s: no such type\n", name);
    exit(2);
}

static const struct ci_variant *variant_of(const char *name) {
    for (int i = 0; ci_variants[i]; i++)
        if (ci_variants[i]->op == &ci_op_matmul && ci_variants[i]->backend != CI_BACKEND_CPU &&
            strcmp(ci_variants[i]->name, name) == 0)
            return ci_variants[i];
    fprintf(stderr, "time_variants: %s: no such OpenCL variant of matmul\n", name);
    exit(2);
}

static double run_once(struct ci_device *device, struct contender *contender) {
    double start = now();
    check(ci_bind_enqueue(contender->bound));
    check(ci_device_finish(device));
    return now() - start;
}

static void start(struct ci_device *device, struct ci_call *call, struct contender *contender) {
    int values[CI_MAX_TUNABLES] = {0};
    ci_bind_defaults(contender->variant, values);
    size_t bytes = contender->variant->scratch ? contender->variant->scratch(call, values) : 0;
    if (bytes) check(ci_buffer_create(device, bytes, NULL, &contender->scratch));
    call->scratch = (struct ci_view){.buffer = contender->scratch};
    double begin = now();
    check(ci_bind_create(device, contender->variant, values, call, &contender->bound));
    run_once(device, contender);
    struct ci_device_counts counts;
    ci_device_counts(device, &counts);
    contender->clblast_seconds = contender->variant->backend == CI_BACKEND_CLBLAST ? counts.clblast_seconds : 0;
    contender->first_seconds = now() - begin - contender->clblast_seconds;
}

static int compare(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* "KERNEL:NAME=VALUE,..." */
static void set_parameters(struct ci_device *device, char *text) {
    const char *names[CI_CLBLAST_VALUES];
    size_t values[CI_CLBLAST_VALUES];
    int count = 0;
    char *list = strchr(text, ':');
    *list++ = 0;
    for (char *rest = list, *one; (one = strtok_r(NULL, ",", &rest)) && count < CI_CLBLAST_VALUES; count++) {
        char *value = strchr(one, '=');
        values[count] = value ? strtoul(value + 1, NULL, 10) : 0;
        if (value) *value = 0;
        names[count] = one;
    }
    ci_device_clblast_parameters(device, text, count, names, values);
}

int main(int argc, char **argv) {
    int parameters = 0;
    while (parameters + 1 < argc && strchr(argv[parameters + 1], ':')) parameters++;
    char **kernels = argv + 1;
    argc -= parameters;
    argv += parameters;
    if (argc < 8 || argc > 7 + MOST_VARIANTS) {
        fprintf(stderr, "usage: time_variants [KERNEL:NAME=VALUE,...]... DEVICE X_TYPE W_TYPE ROWS K N VARIANT...\n");
        return 2;
    }
    int64_t rows = atoll(argv[4]), k = atoll(argv[5]), n = atoll(argv[6]);
    const struct ci_case shape = {.name = "timed", .in = {{type_of(argv[2]), rows, k}, {type_of(argv[3]), n, k}}};
    struct contender contenders[MOST_VARIANTS] = {0};
    int count = argc - 7, rounds = 0;
    struct ci_device *device;
    struct ci_sample_call sample;
    struct ci_device_call call;
    check(ci_device_open(atoi(argv[1]), NULL, &device));
    for (int i = 0; i < parameters; i++) set_parameters(device, kernels[i]);
    check(ci_sample_create(&ci_op_matmul, &shape, 1, &sample));
    check(ci_device_call_create(device, &sample, NULL, &call));
    struct ci_view *out = &call.call.out[0];
    check(ci_buffer_create(device, (size_t)(rows * n) * sizeof(float), NULL, &out->buffer));
    for (int i = 0; i < count; i++) {
        contenders[i].variant = variant_of(argv[7 + i]);
        start(device, &call.call, &contenders[i]);
    }
    for (double begin = now(); rounds < MOST_ROUNDS && (rounds < 3 || now() - begin < ENOUGH_SECONDS); rounds++)
        for (int i = 0; i < count; i++) contenders[i].seconds[rounds] = run_once(device, &contenders[i]);
    for (int i = 0; i < count; i++) {
        struct contender *contender = &contenders[i];
        qsort(contender->seconds, (size_t)rounds, sizeof(double), compare);
        double median = contender->seconds[rounds / 2];
        printf("%s %.3f %.3f %.3f %.1f\n", contender->variant->name, contender->first_seconds,
               contender->clblast_seconds, median * 1e3, 2e-9 * (double)(rows * k * n) / median);
        ci_bind_destroy(contender->bound);
        ci_buffer_destroy(contender->scratch);
    }
    ci_buffer_destroy(out->buffer);
    ci_device_call_destroy(&call);
    ci_sample_destroy(&sample);
    ci_device_close(device);
    return 0;
}
