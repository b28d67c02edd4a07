/* worker_main.c: the worker's side of worker.h: one request, some notes of what it is at, one answer.
 *
 * Drivers print to stdout, so the lines of the dialogue go over a descriptor of their own. A process that may eat all
 * memory is the first to be killed by the kernel, and leaves no core. When the tuner is gone, this process ends too,
 * even in the middle of a kernel that never does. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "base/narrow.h"
#include "base/status.h"
#include "base/threads.h"
#include "proof/measure.h"
#include "tuner/bench.h"
#include "tuner/worker_wire.h"

struct work {
    int lines; /* the dialogue's descriptor, both ways */
    FILE *requests;
    struct ci_bench *bench;
    struct ci_bench_options options;
};

/* ---- the process ---- */

/* The kernel's memory killer takes this process first. Not allowed, as in some containers: then it may not. */
static void ask_to_be_killed_first(void) {
    int file = open("/proc/self/oom_score_adj", O_WRONLY | O_CLOEXEC);
    if (file < 0) return;
    ssize_t written = write(file, "1000", 4);
    (void)written;
    close(file);
}

/* Ends the process when nobody listens any more; a moment later, so that who can end by itself does. */
static void *watch(void *argument) {
    const struct work *work = argument;
    struct pollfd wait = {.fd = work->lines, .events = POLLRDHUP};
    while (poll(&wait, 1, -1) < 0 && errno == EINTR) continue;
    poll(NULL, 0, 1000);
    _exit(0);
}

static bool set_up(struct work *work) {
    const struct rlimit no_core = {0, 0};
    pthread_t watcher;
    work->lines = fcntl(STDIN_FILENO, F_DUPFD_CLOEXEC, STDERR_FILENO + 1);
    int null = open("/dev/null", O_RDWR | O_CLOEXEC);
    if (work->lines < 0 || null < 0) return false;
    dup2(null, STDIN_FILENO);
    dup2(null, STDOUT_FILENO);
    close(null);
    setrlimit(RLIMIT_CORE, &no_core);
    ask_to_be_killed_first();
    work->requests = fdopen(work->lines, "re");
    if (!work->requests) return false;
    if (pthread_create(&watcher, NULL, watch, work) == 0) pthread_detach(watcher);
    return true;
}

/* ---- the dialogue ---- */

/* Takes over `json`. Whoever reads may be gone: then the watcher ends all this. */
static void say(const struct work *work, json_t *json) {
    char *text = json ? json_dumps(json, JSON_COMPACT) : NULL;
    json_decref(json);
    if (!text) _exit(1);
    size_t length = strlen(text);
    text[length++] = '\n';
    for (size_t done = 0; done < length;) {
        ssize_t sent = write(work->lines, text + done, length - done);
        if (sent < 0 && errno == EINTR) continue;
        if (sent < 0) _exit(1);
        done += (size_t)sent;
    }
    free(text);
}

static void note(void *user, const char *what) { say(user, json_pack("{ss}", "note", what)); }

/* The answer to what makes no sense. */
static json_t *failure(enum clinfer_status status) {
    struct ci_trial trial = {.outcome = CI_TRIAL_UNUSABLE};
    snprintf(trial.reason, sizeof trial.reason, "%s", ci_status_message());
    return json_pack("{si so}", "status", (int)status, "trial", ci_wire_trial(&trial));
}

static json_t *start(struct work *work, const json_t *request) {
    json_int_t memory;
    work->options = (struct ci_bench_options){.tell = note, .user = work};
    if (json_unpack((json_t *)(uintptr_t)request, "{si si sI}", "device", &work->options.device, "threads",
                    &work->options.threads, "memory", &memory) != 0)
        return failure(ci_fail(CLINFER_INVALID_ARGUMENT, "start lacks a field"));
    work->options.memory = (uint64_t)memory;
    enum clinfer_status status = ci_wire_read_clblast(json_object_get(request, "clblast"), &work->options.clblast);
    if (status == CLINFER_OK) status = ci_bench_create(&work->options, &work->bench);
    return status == CLINFER_OK ? json_pack("{si}", "status", (int)CLINFER_OK) : failure(status);
}

