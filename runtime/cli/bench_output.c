/* bench_output.c: the rows of `clinfer bench` as tables. The fields stand in one list, in the order and with the names
 * of llama-bench, ours behind them; each format is a printer of that list. The table for people (md) has columns of its
 * own. */
#include <inttypes.h>
#include <jansson.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "cli/bench.h"
#include "cli/output.h"

/* The Makefile writes which commit this is built of. */
#ifdef __has_include
#if __has_include("commit.h")
#include "commit.h"
#endif
#endif
#ifndef CI_BENCH_COMMIT
#define CI_BENCH_COMMIT CLINFER_VERSION
#define CI_BENCH_NUMBER 0
#endif

enum kind {
    TEXT,
    INTEGER,
    COUNT, /* an integer; below zero: not known */
    REAL   /* NAN: not known */
};

static const struct field {
    const char *name;
    enum kind kind;
    size_t offset;
} fields[] = {
#define FIELD(name, kind, member)                                                                                      \
    { name, kind, offsetof(struct ci_bench_row, member) }
    FIELD("build_commit", TEXT, build_commit),
    FIELD("build_number", COUNT, build_number),
    FIELD("cpu_info", TEXT, cpu_info),
    FIELD("gpu_info", TEXT, gpu_info),
    FIELD("backends", TEXT, backends),
    FIELD("model_filename", TEXT, model_filename),
    FIELD("model_type", TEXT, model_type),
    FIELD("model_size", COUNT, model_size),
    FIELD("model_n_params", COUNT, model_parameters),
    FIELD("n_batch", COUNT, batch),
    FIELD("n_ubatch", COUNT, micro_batch),
    FIELD("n_threads", COUNT, threads),
    FIELD("type_k", TEXT, type_k),
    FIELD("type_v", TEXT, type_v),
    FIELD("n_gpu_layers", INTEGER, layers),
    FIELD("flash_attn", INTEGER, flash_attention),
    FIELD("devices", TEXT, devices),
    FIELD("n_prompt", COUNT, prompt),
    FIELD("n_gen", COUNT, generated),
    FIELD("n_depth", COUNT, depth),
    FIELD("test_time", TEXT, test_time),
    FIELD("avg_ns", COUNT, mean_ns),
    FIELD("stddev_ns", COUNT, deviation_ns),
    FIELD("avg_ts", REAL, mean_rate),
    FIELD("stddev_ts", REAL, deviation_rate),
    FIELD("test", TEXT, label),
    FIELD("n_sequences", COUNT, sequences),
    FIELD("share_of_limit", REAL, share_of_limit),
    FIELD("limit", TEXT, limit),
    FIELD("limit_ts", REAL, limit_rate),
    FIELD("read_bytes_per_second", REAL, read_bytes_per_second),
    FIELD("operations_per_second", REAL, operations_per_second),
    FIELD("ttft_ns", COUNT, first_ns),
    FIELD("load_ns", COUNT, load_ns),
    FIELD("peak_bytes", COUNT, peak_bytes),
#undef FIELD
};
enum { FIELDS = sizeof fields / sizeof *fields };

/* ---- values ---- */

static const char *text_of(const struct ci_bench_row *row, const struct field *field) {
    return *(const char *const *)(const void *)((const char *)row + field->offset);
}

static int64_t integer_of(const struct ci_bench_row *row, const struct field *field) {
    return *(const int64_t *)(const void *)((const char *)row + field->offset);
}

static double real_of(const struct ci_bench_row *row, const struct field *field) {
    return *(const double *)(const void *)((const char *)row + field->offset);
}

static bool is_known(const struct ci_bench_row *row, const struct field *field) {
    switch (field->kind) {
    case TEXT: return text_of(row, field) != NULL;
    case INTEGER: return true;
    case COUNT: return integer_of(row, field) >= 0;
    case REAL: return isfinite(real_of(row, field));
    }
    return false;
}

/* Between quotes, each quote inside doubled: what CSV (RFC 4180) and SQL have in common. */
static void print_quoted(FILE *file, const char *text, char quote) {
    fputc(quote, file);
    for (; *text; text++) {
        if (*text == quote) fputc(quote, file);
        fputc(*text, file);
    }
    fputc(quote, file);
}

