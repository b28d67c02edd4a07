/* jinja_lexer.c: source -> tokens, with Jinja's rules for white space: trim_blocks (one line end behind a block or
 * comment goes) and lstrip_blocks (blanks before a block or comment on its line go) are on, `-` strips everything on
 * its side, `+` nothing. The whole source is cut at once: the parser looks ahead freely. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "text/jinja_tree.h"
#include "text/utf8.h"

struct lexer {
    struct ci_jinja_heap *heap;
    const char *source;
    size_t length;
    size_t at;
    int line;
    struct ci_jinja_token *tokens;
    size_t count, capacity;
    char brackets[CI_JINJA_NESTING]; /* the closing ones that are due */
    int open;
};

static struct ci_jinja_token *add(struct lexer *lexer, enum ci_jinja_token_kind kind, const char *text, size_t length) {
    if (lexer->count == lexer->capacity) {
        size_t capacity = lexer->capacity ? lexer->capacity * 2 : 256;
        struct ci_jinja_token *tokens = ci_jinja_alloc(lexer->heap, capacity, sizeof *tokens);
        if (lexer->count) memcpy(tokens, lexer->tokens, lexer->count * sizeof *tokens);
        lexer->tokens = tokens;
        lexer->capacity = capacity;
    }
    struct ci_jinja_token *token = &lexer->tokens[lexer->count++];
    *token = (struct ci_jinja_token){.kind = kind, .line = lexer->line, .text = ci_jinja_template_string(text, length)};
    return token;
}

static _Noreturn void fail(struct lexer *lexer, const char *what) {
    lexer->heap->line = lexer->line;
    ci_jinja_fail(lexer->heap, CLINFER_BAD_FILE, "%s", what);
}

static bool has(const struct lexer *lexer, const char *text) {
    size_t length = strlen(text);
    return lexer->length - lexer->at >= length && memcmp(lexer->source + lexer->at, text, length) == 0;
}

static void advance(struct lexer *lexer, size_t bytes) {
    for (size_t i = 0; i < bytes; i++) lexer->line += lexer->source[lexer->at + i] == '\n';
    lexer->at += bytes;
}

static struct ci_jinja_string rest(const struct lexer *lexer) {
    return ci_jinja_template_string(lexer->source + lexer->at, lexer->length - lexer->at);
}

static void skip_space(struct lexer *lexer) {
    struct ci_jinja_string all = rest(lexer);
    advance(lexer, all.length - ci_jinja_strip(lexer->heap, all, true, false).length);
}

/* One line end as every other; the last one goes. */
static struct ci_jinja_string normalise(struct ci_jinja_heap *heap, struct ci_jinja_string source) {
    char *text = ci_jinja_alloc(heap, source.length + 1, 1);
    size_t length = 0;
    for (size_t i = 0; i < source.length; i++) {
        char byte = source.bytes[i];
        if (byte == '\r') {
            byte = '\n';
            if (i + 1 < source.length && source.bytes[i + 1] == '\n') i++;
        }
        text[length++] = byte;
    }
    if (length > 0 && text[length - 1] == '\n') length--;
    return ci_jinja_template_string(text, length);
}

/* The text before a tag, cut as the sign behind its brace says. */
static size_t trim_before(const struct lexer *lexer, size_t begin, size_t end, char sign, bool variable) {
    const char *text = lexer->source + begin;
    size_t length = end - begin;
    if (sign == '-') return ci_jinja_strip(lexer->heap, ci_jinja_template_string(text, length), false, true).length;
    if (sign == '+' || variable) return length;
    size_t line = length;
    while (line > 0 && text[line - 1] != '\n') line--;
    bool at_line_start = line > 0 || begin == 0 || lexer->source[begin - 1] == '\n';
    bool blank =
        ci_jinja_strip(lexer->heap, ci_jinja_template_string(text + line, length - line), true, false).length == 0;
    return at_line_start && blank ? line : length;
}

