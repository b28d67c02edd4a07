/* bench.c: `clinfer bench`: how fast a model is here, with the flags, labels and fields of llama-bench, held against
 * what this machine does at best.
 *
 * Flags become lists, the lists setups (what an engine is made with) and tests; each test on each setup is a row,
 * printed when it is there. An engine is opened when the setup differs from the one before. A test that fails is said
 * and passed over: what is left of a long bench is still worth having, and the exit status tells. */
#define _GNU_SOURCE
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/child.h"
#include "base/clock.h"
#include "base/status.h"
#include "cli/bench.h"
#include "cli/bench_server.h"
#include "cli/command.h"
#include "cli/interrupt.h"
#include "cli/output.h"
#include "cli/record.h"
#include "engine/engine_private.h"

enum { MOST_TOKENS = 1 << 28, MOST_BATCH = 1 << 20, WARM_TOKENS = 4 };

/* A measurement of the limits that is older than so many seconds says nothing about the test that begins. */
static const double fresh = 2;

struct bench {
    /* flags */
    struct ci_texts model_texts, device_texts, layer_texts, batch_texts, micro_batch_texts, thread_texts;
    struct ci_texts key_texts, value_texts, attention_texts;
    struct ci_texts prompt_texts, generated_texts, pair_texts, depth_texts, sequence_texts;
    struct ci_engine_flags flags;
    struct ci_bench_server_flags server;
    struct ci_log_flags log;
    struct ci_record_flags record;
    long long repetitions;
    double delay;
    int format, error_format; /* of enum ci_bench_format: less one; as it is */
    bool no_warmup, progress, start, all;

    /* what they say */
    struct ci_bench_words models, devices, key_types, value_types, attentions;
    struct ci_bench_integers layers, batches, micro_batches, threads, prompts, generated, depths, sequences;
    struct ci_bench_test *tests;
    size_t test_count, test_capacity;

    /* on the way */
    struct ci_bench_target target;
    struct ci_bench_setup opened; /* what the target was made with */
    struct ci_bench_limits limits;
    struct ci_bench_printer printers[2];
    size_t number, total; /* of the test at hand, and of all */
    int exit_status;
};

/* ---- lists ---- */

/* The flag's values, or `otherwise` where it was not given. */
static enum clinfer_status integers(const char *flag, const struct ci_texts *texts, const char *otherwise,
                                    long long least, long long most, struct ci_bench_integers *list) {
    const struct ci_texts standard = {&otherwise, 1};
    return ci_bench_integers(flag, texts->count ? texts : &standard, least, most, list);
}

static enum clinfer_status words(const char *flag, const struct ci_texts *texts, const char *otherwise,
                                 const char *choices, struct ci_bench_words *list) {
    const struct ci_texts standard = {&otherwise, otherwise ? 1 : 0};
    return ci_bench_words(flag, texts->count ? texts : &standard, choices, list);
}

static enum clinfer_status check_attention(const struct ci_bench_words *list) {
    for (size_t i = 0; i < list->count; i++)
        if (strcmp(list->items[i], "off") == 0 || strcmp(list->items[i], "0") == 0)
            return ci_fail(CLINFER_INVALID_ARGUMENT,
                           "-fa %s: attention is always computed the flash way here, without a matrix of scores; "
                           "leave -fa out, or say -fa on",
                           list->items[i]);
    return CLINFER_OK;
}

