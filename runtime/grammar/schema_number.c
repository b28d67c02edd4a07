/* schema_number.c: numbers with bounds and multipleOf, digit by digit.
 *
 * A number is a whole number of units of 10^-places. For each sign and count of digits before the point a rule for each
 * digit, with what is known of the number so far: whether its digits are those of the lower bound, of the upper bound,
 * and what remains of it modulo multipleOf. Fractions have so few digits that a double tells the numbers apart. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/narrow.h"
#include "grammar/schema_private.h"

typedef __int128 wide;

enum { MOST_REMAINDER = 1000, MOST_LISTED = 1000, EXACT_DIGITS = 15, MOST_PLACES = 15 };

/* mantissa * 10^exponent */
struct decimal {
    int64_t mantissa;
    int exponent;
};

struct number {
    struct ci_schema_compiler *compiler;
    const json_t *low, *high;
    bool low_excluded, high_excluded, integer, bounded;
    uint32_t place;    /* of a bound, for messages */
    int places;        /* digits behind the point at most */
    uint64_t multiple; /* in units; 1: any */
    wide least, most;  /* in units */
    size_t id;
    /* Of the rules that are being made: */
    const char *sign;
    int digits; /* before the point */
    char low_digits[40], high_digits[40];
};

/* ---- decimals ---- */

/* The shortest decimal that is the number. */
static struct decimal decimal_of(const json_t *number) {
    struct decimal decimal = {0};
    char text[40];
    if (json_is_integer(number)) {
        decimal.mantissa = json_integer_value(number);
    } else {
        for (int digits = 0; digits < 17; digits++) {
            snprintf(text, sizeof text, "%.*e", digits, json_real_value(number));
            if (strtod(text, NULL) == json_real_value(number)) break;
        }
        int behind = 0;
        bool point = false, negative = text[0] == '-';
        char *c = text + negative;
        for (; *c && *c != 'e'; c++) {
            if (*c >= '0' && *c <= '9') {
                decimal.mantissa = decimal.mantissa * 10 + (*c - '0');
                behind += point;
            } else {
                point = true;
            }
        }
        decimal.exponent = (*c ? ci_narrowed(strtol(c + 1, NULL, 10)) : 0) - behind;
        if (negative) decimal.mantissa = -decimal.mantissa;
    }
    while (decimal.mantissa != 0 && decimal.mantissa % 10 == 0) {
        decimal.mantissa /= 10;
        decimal.exponent++;
    }
    if (decimal.mantissa == 0) decimal.exponent = 0;
    return decimal;
}

static wide power(int exponent) {
    wide value = 1;
    while (exponent-- > 0) value *= 10;
    return value;
}

/* In units of 10^-places, rounded down or up; *exact: it is such a number. */
static wide scale(struct decimal decimal, int places, bool up, bool *exact) {
    int shift = decimal.exponent + places;
    wide limit = power(CI_SCHEMA_DIGITS + places + 1), value = decimal.mantissa;
    *exact = true;
    for (; shift > 0 && value < limit && value > -limit; shift--) value *= 10;
    if (shift >= 0) return value;
    wide divisor = shift > -36 ? power(-shift) : power(36), quotient = value / divisor;
    *exact = quotient * divisor == value;
    if (!*exact && up && value > 0) quotient++;
    if (!*exact && !up && value < 0) quotient--;
    return quotient;
}

static int whole_digits(const json_t *bound) {
    double value = bound ? fabs(json_number_value(bound)) : 0;
    int digits = 1;
    for (; value >= 10 && digits < CI_SCHEMA_DIGITS; digits++) value /= 10;
    return digits;
}

/* ---- what is said ---- */

static void take_bound(struct number *number, uint32_t place, const char *keyword, bool excluded) {
    const json_t *bound = json_object_get(number->compiler->places[place].schema, keyword);
    bool low = strstr(keyword, "inimum") != NULL;
    const json_t **kept = low ? &number->low : &number->high;
    bool *kept_excluded = low ? &number->low_excluded : &number->high_excluded;
    if (!bound) return;
    number->bounded = true;
    number->place = place;
    double value = json_number_value(bound), before = json_number_value(*kept);
    bool tighter = !*kept || (low ? value > before : value < before) || (value == before && excluded);
    if (tighter) *kept = bound;
    if (tighter) *kept_excluded = excluded;
}

static uint64_t divisor_of(uint64_t a, uint64_t b) {
    while (b) {
        uint64_t rest = a % b;
        a = b;
        b = rest;
    }
    return a;
}

