/* What a file is that is no model: each kind has its own sentence and status, from the library as from the tool, and
 * nothing waits for what is no file. */
#define _GNU_SOURCE
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/file.h"
#include "format/gguf.h"
#include "format/kind.h"
#include "model/model.h"
#include "support/gguf_writer.h"
#include "text/tokenizer.h"

#define BAD CLINFER_BAD_FILE
#define UNS CLINFER_UNSUPPORTED

/* ---- by first bytes ---- */

#define BYTES(text) text, sizeof text - 1

static const struct sample {
    const char *bytes;
    size_t length;
    enum clinfer_status status;
    const char *named, *next;
} samples[] = {
    {BYTES(""), BAD, "empty", "fetch it again"},
    {BYTES("\0\0\0\0\0\0\0\0\0\0\0\0"), BAD, "begins with zeros", "download"},
    {BYTES("version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 105453888\n"), BAD,
     "git-lfs); the model has 105453888 bytes", "git lfs pull"},
    {BYTES("version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\n"), BAD, "git-lfs)", "git lfs pull"},
    {BYTES("<!DOCTYPE html>\n<html><head><title>Sign in</title>"), BAD, "a web page", "/resolve/main/"},
    {BYTES("\xef\xbb\xbf\r\n  <html lang=\"en\">"), BAD, "a web page", "fetch the file itself"},
    {BYTES("<?xml version=\"1.0\"?><Error><Code>AccessDenied</Code></Error>"), BAD, "a web page", "fetch"},
    {BYTES("{\"error\":\"Invalid username or password.\"}"), BAD, "JSON that begins with \"{\"error\"", "server"},
    {BYTES("Entry not found"), BAD, "a text that begins with \"Entry not found\"", "server"},
    {BYTES("\x40\0\0\0\0\0\0\0{\"__metadata__\":{\"format\":\"pt\"},\"a\":{"), UNS, "a SafeTensors file",
     "config.json"},
    {BYTES("\x08\0\0\0\0\0\0\0{}      "), UNS, "a SafeTensors file", "give -m that folder"},
    {BYTES("PK\3\4\0\0\x08\x08\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\x10\0\x12\0archive/data.pkl"), UNS,
     "a PyTorch checkpoint", "convert_hf_to_gguf.py"},
    {BYTES("\x80\x02\x8a\x0al\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19."), UNS, "a PyTorch checkpoint", "convert"},
    {BYTES("PK\3\4\x14\0\0\0\x08\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\x0a\0\0\0model.gguf"), UNS, "a zip archive",
     "unpack"},
    {BYTES("\x1f\x8b\x08\x08\0\0\0\0\0\3model.gguf\0"), UNS, "gzip", "unpack"},
    {BYTES("\x28\xb5\x2f\xfd\x04\x58"), UNS, "zstd", "unpack"},
    {BYTES("\xfd"
           "7zXZ\0\0\4"),
     UNS, "xz", "unpack"},
    {BYTES("\x5d\0\0\x80\0\xff\xff\xff\xff\xff\xff\xff\xff"), UNS, "lzma", "unpack"},
    {BYTES("BZh91AY&SY"), UNS, "bzip2", "unpack"},
    {BYTES("7z\xbc\xaf\x27\x1c\0\4"), UNS, "7z", "unpack"},
    {BYTES("lmgg\x12\0\0\0"), UNS, "a GGML file, older than GGUF", "convert_hf_to_gguf.py"},
    {BYTES("fmgg\1\0\0\0"), UNS, "a GGMF file", "convert_hf_to_gguf.py"},
    {BYTES("tjgg\3\0\0\0"), UNS, "a GGJT file", "convert_hf_to_gguf.py"},
    {BYTES("ggjt\0\0\0\3"), UNS, "a GGJT file", "convert_hf_to_gguf.py"},
    {BYTES("algg\1\0\0\0"), UNS, "an adapter (LoRA)", "give -m a model"},
    {BYTES("FUGG\0\0\0\3"), UNS, "big-endian", "gguf_convert_endian.py"},
    {BYTES("GGUF\0\0\0\3\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0"), UNS, "big-endian", "gguf_convert_endian.py"},
    {BYTES("\x02\0\0\0\x15\0\0\0blk.0.attn_q.weight\0\0"), UNS, "an importance matrix", "the model itself"},
    {BYTES("\x93NUMPY\1\0"), UNS, "NumPy", "convert"},
    {BYTES("\x08\x07\x12\x07pytorch\x1a\x05"
           "2.1.0"),
     UNS, "an ONNX model", "convert_hf_to_gguf.py"},
    {BYTES("\x08\x01\x12\x07\0\1\2\3\4\5\6"), BAD, "magic: 0x07120108", "give -m a GGUF file"},
    {BYTES("\xff\xfeh\0e\0l\0l\0o\0"), BAD, "a text in UTF-16", "server"},
    {BYTES("\xfe\xff\0h\0e\0l\0l\0o"), BAD, "a text in UTF-16", "server"},
    {BYTES("\xff\xff\xff\xff\xff\xff\xff\xff"), BAD, "magic: 0xffffffff", "give -m a GGUF file"},
    {BYTES("MZqFpD='\n"), UNS, "a program", "GGUF file"},
    {BYTES("%PDF-1.7\n\x93\x8c\x8b\x9e"), UNS, "PDF", "GGUF file"},
    {BYTES("\x0b\xad\xf0\x0d\0\0\0\0\0\0\0\0"), BAD, "magic: 0x0df0ad0b", "not a GGUF file"},
    {BYTES("GGUF"), BAD, "version", "truncated"},
    {BYTES("GG"), BAD, "magic", "truncated"},
};

