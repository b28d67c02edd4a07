/* Bad data is the file's fault: weights that are no numbers are refused with their place, zeros and numbers beyond what
 * f16 or f32 holds are nobody's fault, and nothing of it is remembered against a kernel. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>
#include <jansson.h>

#include <clinfer.h>

#include "device/device.h"
#include "ops/bind.h"
#include "ops/op_list.h"
#include "ops/signature.h"
#include "profile/quarantine.h"
#include "proof/known_answer.h"
#include "support/model.h"
#include "support/patched.h"
#include "support/poison.h"
#include "support/process.h"
#include "types/type.h"

static const char *const tiny[] = {"tests/data/llama_tiny.gguf", "tests/data/qwen2_tiny.gguf"};
enum { TINY = 2, ANSWER = 6, PROMPT = 5, BAD_FILE = 5, WRONG_RESULT = 11 };
static const int32_t prompt[PROMPT] = {1, 17, 200, 31, 99};

static bool is_opencl(const char *device) { return strcmp(device, "cpu") != 0; }

/* ---- what is said ---- */

static struct {
    int widened, set_aside, warnings, healed, passed_over;
    char last[1024];
} said;

static void listen(void *user, enum clinfer_log_level level, const char *message) {
    (void)user;
    said.healed += strstr(message, "leaves quarantine") != NULL;
    said.passed_over += strstr(message, "in quarantine on ") && strstr(message, "`clinfer doctor` says why");
    if (level != CLINFER_LOG_WARNING) return;
    said.warnings++;
    said.widened += strstr(message, "the KV cache is f32 from here on") != NULL;
    said.set_aside += strstr(message, "set aside for this run alone") != NULL;
    snprintf(said.last, sizeof said.last, "%s", message);
}

static void assert_no_quarantine(const char *what) {
    struct ci_quarantine list;
    assert_int_equal(ci_quarantine_read(&list), CLINFER_OK);
    if (list.count)
        fail_msg("%s: %s %s is in quarantine: %s", what, list.items[0].op, list.items[0].variant, list.items[0].reason);
    ci_quarantine_free(&list);
}

/* ---- numbers that are none ---- */

/* Bytes of a block that scale it, or one of its numbers. */
static void put_not_finite(const struct ci_type *type, uint8_t *block, bool nan) {
    static const struct {
        const struct ci_type *type;
        int at;
    } places[] = {{&ci_type_q4_1, 2}, {&ci_type_q5_1, 2}, {&ci_type_q6_k, 208}};
    uint16_t half = nan ? 0x7e00 : 0x7c00;
    int at = 0;
    for (size_t i = 0; i < sizeof places / sizeof *places; i++)
        if (places[i].type == type) at = places[i].at;
    if (type == &ci_type_bf16 || type == &ci_type_f32) half = nan ? 0x7fc0 : 0x7f80;
    memset(block, 0, type == &ci_type_f32 ? 2 : 0); /* little endian: the upper half counts */
    memcpy(block + at + (type == &ci_type_f32 ? 2 : 0), &half, sizeof half);
}

/* A copy with the first (NaN) or the last (infinity) block of the tensor spoilt. */
static const char *spoilt(const char *source, const char *name, bool nan) {
    struct patched file;
    size_t bytes;
    patched_begin(&file, source);
    const struct ci_type *type = ci_type_from_gguf(ci_gguf_find_tensor(file.gguf, name)->type);
    uint8_t *data = patched_tensor(&file, name, &bytes);
    put_not_finite(type, nan ? data : data + bytes - type->block_bytes, nan);
    return patched_end(&file, "spoilt.gguf");
}

static void assert_refused(const char *path, const char *device, const char *tensor) {
    struct clinfer_engine_options options = test_engine_options(path, device);
    clinfer_engine *engine;
    char where[128];
    snprintf(where, sizeof where, "tensor %s (", tensor);
    enum clinfer_status status = clinfer_engine_open(&options, &engine);
    if (status != CLINFER_BAD_FILE) fail_msg("%s with a number that is none: status %d on %s", tensor, status, device);
    if (!strstr(clinfer_error(), path) || !strstr(clinfer_error(), where) || !strstr(clinfer_error(), "number ["))
        fail_msg("on %s, of %s: %s", device, tensor, clinfer_error());
}