static void print_number(FILE *file, const struct ci_bench_row *row, const struct field *field) {
    if (field->kind == REAL)
        fprintf(file, "%.9g", real_of(row, field));
    else
        fprintf(file, "%" PRId64, integer_of(row, field));
}

/* ---- csv ---- */

static void print_names(FILE *file, const char *separator) {
    for (int i = 0; i < FIELDS; i++) fprintf(file, "%s%s", i ? separator : "", fields[i].name);
}

static void csv_header(struct ci_bench_printer *printer) {
    print_names(printer->file, ",");
    fputc('\n', printer->file);
}

static void csv_row(struct ci_bench_printer *printer, const struct ci_bench_row *row) {
    for (int i = 0; i < FIELDS; i++) {
        if (i) fputc(',', printer->file);
        if (!is_known(row, &fields[i])) continue;
        if (fields[i].kind == TEXT)
            print_quoted(printer->file, text_of(row, &fields[i]), '"');
        else
            print_number(printer->file, row, &fields[i]);
    }
    fputc('\n', printer->file);
}

/* ---- sql ---- */

static void sql_header(struct ci_bench_printer *printer) {
    static const char *const types[] = {[TEXT] = "TEXT", [INTEGER] = "INTEGER", [COUNT] = "INTEGER", [REAL] = "REAL"};
    fprintf(printer->file, "CREATE TABLE IF NOT EXISTS clinfer_bench (\n");
    for (int i = 0; i < FIELDS; i++)
        fprintf(printer->file, "  \"%s\" %s%s\n", fields[i].name, types[fields[i].kind], i + 1 < FIELDS ? "," : "");
    fprintf(printer->file, ");\n\n");
}

static void sql_row(struct ci_bench_printer *printer, const struct ci_bench_row *row) {
    fprintf(printer->file, "INSERT INTO clinfer_bench (\"");
    print_names(printer->file, "\", \"");
    fprintf(printer->file, "\") VALUES (");
    for (int i = 0; i < FIELDS; i++) {
        if (i) fprintf(printer->file, ", ");
        if (!is_known(row, &fields[i]))
            fprintf(printer->file, "NULL");
        else if (fields[i].kind == TEXT)
            print_quoted(printer->file, text_of(row, &fields[i]), '\'');
        else
            print_number(printer->file, row, &fields[i]);
    }
    fprintf(printer->file, ");\n");
}

/* ---- json ---- */

static json_t *value_json(const struct ci_bench_row *row, const struct field *field) {
    if (!is_known(row, field)) return json_null();
    if (field->kind == TEXT) return ci_json_text(text_of(row, field), strlen(text_of(row, field)));
    return field->kind == REAL ? json_real(real_of(row, field)) : json_integer((json_int_t)integer_of(row, field));
}

static void print_json(FILE *file, const struct ci_bench_row *row, size_t flags) {
    json_t *object = json_object(), *ns = json_array(), *rates = json_array();
    for (int i = 0; i < FIELDS; i++) json_object_set_new(object, fields[i].name, value_json(row, &fields[i]));
    for (int i = 0; i < row->samples->count; i++) {
        double rate = ci_bench_sample_rate(row->samples, i, row->tokens);
        json_array_append_new(ns, json_integer((json_int_t)row->samples->ns[i]));
        json_array_append_new(rates, isfinite(rate) ? json_real(rate) : json_null());
    }
    json_object_set_new(object, "samples_ns", ns);
    json_object_set_new(object, "samples_ts", rates);
    json_dumpf(object, file, flags | JSON_REAL_PRECISION(9));
    json_decref(object);
}

static void json_header(struct ci_bench_printer *printer) { fputs("[\n", printer->file); }

static void json_row(struct ci_bench_printer *printer, const struct ci_bench_row *row) {
    if (printer->any) fputs(",\n", printer->file);
    print_json(printer->file, row, JSON_INDENT(2));
}

static void json_footer(struct ci_bench_printer *printer) { fputs("\n]\n", printer->file); }