static enum clinfer_status read_lists(struct bench *bench) {
    enum clinfer_status status = words("-m", &bench->model_texts, NULL, NULL, &bench->models);
    if (status == CLINFER_OK) status = words("--device", &bench->device_texts, NULL, NULL, &bench->devices);
    if (status == CLINFER_OK) status = words("-ctk", &bench->key_texts, "f16", CI_CACHE_TYPES, &bench->key_types);
    if (status == CLINFER_OK) status = words("-ctv", &bench->value_texts, "f16", CI_CACHE_TYPES, &bench->value_types);
    if (status == CLINFER_OK)
        status = words("-fa", &bench->attention_texts, "auto", "on|off|auto|1|0", &bench->attentions);
    if (status == CLINFER_OK) status = check_attention(&bench->attentions);
    if (status == CLINFER_OK) status = integers("-ngl", &bench->layer_texts, "-1", -1, 1 << 20, &bench->layers);
    if (status == CLINFER_OK) status = integers("-b", &bench->batch_texts, "2048", 1, MOST_BATCH, &bench->batches);
    if (status == CLINFER_OK)
        status = integers("-ub", &bench->micro_batch_texts, "512", 1, MOST_BATCH, &bench->micro_batches);
    if (status == CLINFER_OK) status = integers("-p", &bench->prompt_texts, "512", 0, MOST_TOKENS, &bench->prompts);
    if (status == CLINFER_OK)
        status = integers("-n", &bench->generated_texts, "128", 0, MOST_TOKENS, &bench->generated);
    if (status == CLINFER_OK) status = integers("-d", &bench->depth_texts, "0", 0, MOST_TOKENS, &bench->depths);
    if (status == CLINFER_OK && (bench->sequence_texts.count || bench->all))
        status = integers("-npl", &bench->sequence_texts, "1,2,4,8,16,64", 1, CI_BENCH_SEQUENCES, &bench->sequences);
    if (status == CLINFER_OK) status = ci_engine_flags_complete(&bench->flags);
    char threads[32];
    snprintf(threads, sizeof threads, "%lld", bench->flags.threads);
    if (status == CLINFER_OK) status = integers("-t", &bench->thread_texts, threads, 0, 1024, &bench->threads);
    return status;
}

static void free_lists(struct bench *bench) {
    struct ci_texts *const texts[] = {&bench->model_texts,     &bench->device_texts,      &bench->layer_texts,
                                      &bench->batch_texts,     &bench->thread_texts,      &bench->key_texts,
                                      &bench->value_texts,     &bench->micro_batch_texts, &bench->prompt_texts,
                                      &bench->generated_texts, &bench->pair_texts,        &bench->attention_texts,
                                      &bench->depth_texts,     &bench->sequence_texts,    &bench->server.client_texts};
    struct ci_bench_words *const all_words[] = {&bench->models, &bench->devices, &bench->key_types, &bench->value_types,
                                                &bench->attentions};
    struct ci_bench_integers *const all_integers[] = {&bench->layers,    &bench->batches, &bench->micro_batches,
                                                      &bench->threads,   &bench->prompts, &bench->generated,
                                                      &bench->sequences, &bench->depths};
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) ci_texts_free(texts[i]);
    for (size_t i = 0; i < sizeof all_words / sizeof *all_words; i++) ci_bench_words_free(all_words[i]);
    for (size_t i = 0; i < sizeof all_integers / sizeof *all_integers; i++) free(all_integers[i]->items);
    free(bench->tests);
    ci_engine_flags_free(&bench->flags);
}

/* ---- tests ---- */

static enum clinfer_status add_test(struct bench *bench, enum ci_bench_kind kind, long long prompt, long long generated,
                                    long long depth, long long sequences) {
    if (prompt == 0 && generated == 0) return CLINFER_OK;
    if (bench->test_count == bench->test_capacity) {
        size_t capacity = 2 * bench->test_capacity + 16;
        struct ci_bench_test *grown = realloc(bench->tests, capacity * sizeof *grown);
        if (!grown) return ci_fail(CLINFER_OUT_OF_MEMORY, "out of memory for %zu tests", capacity);
        bench->tests = grown;
        bench->test_capacity = capacity;
    }
    bench->tests[bench->test_count++] =
        (struct ci_bench_test){kind, (int)prompt, (int)generated, (int)depth, (int)sequences};
    return CLINFER_OK;
}

