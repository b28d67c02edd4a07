/* ops.c: `clinfer ops`: the table that says where every op of a model runs on this machine, and why. It is read from
 * the plans as they were built and proven here, so that loading the model is part of it. */
#define _GNU_SOURCE
#include <clinfer.h>
#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/command.h"
#include "cli/engine_flags.h"
#include "cli/output.h"

enum { PROMPT_ROWS = 512, TEXT = 256 };

/* Steps that are alike in everything that the table shows. */
struct row {
    char op[32], types[128], layout[16], variant[48], place[128], tunables[TEXT], reason[TEXT], otherwise[512];
    int64_t rows, k, n;
    bool fallback;
    int count;
};

struct table {
    struct row *rows;
    size_t count;
    bool failed;
};

static void add_step(void *user, const struct clinfer_plan_step *step) {
    struct table *table = user;
    struct row row = {.rows = step->rows, .k = step->k, .n = step->n, .fallback = step->fallback};
    snprintf(row.op, sizeof row.op, "%s", step->op);
    snprintf(row.types, sizeof row.types, "%s", step->types);
    snprintf(row.layout, sizeof row.layout, "%s", step->layout);
    snprintf(row.variant, sizeof row.variant, "%s", step->variant);
    snprintf(row.place, sizeof row.place, "%s", step->place);
    snprintf(row.tunables, sizeof row.tunables, "%s", step->tunables);
    snprintf(row.reason, sizeof row.reason, "%s", step->reason);
    snprintf(row.otherwise, sizeof row.otherwise, "%s", step->otherwise);
    for (size_t i = 0; i < table->count; i++) {
        struct row same = table->rows[i];
        same.count = 0;
        if (memcmp(&same, &row, sizeof row) != 0) continue;
        table->rows[i].count++;
        return;
    }
    struct row *grown = realloc(table->rows, (table->count + 1) * sizeof *grown);
    table->failed = table->failed || !grown;
    if (!grown) return;
    table->rows = grown;
    row.count = 1;
    grown[table->count++] = row;
}

/* The plan of a prompt has as many rows as asked for, or what a step of this engine holds. */
static enum clinfer_status read_plan(clinfer_engine *engine, int rows, struct table *table, int *waits) {
    enum clinfer_status status = clinfer_engine_explain(engine, rows, add_step, table, waits);
    while (status == CLINFER_INVALID_ARGUMENT && rows > 1)
        status = clinfer_engine_explain(engine, rows /= 2, add_step, table, waits);
    return status == CLINFER_OK && table->failed ? CLINFER_OUT_OF_MEMORY : status;
}

static void print_row(const struct row *row) {
    char types[128], shape[64], variant[2 * TEXT];
    snprintf(shape, sizeof shape, "%" PRId64 "x%" PRId64 " -> %" PRId64, row->rows, row->k, row->n);
    snprintf(variant, sizeof variant, "%s%s%s%s", row->variant, *row->tunables ? " (" : "", row->tunables,
             *row->tunables ? ")" : "");
    if (!*row->types) snprintf(shape, sizeof shape, "-");
    ci_printf("%-18s x%-4d %-30s %-20s %-7s %s: %s%s\n", row->op, row->count,
              ci_format_types(row->types, types, sizeof types), shape, row->layout, row->place, variant,
              row->fallback ? " (fallback)" : "");
    if (*row->reason) ci_printf("%24swhy: %s\n", "", row->reason);
    if (*row->otherwise) ci_printf("%24sthen: %s\n", "", row->otherwise);
}

static json_t *row_json(const struct row *row) {
    return json_pack("{s:s, s:i, s:s, s:I, s:I, s:I, s:s, s:s, s:s, s:s, s:s, s:s, s:b}", "op", row->op, "count",
                     row->count, "types", row->types, "rows", (json_int_t)row->rows, "k", (json_int_t)row->k, "n",
                     (json_int_t)row->n, "layout", row->layout, "place", row->place, "variant", row->variant,
                     "tunables", row->tunables, "reason", row->reason, "otherwise", row->otherwise, "fallback",
                     (int)row->fallback);
}

static json_t *table_json(const struct table *table, int waits) {
    json_t *list = json_array();
    for (size_t i = 0; i < table->count; i++) json_array_append_new(list, row_json(&table->rows[i]));
    return json_pack("{s:i, s:o}", "waits", waits, "ops", list);
}

static void print_table(const char *title, const struct table *table, int waits) {
    ci_printf("%s: the host waits %d time%s\n", title, waits, waits == 1 ? "" : "s");
    for (size_t i = 0; i < table->count; i++) print_row(&table->rows[i]);
}

static int print(clinfer_engine *engine, bool json) {
    struct table decode = {0}, prefill = {0};
    int decode_waits = 0, prefill_waits = 0, exit_status = 0;
    struct clinfer_engine_info info;
    clinfer_engine_get_info(engine, &info);
    enum clinfer_status status = read_plan(engine, 1, &decode, &decode_waits);
    if (status == CLINFER_OK) status = read_plan(engine, PROMPT_ROWS, &prefill, &prefill_waits);
    if (status != CLINFER_OK) {
        exit_status = ci_complain(status);
    } else if (json) {
        exit_status = ci_print_json(json_pack(
            "{s:o, s:s, s:o, s:o}", "device", ci_json_text(info.device, strlen(info.device)), "tuning", info.tuning,
            "decode", table_json(&decode, decode_waits), "prefill", table_json(&prefill, prefill_waits)));
    } else {
        ci_printf("%s; tuning: %s\n\n", info.device, info.tuning);
        print_table("decode, one token", &decode, decode_waits);
        ci_printf("\n");
        print_table("prefill, a prompt in one step", &prefill, prefill_waits);
    }
    free(decode.rows);
    free(prefill.rows);
    return exit_status;
}

int ci_command_ops(int argc, char **argv) {
    bool json = false;
    struct ci_log_flags log = {0};
    struct ci_engine_flags flags = CI_ENGINE_FLAGS_DEFAULT;
    const struct ci_option options[] = {
        CI_ENGINE_OPTIONS(&flags),
        CI_SECTION("Output"),
        CI_FLAG("--json", &json, "one JSON object"),
        CI_LOG_OPTIONS(&log),
    };
    const struct ci_usage usage = {
        .command = "ops",
        .synopsis = "[-m MODEL] [--device DEVICE] [--json]",
        .about =
            "Shows where every op of a model runs on this machine: the kernel that was chosen, why, and what would\n"
            "take over if it failed; for decoding one token and for a prompt. Everything shown was built and proven.",
        .examples = "  clinfer ops\n  clinfer ops --device cpu --json\n  clinfer ops --op matmul=gemm_vec\n"
                    "  clinfer ops --tuning none",
        .options = options,
        .option_count = sizeof options / sizeof *options,
    };
    int exit_status = ci_options_parse(&usage, argc, argv, NULL);
    if (exit_status == CI_OPTIONS_GO_ON) {
        enum clinfer_status status = ci_log_start(&log);
        struct ci_model_choice choice = {0};
        clinfer_engine *engine = NULL;
        if (status == CLINFER_OK) {
            status = ci_engine_flags_open(&flags, CI_LOGITS_OF_LAST, &choice, &engine);
            exit_status = status == CLINFER_OK ? print(engine, json) : ci_complain(status);
        } else {
            exit_status = ci_exit_status(status);
        }
        clinfer_engine_close(engine);
        ci_models_free(&choice);
        ci_log_end();
    }
    ci_engine_flags_free(&flags);
    return exit_status;
}
