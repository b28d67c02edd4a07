/* verify.c: `clinfer verify`: a model computed step by step, every kernel compared with the reference on the numbers
 * that it really gets: prompts of several lengths and some tokens of decode, so that each of the model's plans has its
 * turn. What is wrong is named, and with --fix replaced for good. */
#define _GNU_SOURCE
#include "engine/verify.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/random.h"
#include "base/status.h"
#include "cli/command.h"
#include "cli/engine_flags.h"
#include "cli/output.h"
#include "cli/prompts.h"

static const char default_text[] =
    "The river rises in the mountains, where the snow of 9 long winters has turned into ice. It runs through 3 "
    "countries, past mills, vineyards and 27 towns; \"a road that walks\", as somebody called it. \xc3\x9c"
    "ber die Br\xc3\xbc"
    "cke geht man zu Fu\xc3\x9f.\n\nint main(void) { return 0; }\n";

struct verify {
    struct ci_engine_flags engine;
    struct ci_prompt_sources sources;
    struct ci_log_flags log;
    bool fix, json;
};

/* What all layers' steps of one op and variant have together. */
struct row {
    char op[48], variant[48], place[128];
    double nmse, allowed, worst;
    long long steps, not_finite, wrong;
};

struct table {
    struct row *rows;
    size_t count;
    bool failed, until_wrong;
    long long steps;
    char own[192]; /* where the model's own numbers are not finite first, or "" */
};

static struct row *find_row(struct table *table, const struct ci_verify_step *step) {
    for (size_t i = 0; i < table->count; i++) {
        struct row *row = &table->rows[i];
        if (strcmp(row->op, step->op) == 0 && strcmp(row->variant, step->variant) == 0 &&
            strcmp(row->place, step->place) == 0)
            return row;
    }
    struct row *grown = realloc(table->rows, (table->count + 1) * sizeof *grown);
    if (!grown) return NULL;
    table->rows = grown;
    struct row *row = &grown[table->count++];
    *row = (struct row){.allowed = step->allowed};
    snprintf(row->op, sizeof row->op, "%s", step->op);
    snprintf(row->variant, sizeof row->variant, "%s", step->variant);
    snprintf(row->place, sizeof row->place, "%s", step->place);
    return row;
}

static bool add_step(void *user, const struct ci_verify_step *step) {
    struct table *table = user;
    struct row *row = find_row(table, step);
    table->failed = !row;
    if (!row) return false;
    table->steps++;
    row->steps++;
    row->not_finite += step->not_finite;
    if (step->own && !*table->own)
        snprintf(table->own, sizeof table->own, "op %s (%s)%s", step->op, step->label,
                 step->in_cache ? ": f16 cannot hold its keys or values; a run computes with an f32 cache" : "");
    row->wrong += !step->passed;
    /* Of all layers the one that comes nearest to what it was held to. A NaN is the worst error of all. */
    if (!(step->nmse * row->allowed <= row->nmse * step->allowed)) {
        row->nmse = step->nmse;
        row->allowed = step->allowed;
    }
    if (!(step->worst <= row->worst)) row->worst = step->worst;
    if (isatty(STDERR_FILENO) && table->steps % 32 == 0) fprintf(stderr, "\r%lld kernels compared", table->steps);
    return step->passed || !table->until_wrong;
}

static void print_table(const struct table *table) {
    ci_printf("%-18s %-14s %6s %10s %10s %10s %10s  %-6s %s\n", "op", "variant", "steps", "NMSE", "allowed", "of bound",
              "not finite", "", "place");
    for (size_t i = 0; i < table->count; i++) {
        const struct row *row = &table->rows[i];
        ci_printf("%-18s %-14s %6lld %10.2g %10.2g %10.2g %10lld  %-6s %s\n", row->op, row->variant, row->steps,
                  row->nmse, row->allowed, row->worst, row->not_finite, row->wrong ? "WRONG" : "ok", row->place);
    }
}

static void print_wrong(const struct ci_wrong_step *wrong) {
    ci_printf("\nfirst wrong: op %s (%s), variant %s on %s, in a run of %lld row%s: %s\n", wrong->step.op,
              wrong->step.label, wrong->step.variant, wrong->step.place, (long long)wrong->rows,
              wrong->rows == 1 ? "" : "s", wrong->step.text);
}