static void add_text(struct lexer *lexer, size_t begin, size_t length) {
    if (length > 0) add(lexer, CI_JINJA_TEXT, lexer->source + begin, length);
}

/* Behind `%}` or `#}`, before which `sign` stood. */
static void trim_after(struct lexer *lexer, char sign) {
    if (sign == '-')
        skip_space(lexer);
    else if (sign != '+' && has(lexer, "\n"))
        advance(lexer, 1);
}

/* If `text` stands here, perhaps with a sign before it, passes it and what the sign takes along. */
static bool end_tag(struct lexer *lexer, const char *text) {
    char sign = 0;
    size_t before = lexer->at;
    if (has(lexer, "-") || (has(lexer, "+") && text[0] != '}')) sign = lexer->source[lexer->at++];
    if (!has(lexer, text)) {
        lexer->at = before;
        return false;
    }
    advance(lexer, 2);
    if (text[0] != '}')
        trim_after(lexer, sign);
    else if (sign == '-')
        skip_space(lexer);
    return true;
}

static void comment(struct lexer *lexer) {
    while (lexer->at < lexer->length) {
        if (end_tag(lexer, "#}")) return;
        advance(lexer, 1);
    }
    fail(lexer, "a comment has no end: '#}' is missing");
}

/* Behind `{% raw`: everything up to `{% endraw %}` is text. False when this is another tag. */
static bool raw(struct lexer *lexer) {
    size_t before = lexer->at;
    int line = lexer->line;
    skip_space(lexer);
    if (has(lexer, "raw")) {
        advance(lexer, 3);
        skip_space(lexer);
        bool strip = has(lexer, "-");
        lexer->at += strip;
        if (has(lexer, "%}")) {
            lexer->at += 2;
            if (strip) skip_space(lexer);
            size_t begin = lexer->at;
            for (; lexer->at < lexer->length; advance(lexer, 1)) {
                if (!has(lexer, "{%")) continue;
                size_t end = lexer->at;
                lexer->at += 2;
                char sign = has(lexer, "-") || has(lexer, "+") ? lexer->source[lexer->at++] : 0;
                skip_space(lexer);
                if (has(lexer, "endraw")) {
                    lexer->at += 6;
                    skip_space(lexer);
                    if (end_tag(lexer, "%}")) {
                        add_text(lexer, begin, trim_before(lexer, begin, end, sign, false));
                        return true;
                    }
                }
                lexer->at = end;
            }
            fail(lexer, "a raw block has no end: '{% endraw %}' is missing");
        }
    }
    lexer->at = before;
    lexer->line = line;
    return false;
}

static int hex_digits(const char *text, size_t available, size_t digits, uint32_t *value) {
    *value = 0;
    if (available < digits) return 0;
    for (size_t i = 0; i < digits; i++) {
        char c = text[i];
        int digit = c >= '0' && c <= '9' ? c - '0' : (c | 32) >= 'a' && (c | 32) <= 'f' ? (c | 32) - 'a' + 10 : -1;
        if (digit < 0) return 0;
        *value = *value << 4 | (uint32_t)digit;
    }
    return 1;
}

/* One escape behind the backslash at text[0..length): writes to out, returns the bytes it took; 0: leave it as it is.
 */
static size_t unescape(struct lexer *lexer, const char *text, size_t length, char *out, size_t *written) {
    static const char from[] = "\\'\"abfnrtv", to[] = "\\'\"\a\b\f\n\r\t\v";
    *written = 1;
    const char *simple = text[0] ? strchr(from, text[0]) : NULL;
    if (simple) {
        *out = to[simple - from];
        return 1;
    }
    uint32_t code_point = 0;
    size_t taken = 0;
    if (text[0] == '\n') {
        *written = 0;
        return 1;
    }
    if (text[0] >= '0' && text[0] <= '7') {
        while (taken < 3 && taken < length && text[taken] >= '0' && text[taken] <= '7')
            code_point = code_point * 8 + (uint32_t)(text[taken++] - '0');
    } else {
        size_t digits = text[0] == 'x' ? 2 : text[0] == 'u' ? 4 : text[0] == 'U' ? 8 : 0;
        if (digits == 0) return 0;
        if (!hex_digits(text + 1, length - 1, digits, &code_point)) fail(lexer, "a string has a damaged \\ escape");
        taken = digits + 1;
    }
    *written = ci_utf8_encode(code_point, out);
    return taken;
}