static enum clinfer_status add_pairs(struct bench *bench, long long depth) {
    enum clinfer_status status = CLINFER_OK;
    for (size_t i = 0; i < bench->pair_texts.count && status == CLINFER_OK; i++) {
        const struct ci_texts one = {&bench->pair_texts.items[i], 1};
        struct ci_bench_integers pair;
        status = ci_bench_integers("-pg", &one, 0, MOST_TOKENS, &pair);
        if (status == CLINFER_OK && pair.count != 2)
            status = ci_fail(CLINFER_INVALID_ARGUMENT,
                             "-pg %.200s: must be two numbers, tokens of prompt and tokens generated: 512,128",
                             one.items[0]);
        if (status == CLINFER_OK) status = add_test(bench, CI_BENCH_RATE, pair.items[0], pair.items[1], depth, 1);
        free(pair.items);
    }
    return status;
}

/* One sequence is what -n measures as well. */
static bool has_test(const struct bench *bench, long long generated, long long depth) {
    for (size_t i = 0; i < bench->test_count; i++) {
        const struct ci_bench_test *test = &bench->tests[i];
        if (test->kind == CI_BENCH_RATE && !test->prompt && test->generated == generated && test->depth == depth &&
            test->sequences == 1)
            return true;
    }
    return false;
}

/* Where -d says nothing, several sequences have a conversation behind them. */
static enum clinfer_status add_sequences(struct bench *bench) {
    enum { USUAL_DEPTH = 512 };
    bool given = bench->depth_texts.count > 0;
    enum clinfer_status status = CLINFER_OK;
    for (size_t d = 0; d < bench->depths.count; d++)
        for (size_t n = 0; n < bench->generated.count; n++)
            for (size_t s = 0; s < bench->sequences.count && status == CLINFER_OK; s++) {
                long long depth = given ? bench->depths.items[d] : USUAL_DEPTH;
                if (bench->sequences.items[s] > 1 || !has_test(bench, bench->generated.items[n], depth))
                    status =
                        add_test(bench, CI_BENCH_RATE, 0, bench->generated.items[n], depth, bench->sequences.items[s]);
            }
    return status;
}

static enum clinfer_status make_tests(struct bench *bench) {
    enum clinfer_status status = CLINFER_OK;
    if (bench->start || bench->all) {
        status = add_test(bench, CI_BENCH_START_COLD, CI_BENCH_START_PROMPT, 1, 0, 1);
        if (status == CLINFER_OK) status = add_test(bench, CI_BENCH_START_WARM, CI_BENCH_START_PROMPT, 1, 0, 1);
    }
    for (size_t d = 0; d < bench->depths.count && status == CLINFER_OK; d++) {
        long long depth = bench->depths.items[d];
        for (size_t i = 0; i < bench->prompts.count && status == CLINFER_OK; i++)
            status = add_test(bench, CI_BENCH_RATE, bench->prompts.items[i], 0, depth, 1);
        for (size_t i = 0; i < bench->generated.count && status == CLINFER_OK; i++)
            status = add_test(bench, CI_BENCH_RATE, 0, bench->generated.items[i], depth, 1);
        if (status == CLINFER_OK) status = add_pairs(bench, depth);
    }
    if (status == CLINFER_OK) status = add_sequences(bench);
    if (status == CLINFER_OK && !bench->test_count)
        status = ci_fail(CLINFER_INVALID_ARGUMENT, "-p 0 -n 0: nothing is left to measure");
    return status;
}

static long long longest(const struct bench *bench) {
    long long most = 1;
    for (size_t i = 0; i < bench->test_count; i++) {
        const struct ci_bench_test *test = &bench->tests[i];
        long long needed = ci_bench_needs(test);
        if (needed > most) most = needed;
    }
    return most;
}

/* ---- one test ---- */

static void print_row(struct bench *bench, const struct ci_bench_setup *setup, const struct ci_bench_test *test,
                      const struct ci_bench_samples *samples, const struct ci_bench_bound *bound) {
    struct ci_bench_row row;
    ci_bench_make_row(&bench->target, setup, test, samples, bound, &row);
    for (int i = 0; i < 2; i++) ci_bench_print_row(&bench->printers[i], &row);
}

