/* The tool without generating anything: flags, helps, exit statuses, which model is taken, devices, inspect, tokenize.
 */
#define _GNU_SOURCE
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "support/asserts.h"
#include "support/gguf_writer.h"
#include "support/process.h"

#define TOOL(result, options, ...) process_run(result, options, process_tool(), __VA_ARGS__, NULL)

/* Runs, expects the exit status, nothing on standard output and a message with `wanted`. */
#define EXPECT_FAILURE(exit_status, wanted, options, ...)                                                              \
    do {                                                                                                               \
        struct process_result failure;                                                                                 \
        TOOL(&failure, options, __VA_ARGS__);                                                                          \
        assert_contains(failure.err, wanted);                                                                          \
        process_assert_status(&failure, exit_status);                                                                  \
        assert_string_equal(failure.out, "");                                                                          \
        process_free(&failure);                                                                                        \
    } while (0)

static void test_help_shows_commands_flags_and_exit_statuses(void **state) {
    (void)state;
    static const char *const commands[] = {"run",    "devices", "ops",      "tune",   "bench",      "profile", "doctor",
                                           "verify", "inspect", "tokenize", "logits", "version",    "config",  "pull",
                                           "list",   "show",    "rm",       "prune",  "completion", "serve",   "cache"};
    struct process_result all, one;
    TOOL(&all, NULL, "--help");
    process_assert_status(&all, 0);
    assert_string_equal(all.err, "");
    assert_contains(all.out, "10  the context is full");
    for (size_t i = 0; i < sizeof commands / sizeof *commands; i++) {
        assert_contains(all.out, commands[i]);
        TOOL(&one, NULL, commands[i], "--help");
        process_assert_status(&one, 0);
        assert_string_equal(one.err, "");
        assert_contains(one.out, "Usage: clinfer ");
        assert_contains(one.out, " 8  no such device");
        process_free(&one);
    }
    process_free(&all);
    TOOL(&one, NULL, "help", "run");
    assert_contains(one.out, "--repeat-penalty");
    process_free(&one);
}

/* Flags stand in the help's lines as "  -p, --prompt TEXT   the prompt"; the manual writes a dash as \\-. */
static void test_manual_has_every_flag_and_exit_status(void **state) {
    (void)state;
    static const char *const commands[] = {"run",    "devices", "ops",      "tune",       "bench",  "profile", "doctor",
                                           "verify", "inspect", "tokenize", "logits",     "config", "pull",    "list",
                                           "show",   "rm",      "prune",    "completion", "serve",  "cache"};
    size_t size, kept = 0;
    char *manual = process_read("docs/clinfer.1", &size);
    for (size_t i = 0; i <= size; i++)
        if (manual[i] != '\\' || manual[i + 1] != '-') manual[kept++] = manual[i];
    for (size_t i = 0; i < sizeof commands / sizeof *commands; i++) {
        struct process_result help;
        TOOL(&help, NULL, commands[i], "--help");
        char *rest = help.out;
        for (char *line; (line = strsep(&rest, "\n"));) {
            if (strncmp(line, "  -", 3) != 0) continue;
            char *words = line + 2;
            for (char *word; (word = strsep(&words, " ")) && word[0] == '-';) {
                word[strcspn(word, ",")] = 0;
                if (!strstr(manual, word)) fail_msg("%s of clinfer %s is not in the manual", word, commands[i]);
            }
        }
        process_free(&help);
    }
#define EXPECT_STATUS(code, exit_status, text) assert_contains(manual, "\n" #exit_status "|" text "\n");
    CLINFER_STATUS_LIST(EXPECT_STATUS)
#undef EXPECT_STATUS
    free(manual);
}

static void test_version_is_the_headers(void **state) {
    (void)state;
    struct process_result result;
    TOOL(&result, NULL, "--version");
    process_assert_status(&result, 0);
    assert_contains(result.out, "clinfer " CLINFER_VERSION);
    process_free(&result);
}