static json_t *wrong_json(const struct ci_wrong_step *wrong) {
    const struct ci_verify_step *step = &wrong->step;
    if (!wrong->found) return json_null();
    return json_pack("{s:s, s:s, s:s, s:o, s:I, s:o}", "op", step->op, "label", step->label, "variant", step->variant,
                     "place", ci_json_text(step->place, strlen(step->place)), "rows", (json_int_t)wrong->rows, "error",
                     ci_json_text(step->text, strlen(step->text)));
}

/* The kernels are right for what the graph has; this is what it does without. */
static json_t *left_out_json(const clinfer_engine *engine) {
    json_t *list = json_array();
    for (const struct ci_finding *finding = ci_engine_findings(engine); finding; finding = finding->next)
        if (finding->kind == CI_FINDING_LEFT_OUT)
            json_array_append_new(list,
                                  json_pack("{s:o, s:s}", "name", ci_json_text(finding->name, strlen(finding->name)),
                                            "why", finding->why));
    return list;
}

static void print_left_out(const clinfer_engine *engine) {
    for (const struct ci_finding *finding = ci_engine_findings(engine); finding; finding = finding->next)
        if (finding->kind == CI_FINDING_LEFT_OUT) ci_printf("left out: %s: %s\n", finding->name, finding->why);
}

/* JSON has no infinity and no NaN. */
static json_t *number(double value) { return value - value == 0 ? json_real(value) : json_null(); }

static json_t *table_json(const struct table *table) {
    json_t *rows = json_array();
    for (size_t i = 0; i < table->count; i++) {
        const struct row *row = &table->rows[i];
        json_array_append_new(rows,
                              json_pack("{s:s, s:s, s:o, s:I, s:o, s:f, s:o, s:I, s:I}", "op", row->op, "variant",
                                        row->variant, "place", ci_json_text(row->place, strlen(row->place)), "steps",
                                        (json_int_t)row->steps, "nmse", number(row->nmse), "nmse_allowed", row->allowed,
                                        "worst_of_bound", number(row->worst), "not_finite", (json_int_t)row->not_finite,
                                        "wrong", (json_int_t)row->wrong));
    }
    return rows;
}

/* For a model without a tokenizer: its kernels compute with any ids. */
static enum clinfer_status make_up_tokens(const clinfer_engine *engine, int32_t **tokens, size_t *count) {
    enum { MADE_UP = 100 };
    struct clinfer_engine_info info;
    uint64_t random_state = 1;
    clinfer_engine_get_info(engine, &info);
    *count = MADE_UP;
    *tokens = calloc(*count, sizeof **tokens);
    if (!*tokens) return ci_fail(CLINFER_OUT_OF_MEMORY, "out of memory for %zu tokens", *count);
    for (size_t i = 0; i < *count; i++) (*tokens)[i] = (int32_t)(ci_random(&random_state) % (uint64_t)info.vocabulary);
    ci_say("the model has no tokenizer: made-up tokens take the place of a text");
    return CLINFER_OK;
}

static enum clinfer_status read_tokens(const struct verify *verify, const clinfer_engine *engine, int32_t **tokens,
                                       size_t *count) {
    if (!ci_prompts_given(&verify->sources)) {
        enum clinfer_status status =
            clinfer_tokenize(engine, default_text, strlen(default_text), true, true, tokens, count);
        return status == CLINFER_UNSUPPORTED ? make_up_tokens(engine, tokens, count) : status;
    }
    struct ci_prompts prompts;
    enum clinfer_status status = ci_prompts_read(&verify->sources, &prompts);
    if (status == CLINFER_OK)
        status = clinfer_tokenize(engine, prompts.items[0].text, prompts.items[0].length, true, true, tokens, count);
    ci_prompts_free(&prompts);
    return status;
}

/* One pass, or with --fix as many as it takes; what was wrong on the way goes to `quarantined` or, where only the
 * model's numbers were too much for it, to `set_aside`. */
static enum clinfer_status passes(const struct verify *verify, clinfer_engine *engine, struct table *table,
                                  struct ci_wrong_step *wrong, json_t *quarantined, json_t *set_aside) {
    int32_t *tokens = NULL;
    size_t count = 0;
    enum clinfer_status status = read_tokens(verify, engine, &tokens, &count);
    while (status == CLINFER_OK) {
        free(table->rows);
        *table = (struct table){.until_wrong = verify->fix};
        status = ci_engine_verify(engine, tokens, count, add_step, table, wrong);
        if (isatty(STDERR_FILENO)) fprintf(stderr, "\r\033[K");
        if (table->failed) status = ci_fail(CLINFER_OUT_OF_MEMORY, "out of memory for the table");
        if (status != CLINFER_OK || !wrong->found || !verify->fix) break;
        json_t *what = wrong_json(wrong); /* whose texts die with the plan */
        bool for_good = false;
        status = ci_engine_verify_replace(engine, wrong, &for_good);
        json_array_append_new(for_good ? quarantined : set_aside, what);
    }
    clinfer_free(tokens);
    return status;
}

