/* bench_load.c: what came of a load on a server: percentiles, and rows of `clinfer bench --server`. Percentiles are by
 * nearest rank: each is a value that was measured. */
#define _GNU_SOURCE
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/bench_server.h"
#include "cli/output.h"

void ci_bench_load_note(struct ci_bench_load *load, const char *problem) {
    int i = 0;
    load->failed++;
    while (i + 1 < CI_BENCH_KINDS && load->failures[i].count && strcmp(load->failures[i].text, problem) != 0) i++;
    if (!load->failures[i].count)
        snprintf(load->failures[i].text, sizeof load->failures[i].text, "%s",
                 i + 1 < CI_BENCH_KINDS ? problem : "other failures");
    load->failures[i].count++;
}

void ci_bench_load_free(struct ci_bench_load *load) {
    free(load->first.items);
    free(load->gaps.items);
    free(load->token.items);
    free(load->whole.items);
}

/* ---- numbers ---- */

static int compare(const void *a, const void *b) {
    double one = *(const double *)a, other = *(const double *)b;
    return (one > other) - (one < other);
}

/* Of sorted ones, in milliseconds; NAN: there are none. */
static double percentile(const struct ci_bench_numbers *numbers, double share) {
    if (!numbers->count) return NAN;
    size_t rank = (size_t)ceil(share * (double)numbers->count);
    return 1e3 * numbers->items[rank ? rank - 1 : 0];
}

static double mean(const struct ci_bench_numbers *numbers) {
    double sum = 0;
    for (size_t i = 0; i < numbers->count; i++) sum += numbers->items[i];
    return numbers->count ? 1e3 * sum / (double)numbers->count : NAN;
}

static void sort(struct ci_bench_numbers *numbers) {
    if (numbers->count) qsort(numbers->items, numbers->count, sizeof *numbers->items, compare);
}

/* ---- data ---- */

static json_t *real(double value) { return isfinite(value) ? json_real(value) : json_null(); }

static void add_times(json_t *row, const char *name, const struct ci_bench_numbers *numbers) {
    const struct {
        const char *name;
        double value;
    } all[] = {{"mean", mean(numbers)},
               {"p50", percentile(numbers, 0.50)},
               {"p90", percentile(numbers, 0.90)},
               {"p95", percentile(numbers, 0.95)},
               {"p99", percentile(numbers, 0.99)},
               {"max", percentile(numbers, 1)}};
    char field[64];
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
        snprintf(field, sizeof field, "%s_%s_ms", name, all[i].name);
        json_object_set_new(row, field, real(all[i].value));
    }
}

static double per_second(const struct ci_bench_load *load, long long count) {
    return load->seconds > 0 ? (double)count / load->seconds : NAN;
}

/* In the order of CSV's columns. */
static json_t *make_row(const struct ci_bench_load *load) {
    const struct ci_bench_server *server = load->server;
    json_t *row = json_object(), *failures = json_object();
    json_object_set_new(row, "server", ci_json_text(server->base, strlen(server->base)));
    json_object_set_new(row, "api", json_string(server->api == CI_BENCH_CHAT ? "chat" : "completions"));
    json_object_set_new(row, "model", ci_json_text(server->model, strlen(server->model)));
    json_object_set_new(row, "concurrency", json_integer(load->clients));
    json_object_set_new(row, "rate", load->rate > 0 ? json_real(load->rate) : json_null());
    json_object_set_new(row, "seed", json_integer(load->seed));
    json_object_set_new(row, "n_prompt", json_integer(load->prompt));
    json_object_set_new(row, "n_gen", json_integer(load->generated));
    json_object_set_new(row, "requests", json_integer(load->wanted));
    json_object_set_new(row, "completed", json_integer(load->completed));
    json_object_set_new(row, "failed", json_integer(load->failed));
    json_object_set_new(row, "seconds", json_real(load->seconds));
    json_object_set_new(row, "prompt_tokens", json_integer(load->prompt_tokens));
    json_object_set_new(row, "cached_tokens",
                        load->cached_tokens < 0 ? json_null() : json_integer(load->cached_tokens));
    json_object_set_new(row, "generated_tokens", json_integer(load->generated_tokens));
    json_object_set_new(row, "requests_per_second", real(per_second(load, load->completed)));
    json_object_set_new(row, "generated_tokens_per_second", real(per_second(load, load->generated_tokens)));
    json_object_set_new(row, "tokens_per_second", real(per_second(load, load->generated_tokens + load->prompt_tokens)));
    add_times(row, "ttft", &load->first);
    add_times(row, "itl", &load->gaps);
    add_times(row, "tpot", &load->token);
    add_times(row, "e2e", &load->whole);
    for (int i = 0; i < CI_BENCH_KINDS && load->failures[i].count; i++) {
        const char *text = load->failures[i].text;
        json_t *name = ci_json_text(text, strlen(text));
        if (name) json_object_set_new(failures, json_string_value(name), json_integer(load->failures[i].count));
        json_decref(name);
    }
    json_object_set_new(row, "errors", failures);
    return row;
}