/* One tensor of each type that the tiny models have; what each type takes for no number is for test_types. */
static void test_a_number_that_is_none_is_the_files_fault(void **state) {
    (void)state;
    const struct ci_type *seen[16] = {0};
    int count = 0;
    poison_fresh_data();
    for (int m = 0; m < TINY; m++) {
        struct ci_gguf *gguf;
        assert_int_equal(ci_gguf_open(tiny[m], &gguf), CLINFER_OK);
        for (size_t i = 0; i < ci_gguf_tensor_count(gguf); i++) {
            const struct ci_gguf_tensor *tensor = ci_gguf_tensor_at(gguf, i);
            const struct ci_type *type = ci_type_from_gguf(tensor->type);
            bool known = false;
            for (int k = 0; k < count; k++) known = known || seen[k] == type;
            if (known || strcmp(tensor->name, "rope_freqs.weight") == 0) continue; /* read, and refused, before */
            seen[count++] = type;
            assert_refused(spoilt(tiny[m], tensor->name, true), "cpu", tensor->name);
            assert_refused(spoilt(tiny[m], tensor->name, false), "cpu", tensor->name);
        }
        ci_gguf_close(gguf);
    }
    assert_int_equal(count, 9);
    for (const char *const *device = test_devices(); *device; device++)
        assert_refused(spoilt(tiny[0], "blk.1.ffn_gate.weight", true), *device, "blk.1.ffn_gate.weight");
    assert_no_quarantine("a scale that is NaN");
}

static void assert_tool(const char *path, const char *command, const char *word, const char *value, int exit_status,
                        const char *said_word) {
    struct process_result result;
    process_run(&result, NULL, process_tool(), command, "-m", path, "--device", "cpu", word, value, NULL);
    process_assert_status(&result, exit_status);
    if (!strstr(result.err, said_word)) fail_msg("clinfer %s: %s", command, result.err);
    process_free(&result);
}

static void test_every_command_says_so(void **state) {
    (void)state;
    static const char place[] = "tensor blk.1.ffn_up.weight (q4_0): number [127, 32] is ";
    const char *path = spoilt(tiny[0], "blk.1.ffn_up.weight", false);
    char output[512];
    struct process_result result;
    snprintf(output, sizeof output, "%s/none.npy", process_folder());
    assert_tool(path, "run", "-p", "hi", BAD_FILE, place);
    assert_tool(path, "verify", "-p", "hi", BAD_FILE, place);
    process_run(&result, NULL, process_tool(), "logits", "-m", path, "--device", "cpu", "-p", "hi", "-o", output, NULL);
    process_assert_status(&result, BAD_FILE);
    assert_int_not_equal(access(output, F_OK), 0);
    process_free(&result);
    for (int json = 0; json < 2; json++) {
        process_run(&result, NULL, process_tool(), "inspect", path, json ? "--json" : "--tensors", NULL);
        if (!strstr(result.out, place) || !strstr(result.out, json ? "\"runs\": false" : "runs          no"))
            fail_msg("clinfer inspect: %s", result.out);
        process_free(&result);
    }
}

/* That a file passed is remembered for these bytes, not for the path. */
static void test_a_file_that_changed_is_looked_at_again(void **state) {
    (void)state;
    struct patched file;
    patched_begin(&file, tiny[0]);
    const char *path = patched_end(&file, "changing.gguf");
    struct clinfer_engine_options options = test_engine_options(path, "cpu");
    for (int i = 0; i < 2; i++) clinfer_engine_close(test_engine_open(&options));
    patched_begin(&file, tiny[0]);
    put_not_finite(&ci_type_q4_1, patched_tensor(&file, "blk.2.ffn_gate.weight", NULL), true);
    FILE *out = fopen(path, "r+b"); /* the same inode */
    assert_non_null(out);
    assert_int_equal(fwrite(file.bytes, 1, file.size, out), file.size);
    assert_int_equal(fclose(out), 0);
    patched_end(&file, "other.gguf");
    assert_refused(path, "cpu", "blk.2.ffn_gate.weight");
}

