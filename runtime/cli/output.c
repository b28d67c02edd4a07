#define _GNU_SOURCE
#include "cli/output.h"

#include <errno.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "base/append.h"
#include "base/clock.h"
#include "text/utf8.h"
#include "text/utf8_json.h"
#include "text/visible.h"

static int output_error; /* errno of the first failed write to standard output */
static FILE *log_file;
static bool colored;
static enum clinfer_log_level shown_level = CLINFER_LOG_NOTICE;

int ci_exit_status(enum clinfer_status status) {
    switch (status) {
#define EXIT_STATUS(code, exit_status, text)                                                                           \
    case code: return exit_status;
        CLINFER_STATUS_LIST(EXIT_STATUS)
#undef EXIT_STATUS
    }
    return 1;
}

/* ---- standard output ---- */

static atomic_bool in_line; /* what was printed last is no whole line */

static void write_output(const char *text, size_t length) {
    if (output_error) return;
    errno = 0;
    if (length && fwrite(text, 1, length, stdout) < length) output_error = errno ? errno : EIO;
}

/* To a stream, in pieces that fit on the stack. */
static void write_visible(FILE *file, const char *text, size_t length, bool lines) {
    enum { PIECE = 256 };
    char out[PIECE * CI_VISIBLE_GROWTH];
    for (size_t at = 0; at < length;) {
        size_t count = length - at < PIECE ? length - at : PIECE;
        /* Not in the middle of a character. */
        for (size_t back = 0;
             at + count < length && back < CI_UTF8_HELD && ((unsigned char)text[at + count] & 0xc0) == 0x80; back++)
            count--;
        size_t shown = ci_visible(text + at, count, lines, out);
        if (file == stdout)
            write_output(out, shown);
        else
            fwrite(out, 1, shown, file);
        at += count;
    }
}

static bool output_is_terminal(void) {
    static atomic_int known;
    if (!atomic_load(&known)) atomic_store(&known, isatty(STDOUT_FILENO) ? 1 : -1);
    return atomic_load(&known) > 0;
}

/* What is held back of an answer is complete with the next piece, or spelled then. */
static struct ci_utf8_stream held;

void ci_print(const char *text, size_t length) {
    if (output_error || !length) return;
    if (!output_is_terminal()) {
        write_output(text, length);
    } else {
        enum { PIECE = 256 };
        char whole[PIECE + CI_UTF8_HELD];
        for (size_t at = 0; at < length; at += PIECE) {
            size_t count = ci_utf8_stream_push(&held, text + at, length - at < PIECE ? length - at : PIECE, whole);
            write_visible(stdout, whole, count, true);
        }
    }
    atomic_store(&in_line, text[length - 1] != '\n');
}

static void print_visible(FILE *file, const char *format, va_list arguments) {
    char line[1024], *text = NULL;
    va_list again;
    va_copy(again, arguments);
    int length = vsnprintf(line, sizeof line, format, arguments);
    if (length >= (int)sizeof line) length = vasprintf(&text, format, again);
    va_end(again);
    if (length >= 0)
        write_visible(file, text ? text : line, (size_t)length, true);
    else if (file == stdout)
        output_error = ENOMEM;
    if (length >= 0) free(text);
}

void ci_printf(const char *format, ...) {
    if (output_error) return;
    va_list arguments;
    va_start(arguments, format);
    print_visible(stdout, format, arguments);
    va_end(arguments);
}

void ci_paint(const char *sequence) { write_output(sequence, strlen(sequence)); }

const char *ci_one_line(const char *text) {
    enum { TEXTS = 4, MOST = 1024 };
    static _Thread_local char texts[TEXTS][MOST * CI_VISIBLE_GROWTH + 4];
    static _Thread_local unsigned turn;
    char *out = texts[turn++ % TEXTS];
    size_t length = strlen(text), most = MOST;
    while (length > MOST && most > MOST - CI_UTF8_HELD && ((unsigned char)text[most] & 0xc0) == 0x80) most--;
    size_t shown = ci_visible(text, length > MOST ? most : length, false, out);
    memcpy(out + shown, length > MOST ? "..." : "", length > MOST ? 4 : 1);
    return out;
}

void ci_flush(void) {
    errno = 0;
    if (!output_error && fflush(stdout) != 0) output_error = errno ? errno : EIO;
}

