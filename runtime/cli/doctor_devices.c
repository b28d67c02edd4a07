/* doctor_devices.c: the part of `clinfer doctor` that needs drivers, seen from the outside. This process loads none:
 * the devices are listed and each is proven by `clinfer doctor_prover` (doctor_prover.c), which says before each step
 * what it is about to do. When it dies or falls silent, that step is what is wrong, and another one goes on behind it.
 */
#define _GNU_SOURCE
#include <clinfer.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/child.h"
#include "cli/doctor.h"
#include "cli/output.h"
#include "device/probe.h"

static const char drivers_section[] = "drivers";
static const char get_a_driver[] = "on Debian `apt install pocl-opencl-icd` brings OpenCL for the processor; for a GPU "
                                   "install its maker's driver";

/* A driver may compile one kernel for so long. CLINFER_DOCTOR_SECONDS overrides it. */
static const double default_patience = 60;

enum { MOST_RESTARTS = 5, CPU_BACKEND = -1 };

static double patience(void) {
    const char *text = getenv("CLINFER_DOCTOR_SECONDS");
    double seconds = text ? strtod(text, NULL) : 0;
    return seconds > 0 ? seconds : default_patience;
}

/* ---- drivers ---- */

static void check_driver(struct ci_doctor *doctor, const struct ci_probe_driver *driver, json_t *list) {
    const char *slash = strrchr(driver->icd, '/'), *name = slash ? slash + 1 : driver->icd;
    char todo[512];
    json_array_append_new(
        list, json_pack("{s:o, s:o, s:o, s:i, s:b, s:o}", "icd", ci_json_text(driver->icd, strlen(driver->icd)),
                        "library", ci_json_text(driver->library, strlen(driver->library)), "platforms",
                        ci_json_text(driver->platforms, strlen(driver->platforms)), "devices", driver->devices,
                        "left_out", driver->bad, "reason", ci_json_text(driver->reason, strlen(driver->reason))));
    if (driver->bad) {
        snprintf(todo, sizeof todo, "update or remove the package that brings %s; the others are used without it",
                 driver->library);
        ci_doctor_check(doctor, drivers_section, name, CI_VERDICT_FAIL, todo,
                        "%s: %s while its devices were listed: it is left out", driver->library, driver->reason);
    } else if (!driver->devices) {
        ci_doctor_check(doctor, drivers_section, name, CI_VERDICT_WARN,
                        "see that the library is there (ldd) and its device is not in use, switched off or forbidden",
                        "%s: it has %s", driver->library, *driver->platforms ? "no device" : "no platform");
    } else {
        ci_doctor_check(doctor, drivers_section, name, CI_VERDICT_OK, NULL, "%s: %s, %d device%s", driver->library,
                        driver->platforms, driver->devices, driver->devices == 1 ? "" : "s");
    }
}

/* Which drivers have a line of their own; the caller frees it. */
static struct ci_probe_report *check_drivers(struct ci_doctor *doctor) {
    struct ci_probe_report *report = calloc(1, sizeof *report);
    json_t *drivers = json_object(), *list = json_array();
    json_object_set_new(doctor->root, "drivers", drivers);
    json_object_set_new(drivers, "list", list);
    if (!report) return NULL;
    ci_doctor_progress(doctor, "trying the OpenCL drivers");
    ci_probe_examine(report);
    json_object_set_new(drivers, "folder", ci_json_text(report->folder, strlen(report->folder)));
    for (int i = 0; i < report->count && !*report->why_not; i++) check_driver(doctor, &report->drivers[i], list);
    if (*report->why_not)
        ci_doctor_check(doctor, drivers_section, "drivers", CI_VERDICT_WARN, get_a_driver, "none was tried: %s",
                        report->why_not);
    return report;
}

/* ---- what the other process says ---- */