static void test_mistakes_on_the_command_line_are_named(void **state) {
    (void)state;
    EXPECT_FAILURE(2, "unknown flag --tmep; did you mean --temp?", NULL, "run", "--tmep", "0", "hi");
    EXPECT_FAILURE(2, "unknown flag --zzzzzz", NULL, "run", "--zzzzzz");
    EXPECT_FAILURE(2, "did you mean --json?", NULL, "devices", "--jsn");
    EXPECT_FAILURE(2, "-n x: must be a whole number", NULL, "run", "-n", "x", "hi");
    EXPECT_FAILURE(2, "--top-p 1.5: must be 0 to 1", NULL, "run", "--top-p=1.5", "hi");
    EXPECT_FAILURE(2, "-ctk q4_1: must be one of f16|f32|q8_0|q4_0", NULL, "run", "-ctk", "q4_1", "hi");
    EXPECT_FAILURE(2, "-n needs a value", NULL, "run", "hi", "-n");
    EXPECT_FAILURE(2, "--json takes no value", NULL, "run", "--json=yes", "hi");
    EXPECT_FAILURE(2, "unknown command tokenise; did you mean tokenize?", NULL, "tokenise");
    EXPECT_FAILURE(2, "a command comes before the flags", NULL, "-m", "x");
    EXPECT_FAILURE(2, "several ways: words -p", NULL, "run", "-p", "a", "b");
    EXPECT_FAILURE(2, "-o FILE.npy is missing", NULL, "logits", "-p", "a");
    struct process_result result;
    process_run(&result, NULL, process_tool(), NULL);
    process_assert_status(&result, 2);
    assert_contains(result.err, "a command is missing");
    process_free(&result);
}

/* With a model that is not there: the trace is tried before it. */
static void test_trace_that_cannot_be_written_is_said_first(void **state) {
    (void)state;
    const char *kept = process_file("kept.json", "kept", 4);
    char missing[512], free_path[512];
    snprintf(missing, sizeof missing, "%s/no/trace.json", process_folder());
    snprintf(free_path, sizeof free_path, "%s/trace.json", process_folder());
    static const char *const commands[] = {"run", "bench"};
    for (size_t i = 0; i < sizeof commands / sizeof *commands; i++) {
        const char *command = commands[i];
        EXPECT_FAILURE(4, "trace.json: cannot write there: No such file or directory", NULL, command, "-p", "1", "-m",
                       "no-such", "--trace", missing);
        EXPECT_FAILURE(4, "cannot write there: Is a directory", NULL, command, "-p", "1", "-m", "no-such", "--trace",
                       process_folder());
        EXPECT_FAILURE(3, "no-such: no such model", NULL, command, "-p", "1", "-m", "no-such", "--trace", free_path);
        EXPECT_FAILURE(3, "no-such: no such model", NULL, command, "-p", "1", "-m", "no-such", "--trace", kept);
    }
    size_t size;
    char *text = process_read(kept, &size);
    assert_string_equal(text, "kept");
    free(text);
    assert_int_not_equal(access(free_path, F_OK), 0);
}

static void test_run_without_a_prompt_says_what_to_do_and_ends(void **state) {
    (void)state;
    EXPECT_FAILURE(2, "standard input is empty; give the text as an argument", NULL, "run");
    EXPECT_FAILURE(2, "prompt is empty", NULL, "run", "-p", "");
    EXPECT_FAILURE(3, "/nonexistent/question.txt", NULL, "run", "-f", "/nonexistent/question.txt");
}

/* ---- which model ---- */

static void make_folder(const char *base, const char *name) {
    char path[600];
    snprintf(path, sizeof path, "%s/%s", base, name);
    assert_int_equal(mkdir(path, 0700), 0);
}