/* ---- answers ---- */

struct answer {
    enum clinfer_status status;
    int32_t tokens[ANSWER];
    float logits[512]; /* after the prompt */
};

static void ask(clinfer_engine *engine, struct answer *answer) {
    struct clinfer_session_options options;
    struct clinfer_result result = {0};
    clinfer_session *session;
    clinfer_session_options_default(engine, &options);
    options.temperature = 0;
    assert_int_equal(clinfer_session_create(engine, &options, &session), CLINFER_OK);
    struct clinfer_request request = {.tokens = prompt, .count = PROMPT, .max_tokens = ANSWER, .ignore_end = true};
    answer->status = clinfer_generate(session, &request, &result);
    if (answer->status == CLINFER_OK) memcpy(answer->tokens, result.tokens, sizeof answer->tokens);
    clinfer_session_destroy(session);
}

static void ask_logits(clinfer_engine *engine, struct answer *answer) {
    struct clinfer_session_options options;
    clinfer_session *session;
    clinfer_session_options_default(engine, &options);
    assert_int_equal(clinfer_session_create(engine, &options, &session), CLINFER_OK);
    answer->status = clinfer_logits(session, prompt, PROMPT, false, answer->logits);
    clinfer_session_destroy(session);
}

/* ---- zeros ---- */

static const char *model_of_zeros(const char *source, const char *only) {
    struct patched file;
    patched_begin(&file, source);
    for (size_t i = 0; i < ci_gguf_tensor_count(file.gguf); i++) {
        const struct ci_gguf_tensor *tensor = ci_gguf_tensor_at(file.gguf, i);
        if (strcmp(tensor->name, "rope_freqs.weight") == 0 || (only && strcmp(tensor->name, only) != 0)) continue;
        memset(file.bytes + tensor->offset, 0, tensor->bytes);
    }
    return patched_end(&file, "zeros.gguf");
}

static void check_zeros(const char *path, const char *device) {
    struct clinfer_engine_options options = test_engine_options(path, device);
    options.activations = CLINFER_ACTIVATIONS_AUTO;
    memset(&said, 0, sizeof said);
    clinfer_engine *engine = test_engine_open(&options);
    struct answer answer;
    ask(engine, &answer);
    if (answer.status != CLINFER_OK) fail_msg("on %s: %s", device, clinfer_error());
    clinfer_engine_close(engine);
    if (said.warnings) fail_msg("on %s: %s", device, said.last);
    assert_no_quarantine("zeros");
}

static void test_weights_of_zeros_put_nothing_out_of_use(void **state) {
    (void)state;
    poison_fresh_data();
    for (const char *const *device = test_devices(); *device; device++) {
        check_zeros(model_of_zeros(tiny[0], NULL), *device);
        check_zeros(model_of_zeros(tiny[0], "blk.1.ffn_down.weight"), *device);
        if (!is_opencl(*device)) check_zeros(model_of_zeros(tiny[1], NULL), *device);
    }
}

/* ---- numbers that f16 does not hold ---- */

static const char *model_with_large(const char *tensor, float factor) {
    struct patched file;
    patched_begin(&file, tiny[0]);
    patched_rename(&file);
    patched_scale(&file, tensor, factor);
    return patched_end(&file, "large.gguf");
}