static void test_first_bytes_name_the_kind(void **state) {
    (void)state;
    for (size_t i = 0; i < sizeof samples / sizeof *samples; i++) {
        const struct sample *sample = &samples[i];
        uint8_t *copy = malloc(sample->length + !sample->length); /* so that ASan sees its end */
        struct ci_gguf *gguf;
        memcpy(copy, sample->bytes, sample->length);
        enum clinfer_status status = ci_gguf_open_memory(copy, sample->length, "x.gguf", &gguf);
        if (status != sample->status || !strstr(clinfer_error(), sample->named) ||
            !strstr(clinfer_error(), sample->next) || strncmp(clinfer_error(), "x.gguf: ", 8) != 0)
            fail_msg("sample %zu: status %d, \"%s\"; expected %d, \"%s\" and \"%s\"", i, (int)status, clinfer_error(),
                     (int)sample->status, sample->named, sample->next);
        free(copy);
    }
}

/* Nothing reads past the end, however short the file is. */
static void test_beginnings_of_all_kinds_are_refused(void **state) {
    (void)state;
    for (size_t i = 0; i < sizeof samples / sizeof *samples; i++)
        for (size_t length = 0; length < samples[i].length; length++) {
            uint8_t *copy = malloc(length + !length);
            struct ci_gguf *gguf;
            memcpy(copy, samples[i].bytes, length);
            enum clinfer_status status = ci_gguf_open_memory(copy, length, "x.gguf", &gguf);
            if (status != BAD && status != UNS) fail_msg("sample %zu, %zu bytes: status %d", i, length, (int)status);
            free(copy);
        }
}

/* The pieces of a file that `split` cut up: the first begins as a model does and ends too early. */
static void test_pieces_are_known_by_name(void **state) {
    (void)state;
    static const char *const pieces[] = {"a/m.gguf.part1of3", "m.Part-2-of-3", "m.gguf-split-a",
                                         "m.part_00001_of_00004.gguf"};
    static const char *const others[] = {"m.gguf",       "part.gguf",         "m-part1.gguf",
                                         "partof3.gguf", "a.part1of2/m.gguf", "my-split-model.gguf"};
    for (size_t i = 0; i < sizeof pieces / sizeof *pieces; i++) {
        struct ci_gguf *gguf;
        assert_int_equal(ci_gguf_open_memory("GGUF\3\0\0\0", 8, pieces[i], &gguf), UNS);
        assert_non_null(strstr(clinfer_error(), "join them"));
        assert_int_equal(ci_gguf_open_memory("\1\2\3\4\5\6\7", 8, pieces[i], &gguf), UNS);
        assert_int_equal(ci_gguf_open_memory("", 0, pieces[i], &gguf), BAD);
    }
    for (size_t i = 0; i < sizeof others / sizeof *others; i++) {
        if (ci_kind_check_piece(others[i]) != CLINFER_OK) fail_msg("%s is taken for a piece", others[i]);
    }
}