/* A data folder of the test's own whose models folder holds links of these names to the default model. */
static const char *data_folder(const char *name, const char *const *models) {
    static char setting[300];
    snprintf(setting, sizeof setting, "XDG_DATA_HOME=%s/%s", process_folder(), name);
    const char *folder = strchr(setting, '/');
    make_folder(folder, "");
    make_folder(folder, "clinfer");
    make_folder(folder, "clinfer/models");
    for (; *models; models++) {
        char path[600];
        snprintf(path, sizeof path, "%s/clinfer/models/%s", folder, *models);
        assert_int_equal(symlink(process_model(), path), 0);
    }
    return setting;
}

static void assert_tokenizes_hello(const struct process_options *options, const char *model) {
    struct process_result result;
    if (model)
        TOOL(&result, options, "tokenize", "--ids", "-m", model, "Hello");
    else
        TOOL(&result, options, "tokenize", "--ids", "Hello");
    assert_string_equal(result.err, "");
    process_assert_status(&result, 0);
    assert_string_equal(result.out, "[19556]\n");
    process_free(&result);
}

static void test_model_is_found_by_name_variable_and_default(void **state) {
    (void)state;
    const char *environment[] = {NULL, "CLINFER_MODEL", NULL};
    const struct process_options options = {.environment = environment};
    environment[0] = data_folder("one", (const char *[]){"odd-name.gguf", NULL});
    assert_tokenizes_hello(&options, NULL); /* the only one there */
    assert_tokenizes_hello(&options, "odd-name");
    assert_tokenizes_hello(&options, "odd-name.gguf");
    assert_tokenizes_hello(&options, process_model());
    EXPECT_FAILURE(3, "nix: no such model; in ", &options, "tokenize", "-m", "nix", "a");
    EXPECT_FAILURE(3, "there is: odd-name.gguf", &options, "tokenize", "-m", "nix", "a");
    environment[1] = "CLINFER_MODEL=odd-name";
    assert_tokenizes_hello(&options, NULL);
    environment[1] = "CLINFER_MODEL=missing";
    EXPECT_FAILURE(3, "CLINFER_MODEL: missing: no such model", &options, "tokenize", "a");
    environment[1] = "CLINFER_MODEL=";
    environment[0] =
        data_folder("two", (const char *[]){"other.gguf", "smollm2-135m-instruct-q4_1.gguf", "note.txt", NULL});
    assert_tokenizes_hello(&options, NULL); /* the default one */
    environment[0] = data_folder("three", (const char *[]){"a.gguf", "b.gguf", NULL});
    EXPECT_FAILURE(3, "a.gguf, b.gguf", &options, "tokenize", "a");
    environment[0] = data_folder("none", (const char *[]){NULL});
    EXPECT_FAILURE(3, "`make run`", &options, "run", "a");
}

/* A path at which something is, though no model: it is not called missing. */
static void test_paths_that_lead_nowhere_say_why(void **state) {
    (void)state;
    char folder[300], path[600], below[700];
    const char *environment[] = {data_folder("nowhere", (const char *[]){"m.gguf", NULL}), NULL};
    const struct process_options options = {.environment = environment};
    snprintf(folder, sizeof folder, "%s/clinfer/models", strchr(environment[0], '/'));
    snprintf(path, sizeof path, "%s/loop.gguf", folder);
    assert_int_equal(symlink("loop.gguf", path), 0);
    EXPECT_FAILURE(4, "cannot be reached: Too many levels of symbolic links", &options, "tokenize", "-m", path, "a");
    snprintf(path, sizeof path, "%s/gone.gguf", folder);
    assert_int_equal(symlink("away.gguf", path), 0);
    EXPECT_FAILURE(3, "a link to a file that is not there", &options, "tokenize", "-m", path, "a");
    snprintf(below, sizeof below, "%s/m.gguf/", folder);
    EXPECT_FAILURE(3, "is a file, not a folder", &options, "tokenize", "-m", below, "a");
}

