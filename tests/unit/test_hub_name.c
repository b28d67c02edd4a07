/* What people call a model: names, links, aliases, and what is none of them. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "hub/name.h"

static const char endpoint[] = "http://127.0.0.1:8080/mirror";

/* What a text means: fields that are NULL are "". */
struct wanted {
    const char *text;
    enum ci_hub_kind kind;
    const char *repo, *tag, *revision, *file, *host, *url;
};

static void assert_same(const char *text, const char *field, const char *found, const char *wanted) {
    if (strcmp(found, wanted ? wanted : "") != 0)
        fail_msg("%s: %s is \"%s\", not \"%s\"", text, field, found, wanted ? wanted : "");
}

static void assert_means(const struct wanted *wanted) {
    struct ci_hub_name name;
    if (ci_hub_name_parse(wanted->text, endpoint, &name) != CLINFER_OK)
        fail_msg("%s: %s", wanted->text, clinfer_error());
    assert_int_equal(name.kind, wanted->kind);
    assert_same(wanted->text, "repo", name.repo, wanted->repo);
    assert_same(wanted->text, "tag", name.tag, wanted->tag);
    assert_same(wanted->text, "file", name.file, wanted->file);
    assert_same(wanted->text, "host", name.host, wanted->host);
    assert_same(wanted->text, "url", name.url, wanted->url);
    const char *usual = wanted->kind == CI_HUB_REPO ? "main" : "";
    assert_same(wanted->text, "revision", name.revision, wanted->revision ? wanted->revision : usual);
}

