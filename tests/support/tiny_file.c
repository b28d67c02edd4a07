#include "support/tiny_file.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "support/asserts.h"

enum {
    LAYERS = TINY_FILE_LAYERS,
    WIDTH = TINY_FILE_WIDTH,
    FF = TINY_FILE_FF,
    HEADS = TINY_FILE_HEADS,
    HEAD = TINY_FILE_HEAD,
    VOCABULARY = TINY_FILE_VOCABULARY,
    F32 = TINY_FILE_F32
};

const char *tiny_file_key(const struct tiny_file *file, const char *key) {
    static char text[128];
    snprintf(text, sizeof text, "%s.%s", file->architecture, key);
    return text;
}

void tiny_file_vector(struct tiny_file *file, const char *name, uint64_t size) {
    gguf_writer_random(file->writer, name, F32, size, 0, 0.5f);
}

void tiny_file_add_layer(struct tiny_file *file, int layer) {
    static const struct {
        const char *name;
        uint64_t cols, rows;
    } tensors[] = {{"attn_norm", WIDTH, 0}, {"ffn_norm", WIDTH, 0},  {"attn_q", WIDTH, HEADS * HEAD},
                   {"attn_k", WIDTH, HEAD}, {"attn_v", WIDTH, HEAD}, {"attn_output", HEADS * HEAD, WIDTH},
                   {"ffn_gate", WIDTH, FF}, {"ffn_up", WIDTH, FF},   {"ffn_down", FF, WIDTH}};
    for (size_t i = 0; i < sizeof tensors / sizeof *tensors; i++) {
        char name[64];
        snprintf(name, sizeof name, "blk.%d.%s.weight", layer, tensors[i].name);
        gguf_writer_random(file->writer, name, F32, tensors[i].cols, tensors[i].rows, 0.1f);
    }
}

struct tiny_file tiny_file_begin(const char *architecture) {
    struct tiny_file file = {.writer = gguf_writer_create(), .architecture = architecture};
    gguf_writer_string(file.writer, "general.architecture", architecture);
    gguf_writer_u32(file.writer, tiny_file_key(&file, "context_length"), 128);
    gguf_writer_u32(file.writer, tiny_file_key(&file, "embedding_length"), WIDTH);
    gguf_writer_f32(file.writer, tiny_file_key(&file, "attention.layer_norm_rms_epsilon"), 1e-5f);
    gguf_writer_random(file.writer, "token_embd.weight", F32, WIDTH, VOCABULARY, 0.1f);
    tiny_file_vector(&file, "output_norm.weight", WIDTH);
    return file;
}

struct tiny_file tiny_file_start(const char *architecture) {
    struct tiny_file file = tiny_file_begin(architecture);
    gguf_writer_u32(file.writer, tiny_file_key(&file, "block_count"), LAYERS);
    gguf_writer_u32(file.writer, tiny_file_key(&file, "feed_forward_length"), FF);
    gguf_writer_u32(file.writer, tiny_file_key(&file, "attention.head_count"), HEADS);
    gguf_writer_u32(file.writer, tiny_file_key(&file, "attention.head_count_kv"), 1);
    for (int i = 0; i < LAYERS; i++) tiny_file_add_layer(&file, i);
    return file;
}

enum clinfer_status tiny_file_open(struct tiny_file *file) {
    size_t size;
    const uint8_t *bytes = gguf_writer_bytes(file->writer, &size);
    assert_ok(ci_gguf_open_memory(bytes, size, "tiny.gguf", &file->gguf));
    return ci_model_open(file->gguf, &file->model);
}

void tiny_file_end(struct tiny_file *file) {
    ci_model_close(&file->model);
    ci_gguf_close(file->gguf);
    gguf_writer_destroy(file->writer);
}

void tiny_file_refused(struct tiny_file *file, enum clinfer_status expected, const char *first, const char *second) {
    enum clinfer_status status = tiny_file_open(file);
    if (status != expected) fail_msg("%s: status %d, not %d", first, status, expected);
    assert_message(first);
    assert_message(second);
    tiny_file_end(file);
}

const struct ci_finding *tiny_file_find(const struct tiny_file *file, const char *name) {
    const struct ci_finding *finding = file->model.findings;
    while (finding && strcmp(finding->name, name) != 0) finding = finding->next;
    return finding;
}

void tiny_file_has_finding(const struct tiny_file *file, const char *name, enum ci_finding_kind kind) {
    const struct ci_finding *finding = tiny_file_find(file, name);
    if (!finding) fail_msg("%s is not among the findings", name);
    if (finding->kind != kind) fail_msg("%s: a finding of kind %d, not %d", name, finding->kind, kind);
    assert_true(strlen(finding->why) > 0);
}

float tiny_file_number(const struct ci_tensor *tensor, int64_t index) {
    float value;
    assert_non_null(tensor);
    memcpy(&value, (const float *)tensor->host + index, sizeof value);
    return value;
}
