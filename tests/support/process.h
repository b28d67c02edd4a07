/* process.h: runs a program and keeps what it wrote, for tests of the command line tool.
 *
 *     struct process_result result;
 *     process_run(&result, NULL, process_tool(), "run", "--temp", "0", "hello", NULL);
 *     assert_int_equal(result.status, 0);
 *     process_free(&result);
 *
 * Started with posix_spawn: a fork would copy whatever OpenCL has set up in the test. A program that takes longer than
 * its limit is killed; what cannot be started ends the test with a message. */
#ifndef TESTS_SUPPORT_PROCESS_H
#define TESTS_SUPPORT_PROCESS_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>

struct process_options {
    const char *input; /* standard input; NULL: nothing */
    size_t input_length;
    const char *const *environment; /* "NAME=value" sets, "NAME" unsets; ends with NULL */
    const char *output_path;        /* standard output goes there and not to `out` */
    size_t close_after;  /* standard output is a pipe that is closed once so many bytes came (0: it is not) */
    int signal_at_first; /* sent when the first byte of standard output came (0: none) */
};

struct process_result {
    int status;      /* the exit status, or minus the signal's number; -1000: it took too long */
    char *out, *err; /* zero-terminated */
    size_t out_length, err_length;
};

/* Fails a test with what the program said. */
#define process_assert_status(result, expected)                                                                        \
    do {                                                                                                               \
        if ((result)->status != (expected))                                                                            \
            fail_msg("exit status %d, not %d: %s", (result)->status, expected, (result)->err);                         \
    } while (0)

/* The words end with NULL. */
void process_run(struct process_result *result, const struct process_options *options, const char *program, ...)
    __attribute__((sentinel));
void process_free(struct process_result *result);

/* Standard output, which must be exactly one JSON value; the caller's. */
json_t *process_json(const struct process_result *result);

/* $CLINFER_TEST_BINARY, else $CLINFER_BINARY, else ./clinfer. */
const char *process_tool(void);

/* $CLINFER_TEST_MODEL, else the default model where clinfer looks for it. */
const char *process_model(void);

/* A folder of the test's own below $TMPDIR, removed with all its files at exit. */
const char *process_folder(void);

/* Writes a file into it; returns its path, which stays valid. */
const char *process_file(const char *name, const void *data, size_t size);

/* The whole file, zero-terminated; the caller frees it. */
char *process_read(const char *path, size_t *size);

/* A program on a terminal of its own. */
struct process_terminal {
    int fd, child;
    char *text; /* all that it showed */
    size_t length;
};
void process_terminal_start(struct process_terminal *terminal, const char *program, ...) __attribute__((sentinel));
void process_terminal_type(struct process_terminal *terminal, const char *text);

/* Waits until `wanted` shows up behind *at, and moves *at behind it; false when it does not in time. */
bool process_terminal_expect(struct process_terminal *terminal, size_t *at, const char *wanted);

/* Waits for the end; the status as above. */
int process_terminal_finish(struct process_terminal *terminal);

#endif