static void string_literal(struct lexer *lexer) {
    char quote = lexer->source[lexer->at];
    size_t begin = lexer->at + 1, end = begin;
    while (end < lexer->length && lexer->source[end] != quote) end += lexer->source[end] == '\\' ? 2 : 1;
    if (end >= lexer->length) fail(lexer, "a string has no end");
    const char *text = lexer->source + begin;
    size_t length = end - begin, count = 0;
    struct ci_jinja_token *token = add(lexer, CI_JINJA_STRING_LITERAL, text, length);
    if (memchr(text, '\\', length)) {
        /* No escape is shorter than what it stands for, but for \U and four bytes: no longer either way. */
        char *out = ci_jinja_alloc(lexer->heap, length + 4, 1);
        for (size_t i = 0; i < length;) {
            size_t written, taken = 0;
            if (text[i] == '\\') taken = unescape(lexer, text + i + 1, length - i - 1, out + count, &written);
            if (taken) {
                i += taken + 1;
                count += written;
            } else {
                out[count++] = text[i++];
            }
        }
        token->text = ci_jinja_template_string(out, count);
    }
    advance(lexer, end + 1 - lexer->at);
}

static bool is_digit(char c) { return c >= '0' && c <= '9'; }

static bool is_name(char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_' || is_digit(c) || (unsigned char)c >= 0x80;
}

/* Digits with single underscores between them. */
static size_t digits_at(const struct lexer *lexer, size_t at) {
    size_t begin = at;
    while (at < lexer->length &&
           (is_digit(lexer->source[at]) ||
            (lexer->source[at] == '_' && at > begin && at + 1 < lexer->length && is_digit(lexer->source[at + 1]))))
        at++;
    return at - begin;
}

static void number_literal(struct lexer *lexer) {
    const char *source = lexer->source;
    size_t begin = lexer->at, end = begin;
    int base = 10;
    bool real = false;
    if (source[begin] == '0' && begin + 1 < lexer->length && strchr("xXoObB", source[begin + 1]) && source[begin + 1]) {
        base = (source[begin + 1] | 32) == 'x' ? 16 : (source[begin + 1] | 32) == 'o' ? 8 : 2;
        end = begin + 2;
        while (end < lexer->length && is_name(source[end])) end++;
    } else {
        end += digits_at(lexer, end);
        if (end + 1 < lexer->length && source[end] == '.' && is_digit(source[end + 1])) {
            real = true;
            end += 1 + digits_at(lexer, end + 1);
        }
        if (end < lexer->length && (source[end] | 32) == 'e') {
            size_t sign = end + 1 < lexer->length && (source[end + 1] == '-' || source[end + 1] == '+');
            size_t digits = digits_at(lexer, end + 1 + sign);
            if (digits) {
                real = true;
                end += 1 + sign + digits;
            }
        }
    }
    char text[64];
    size_t count = 0;
    for (size_t i = begin + (base == 10 ? 0 : 2); i < end; i++) {
        if (source[i] == '_') continue;
        if (count + 1 == sizeof text) fail(lexer, "a number has too many digits");
        text[count++] = source[i];
    }
    text[count] = 0;
    struct ci_jinja_token *token = add(lexer, CI_JINJA_INTEGER_LITERAL, source + begin, end - begin);
    char *stop = text;
    if (real) {
        token->kind = CI_JINJA_FLOAT_LITERAL;
        token->number = strtod(text, &stop);
        if (!isfinite(token->number)) fail(lexer, "a number is too large");
    } else {
        unsigned long long value = strtoull(text, &stop, base);
        if (value > INT64_MAX) fail(lexer, "a number is too large");
        token->integer = (int64_t)value;
    }
    if (count == 0 || *stop) fail(lexer, "a number is malformed");
    lexer->at = end;
}

