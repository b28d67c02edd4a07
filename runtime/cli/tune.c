/* tune.c: `clinfer tune`: finds out once which kernels are fastest and right on this machine. tuner/tune.h does it for
 * one device; this file knows devices, models, the terminal, and Ctrl-C. */
#define _GNU_SOURCE
#include <errno.h>
#include <math.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

#include "base/file.h"
#include "base/status.h"
#include "base/threads.h"
#include "cli/command.h"
#include "cli/models.h"
#include "cli/options.h"
#include "cli/output.h"
#include "cli/tune.h"
#include "engine/devices.h"

/* Seconds: of a tune, by how thorough it is to be; that one candidate may take; between two lines where there is no
 * terminal. */
static const double usual_budget = 60, quick_budget = 15, thorough_budget = 600;
static const double usual_candidate = 10, quick_candidate = 5, thorough_candidate = 30, line_seconds = 5;

enum { USUAL_ROUNDS = 5, QUICK_ROUNDS = 3, THOROUGH_ROUNDS = 9 };

struct tune {
    struct ci_texts models;
    struct ci_model_flags from;
    const char *device, *log_path;
    long long threads;
    double budget;
    bool quick, thorough, again, json, busy;
    struct ci_log_flags log;
    char **paths; /* of models */
    int path_count;
    struct ci_tune_device *devices;
    int device_count;
    FILE *trials;
    const struct ci_tune_device *current;
    double last_line;
};

/* ---- Ctrl-C ---- */

static volatile sig_atomic_t interrupts;

/* The candidate at hand is waited for, so that it does not pass for one that brought the machine down. Who cannot wait
 * presses again. */
static void on_signal(int signal_number) {
    if (++interrupts >= 3) {
        signal(signal_number, SIG_DFL);
        raise(signal_number);
    }
}

static void catch_signals(void) {
    static const int signals[] = {SIGINT, SIGTERM, SIGHUP};
    for (size_t i = 0; i < sizeof signals / sizeof *signals; i++) {
        struct sigaction before, action = {.sa_handler = on_signal, .sa_flags = SA_RESTART};
        if (sigaction(signals[i], NULL, &before) == 0 && before.sa_handler == SIG_IGN) continue;
        sigaction(signals[i], &action, NULL);
    }
}

static bool stopped(void *user) {
    (void)user;
    return interrupts > 0;
}

/* ---- what goes on ---- */

/* What matters stands first: a terminal may be too narrow for the rest. */
static void describe(const struct ci_tune_progress *progress, char *text, size_t size) {
    char problem[CI_TUNE_TEXT], candidate[CI_TUNE_TEXT], best[CI_AMOUNT_BYTES];
    size_t used = strlen(text);
    used += (size_t)snprintf(text + used, size - used, "%d tried", progress->tried);
    if (progress->refused) used += (size_t)snprintf(text + used, size - used, ", %d refused", progress->refused);
    if (progress->crashed) used += (size_t)snprintf(text + used, size - used, ", %d crashed", progress->crashed);
    used += (size_t)snprintf(text + used, size - used, "; %s", progress->doing);
    if (progress->problem)
        used += (size_t)snprintf(text + used, size - used, " %s",
                                 ci_tune_problem_text(&progress->problem->signature, problem));
    if (progress->best > 0)
        used += (size_t)snprintf(text + used, size - used, ", best %s", ci_format_seconds(progress->best, best));
    if (progress->best > 0 && progress->standard > 0)
        used += (size_t)snprintf(text + used, size - used, " (%.2fx)", progress->standard / progress->best);
    if (progress->candidate)
        snprintf(text + used, size - used, ": %s", ci_tune_candidate_text(progress->candidate, candidate));
}

static void bar(const struct ci_tune_progress *progress, char *text, size_t size) {
    enum { WIDTH = 12 };
    char cells[WIDTH + 1];
    int full = (int)(WIDTH * fmin(progress->elapsed / progress->budget, 1));
    for (int i = 0; i < WIDTH; i++) cells[i] = i < full ? '#' : '-';
    cells[WIDTH] = 0;
    snprintf(text, size, "[%s] %.0f/%.0f s ", cells, progress->elapsed, progress->budget);
}