/* Sub-folders and ".GGUF" count, links are followed, loops and what is hidden are not. */
static void test_models_are_found_in_folders_below(void **state) {
    (void)state;
    const char *environment[] = {NULL, "CLINFER_MODEL", NULL};
    const struct process_options options = {.environment = environment};
    char folder[300], path[600];
    environment[0] = data_folder("below", (const char *[]){NULL});
    snprintf(folder, sizeof folder, "%s/clinfer/models", strchr(environment[0], '/'));
    make_folder(folder, ".hidden");
    make_folder(folder, "named.gguf"); /* a folder all the same */
    make_folder(folder, "maker");
    make_folder(folder, "maker/deep");
    snprintf(path, sizeof path, "%s/maker/deep/loop", folder);
    assert_int_equal(symlink(folder, path), 0);
    snprintf(path, sizeof path, "%s/.hidden/x.gguf", folder);
    assert_int_equal(symlink(process_model(), path), 0);
    EXPECT_FAILURE(3, "no such model, and none in ", &options, "tokenize", "a");
    snprintf(path, sizeof path, "%s/maker/deep/Small.GGUF", folder);
    assert_int_equal(symlink(process_model(), path), 0);
    assert_tokenizes_hello(&options, NULL); /* the only one there */
    assert_tokenizes_hello(&options, "Small");
    assert_tokenizes_hello(&options, "Small.GGUF");
    assert_tokenizes_hello(&options, "maker/deep/Small");
    assert_tokenizes_hello(&options, "maker/deep/Small.GGUF");
    EXPECT_FAILURE(3, "there is: maker/deep/Small.GGUF", &options, "tokenize", "-m", "nix", "a");
    snprintf(path, sizeof path, "%s/maker/Small.gguf", folder);
    assert_int_equal(symlink(process_model(), path), 0);
    EXPECT_FAILURE(2, "may be any of: maker/Small.gguf, maker/deep/Small.GGUF", &options, "tokenize", "-m", "Small",
                   "a");
    assert_tokenizes_hello(&options, "maker/Small");
    snprintf(path, sizeof path, "%s/Small.gguf", folder);
    assert_int_equal(symlink(process_model(), path), 0);
    assert_tokenizes_hello(&options, "Small"); /* the folder's own goes first */
    snprintf(path, sizeof path, "%s/maker/smollm2-135m-instruct-q4_1.gguf", folder);
    assert_int_equal(symlink(process_model(), path), 0);
    assert_tokenizes_hello(&options, NULL); /* the default one */
}

static void test_what_is_no_model_is_refused_at_once_by_every_command(void **state) {
    (void)state;
    char fifo[300];
    snprintf(fifo, sizeof fifo, "%s/fifo.gguf", process_folder());
    assert_int_equal(mkfifo(fifo, 0600), 0);
    const char *pointer = process_file("pointer.gguf", "version https://git-lfs.github.com/spec/v1\n", 43);
    static const char address[] = "https://example.org/model.gguf";
    EXPECT_FAILURE(6, "a FIFO", NULL, "run", "--device", "cpu", "-m", fifo, "hi");
    EXPECT_FAILURE(6, "a FIFO", NULL, "inspect", fifo);
    EXPECT_FAILURE(6, "a FIFO", NULL, "tokenize", "-m", fifo, "hi");
    EXPECT_FAILURE(6, "this is an address", NULL, "run", "--device", "cpu", "-m", address, "hi");
    EXPECT_FAILURE(6, "this is an address", NULL, "inspect", address);
    EXPECT_FAILURE(5, "git lfs pull", NULL, "run", "--device", "cpu", "-m", pointer, "hi");
    EXPECT_FAILURE(5, "git lfs pull", NULL, "inspect", pointer);
}