typedef void candidate_function(struct ci_bench *bench, const struct ci_problem *problem,
                                const struct ci_tuner_candidate *candidate, struct ci_trial *trial);

static json_t *with_candidate(struct work *work, const json_t *request, candidate_function *function) {
    struct ci_problem problem;
    struct ci_tuner_candidate candidate;
    struct ci_trial trial;
    enum clinfer_status status = ci_wire_read_problem(json_object_get(request, "problem"), &problem);
    if (status == CLINFER_OK)
        status = ci_wire_read_candidate(json_object_get(request, "candidate"), problem.op, &candidate);
    if (status != CLINFER_OK) return failure(status);
    function(work->bench, &problem, &candidate, &trial);
    return json_pack("{si so}", "status", (int)CLINFER_OK, "trial", ci_wire_trial(&trial));
}

static json_t *try(struct work *work, const json_t *request) { return with_candidate(work, request, ci_bench_try); }

static json_t *build(struct work *work, const json_t *request) { return with_candidate(work, request, ci_bench_build); }

static json_t *numbers(const double *values, int count) {
    json_t *array = json_array();
    for (int i = 0; i < count; i++) json_array_append_new(array, ci_wire_number(values[i]));
    return array;
}

static json_t *compare(struct work *work, const json_t *request) {
    struct ci_problem problem;
    struct ci_trial trial;
    const json_t *list = json_object_get(request, "candidates");
    int count, rounds;
    if (!ci_narrow(json_array_size(list), &count) ||
        !ci_wire_read_rounds(json_object_get(request, "rounds"), &rounds) ||
        (int64_t)count * rounds > CI_WIRE_MOST_ROUNDS)
        return failure(ci_fail(CLINFER_INVALID_ARGUMENT, "compare lacks candidates or rounds"));
    struct ci_tuner_candidate *candidates = calloc((size_t)count + 1, sizeof *candidates);
    double *samples = calloc((size_t)count * (size_t)rounds + 1, sizeof *samples);
    json_t *reply;
    enum clinfer_status status = ci_wire_read_problem(json_object_get(request, "problem"), &problem);
    if (!candidates || !samples) status = ci_fail(CLINFER_OUT_OF_MEMORY, "out of memory");
    for (int i = 0; i < count && status == CLINFER_OK; i++)
        status = ci_wire_read_candidate(json_array_get(list, (size_t)i), problem.op, &candidates[i]);
    if (status == CLINFER_OK) {
        ci_bench_compare(work->bench, &problem, candidates, count, rounds, samples, &trial);
        reply = json_pack("{si so so}", "status", (int)CLINFER_OK, "trial", ci_wire_trial(&trial), "samples",
                          numbers(samples, count * rounds));
    } else {
        reply = failure(status);
    }
    free(candidates);
    free(samples);
    return reply;
}

static json_t *measure(struct work *work, const json_t *request) {
    struct ci_profile_device measured = {0};
    struct ci_trial trial = {0};
    uint64_t bytes = (uint64_t)json_integer_value(json_object_get(request, "bytes"));
    note(work, "measuring");
    enum clinfer_status status =
        ci_measure(ci_bench_device(work->bench), ci_bench_threads(work->bench), bytes, &measured);
    ci_bench_conclude(work->bench, status, &trial);
    return json_pack("{si so s[ooooooo]}", "status", (int)CLINFER_OK, "trial", ci_wire_trial(&trial), "measured",
                     ci_wire_number(measured.read_bytes_per_second), ci_wire_number(measured.operations_per_second),
                     ci_wire_number(measured.dot8_operations_per_second), ci_wire_number(measured.launch_seconds),
                     ci_wire_number(measured.wait_seconds), ci_wire_number(measured.crossing_seconds),
                     ci_wire_number(measured.crossing_bytes_per_second));
}