/* ---- by metadata ---- */

/* What the model layer says of it; the file itself is a good GGUF file, which can be inspected. */
static void check_model(struct gguf_writer *writer, const char *name, const char *named, const char *next) {
    size_t size;
    const uint8_t *data = gguf_writer_bytes(writer, &size);
    struct ci_gguf *gguf;
    struct ci_model model;
    if (ci_gguf_open_memory(data, size, name, &gguf) != CLINFER_OK) fail_msg("%s", clinfer_error());
    enum clinfer_status status = ci_model_open(gguf, &model);
    if (status != UNS || !strstr(clinfer_error(), named) || !strstr(clinfer_error(), next) ||
        strncmp(clinfer_error(), name, strlen(name)) != 0)
        fail_msg("status %d, \"%s\"; expected \"%s\" and \"%s\"", (int)status, clinfer_error(), named, next);
    struct ci_tokenizer *tokenizer;
    if (ci_kind_check_metadata(gguf) != CLINFER_OK && !ci_gguf_find(gguf, "tokenizer.ggml.model")) {
        assert_int_equal(ci_tokenizer_create_gguf(gguf, &tokenizer), UNS);
        assert_non_null(strstr(clinfer_error(), named));
    }
    ci_gguf_close(gguf);
    gguf_writer_destroy(writer);
}

static struct gguf_writer *file_with(const char *key, const char *text) {
    struct gguf_writer *writer = gguf_writer_create();
    gguf_writer_string(writer, key, text);
    gguf_writer_random(writer, "blk.0.attn_q.weight.lora_a", 0, 32, 2, 1.0f);
    return writer;
}

static void test_parts_of_split_models_are_known_by_name(void **state) {
    (void)state;
    static const char *const others[] = {
        "m.gguf",           "m-0001-of-0003.gguf",    "m-00004-of-00003.gguf", "m-00000-of-00003.gguf",
        "m-00001-of-00003", "m-000010-of-00003.gguf", "-00001-of-00003",       "m_00001-of-00003.gguf"};
    int number = 0, count = 0;
    assert_int_equal(ci_kind_split_name("dir-00002-of-00009/m-00001-of-00012.gguf", &number, &count), 20);
    assert_int_equal(number, 1);
    assert_int_equal(count, 12);
    for (size_t i = 0; i < sizeof others / sizeof *others; i++)
        if (ci_kind_split_name(others[i], &number, &count)) fail_msg("%s is taken for a part", others[i]);
}

static void test_kinds_of_gguf_files_are_named(void **state) {
    (void)state;
    check_model(file_with("general.type", "adapter"), "x.gguf", "an adapter (LoRA)", "llama-export-lora");
    check_model(file_with("adapter.type", "lora"), "x.gguf", "an adapter (LoRA)", "llama-export-lora");
    check_model(file_with("general.type", "imatrix"), "x.gguf", "an importance matrix", "the model itself");
    check_model(file_with("general.type", "mmproj"), "x.gguf", "(mmproj)", "lies beside this");
    check_model(file_with("general.architecture", "clip"), "x.gguf", "(mmproj)", "lies beside this");
    check_model(file_with("general.architecture", "controlvector"), "x.gguf", "a control vector", "the model itself");
    check_model(file_with("general.type", "recipe"), "x.gguf", "general.type: \"recipe\"", "not a model");
    struct gguf_writer *writer = gguf_writer_create();
    gguf_writer_string(writer, "general.architecture", "llama");
    check_model(writer, "x.gguf", "metadata and no weights", "the model itself");
    writer = gguf_writer_create();
    gguf_writer_string(writer, "general.architecture", "llama");
    gguf_writer_string(writer, "tokenizer.ggml.model", "gpt2");
    gguf_writer_strings(writer, "tokenizer.ggml.tokens", (const char *const[]){"a"}, 1);
    check_model(writer, "x.gguf", "a vocabulary (for `clinfer tokenize`) and no weights", "the model itself");
}