/* One device, or the list of them. */
struct proof {
    struct ci_doctor *doctor;
    const char *section;
    json_t *device;                       /* what is known about it */
    json_t *proofs;                       /* its known-answer tests; borrowed */
    const struct ci_probe_report *report; /* of the list: drivers that need no other line */
    json_t *devices, *picked;             /* of the list: borrowed; picked: which are to be proven, -1 is the CPU */
    int exit_status;                      /* of the list: no such device */
    int step, steps;                      /* the last one that was begun */
    int died;                             /* known-answer tests that ended the process */
    char name[32], what[160];             /* of that step */
    bool ended;
};

static enum ci_verdict verdict_of(const char *word) {
    if (word && strcmp(word, "ok") == 0) return CI_VERDICT_OK;
    return word && strcmp(word, "warn") == 0 ? CI_VERDICT_WARN : CI_VERDICT_FAIL;
}

static const char *text_of(const json_t *object, const char *key) {
    const char *text = json_string_value(json_object_get(object, key));
    return text ? text : "";
}

static void begin_step(struct proof *proof, const json_t *step) {
    char line[256], number[32] = "";
    proof->step = (int)json_integer_value(json_object_get(step, "index"));
    proof->steps = (int)json_integer_value(json_object_get(step, "of"));
    snprintf(proof->name, sizeof proof->name, "%s", text_of(step, "name"));
    snprintf(proof->what, sizeof proof->what, "%s", text_of(step, "what"));
    if (proof->steps) snprintf(number, sizeof number, "%d/%d ", proof->step + 1, proof->steps);
    snprintf(line, sizeof line, "%s%s %s (%s)", number, proof->name, proof->what, proof->section);
    ci_doctor_progress(proof->doctor, line);
}

/* What the library had to say while it listed devices: which it left out, and why. */
static void take_log(const struct proof *proof, const char *text) {
    for (int i = 0; proof->report && i < proof->report->count; i++)
        if (proof->report->drivers[i].bad && strstr(text, proof->report->drivers[i].icd)) return;
    ci_doctor_check(proof->doctor, drivers_section, "devices", CI_VERDICT_WARN,
                    "without it clinfer goes on; a newer driver may help", "%s", text);
}

static void take_line(struct proof *proof, const char *line) {
    json_t *message = json_loads(line, 0, NULL);
    json_t *step = json_object_get(message, "step"), *check = json_object_get(message, "check");
    json_t *facts = json_object_get(message, "facts"), *test = json_object_get(message, "test");
    json_t *device = json_object_get(message, "device"), *log = json_object_get(message, "log");
    if (step) begin_step(proof, step);
    if (check) {
        const char *todo = json_string_value(json_object_get(check, "todo"));
        ci_doctor_check(proof->doctor, proof->section, text_of(check, "name"), verdict_of(text_of(check, "verdict")),
                        todo, "%s", text_of(check, "text"));
    }
    if (facts && proof->device) json_object_update(proof->device, facts);
    if (test && proof->proofs) json_array_append(proof->proofs, test);
    if (device && proof->devices) json_array_append(proof->devices, device);
    if (json_object_get(message, "pick") && proof->picked)
        json_array_append(proof->picked, json_object_get(message, "pick"));
    if (json_object_get(message, "refusal"))
        proof->exit_status = ci_refuse(CLINFER_NO_DEVICE, "%s", text_of(message, "refusal"));
    if (log && proof->devices) take_log(proof, json_string_value(log) ? json_string_value(log) : "");
    if (json_object_get(message, "end")) proof->ended = true;
    json_decref(message);
}

/* Lets one process work on `which` ("list", "cpu", an index) until it ends. `argument`: the first step; of a list what
 * --device said. `how` [size]: how it died, or that it fell silent; ""
 * after a proper end. */