static void on_progress(void *user, const struct ci_tune_progress *progress) {
    struct tune *tune = user;
    char text[1024] = "";
    bar(progress, text, sizeof text);
    describe(progress, text, sizeof text);
    if (ci_progress(text) || progress->elapsed < tune->last_line + line_seconds) return;
    tune->last_line = progress->elapsed;
    snprintf(text, sizeof text, "%.0f of %.0f s: ", progress->elapsed, progress->budget);
    describe(progress, text, sizeof text);
    ci_say("%s", text);
}

static void on_trial(void *user, const struct ci_tune_trial *trial) {
    const struct tune *tune = user;
    if (!tune->trials) return;
    json_t *object = ci_tune_trial_json(tune->current, trial);
    char *line = object ? json_dumps(object, JSON_COMPACT | JSON_REAL_PRECISION(9)) : NULL;
    json_decref(object);
    if (line) fprintf(tune->trials, "%s\n", line);
    free(line);
}

static void on_say(void *user, const char *text) {
    (void)user;
    ci_say("%s", text);
}

/* ---- devices and models ---- */

static void add_device(struct tune *tune, const struct ci_device_list *list, int index) {
    struct ci_tune_device *device = &tune->devices[tune->device_count++];
    int threads = tune->threads > 0 ? (int)tune->threads : ci_threads_default();
    *device = (struct ci_tune_device){.index = index};
    device->caps = (struct ci_caps){
        .cpu = ci_cpu_features(), .device = index >= 0 ? &list->caps[index] : NULL, .threads = threads};
    snprintf(device->name, sizeof device->name, "%s", index >= 0 ? list->caps[index].name : "cpu");
    snprintf(device->platform, sizeof device->platform, "%s",
             index >= 0 ? list->caps[index].platform : clinfer_cpu_isa());
}

static enum clinfer_status choose_devices(struct tune *tune, const struct ci_device_list *list) {
    tune->devices = calloc((size_t)list->count + 1, sizeof *tune->devices);
    if (!tune->devices) return ci_fail(CLINFER_OUT_OF_MEMORY, "out of memory for the devices");
    if (!tune->device) {
        /* The CPU backend first: devices are compared with it as it will run. */
        add_device(tune, list, -1);
        for (int i = 0; i < list->count; i++) add_device(tune, list, i);
        return CLINFER_OK;
    }
    struct ci_engine_devices picked;
    enum clinfer_status status = ci_engine_pick_devices(list, tune->device, &picked);
    for (int i = 0; i < picked.order_count && status == CLINFER_OK; i++)
        add_device(tune, list, ci_engine_picked(&picked, i));
    return status;
}

static enum clinfer_status no_memory(void) {
    return ci_fail(CLINFER_OUT_OF_MEMORY, "out of memory for the list of models");
}

/* Those in the models folder; none is no failure. */
static enum clinfer_status find_models(struct tune *tune) {
    struct ci_own_models own;
    enum clinfer_status status = ci_models_own(&own);
    if (status == CLINFER_OK) {
        tune->paths = own.paths;
        tune->path_count = (int)own.count;
        own.paths = NULL;
    }
    ci_models_own_free(&own);
    return status;
}

static enum clinfer_status choose_model(struct tune *tune, const char *named) {
    struct ci_model_choice choice;
    struct ci_model_flags from = tune->from;
    if (named) from.model = named;
    enum clinfer_status status = ci_models_choose(&from, &choice);
    if (status != CLINFER_OK) {
        ci_models_free(&choice);
        return status;
    }
    tune->paths[tune->path_count++] = choice.path;
    return CLINFER_OK;
}

/* Those that were named; else those that are there. */
static enum clinfer_status choose_models(struct tune *tune) {
    const char *variable = getenv("CLINFER_MODEL");
    size_t named = tune->models.count;
    bool flagged = tune->from.repo || tune->from.url || tune->from.file || tune->from.token;
    if (!named && !flagged && !(variable && *variable)) return find_models(tune);
    tune->paths = calloc(named + 1, sizeof *tune->paths);
    if (!tune->paths) return no_memory();
    enum clinfer_status status = CLINFER_OK;
    for (size_t i = 0; i < (named ? named : 1) && status == CLINFER_OK; i++)
        status = choose_model(tune, named ? tune->models.items[i] : NULL);
    return status;
}

