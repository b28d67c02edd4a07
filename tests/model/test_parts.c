/* Models in several files: whichever part is named, all are found, checked and mapped, and the answer is that of the
 * whole; what does not belong together is told apart by what is wrong with it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include <clinfer.h>

#include "base/file.h"
#include "format/gguf.h"
#include "support/gguf_writer.h"
#include "support/model.h"
#include "support/process.h"

static const char whole[] = "tests/data/llama_tiny.gguf";
enum { PARTS = 3, TOKENS = 5, MOST_VOCABULARY = 1024 };

/* How a part differs from what it should be. */
struct part {
    int number, count, tensors; /* as written into it; -1: not at all */
    size_t first, last;         /* of the tensors of the whole */
    const char *name;           /* of the model, where it is another than the first part's */
};

static void write_part(const struct ci_gguf *gguf, const struct part *part, bool has_metadata, const char *name) {
    struct gguf_writer *writer = gguf_writer_create();
    if (has_metadata) gguf_writer_copy_values(writer, gguf);
    if (part->name) gguf_writer_string(writer, "general.name", part->name);
    if (part->number >= 0) gguf_writer_value(writer, "split.no", CI_GGUF_UINT16, &(uint16_t){(uint16_t)part->number});
    if (part->count >= 0) gguf_writer_value(writer, "split.count", CI_GGUF_UINT16, &(uint16_t){(uint16_t)part->count});
    if (part->tensors >= 0) gguf_writer_value(writer, "split.tensors.count", CI_GGUF_INT32, &part->tensors);
    for (size_t i = part->first; i < part->last; i++) {
        const struct ci_gguf_tensor *tensor = ci_gguf_tensor_at(gguf, i);
        gguf_writer_tensor(writer, tensor->name, tensor->type, tensor->n_dims, tensor->dims, tensor->data);
    }
    size_t size;
    const uint8_t *bytes = gguf_writer_bytes(writer, &size);
    process_file(name, bytes, size);
    gguf_writer_destroy(writer);
}

/* Parts as they should be: the first with all metadata and no tensors. */
static struct ci_gguf *cut(struct part parts[PARTS]) {
    struct ci_gguf *gguf;
    if (ci_gguf_open(whole, &gguf) != CLINFER_OK) fail_msg("%s", clinfer_error());
    int count = (int)ci_gguf_tensor_count(gguf);
    for (int i = 0; i < PARTS; i++)
        parts[i] = (struct part){.number = i, .count = PARTS, .tensors = count, .first = i == 2 ? 10 : 0};
    parts[1].last = 10;
    parts[2].last = (size_t)count;
    return gguf;
}

static const char *path_of(int number) {
    static char paths[PARTS][300];
    snprintf(paths[number], sizeof paths[number], "%s/m-%05d-of-%05d.gguf", process_folder(), number + 1, PARTS);
    return paths[number];
}

static void write_parts(const struct ci_gguf *gguf, const struct part parts[PARTS]) {
    for (int i = 0; i < PARTS; i++) write_part(gguf, &parts[i], i == 0, strrchr(path_of(i), '/') + 1);
}

static void read_logits(const char *path, float *logits) {
    static const int32_t prompt[TOKENS] = {1, 17, 200, 31, 99};
    struct clinfer_engine_options options = test_engine_options(path, "cpu");
    struct clinfer_session_options session_options;
    clinfer_session *session;
    clinfer_engine *engine = test_engine_open(&options);
    clinfer_session_options_default(engine, &session_options);
    if (clinfer_session_create(engine, &session_options, &session) != CLINFER_OK ||
        clinfer_logits(session, prompt, TOKENS, false, logits) != CLINFER_OK)
        fail_msg("%s: %s", path, clinfer_error());
    clinfer_session_destroy(session);
    clinfer_engine_close(engine);
}