static void test_bad_model_files_give_their_exit_status(void **state) {
    (void)state;
    size_t size;
    char *model = process_read(process_model(), &size);
    const char *cut = process_file("cut.gguf", model, 100000);
    const char *text = process_file("text.gguf", "this is no model", 16);
    free(model);
    EXPECT_FAILURE(5, "cut.gguf", NULL, "run", "-m", cut, "hi");
    EXPECT_FAILURE(5, "cut.gguf", NULL, "inspect", cut);
    EXPECT_FAILURE(5, "text.gguf", NULL, "logits", "-m", text, "-p", "hi", "-o", "/dev/null");
    EXPECT_FAILURE(6, "/: this is a folder", NULL, "run", "-m", "/", "hi");
    struct gguf_writer *writer = gguf_writer_create();
    gguf_writer_string(writer, "general.architecture", "mamba");
    const char *foreign = process_file("foreign.gguf", "", 0);
    gguf_writer_save(writer, foreign);
    gguf_writer_destroy(writer);
    EXPECT_FAILURE(6, "\"mamba\" is not supported", NULL, "run", "-m", foreign, "hi");
    struct process_result result;
    TOOL(&result, NULL, "inspect", foreign);
    process_assert_status(&result, 0);
    assert_contains(result.out, "runs          no: ");
    assert_contains(result.out, "mamba");
    process_free(&result);
}

/* Neither for who looks at it nor in what is said of it. */
static void test_names_in_a_file_cannot_control_a_terminal(void **state) {
    (void)state;
    static const char *const controls[] = {"\x1b", "\r", "\a", "\x7f", "\xc2\x9b", "\xe2\x80\xae", "\x9b"};
    struct gguf_writer *writer = gguf_writer_create();
    struct process_result result;
    gguf_writer_string(writer, "general.architecture", "ma\x1b[2Jmba\nclinfer: all is well");
    gguf_writer_string(writer, "a\xc2\x9bkey", "value\r\xe2\x80\xae\a\x7f\x9b");
    gguf_writer_tensor(writer,
                       "blk\xc2\x9d"
                       "0;x\xe2\x80\xae.weight",
                       0, 1, (const uint64_t[]){32}, NULL);
    const char *file = process_file("evil.gguf", "", 0);
    gguf_writer_save(writer, file);
    gguf_writer_destroy(writer);
    TOOL(&result, NULL, "run", "-m", file, "hi");
    assert_contains(result.err, "ma\\u001b[2Jmba\\nclinfer: all is well");
    for (size_t i = 0; i < sizeof controls / sizeof *controls; i++) assert_null(strstr(result.err, controls[i]));
    process_free(&result);
    TOOL(&result, NULL, "inspect", file);
    process_assert_status(&result, 0);
    for (size_t i = 0; i + 1 < sizeof controls / sizeof *controls; i++) assert_null(strstr(result.out, controls[i]));
    assert_contains(result.out, "a\\u009bkey");
    assert_contains(result.out, "\"value\\r\\u202e\\u0007\\u007f\\x9b\"");
    assert_contains(result.out, "blk\\u009d0;x\\u202e.weight");
    process_free(&result);
    TOOL(&result, NULL, "inspect", "--json", file);
    for (size_t i = 0; i + 1 < sizeof controls / sizeof *controls; i++) assert_null(strstr(result.out, controls[i]));
    json_t *inspection = process_json(&result);
    const char *value = json_string_value(json_object_get(json_object_get(inspection, "metadata"), "a\xc2\x9bkey"));
    assert_string_equal(value, "value\r\xe2\x80\xae\a\x7f\xef\xbf\xbd");
    json_decref(inspection);
    process_free(&result);
    EXPECT_FAILURE(2, "unknown flag --\\u001b[2J", NULL, "run", "--\x1b[2J");
    EXPECT_FAILURE(3, "x\\u001b[2J\\n", NULL, "inspect", "x\x1b[2J\n");
}

/* ---- devices, inspect, tokenize ---- */

