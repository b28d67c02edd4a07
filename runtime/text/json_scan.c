#include "text/json_scan.h"

#include <string.h>

static bool is_space(char byte) { return byte == ' ' || byte == '\t' || byte == '\n' || byte == '\r'; }

static bool is_digit(char byte) { return byte >= '0' && byte <= '9'; }

static bool is_hex(char byte) { return is_digit(byte) || (byte >= 'a' && byte <= 'f') || (byte >= 'A' && byte <= 'F'); }

static enum ci_json_scan_result go_to(struct ci_json_scan *scan, enum ci_json_scan_state state) {
    scan->state = state;
    return CI_SCAN_GOES_ON;
}

static enum ci_json_scan_result open(struct ci_json_scan *scan, bool object) {
    if (scan->depth == CI_JSON_SCAN_DEPTH) return CI_SCAN_WRONG;
    scan->is_object[scan->depth++] = object;
    return go_to(scan, object ? CI_SCAN_FIRST_KEY : CI_SCAN_FIRST_ELEMENT);
}

static enum ci_json_scan_result close(struct ci_json_scan *scan, char byte) {
    if (scan->is_object[scan->depth - 1] != (byte == '}')) return CI_SCAN_WRONG;
    if (--scan->depth == 0) return CI_SCAN_ENDS;
    return go_to(scan, CI_SCAN_BEHIND);
}

static enum ci_json_scan_result begin_string(struct ci_json_scan *scan, bool key) {
    scan->in_key = key;
    return go_to(scan, CI_SCAN_STRING);
}

static enum ci_json_scan_result begin_value(struct ci_json_scan *scan, char byte) {
    static const char *const literals[] = {"true", "false", "null"};
    if (byte == '{' || byte == '[') return open(scan, byte == '{');
    if (scan->depth == 0) return CI_SCAN_WRONG;
    if (byte == '"') return begin_string(scan, false);
    if (byte == '-') return go_to(scan, CI_SCAN_MINUS);
    if (byte == '0') return go_to(scan, CI_SCAN_ZERO);
    if (is_digit(byte)) return go_to(scan, CI_SCAN_DIGITS);
    for (int i = 0; i < 3; i++)
        if (byte == literals[i][0]) {
            scan->literal = literals[i] + 1;
            return go_to(scan, CI_SCAN_LITERAL);
        }
    return CI_SCAN_WRONG;
}

static enum ci_json_scan_result behind_value(struct ci_json_scan *scan, char byte) {
    if (byte == '}' || byte == ']') return close(scan, byte);
    if (byte == ',') return go_to(scan, scan->is_object[scan->depth - 1] ? CI_SCAN_KEY : CI_SCAN_VALUE);
    return is_space(byte) ? go_to(scan, CI_SCAN_BEHIND) : CI_SCAN_WRONG;
}

static enum ci_json_scan_result within_number(struct ci_json_scan *scan, char byte) {
    bool digit = is_digit(byte), exponent = byte == 'e' || byte == 'E';
    switch (scan->state) {
    case CI_SCAN_MINUS: return digit ? go_to(scan, byte == '0' ? CI_SCAN_ZERO : CI_SCAN_DIGITS) : CI_SCAN_WRONG;
    case CI_SCAN_POINT: return digit ? go_to(scan, CI_SCAN_FRACTION) : CI_SCAN_WRONG;
    case CI_SCAN_EXPONENT:
        if (byte == '+' || byte == '-') return go_to(scan, CI_SCAN_SIGN);
        return digit ? go_to(scan, CI_SCAN_EXPONENT_DIGITS) : CI_SCAN_WRONG;
    case CI_SCAN_SIGN: return digit ? go_to(scan, CI_SCAN_EXPONENT_DIGITS) : CI_SCAN_WRONG;
    case CI_SCAN_EXPONENT_DIGITS: return digit ? CI_SCAN_GOES_ON : behind_value(scan, byte);
    default: break; /* ZERO, DIGITS, FRACTION */
    }
    if (digit && scan->state != CI_SCAN_ZERO) return CI_SCAN_GOES_ON;
    if (byte == '.' && scan->state != CI_SCAN_FRACTION) return go_to(scan, CI_SCAN_POINT);
    return exponent ? go_to(scan, CI_SCAN_EXPONENT) : behind_value(scan, byte);
}

static enum ci_json_scan_result within_string(struct ci_json_scan *scan, char byte) {
    if (scan->state == CI_SCAN_ESCAPE) {
        if (!byte || !strchr("\"\\/bfnrtu", byte)) return CI_SCAN_WRONG;
        scan->hex = 4;
        return go_to(scan, byte == 'u' ? CI_SCAN_HEX : CI_SCAN_STRING);
    }
    if (scan->state == CI_SCAN_HEX) {
        if (!is_hex(byte)) return CI_SCAN_WRONG;
        return --scan->hex ? CI_SCAN_GOES_ON : go_to(scan, CI_SCAN_STRING);
    }
    if ((unsigned char)byte < 0x20) return CI_SCAN_WRONG;
    if (byte == '\\') return go_to(scan, CI_SCAN_ESCAPE);
    if (byte != '"') return CI_SCAN_GOES_ON;
    return go_to(scan, scan->in_key ? CI_SCAN_COLON : CI_SCAN_BEHIND);
}

enum ci_json_scan_result ci_json_scan_push(struct ci_json_scan *scan, char byte) {
    switch (scan->state) {
    case CI_SCAN_STRING:
    case CI_SCAN_ESCAPE:
    case CI_SCAN_HEX: return within_string(scan, byte);
    case CI_SCAN_LITERAL:
        if (byte != *scan->literal) return CI_SCAN_WRONG;
        return *++scan->literal ? CI_SCAN_GOES_ON : go_to(scan, CI_SCAN_BEHIND);
    case CI_SCAN_BEHIND: return behind_value(scan, byte);
    default: break;
    }
    if (scan->state >= CI_SCAN_MINUS) return within_number(scan, byte);
    if (is_space(byte) && scan->depth) return CI_SCAN_GOES_ON;
    switch (scan->state) {
    case CI_SCAN_FIRST_KEY:
        if (byte == '}') return close(scan, byte);
        return byte == '"' ? begin_string(scan, true) : CI_SCAN_WRONG;
    case CI_SCAN_KEY: return byte == '"' ? begin_string(scan, true) : CI_SCAN_WRONG;
    case CI_SCAN_COLON: return byte == ':' ? go_to(scan, CI_SCAN_VALUE) : CI_SCAN_WRONG;
    case CI_SCAN_FIRST_ELEMENT:
        if (byte == ']') return close(scan, byte);
        return begin_value(scan, byte);
    default: return begin_value(scan, byte);
    }
}