/* Of all processors: from there on other programs take time from what is measured. */
static const double busy_share = 0.3;

static bool warn_of_load(void) {
    double load;
    long processors = sysconf(_SC_NPROCESSORS_ONLN);
    if (getloadavg(&load, 1) != 1 || processors < 1 || load <= busy_share * (double)processors) return false;
    ci_warn("the load average is %.1f on %ld processor%s: where other programs run less is measured and found, and how "
            "many "
            "threads are best is not asked; `clinfer tune --again` when they are through is surer",
            load, processors, processors == 1 ? "" : "s");
    return true;
}

static void announce(const struct tune *tune) {
    char what[64];
    if (tune->path_count == 0)
        snprintf(what, sizeof what, "the shapes of common models");
    else
        snprintf(what, sizeof what, "%d model%s", tune->path_count, tune->path_count == 1 ? "" : "s");
    ci_say("tuning %d device%s for %s: at most %.0f s%s%.0f s in all; Ctrl-C keeps what is known", tune->device_count,
           tune->device_count == 1 ? "" : "s", what, tune->budget, tune->device_count == 1 ? ", " : " each, ",
           tune->budget * tune->device_count);
}

/* ---- tuning ---- */

static void tune_device(struct tune *tune, struct ci_tune_device *device) {
    const struct ci_tune_options options = {.device = device->index,
                                            .caps = &device->caps,
                                            .threads = device->caps.threads,
                                            .models = (const char *const *)tune->paths,
                                            .model_count = tune->path_count,
                                            .budget = tune->budget,
                                            .candidate_seconds = tune->quick      ? quick_candidate
                                                                 : tune->thorough ? thorough_candidate
                                                                                  : usual_candidate,
                                            .rounds = tune->quick      ? QUICK_ROUNDS
                                                      : tune->thorough ? THOROUGH_ROUNDS
                                                                       : USUAL_ROUNDS,
                                            .busy = tune->busy,
                                            .thorough = tune->thorough,
                                            .again = tune->again,
                                            .seed = 1,
                                            .listener = {tune, stopped, on_progress, on_trial, on_say}};
    tune->current = device;
    tune->last_line = 0;
    ci_say("%s (%s)", device->name, device->platform);
    device->status = ci_tune(&options, &device->result);
    device->done = true;
    ci_progress(NULL);
    if (device->status == CLINFER_OK) return;
    snprintf(device->message, sizeof device->message, "%s", clinfer_error());
    ci_refuse(device->status, "%s (%s): %s", device->name, device->platform, device->message);
}

static int tune_devices(struct tune *tune) {
    int exit_status = 0;
    json_t *list = json_array();
    for (int i = 0; i < tune->device_count && !interrupts; i++) {
        struct ci_tune_device *device = &tune->devices[i];
        tune_device(tune, device);
        if (device->status != CLINFER_OK && !exit_status) exit_status = ci_exit_status(device->status);
        if (tune->json) {
            json_array_append_new(list, ci_tune_device_json(device));
        } else {
            if (i) ci_printf("\n");
            ci_tune_print(device, tune->log.verbose > 0);
            ci_flush();
        }
    }
    for (int i = 0; i < tune->device_count; i++)
        if (!tune->devices[i].done)
            ci_say("not tuned, because you stopped it: %s (%s)", tune->devices[i].name, tune->devices[i].platform);
    int printed = tune->json ? ci_print_json(json_pack("{s:O}", "devices", list)) : 0;
    json_decref(list);
    if (interrupts) return ci_exit_status(CLINFER_CANCELLED);
    return exit_status ? exit_status : printed;
}

static int close_trials(const struct tune *tune, int exit_status) {
    if (!tune->trials) return exit_status;
    bool failed = ferror(tune->trials) != 0;
    failed = fclose(tune->trials) != 0 || failed;
    if (!failed) return exit_status;
    int refused = ci_refuse(CLINFER_IO, "--log %s: %s", tune->log_path, strerror(errno));
    return exit_status ? exit_status : refused;
}

