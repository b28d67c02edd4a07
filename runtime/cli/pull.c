/* pull.c: `clinfer pull`: models by name onto this machine. Standard output has the path that -m takes, one line a
 * model (or JSON), so that a script can go on with it. */
#define _GNU_SOURCE
#include <jansson.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/append.h"
#include "base/status.h"
#include "cli/command.h"
#include "cli/interrupt.h"
#include "cli/options.h"
#include "cli/output.h"
#include "cli/pull_progress.h"
#include "hub/near.h"
#include "hub/space.h"

struct pull_command {
    struct ci_texts words;
    struct ci_log_flags log;
    const char *revision;
    bool json, tokenizer, offline;
};

/* ---- one model ---- */

static void print_result(const struct pull_command *command, const struct ci_hub_pulled *pulled) {
    char fetched[CI_AMOUNT_BYTES];
    if (!command->json) {
        ci_printf("%s\n", pulled->path);
        ci_flush();
        if (pulled->fetched)
            ci_say("%s is here, %s came over the net", pulled->name,
                   ci_hub_size_text(pulled->fetched, fetched, sizeof fetched));
        return;
    }
    ci_pull_print_line(json_pack("{s:s, s:o, s:o, s:I, s:I, s:I, s:I}", "status", "success", "name",
                                 ci_json_text(pulled->name, strlen(pulled->name)), "path",
                                 ci_json_text(pulled->path, strlen(pulled->path)), "bytes", (json_int_t)pulled->bytes,
                                 "fetched", (json_int_t)pulled->fetched, "files", (json_int_t)pulled->files,
                                 "fetched_files", (json_int_t)pulled->fetched_files));
}

static enum clinfer_status read_name(const struct pull_command *command, const struct ci_hub_settings *settings,
                                     const char *word, struct ci_hub_name *name) {
    enum clinfer_status status = ci_hub_name_parse(word, settings->endpoint, name);
    if (status == CLINFER_NOT_FOUND) {
        char near[256] = "";
        ci_hub_near_names(word, NULL, 0, near, sizeof near);
        return ci_fail(status,
                       "%s: is no name that can be pulled%s%s%s: those are user/repo, user/repo:QUANT, hf.co/..., an "
                       "address of a .gguf file, ollama:NAME, and the short names that clinfer pull --help lists",
                       word, *near ? " (near: " : "", near, *near ? ")" : "");
    }
    if (status != CLINFER_OK || !command->revision) return status;
    if (name->kind != CI_HUB_REPO)
        return ci_fail(CLINFER_INVALID_ARGUMENT, "--revision: only repos of the Hub have revisions, not %s", word);
    int wrote = snprintf(name->revision, sizeof name->revision, "%s", command->revision);
    if (wrote <= 0 || (size_t)wrote >= sizeof name->revision || ci_hub_path_rule(command->revision))
        return ci_fail(CLINFER_INVALID_ARGUMENT, "--revision: %s: is no branch, tag or commit", command->revision);
    return CLINFER_OK;
}

static int pull_one(const struct pull_command *command, const struct ci_hub_settings *settings, const char *word) {
    struct ci_hub_name name;
    struct ci_hub_pulled pulled = {0};
    struct ci_pull_progress progress = {.json = command->json, .silent = settings->no_progress_bars};
    const struct ci_hub_pull_options options = {.tokenizer_only = command->tokenizer};
    enum clinfer_status status = read_name(command, settings, word, &name);
    if (status == CLINFER_OK) status = ci_pull_with(settings, &name, &options, &progress, &pulled);
    if (status == CLINFER_OK)
        print_result(command, &pulled);
    else if (command->json)
        ci_pull_print_line(json_pack("{s:o, s:i}", "error",
                                     ci_json_text(ci_status_message(), strlen(ci_status_message())), "exit_status",
                                     ci_exit_status(status)));
    ci_hub_pulled_free(&pulled);
    return status == CLINFER_OK ? 0 : ci_complain(status);
}

/* One that fails does not keep the others away; Ctrl-C does. The first failure is the exit status. */
static int pull_all(const struct pull_command *command) {
    struct ci_hub_settings settings;
    int exit_status = 0;
    if (!command->words.count)
        return ci_refuse(CLINFER_INVALID_ARGUMENT, "pull: which model? For example: clinfer pull smollm2-135m");
    enum clinfer_status status = ci_hub_settings_read(&settings);
    if (status == CLINFER_OK && command->offline) ci_hub_settings_go_offline(&settings, "--offline");
    if (status != CLINFER_OK) exit_status = ci_complain(status);
    for (size_t i = 0; i < command->words.count && status == CLINFER_OK && !ci_interrupted(); i++) {
        int one = pull_one(command, &settings, command->words.items[i]);
        if (!exit_status) exit_status = one;
    }
    ci_hub_settings_free(&settings);
    return exit_status;
}

