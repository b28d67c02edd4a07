/* bench_row.c: from samples to a row: means and deviations, and what model, machine and setup they were taken on. */
#define _GNU_SOURCE
#include <ctype.h>
#include <math.h>
#include <string.h>
#include <time.h>

#include "base/threads.h"
#include "cli/bench.h"
#include "cli/output.h"
#include "engine/engine_private.h"

void ci_bench_label(const struct ci_bench_test *test, char text[CI_BENCH_LABEL]) {
    char prompt[24] = "", generated[24] = "", depth[24] = "", sequences[24] = "";
    if (test->kind != CI_BENCH_RATE) {
        snprintf(text, CI_BENCH_LABEL, "start %s", test->kind == CI_BENCH_START_COLD ? "cold" : "warm");
        return;
    }
    if (test->prompt) snprintf(prompt, sizeof prompt, "pp%d", test->prompt);
    if (test->generated) snprintf(generated, sizeof generated, "%stg%d", test->prompt ? "+" : "", test->generated);
    if (test->depth) snprintf(depth, sizeof depth, " @ d%d", test->depth);
    if (test->sequences > 1) snprintf(sequences, sizeof sequences, " x%d", test->sequences);
    snprintf(text, CI_BENCH_LABEL, "%s%s%s%s", prompt, generated, depth, sequences);
}

double ci_bench_sample_rate(const struct ci_bench_samples *samples, int i, int64_t tokens) {
    return tokens > 0 && samples->ns[i] > 0 ? 1e9 * (double)tokens / (double)samples->ns[i] : NAN;
}

/* Of a sample, not of all there could be: divided by count - 1, as llama-bench does. */
static double deviation(double sum_of_squares, int count) { return count > 1 ? sqrt(sum_of_squares / (count - 1)) : 0; }

static void summarise(struct ci_bench_row *row, const struct ci_bench_samples *samples, int64_t tokens) {
    double ns = 0, rate = 0, first = 0, ns_squares = 0, rate_squares = 0;
    int count = samples->count;
    for (int i = 0; i < count; i++) {
        ns += (double)samples->ns[i] / count;
        rate += ci_bench_sample_rate(samples, i, tokens) / count;
        first += (double)samples->first_ns[i] / count;
    }
    for (int i = 0; i < count; i++) {
        ns_squares += ((double)samples->ns[i] - ns) * ((double)samples->ns[i] - ns);
        rate_squares +=
            (ci_bench_sample_rate(samples, i, tokens) - rate) * (ci_bench_sample_rate(samples, i, tokens) - rate);
    }
    row->samples = samples;
    row->tokens = tokens;
    row->mean_ns = (int64_t)ns;
    row->deviation_ns = (int64_t)deviation(ns_squares, count);
    row->mean_rate = rate;
    row->deviation_rate = deviation(rate_squares, count);
    row->first_ns = (int64_t)first;
    row->load_ns = samples->load_ns;
    row->peak_bytes = samples->peak_bytes;
}

/* "llama 135M Q4_1": the type is that of most bytes. Adds up the bytes of all tensors. */
static void describe_model(const struct ci_bench_target *target, struct ci_bench_row *row) {
    uint64_t of_type[256] = {0}, most = 0;
    const struct ci_gguf *gguf = target->engine->gguf;
    const char *type = "";
    char parameters[CI_AMOUNT_BYTES];
    for (size_t i = 0; i < ci_gguf_tensor_count(gguf); i++) {
        const struct ci_gguf_tensor *tensor = ci_gguf_tensor_at(gguf, i);
        row->model_size += (int64_t)tensor->bytes;
        if (tensor->type >= sizeof of_type / sizeof *of_type || !ci_type_from_gguf(tensor->type)) continue;
        if ((of_type[tensor->type] += tensor->bytes) <= most) continue;
        most = of_type[tensor->type];
        type = ci_type_from_gguf(tensor->type)->name;
    }
    int length = snprintf(row->model_text, sizeof row->model_text, "%.40s %s ", target->info.architecture,
                          ci_format_count(target->info.parameters, parameters));
    for (size_t at = (size_t)length; *type && at + 1 < sizeof row->model_text; type++) {
        row->model_text[at++] = (char)toupper((unsigned char)*type);
        row->model_text[at] = 0;
    }
}

/* What was asked for, unless a tune found that fewer are faster. */
static int64_t rows_of_a_step(const struct ci_bench_setup *setup, int64_t taken) {
    bool fewer = taken > 0 && taken < setup->batch && taken < setup->micro_batch;
    return fewer ? taken : setup->micro_batch;
}

void ci_bench_make_row(const struct ci_bench_target *target, const struct ci_bench_setup *setup,
                       const struct ci_bench_test *test, const struct ci_bench_samples *samples,
                       const struct ci_bench_bound *bound, struct ci_bench_row *row) {
    int64_t tokens = test->kind == CI_BENCH_RATE ? (int64_t)test->sequences * (test->prompt + test->generated) : 0;
    time_t seconds = time(NULL);
    struct tm utc;
    *row = (struct ci_bench_row){.cpu_info = ci_cpu_features()->name,
                                 .gpu_info = target->info.opencl ? target->info.device : "",
                                 .backends = !target->on_device ? "CPU"
                                             : target->on_cpu   ? "OpenCL,CPU"
                                                                : "OpenCL",
                                 .model_filename = target->choice.path,
                                 .model_type = row->model_text,
                                 .model_parameters = (int64_t)target->info.parameters,
                                 .batch = setup->batch,
                                 .micro_batch = rows_of_a_step(setup, target->engine->options.batch),
                                 .threads = ci_threads_count(target->engine->threads),
                                 .type_k = ci_cache_type_names[setup->key_type],
                                 .type_v = ci_cache_type_names[setup->value_type],
                                 .layers = setup->layers,
                                 .flash_attention = 1,
                                 .devices = setup->device ? setup->device : "auto",
                                 .prompt = test->prompt,
                                 .generated = test->generated,
                                 .depth = test->depth,
                                 .test_time = row->time_text,
                                 .label = row->label_text,
                                 .sequences = test->sequences,
                                 .share_of_limit = NAN,
                                 .limit_rate = NAN,
                                 .read_bytes_per_second = NAN,
                                 .operations_per_second = NAN};
    describe_model(target, row);
    ci_bench_label(test, row->label_text);
    strftime(row->time_text, sizeof row->time_text, "%FT%TZ", gmtime_r(&seconds, &utc));
    summarise(row, samples, tokens);
    if (bound->read_bytes_per_second > 0) row->read_bytes_per_second = bound->read_bytes_per_second;
    if (bound->operations_per_second > 0) row->operations_per_second = bound->operations_per_second;
    if (bound->seconds <= 0 || row->mean_ns <= 0) return;
    row->limit = bound->reading ? "read" : "compute";
    row->limit_rate = (double)tokens / bound->seconds;
    row->share_of_limit = bound->seconds * 1e9 / (double)row->mean_ns;
}
