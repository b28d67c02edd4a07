/* show.c: `clinfer show NAME`: all that is known of a model on this machine: what `clinfer inspect` says, and where it
 * lies, its licence, its template, which of its values beat the usual ones, what would run here, and whether it fits.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/command.h"
#include "cli/engine_flags.h"
#include "cli/inspect_file.h"
#include "cli/output.h"
#include "cli/show.h"
#include "model/source.h"

struct show {
    bool json, metadata, tensors;
    struct ci_log_flags log;
    struct ci_engine_flags flags;
};

/* What is shown. */
struct shown {
    const struct ci_gguf *gguf;
    struct ci_inspection found;
    struct ci_show_place place;
    struct ci_show_here here;
};

/* ---- text: template, end tokens, sampling ---- */

/* In the order in which they are told. */
static const struct sampling_value {
    const char *name, *key, *field; /* for people; of the file; in JSON */
} sampling_values[] = {{"temp", "general.sampling.temp", "temperature"},
                       {"top-k", "general.sampling.top_k", "top_k"},
                       {"top-p", "general.sampling.top_p", "top_p"},
                       {"min-p", "general.sampling.min_p", "min_p"},
                       {"repeat penalty", "general.sampling.penalty_repeat", "repeat_penalty"}};
enum { SAMPLING_VALUES = sizeof sampling_values / sizeof *sampling_values };

static double sampling_of(const struct clinfer_engine_info *info, int i) {
    const double values[SAMPLING_VALUES] = {(double)info->temperature, info->top_k, (double)info->top_p,
                                            (double)info->min_p, (double)info->repeat_penalty};
    return values[i];
}

/* As it was written: 0.8 and not the float that is nearest. */
static double as_written(double value) {
    char text[32];
    snprintf(text, sizeof text, "%.7g", value);
    return strtod(text, NULL);
}

static void print_sampling(const struct shown *shown, bool of_file) {
    bool any = false;
    for (int i = 0; i < SAMPLING_VALUES; i++) {
        if ((ci_gguf_find(shown->gguf, sampling_values[i].key) != NULL) != of_file) continue;
        ci_printf("%s%s %g", any ? ", " : "", sampling_values[i].name, sampling_of(&shown->found.sampling, i));
        any = true;
    }
    if (any) ci_printf(of_file ? " (of the file)" : " (clinfer's)");
}

static bool has_sampling(const struct shown *shown, bool of_file) {
    for (int i = 0; i < SAMPLING_VALUES; i++)
        if ((ci_gguf_find(shown->gguf, sampling_values[i].key) != NULL) == of_file) return true;
    return false;
}

static const char *yes_or_no(bool yes) { return yes ? "yes" : "no"; }

static void print_text(const struct shown *shown) {
    const struct ci_inspected_text *text = &shown->found.text;
    const struct ci_chat_facts *chat = &text->chat;
    ci_printf("  %-13s %s%s%s; system messages: %s; tools: %s; thinking: %s%s\n", "template",
              chat->in_file ? "of the file" : "none in the file, built-in ", chat->in_file && chat->name ? ": " : "",
              chat->name ? chat->name : "", chat->system ? "yes" : "no (they begin the user's first)",
              yes_or_no(text->tools), yes_or_no(chat->thinking),
              text->switchable ? ", switched by --chat-template-kwargs '{\"enable_thinking\": false}'" : "");
    ci_printf("  %-13s ", "ends with");
    for (int i = 0; i < text->end_count; i++) ci_printf("%s%s", i ? ", " : "", ci_one_line(text->ends[i]));
    ci_printf("%s\n  %-13s ", text->end_count ? "" : "no token that the file names", "sampling");
    print_sampling(shown, true);
    if (has_sampling(shown, true) && has_sampling(shown, false)) ci_printf("; ");
    print_sampling(shown, false);
    ci_printf("\n");
}

static void add_text(const struct shown *shown, json_t *object) {
    const struct ci_inspected_text *text = &shown->found.text;
    const struct ci_chat_facts *chat = &text->chat;
    json_t *ends = json_array(), *sampling = json_object();
    for (int i = 0; i < text->end_count; i++)
        json_array_append_new(ends, ci_json_text(text->ends[i], strlen(text->ends[i])));
    for (int i = 0; i < SAMPLING_VALUES; i++)
        json_object_set_new(sampling, sampling_values[i].field,
                            json_pack("{s:f, s:b}", "value", as_written(sampling_of(&shown->found.sampling, i)),
                                      "of_file", (int)(ci_gguf_find(shown->gguf, sampling_values[i].key) != NULL)));
    json_object_set_new(object, "template",
                        json_pack("{s:b, s:s?, s:b, s:b, s:b, s:b, s:b}", "of_file", (int)chat->in_file, "name",
                                  chat->name, "system", (int)chat->system, "history", (int)chat->history, "tools",
                                  (int)text->tools, "thinking", (int)chat->thinking, "thinking_can_be_switched",
                                  (int)text->switchable));
    json_object_set_new(object, "end_tokens", ends);
    json_object_set_new(object, "sampling", sampling);
}

/* ---- all of it ---- */

static int print_json(const struct shown *shown) {
    json_t *object = ci_inspect_json(shown->gguf, &shown->found);
    ci_show_place_add(&shown->place, object);
    if (shown->found.status == CLINFER_OK) {
        add_text(shown, object);
        ci_show_here_add(&shown->here, object);
    }
    return ci_print_json(object);
}