static json_t *model(struct work *work, const json_t *request) {
    struct ci_worker_model what = {0};
    struct ci_trial trial = {0};
    if (json_unpack((json_t *)(uintptr_t)request, "{ss s[ss] s[ss] s[ss] si si sF sF sF}", "model", &what.model,
                    "tunings", &what.tunings[0], &what.tunings[1], "caches", &what.caches[0], &what.caches[1],
                    "devices", &what.devices[0], &what.devices[1], "context", &what.context, "prompt", &what.prompt,
                    "seconds", &what.seconds, "rounds_seconds", &what.rounds_seconds, "give_up", &what.give_up) != 0)
        return failure(ci_fail(CLINFER_INVALID_ARGUMENT, "model lacks a field"));
    for (int i = 0; i < 2; i++) {
        if (!*what.tunings[i]) what.tunings[i] = NULL;
        if (!*what.devices[i]) what.devices[i] = NULL;
    }
    if (!ci_wire_read_rounds(json_object_get(request, "decode_rounds"), &what.decode_rounds) ||
        !ci_wire_read_rounds(json_object_get(request, "prefill_rounds"), &what.prefill_rounds))
        return failure(ci_fail(CLINFER_INVALID_ARGUMENT, "rounds must be 0 to %d", CI_WIRE_MOST_ROUNDS));
    what.decode = calloc(2 * ((size_t)what.decode_rounds + (size_t)what.prefill_rounds) + 1, sizeof *what.decode);
    if (!what.decode) return failure(ci_fail(CLINFER_OUT_OF_MEMORY, "out of memory"));
    what.prefill = what.decode + 2 * (size_t)what.decode_rounds;
    ci_bench_forget(work->bench);
    ci_bench_conclude(work->bench, ci_bench_model(&work->options, &what), &trial);
    json_t *reply = json_pack("{si so so so}", "status", (int)CLINFER_OK, "trial", ci_wire_trial(&trial), "decode",
                              numbers(what.decode, 2 * what.decode_rounds), "prefill",
                              numbers(what.prefill, 2 * what.prefill_rounds));
    free(what.decode);
    return reply;
}

static json_t *steps(struct work *work, const json_t *request) {
    struct ci_worker_model what = {0};
    struct ci_profile_steps measured = {0};
    struct ci_trial trial = {0};
    if (json_unpack((json_t *)(uintptr_t)request, "{ss ss si}", "model", &what.model, "tuning", &what.tunings[0],
                    "context", &what.context) != 0)
        return failure(ci_fail(CLINFER_INVALID_ARGUMENT, "steps lacks a field"));
    ci_bench_forget(work->bench);
    ci_bench_conclude(work->bench, ci_bench_steps(&work->options, &what, &measured), &trial);
    return json_pack("{si so so}", "status", (int)CLINFER_OK, "trial", ci_wire_trial(&trial), "steps",
                     numbers(measured.seconds, CI_PROFILE_STEPS));
}

static json_t *answer(struct work *work, const json_t *request) {
    const struct {
        const char *name;
        json_t *(*handle)(struct work *work, const json_t *request);
    } requests[] = {{"start", start},     {"try", try},     {"build", build}, {"compare", compare},
                    {"measure", measure}, {"model", model}, {"steps", steps}};
    const char *what = json_string_value(json_object_get(request, "do"));
    for (size_t i = 0; what && i < sizeof requests / sizeof *requests; i++)
        if (strcmp(requests[i].name, what) == 0 && (work->bench || requests[i].handle == start))
            return requests[i].handle(work, request);
    return failure(ci_fail(CLINFER_INVALID_ARGUMENT, "no request that is known here"));
}

static void *serve(void *argument) {
    struct work *work = argument;
    char *line = NULL;
    size_t room = 0;
    while (getline(&line, &room, work->requests) > 0) {
        json_t *request = json_loads(line, 0, NULL);
        if (!request) break;
        json_t *reply = answer(work, request);
        /* A device that has failed may fail for all that follows: the tuner starts another worker. */
        bool leaving = work->bench && ci_bench_is_broken(work->bench);
        if (leaving && reply) json_object_set_new(reply, "leaving", json_true());
        say(work, reply);
        json_decref(request);
        if (leaving) _exit(0);
    }
    free(line);
    return NULL;
}

/* Kernels of the CPU backend run in the thread that answers, which has to have room for their tables. */
int ci_worker_main(void) {
    struct work work = {0};
    pthread_t thread;
    if (!set_up(&work) || ci_threads_start(&thread, serve, &work) != 0) return 1;
    pthread_join(thread, NULL);
    ci_bench_destroy(work.bench);
    fclose(work.requests);
    return 0;
}