static void tell(const struct bench *bench, const char *label, const char *doing) {
    char text[256];
    snprintf(text, sizeof text, "benchmark %zu/%zu: %s: %s", bench->number, bench->total, label, doing);
    if (bench->progress)
        ci_say("%s", text);
    else
        ci_progress(text);
}

static enum clinfer_status wait_between(double seconds) {
    const struct timespec slice = {.tv_nsec = 50000000};
    for (double end = ci_now() + seconds; ci_now() < end && !ci_interrupted();) nanosleep(&slice, NULL);
    return ci_interrupted() ? ci_fail(CLINFER_CANCELLED, "cancelled") : CLINFER_OK;
}

static enum clinfer_status repeat(struct bench *bench, const struct ci_bench_test *test, const char *label,
                                  struct ci_bench_samples *samples) {
    struct ci_bench_test warm = *test;
    int64_t unused;
    char doing[48];
    if (warm.generated > WARM_TOKENS) warm.generated = WARM_TOKENS;
    enum clinfer_status status = CLINFER_OK;
    if (!bench->no_warmup) {
        tell(bench, label, "warm-up");
        status = ci_bench_run(&bench->target, &warm, &unused, &unused);
        if (test->generated * bench->repetitions >= CI_CHAIN_STEPS) ci_engine_make_chain(bench->target.engine, 0);
    }
    if (status == CLINFER_OK && ci_record_wanted(&bench->record))
        status = clinfer_engine_record_reset(bench->target.engine);
    for (int i = 0; i < bench->repetitions && status == CLINFER_OK; i++) {
        snprintf(doing, sizeof doing, "run %d/%lld", i + 1, bench->repetitions);
        tell(bench, label, doing);
        status = ci_bench_run(&bench->target, test, &samples->ns[i], &samples->first_ns[i]);
        samples->count += status == CLINFER_OK;
    }
    return status;
}

static enum clinfer_status run_test(struct bench *bench, const struct ci_bench_setup *setup,
                                    const struct ci_bench_test *test) {
    char label[CI_BENCH_LABEL];
    struct ci_bench_bound bound = {0};
    struct ci_bench_limits before, mean;
    size_t bytes = (size_t)bench->repetitions * sizeof(int64_t);
    struct ci_bench_samples samples = {.ns = malloc(bytes), .first_ns = malloc(bytes), .peak_bytes = -1};
    ci_bench_label(test, label);
    enum clinfer_status status = samples.ns && samples.first_ns
                                     ? wait_between(bench->delay)
                                     : ci_fail(CLINFER_OUT_OF_MEMORY, "out of memory for %zu bytes", bytes);
    samples.load_ns = (int64_t)(bench->target.info.load_seconds * 1e9);
    tell(bench, label, "filling the context");
    bool forgotten = ci_process_forget_peak();
    if (status == CLINFER_OK) status = ci_bench_fill(&bench->target, test);
    /* The measurement behind the last test is the one before this, where nothing lay between. */
    if (status == CLINFER_OK && ci_now() - bench->limits.measured_at > fresh) {
        tell(bench, label, "measuring the limits");
        ci_bench_limits_measure(&bench->target, &bench->limits);
        forgotten = ci_process_forget_peak();
    }
    if (status == CLINFER_OK) status = repeat(bench, test, label, &samples);
    if (status == CLINFER_OK && forgotten) samples.peak_bytes = (int64_t)ci_process_peak_bytes();
    if (status == CLINFER_OK) {
        tell(bench, label, "measuring the limits");
        before = bench->limits;
        ci_bench_limits_measure(&bench->target, &bench->limits);
        ci_bench_limits_mean(&before, &bench->limits, &mean);
        status = ci_bench_limits_bound(&bench->target, &mean, test, &bound);
    }
    if (status == CLINFER_OK) print_row(bench, setup, test, &samples, &bound);
    if (status == CLINFER_OK && ci_record_wanted(&bench->record)) {
        ci_progress(NULL);
        ci_say("profile of %s, %lld runs:", label, bench->repetitions);
        status = ci_record_report(&bench->record, false, bench->target.engine);
    }
    free(samples.ns);
    free(samples.first_ns);
    return status;
}