static void jsonl_row(struct ci_bench_printer *printer, const struct ci_bench_row *row) {
    print_json(printer->file, row, 0);
    fputc('\n', printer->file);
}

/* ---- md: for people ---- */

enum { CELL = 64, COLUMNS = 20 };

static void size_cell(const struct ci_bench_row *row, char cell[CELL]) {
    double mib = (double)row->model_size / 1048576;
    snprintf(cell, CELL, mib < 1024 ? "%.2f MiB" : "%.2f GiB", mib < 1024 ? mib : mib / 1024);
}

static void parameters_cell(const struct ci_bench_row *row, char cell[CELL]) {
    double millions = (double)row->model_parameters / 1e6;
    snprintf(cell, CELL, millions < 1000 ? "%.2f M" : "%.2f B", millions < 1000 ? millions : millions / 1000);
}

static void rate_cell(const struct ci_bench_row *row, char cell[CELL]) {
    if (isfinite(row->mean_rate)) snprintf(cell, CELL, "%.2f \u00b1 %.2f", row->mean_rate, row->deviation_rate);
}

static void share_cell(const struct ci_bench_row *row, char cell[CELL]) {
    if (isfinite(row->share_of_limit)) snprintf(cell, CELL, "%.0f%%", 100 * row->share_of_limit);
}

/* What keeps the test from being faster, and how much of it this machine has. */
static void limit_cell(const struct ci_bench_row *row, char cell[CELL]) {
    if (!row->limit) return;
    if (strcmp(row->limit, "read") == 0)
        snprintf(cell, CELL, "read %.1f GB/s", row->read_bytes_per_second / 1e9);
    else
        snprintf(cell, CELL, "compute %.0f GOP/s", row->operations_per_second / 1e9);
}

static void milliseconds(int64_t ns, char cell[CELL]) {
    double ms = (double)ns / 1e6;
    if (ns >= 0) snprintf(cell, CELL, "%.*f ms", ms < 100 ? 1 : 0, ms);
}

static void first_cell(const struct ci_bench_row *row, char cell[CELL]) { milliseconds(row->first_ns, cell); }

static void load_cell(const struct ci_bench_row *row, char cell[CELL]) { milliseconds(row->load_ns, cell); }

static void peak_cell(const struct ci_bench_row *row, char cell[CELL]) {
    char text[CI_AMOUNT_BYTES];
    if (row->peak_bytes >= 0) snprintf(cell, CELL, "%s", ci_format_bytes((uint64_t)row->peak_bytes, text));
}

/* A cell is a field as it is, or what a function makes of the row. */
struct column {
    const char *title;
    int width; /* below zero: to the left */
    const char *field;
    void (*print)(const struct ci_bench_row *row, char cell[CELL]);
};

static int choose_columns(const struct ci_bench_columns *wanted, struct column columns[COLUMNS]) {
    const struct {
        bool wanted;
        struct column column;
    } all[] = {{true, {"model", -20, "model_type", NULL}},
               {true, {"size", 10, NULL, size_cell}},
               {true, {"params", 9, NULL, parameters_cell}},
               {true, {"backend", -10, "backends", NULL}},
               {wanted->layers, {"ngl", 3, "n_gpu_layers", NULL}},
               {true, {"threads", 7, "n_threads", NULL}},
               {wanted->batch, {"n_batch", 7, "n_batch", NULL}},
               {wanted->micro_batch, {"n_ubatch", 8, "n_ubatch", NULL}},
               {wanted->type_k, {"type_k", 6, "type_k", NULL}},
               {wanted->type_v, {"type_v", 6, "type_v", NULL}},
               {wanted->devices, {"dev", -8, "devices", NULL}},
               {true, {"test", 17, "test", NULL}},
               {true, {"t/s", 18, NULL, rate_cell}},
               {true, {"of limit", 8, NULL, share_cell}},
               {true, {"limit", 17, NULL, limit_cell}},
               {true, {"first token", 11, NULL, first_cell}},
               {true, {"load", 7, NULL, load_cell}},
               {true, {"peak memory", 11, NULL, peak_cell}}};
    int count = 0;
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        if (all[i].wanted) columns[count++] = all[i].column;
    return count;
}

