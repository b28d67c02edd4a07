/* doctor.c: `clinfer doctor`: is everything here as it should be, and what to do where it is not. */
#define _GNU_SOURCE
#include "cli/doctor.h"

#include <clinfer.h>
#include <pwd.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cli/command.h"
#include "cli/options.h"
#include "cli/output.h"

static const char *const verdicts[] = {"ok", "warn", "fail"};

/* ---- no names ---- */

/* Replaces `word` where it stands between separators of paths and words. Takes `text` over. */
static char *replace(char *text, const char *word, const char *instead) {
    static const char separators[] = "/ :;,=\"'()\n\t";
    size_t length = word ? strlen(word) : 0;
    if (!text || length < 2) return text;
    for (char *at = text; (at = strstr(at, word));) {
        bool begins = at == text || word[0] == '/' || strchr(separators, at[-1]);
        bool ends = !at[length] || strchr(separators, at[length]);
        if (!begins || !ends) {
            at += length;
            continue;
        }
        char *result = NULL;
        size_t before = (size_t)(at - text);
        if (asprintf(&result, "%.*s%s%s", (int)before, text, instead, at + length) < 0) result = NULL;
        free(text);
        if (!result) return NULL;
        text = result;
        at = text + before + strlen(instead);
    }
    return text;
}

char *ci_doctor_redact(const char *text) {
    const char *home = getenv("HOME");
    const struct passwd *user = getpwuid(getuid());
    char *result = replace(strdup(text), home, "~");
    if (user) result = replace(result, user->pw_dir, "~");
    return user ? replace(result, user->pw_name, "$USER") : result;
}

/* All strings below `value`. */
static void redact_all(json_t *value) {
    const char *key;
    size_t index;
    json_t *item;
    void *next;
    if (json_is_string(value)) {
        char *text = ci_doctor_redact(json_string_value(value));
        json_string_set(value, text ? text : "");
        free(text);
    }
    json_object_foreach_safe(value, next, key, item) redact_all(item);
    json_array_foreach(value, index, item) redact_all(item);
}

/* ---- lines ---- */

static const char *verdict_color(enum ci_verdict verdict) {
    static const char *const colors[] = {"\033[32m", "\033[33m", "\033[31m"};
    return isatty(STDOUT_FILENO) ? ci_color(colors[verdict]) : "";
}

static void print_line(struct ci_doctor *doctor, const char *section, const char *name, enum ci_verdict verdict,
                       const char *text, const char *todo) {
    char *shown = ci_doctor_redact(text), *advice = todo ? ci_doctor_redact(todo) : NULL;
    const char *color = verdict_color(verdict);
    ci_doctor_progress(doctor, NULL);
    if (strcmp(section, doctor->section) != 0) ci_printf("%s%s\n", *doctor->section ? "\n" : "", section);
    snprintf(doctor->section, sizeof doctor->section, "%s", section);
    ci_printf("  ");
    ci_paint(color);
    ci_printf("%-4s", verdicts[verdict]);
    ci_paint(*color ? ci_color("\033[0m") : "");
    ci_printf("  %-12s %s\n", name, shown ? shown : "");
    if (advice) ci_printf("        %-12s -> %s\n", "", advice);
    ci_flush();
    free(shown);
    free(advice);
}

void ci_doctor_check(struct ci_doctor *doctor, const char *section, const char *name, enum ci_verdict verdict,
                     const char *todo, const char *format, ...) {
    char text[2048];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    doctor->counts[verdict]++;
    if (verdict == CI_VERDICT_OK) todo = NULL;
    json_t *check = json_object();
    json_object_set_new(check, "section", ci_json_text(section, strlen(section)));
    json_object_set_new(check, "name", ci_json_text(name, strlen(name)));
    json_object_set_new(check, "verdict", json_string(verdicts[verdict]));
    json_object_set_new(check, "text", ci_json_text(text, strlen(text)));
    if (todo) json_object_set_new(check, "todo", ci_json_text(todo, strlen(todo)));
    json_array_append_new(doctor->checks, check);
    if (doctor->print) print_line(doctor, section, name, verdict, text, todo);
}

void ci_doctor_progress(struct ci_doctor *doctor, const char *text) {
    if (doctor->progress) fprintf(stderr, "\r\033[K%.78s", text ? ci_one_line(text) : "");
}

/* ---- the command ---- */

static int finish(struct ci_doctor *doctor, bool json) {
    const int *counts = doctor->counts;
    enum ci_verdict worst = counts[CI_VERDICT_FAIL]   ? CI_VERDICT_FAIL
                            : counts[CI_VERDICT_WARN] ? CI_VERDICT_WARN
                                                      : CI_VERDICT_OK;
    ci_doctor_progress(doctor, NULL);
    int exit_status = 0;
    if (json) {
        json_object_set_new(doctor->root, "verdict", json_string(verdicts[worst]));
        redact_all(doctor->root);
        exit_status = ci_print_json(json_incref(doctor->root));
    } else {
        ci_printf("\n%d ok, %d to look at, %d failed\n", counts[CI_VERDICT_OK], counts[CI_VERDICT_WARN],
                  counts[CI_VERDICT_FAIL]);
        if (worst == CI_VERDICT_FAIL)
            ci_printf("docs/troubleshooting.md explains each line; a bug report is: clinfer doctor --json\n");
    }
    return exit_status == 0 && worst == CI_VERDICT_FAIL ? ci_exit_status(CLINFER_WRONG_RESULT) : exit_status;
}

int ci_command_doctor(int argc, char **argv) {
    bool json = false;
    const char *device = NULL;
    struct ci_doctor doctor = {0};
    struct ci_log_flags log = {0};
    const struct ci_option options[] = {
        CI_SECTION("What is looked at"),
        CI_TEXT("-dev --device", &device, "D", "only this device: its index, a part of its name, or cpu"),
        CI_FLAG("--thorough", &doctor.thorough,
                "known-answer tests of each kernel with all types that it takes: the driver has much to compile"),
        CI_SECTION("Output"),
        CI_FLAG("--json", &json, "one JSON object with everything: a bug report"),
        CI_LOG_OPTIONS(&log),
    };
    const struct ci_usage usage = {
        .command = "doctor",
        .synopsis = "[options]",
        .about = "Tries the OpenCL drivers, proves every device and looks at folders and models. Each line says ok,\n"
                 "warn or fail, and what to do. What crashes or hangs does so in a process of its own. Exit status 0:\n"
                 "no line says fail; 11: one does.",
        .examples = "  clinfer doctor\n  clinfer doctor --device 0 --thorough\n  clinfer doctor --json >report.json",
        .options = options,
        .option_count = sizeof options / sizeof *options,
    };
    int exit_status = ci_options_parse(&usage, argc, argv, NULL);
    if (exit_status != CI_OPTIONS_GO_ON) return exit_status;
    enum clinfer_status status = ci_log_start(&log);
    if (status != CLINFER_OK) return ci_exit_status(status);
    doctor.print = !json;
    doctor.progress = isatty(STDERR_FILENO) && !log.quiet;
    doctor.root = json_object();
    doctor.checks = json_array();
    json_object_set_new(doctor.root, "clinfer", json_string(CLINFER_VERSION));
    json_object_set_new(doctor.root, "checks", doctor.checks);
    ci_doctor_system(&doctor);
    ci_doctor_folders(&doctor);
    exit_status = ci_doctor_devices(&doctor, device);
    if (exit_status == 0) exit_status = finish(&doctor, json);
    json_decref(doctor.root);
    ci_log_end();
    return exit_status;
}