/* ---- one setup ---- */

static bool same_text(const char *a, const char *b) { return a == b || (a && b && strcmp(a, b) == 0); }

static long long smaller(long long a, long long b) { return a < b ? a : b; }

/* Whether both make the same engine. */
static bool same_engine(const struct ci_bench_setup *a, const struct ci_bench_setup *b) {
    return same_text(a->model, b->model) && same_text(a->device, b->device) && a->layers == b->layers &&
           smaller(a->batch, a->micro_batch) == smaller(b->batch, b->micro_batch) && a->threads == b->threads &&
           a->key_type == b->key_type && a->value_type == b->value_type;
}

static void set_flags(const struct bench *bench, const struct ci_bench_setup *setup, struct ci_engine_flags *flags) {
    *flags = bench->flags;
    flags->from.model = setup->model;
    if (setup->device) flags->device = setup->device;
    flags->device_layers = setup->layers;
    /* Nobody said: then it is the engine's own, or what a tune found. */
    bool said = bench->batch_texts.count > 0 || bench->micro_batch_texts.count > 0;
    flags->batch = said ? setup->batch : 0;
    flags->micro_batch = said ? setup->micro_batch : 0;
    flags->threads = setup->threads;
    flags->key_type = setup->key_type;
    flags->value_type = setup->value_type;
    flags->context = longest(bench);
    flags->record = ci_record_wanted(&bench->record);
}

static void failed(struct bench *bench, enum clinfer_status status, const char *label) {
    ci_progress(NULL);
    int exit_status = ci_refuse(status, "%s%s%s", label, *label ? ": " : "", clinfer_error());
    if (!bench->exit_status) bench->exit_status = exit_status;
}

static void close_target(struct bench *bench) {
    struct clinfer_engine_stats stats;
    if (!bench->target.engine) return;
    clinfer_engine_get_stats(bench->target.engine, &stats);
    if (*stats.fallback_text) ci_warn("%s", stats.fallback_text);
    ci_bench_target_close(&bench->target);
}

/* Starts come before this process has the model's file open, or its pages could not be dropped. */
static void run_starts(struct bench *bench, const struct ci_engine_flags *flags, struct ci_bench_samples samples[2]) {
    enum clinfer_status status = CLINFER_OK;
    if (bench->tests[0].kind != CI_BENCH_START_COLD) return;
    close_target(bench);
    bench->number += 2;
    tell(bench, "start", "cold, then warm");
    status = ci_bench_start(flags, (int)bench->repetitions, &samples[0], &samples[1]);
    if (status != CLINFER_OK) failed(bench, status, "start");
}

static void run_setup(struct bench *bench, const struct ci_bench_setup *setup) {
    struct ci_engine_flags flags;
    struct ci_bench_samples starts[2] = {{0}, {0}};
    const struct ci_bench_bound none = {0};
    enum clinfer_status status = CLINFER_OK;
    set_flags(bench, setup, &flags);
    run_starts(bench, &flags, starts);
    if (!bench->target.engine || !same_engine(setup, &bench->opened)) {
        close_target(bench);
        tell(bench, setup->model ? setup->model : "model", "loading");
        if (!ci_interrupted()) status = ci_bench_target_open(&flags, &bench->target);
        if (status != CLINFER_OK) failed(bench, status, "");
        if (status != CLINFER_OK) ci_bench_target_close(&bench->target);
        bench->opened = *setup;
        bench->limits = (struct ci_bench_limits){0};
    }
    for (size_t i = 0; i < bench->test_count && bench->target.engine && !ci_interrupted() && !ci_output_failed(); i++) {
        const struct ci_bench_test *test = &bench->tests[i];
        char label[CI_BENCH_LABEL];
        if (test->kind != CI_BENCH_RATE) {
            const struct ci_bench_samples *samples = &starts[test->kind == CI_BENCH_START_WARM];
            if (samples->count) print_row(bench, setup, test, samples, &none);
            continue;
        }
        bench->number++;
        status = run_test(bench, setup, test);
        ci_bench_label(test, label);
        if (status != CLINFER_OK && status != CLINFER_CANCELLED) failed(bench, status, label);
    }
    for (int i = 0; i < 2; i++) {
        free(starts[i].ns);
        free(starts[i].first_ns);
    }
}

