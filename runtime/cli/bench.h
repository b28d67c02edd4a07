/* bench.h: what the files of `clinfer bench` share.
 *
 * A bench goes through all combinations of what an engine is made with (setups) and, on each engine, through the tests.
 * One test on one setup gives one row of the output. */
#ifndef CI_CLI_BENCH_H
#define CI_CLI_BENCH_H

#include <clinfer.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#include "cli/engine_flags.h"
#include "cli/options.h"

enum { CI_BENCH_SEQUENCES = 64, CI_BENCH_START_PROMPT = 32, CI_BENCH_LABEL = 64 };

/* ---- bench_list.c: values of flags that take several ---- */

struct ci_bench_integers {
    long long *items;
    size_t count;
};

/* Numbers "512,128" and ranges "1-8", "512-4096+512", "64-1024*2" of all uses of a flag, in order, each from `least` to
 * `most`. CLINFER_INVALID_ARGUMENT names flag, value and what is wrong. Free the items in any case. */
enum clinfer_status ci_bench_integers(const char *flag, const struct ci_texts *texts, long long least, long long most,
                                      struct ci_bench_integers *list);

/* Words "a,b" of all uses, zero-terminated strings of their own. `choices` ("f16|f32"), unless NULL, are all there may
 * be. Free in any case. */
struct ci_bench_words {
    char **items;
    size_t count;
};
enum clinfer_status ci_bench_words(const char *flag, const struct ci_texts *texts, const char *choices,
                                   struct ci_bench_words *list);
void ci_bench_words_free(struct ci_bench_words *list);

/* The index of `word` in "f16|f32"; -1: it is none of them. */
int ci_bench_choice(const char *choices, const char *word);

/* ---- what is measured ---- */

enum ci_bench_kind {
    CI_BENCH_RATE,       /* tokens per second */
    CI_BENCH_START_COLD, /* a process of its own, to its first token: nothing in caches */
    CI_BENCH_START_WARM  /* the same once more */
};

/* `sequences` at once, each with `depth` tokens in its caches: a prompt of `prompt` tokens, then `generated`. */
struct ci_bench_test {
    enum ci_bench_kind kind;
    int prompt, generated, depth, sequences;
};

/* What an engine is made with and what bench has lists of. */
struct ci_bench_setup {
    const char *model;  /* as for ci_models_choose */
    const char *device; /* as for --device; NULL: auto */
    long long layers, batch, micro_batch, threads;
    int key_type, value_type; /* of enum clinfer_cache_type */
};

/* Of one test, one number for each repetition. */
struct ci_bench_samples {
    int64_t *ns;       /* [count] the test's time */
    int64_t *first_ns; /* [count] to the first token */
    int count;
    int64_t load_ns;    /* of the model */
    int64_t peak_bytes; /* of memory; -1: not known */
};

/* ---- bench_run.c: an engine under test ---- */

struct ci_bench_target {
    struct clinfer_engine *engine;
    struct ci_model_choice choice;
    struct clinfer_engine_info info;
    bool on_cpu, on_device; /* where steps of the plan for one row run */
    clinfer_session *sessions[CI_BENCH_SEQUENCES];
    int filled[CI_BENCH_SEQUENCES]; /* tokens of the common depth that the session's caches hold */
    int32_t *depth, *tokens;        /* [context + 1]: what the caches hold; that and what is new */
    uint64_t random_state;
    int32_t turn;
    bool told_limits; /* that they cannot be measured */
};

/* `flags` are complete and outlive the target. Close in any case. */
enum clinfer_status ci_bench_target_open(struct ci_engine_flags *flags, struct ci_bench_target *target);
void ci_bench_target_close(struct ci_bench_target *target);

/* Tokens that a test's context has to hold: one more than depth and prompt where tokens are generated, from which that
 * begins, or since as many steps as tokens lead to one more. */
long long ci_bench_needs(const struct ci_bench_test *test);

/* What lies behind the test's prompt is computed here; not part of its time. CLINFER_CONTEXT_FULL: more tokens than the
 * model can have. */
enum clinfer_status ci_bench_fill(struct ci_bench_target *target, const struct ci_bench_test *test);

/* Once, timed; CLINFER_CANCELLED after Ctrl-C. */
enum clinfer_status ci_bench_run(struct ci_bench_target *target, const struct ci_bench_test *test, int64_t *ns,
                                 int64_t *first_ns);

/* ---- bench_limit.c: how fast this machine could be ---- */

enum { CI_BENCH_PLACES = 4, CI_BENCH_UNITS = 3 };

