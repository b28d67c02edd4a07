/* list.c: `clinfer list`: every model that is on this machine, whoever put it there. No model is opened and no device
 * is looked for: completion asks at every press of a key. */
#define _GNU_SOURCE
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/names.h"
#include "cli/command.h"
#include "cli/options.h"
#include "cli/output.h"
#include "hub/quant.h"
#include "hub/space.h"
#include "hub/stores.h"

enum { WHEN_BYTES = 32, STORES_BYTES = 128 };

static int by_name(const void *left, const void *right) {
    const struct ci_stored *a = left, *b = right;
    int order = strcasecmp(a->name, b->name);
    return order ? order : strcmp(a->path, b->path);
}

/* ---- JSON ---- */

static json_t *text_or_null(const char *text) { return text && *text ? ci_json_text(text, strlen(text)) : json_null(); }

/* false: out of memory, whatever it was that could not be made. */
static bool put(json_t *object, const char *key, json_t *value) { return json_object_set_new(object, key, value) == 0; }

static json_t *places_json(const struct ci_stored *model) {
    json_t *list = json_array();
    bool fine = list != NULL;
    for (size_t i = 0; i < model->place_count && fine; i++) {
        json_t *place = json_object();
        fine = place && json_array_append_new(list, place) == 0 &&
               put(place, "store", json_string(model->places[i].store)) &&
               put(place, "name", text_or_null(model->places[i].name)) &&
               put(place, "path", text_or_null(model->places[i].path));
    }
    if (fine) return list;
    json_decref(list);
    return NULL;
}

static bool put_model(json_t *object, const struct ci_stored *model) {
    char when[WHEN_BYTES], quant[CI_HUB_QUANT_BYTES] = "";
    time_t seconds = (time_t)model->modified;
    struct tm parts;
    if (!model->folder) ci_hub_quant_of(model->file ? model->file : model->path, quant);
    strftime(when, sizeof when, "%Y-%m-%dT%H:%M:%SZ", gmtime_r(&seconds, &parts));
    return put(object, "name", text_or_null(model->name)) && put(object, "path", text_or_null(model->path)) &&
           put(object, "store", json_string(model->store)) &&
           put(object, "format", json_string(model->folder ? "safetensors" : "gguf")) &&
           put(object, "quant", text_or_null(quant)) && put(object, "bytes", json_integer((json_int_t)model->bytes)) &&
           put(object, "modified", json_string(when)) && put(object, "available", json_boolean(model->whole)) &&
           put(object, "parts", json_integer((json_int_t)model->parts)) &&
           put(object, "missing_parts", json_integer((json_int_t)model->missing)) &&
           put(object, "repo", text_or_null(model->repo)) && put(object, "commit", text_or_null(model->revision)) &&
           put(object, "file", text_or_null(model->file)) && put(object, "digest", text_or_null(model->digest)) &&
           put(object, "removable", json_boolean(model->removable)) &&
           put(object, "placed_by_hand", json_boolean(model->placed)) && put(object, "places", places_json(model));
}

static int print_json(const struct ci_stored *models, size_t count) {
    json_t *object = json_object(), *list = json_array();
    bool fine = object && put(object, "models", list);
    for (size_t i = 0; i < count && fine; i++) {
        json_t *model = json_object();
        fine = model && json_array_append_new(list, model) == 0 && put_model(model, &models[i]);
    }
    if (fine) return ci_print_json(object);
    json_decref(object);
    return ci_print_json(NULL);
}

/* ---- lines ---- */

static int compare_texts(const void *left, const void *right) {
    return strcmp(*(const char *const *)left, *(const char *const *)right);
}

/* All names of what is whole, each once. */
static int print_names(const struct ci_stored *models, size_t count) {
    size_t room = count, used = 0;
    for (size_t i = 0; i < count; i++) room += models[i].place_count;
    const char **names = malloc((room + 1) * sizeof *names);
    if (!names) return ci_refuse(CLINFER_OUT_OF_MEMORY, "out of memory for the list of models");
    for (size_t i = 0; i < count; i++) {
        if (!models[i].whole) continue;
        names[used++] = models[i].name;
        for (size_t place = 0; place < models[i].place_count; place++) names[used++] = models[i].places[place].name;
    }
    qsort(names, used, sizeof *names, compare_texts);
    for (size_t i = 0; i < used; i++)
        if ((!i || strcmp(names[i], names[i - 1]) != 0) && !strchr(names[i], '\n')) ci_printf("%s\n", names[i]);
    free(names);
    return 0;
}