static void check_widened(const char *path, const char *device, const char *what) {
    struct clinfer_engine_options options = test_engine_options(path, device);
    struct answer expected, actual;
    options.key_type = options.value_type = CLINFER_CACHE_F32;
    clinfer_engine *right = test_engine_open(&options);
    ask(right, &expected);
    ask_logits(right, &expected);
    clinfer_engine_close(right);
    assert_int_equal(expected.status, CLINFER_OK);
    options.key_type = options.value_type = CLINFER_CACHE_F16;
    for (int kind = 0; kind < 2; kind++) { /* an answer, behind the comparison of a first run; logits, without it */
        memset(&said, 0, sizeof said);
        clinfer_engine *engine = test_engine_open(&options);
        for (int again = 0; again < 2; again++) {
            if (kind == 0)
                ask(engine, &actual);
            else
                ask_logits(engine, &actual);
            if (actual.status != CLINFER_OK) fail_msg("%s on %s: %s", what, device, clinfer_error());
        }
        clinfer_engine_close(engine);
        if (said.widened != 1 || said.warnings != 1)
            fail_msg("%s on %s: said %d times in %d warnings: %s", what, device, said.widened, said.warnings,
                     said.last);
        if (kind == 0) assert_memory_equal(actual.tokens, expected.tokens, sizeof expected.tokens);
        for (int i = 0; kind == 1 && i < 274; i++)
            if (!(fabsf(actual.logits[i] - expected.logits[i]) <= 1e-4f))
                fail_msg("%s on %s: logit %d is %g, not %g", what, device, i, (double)actual.logits[i],
                         (double)expected.logits[i]);
    }
    assert_no_quarantine(what);
}

static void test_what_f16_does_not_hold_is_computed_with_f32(void **state) {
    (void)state;
    poison_fresh_data();
    for (const char *const *device = test_devices(); *device; device++) {
        /* Of both signs: where an infinite key makes a score of minus infinity, no number is left to show it. */
        check_widened(model_with_large("blk.1.attn_k.weight", 3e5f), *device, "keys");
        check_widened(model_with_large("blk.1.attn_k.weight", -3e5f), *device, "keys of the other sign");
        check_widened(model_with_large("blk.2.attn_v.weight", 1e6f), *device, "values");
    }
}

/* ---- numbers whose squares f32 does not hold ---- */

static void logits_of(float factor, const char *device, struct answer *answer) {
    struct clinfer_engine_options options =
        test_engine_options(model_with_large("blk.0.attn_v.weight", factor), device);
    options.key_type = options.value_type = CLINFER_CACHE_F32;
    clinfer_engine *engine = test_engine_open(&options);
    ask_logits(engine, answer);
    if (answer->status != CLINFER_OK) fail_msg("values times %g on %s: %s", (double)factor, device, clinfer_error());
    clinfer_engine_close(engine);
}

/* Next to such values nothing else of a layer counts, and norms take their size away: however large they are, the
 * logits are the same, and not those of zeros. */
static void test_norms_of_large_numbers_are_no_zeros(void **state) {
    (void)state;
    struct answer expected, actual;
    poison_fresh_data();
    memset(&said, 0, sizeof said);
    for (const char *const *device = test_devices(); *device; device++) {
        logits_of(1e13f, *device, &expected);
        logits_of(1e25f, *device, &actual);
        for (int i = 0; i < 274; i++)
            if (!(fabsf(actual.logits[i] - expected.logits[i]) <= 1e-3f) || expected.logits[i] == 0)
                fail_msg("on %s: logit %d is %g, not %g", *device, i, (double)actual.logits[i],
                         (double)expected.logits[i]);
    }
    if (said.warnings) fail_msg("%s", said.last);
}

/* ---- numbers that f32 does not hold ---- */

static void test_numbers_beyond_f32_are_the_models_own(void **state) {
    (void)state;
    char output[512];
    const char *path = model_with_large("blk.1.attn_v.weight", 3e38f);
    struct process_result result;
    poison_fresh_data();
    for (const char *const *device = test_devices(); *device; device++) {
        struct clinfer_engine_options options = test_engine_options(path, *device);
        memset(&said, 0, sizeof said);
        clinfer_engine *engine = test_engine_open(&options); /* no device is left out */
        struct answer answer;
        for (int kind = 0; kind < 2; kind++) {
            if (kind == 0)
                ask(engine, &answer);
            else
                ask_logits(engine, &answer);
            assert_int_equal(answer.status, CLINFER_WRONG_RESULT);
            if (!strstr(clinfer_error(), "the model's own")) fail_msg("on %s: %s", *device, clinfer_error());
        }
        clinfer_engine_close(engine);
        if (said.warnings) fail_msg("on %s: %s", *device, said.last);
    }
    assert_no_quarantine("numbers beyond f32");
    snprintf(output, sizeof output, "%s/none.npy", process_folder());
    process_run(&result, NULL, process_tool(), "logits", "-m", path, "--device", "cpu", "--tokens", "1,17", "-o",
                output, NULL);
    process_assert_status(&result, WRONG_RESULT);
    assert_int_not_equal(access(output, F_OK), 0);
    process_free(&result);
}

