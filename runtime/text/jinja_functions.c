/* jinja_functions.c: the functions that every template can call, and how all functions read their arguments. */
#define _GNU_SOURCE
#include <string.h>

#include "base/narrow.h"
#include "text/jinja.h"

/* Jinja's sandbox has the same bound on range(). */
enum { MAXIMUM_RANGE = 100000 };

/* The longest format, full of conversions. */
enum { STRFTIME_STEPS = 2000 };

const struct ci_jinja_function *ci_jinja_find_in(const struct ci_jinja_function *table, size_t count,
                                                 struct ci_jinja_string name) {
    for (size_t i = 0; i < count && name.length; i++)
        if (table[i].name[0] == name.bytes[0] && ci_jinja_string_is(name, table[i].name)) return &table[i];
    return NULL;
}

const struct ci_jinja_value *ci_jinja_argument(struct ci_jinja_run *run, const struct ci_jinja_arguments *arguments,
                                               size_t position, const char *name) {
    if (position < arguments->count) return &arguments->items[position];
    ci_jinja_spend(&run->heap, arguments->named_count);
    for (size_t i = 0; i < arguments->named_count; i++)
        if (ci_jinja_string_is(arguments->named[i].name, name)) return &arguments->named[i].value;
    return NULL;
}

struct ci_jinja_value ci_jinja_need(struct ci_jinja_run *run, const struct ci_jinja_arguments *arguments,
                                    size_t position, const char *name) {
    const struct ci_jinja_value *value = ci_jinja_argument(run, arguments, position, name);
    if (value == NULL) ci_jinja_fail(&run->heap, CLINFER_INVALID_ARGUMENT, "the argument '%s' is missing", name);
    return *value;
}

bool ci_jinja_argument_boolean(struct ci_jinja_run *run, const struct ci_jinja_arguments *arguments, size_t position,
                               const char *name, bool otherwise) {
    const struct ci_jinja_value *value = ci_jinja_argument(run, arguments, position, name);
    return value ? ci_jinja_truth(*value) : otherwise;
}

int64_t ci_jinja_argument_integer(struct ci_jinja_run *run, const struct ci_jinja_arguments *arguments, size_t position,
                                  const char *name, int64_t otherwise) {
    const struct ci_jinja_value *value = ci_jinja_argument(run, arguments, position, name);
    if (value == NULL || value->kind == CI_JINJA_IS_NONE) return otherwise;
    if (value->kind == CI_JINJA_IS_BOOLEAN) return value->boolean;
    if (value->kind != CI_JINJA_IS_INTEGER)
        ci_jinja_fail(&run->heap, CLINFER_INVALID_ARGUMENT, "the argument '%s' is of type %s, not integer", name,
                      ci_jinja_kind_name(*value));
    return value->integer;
}

/* range(stop), range(start, stop), range(start, stop, step) */
static struct ci_jinja_value function_range(struct ci_jinja_run *run, struct ci_jinja_value self,
                                            const struct ci_jinja_arguments *arguments) {
    (void)self;
    ci_jinja_need(run, arguments, 0, "stop");
    bool one = arguments->count == 1;
    int64_t first = one ? 0 : ci_jinja_argument_integer(run, arguments, 0, "start", 0);
    int64_t stop = ci_jinja_argument_integer(run, arguments, one ? 0 : 1, "stop", 0);
    int64_t step = ci_jinja_argument_integer(run, arguments, 2, "step", 1);
    if (step == 0) ci_jinja_fail(&run->heap, CLINFER_INVALID_ARGUMENT, "range() with a step of zero");
    uint64_t distance = 0;
    if (step > 0 && stop > first) distance = (uint64_t)stop - (uint64_t)first;
    if (step < 0 && first > stop) distance = (uint64_t)first - (uint64_t)stop;
    uint64_t stride = step > 0 ? (uint64_t)step : 0 - (uint64_t)step;
    uint64_t count = distance ? (distance - 1) / stride + 1 : 0;
    if (count > MAXIMUM_RANGE)
        ci_jinja_fail(&run->heap, CLINFER_BAD_FILE, "range() of %llu numbers; at most %d are possible",
                      (unsigned long long)count, MAXIMUM_RANGE);
    struct ci_jinja_value *items = ci_jinja_alloc(&run->heap, count, sizeof *items);
    for (uint64_t i = 0; i < count; i++) items[i] = ci_jinja_integer((int64_t)((uint64_t)first + i * (uint64_t)step));
    return ci_jinja_list(run, CI_JINJA_SHAPE_LIST, items, count);
}