static void print_row(const struct ci_stored *model, int width) {
    char size[CI_AMOUNT_BYTES], when[WHEN_BYTES], stores[STORES_BYTES] = "";
    time_t seconds = (time_t)model->modified;
    struct tm parts;
    ci_names_add(stores, sizeof stores, model->store);
    for (size_t i = 0; i < model->place_count; i++) ci_names_add(stores, sizeof stores, model->places[i].store);
    strftime(when, sizeof when, "%Y-%m-%d %H:%M", localtime_r(&seconds, &parts));
    ci_printf("%-*s  %10s  %s  %s", width, ci_one_line(model->name), ci_hub_size_text(model->bytes, size, sizeof size),
              when, stores);
    if (model->missing)
        ci_printf("  (incomplete: %zu of %zu parts are missing)", model->missing, model->parts);
    else if (!model->whole)
        ci_printf("  (incomplete)");
    ci_printf("\n");
}

static int print_table(const struct ci_stored *models, size_t count) {
    enum { WIDEST = 60 };
    size_t width = strlen("NAME");
    for (size_t i = 0; i < count; i++) {
        size_t length = strlen(ci_one_line(models[i].name));
        if (length > width) width = length < WIDEST ? length : WIDEST;
    }
    if (count) ci_printf("%-*s  %10s  %-16s  %s\n", (int)width, "NAME", "SIZE", "WHEN", "STORE");
    for (size_t i = 0; i < count; i++) print_row(&models[i], (int)width);
    if (!count)
        ci_say("there is no model on this machine; `clinfer pull NAME` fetches one (`clinfer pull --help` lists some)");
    return 0;
}

int ci_command_list(int argc, char **argv) {
    bool json = false, names = false;
    struct ci_log_flags log = {0};
    const struct ci_option options[] = {
        CI_SECTION("Output"),
        CI_FLAG("--json", &json, "one JSON object, \"models\": see above"),
        CI_FLAG("--names", &names, "names only, one a line: all that -m takes for what is whole"),
        CI_LOG_OPTIONS(&log),
    };
    const struct ci_usage usage = {
        .command = "list",
        .synopsis = "[--json|--names]",
        .about =
            "Lists the models on this machine with their sizes, when they came, and in which store they are: the "
            "models\n"
            "folder, the Hub's cache (whoever filled it), llama.cpp's older one, Ollama's, LM Studio's, Jan's and\n"
            "GPT4All's. The same file in several stores is one model. No model is opened.\n"
            "\n"
            "With --json each model has name, path, store, format (gguf or safetensors), quant, bytes, modified "
            "(UTC),\n"
            "available (false: it is incomplete), parts, missing_parts, repo, commit, file and digest (null where not\n"
            "known), removable, placed_by_hand, and places: the same bytes elsewhere, each with store, name and path.",
        .examples = "  clinfer list\n  clinfer list --json | jq -r '.models[] | select(.available).path'",
        .options = options,
        .option_count = sizeof options / sizeof *options,
    };
    int exit_status = ci_options_parse(&usage, argc, argv, NULL);
    if (exit_status != CI_OPTIONS_GO_ON) return exit_status;
    enum clinfer_status status = ci_log_start(&log);
    if (status != CLINFER_OK) return ci_exit_status(status);
    struct ci_hub_settings settings = {0};
    struct ci_stored *models = NULL;
    size_t count = 0;
    status = ci_hub_settings_read(&settings);
    if (status == CLINFER_OK) status = ci_stores_list(&settings, &models, &count);
    if (status == CLINFER_OK) {
        if (count) qsort(models, count, sizeof *models, by_name);
        exit_status = json    ? print_json(models, count)
                      : names ? print_names(models, count)
                              : print_table(models, count);
    } else {
        exit_status = ci_complain(status);
    }
    ci_stores_free(models, count);
    ci_hub_settings_free(&settings);
    ci_log_end();
    return exit_status;
}