static void test_names_and_links_are_understood(void **state) {
    static const struct wanted cases[] = {
        {"user/repo", .repo = "user/repo"},
        {"Qwen/Qwen2.5-Coder-1.5B-Instruct-GGUF:Q4_K_M", .repo = "Qwen/Qwen2.5-Coder-1.5B-Instruct-GGUF",
         .tag = "Q4_K_M"},
        {"user/repo:latest", .repo = "user/repo"},
        {"user/repo@v1.0", .repo = "user/repo", .revision = "v1.0"},
        {"user/repo:Q8_0@refs/pr/1", .repo = "user/repo", .tag = "Q8_0", .revision = "refs/pr/1"},
        {"user/repo@v1:Q8_0", .repo = "user/repo", .tag = "Q8_0", .revision = "v1"},
        {"user/repo:a-Q4_0.gguf", .repo = "user/repo", .file = "a-Q4_0.gguf"},
        {"user/repo/a-Q4_0.gguf", .repo = "user/repo", .file = "a-Q4_0.gguf"},
        {"user/repo/Q4_0/a b.gguf@v1", .repo = "user/repo", .file = "Q4_0/a b.gguf", .revision = "v1"},
        {"user/repo/sub/pytorch_model.bin", .repo = "user/repo", .file = "sub/pytorch_model.bin"},
        {"hf.co/user/repo:Q4_0", .repo = "user/repo", .tag = "Q4_0"},
        {"HF.co/user/repo", .repo = "user/repo"},
        {"hf.co/gpt2", .repo = "gpt2"},
        {"hf://user/repo/a.gguf", .repo = "user/repo", .file = "a.gguf"},
        {"huggingface.co/user/repo", .repo = "user/repo"},
        {"https://huggingface.co/user/repo", .repo = "user/repo"},
        {"https://huggingface.co/user/repo/", .repo = "user/repo"},
        {"https://huggingface.co/models/user/repo", .repo = "user/repo"},
        {"https://huggingface.co/api/models/user/repo/tree/main?recursive=true", .repo = "user/repo"},
        {"https://huggingface.co/user/repo/tree/main", .repo = "user/repo"},
        {"https://huggingface.co/user/repo/tree/refs%2Fpr%2F2", .repo = "user/repo", .revision = "refs/pr/2"},
        {"https://huggingface.co/user/repo/tree/refs/pr/2/UD-Q4_K_XL", .repo = "user/repo", .revision = "refs/pr/2",
         .tag = "UD-Q4_K_XL"},
        {"https://huggingface.co/user/repo/commit/0123456789abcdef0123456789abcdef01234567", .repo = "user/repo",
         .revision = "0123456789abcdef0123456789abcdef01234567"},
        {"https://huggingface.co/user/repo/discussions/7", .repo = "user/repo"},
        {"https://huggingface.co/user/repo/blob/main/a-Q4_0.gguf", .repo = "user/repo", .file = "a-Q4_0.gguf"},
        {"https://huggingface.co/user/repo/resolve/main/a-Q4_0.gguf?download=true", .repo = "user/repo",
         .file = "a-Q4_0.gguf"},
        {"https://huggingface.co/user/repo/resolve/v1/Q4/a%20b%25.gguf#x", .repo = "user/repo", .revision = "v1",
         .file = "Q4/a b%.gguf"},
        {"https://huggingface.co/user/repo?show_file_info=a%2Db.gguf&x=1", .repo = "user/repo", .file = "a-b.gguf"},
        {"https://hf.co/gpt2/resolve/main/a.gguf", .repo = "gpt2", .file = "a.gguf"},
        {"http://127.0.0.1:8080/mirror/user/repo/blob/main/a.gguf", .repo = "user/repo", .file = "a.gguf"},
        {"127.0.0.1:8080/mirror/user/repo:Q4_0", .repo = "user/repo", .tag = "Q4_0"},
        {"http://127.0.0.1:8080/mirrors/a.gguf", CI_HUB_URL, .url = "http://127.0.0.1:8080/mirrors/a.gguf"},
        {"https://example.org/a%2Egguf?x=1#part", CI_HUB_URL, .url = "https://example.org/a%2Egguf?x=1"},
        {"ollama:llama3.2", CI_HUB_OLLAMA, .repo = "library/llama3.2", .tag = "latest"},
        {"ollama:llama3.2:1b", CI_HUB_OLLAMA, .repo = "library/llama3.2", .tag = "1b"},
        {"ollama:me/my-model:q4", CI_HUB_OLLAMA, .repo = "me/my-model", .tag = "q4"},
        {"ollama:localhost:5000/me/m", CI_HUB_OLLAMA, .host = "localhost:5000", .repo = "me/m", .tag = "latest"},
        {"ollama:hf.co/user/repo:Q4_0", CI_HUB_OLLAMA, .host = "hf.co", .repo = "user/repo", .tag = "Q4_0"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) assert_means(&cases[i]);
}

static void test_what_breaks_a_rule_is_refused_with_it(void **state) {
    static char long_part[140] = "u/", long_url[3000] = "https://example.org/";
    memset(long_part + 2, 'a', 97);
    memset(long_url + 20, 'a', 2900);
    static const struct {
        const char *text, *message;
    } cases[] = {
        {"", "is empty"},
        {"user/", "an empty part"},
        {"/user", NULL},
        {"us er/repo", "a character that the Hub does not allow"},
        {"us\xc3\xa9r/repo", "a character that the Hub does not allow"},
        {"user/-repo", "begins or ends a part"},
        {"user/repo.", "begins or ends a part"},
        {"user/a--b", "has \"--\""},
        {"user/a..b", "has \"--\" or \"..\""},
        {"user/repo.git", "ends with \".git\""},
        {long_part, "more than 96 characters"},
        {"user/repo:", "can be no quant"},
        {"user/repo:Q4/0", "three parts or more"},
        {"user/repo:Q4:Q5", "two of"},
        {"user/repo@../x", "can be no branch"},
        {"user/repo@", "can be no branch"},
        {"user/repo/../x.gguf", "is no path below the repo"},
        {"user/repo//x.gguf", "is no path below the repo"},
        {"user/repo/a\nb.gguf", "a control character"},
        {"user/repo/folder", "the last one is no file"},
        {"https://huggingface.co/user/repo/resolve/main/..%2F..%2Fx.gguf", "is no path below the repo"},
        {"https://huggingface.co/user/repo/resolve/main/a%00.gguf", "a zero byte"},
        {"https://huggingface.co/", "leads to no model"},
        {"https://huggingface.co/datasets/user/d", "a data set"},
        {"https://huggingface.co/spaces/user/s", "a space"},
        {"https://huggingface.co/papers/1234.5678", "is no model"},
        {"https://example.org/page.html", "neither the Hub's nor that of a .gguf file"},
        {"https:///a.gguf", "no host"},
        {long_url, "longer than"},
        {"https://example.org/a\x1b.gguf", "a control character"},
        {"ollama:", "no name of Ollama's registry"},
        {"ollama:a/b/c/", "can be no host"},
        {"ollama:a b", "no name of Ollama's registry"},
        {"ollama:a:", "can be no tag"},
        {"ollama:h?/b/c", "can be no host"},
    };
    struct ci_hub_name name;
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        enum clinfer_status status = ci_hub_name_parse(cases[i].text, endpoint, &name);
        if (status != (cases[i].message ? CLINFER_INVALID_ARGUMENT : CLINFER_NOT_FOUND))
            fail_msg("%s: status %d, %s", cases[i].text, status, clinfer_error());
        if (cases[i].message && !strstr(clinfer_error(), cases[i].message))
            fail_msg("%s: \"%s\" does not say \"%s\"", cases[i].text, clinfer_error(), cases[i].message);
    }
}