static void take_multiple(struct number *number, uint32_t place) {
    const json_t *multiple = json_object_get(number->compiler->places[place].schema, "multipleOf");
    bool exact;
    if (!multiple) return;
    struct decimal decimal = decimal_of(multiple);
    int places = decimal.exponent < 0 ? -decimal.exponent : 0;
    bool first = number->multiple == 0;
    if (places <= MOST_PLACES && (first || places > number->places)) {
        number->multiple = (uint64_t)((wide)number->multiple * power(places - (first ? places : number->places)));
        number->places = places;
    }
    wide units = places <= MOST_PLACES ? scale(decimal, number->places, false, &exact) : 0;
    wide all = first ? units : units * (wide)(number->multiple / divisor_of(number->multiple, (uint64_t)units));
    number->bounded = true;
    number->place = place;
    if (units <= 0 || all > (wide)power(CI_SCHEMA_DIGITS))
        ci_schema_fail(number->compiler, place, "multipleOf", CLINFER_UNSUPPORTED,
                       "numbers have at most %d digits before the point and %d behind it", CI_SCHEMA_DIGITS,
                       MOST_PLACES);
    else
        number->multiple = (uint64_t)all;
}

static void gather(struct number *number, const struct ci_schema_set *set) {
    size_t at = 0;
    uint32_t place;
    const json_t *schema;
    while (ci_schema_next(number->compiler, set, &at, &place, &schema) && number->compiler->status == CLINFER_OK) {
        take_bound(number, place, "minimum", false);
        take_bound(number, place, "maximum", false);
        take_bound(number, place, "exclusiveMinimum", true);
        take_bound(number, place, "exclusiveMaximum", true);
        take_multiple(number, place);
    }
}

/* Integers have no places: what is a multiple of 0.4 is one of 2. */
static void settle(struct number *number) {
    bool exact;
    if (number->integer && number->places > 0) {
        uint64_t unit = (uint64_t)power(number->places);
        number->multiple = number->multiple / divisor_of(number->multiple, unit);
        number->places = 0;
    } else if (!number->integer && number->multiple == 0) {
        int low = whole_digits(number->low), high = whole_digits(number->high);
        number->places = EXACT_DIGITS - (low > high ? low : high);
        if (number->places < 0) number->places = 0;
    }
    if (number->multiple == 0) number->multiple = 1;
    wide end = power(CI_SCHEMA_DIGITS + number->places) - 1;
    number->least = -end;
    number->most = end;
    if (number->low) {
        wide low = scale(decimal_of(number->low), number->places, true, &exact);
        if (exact && number->low_excluded) low++;
        if (low > number->least) number->least = low;
    }
    if (number->high) {
        wide high = scale(decimal_of(number->high), number->places, false, &exact);
        if (exact && number->high_excluded) high--;
        if (high < number->most) number->most = high;
    }
}

/* ---- digit by digit ---- */

static void write_digits(wide value, int count, char *digits) {
    for (int i = count - 1; i >= 0; i--, value /= 10) digits[i] = (char)('0' + (int)(value % 10));
    digits[count] = 0;
}

static bool all_zero(const char *digits) { return digits[strspn(digits, "0")] == 0; }

/* What is known behind `at` digits. */
struct known {
    int at;
    bool low, high; /* all digits are those of the bound */
    uint64_t rest;  /* modulo `multiple` */
};

static ci_grammar_node make_digits(struct number *number, struct known known);

static bool may_end(const struct number *number, struct known known) {
    if (known.at < number->digits || (known.low && !all_zero(number->low_digits + known.at))) return false;
    uint64_t rest = known.rest;
    for (int i = known.at; i < number->digits + number->places; i++) rest = rest * 10 % number->multiple;
    return rest == 0;
}

/* A rule is made once and then called. Without bounds only how many digits may come still matters. */
static ci_grammar_node call_digits(struct number *number, struct known known) {
    struct ci_grammar_maker *maker = number->compiler->maker;
    bool free = !known.low && !known.high;
    char name[80];
    int length = snprintf(name, sizeof name, "#%zu%s.%d.%d.%d%d.%llu", number->id, free ? "" : number->sign,
                          free ? number->digits - known.at : number->digits, free ? 0 : known.at, known.low, known.high,
                          (unsigned long long)known.rest);
    int rule = ci_grammar_rule(maker, name, (size_t)length);
    if (rule >= 0 && !ci_grammar_is_defined(maker, rule) && ci_schema_step(number->compiler, 20))
        ci_grammar_define(maker, rule, make_digits(number, known));
    return ci_grammar_call(maker, rule);
}

