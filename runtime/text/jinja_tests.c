/* jinja_tests.c: the tests behind `is`, with Jinja's answers, the odd ones included: what is undefined is iterable and
 * a sequence, a boolean is a number. */
#include <math.h>
#include <string.h>

#include "text/jinja.h"

#define TEST(name)                                                                                                     \
    static struct ci_jinja_value test_##name(struct ci_jinja_run *run, struct ci_jinja_value self,                     \
                                             const struct ci_jinja_arguments *arguments)
#define SIMPLE_TEST(name, condition)                                                                                   \
    TEST(name) {                                                                                                       \
        (void)run, (void)self, (void)arguments;                                                                        \
        return ci_jinja_boolean(condition);                                                                            \
    }

static bool is_indexable(struct ci_jinja_value value) {
    return value.kind == CI_JINJA_IS_UNDEFINED || value.kind == CI_JINJA_IS_STRING || value.kind == CI_JINJA_IS_DICT ||
           (value.kind == CI_JINJA_IS_LIST && value.list->shape <= CI_JINJA_SHAPE_TUPLE);
}

static bool is_iterable(struct ci_jinja_value value) {
    return is_indexable(value) || value.kind == CI_JINJA_IS_LIST || value.kind == CI_JINJA_IS_LOOP;
}

SIMPLE_TEST(defined, self.kind != CI_JINJA_IS_UNDEFINED)
SIMPLE_TEST(undefined, self.kind == CI_JINJA_IS_UNDEFINED)
SIMPLE_TEST(none, self.kind == CI_JINJA_IS_NONE)
SIMPLE_TEST(boolean, self.kind == CI_JINJA_IS_BOOLEAN)
SIMPLE_TEST(is_true, self.kind == CI_JINJA_IS_BOOLEAN && self.boolean)
SIMPLE_TEST(is_false, self.kind == CI_JINJA_IS_BOOLEAN && !self.boolean)
SIMPLE_TEST(integer, self.kind == CI_JINJA_IS_INTEGER)
SIMPLE_TEST(float, self.kind == CI_JINJA_IS_FLOAT)
SIMPLE_TEST(number, ci_jinja_is_number(self))
SIMPLE_TEST(string, self.kind == CI_JINJA_IS_STRING)
SIMPLE_TEST(mapping, self.kind == CI_JINJA_IS_DICT)
SIMPLE_TEST(sequence, is_indexable(self))
SIMPLE_TEST(iterable, is_iterable(self))
SIMPLE_TEST(escaped, false)
SIMPLE_TEST(callable, self.kind == CI_JINJA_IS_MACRO || self.kind == CI_JINJA_IS_FUNCTION ||
                          self.kind == CI_JINJA_IS_METHOD || self.kind == CI_JINJA_IS_LOOP ||
                          self.kind == CI_JINJA_IS_UNDEFINED)

static struct ci_jinja_value modulo(struct ci_jinja_run *run, struct ci_jinja_value self,
                                    struct ci_jinja_value divisor) {
    if (!ci_jinja_is_number(self))
        ci_jinja_fail(&run->heap, CLINFER_INVALID_ARGUMENT, "a value of type %s has no remainder",
                      ci_jinja_kind_name(self));
    return ci_jinja_binary(run, CI_JINJA_MODULO, self, divisor);
}

TEST(odd) {
    (void)arguments;
    return ci_jinja_boolean(ci_jinja_equal(run, modulo(run, self, ci_jinja_integer(2)), ci_jinja_integer(1)));
}

TEST(even) {
    (void)arguments;
    return ci_jinja_boolean(ci_jinja_equal(run, modulo(run, self, ci_jinja_integer(2)), ci_jinja_integer(0)));
}

TEST(divisibleby) {
    struct ci_jinja_value rest = modulo(run, self, ci_jinja_need(run, arguments, 0, "num"));
    return ci_jinja_boolean(ci_jinja_equal(run, rest, ci_jinja_integer(0)));
}