/* One place where steps run, and what it reads and computes at best. Units: f32, integers of 8 and of 16 bits. 0: not
 * known. */
struct ci_bench_place {
    struct ci_device *device; /* NULL: the CPU backend */
    char name[128];
    bool used; /* by the plan for one row; else it is not measured */
    double read_bytes_per_second, operations_per_second[CI_BENCH_UNITS];
};

struct ci_bench_limits {
    struct ci_bench_place places[CI_BENCH_PLACES];
    int count;
    double measured_at; /* ci_now() */
};

/* The best time of a test, and what keeps it from being better. */
struct ci_bench_bound {
    double seconds;                                      /* 0: not known */
    bool reading;                                        /* memory, not arithmetic */
    double read_bytes_per_second, operations_per_second; /* of the place and the unit that do most; 0: not known */
};

/* Measures all places of the engine. What cannot be measured is 0; a device's failure is said once, as a warning. */
void ci_bench_limits_measure(struct ci_bench_target *target, struct ci_bench_limits *limits);

/* Means of two measurements, one before and one after the test. */
void ci_bench_limits_mean(const struct ci_bench_limits *before, const struct ci_bench_limits *after,
                          struct ci_bench_limits *mean);

enum clinfer_status ci_bench_limits_bound(const struct ci_bench_target *target, const struct ci_bench_limits *limits,
                                          const struct ci_bench_test *test, struct ci_bench_bound *bound);

/* ---- bench_start.c: a whole start, in a process of its own ---- */

/* Cold: with empty caches of compiled kernels, and the model's pages dropped from memory. Warm: as many starts more as
 * `repetitions` says, with the caches that the first has left. The samples are the caller's to free in any case. */
enum clinfer_status ci_bench_start(const struct ci_engine_flags *flags, int repetitions, struct ci_bench_samples *cold,
                                   struct ci_bench_samples *warm);

/* ---- bench_row.c: what the output says about a test ---- */

/* "pp512", "tg128", "pp512+tg128", "pp512 @ d1024", "tg128 @ d512 x8", "start cold". */
void ci_bench_label(const struct ci_bench_test *test, char text[CI_BENCH_LABEL]);

/* Texts are borrowed, or lie in the row itself, which is not to be copied. What is not known: NULL, -1, NAN. */
struct ci_bench_row {
    const char *build_commit; /* this and the next: set by ci_bench_print_row */
    int64_t build_number;
    const char *cpu_info, *gpu_info, *backends;
    const char *model_filename, *model_type;
    int64_t model_size, model_parameters, batch, micro_batch, threads;
    const char *type_k, *type_v;
    int64_t layers, flash_attention;
    const char *devices;
    int64_t prompt, generated, depth;
    const char *test_time;
    int64_t mean_ns, deviation_ns;
    double mean_rate, deviation_rate;
    const char *label;
    int64_t sequences;
    double share_of_limit, limit_rate;
    const char *limit; /* "read" or "compute" */
    double read_bytes_per_second, operations_per_second;
    int64_t first_ns, load_ns, peak_bytes;

    const struct ci_bench_samples *samples;
    int64_t tokens; /* of a repetition; 0: it has no rate */
    char label_text[CI_BENCH_LABEL], model_text[96], time_text[32];
};
void ci_bench_make_row(const struct ci_bench_target *target, const struct ci_bench_setup *setup,
                       const struct ci_bench_test *test, const struct ci_bench_samples *samples,
                       const struct ci_bench_bound *bound, struct ci_bench_row *row);

/* Tokens per second of one repetition; NAN: it has no rate. */
double ci_bench_sample_rate(const struct ci_bench_samples *samples, int i, int64_t tokens);

/* ---- bench_output.c: rows as tables of several kinds ---- */

enum ci_bench_format { CI_BENCH_NONE, CI_BENCH_MD, CI_BENCH_CSV, CI_BENCH_JSON, CI_BENCH_JSONL, CI_BENCH_SQL };
#define CI_BENCH_FORMATS "md|csv|json|jsonl|sql"

/* Columns that a table for people has only where they say something. */
struct ci_bench_columns {
    bool layers, batch, micro_batch, type_k, type_v, devices;
};

struct ci_bench_printer {
    enum ci_bench_format format;
    struct ci_bench_columns columns;
    bool to_stderr;

    /* of its own */
    bool any; /* rows so far */
    FILE *file;
    char *text;
    size_t size;
};
void ci_bench_print_row(struct ci_bench_printer *printer, struct ci_bench_row *row);

/* Behind the last row; without any row nothing is printed. */
void ci_bench_print_end(struct ci_bench_printer *printer);

#endif