/* dict(a=1) and namespace(a=1), perhaps with a dict to start from. */
static struct ci_jinja_dict *make_dict(struct ci_jinja_run *run, const struct ci_jinja_arguments *arguments) {
    struct ci_jinja_dict *dict = ci_jinja_dict_create(run, arguments->named_count);
    if (arguments->count > 1 || (arguments->count == 1 && arguments->items[0].kind != CI_JINJA_IS_DICT))
        ci_jinja_fail(&run->heap, CLINFER_INVALID_ARGUMENT, "dict() and namespace() take a dict and name=value only");
    if (arguments->count == 1) {
        const struct ci_jinja_dict *from = arguments->items[0].dict;
        for (size_t i = 0; i < from->count; i++) ci_jinja_dict_set(run, dict, from->pairs[i].key, from->pairs[i].value);
    }
    for (size_t i = 0; i < arguments->named_count; i++)
        ci_jinja_dict_set(run, dict, ci_jinja_text(arguments->named[i].name), arguments->named[i].value);
    return dict;
}

static struct ci_jinja_value function_dict(struct ci_jinja_run *run, struct ci_jinja_value self,
                                           const struct ci_jinja_arguments *arguments) {
    (void)self;
    return (struct ci_jinja_value){.kind = CI_JINJA_IS_DICT, .dict = make_dict(run, arguments)};
}

static struct ci_jinja_value function_namespace(struct ci_jinja_run *run, struct ci_jinja_value self,
                                                const struct ci_jinja_arguments *arguments) {
    (void)self;
    return (struct ci_jinja_value){.kind = CI_JINJA_IS_NAMESPACE, .dict = make_dict(run, arguments)};
}

static struct ci_jinja_value function_raise_exception(struct ci_jinja_run *run, struct ci_jinja_value self,
                                                      const struct ci_jinja_arguments *arguments) {
    (void)self;
    struct ci_jinja_string text = ci_jinja_to_string(run, ci_jinja_need(run, arguments, 0, "message"));
    ci_jinja_fail(&run->heap, CLINFER_INVALID_ARGUMENT, "the template refuses this conversation: %.*s",
                  ci_shown(text.length, 400), text.bytes);
}

static struct ci_jinja_value function_strftime_now(struct ci_jinja_run *run, struct ci_jinja_value self,
                                                   const struct ci_jinja_arguments *arguments) {
    (void)self;
    struct ci_jinja_string format = ci_jinja_to_string(run, ci_jinja_need(run, arguments, 0, "format"));
    char zero_terminated[128], text[512];
    struct tm local;
    if (format.length >= sizeof zero_terminated || memchr(format.bytes, 0, format.length))
        ci_jinja_fail(&run->heap, CLINFER_INVALID_ARGUMENT, "strftime_now() with a format above 127 bytes");
    memcpy(zero_terminated, format.bytes, format.length);
    zero_terminated[format.length] = 0;
    ci_jinja_spend(&run->heap, STRFTIME_STEPS);
    if (localtime_r(&run->now, &local) == NULL)
        ci_jinja_fail(&run->heap, CLINFER_INVALID_ARGUMENT, "strftime_now() has no local time");
    size_t length = strftime(text, sizeof text, zero_terminated, &local);
    char *copy = ci_jinja_alloc(&run->heap, length + 1, 1);
    memcpy(copy, text, length);
    return ci_jinja_text(
        (struct ci_jinja_string){copy, length, format.origins ? CI_JINJA_OF_INPUT : CI_JINJA_OF_TEMPLATE});
}

const struct ci_jinja_function *ci_jinja_find_function(struct ci_jinja_string name) {
    static const struct ci_jinja_function table[] = {
        {"range", function_range},
        {"dict", function_dict},
        {"namespace", function_namespace},
        {"raise_exception", function_raise_exception},
        {"strftime_now", function_strftime_now},
    };
    return ci_jinja_find_in(table, sizeof table / sizeof table[0], name);
}