static void operator(struct lexer *lexer) {
    static const char *const two[] = {"//", "**", "==", "!=", ">=", "<="};
    size_t length = 1;
    for (size_t i = 0; i < sizeof two / sizeof two[0]; i++)
        if (has(lexer, two[i])) length = 2;
    char c = lexer->source[lexer->at];
    if (length == 1 && (c == 0 || !strchr("+-/*%~[](){}<>=.:|,;", c))) fail(lexer, "an unexpected character in a tag");
    if (length == 1 && strchr("([{", c)) {
        if (lexer->open == CI_JINJA_NESTING) fail(lexer, "more than 200 levels of nesting");
        lexer->brackets[lexer->open++] = c == '(' ? ')' : c == '[' ? ']' : '}';
    } else if (length == 1 && strchr(")]}", c)) {
        if (lexer->open == 0 || lexer->brackets[--lexer->open] != c) fail(lexer, "a closing bracket does not match");
    }
    add(lexer, CI_JINJA_OPERATOR, lexer->source + lexer->at, length);
    lexer->at += length;
}

/* Inside a tag, up to its end. */
static void tag(struct lexer *lexer, bool variable) {
    lexer->open = 0;
    for (;;) {
        skip_space(lexer);
        if (lexer->at == lexer->length) fail(lexer, "a tag has no end");
        int line = lexer->line;
        if (lexer->open == 0 && end_tag(lexer, variable ? "}}" : "%}")) {
            add(lexer, variable ? CI_JINJA_VARIABLE_END : CI_JINJA_BLOCK_END, "end of tag", 10)->line = line;
            return;
        }
        char c = lexer->source[lexer->at];
        if (is_digit(c)) {
            number_literal(lexer);
        } else if (is_name(c)) {
            size_t begin = lexer->at;
            while (lexer->at < lexer->length && is_name(lexer->source[lexer->at])) lexer->at++;
            add(lexer, CI_JINJA_NAME, lexer->source + begin, lexer->at - begin);
        } else if (c == '"' || c == '\'') {
            string_literal(lexer);
        } else {
            operator(lexer);
        }
    }
}

struct ci_jinja_token *ci_jinja_tokenize(struct ci_jinja_heap *heap, struct ci_jinja_string source) {
    /* Each byte is gone through a few times. */
    ci_jinja_spend(heap, 2 * source.length);
    source = normalise(heap, source);
    struct lexer lexer = {.heap = heap, .source = source.bytes, .length = source.length, .line = 1};
    while (lexer.at < lexer.length) {
        size_t begin = lexer.at, end = begin;
        while (end < lexer.length &&
               !(source.bytes[end] == '{' && end + 1 < lexer.length &&
                 (source.bytes[end + 1] == '{' || source.bytes[end + 1] == '%' || source.bytes[end + 1] == '#')))
            end++;
        if (end == lexer.length) {
            add_text(&lexer, begin, end - begin);
            break;
        }
        char kind = source.bytes[end + 1];
        char sign = end + 2 < lexer.length ? source.bytes[end + 2] : 0;
        if (sign != '-' && sign != '+') sign = 0;
        add_text(&lexer, begin, trim_before(&lexer, begin, end, sign, kind == '{'));
        advance(&lexer, end - begin);
        lexer.at += 2 + (sign != 0);
        if (kind == '#') {
            comment(&lexer);
        } else if (kind == '{') {
            add(&lexer, CI_JINJA_VARIABLE_BEGIN, "{{", 2);
            tag(&lexer, true);
        } else if (!raw(&lexer)) {
            add(&lexer, CI_JINJA_BLOCK_BEGIN, "{%", 2);
            tag(&lexer, false);
        }
    }
    add(&lexer, CI_JINJA_END, "end of template", 15);
    return lexer.tokens;
}
