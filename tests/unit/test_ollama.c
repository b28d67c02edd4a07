/* What Ollama's registry answers, read without believing it; and the model card of a repo. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/status.h"
#include "hub/ollama.h"
#include "hub/tokenizer_chain.h"

#define HEX "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"
#define LAYER(kind, size)                                                                                              \
    "{\"mediaType\":\"application/vnd.ollama.image." kind "\",\"digest\":\"sha256:" HEX "\",\"size\":" size "}"
#define MANIFEST(layers) "{\"schemaVersion\":2,\"config\":{},\"layers\":[" layers "]}"

static enum clinfer_status parse(const char *text, struct ci_ollama_manifest *manifest) {
    return ci_ollama_manifest_parse("m", text, strlen(text), manifest);
}

static void test_a_manifest_names_the_model(void **state) {
    (void)state;
    struct ci_ollama_manifest manifest;
    assert_int_equal(parse(MANIFEST(LAYER("template", "5") "," LAYER("model", "123456789012")), &manifest), CLINFER_OK);
    assert_string_equal(manifest.digest, HEX);
    assert_int_equal(manifest.size, 123456789012);
    assert_false(manifest.has_projector);
    assert_int_equal(parse(MANIFEST(LAYER("model", "1") "," LAYER("projector", "5")), &manifest), CLINFER_OK);
    assert_true(manifest.has_projector);
}

static void test_other_manifests_are_refused(void **state) {
    (void)state;
    static const struct {
        const char *text;
        enum clinfer_status status;
    } cases[] = {
        {"", CLINFER_REMOTE_FAILED},
        {"[]", CLINFER_REMOTE_FAILED},
        {"{}", CLINFER_REMOTE_FAILED},
        {"{\"layers\":{}}", CLINFER_REMOTE_FAILED},
        {MANIFEST("5"), CLINFER_REMOTE_FAILED},
        {MANIFEST(LAYER("model", "-1")), CLINFER_REMOTE_FAILED},
        {MANIFEST(LAYER("model", "\"5\"")), CLINFER_REMOTE_FAILED},
        {MANIFEST("{\"mediaType\":\"application/vnd.ollama.image.model\",\"digest\":\"sha256:../../x\",\"size\":5}"),
         CLINFER_REMOTE_FAILED},
        {MANIFEST(""), CLINFER_UNSUPPORTED},
        {MANIFEST(LAYER("template", "5")), CLINFER_UNSUPPORTED},
        {MANIFEST(LAYER("model", "5") "," LAYER("model", "5")), CLINFER_UNSUPPORTED},
        {MANIFEST(LAYER("model", "5") "," LAYER("adapter", "5")), CLINFER_UNSUPPORTED},
    };
    struct ci_ollama_manifest manifest;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        if (parse(cases[i].text, &manifest) != cases[i].status) fail_msg("%s: %s", cases[i].text, ci_status_message());
        assert_string_equal(manifest.digest, "");
    }
}

static void expect_url(const char *header, const char *url) {
    char *found = ci_ollama_token_url(header);
    if (url)
        assert_string_equal(found, url);
    else
        assert_null(found);
    free(found);
}

static void test_a_challenge_says_where_the_token_is(void **state) {
    (void)state;
    expect_url("Bearer realm=\"https://auth.example/token\",service=\"reg istry\",scope=\"repository:library/a:pull\"",
               "https://auth.example/token?service=reg%20istry&scope=repository%3Alibrary%2Fa%3Apull");
    expect_url("bearer scope=\"a\", realm=\"http://x/t?y=1\"", "http://x/t?y=1&service=&scope=a");
    expect_url("Basic realm=\"https://x/\"", NULL);
    expect_url("Bearer", NULL);
    expect_url("Bearer service=\"x\"", NULL);
    expect_url("Bearer realm=\"file:///etc/passwd\"", NULL);
    expect_url("Bearer realm=\"https://cut", NULL);
}

static void expect_base(const char *card, const char *base) {
    char found[CI_HUB_REPO_BYTES];
    ci_hub_card_base(card, strlen(card), found);
    assert_string_equal(found, base);
}

static void test_a_card_names_its_base(void **state) {
    (void)state;
    expect_base("---\nlicense: mit\nbase_model: user/base\n---\n# Text\n", "user/base");
    expect_base("---\r\nbase_model:\r\n- \"user/base\"\r\n- other/base\r\n---\r\n", "user/base");
    expect_base("---\nbase_model: ['user/base', x/y]\n---\n", "user/base");
    expect_base("---\nbase_model: https://huggingface.co/user/base\n---\n", "user/base");
    expect_base("# base_model\nbase_model: user/base\n", "");
    expect_base("---\nlicense: mit\n---\nbase_model: user/base\n", "");
    expect_base("---\nbase_model: ../../etc\n---\n", "");
    expect_base("---\nbase_model:\n---\n", "");
    expect_base("---\nbase_model:", "");
    expect_base("", "");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_manifest_names_the_model),
        cmocka_unit_test(test_other_manifests_are_refused),
        cmocka_unit_test(test_a_challenge_says_where_the_token_is),
        cmocka_unit_test(test_a_card_names_its_base),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