bool ci_output_failed(void) { return output_error != 0; }

int ci_output_finish(int exit_status) {
    static atomic_flag begun = ATOMIC_FLAG_INIT; /* two threads may end the process: the first one writes */
    if (atomic_flag_test_and_set(&begun)) return exit_status;
    char rest[CI_UTF8_HELD];
    write_visible(stdout, rest, ci_utf8_stream_flush(&held, rest), true);
    ci_flush();
    if (!output_error) return exit_status;
    /* Whoever closed the pipe has seen enough. */
    if (output_error == EPIPE) return 0;
    return ci_refuse(output_error == ENOMEM ? CLINFER_OUT_OF_MEMORY : CLINFER_IO, "standard output: %s",
                     strerror(output_error));
}

int ci_print_json(json_t *object) {
    char *text = object ? json_dumps(object, JSON_INDENT(2) | JSON_REAL_PRECISION(9)) : NULL;
    json_decref(object);
    if (!text) return ci_refuse(CLINFER_OUT_OF_MEMORY, "JSON: out of memory");
    write_visible(stdout, text, strlen(text), true);
    write_output("\n", 1);
    free(text);
    return 0;
}

json_t *ci_json_text(const char *text, size_t length) { return ci_utf8_json(text, length); }

bool ci_keep_text(struct ci_kept_text *kept, const char *text, size_t length) {
    return ci_append(&kept->text, &kept->length, &kept->capacity, text, length);
}

/* ---- standard error ---- */

const char *ci_color(const char *sequence) { return colored ? sequence : ""; }

/* Messages come from engines' threads too. */
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

/* With the lock held. */
static bool show_progress(const char *text) {
    static bool shown;
    struct winsize window = {0};
    if (!text && !shown) return true;
    if (shown_level < CLINFER_LOG_NOTICE || !isatty(STDERR_FILENO)) return false;
    int columns = ioctl(STDERR_FILENO, TIOCGWINSZ, &window) == 0 && window.ws_col > 1 ? window.ws_col - 1 : 79;
    /* One line, or it could not be taken away again. */
    fprintf(stderr, "\r%.*s\033[K%s", columns, text ? ci_one_line(text) : "", text ? "" : "\r");
    fflush(stderr);
    shown = text != NULL;
    return true;
}

bool ci_progress(const char *text) {
    pthread_mutex_lock(&lock);
    bool shows = show_progress(text);
    pthread_mutex_unlock(&lock);
    return shows;
}

static bool in_thoughts; /* with the lock held: their last line goes on */

static void end_thoughts(void) {
    if (in_thoughts) fputs("\n", stderr);
    in_thoughts = false;
}

void ci_think(const char *text, size_t length) {
    pthread_mutex_lock(&lock);
    if (text) show_progress(NULL);
    if (text && length) {
        fputs(ci_color("\033[2m"), stderr);
        write_visible(stderr, text, length, true);
        fputs(ci_color("\033[0m"), stderr);
        in_thoughts = true;
    } else if (in_thoughts) {
        end_thoughts();
        fputs("\n", stderr);
    }
    fflush(stderr);
    pthread_mutex_unlock(&lock);
}

static void message(enum clinfer_log_level level, const char *text) {
    static const char *const prefixes[] = {"", "warning: ", "", "", ""};
    static const char *const colors[] = {"\033[31m", "\033[33m", "\033[2m", "\033[2m", "\033[2m"};
    pthread_mutex_lock(&lock);
    if (level <= shown_level) {
        show_progress(NULL);
        end_thoughts();
        /* Where the answer is on the same screen, its line must not go on with a message. */
        if (isatty(STDOUT_FILENO) && isatty(STDERR_FILENO) && atomic_exchange(&in_line, false)) fputc('\n', stderr);
        fprintf(stderr, "%sclinfer: %s", ci_color(colors[level]), prefixes[level]);
        write_visible(stderr, text, strlen(text), level >= CLINFER_LOG_DEBUG);
        fprintf(stderr, "%s\n", ci_color("\033[0m"));
    }
    if (log_file) {
        fprintf(log_file, "%.3f %s", ci_seconds(), prefixes[level]);
        write_visible(log_file, text, strlen(text), level >= CLINFER_LOG_DEBUG);
        fputc('\n', log_file);
        fflush(log_file);
    }
    pthread_mutex_unlock(&lock);
}