static void test_any_part_names_the_whole(void **state) {
    (void)state;
    struct part parts[PARTS];
    static float expected[MOST_VOCABULARY], actual[MOST_VOCABULARY];
    struct ci_gguf *gguf = cut(parts), *joined;
    write_parts(gguf, parts);
    read_logits(whole, expected);
    uint64_t identity = 0;
    for (int i = 0; i < PARTS; i++) {
        if (ci_gguf_open(path_of(i), &joined) != CLINFER_OK) fail_msg("%s", clinfer_error());
        assert_string_equal(ci_gguf_path(joined), path_of(0));
        assert_int_equal(ci_gguf_file_count(joined), PARTS);
        assert_int_equal(ci_gguf_tensor_count(joined), ci_gguf_tensor_count(gguf));
        assert_true(ci_gguf_identity(joined) && (i == 0 || ci_gguf_identity(joined) == identity));
        identity = ci_gguf_identity(joined);
        for (size_t k = 0; k < ci_gguf_tensor_count(gguf); k++) {
            const struct ci_gguf_tensor *tensor = ci_gguf_tensor_at(gguf, k);
            const struct ci_gguf_tensor *other = ci_gguf_find_tensor(joined, tensor->name);
            if (!other || other->bytes != tensor->bytes || memcmp(other->data, tensor->data, tensor->bytes) != 0)
                fail_msg("%s is another in the parts", tensor->name);
            assert_string_equal(ci_gguf_tensor_place(joined, tensor->name).file, path_of(k < 10 ? 1 : 2));
        }
        ci_gguf_close(joined);
        read_logits(path_of(i), actual);
        assert_memory_equal(actual, expected, sizeof actual);
    }
    ci_gguf_close(gguf);
}

/* Each of the parts counts: one that is cut, one that is exchanged. */
static void test_every_part_is_looked_after(void **state) {
    (void)state;
    struct part parts[PARTS];
    struct ci_gguf *gguf = cut(parts), *joined;
    write_parts(gguf, parts);
    assert_int_equal(ci_gguf_open(path_of(0), &joined), CLINFER_OK);
    uint64_t identity = ci_gguf_identity(joined);
    assert_int_equal(ci_gguf_check_whole(joined), CLINFER_OK);
    assert_int_equal(truncate(path_of(2), 4096), 0);
    assert_int_equal(ci_gguf_check_whole(joined), CLINFER_IO);
    if (!strstr(clinfer_error(), path_of(2))) fail_msg("%s", clinfer_error());
    ci_gguf_close(joined);
    write_parts(gguf, parts);
    assert_int_equal(ci_gguf_open(path_of(0), &joined), CLINFER_OK);
    assert_true(ci_gguf_identity(joined) != identity);
    ci_gguf_close(joined);
    ci_gguf_close(gguf);
}

static void assert_refused(int opened, enum clinfer_status expected, const char *file, const char *why) {
    struct ci_gguf *gguf;
    enum clinfer_status status = ci_gguf_open(path_of(opened), &gguf);
    if (status != expected || gguf || !strstr(clinfer_error(), file) || !strstr(clinfer_error(), why))
        fail_msg("status %d, not %d, or no \"%s\" and \"%s\": %s", (int)status, (int)expected, file, why,
                 clinfer_error());
}