/* ---- the command ---- */

/* The places of a mixed-radix number: the last list goes round first, so that what takes longest to change, the model,
 * changes least. */
enum { BY_MODEL, BY_LAYERS, BY_DEVICE, BY_BATCH, BY_MICRO_BATCH, BY_KEY, BY_VALUE, BY_THREADS, DIMENSIONS };

static size_t at_least_one(size_t count) { return count ? count : 1; }

static void run_setups(struct bench *bench) {
    const size_t counts[DIMENSIONS] = {[BY_MODEL] = at_least_one(bench->models.count),
                                       [BY_LAYERS] = bench->layers.count,
                                       [BY_DEVICE] = at_least_one(bench->devices.count),
                                       [BY_BATCH] = bench->batches.count,
                                       [BY_MICRO_BATCH] = bench->micro_batches.count,
                                       [BY_KEY] = bench->key_types.count,
                                       [BY_VALUE] = bench->value_types.count,
                                       [BY_THREADS] = bench->threads.count};
    size_t total = 1;
    for (int i = 0; i < DIMENSIONS; i++) total *= counts[i];
    bench->total = total * bench->test_count;
    for (size_t number = 0; number < total && !ci_interrupted() && !ci_output_failed(); number++) {
        size_t at[DIMENSIONS], rest = number;
        for (int i = DIMENSIONS - 1; i >= 0; rest /= counts[i--]) at[i] = rest % counts[i];
        const struct ci_bench_setup setup = {
            .model = bench->models.count ? bench->models.items[at[BY_MODEL]] : NULL,
            .device = bench->devices.count ? bench->devices.items[at[BY_DEVICE]] : NULL,
            .layers = bench->layers.items[at[BY_LAYERS]],
            .batch = bench->batches.items[at[BY_BATCH]],
            .micro_batch = bench->micro_batches.items[at[BY_MICRO_BATCH]],
            .threads = bench->threads.items[at[BY_THREADS]],
            .key_type = ci_bench_choice(CI_CACHE_TYPES, bench->key_types.items[at[BY_KEY]]),
            .value_type = ci_bench_choice(CI_CACHE_TYPES, bench->value_types.items[at[BY_VALUE]])};
        run_setup(bench, &setup);
    }
    close_target(bench);
}

/* Flags that mean nothing to a server elsewhere, but would be missed. */
static enum clinfer_status check_server_flags(const struct bench *bench) {
    const struct {
        const char *name;
        bool given;
    } all[] = {{"-pg", bench->pair_texts.count > 0},
               {"-d", bench->depth_texts.count > 0},
               {"-npl", bench->sequence_texts.count > 0},
               {"--load", bench->start},
               {"--all", bench->all},
               {"-t", bench->thread_texts.count > 0},
               {"--device", bench->device_texts.count > 0},
               {"-ngl", bench->layer_texts.count > 0},
               {"-oe", bench->error_format != CI_BENCH_NONE},
               {"-o sql", bench->format + CI_BENCH_MD == CI_BENCH_SQL}};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        if (all[i].given) return ci_fail(CLINFER_INVALID_ARGUMENT, "%s has no meaning with --server", all[i].name);
    return bench->model_texts.count <= 1 ? CLINFER_OK
                                         : ci_fail(CLINFER_INVALID_ARGUMENT, "-m: one model at a time with --server");
}