static void from_library(void *user, enum clinfer_log_level level, const char *text) {
    (void)user;
    message(level, text);
}

enum clinfer_status ci_log_start(const struct ci_log_flags *flags) {
    const char *no_color = getenv("NO_COLOR"), *terminal = getenv("TERM");
    colored = flags->color == 1 || (flags->color == 0 && isatty(STDERR_FILENO) && !(no_color && *no_color) &&
                                    terminal && strcmp(terminal, "dumb") != 0);
    if (flags->quiet) shown_level = CLINFER_LOG_WARNING;
    if (flags->verbose) shown_level = CLINFER_LOG_DEBUG;
    if (flags->log_file && !(log_file = fopen(flags->log_file, "ae"))) {
        ci_refuse(CLINFER_IO, "--log-file %s: %s", flags->log_file, strerror(errno));
        return CLINFER_IO;
    }
    clinfer_log_to(from_library, NULL);
    return CLINFER_OK;
}

void ci_log_end(void) {
    clinfer_log_to(NULL, NULL);
    if (log_file) fclose(log_file);
    log_file = NULL;
}

void ci_tell(const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    pthread_mutex_lock(&lock);
    print_visible(stderr, format, arguments);
    pthread_mutex_unlock(&lock);
    va_end(arguments);
}

static void say(enum clinfer_log_level level, const char *format, va_list arguments) {
    char text[4096];
    vsnprintf(text, sizeof text, format, arguments);
    message(level, text);
}

void ci_say(const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    say(CLINFER_LOG_NOTICE, format, arguments);
    va_end(arguments);
}

void ci_warn(const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    say(CLINFER_LOG_WARNING, format, arguments);
    va_end(arguments);
}

int ci_complain(enum clinfer_status status) {
    const char *text = clinfer_error();
    return ci_refuse(status, "%s", *text ? text : clinfer_status_text(status));
}

int ci_refuse(enum clinfer_status status, const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    ci_flush();
    say(CLINFER_LOG_ERROR, format, arguments);
    va_end(arguments);
    return ci_exit_status(status);
}

/* ---- numbers ---- */

const char *ci_format_bytes(uint64_t bytes, char text[CI_AMOUNT_BYTES]) {
    static const char *const units[] = {"bytes", "KiB", "MiB", "GiB", "TiB"};
    double value = (double)bytes;
    size_t unit = 0;
    for (; value >= 1024 && unit + 1 < sizeof units / sizeof *units; unit++) value /= 1024;
    snprintf(text, CI_AMOUNT_BYTES, "%.*f %s", unit && value < 100 ? 1 : 0, value, units[unit]);
    return text;
}

const char *ci_format_count(uint64_t count, char text[CI_AMOUNT_BYTES]) {
    static const char *const units[] = {"", "K", "M", "B", "T"};
    double value = (double)count;
    size_t unit = 0;
    for (; value >= 1000 && unit + 1 < sizeof units / sizeof *units; unit++) value /= 1000;
    snprintf(text, CI_AMOUNT_BYTES, "%.*f%s", unit && value < 10 ? 1 : 0, value, units[unit]);
    return text;
}

const char *ci_format_seconds(double seconds, char text[CI_AMOUNT_BYTES]) {
    static const char *const units[] = {"s", "ms", "us", "ns"};
    size_t unit = 0;
    for (; seconds < 0.9995 && unit + 1 < sizeof units / sizeof *units; unit++) seconds *= 1000;
    snprintf(text, CI_AMOUNT_BYTES, "%.*f %s", seconds < 9.995 ? 2 : seconds < 99.95 ? 1 : 0, seconds, units[unit]);
    return text;
}

const char *ci_format_types(const char *types, char *text, size_t size) {
    *text = 0;
    for (const char *at = types; *at;) {
        size_t length = strcspn(at, ","), used = strlen(text);
        if (length != 1 || *at != '-') snprintf(text + used, size - used, "%s%.*s", used ? " " : "", (int)length, at);
        at += length + (at[length] == ',');
    }
    return text;
}

double ci_seconds(void) { return ci_now(); }