static enum clinfer_status listen(struct proof *proof, const char *which, const char *argument, char *how,
                                  size_t size) {
    char executable[4096];
    struct ci_dialogue dialogue = {0};
    const char *line;
    double seconds = patience();
    ssize_t length = readlink("/proc/self/exe", executable, sizeof executable - 1);
    executable[length > 0 ? length : 0] = '\0';
    const char *const arguments[] = {
        "clinfer", "doctor_prover", which, argument, proof->doctor->thorough ? "thorough" : "", NULL};
    enum clinfer_status status = ci_dialogue_start(executable, arguments, NULL, &dialogue);
    if (status != CLINFER_OK) return status;
    enum ci_dialogue_event event = CI_DIALOGUE_LINE;
    while (!proof->ended && (event = ci_dialogue_receive(&dialogue, seconds, &line)) == CI_DIALOGUE_LINE)
        take_line(proof, line);
    ci_dialogue_end(&dialogue, event == CI_DIALOGUE_SILENT ? 0 : 1);
    how[0] = '\0';
    if (proof->ended) return CLINFER_OK;
    if (event == CI_DIALOGUE_SILENT)
        snprintf(how, size, "nothing was heard for %g seconds", seconds);
    else if (dialogue.signal)
        snprintf(how, size, "it crashed (%s)", strsignal(dialogue.signal));
    else
        snprintf(how, size, "it ended the process with status %d", dialogue.exit_status);
    return CLINFER_OK;
}

/* ---- known-answer tests ---- */

static bool same_variant(const json_t *a, const json_t *b) {
    return strcmp(text_of(a, "op"), text_of(b, "op")) == 0 && strcmp(text_of(a, "variant"), text_of(b, "variant")) == 0;
}

/* One line for a variant that has failed, with all the types it failed for. */
static void check_failed_variant(struct proof *proof, const json_t *first) {
    char types[256] = "";
    size_t index;
    json_t *test;
    int failed = 0, all = 0;
    json_array_foreach(proof->proofs, index, test) {
        if (!same_variant(test, first)) continue;
        all++;
        const char *outcome = text_of(test, "outcome");
        if (strcmp(outcome, "right") == 0 || strcmp(outcome, "unusable") == 0) continue;
        size_t used = strlen(types);
        snprintf(types + used, sizeof types - used, "%s%s", failed++ ? ", " : "", text_of(test, "types"));
    }
    ci_doctor_check(proof->doctor, proof->section, "kernels", CI_VERDICT_FAIL,
                    "it is not chosen here, another kernel takes its place: update the driver, and report it with "
                    "`clinfer doctor --json`",
                    "%s/%s: %d of %d tests failed (%s): %s", text_of(first, "op"), text_of(first, "variant"), failed,
                    all, types, text_of(first, "text"));
}

static void sum_up(struct proof *proof) {
    size_t index, other;
    json_t *test, *before;
    int right = 0, unusable = 0, variants = 0, failed = 0;
    json_array_foreach(proof->proofs, index, test) {
        const char *outcome = text_of(test, "outcome");
        bool is_right = strcmp(outcome, "right") == 0, is_unusable = strcmp(outcome, "unusable") == 0;
        bool first = true, first_failure = !is_right && !is_unusable;
        json_array_foreach(proof->proofs, other, before) {
            if (other == index) break;
            if (!same_variant(test, before)) continue;
            const char *earlier = text_of(before, "outcome");
            first = false;
            if (strcmp(earlier, "right") != 0 && strcmp(earlier, "unusable") != 0) first_failure = false;
        }
        variants += first;
        right += is_right;
        unusable += is_unusable;
        failed += !is_right && !is_unusable;
        if (first_failure) check_failed_variant(proof, test);
    }
    int left = (int)json_integer_value(json_object_get(proof->device, "tests_left_out"));
    char more[96] = "", limits[96] = "";
    if (left) snprintf(more, sizeof more, "; --thorough does %d more", left);
    if (unusable) snprintf(limits, sizeof limits, "; %d are beyond what the device can do", unusable);
    failed += proof->died;
    if (right || failed)
        ci_doctor_check(proof->doctor, proof->section, "kernels", failed ? CI_VERDICT_FAIL : CI_VERDICT_OK,
                        "the lines above name those that are not",
                        "%d of %d known-answer tests of %d variants are right%s%s", right, right + failed, variants,
                        limits, more);
}