static void fill_cell(const struct column *column, const struct ci_bench_row *row, char cell[CELL]) {
    *cell = 0;
    if (column->print) {
        column->print(row, cell);
        return;
    }
    const struct field *field = fields;
    while (strcmp(field->name, column->field) != 0) field++;
    if (field->kind == TEXT)
        snprintf(cell, CELL, "%s", text_of(row, field));
    else
        snprintf(cell, CELL, "%" PRId64, integer_of(row, field));
}

static void md_header(struct ci_bench_printer *printer) {
    static const char line[] = "--------------------";
    struct column columns[COLUMNS];
    int count = choose_columns(&printer->columns, columns);
    for (int i = 0; i < count; i++) fprintf(printer->file, "| %*s ", columns[i].width, columns[i].title);
    fputs("|\n", printer->file);
    for (int i = 0; i < count; i++)
        fprintf(printer->file, "| %.*s%c ", abs(columns[i].width) - 1, line, columns[i].width < 0 ? '-' : ':');
    fputs("|\n", printer->file);
}

/* Bytes with which a character of UTF-8 goes on are no columns. */
static int hidden_bytes(const char *text) {
    int count = 0;
    for (; *text; text++) count += ((unsigned char)*text & 0xc0) == 0x80;
    return count;
}

static void md_row(struct ci_bench_printer *printer, const struct ci_bench_row *row) {
    struct column columns[COLUMNS];
    int count = choose_columns(&printer->columns, columns);
    for (int i = 0; i < count; i++) {
        char cell[CELL];
        fill_cell(&columns[i], row, cell);
        int width = columns[i].width, more = hidden_bytes(cell);
        fprintf(printer->file, "| %*s ", width < 0 ? width - more : width + more, cell);
    }
    fputs("|\n", printer->file);
}

static void md_footer(struct ci_bench_printer *printer) {
    fprintf(printer->file, "\nbuild: %s (%d)\n", CI_BENCH_COMMIT, CI_BENCH_NUMBER);
}

/* ---- all ---- */

static const struct format {
    void (*header)(struct ci_bench_printer *printer);
    void (*row)(struct ci_bench_printer *printer, const struct ci_bench_row *row);
    void (*footer)(struct ci_bench_printer *printer);
} formats[] = {
    [CI_BENCH_MD] = {md_header, md_row, md_footer},         [CI_BENCH_CSV] = {csv_header, csv_row, NULL},
    [CI_BENCH_JSON] = {json_header, json_row, json_footer}, [CI_BENCH_JSONL] = {NULL, jsonl_row, NULL},
    [CI_BENCH_SQL] = {sql_header, sql_row, NULL},
};

/* Through a buffer: what standard output takes goes by way of output.h. */
static bool begin(struct ci_bench_printer *printer) {
    printer->text = NULL;
    printer->file = open_memstream(&printer->text, &printer->size);
    return printer->file != NULL;
}

static void end(struct ci_bench_printer *printer) {
    ci_progress(NULL);
    if (fclose(printer->file) == 0 && printer->to_stderr) ci_tell("%s", printer->text);
    if (!printer->to_stderr && printer->text) {
        ci_print(printer->text, printer->size);
        ci_flush();
    }
    free(printer->text);
}

static void print(struct ci_bench_printer *printer, void (*part)(struct ci_bench_printer *printer)) {
    if (!part || !begin(printer)) return;
    part(printer);
    end(printer);
}

void ci_bench_print_row(struct ci_bench_printer *printer, struct ci_bench_row *row) {
    const struct format *format = &formats[printer->format];
    if (printer->format == CI_BENCH_NONE) return;
    row->build_commit = CI_BENCH_COMMIT;
    row->build_number = CI_BENCH_NUMBER;
    if (!printer->any) print(printer, format->header);
    if (begin(printer)) {
        format->row(printer, row);
        end(printer);
    }
    printer->any = true;
}

void ci_bench_print_end(struct ci_bench_printer *printer) {
    if (printer->any) print(printer, formats[printer->format].footer);
}
