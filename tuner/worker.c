/* worker.c: the tuner's side of worker.h: starts the worker when it is needed, asks, and watches the clock and the
 * worker's memory while it waits. Whatever becomes of the worker is the outcome of the trial that it was at; the next
 * request starts another one. */
#define _GNU_SOURCE
#include "tuner/worker.h"

#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/child.h"
#include "base/clock.h"
#include "base/status.h"
#include "tuner/worker_wire.h"

/* Seconds: of loading a driver, unless told otherwise; of making a problem's data, which is no candidate's fault;
 * between two looks at the worker's memory (a kernel that runs away takes some 100 MB in that time); for the worker to
 * take a line, and to end by itself. */
static const double start_seconds = 60, preparing_seconds = 60, look_seconds = 0.02, send_seconds = 10, end_seconds = 2;

struct ci_worker {
    struct ci_worker_options options;
    char *path;
    struct ci_dialogue dialogue;
    uint64_t memory; /* that it may have; 0: nobody knows how much there is */
    bool noted;      /* it has said something about the last request, */
    bool prepared;   /* and came as far as its candidate */
};

enum clinfer_status ci_worker_create(const struct ci_worker_options *options, struct ci_worker **out) {
    *out = NULL;
    struct ci_worker *worker = calloc(1, sizeof *worker);
    const char *path = getenv("CLINFER_WORKER");
    if (worker) worker->path = path && *path ? strdup(path) : realpath("/proc/self/exe", NULL);
    if (!worker || !worker->path) {
        free(worker);
        return ci_fail(CLINFER_OUT_OF_MEMORY, "out of memory for the tuner's worker");
    }
    worker->options = *options;
    if (worker->options.start_seconds <= 0) worker->options.start_seconds = start_seconds;
    /* Half of what could be had now without swapping. */
    worker->memory = options->memory ? options->memory : ci_proc_bytes("/proc/meminfo", "MemAvailable:") / 2;
    *out = worker;
    return CLINFER_OK;
}

void ci_worker_destroy(struct ci_worker *worker) {
    if (!worker) return;
    ci_dialogue_end(&worker->dialogue, end_seconds);
    free(worker->path);
    free(worker);
}

int ci_worker_process(const struct ci_worker *worker) { return (int)worker->dialogue.process; }

/* ---- asking ---- */