/* ---- the help ---- */

struct text {
    char *text;
    size_t length, capacity;
};

static bool add(struct text *about, const char *format, ...) __attribute__((format(printf, 2, 3)));
static bool add(struct text *about, const char *format, ...) {
    char *line = NULL;
    va_list arguments;
    va_start(arguments, format);
    int length = vasprintf(&line, format, arguments);
    va_end(arguments);
    bool fine = length >= 0 && ci_append(&about->text, &about->length, &about->capacity, line, (size_t)length);
    if (length >= 0) free(line);
    return fine;
}

static const char intro[] =
    "Fetches models, checks them, and prints the path of each. What is here already is not fetched again,\n"
    "whoever has fetched it; a pull that was interrupted goes on where it was.\n\n"
    "Names\n"
    "  user/repo                the best quant that clinfer runs and that fits this machine's memory\n"
    "  user/repo:Q4_K_M         this one; user/repo/FILE.gguf: this file; ...@REVISION: of a branch, tag, commit\n"
    "  hf.co/user/repo[:QUANT]  the same, and links copied from the Hub's pages\n"
    "  https://.../FILE.gguf    a file of any server, into the models folder\n"
    "  ollama:llama3.2:1b       from Ollama's registry, into the models folder (Ollama's own store is only read)\n"
    "  a short name:\n";

/* NULL: memory is out, and the help is shorter. */
static char *make_about(void) {
    struct text about = {0};
    struct ci_hub_settings settings;
    bool fine = add(&about, "%s", intro);
    for (const struct ci_hub_alias *alias = ci_hub_aliases; alias->alias && fine; alias++)
        fine = add(&about, "    %-22s %s:%s\n", alias->alias, alias->repo, alias->tag);
    bool read = ci_hub_settings_read(&settings) == CLINFER_OK;
    if (fine)
        fine =
            add(&about,
                "\nModels of the Hub lie in its own cache, %s, where huggingface_hub and\nllama.cpp find them, too; "
                "others in the models folder, %s.\n\n"
                "Variables: HF_TOKEN (for gated and private repos), HF_ENDPOINT (a mirror), HF_HUB_CACHE, HF_HOME and\n"
                "LLAMA_CACHE (the cache), HF_HUB_OFFLINE, HF_HUB_DISABLE_PROGRESS_BARS, HF_HUB_DOWNLOAD_TIMEOUT,\n"
                "HTTPS_PROXY, NO_PROXY, SSL_CERT_FILE.",
                read && settings.cache ? settings.cache : "~/.cache/huggingface/hub",
                read && settings.models ? settings.models : "~/.local/share/clinfer/models");
    ci_hub_settings_free(&settings);
    if (fine) return about.text;
    free(about.text);
    return NULL;
}

int ci_command_pull(int argc, char **argv) {
    struct pull_command command = {0};
    const struct ci_option options[] = {
        CI_SECTION("What"),
        CI_TEXT("--revision", &command.revision, "REVISION", "a branch, a tag or a commit of the repo, as @REVISION"),
        CI_FLAG("--tokenizer", &command.tokenizer,
                "only the tokenizer: of the model's file, beside it, from its repo, a cache, the repo that it was made "
                "from"),
        CI_FLAG("--offline", &command.offline, "ask nobody: say where it is, if it is here"),
        CI_SECTION("Output"),
        CI_FLAG("--json", &command.json,
                "a line of JSON for each step on standard output: status, digest, total, completed; the last one has "
                "the path"),
        CI_LOG_OPTIONS(&command.log),
    };
    char *about = make_about();
    const struct ci_usage usage = {
        .command = "pull",
        .synopsis = "[options] NAME...",
        .about = about ? about : intro,
        .examples = "  clinfer pull smollm2-135m\n"
                    "  clinfer pull Qwen/Qwen2.5-Coder-1.5B-Instruct-GGUF:Q4_K_M\n"
                    "  clinfer run -m \"$(clinfer pull qwen3-0.6b)\" \"Why is the sky blue?\"",
        .options = options,
        .option_count = sizeof options / sizeof *options,
        .words = "ALIAS|MODEL",
    };
    int exit_status = ci_options_parse(&usage, argc, argv, &command.words);
    if (exit_status == CI_OPTIONS_GO_ON) {
        enum clinfer_status status = ci_log_start(&command.log);
        exit_status = status == CLINFER_OK ? pull_all(&command) : ci_exit_status(status);
        ci_log_end();
    }
    ci_texts_free(&command.words);
    free(about);
    return exit_status;
}