static int start(struct tune *tune) {
    struct ci_device_list list = {0};
    enum clinfer_status status = CLINFER_OK;
    if (tune->log_path && !(tune->trials = fopen(tune->log_path, "we")))
        return ci_refuse(CLINFER_IO, "--log %s: %s", tune->log_path, strerror(errno));
    if (!tune->device || strcasecmp(tune->device, "cpu") != 0) status = ci_device_list(&list);
    if (status == CLINFER_OK) status = choose_devices(tune, &list);
    if (status == CLINFER_OK) status = choose_models(tune);
    int exit_status;
    if (status == CLINFER_OK) {
        catch_signals();
        announce(tune);
        tune->busy = warn_of_load();
        exit_status = tune_devices(tune);
    } else {
        exit_status = ci_complain(status);
    }
    for (int i = 0; i < tune->device_count; i++) ci_tune_free(&tune->devices[i].result);
    free(tune->devices);
    for (int i = 0; i < tune->path_count; i++) free(tune->paths[i]);
    free(tune->paths);
    ci_device_list_free(&list);
    return close_trials(tune, exit_status);
}

int ci_command_tune(int argc, char **argv) {
    struct tune tune = {0};
    const struct ci_option options[] = {
        CI_SECTION("What"),
        CI_TEXTS("-m --model", &tune.models, "MODEL",
                 "tune for the shapes of this model; several times: of these (default: CLINFER_MODEL, else all in the "
                 "models folder, else those of common models)"),
        CI_HUB_OPTIONS(&tune.from),
        CI_TEXT("--device -dev", &tune.device, "DEVICE",
                "cpu, or an index or name of `clinfer devices`, or several: 0,cpu (default: all devices and the CPU "
                "backend)"),
        CI_INTEGER("-t --threads", &tune.threads, 0, 1024, "threads of the CPU backend (default: processors)"),
        CI_SECTION("How long"),
        CI_NUMBER("--budget", &tune.budget, 1, 1e6, "seconds for each device (60)"),
        CI_FLAG("--quick", &tune.quick, "15 seconds"),
        CI_FLAG("--thorough", &tune.thorough,
                "600 seconds; parameters for CLBlast, too; what gave wrong results before may prove itself again"),
        CI_FLAG("--again", &tune.again, "measure also what was measured before and has not changed"),
        CI_SECTION("Output"),
        CI_FLAG("--json", &tune.json, "one JSON object"),
        CI_TEXT("--log", &tune.log_path, "FILE", "write every trial to FILE, one JSON object a line"),
        CI_LOG_OPTIONS(&tune.log),
    };
    const struct ci_usage usage = {
        .command = "tune",
        .synopsis = "[-m MODEL] [--device DEVICE] [--budget SECONDS]",
        .about =
            "Finds out which kernels are fastest and right on this machine, and remembers it: every later run uses\n"
            "them. Each candidate is proven on the real shapes before it is timed, in a process of its own that a\n"
            "bad driver may crash. What was measured before is kept while kernel, driver and shape are the same.",
        .examples = "  clinfer tune\n  clinfer tune --quick --device 0\n"
                    "  clinfer tune -m model.gguf --thorough --log trials.jsonl",
        .options = options,
        .option_count = sizeof options / sizeof *options,
    };
    int exit_status = ci_options_parse(&usage, argc, argv, NULL);
    if (exit_status == CI_OPTIONS_GO_ON && tune.quick && tune.thorough)
        exit_status = ci_refuse(CLINFER_INVALID_ARGUMENT, "--quick and --thorough: one of them");
    if (exit_status == CI_OPTIONS_GO_ON) {
        if (tune.budget <= 0) tune.budget = tune.quick ? quick_budget : tune.thorough ? thorough_budget : usual_budget;
        enum clinfer_status status = ci_log_start(&tune.log);
        exit_status = status == CLINFER_OK ? start(&tune) : ci_exit_status(status);
        ci_log_end();
    }
    ci_texts_free(&tune.models);
    return exit_status;
}