static int print(const struct show *show, const struct shown *shown) {
    if (show->json) return print_json(shown);
    ci_inspect_print_summary(shown->gguf, &shown->found);
    ci_show_place_print(&shown->place);
    if (shown->found.status == CLINFER_OK) {
        print_text(shown);
        ci_show_here_print(&shown->here);
    }
    ci_inspect_print_rest(shown->gguf, &shown->found, show->metadata, show->tensors);
    return 0;
}

/* What there is to say of an open file. */
static int show_file(const struct show *show, const struct clinfer_engine_options *options, struct shown *shown) {
    struct ci_hub_settings settings;
    enum clinfer_status status = ci_hub_settings_read(&settings);
    if (status == CLINFER_OK) {
        ci_inspect_file(shown->gguf, options->context, &options->rope, &shown->found);
        if (shown->found.status == CLINFER_OUT_OF_MEMORY) status = shown->found.status; /* says nothing about it */
    }
    if (status == CLINFER_OK) status = ci_show_place_find(&settings, options->model, shown->gguf, &shown->place);
    if (status == CLINFER_OK && shown->found.status == CLINFER_OK) status = ci_show_here_find(options, &shown->here);
    int exit_status = status == CLINFER_OK ? print(show, shown) : ci_complain(status);
    ci_show_place_free(&shown->place);
    ci_inspect_end(&shown->found);
    ci_hub_settings_free(&settings);
    return exit_status;
}

/* What the flags name is a repo of the Hub, which could be asked: what it would fetch. Else the failure of finding
 * it. */
static int show_missing(const struct show *show) {
    const struct ci_model_flags *from = &show->flags.from;
    const char *wanted = from->model ? from->model : from->repo;
    struct ci_hub_settings settings;
    struct ci_hub_name name;
    char message[4096];
    snprintf(message, sizeof message, "%s", clinfer_error());
    enum clinfer_status status = ci_hub_settings_read(&settings);
    if (from->offline) ci_hub_settings_go_offline(&settings, "--offline");
    bool named = status == CLINFER_OK && wanted && ci_hub_name_parse(wanted, settings.endpoint, &name) == CLINFER_OK &&
                 name.kind == CI_HUB_REPO;
    if (named && from->repo && from->file) {
        snprintf(name.file, sizeof name.file, "%s", from->file);
        name.tag[0] = 0;
    }
    int exit_status;
    if (named && !settings.offline && !from->no_pull)
        exit_status = ci_show_remote(&settings, &name, show->json);
    else
        exit_status = ci_refuse(CLINFER_NOT_FOUND, "%s", message);
    ci_hub_settings_free(&settings);
    return exit_status;
}

static int show_model(struct show *show) {
    struct ci_model_choice choice = {0};
    struct clinfer_engine_options options;
    struct ci_gguf *gguf = NULL;
    struct shown shown = {0};
    int exit_status = 0;
    show->flags.from.local = true;
    enum clinfer_status status = ci_engine_flags_options(&show->flags, &choice, &options);
    bool missing = status == CLINFER_NOT_FOUND && !choice.path;
    if (status == CLINFER_OK) status = ci_source_open(choice.path, NULL, &gguf);
    shown.gguf = gguf;
    if (missing)
        exit_status = show_missing(show);
    else
        exit_status = status == CLINFER_OK ? show_file(show, &options, &shown) : ci_complain(status);
    ci_gguf_close(gguf);
    ci_models_free(&choice);
    return exit_status;
}

int ci_command_show(int argc, char **argv) {
    struct show show = {.flags = CI_ENGINE_FLAGS_DEFAULT};
    struct ci_texts words;
    const struct ci_option options[] = {
        CI_SECTION("Output"),
        CI_FLAG("--metadata", &show.metadata, "the metadata, too, as `clinfer inspect` has them"),
        CI_FLAG("--tensors", &show.tensors, "and the tensors"),
        CI_FLAG("--json", &show.json, "one JSON object with all of it"),
        CI_LOG_OPTIONS(&show.log),
        CI_ENGINE_OPTIONS(&show.flags),
    };
    const struct ci_usage usage = {
        .command = "show",
        .synopsis = "[NAME] [options]",
        .about =
            "Shows what there is to know of a model on this machine: what `clinfer inspect` says of it, where it "
            "lies,\n"
            "its licence and its chat template, which values of it are taken instead of the usual ones, which kernels\n"
            "would run where, and whether it fits into memory. Nothing is loaded. NAME is what -m takes; without one,\n"
            "it is the model that `clinfer run` would take. The other flags are those of run: what would be, with "
            "them.",
        .examples = "  clinfer show\n"
                    "  clinfer show user/repo:Q4_K_M\n"
                    "  clinfer show my.gguf --device cpu -c 32768\n"
                    "  clinfer show --json my.gguf",
        .options = options,
        .option_count = sizeof options / sizeof *options,
        .words = "MODEL",
    };
    int exit_status = ci_options_parse(&usage, argc, argv, &words);
    if (exit_status == CI_OPTIONS_GO_ON) {
        enum clinfer_status status = ci_log_start(&show.log);
        if (status != CLINFER_OK)
            exit_status = ci_exit_status(status);
        else if (words.count + (show.flags.from.model != NULL) > 1)
            exit_status = ci_refuse(CLINFER_INVALID_ARGUMENT, "show takes one model; see clinfer show --help");
        if (words.count) show.flags.from.model = words.items[0];
        if (exit_status == CI_OPTIONS_GO_ON) exit_status = show_model(&show);
        ci_log_end();
    }
    ci_texts_free(&words);
    ci_engine_flags_free(&show.flags);
    return exit_status;
}