/* The next digit, and what comes behind it. */
static ci_grammar_node next_digits(struct number *number, struct known known) {
    struct ci_schema_compiler *compiler = number->compiler;
    struct ci_schema_nodes nodes = {0};
    int low = known.low ? number->low_digits[known.at] - '0' : 0,
        high = known.high ? number->high_digits[known.at] - '0' : 9;
    for (int digit = low; digit <= high && compiler->status == CLINFER_OK;) {
        struct known next = {known.at + 1, known.low && digit == low, known.high && digit == high,
                             (known.rest * 10 + (uint64_t)digit) % number->multiple};
        int last = digit;
        bool alike = number->multiple == 1 && !next.low && !next.high;
        while (alike && last + 1 <= high && !(known.high && last + 1 == high)) last++;
        ci_grammar_node step[2] = {ci_grammar_set(
            compiler->maker, &(struct ci_grammar_range){(uint32_t)('0' + digit), (uint32_t)('0' + last)}, 1, false)};
        step[1] = call_digits(number, next);
        ci_schema_put(compiler, &nodes, ci_grammar_sequence(compiler->maker, step, 2));
        digit = last + 1;
    }
    return ci_schema_end_choice(compiler, &nodes);
}

static ci_grammar_node make_digits(struct number *number, struct known known) {
    struct ci_schema_compiler *compiler = number->compiler;
    struct ci_schema_nodes nodes = {0};
    if (may_end(number, known)) ci_schema_put(compiler, &nodes, ci_grammar_sequence(compiler->maker, NULL, 0));
    if (known.at < number->digits + number->places) {
        ci_grammar_node next = next_digits(number, known);
        if (known.at == number->digits)
            next =
                ci_grammar_sequence(compiler->maker, (const ci_grammar_node[]){ci_schema_text(compiler, "."), next}, 2);
        ci_schema_put(compiler, &nodes, next);
    }
    return ci_schema_end_choice(compiler, &nodes);
}

/* Numbers from least to most, neither below 0, for each count of digits before the point. */
static void put_range(struct number *number, struct ci_schema_nodes *nodes, const char *sign, wide least, wide most) {
    struct ci_schema_compiler *compiler = number->compiler;
    for (int digits = 1; digits <= CI_SCHEMA_DIGITS && compiler->status == CLINFER_OK; digits++) {
        wide first = digits == 1 ? 0 : power(digits - 1 + number->places), last = power(digits + number->places) - 1;
        if (least > first) first = least;
        if (most < last) last = most;
        if (first > last) continue;
        number->digits = digits;
        number->sign = sign;
        write_digits(first, digits + number->places, number->low_digits);
        write_digits(last, digits + number->places, number->high_digits);
        ci_grammar_node part[2] = {ci_schema_text(compiler, sign)};
        part[1] = call_digits(number, (struct known){0, true, true, 0});
        ci_schema_put(compiler, nodes, ci_grammar_sequence(compiler->maker, part, 2));
    }
}

static void put_listed(struct number *number, struct ci_schema_nodes *nodes, wide first, wide last) {
    struct ci_schema_compiler *compiler = number->compiler;
    for (wide value = first; value <= last && ci_schema_step(compiler, 1); value += (wide)number->multiple) {
        char digits[48], text[56];
        wide size = value < 0 ? -value : value;
        int count = 1;
        while (count < 40 && power(count) <= size) count++;
        if (count <= number->places) count = number->places + 1;
        write_digits(size, count, digits);
        int whole = count - number->places;
        snprintf(text, sizeof text, "%s%.*s%s%s", value < 0 ? "-" : "", whole, digits, number->places ? "." : "",
                 digits + whole);
        ci_schema_put(compiler, nodes, ci_schema_text(compiler, text));
    }
}

static ci_grammar_node make_bounded(struct number *number, const struct ci_schema_set *set) {
    struct ci_schema_compiler *compiler = number->compiler;
    struct ci_schema_nodes nodes = {0};
    wide multiple = (wide)number->multiple, first = number->least / multiple * multiple;
    if (first < number->least) first += multiple;
    if (number->least > number->most || first > number->most) return ci_schema_contradicts(compiler, set);
    if (number->multiple > 1 && (number->most - first) / multiple < MOST_LISTED) {
        put_listed(number, &nodes, first, number->most);
    } else if (number->multiple > MOST_REMAINDER) {
        ci_schema_fail(compiler, number->place, "multipleOf", CLINFER_UNSUPPORTED,
                       "a grammar holds multiples of at most %d units of the last digit, or %d multiples within bounds",
                       MOST_REMAINDER, MOST_LISTED);
    } else {
        if (number->least < 0) put_range(number, &nodes, "-", number->most < 0 ? -number->most : 1, -number->least);
        if (number->most >= 0) put_range(number, &nodes, "", number->least > 0 ? number->least : 0, number->most);
    }
    return ci_schema_end_choice(compiler, &nodes);
}

ci_grammar_node ci_schema_number(struct ci_schema_compiler *compiler, const struct ci_schema_set *set, bool integer) {
    struct number number = {.compiler = compiler, .integer = integer, .id = compiler->automata++};
    gather(&number, set);
    if (compiler->status != CLINFER_OK) return CI_GRAMMAR_NONE;
    if (!number.bounded) return ci_schema_any_number(compiler, integer);
    settle(&number);
    return make_bounded(&number, set);
}