static int run_server(struct bench *bench) {
    enum clinfer_status status = check_server_flags(bench);
    if (status != CLINFER_OK) return ci_complain(status);
    return ci_bench_server_run(&bench->server, bench->model_texts.count ? bench->model_texts.items[0] : NULL,
                               &bench->prompt_texts, &bench->generated_texts, !bench->no_warmup,
                               (enum ci_bench_format)(bench->format + CI_BENCH_MD));
}

static int run_bench(struct bench *bench) {
    if (bench->server.url) return run_server(bench);
    enum clinfer_status status = read_lists(bench);
    if (status == CLINFER_OK) status = make_tests(bench);
    if (status == CLINFER_OK) status = ci_record_check(&bench->record);
    if (status != CLINFER_OK) return ci_complain(status);
    /* In words of their own "0/cpu": as --device takes them elsewhere. */
    for (size_t i = 0; i < bench->devices.count; i++)
        for (char *at = bench->devices.items[i]; (at = strchr(at, '/'));) *at = ',';
    const struct ci_bench_columns columns = {.layers = bench->layer_texts.count > 0,
                                             .batch = bench->batch_texts.count > 0,
                                             .micro_batch = bench->micro_batch_texts.count > 0,
                                             .type_k = bench->key_texts.count > 0,
                                             .type_v = bench->value_texts.count > 0,
                                             .devices = bench->device_texts.count > 0};
    bench->printers[0] =
        (struct ci_bench_printer){.format = (enum ci_bench_format)(bench->format + CI_BENCH_MD), .columns = columns};
    bench->printers[1] = (struct ci_bench_printer){
        .format = (enum ci_bench_format)bench->error_format, .columns = columns, .to_stderr = true};
    ci_interrupt_start();
    run_setups(bench);
    ci_progress(NULL);
    for (int i = 0; i < 2; i++) ci_bench_print_end(&bench->printers[i]);
    if (!ci_interrupted()) return bench->exit_status;
    ci_say("cancelled");
    return ci_exit_status(CLINFER_CANCELLED);
}