static void print_csv(json_t *row, bool names) {
    const char *name, *separator = "";
    json_t *value;
    json_object_foreach(row, name, value) {
        if (names) ci_printf("%s%s", separator, name);
        separator = ",";
    }
    if (names) ci_printf("\n");
    separator = "";
    json_object_foreach(row, name, value) {
        char *text = json_is_null(value) ? strdup("") : json_dumps(value, JSON_ENCODE_ANY | JSON_REAL_PRECISION(9));
        bool plain = !json_is_object(value) && !json_is_string(value);
        ci_printf("%s%s", separator, plain ? "" : "\"");
        /* As RFC 4180 has it: a quote inside is doubled. JSON's own stay around no text. */
        const char *at = json_is_string(value) ? json_string_value(value) : text ? text : "";
        for (; *at; at++) ci_printf("%s%c", *at == '"' ? "\"" : "", *at);
        ci_printf("%s", plain ? "" : "\"");
        separator = ",";
        free(text);
    }
    ci_printf("\n");
}

static void print_json(json_t *row, bool lines, size_t number) {
    char *text = json_dumps(row, (lines ? JSON_COMPACT : JSON_INDENT(2)) | JSON_REAL_PRECISION(9));
    if (!lines) ci_printf("%s", number ? ",\n" : "[\n");
    ci_printf("%s%s", text ? text : "null", lines ? "\n" : "");
    free(text);
}

/* ---- for people ---- */

enum { CELL = 64 };

static const char *times(const struct ci_bench_numbers *numbers, char cell[CELL]) {
    static const double shares[] = {0.50, 0.90, 0.95, 0.99};
    size_t used = 0;
    for (size_t i = 0; i < sizeof shares / sizeof *shares && numbers->count; i++) {
        double ms = percentile(numbers, shares[i]);
        int length = snprintf(cell + used, CELL - used, "%s%.*f", i ? " / " : "", ms < 100 ? 1 : 0, ms);
        used += length > 0 && (size_t)length < CELL - used ? (size_t)length : 0;
    }
    cell[used] = 0;
    return cell;
}

static void print_people(const struct ci_bench_load *load, size_t number) {
    static const char line[] = "----------------------------:";
    char first[CELL], gaps[CELL], whole[CELL], rate[32] = "-";
    if (!number)
        ci_printf(
            "Times in ms: p50 / p90 / p95 / p99\n\n"
            "| clients |     rate | prompt | answer | requests | failed |   req/s |     t/s | %29s | %29s | %29s |\n"
            "| ------: | -------: | -----: | -----: | -------: | -----: | ------: | ------: | %s | %s | %s |\n",
            "first token", "between tokens", "whole answer", line, line, line);
    if (load->rate > 0) snprintf(rate, sizeof rate, "%.4g/s", load->rate);
    ci_printf("| %7lld | %8s | %6lld | %6lld | %8lld | %6lld | %7.2f | %7.2f | %29s | %29s | %29s |\n", load->clients,
              rate, load->prompt, load->generated, load->wanted, load->failed, per_second(load, load->completed),
              per_second(load, load->generated_tokens), times(&load->first, first), times(&load->gaps, gaps),
              times(&load->whole, whole));
}

/* ---- all ---- */

void ci_bench_load_print(struct ci_bench_load *load, enum ci_bench_format format, size_t number) {
    struct ci_bench_numbers *const all[] = {&load->first, &load->gaps, &load->token, &load->whole};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) sort(all[i]);
    ci_progress(NULL);
    json_t *row = make_row(load);
    switch (format) {
    case CI_BENCH_CSV: print_csv(row, number == 0); break;
    case CI_BENCH_JSON: print_json(row, false, number); break;
    case CI_BENCH_JSONL: print_json(row, true, number); break;
    default: print_people(load, number);
    }
    ci_flush();
    json_decref(row);
    for (int i = 0; i < CI_BENCH_KINDS && load->failures[i].count; i++)
        ci_warn("%lld of %lld requests failed: %s", load->failures[i].count, load->wanted, load->failures[i].text);
}

void ci_bench_load_print_end(enum ci_bench_format format, size_t rows) {
    if (format == CI_BENCH_JSON && rows) ci_printf("\n]\n");
}