static void test_devices_lists_opencl_and_cpu(void **state) {
    (void)state;
    struct process_result result;
    TOOL(&result, NULL, "devices");
    process_assert_status(&result, 0);
    assert_contains(result.out, "cpu  the CPU backend: ");
    process_free(&result);
    TOOL(&result, NULL, "devices", "--json");
    process_assert_status(&result, 0);
    json_t *object = process_json(&result);
    assert_true(json_array_size(json_object_get(object, "devices")) > 0);
    assert_true(json_is_string(json_object_get(json_object_get(object, "cpu"), "isa")));
    json_decref(object);
    process_free(&result);
}

static void test_devices_without_a_driver_says_how_to_get_one(void **state) {
    (void)state;
    const char *environment[] = {"OCL_ICD_VENDORS=/nonexistent", NULL};
    const struct process_options options = {.environment = environment};
    struct process_result result;
    TOOL(&result, &options, "devices", "--json");
    process_assert_status(&result, 0);
    assert_contains(result.err, "pocl-opencl-icd");
    json_t *object = process_json(&result);
    assert_int_equal(json_array_size(json_object_get(object, "devices")), 0);
    json_decref(object);
    process_free(&result);
}

static void test_inspect_tells_metadata_tensors_and_whether_it_runs(void **state) {
    (void)state;
    struct process_result result;
    TOOL(&result, NULL, "inspect", process_model());
    process_assert_status(&result, 0);
    assert_string_equal(result.err, "");
    assert_contains(result.out, "runs          yes: 30 layers");
    assert_contains(result.out, "general.architecture                         \"llama\"");
    assert_contains(result.out, "token_embd.weight");
    process_free(&result);
    TOOL(&result, NULL, "inspect", "--tensors", process_model());
    assert_null(strstr(result.out, "tokenizer.ggml.tokens"));
    process_free(&result);
    TOOL(&result, NULL, "inspect", "--json", process_model());
    json_t *object = process_json(&result);
    assert_true(json_is_true(json_object_get(object, "runs")));
    assert_int_equal(json_array_size(json_object_get(object, "tensors")), 272);
    json_t *metadata = json_object_get(object, "metadata");
    assert_int_equal(json_integer_value(json_object_get(metadata, "llama.block_count")), 30);
    json_t *tokens = json_object_get(metadata, "tokenizer.ggml.tokens");
    assert_int_equal(json_integer_value(json_object_get(tokens, "count")), 49152);
    json_decref(object);
    process_free(&result);
}

static void test_tokenize_gives_ids_and_pieces(void **state) {
    (void)state;
    const char *model = process_model();
    struct process_result result;
    TOOL(&result, NULL, "tokenize", "-m", model, "--ids", "Why is", "the sky blue?");
    assert_string_equal(result.out, "[4898, 314, 260, 6376, 4461, 47]\n");
    process_free(&result);
    TOOL(&result, NULL, "tokenize", "-m", model, "a\n");
    assert_contains(result.out, "-> '\\n'");
    process_free(&result);
    TOOL(&result, NULL, "tokenize", "-m", model, "--ids", "<|im_start|>");
    assert_string_equal(result.out, "[1]\n");
    process_free(&result);
    TOOL(&result, NULL, "tokenize", "-m", model, "--ids", "--no-special", "<|im_start|>");
    assert_string_not_equal(result.out, "[1]\n");
    process_free(&result);
}

static void test_tokenize_json_is_valid_for_any_bytes(void **state) {
    (void)state;
    const struct process_options options = {.input = "caf\xC3\xA9 \x80\xE4\xBD\n", .input_length = 10};
    struct process_result result;
    TOOL(&result, &options, "tokenize", "-m", process_model(), "--json");
    process_assert_status(&result, 0);
    json_t *object = process_json(&result), *tokens = json_object_get(object, "tokens");
    assert_int_equal(json_array_size(tokens), json_integer_value(json_object_get(object, "count")));
    /* Pieces that are no text are arrays of bytes; all together they are the input without its line break. */
    char bytes[64];
    size_t length = 0;
    for (size_t i = 0; i < json_array_size(tokens); i++) {
        json_t *piece = json_object_get(json_array_get(tokens, i), "piece");
        for (size_t k = 0; k < json_array_size(piece); k++)
            bytes[length++] = (char)json_integer_value(json_array_get(piece, k));
        if (!json_is_string(piece)) continue;
        memcpy(bytes + length, json_string_value(piece), json_string_length(piece));
        length += json_string_length(piece);
    }
    assert_int_equal(length, options.input_length - 1);
    assert_memory_equal(bytes, options.input, length);
    json_decref(object);
    process_free(&result);
}

