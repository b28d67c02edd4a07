/* bench_list.c: flags of `clinfer bench` that take several values, with the grammar of llama-bench:
 * first[-last[+step | *factor]], separated by commas. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/status.h"
#include "cli/bench.h"

/* More is a slip of the keyboard, not a bench. */
enum { MOST_VALUES = 1000 };

static const char empty[] = "a value is empty";

/* `text` is one value, or all of a flag's where that has none. */
static enum clinfer_status refuse(const char *flag, const char *text, size_t length, const char *what) {
    return ci_fail(CLINFER_INVALID_ARGUMENT, "%s %.*s: %s", flag, (int)(length < 200 ? length : 200), text, what);
}

static enum clinfer_status add_integer(const char *flag, long long value, struct ci_bench_integers *list) {
    if (list->count == MOST_VALUES)
        return ci_fail(CLINFER_INVALID_ARGUMENT, "%s: more than %d values", flag, MOST_VALUES);
    long long *grown = realloc(list->items, (list->count + 1) * sizeof *grown);
    if (!grown) return ci_fail(CLINFER_OUT_OF_MEMORY, "%s: out of memory", flag);
    list->items = grown;
    list->items[list->count++] = value;
    return CLINFER_OK;
}

/* A whole number at *at, which moves behind it. */
static bool take_number(const char **at, bool negative, long long *value) {
    char *end;
    if (!(**at >= '0' && **at <= '9') && !(negative && **at == '-')) return false;
    errno = 0;
    *value = strtoll(*at, &end, 10);
    if (errno || end == *at) return false;
    *at = end;
    return true;
}

/* One item of the list, `length` bytes at text. */
static enum clinfer_status add_range(const char *flag, const char *text, size_t length, long long least, long long most,
                                     struct ci_bench_integers *list) {
    static const char grammar[] = "must be a whole number, or a range like 1-8, 512-4096+512 or 64-1024*2";
    const char *at = text, *end = text + length;
    long long first, last, step = 1;
    char sign = '+';
    if (!take_number(&at, least < 0, &first)) return refuse(flag, text, length, grammar);
    last = first;
    if (at < end && *at == '-') {
        at++;
        if (!take_number(&at, false, &last)) return refuse(flag, text, length, grammar);
        if (at < end && (*at == '+' || *at == '*')) {
            sign = *at++;
            if (!take_number(&at, false, &step)) return refuse(flag, text, length, grammar);
        }
    }
    if (at != end) return refuse(flag, text, length, grammar);
    if (first < least || last > most)
        return ci_fail(CLINFER_INVALID_ARGUMENT, "%s %.*s: must be %lld to %lld", flag, (int)length, text, least, most);
    if (last < first) return refuse(flag, text, length, "the range ends before it begins");
    if (last > first && (sign == '+' ? step < 1 : step < 2 || first < 1))
        return refuse(flag, text, length, "the range never ends");
    enum clinfer_status status = CLINFER_OK;
    for (long long value = first; status == CLINFER_OK;) {
        status = add_integer(flag, value, list);
        /* Compared so that nothing overflows. */
        if (first == last || (sign == '+' ? value > last - step : value > last / step)) break;
        value = sign == '+' ? value + step : value * step;
    }
    return status;
}

enum clinfer_status ci_bench_integers(const char *flag, const struct ci_texts *texts, long long least, long long most,
                                      struct ci_bench_integers *list) {
    *list = (struct ci_bench_integers){0};
    for (size_t i = 0; i < texts->count; i++)
        for (const char *at = texts->items[i];; at++) {
            size_t length = strcspn(at, ",");
            enum clinfer_status status = length ? add_range(flag, at, length, least, most, list)
                                                : refuse(flag, texts->items[i], strlen(texts->items[i]), empty);
            if (status != CLINFER_OK) return status;
            at += length;
            if (!*at) break;
        }
    return CLINFER_OK;
}

int ci_bench_choice(const char *choices, const char *word) {
    for (int index = 0;; index++) {
        size_t length = strcspn(choices, "|");
        if (strlen(word) == length && strncmp(word, choices, length) == 0) return index;
        if (!choices[length]) return -1;
        choices += length + 1;
    }
}

static enum clinfer_status add_word(const char *flag, const char *text, size_t length, const char *choices,
                                    struct ci_bench_words *list) {
    char **grown = realloc(list->items, (list->count + 1) * sizeof *grown);
    if (grown) list->items = grown;
    char *word = grown ? strndup(text, length) : NULL;
    if (!word) return ci_fail(CLINFER_OUT_OF_MEMORY, "%s: out of memory", flag);
    list->items[list->count++] = word;
    if (choices && ci_bench_choice(choices, word) < 0)
        return ci_fail(CLINFER_INVALID_ARGUMENT, "%s %s: must be one of %s", flag, word, choices);
    return CLINFER_OK;
}

enum clinfer_status ci_bench_words(const char *flag, const struct ci_texts *texts, const char *choices,
                                   struct ci_bench_words *list) {
    *list = (struct ci_bench_words){0};
    for (size_t i = 0; i < texts->count; i++)
        for (const char *at = texts->items[i];; at++) {
            size_t length = strcspn(at, ",");
            enum clinfer_status status = length ? add_word(flag, at, length, choices, list)
                                                : refuse(flag, texts->items[i], strlen(texts->items[i]), empty);
            if (status != CLINFER_OK) return status;
            at += length;
            if (!*at) break;
        }
    return CLINFER_OK;
}

void ci_bench_words_free(struct ci_bench_words *list) {
    for (size_t i = 0; i < list->count; i++) free(list->items[i]);
    free(list->items);
    *list = (struct ci_bench_words){0};
}