/* ---- by path ---- */

static void check_path(const char *path, const char *named, const char *next) {
    struct ci_gguf *gguf;
    alarm(10); /* opening a FIFO would wait for whoever writes into it */
    enum clinfer_status status = ci_gguf_open(path, &gguf);
    alarm(0);
    if (status != UNS || !strstr(clinfer_error(), named) || !strstr(clinfer_error(), next) ||
        strncmp(clinfer_error(), path, strlen(path)) != 0)
        fail_msg("%s: status %d, \"%s\"; expected \"%s\" and \"%s\"", path, (int)status, clinfer_error(), named, next);
}

static void test_addresses_are_no_paths(void **state) {
    (void)state;
    check_path("https://huggingface.co/x/resolve/main/m.gguf", "an address", "clinfer pull");
    check_path("HTTP://127.0.0.1:8080/m.gguf", "an address", "clinfer pull");
    check_path("hf://org/repo/m.gguf", "an address", "-mu ADDRESS");
    check_path("file:///models/m.gguf", "an address", "give -m the path alone, /models/m.gguf");
    struct ci_gguf *gguf;
    assert_int_equal(ci_gguf_open("no/such:file//m.gguf", &gguf), CLINFER_NOT_FOUND);
}

static void test_what_is_no_file_is_refused_at_once(void **state) {
    (void)state;
    const char *base = getenv("TMPDIR");
    char folder[200], path[300], moved[300];
    snprintf(folder, sizeof folder, "%s/clinfer-kind-XXXXXX", base ? base : "/tmp");
    if (!mkdtemp(folder)) fail_msg("%s: cannot be made", folder);

    snprintf(path, sizeof path, "%s/pipe.gguf", folder);
    assert_int_equal(mkfifo(path, 0600), 0);
    check_path(path, "a FIFO", "save it as a file");
    struct ci_file file;
    alarm(10);
    assert_int_equal(ci_file_map(path, &file), CLINFER_IO);
    alarm(0);
    assert_int_equal(unlink(path), 0);

    struct sockaddr_un address = {.sun_family = AF_UNIX};
    int end = socket(AF_UNIX, SOCK_STREAM, 0);
    snprintf(address.sun_path, sizeof address.sun_path, "%.90s/s.gguf", folder);
    assert_int_equal(bind(end, (struct sockaddr *)&address, sizeof address), 0);
    check_path(address.sun_path, "a socket", "save it as a file");
    close(end);
    assert_int_equal(unlink(address.sun_path), 0);
    check_path("/dev/null", "a device", "save it as a file");

    check_path(folder, "a folder without GGUF or SafeTensors files", "give -m a model");
    struct rlimit limit, none;
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &limit), 0);
    none = (struct rlimit){.rlim_cur = 0, .rlim_max = limit.rlim_max};
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &none), 0); /* a folder that cannot be read, for root too */
    enum clinfer_status status = ci_kind_check_path(folder);
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &limit), 0);
    assert_int_equal(status, CLINFER_IO);
    assert_non_null(strstr(clinfer_error(), "it cannot be read: Too many open files"));
    snprintf(path, sizeof path, "%s/pytorch_model-00001-of-00002.bin", folder);
    assert_int_equal(ci_file_write(path, "x", 1), CLINFER_OK);
    check_path(folder, "a PyTorch checkpoint", "convert_hf_to_gguf.py");
    snprintf(moved, sizeof moved, "%s/m.GGUF", folder);
    assert_int_equal(rename(path, moved), 0);
    check_path(folder, "give -m one of the files in it", "m.GGUF");
    assert_int_equal(unlink(moved), 0);
    assert_int_equal(rmdir(folder), 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_first_bytes_name_the_kind),
        cmocka_unit_test(test_beginnings_of_all_kinds_are_refused),
        cmocka_unit_test(test_pieces_are_known_by_name),
        cmocka_unit_test(test_parts_of_split_models_are_known_by_name),
        cmocka_unit_test(test_kinds_of_gguf_files_are_named),
        cmocka_unit_test(test_addresses_are_no_paths),
        cmocka_unit_test(test_what_is_no_file_is_refused_at_once),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