/* str.isupper() and str.islower(): at least one letter with case, none of the other. */
static bool has_case(struct ci_jinja_run *run, struct ci_jinja_value self, bool upper) {
    struct ci_jinja_string string = ci_jinja_to_string(run, self);
    bool found = false;
    ci_jinja_spend(&run->heap, 3 * string.length);
    for (size_t at = 0; at < string.length; at += ci_jinja_character_bytes(string, at)) {
        uint32_t c = ci_jinja_code_point(string, at);
        if (c != (upper ? ci_jinja_upper(c) : ci_jinja_lower(c))) return false;
        found |= c != (upper ? ci_jinja_lower(c) : ci_jinja_upper(c));
    }
    return found;
}

TEST(upper) {
    (void)arguments;
    return ci_jinja_boolean(has_case(run, self, true));
}

TEST(lower) {
    (void)arguments;
    return ci_jinja_boolean(has_case(run, self, false));
}

TEST(sameas) {
    struct ci_jinja_value other = ci_jinja_need(run, arguments, 0, "other");
    bool same = self.kind == other.kind && ci_jinja_equal(run, self, other);
    if (same && self.kind == CI_JINJA_IS_LIST) same = self.list == other.list;
    if (same && self.kind == CI_JINJA_IS_DICT) same = self.dict == other.dict;
    return ci_jinja_boolean(same);
}

TEST(filter) {
    (void)run, (void)arguments;
    return ci_jinja_boolean(self.kind == CI_JINJA_IS_STRING &&
                            (ci_jinja_find_filter(self.string) || ci_jinja_find_sequence_filter(self.string)));
}

#define COMPARISON(name, operation)                                                                                    \
    TEST(name) {                                                                                                       \
        return ci_jinja_boolean(ci_jinja_compare(run, operation, self, ci_jinja_need(run, arguments, 0, "other")));    \
    }
COMPARISON(equal, CI_JINJA_EQUAL)
COMPARISON(not_equal, CI_JINJA_NOT_EQUAL)
COMPARISON(less, CI_JINJA_LESS)
COMPARISON(less_equal, CI_JINJA_LESS_EQUAL)
COMPARISON(greater, CI_JINJA_GREATER)
COMPARISON(greater_equal, CI_JINJA_GREATER_EQUAL)
COMPARISON(in, CI_JINJA_IN)

static struct ci_jinja_value test_test(struct ci_jinja_run *run, struct ci_jinja_value self,
                                       const struct ci_jinja_arguments *arguments) {
    (void)run, (void)arguments;
    return ci_jinja_boolean(self.kind == CI_JINJA_IS_STRING && ci_jinja_find_test(self.string));
}

const struct ci_jinja_function *ci_jinja_find_test(struct ci_jinja_string name) {
    static const struct ci_jinja_function table[] = {
        {"defined", test_defined},
        {"undefined", test_undefined},
        {"none", test_none},
        {"boolean", test_boolean},
        {"true", test_is_true},
        {"false", test_is_false},
        {"integer", test_integer},
        {"float", test_float},
        {"number", test_number},
        {"string", test_string},
        {"mapping", test_mapping},
        {"sequence", test_sequence},
        {"iterable", test_iterable},
        {"escaped", test_escaped},
        {"callable", test_callable},
        {"odd", test_odd},
        {"even", test_even},
        {"divisibleby", test_divisibleby},
        {"upper", test_upper},
        {"lower", test_lower},
        {"sameas", test_sameas},
        {"filter", test_filter},
        {"test", test_test},
        {"equalto", test_equal},
        {"eq", test_equal},
        {"==", test_equal},
        {"ne", test_not_equal},
        {"!=", test_not_equal},
        {"lt", test_less},
        {"lessthan", test_less},
        {"<", test_less},
        {"le", test_less_equal},
        {"<=", test_less_equal},
        {"gt", test_greater},
        {"greaterthan", test_greater},
        {">", test_greater},
        {"ge", test_greater_equal},
        {">=", test_greater_equal},
        {"in", test_in},
    };
    return ci_jinja_find_in(table, sizeof table / sizeof table[0], name);
}