static void conclude(struct ci_trial *trial, enum ci_trial_outcome outcome, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
static void conclude(struct ci_trial *trial, enum ci_trial_outcome outcome, const char *format, ...) {
    va_list arguments;
    trial->outcome = outcome;
    va_start(arguments, format);
    vsnprintf(trial->reason, sizeof trial->reason, format, arguments);
    va_end(arguments);
}

static void tell_end(const struct ci_dialogue *dialogue, const char *doing, struct ci_trial *trial) {
    if (dialogue->signal == SIGKILL)
        conclude(trial, CI_TRIAL_OUT_OF_MEMORY, "killed while %s, as the system does when memory runs out", doing);
    else if (dialogue->signal)
        conclude(trial, CI_TRIAL_CRASHED, "%s while %s", strsignal(dialogue->signal), doing);
    else
        conclude(trial, CI_TRIAL_CRASHED, "the process ended with status %d while %s", dialogue->exit_status, doing);
}

/* The next line that is no note, as JSON; NULL: there will be none, *trial tells why and the worker is gone. The clock
 * starts anew when the worker is through with preparing. */
static json_t *wait_for_answer(struct ci_worker *worker, double seconds, double preparing, struct ci_trial *trial) {
    struct ci_dialogue *dialogue = &worker->dialogue;
    double allowed = preparing > seconds ? preparing : seconds, deadline = ci_now() + allowed;
    char doing[64] = "starting";
    for (;;) {
        const char *line;
        double left = deadline - ci_now();
        enum ci_dialogue_event event =
            ci_dialogue_receive(dialogue, left < look_seconds ? left > 0 ? left : 0 : look_seconds, &line);
        if (event == CI_DIALOGUE_LINE) {
            json_t *json = json_loads(line, 0, NULL);
            const char *said = json_string_value(json_object_get(json, "note"));
            if (json && !said) return json;
            if (said) snprintf(doing, sizeof doing, "%s", said);
            worker->noted = worker->noted || said;
            if (said && !worker->prepared && strcmp(said, CI_WIRE_PREPARING) != 0) {
                worker->prepared = true;
                allowed = seconds;
                deadline = ci_now() + allowed;
            }
            json_decref(json);
            if (said) continue;
            conclude(trial, CI_TRIAL_CRASHED, "an answer that makes no sense while %s", doing);
            break;
        }
        if (event == CI_DIALOGUE_ENDED) {
            ci_dialogue_end(dialogue, 0);
            tell_end(dialogue, doing, trial);
            break;
        }
        uint64_t used = ci_process_resident_bytes(dialogue->process);
        if (worker->memory && used > worker->memory) {
            conclude(trial, CI_TRIAL_OUT_OF_MEMORY, "%llu MB of memory while %s, of %llu MB allowed",
                     (unsigned long long)(used >> 20), doing, (unsigned long long)(worker->memory >> 20));
            break;
        }
        if (ci_now() >= deadline) {
            conclude(trial, CI_TRIAL_TIMED_OUT, "no end within %.3g s while %s", allowed, doing);
            break;
        }
    }
    ci_dialogue_end(dialogue, 0);
    if (!worker->prepared) trial->outcome = CI_TRIAL_UNUSABLE; /* no candidate has run */
    return NULL;
}

/* Takes over `request`. */
static json_t *ask(struct ci_worker *worker, json_t *request, double seconds, double preparing,
                   struct ci_trial *trial) {
    char *line = request ? json_dumps(request, JSON_COMPACT) : NULL;
    json_t *answer = NULL;
    json_decref(request);
    worker->noted = worker->prepared = false;
    if (!line) {
        conclude(trial, CI_TRIAL_UNUSABLE, "out of memory for a request to the tuner's worker");
    } else if (ci_dialogue_send(&worker->dialogue, line, send_seconds) == CLINFER_OK) {
        answer = wait_for_answer(worker, seconds, preparing, trial);
    } else {
        ci_dialogue_end(&worker->dialogue, end_seconds);
        tell_end(&worker->dialogue, "starting", trial);
        trial->outcome = CI_TRIAL_UNUSABLE;
    }
    free(line);
    if (!answer) ci_dialogue_end(&worker->dialogue, 0);
    return answer;
}

static enum clinfer_status start(struct ci_worker *worker) {
    static const char *const arguments[] = {"clinfer", "tune_worker", NULL};
    struct ci_trial trial = {0};
    if (worker->dialogue.process > 0) return CLINFER_OK;
    enum clinfer_status status = ci_dialogue_start(worker->path, arguments, NULL, &worker->dialogue);
    if (status != CLINFER_OK) return status;
    json_t *answer = ask(worker,
                         json_pack("{ss si si sI so*}", "do", "start", "device", worker->options.device, "threads",
                                   worker->options.threads, "memory", (json_int_t)worker->memory, "clblast",
                                   ci_wire_clblast(&worker->options.clblast)),
                         worker->options.start_seconds, 0, &trial);
    if (!answer) return ci_fail(CLINFER_DEVICE_ERROR, "the tuner's worker does not start: %s", trial.reason);
    status = (enum clinfer_status)json_integer_value(json_object_get(answer, "status"));
    if (status != CLINFER_OK && ci_wire_read_trial(json_object_get(answer, "trial"), &trial) == CLINFER_OK)
        ci_fail(status, "%s", trial.reason);
    json_decref(answer);
    if (status != CLINFER_OK) ci_dialogue_end(&worker->dialogue, end_seconds);
    return status;
}

/* Asks a worker that runs; *answer is NULL when only *trial says what became of it. Takes over `request`. */
static enum clinfer_status request_trial(struct ci_worker *worker, json_t *request, double seconds, json_t **answer,
                                         struct ci_trial *trial) {
    enum clinfer_status status = CLINFER_OK;
    *answer = NULL;
    /* A worker that had ended while nothing was asked of it, whoever killed it, costs nobody a trial. */
    for (bool again = worker->dialogue.process > 0;; again = false) {
        *trial = (struct ci_trial){0};
        status = start(worker);
        if (status == CLINFER_OK) *answer = ask(worker, json_incref(request), seconds, preparing_seconds, trial);
        if (status != CLINFER_OK || *answer || worker->noted || !again) break;
    }
    json_decref(request);
    if (!*answer) return status;
    if (ci_wire_read_trial(json_object_get(*answer, "trial"), trial) != CLINFER_OK)
        conclude(trial, CI_TRIAL_CRASHED, "an answer that makes no sense");
    if (json_is_true(json_object_get(*answer, "leaving"))) ci_dialogue_end(&worker->dialogue, end_seconds);
    return CLINFER_OK;
}

/* ---- the requests ---- */

static enum clinfer_status request_candidate(struct ci_worker *worker, const char *what,
                                             const struct ci_problem *problem,
                                             const struct ci_tuner_candidate *candidate, double deadline_seconds,
                                             struct ci_trial *trial) {
    json_t *answer, *request = json_pack("{ss so so}", "do", what, "problem", ci_wire_problem(problem), "candidate",
                                         ci_wire_candidate(candidate));
    enum clinfer_status status = request_trial(worker, request, deadline_seconds, &answer, trial);
    json_decref(answer);
    return status;
}

enum clinfer_status ci_worker_try(struct ci_worker *worker, const struct ci_problem *problem,
                                  const struct ci_tuner_candidate *candidate, double deadline_seconds,
                                  struct ci_trial *trial) {
    return request_candidate(worker, "try", problem, candidate, deadline_seconds, trial);
}

enum clinfer_status ci_worker_build(struct ci_worker *worker, const struct ci_problem *problem,
                                    const struct ci_tuner_candidate *candidate, double deadline_seconds,
                                    struct ci_trial *trial) {
    return request_candidate(worker, "build", problem, candidate, deadline_seconds, trial);
}

enum clinfer_status ci_worker_compare(struct ci_worker *worker, const struct ci_problem *problem,
                                      const struct ci_tuner_candidate *candidates, int count, int rounds,
                                      double deadline_seconds, double *samples, struct ci_trial *trial) {
    json_t *answer, *list = json_array();
    for (int i = 0; i < count; i++) json_array_append_new(list, ci_wire_candidate(&candidates[i]));
    json_t *request = json_pack("{ss so so si}", "do", "compare", "problem", ci_wire_problem(problem), "candidates",
                                list, "rounds", rounds);
    enum clinfer_status status = request_trial(worker, request, deadline_seconds, &answer, trial);
    if (status == CLINFER_OK && trial->outcome == CI_TRIAL_PASSED &&
        !ci_wire_read_numbers(json_object_get(answer, "samples"), samples, (size_t)count * (size_t)rounds))
        conclude(trial, CI_TRIAL_CRASHED, "an answer that makes no sense");
    json_decref(answer);
    return status;
}

enum clinfer_status ci_worker_measure(struct ci_worker *worker, uint64_t bytes, double deadline_seconds,
                                      struct ci_profile_device *measured, struct ci_trial *trial) {
    json_t *answer, *request = json_pack("{ss sI}", "do", "measure", "bytes", (json_int_t)bytes);
    double numbers[7] = {0};
    enum clinfer_status status = request_trial(worker, request, deadline_seconds, &answer, trial);
    if (status == CLINFER_OK && trial->outcome == CI_TRIAL_PASSED &&
        !ci_wire_read_numbers(json_object_get(answer, "measured"), numbers, sizeof numbers / sizeof *numbers))
        conclude(trial, CI_TRIAL_CRASHED, "an answer that makes no sense");
    json_decref(answer);
    *measured = (struct ci_profile_device){.read_bytes_per_second = numbers[0],
                                           .operations_per_second = numbers[1],
                                           .dot8_operations_per_second = numbers[2],
                                           .launch_seconds = numbers[3],
                                           .wait_seconds = numbers[4],
                                           .crossing_seconds = numbers[5],
                                           .crossing_bytes_per_second = numbers[6]};
    return status;
}

/* *rounds: how many there are in the array, at most as many as it says before. */
static bool read_rounds(const json_t *array, double *numbers, int *rounds) {
    size_t count = json_array_size(array);
    if (!json_is_array(array) || count % 2 != 0 || count > 2 * (size_t)*rounds) return false;
    *rounds = (int)(count / 2);
    return ci_wire_read_numbers(array, numbers, count);
}

/* NULL is no word. */
static json_t *two_words(const char *const words[2]) {
    return json_pack("[ss]", words[0] ? words[0] : "", words[1] ? words[1] : "");
}

enum clinfer_status ci_worker_model(struct ci_worker *worker, struct ci_worker_model *model, double deadline_seconds,
                                    struct ci_trial *trial) {
    json_t *answer,
        *request = json_pack("{ss ss so so so si si sf sf sf si si}", "do", "model", "model", model->model, "tunings",
                             two_words(model->tunings), "caches", two_words(model->caches), "devices",
                             two_words(model->devices), "context", model->context, "prompt", model->prompt, "seconds",
                             model->seconds, "rounds_seconds", model->rounds_seconds, "give_up", model->give_up,
                             "decode_rounds", model->decode_rounds, "prefill_rounds", model->prefill_rounds);
    enum clinfer_status status = request_trial(worker, request, deadline_seconds, &answer, trial);
    if (status == CLINFER_OK && trial->outcome == CI_TRIAL_PASSED &&
        (!read_rounds(json_object_get(answer, "decode"), model->decode, &model->decode_rounds) ||
         !read_rounds(json_object_get(answer, "prefill"), model->prefill, &model->prefill_rounds)))
        conclude(trial, CI_TRIAL_CRASHED, "an answer that makes no sense");
    json_decref(answer);
    return status;
}

enum clinfer_status ci_worker_steps(struct ci_worker *worker, const char *model, const char *tuning, int context,
                                    double deadline_seconds, struct ci_profile_steps *steps, struct ci_trial *trial) {
    json_t *answer,
        *request = json_pack("{ss ss ss si}", "do", "steps", "model", model, "tuning", tuning, "context", context);
    enum clinfer_status status = request_trial(worker, request, deadline_seconds, &answer, trial);
    *steps = (struct ci_profile_steps){0};
    if (status == CLINFER_OK && trial->outcome == CI_TRIAL_PASSED &&
        !ci_wire_read_numbers(json_object_get(answer, "steps"), steps->seconds, CI_PROFILE_STEPS))
        conclude(trial, CI_TRIAL_CRASHED, "an answer that makes no sense");
    json_decref(answer);
    return status;
}
