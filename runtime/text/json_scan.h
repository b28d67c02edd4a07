/* json_scan.h: JSON as it comes, byte by byte: whether what has come so far can be the beginning of an object or an
 * array, and where it ends (RFC 8259). Strings may have any bytes from 0x20 on; whether they are UTF-8 is not looked
 * at, nor whether a key comes twice. */
#ifndef CI_TEXT_JSON_SCAN_H
#define CI_TEXT_JSON_SCAN_H

#include <stdbool.h>

enum { CI_JSON_SCAN_DEPTH = 128 };

enum ci_json_scan_state {
    CI_SCAN_VALUE,         /* one has to come */
    CI_SCAN_FIRST_ELEMENT, /* a value or the end of the array */
    CI_SCAN_FIRST_KEY,     /* a key or the end of the object */
    CI_SCAN_KEY,
    CI_SCAN_COLON,
    CI_SCAN_BEHIND, /* a value: a comma or an end */
    CI_SCAN_STRING,
    CI_SCAN_ESCAPE,
    CI_SCAN_HEX,
    CI_SCAN_LITERAL,
    CI_SCAN_MINUS, /* from here on within numbers, by what came last */
    CI_SCAN_ZERO,
    CI_SCAN_DIGITS,
    CI_SCAN_POINT,
    CI_SCAN_FRACTION,
    CI_SCAN_EXPONENT,
    CI_SCAN_SIGN,
    CI_SCAN_EXPONENT_DIGITS
};

/* All zeros before the first byte. */
struct ci_json_scan {
    enum ci_json_scan_state state;
    int depth;
    bool is_object[CI_JSON_SCAN_DEPTH]; /* [depth] */
    bool in_key;
    int hex;             /* digits of \uXXXX that are still to come */
    const char *literal; /* what is still to come of true, false or null */
};

enum ci_json_scan_result { CI_SCAN_GOES_ON, CI_SCAN_ENDS /* with this byte */, CI_SCAN_WRONG };

/* Not to be called again once it has ended or was wrong. The first byte must be { or [. */
enum ci_json_scan_result ci_json_scan_push(struct ci_json_scan *scan, char byte);

#endif
