/* output.h: where the tool writes. Answers, tables and JSON go to standard output; everything else to standard error
 * and, when asked, to a log file.
 *
 * Standard output may close early (`clinfer run ... | head`). The first failed write is remembered: later ones do
 * nothing, long work asks ci_output_failed(), and main.c turns a closed pipe into a quiet exit status 0. */
#ifndef CI_CLI_OUTPUT_H
#define CI_CLI_OUTPUT_H

#include <clinfer.h>
#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>

/* The column "exit status" of CLINFER_STATUS_LIST. */
int ci_exit_status(enum clinfer_status status);

/* Standard output. Answers and the like: as they are, in pieces of any length; where it is a terminal, what could
 * trick that is spelled (text/visible.h), though a character may come in two pieces. */
void ci_print(const char *text, size_t length);
/* For people, and JSON: names from files and devices are in it, so the same is spelled wherever it goes. Line breaks
 * and tabs stay: see ci_one_line. */
void ci_printf(const char *format, ...) __attribute__((format(printf, 1, 2)));
/* A sequence of ci_color's, or none. */
void ci_paint(const char *sequence);
void ci_flush(void);
bool ci_output_failed(void);

/* Flushes; what the process should return: `exit_status`, or what a failed standard output makes of it. */
int ci_output_finish(int exit_status);

/* JSON on standard output, as one object in lines; takes the reference. NULL is out of memory. Returns the exit
 * status. */
int ci_print_json(json_t *object);

/* A JSON string of any bytes: those that are no UTF-8 become U+FFFD. NULL: out of memory. */
json_t *ci_json_text(const char *text, size_t length);

/* Text that is kept as it grows, for those who may not include base/. Starts zeroed; the owner frees `text`, which has
 * a zero byte behind it once there is some. false: memory is out, and the text is as before. */
struct ci_kept_text {
    char *text;
    size_t length, capacity;
};
bool ci_keep_text(struct ci_kept_text *kept, const char *text, size_t length);

/* Standard error and its flags. */
struct ci_log_flags {
    int verbose;
    bool quiet;
    const char *log_file;
    int color; /* index in "auto|on|off" */
};
#define CI_LOG_OPTIONS(flags)                                                                                          \
    CI_COUNT("-v --verbose", &(flags)->verbose, "more on standard error: what is built, chosen, cached"),              \
        CI_FLAG("-q --quiet", &(flags)->quiet, "nothing but warnings and errors on standard error"),                   \
        CI_TEXT("--log-file", &(flags)->log_file, "FILE", "write all messages to FILE too"),                           \
        CI_CHOICE("-co --color", &(flags)->color, "auto|on|off", "colours on standard error; auto heeds NO_COLOR")

/* Also sends the library's messages there. */
enum clinfer_status ci_log_start(const struct ci_log_flags *flags);
void ci_log_end(void);

/* A name or another text from outside that is to stay on its line: spelled as in ci_printf, line breaks and tabs too.
 * Borrowed until the fourth call after this one on this thread; what is too long ends with "...". */
const char *ci_one_line(const char *text);

/* Standard error without "clinfer: " and level; spelled as ci_printf. */
void ci_tell(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* A line on standard error, "clinfer: ..."; hidden by --quiet. Spelled as ci_one_line: it stays one line. */
void ci_say(const char *format, ...) __attribute__((format(printf, 1, 2)));
void ci_warn(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* What a model thinks, on standard error: dimmed where it shows colours, spelled as ci_print does it. NULL: it has
 * ended, what comes next begins a line of its own. */
void ci_think(const char *text, size_t length);

/* Shows a line at the bottom of the terminal in the place of the one before; NULL takes it away. Messages come above.
 * False, and nothing is shown, where standard error is no terminal or is to be quiet. */
bool ci_progress(const char *text);

/* A message for the failure at hand, clinfer_error(); returns the exit status. */
int ci_complain(enum clinfer_status status);
/* And with a message of the tool's own. */
int ci_refuse(enum clinfer_status status, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* Whether standard error shows colours, and the sequences to use there ("" if not). */
const char *ci_color(const char *sequence);

/* "92.4 MiB", "135M": into a buffer of the caller, which is returned. */
enum { CI_AMOUNT_BYTES = 32 };
const char *ci_format_bytes(uint64_t bytes, char text[CI_AMOUNT_BYTES]);
const char *ci_format_count(uint64_t count, char text[CI_AMOUNT_BYTES]);

/* "41.2 us", "1.35 s". */
const char *ci_format_seconds(double seconds, char text[CI_AMOUNT_BYTES]);

/* "q8,q4_1,-,-" as "q8 q4_1": absent inputs say nothing. */
const char *ci_format_types(const char *types, char *text, size_t size);

/* Monotonic. */
double ci_seconds(void);

#endif