static void test_what_does_not_belong_together_is_refused(void **state) {
    (void)state;
    static const struct {
        int spoilt, opened, said; /* parts */
        struct part instead;      /* 0: as it is */
        const char *why;
    } cases[] = {
        {1, 0, 1, {.number = 2}, "split.no: 2: its name says that it is part 2"},
        {1, 0, 1, {.count = 4}, "split.count: 4: "},
        {1, 0, 1, {.count = -1}, "split.count: 1: "},
        {2, 0, 2, {.number = -1}, "split.no: 0: "},
        {2, 0, 2, {.tensors = 7}, "split.tensors.count: is another than in"},
        {2, 0, 2, {.name = "another model"}, "general.name: is another than in"},
        {2, 0, 0, {.last = 12}, "split.tensors.count: "},
        {2, 0, 0, {.first = 9}, "stands in two parts"},
        {0, 1, 0, {.number = 1}, "split.no: 1: its name says that it is part 1"},
        {0, 0, 0, {.number = 1}, "is part 2 of 3 of a split model (split.no, split.count), and not by its name"},
        {0, 0, 0, {.number = 3}, "split.no: 3: must be between 0 and 2"},
        {0, 0, 0, {.count = 2}, "is part 1 of 2 of a split model"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct part parts[PARTS], *spoilt = &parts[cases[i].spoilt];
        const struct part *instead = &cases[i].instead;
        struct ci_gguf *gguf = cut(parts);
        if (instead->number) spoilt->number = instead->number;
        if (instead->count) spoilt->count = instead->count;
        if (instead->tensors) spoilt->tensors = instead->tensors;
        if (instead->first) spoilt->first = instead->first;
        if (instead->last) spoilt->last = instead->last;
        spoilt->name = instead->name;
        write_parts(gguf, parts);
        ci_gguf_close(gguf);
        assert_refused(cases[i].opened, CLINFER_BAD_FILE, path_of(cases[i].said), cases[i].why);
    }
}

static void test_a_part_that_is_missing_is_named(void **state) {
    (void)state;
    struct part parts[PARTS];
    struct ci_gguf *gguf = cut(parts);
    for (int missing = 0; missing < PARTS; missing++) {
        char why[100];
        write_parts(gguf, parts);
        assert_int_equal(unlink(path_of(missing)), 0);
        snprintf(why, sizeof why, "part %d of the 3 of the model", missing + 1);
        assert_refused(missing ? 0 : 1, CLINFER_NOT_FOUND, path_of(missing), why);
    }
    ci_gguf_close(gguf);
}

static void test_inspect_counts_the_files(void **state) {
    (void)state;
    struct part parts[PARTS];
    struct ci_gguf *gguf = cut(parts);
    struct process_result result;
    write_parts(gguf, parts);
    ci_gguf_close(gguf);
    process_run(&result, NULL, process_tool(), "inspect", path_of(2), NULL);
    process_assert_status(&result, 0);
    if (!strstr(result.out, " in 3 files, ") || !strstr(result.out, "runs          yes")) fail_msg("%s", result.out);
    process_free(&result);
}

/* In a folder of models the three are one, which is then the only one and needs no name. */
static void test_a_folder_lists_the_first_part_alone(void **state) {
    (void)state;
    struct part parts[PARTS];
    struct ci_gguf *gguf = cut(parts);
    struct process_result result;
    char folder[300], models[400], path[500], environment[400];
    snprintf(folder, sizeof folder, "%s/data", process_folder());
    snprintf(models, sizeof models, "%s/clinfer/models", folder);
    snprintf(environment, sizeof environment, "XDG_DATA_HOME=%s", folder);
    snprintf(path, sizeof path, "%s/x", models);
    assert_int_equal(ci_file_make_parents(path), 0);
    write_parts(gguf, parts);
    ci_gguf_close(gguf);
    for (int i = 0; i < PARTS; i++) {
        snprintf(path, sizeof path, "%s/%s", models, strrchr(path_of(i), '/') + 1);
        assert_int_equal(rename(path_of(i), path), 0);
    }
    const struct process_options options = {.environment = (const char *const[]){environment, "CLINFER_MODEL", NULL}};
    process_run(&result, &options, process_tool(), "inspect", NULL);
    process_assert_status(&result, 0);
    if (!strstr(result.out, "/m-00001-of-00003.gguf: ")) fail_msg("%s", result.out);
    process_free(&result);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_any_part_names_the_whole),
        cmocka_unit_test(test_every_part_is_looked_after),
        cmocka_unit_test(test_what_does_not_belong_together_is_refused),
        cmocka_unit_test(test_a_part_that_is_missing_is_named),
        cmocka_unit_test(test_inspect_counts_the_files),
        cmocka_unit_test(test_a_folder_lists_the_first_part_alone),
    };
    return cmocka_run_group_tests_name("parts", tests, NULL, NULL);
}
