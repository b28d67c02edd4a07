/* prune.c: `clinfer prune`: what lies about and is of no use. */
#define _GNU_SOURCE
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/status.h"
#include "cli/command.h"
#include "cli/confirm.h"
#include "cli/options.h"
#include "cli/output.h"
#include "hub/remove.h"
#include "hub/space.h"

struct prune {
    bool all, yes, dry_run;
};

static void print_step(const struct ci_removal_step *step) {
    static const char *const whats[] = {[CI_REMOVAL_FILE] = "left over",
                                        [CI_REMOVAL_LINK] = "leads nowhere",
                                        [CI_REMOVAL_PART] = "unfinished",
                                        [CI_REMOVAL_UNUSED] = "unused",
                                        [CI_REMOVAL_RELINK] = ""};
    char size[CI_AMOUNT_BYTES];
    ci_printf("%-13s  %10s  %s\n", whats[step->kind],
              step->bytes ? ci_hub_size_text(step->bytes, size, sizeof size) : "", ci_one_line(step->path));
}

/* What is unused may be somebody's all the same: unlike the rest it was fetched whole. */
static enum clinfer_status ask(const struct prune *prune, const struct ci_removal *removal) {
    static const enum ci_removal_kind unused = CI_REMOVAL_UNUSED;
    char question[160], size[CI_AMOUNT_BYTES];
    size_t count = 0;
    for (size_t i = 0; i < removal->count; i++) count += removal->steps[i].kind == unused;
    if (!count) return CLINFER_OK;
    snprintf(question, sizeof question, "Remove these, among them %zu file%s that no model has (%s)?", count,
             count == 1 ? "" : "s", ci_hub_size_text(ci_removal_bytes(removal, &unused), size, sizeof size));
    return ci_confirm(prune->yes, question);
}

static enum clinfer_status prune_all(const struct prune *prune) {
    struct ci_hub_settings settings = {0};
    struct ci_removal removal = {0};
    char size[CI_AMOUNT_BYTES];
    uint64_t freed = 0;
    enum clinfer_status status = ci_hub_settings_read(&settings);
    if (status == CLINFER_OK) status = ci_removal_prune(&settings, prune->all, &removal);
    if (status == CLINFER_OK) {
        for (size_t i = 0; i < removal.count; i++) print_step(&removal.steps[i]);
        ci_say_lines(removal.notes);
        if (!removal.count)
            ci_say("there is nothing to remove%s", prune->all ? "" : "; --all also looks for files that no model has");
    }
    bool wanted = status == CLINFER_OK && removal.count && !prune->dry_run;
    if (wanted) status = ask(prune, &removal);
    if (wanted && status == CLINFER_OK) {
        status = ci_removal_do(&removal, &freed);
        if (status == CLINFER_OK || freed) ci_printf("%s freed\n", ci_hub_size_text(freed, size, sizeof size));
    }
    ci_removal_free(&removal);
    ci_hub_settings_free(&settings);
    return status;
}

int ci_command_prune(int argc, char **argv) {
    struct prune prune = {0};
    struct ci_log_flags log = {0};
    const struct ci_option options[] = {
        CI_SECTION("Removing"),
        CI_FLAG("--all", &prune.all,
                "also files in the Hub's cache that no model has, and links that lead nowhere outside of it; they are "
                "listed, and then it asks"),
        CI_FLAG("-n --dry-run", &prune.dry_run, "list what would go, and remove nothing"),
        CI_FLAG("-y --yes", &prune.yes, "with --all: do not ask; needed where standard input is no terminal"),
        CI_SECTION("Output"),
        CI_LOG_OPTIONS(&log),
    };
    const struct ci_usage usage = {
        .command = "prune",
        .synopsis = "[--all] [-y] [-n]",
        .about =
            "Removes what is of no use: downloads of clinfer's that were never finished and that nobody is working\n"
            "at, and links in the Hub's cache that lead nowhere. Models, downloads of other programs and stores of\n"
            "other programs stay.",
        .examples = "  clinfer prune\n  clinfer prune --all --dry-run",
        .options = options,
        .option_count = sizeof options / sizeof *options,
    };
    int exit_status = ci_options_parse(&usage, argc, argv, NULL);
    if (exit_status != CI_OPTIONS_GO_ON) return exit_status;
    enum clinfer_status status = ci_log_start(&log);
    if (status != CLINFER_OK) return ci_exit_status(status);
    status = prune_all(&prune);
    exit_status = status == CLINFER_OK ? 0 : ci_complain(status);
    ci_log_end();
    return exit_status;
}