static void test_closed_output_ends_every_command_quietly(void **state) {
    (void)state;
    const struct process_options options = {.close_after = 1};
    struct process_result result;
    TOOL(&result, &options, "inspect", process_model());
    process_assert_status(&result, 0);
    assert_string_equal(result.err, "");
    process_free(&result);
    const struct process_options full = {.output_path = "/dev/full"};
    TOOL(&result, &full, "inspect", process_model());
    process_assert_status(&result, 4);
    assert_contains(result.err, "standard output: No space left");
    process_free(&result);
}

/* A folder with SafeTensors is a model, by its name as by its path, and listed with the others. */
static void test_folders_are_models(void **state) {
    (void)state;
    const char *environment[] = {data_folder("folders", (const char *[]){"a.gguf", NULL}), NULL};
    const struct process_options options = {.environment = environment};
    char path[600], here[300];
    struct process_result result;
    assert_non_null(getcwd(here, sizeof here));
    make_folder(strchr(environment[0], '/'), "clinfer/models/maker");
    snprintf(path, sizeof path, "%s/clinfer/models/maker/tiny", strchr(environment[0], '/'));
    char target[400];
    snprintf(target, sizeof target, "%s/tests/data/folders/qwen3", here);
    assert_int_equal(symlink(target, path), 0);
    const char *const names[] = {"tiny", "maker/tiny", target};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        TOOL(&result, &options, "inspect", "--json", "-m", names[i]);
        process_assert_status(&result, 0);
        assert_non_null(strstr(result.out, "\"format\": \"safetensors\""));
        assert_non_null(strstr(result.out, "\"runs\": true"));
        process_free(&result);
    }
    EXPECT_FAILURE(3, "there are: a.gguf, maker/tiny", &options, "tokenize", "-m", "nix", "a");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_names_in_a_file_cannot_control_a_terminal),
        cmocka_unit_test(test_help_shows_commands_flags_and_exit_statuses),
        cmocka_unit_test(test_manual_has_every_flag_and_exit_status),
        cmocka_unit_test(test_version_is_the_headers),
        cmocka_unit_test(test_mistakes_on_the_command_line_are_named),
        cmocka_unit_test(test_trace_that_cannot_be_written_is_said_first),
        cmocka_unit_test(test_run_without_a_prompt_says_what_to_do_and_ends),
        cmocka_unit_test(test_model_is_found_by_name_variable_and_default),
        cmocka_unit_test(test_paths_that_lead_nowhere_say_why),
        cmocka_unit_test(test_models_are_found_in_folders_below),
        cmocka_unit_test(test_folders_are_models),
        cmocka_unit_test(test_what_is_no_model_is_refused_at_once_by_every_command),
        cmocka_unit_test(test_bad_model_files_give_their_exit_status),
        cmocka_unit_test(test_devices_lists_opencl_and_cpu),
        cmocka_unit_test(test_devices_without_a_driver_says_how_to_get_one),
        cmocka_unit_test(test_inspect_tells_metadata_tensors_and_whether_it_runs),
        cmocka_unit_test(test_tokenize_gives_ids_and_pieces),
        cmocka_unit_test(test_tokenize_json_is_valid_for_any_bytes),
        cmocka_unit_test(test_closed_output_ends_every_command_quietly),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