/* ---- a kernel that only this model's numbers are too much for ---- */

/* A number that is in no test of ours. */
static const char *model_with_a_rare_number(void) {
    enum { TOKEN = 200, COLS = 64 };
    const float rare = 7.03125f;
    struct patched file;
    patched_begin(&file, tiny[0]);
    ci_type_f16.quantise(&rare, patched_tensor(&file, "token_embd.weight", NULL) + 2 * TOKEN * COLS, 1);
    return patched_end(&file, "rare.gguf");
}

static void test_what_is_right_with_our_numbers_is_not_quarantined(void **state) {
    (void)state;
    static const char from[] = "vstore16(low * scale + offset, 2 * unit, to);";
    static const char to[] = "vstore16(low.s0 * scale + offset == 7.03125f ? (float16)(NAN) : low * scale + offset, "
                             "2 * unit, to);";
    const char *path = model_with_a_rare_number();
    for (const char *const *device = test_devices(); *device; device++) {
        struct answer expected, actual;
        struct clinfer_engine_options options = test_engine_options(path, *device);
        if (!is_opencl(*device)) continue;
        poison_fresh_data();
        clinfer_engine *engine = test_engine_open(&options);
        ask(engine, &expected);
        clinfer_engine_close(engine);
        poison("embed.cl", from, to);
        memset(&said, 0, sizeof said);
        engine = test_engine_open(&options);
        ask(engine, &actual);
        clinfer_engine_close(engine);
        poison_end();
        if (actual.status != CLINFER_OK || said.set_aside != 1)
            fail_msg("on %s: status %d, set aside %d times: %s", *device, actual.status, said.set_aside, said.last);
        assert_memory_equal(actual.tokens, expected.tokens, sizeof expected.tokens);
        assert_no_quarantine("a rare number");
    }
}

/* ---- what earlier versions have quarantined ---- */

/* The list as a version that did not name itself would have written it. */
static void forget_version(void) {
    char *path = ci_quarantine_path();
    json_t *list = json_load_file(path, 0, NULL), *item;
    size_t i;
    assert_non_null(list);
    json_array_foreach(json_object_get(list, "items"), i, item) json_object_del(item, "clinfer");
    assert_int_equal(json_dump_file(list, path, 0), 0);
    json_decref(list);
    free(path);
}

/* The kernel that the tiny llama gets there for an op that it has on every place, as this build knows it. */
static void quarantine_kernel(const char *device_name, const char *reason) {
    const struct ci_op *op = is_opencl(device_name) ? &ci_op_embed : &ci_op_rmsnorm;
    struct ci_device *device = NULL;
    struct ci_quarantined item = {.date = "2026-11-21"};
    struct ci_profile_key key;
    struct ci_call call;
    const struct ci_case *shape = op->cases;
    const struct ci_variant *variant = NULL;
    if (is_opencl(device_name)) assert_int_equal(ci_device_open(atoi(device_name), NULL, &device), CLINFER_OK);
    const struct ci_caps caps = {ci_cpu_features(), device ? ci_device_caps(device) : NULL, 1};
    while (op == &ci_op_embed && shape->in[0].type != &ci_type_f16) assert_non_null((++shape)->name);
    assert_true(ci_proof_signature(op, shape, &call));
    for (int i = 0; ci_variants[i] && !variant; i++)
        if (ci_variants[i]->op == op && ci_variant_fits(ci_variants[i], &caps, &call)) variant = ci_variants[i];
    assert_non_null(variant);
    struct ci_profile_signature signature;
    int tunables[CI_MAX_TUNABLES] = {0};
    ci_bind_defaults(variant, tunables);
    ci_signature_key(&caps, &key);
    ci_signature_of(op, &call, &signature);
    assert_int_equal(ci_signature_source(variant, tunables, &call, &item.source), CLINFER_OK);
    item.device = ci_quarantine_device(&key);
    item.tunable_count = ci_signature_tunables(variant, tunables, item.tunables);
    snprintf(item.device_name, sizeof item.device_name, "%s", key.device);
    snprintf(item.op, sizeof item.op, "%s", op->name);
    snprintf(item.variant, sizeof item.variant, "%s", variant->name);
    snprintf(item.types, sizeof item.types, "%s", signature.types);
    snprintf(item.reason, sizeof item.reason, "%s", reason);
    assert_int_equal(ci_quarantine_add(&item), CLINFER_OK);
    if (device) ci_device_close(device);
}