static int verify_with(const struct verify *verify, clinfer_engine *engine) {
    struct table table = {0};
    struct ci_wrong_step wrong = {0};
    struct clinfer_engine_info info;
    json_t *quarantined = json_array(), *set_aside = json_array();
    int exit_status = 0;
    clinfer_engine_get_info(engine, &info);
    ci_say("%s on %s, kernel by kernel against the reference", verify->engine.from.model, info.device);
    enum clinfer_status status = passes(verify, engine, &table, &wrong, quarantined, set_aside);
    if (status != CLINFER_OK) {
        exit_status = ci_complain(status);
    } else if (verify->json) {
        exit_status = ci_print_json(json_pack("{s:o, s:o, s:o, s:O, s:O, s:o}", "device",
                                              ci_json_text(info.device, strlen(info.device)), "ops", table_json(&table),
                                              "wrong", wrong_json(&wrong), "quarantined", quarantined, "set_aside",
                                              set_aside, "left_out", left_out_json(engine)));
    } else {
        print_table(&table);
        print_left_out(engine);
        if (wrong.found) print_wrong(&wrong);
    }
    if (status == CLINFER_OK && wrong.found) {
        ci_say("`clinfer verify --fix` replaces it, for good if it is wrong with made-up numbers, too");
        exit_status = ci_exit_status(CLINFER_WRONG_RESULT);
    } else if (status == CLINFER_OK) {
        ci_say("%lld kernels compared, all right%s", table.steps,
               json_array_size(quarantined) + json_array_size(set_aside) ? " now" : "");
    }
    if (status == CLINFER_OK && *table.own) ci_say("the model's own numbers are not finite: first in %s", table.own);
    json_decref(quarantined);
    json_decref(set_aside);
    free(table.rows);
    return exit_status;
}

static int run(struct verify *verify) {
    struct ci_model_choice choice = {0};
    clinfer_engine *engine = NULL;
    enum clinfer_status status = ci_engine_flags_open_unproven(&verify->engine, &choice, &engine);
    if (status == CLINFER_OK) verify->engine.from.model = choice.path;
    int exit_status = status == CLINFER_OK ? verify_with(verify, engine) : ci_complain(status);
    clinfer_engine_close(engine);
    ci_models_free(&choice);
    return exit_status;
}

int ci_command_verify(int argc, char **argv) {
    struct verify verify = {.engine = CI_ENGINE_FLAGS_DEFAULT};
    const struct ci_option options[] = {
        CI_SECTION("What to do"),
        CI_FLAG("--fix", &verify.fix,
                "replace what is wrong until all is right; what is wrong with made-up numbers, too: for good"),
        CI_FLAG("--json", &verify.json, "one JSON object"),
        CI_PROMPT_OPTIONS(&verify.sources),
        CI_ENGINE_OPTIONS(&verify.engine),
        CI_LOG_OPTIONS(&verify.log),
    };
    const struct ci_usage usage = {
        .command = "verify",
        .synopsis = "[-m MODEL] [--device DEVICE] [--fix] [--json]",
        .about = "Runs a model kernel by kernel and compares each result with the reference's on the same numbers.\n"
                 "Prints the error per op, worst over the layers, and names the first kernel that is wrong.",
        .examples = "  clinfer verify\n  clinfer verify -m MODEL --device 0 --fix\n"
                    "  clinfer verify -f the_text_that_went_wrong.txt",
        .options = options,
        .option_count = sizeof options / sizeof *options,
    };
    int exit_status = ci_options_parse(&usage, argc, argv, NULL);
    if (exit_status == CI_OPTIONS_GO_ON) {
        enum clinfer_status status = ci_log_start(&verify.log);
        exit_status = status == CLINFER_OK ? run(&verify) : ci_exit_status(status);
        ci_log_end();
    }
    ci_texts_free(&verify.sources.files);
    ci_engine_flags_free(&verify.engine);
    return exit_status;
}