static void test_words_and_paths_are_no_names(void **state) {
    static const char *const texts[] = {"model",    "model.gguf",    "./user/repo", "../x.gguf", "/a/b.gguf",
                                        "~/a.gguf", "models/a.gguf", ".hidden/x",   "a@b/c"};
    struct ci_hub_name name;
    (void)state;
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++)
        if (ci_hub_name_parse(texts[i], endpoint, &name) != CLINFER_NOT_FOUND) fail_msg("%s", texts[i]);
}

static void test_secrets_in_an_address_are_refused_and_not_shown(void **state) {
    struct ci_hub_name name;
    (void)state;
    assert_int_equal(ci_hub_name_parse("https://me:secret@example.org/a.gguf", NULL, &name), CLINFER_INVALID_ARGUMENT);
    assert_null(strstr(clinfer_error(), "secret"));
    assert_int_equal(ci_hub_name_parse("https://me:secret@huggingface.co/user/repo", NULL, &name),
                     CLINFER_INVALID_ARGUMENT);
    assert_null(strstr(clinfer_error(), "secret"));
}

static void test_aliases_stand_for_repo_and_quant(void **state) {
    struct ci_hub_name name;
    char text[CI_HUB_URL_BYTES];
    (void)state;
    size_t count = 0;
    for (const struct ci_hub_alias *alias = ci_hub_aliases; alias->alias; alias++, count++) {
        assert_int_equal(ci_hub_name_parse(alias->alias, NULL, &name), CLINFER_OK);
        assert_string_equal(name.alias, alias->alias);
        assert_string_equal(name.tag, alias->tag);
        assert_null(ci_hub_repo_rule(alias->repo));
        ci_hub_name_text(&name, text, sizeof text);
        assert_int_equal(ci_hub_name_parse(text, NULL, &name), CLINFER_OK);
        assert_string_equal(name.repo, alias->repo);
    }
    assert_true(count >= 12);
    assert_int_equal(ci_hub_name_parse("Qwen2.5-Coder-1.5B:q8_0", NULL, &name), CLINFER_OK);
    assert_string_equal(name.tag, "q8_0");
    assert_string_equal(name.alias, "qwen2.5-coder-1.5b");
}

/* What ci_hub_name_text() writes means the same. */
static void test_names_can_be_typed_again(void **state) {
    static const char *const texts[] = {"user/repo",          "user/repo:Q4_0",      "user/repo/Q4/a.gguf",
                                        "user/repo@v1",       "user/repo:Q4_0@v1",   "user/repo/a.gguf@v1",
                                        "ollama:llama3.2:1b", "ollama:me/m:latest",  "ollama:h:1/me/m:latest",
                                        "hf.co/gpt2",         "https://h.org/a.gguf"};
    struct ci_hub_name name, again;
    char text[CI_HUB_URL_BYTES];
    (void)state;
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        assert_int_equal(ci_hub_name_parse(texts[i], NULL, &name), CLINFER_OK);
        ci_hub_name_text(&name, text, sizeof text);
        assert_string_equal(text, texts[i]);
        assert_int_equal(ci_hub_name_parse(text, NULL, &again), CLINFER_OK);
        assert_memory_equal(&name, &again, sizeof name);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_names_and_links_are_understood),
        cmocka_unit_test(test_what_breaks_a_rule_is_refused_with_it),
        cmocka_unit_test(test_words_and_paths_are_no_names),
        cmocka_unit_test(test_secrets_in_an_address_are_refused_and_not_shown),
        cmocka_unit_test(test_aliases_stand_for_repo_and_quant),
        cmocka_unit_test(test_names_can_be_typed_again),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