int ci_command_bench(int argc, char **argv) {
    struct bench bench = {.flags = CI_ENGINE_FLAGS_DEFAULT, .server = CI_BENCH_SERVER_FLAGS_DEFAULT, .repetitions = 5};
    const struct ci_option options[] = {
        CI_SECTION("Tests: each of these flags takes several values, \"512,128\", ranges, \"1-8\", \"0-4096+512\", "
                   "\"64-1024*2\", and may come again"),
        CI_TEXTS("-p --n-prompt", &bench.prompt_texts, "N", "tokens of prompt: rows pp N (512; 0: none)"),
        CI_TEXTS("-n --n-gen", &bench.generated_texts, "N", "tokens generated: rows tg N (128; 0: none)"),
        CI_TEXTS("-pg", &bench.pair_texts, "P,N", "a prompt of P tokens, then N generated: a row ppP+tgN"),
        CI_TEXTS("-d --n-depth", &bench.depth_texts, "N", "tokens that the context holds before the test (0)"),
        CI_TEXTS("-npl --sequences", &bench.sequence_texts, "N",
                 "so many conversations at once, at most 64: rows tg N x S, in tokens per second of all together, at a "
                 "depth of 512 unless -d says another"),
        CI_FLAG("--load", &bench.start,
                "rows \"start cold\" and \"start warm\": a process of its own, from its start to its first token of a "
                "prompt of 32; cold: nothing compiled, the model's file not in memory; warm: the next ones"),
        CI_FLAG("--all", &bench.all, "--load and -npl 1,2,4,8,16,64 too"),
        CI_SECTION("What runs them: also lists"),
        CI_TEXTS("-m --model", &bench.model_texts, "MODEL", "as for clinfer run, with the same default"),
        CI_HUB_OPTIONS(&bench.flags.from),
        CI_TEXTS("--device -dev", &bench.device_texts, "DEVICE",
                 "as for clinfer run; 0,cpu is one after the other, 0/cpu both together"),
        CI_TEXTS("-ngl --gpu-layers --n-gpu-layers", &bench.layer_texts, "N",
                 "layers on the device, the others on the CPU (-1: all that fit)"),
        CI_TEXTS("-t --threads", &bench.thread_texts, "N", "threads of the CPU backend (processors)"),
        CI_TEXTS("-b --batch-size", &bench.batch_texts, "N", "tokens computed in one step at most (2048)"),
        CI_TEXTS("-ub --ubatch-size", &bench.micro_batch_texts, "N", "the same; the smaller of both counts (512)"),
        CI_TEXTS("-ctk --cache-type-k", &bench.key_texts, CI_CACHE_TYPES, "type of the keys in the KV cache (f16)"),
        CI_TEXTS("-ctv --cache-type-v", &bench.value_texts, CI_CACHE_TYPES, "type of the values there (f16)"),
        CI_TEXTS("-fa --flash-attn", &bench.attention_texts, "on|auto", "there is no other attention here"),
        CI_SECTION("Weights and kernels"),
        CI_TEXT("--type", &bench.flags.weight_type, "TYPE", "matrices of a SafeTensors folder, as for clinfer run"),
        CI_KERNEL_OPTIONS(&bench.flags),
        CI_BENCH_SERVER_OPTIONS(&bench.server),
        CI_SECTION("Course"),
        CI_INTEGER("-r --repetitions", &bench.repetitions, 1, 1000, "of each test (5)"),
        CI_NUMBER("--delay", &bench.delay, 0, 86400, "seconds to wait before each test"),
        CI_FLAG("--no-warmup", &bench.no_warmup, "no run before the timed ones: what is built at first use counts"),
        CI_FLAG("--progress", &bench.progress, "a line on standard error for each step"),
        CI_SECTION("Output"),
        CI_CHOICE("-o --output", &bench.format, CI_BENCH_FORMATS,
                  "the rows on standard output, as a table (md) or data"),
        CI_CHOICE("-oe --output-err", &bench.error_format, "none|" CI_BENCH_FORMATS, "the same on standard error too"),
        CI_RECORD_OPTIONS(&bench.record),
        CI_LOG_OPTIONS(&bench.log),
    };
    const struct ci_usage usage = {
        .command = "bench",
        .synopsis = "[options]",
        .about =
            "Measures how fast a model is here, as llama-bench does and with its flags and fields: random tokens, a\n"
            "warm-up, then means and deviations over repetitions. Without flags: a prompt of 512 tokens and 128\n"
            "generated ones. Every row also says how near that comes to the limit of this machine: the time that\n"
            "reading the weights and the KV cache, or the arithmetic, would take at the best speed measured in this\n"
            "process just before and after the test. `load` is what opening the model took here, `peak memory` the "
            "most\n"
            "that the process had in memory during the test. docs/benchmarks.md has more. With --server: how\n"
            "fast a server answers, as its clients see it.",
        .examples = "  clinfer bench\n  clinfer bench -m a.gguf,b.gguf --device cpu,0 -p 128-1024*2 -n 64 -r 3\n"
                    "  clinfer bench -p 0 -n 32 -npl 1,2,4,8 -d 512\n  clinfer bench -pg 512,128 -d 0,4096 -o csv\n"
                    "  clinfer bench --all -o sql | sqlite3 bench.db\n"
                    "  clinfer bench --server http://127.0.0.1:8080 --concurrency 1,4,16 -p 128 -n 64",
        .options = options,
        .option_count = sizeof options / sizeof *options,
    };
    int exit_status = ci_options_parse(&usage, argc, argv, NULL);
    if (exit_status == CI_OPTIONS_GO_ON) {
        enum clinfer_status status = ci_log_start(&bench.log);
        exit_status = status == CLINFER_OK ? run_bench(&bench) : ci_exit_status(status);
        ci_log_end();
    }
    free_lists(&bench);
    return exit_status;
}
