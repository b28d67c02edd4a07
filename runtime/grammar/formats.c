/* formats.c: dates and times as in RFC 3339 (the calendar exact, from year 1 on, no leap seconds), UUIDs as in RFC
 * 9562, addresses as in RFC 2673 and, of RFC 5321, those without quotes and brackets. */
#include "grammar/formats.h"

#include <stddef.h>
#include <string.h>

#define YEAR "(\\d{3}[1-9]|\\d{2}[1-9]0|\\d[1-9]00|[1-9]000)"
#define FOURTH "(0[48]|[2468][048]|[13579][26])" /* two digits, a multiple of 4, not 00 */
#define DATE                                                                                                           \
    "(" YEAR "-((0[13578]|1[02])-(0[1-9]|[12]\\d|3[01])|(0[469]|11)-(0[1-9]|[12]\\d|30)|02-(0[1-9]|1\\d|2[0-8]))|"     \
    "(\\d{2}" FOURTH "|" FOURTH "00)-02-29)"
#define CLOCK "([01]\\d|2[0-3]):[0-5]\\d"
#define TIME CLOCK ":[0-5]\\d(\\.\\d{1,9})?(Z|[+\\-]" CLOCK ")"
#define OCTET "(25[0-5]|2[0-4]\\d|1\\d\\d|[1-9]?\\d)"
#define ATOM "[A-Za-z0-9!#$%&'*+/=?^_`{|}~\\-]+"
#define LABEL "[A-Za-z0-9]+(-+[A-Za-z0-9]+)*"

static const struct {
    const char *name, *pattern;
} formats[] = {
    {"date", "^" DATE "$"},
    {"time", "^" TIME "$"},
    {"date-time", "^" DATE "T" TIME "$"},
    {"uuid", "^[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}$"},
    {"ipv4", "^" OCTET "(\\." OCTET "){3}$"},
    {"email", "^" ATOM "(\\." ATOM ")*@" LABEL "(\\." LABEL ")*$"},
};

const char ci_format_names[] = "date, time, date-time, uuid, ipv4, email";

const char *ci_format_pattern(const char *format) {
    for (size_t i = 0; i < sizeof formats / sizeof *formats; i++)
        if (strcmp(formats[i].name, format) == 0) return formats[i].pattern;
    return NULL;
}