/* ---- devices ---- */

static void prove(struct ci_doctor *doctor, const char *which, const char *section, json_t *device) {
    struct proof proof = {.doctor = doctor, .section = section, .device = device, .proofs = json_array()};
    char how[128], first[16] = "0";
    json_object_set_new(device, "tests", proof.proofs);
    for (int restarts = 0; !proof.ended; restarts++) {
        proof.step = -1;
        proof.what[0] = '\0';
        snprintf(proof.name, sizeof proof.name, "open");
        enum clinfer_status status = listen(&proof, which, first, how, sizeof how);
        if (status != CLINFER_OK) {
            ci_doctor_check(doctor, section, "prover", CI_VERDICT_FAIL, NULL, "%s", clinfer_error());
            break;
        }
        if (proof.ended) break;
        ci_doctor_check(doctor, section, proof.name, CI_VERDICT_FAIL,
                        "update the driver; `clinfer run --device cpu` does without it", "%s%s%s", proof.what,
                        *proof.what ? ": " : "", how);
        proof.died += strcmp(proof.name, "kernels") == 0;
        if (proof.step < 0 || restarts == MOST_RESTARTS) break;
        snprintf(first, sizeof first, "%d", proof.step + 1);
    }
    sum_up(&proof);
}

/* Fills devices and picked; an exit status when --device names none of them. */
static int list_devices(struct ci_doctor *doctor, const char *wanted, json_t *devices, json_t *picked) {
    struct ci_probe_report *report = check_drivers(doctor);
    struct proof proof = {
        .doctor = doctor, .section = drivers_section, .report = report, .devices = devices, .picked = picked};
    char how[128] = "";
    ci_doctor_progress(doctor, "listing the devices");
    if (listen(&proof, "list", wanted, how, sizeof how) != CLINFER_OK)
        ci_doctor_check(doctor, drivers_section, "devices", CI_VERDICT_FAIL, NULL, "%s", clinfer_error());
    else if (!proof.ended)
        ci_doctor_check(doctor, drivers_section, "devices", CI_VERDICT_FAIL,
                        "run clinfer again: it now tries each driver on its own", "while they were listed: %s", how);
    else if (json_array_size(devices) == 0)
        ci_doctor_check(doctor, drivers_section, "devices", CI_VERDICT_WARN, get_a_driver,
                        "there is no OpenCL device: everything runs on the CPU backend");
    else
        ci_doctor_check(doctor, drivers_section, "devices", CI_VERDICT_OK, NULL, "%zu can be used",
                        json_array_size(devices));
    /* Without a list the CPU backend is what is left. */
    if (!proof.ended && strcmp(wanted, "auto") == 0) json_array_append_new(picked, json_integer(CPU_BACKEND));
    free(report);
    return proof.exit_status;
}

int ci_doctor_devices(struct ci_doctor *doctor, const char *wanted) {
    json_t *devices = json_array(), *picked = json_array(), *cpu = json_object(), *pick;
    char section[320], which[24];
    size_t at;
    json_object_set_new(doctor->root, "devices", devices);
    json_object_set_new(doctor->root, "cpu_backend", cpu);
    int exit_status = list_devices(doctor, wanted ? wanted : "auto", devices, picked);
    json_array_foreach(picked, at, pick) {
        json_int_t index = json_integer_value(pick);
        json_t *device = index < 0 ? cpu : json_array_get(devices, (size_t)index);
        if (index < 0)
            snprintf(section, sizeof section, "device cpu: the CPU backend (%s)", clinfer_cpu_isa());
        else
            snprintf(section, sizeof section, "device %d: %s (%s)", (int)index, text_of(device, "name"),
                     text_of(device, "platform"));
        snprintf(which, sizeof which, "%d", (int)index);
        prove(doctor, index < 0 ? "cpu" : which, section, device);
    }
    json_decref(picked);
    return exit_status;
}