/* Opens the model; then there are so many items, which were healed, or passed over in one line. */
static struct ci_quarantined check_list(const char *device, int count, int healed, int passed_over) {
    struct clinfer_engine_options options = test_engine_options(tiny[0], device);
    struct ci_quarantine list;
    memset(&said, 0, sizeof said);
    clinfer_engine_close(test_engine_open(&options));
    assert_int_equal(ci_quarantine_read(&list), CLINFER_OK);
    if (list.count != count || said.healed != healed || said.passed_over != passed_over)
        fail_msg("on %s: %d items, not %d; healed %d, not %d; passed over %d, not %d", device, list.count, count,
                 said.healed, healed, said.passed_over, passed_over);
    struct ci_quarantined first = count ? list.items[0] : (struct ci_quarantined){0};
    ci_quarantine_free(&list);
    return first;
}

static void test_wrong_quarantines_heal(void **state) {
    (void)state;
    for (const char *const *device = test_devices(); *device; device++) {
        poison_fresh_data();
        quarantine_kernel(*device, "output 0 [0, 0] is nan, expected nan +- nan");
        check_list(*device, 1, 0, 1); /* this version has said so */
        forget_version();
        check_list(*device, 0, 1, 0);
        check_list(*device, 0, 0, 0);
        quarantine_kernel(*device, "crashed"); /* nothing to try in a process that is to live */
        forget_version();
        check_list(*device, 1, 0, 1);
    }
}

static void test_a_right_quarantine_stays_and_is_renewed(void **state) {
    (void)state;
    static const char from[] = "vstore16(low * scale + offset, 2 * unit, to);";
    for (const char *const *device = test_devices(); *device; device++) {
        if (!is_opencl(*device)) continue;
        poison_fresh_data();
        poison("embed.cl", from, "vstore16(low * scale + offset + 1.0f, 2 * unit, to);");
        quarantine_kernel(*device, "output 0 [0, 0] is nan, expected nan +- nan");
        forget_version();
        struct ci_quarantined item = check_list(*device, 1, 0, 1);
        poison_end();
        assert_string_equal(item.clinfer, CLINFER_VERSION);
        if (!strstr(item.reason, "known answer of op embed")) fail_msg("on %s: %s", *device, item.reason);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_number_that_is_none_is_the_files_fault),
        cmocka_unit_test(test_every_command_says_so),
        cmocka_unit_test(test_a_file_that_changed_is_looked_at_again),
        cmocka_unit_test(test_weights_of_zeros_put_nothing_out_of_use),
        cmocka_unit_test(test_what_f16_does_not_hold_is_computed_with_f32),
        cmocka_unit_test(test_norms_of_large_numbers_are_no_zeros),
        cmocka_unit_test(test_numbers_beyond_f32_are_the_models_own),
        cmocka_unit_test(test_what_is_right_with_our_numbers_is_not_quarantined),
        cmocka_unit_test(test_wrong_quarantines_heal),
        cmocka_unit_test(test_a_right_quarantine_stays_and_is_renewed),
    };
    clinfer_log_to(listen, NULL);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
