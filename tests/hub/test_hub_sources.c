/* What else is pulled, and from where: Ollama's registry, any web server, folders of SafeTensors, tokenizers, another
 * version of what is there, the same bytes in two repos; and what happens without a net. */
#define _GNU_SOURCE
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "support/hub_run.h"
#include "support/process.h"

enum { TINY = 203936 };

static const char tiny[] = "tiny-Q4_K_M.gguf";
static struct hub_run run;

static int open_run(void **state) {
    const struct hub_run_options options = {0};
    (void)state;
    hub_run_open(&run, &options);
    return 0;
}

static int close_run(void **state) {
    (void)state;
    hub_run_close(&run);
    return 0;
}

/* ---- bytes ---- */

static void check_bytes(const char *path, const char *content, int version, const char *file) {
    char digest[CI_DIGEST_BYTES];
    json_t *files = hub_server_files(content, version);
    hub_run_digest(path, digest);
    assert_string_equal(
        digest, json_string_value(json_object_get(json_object_get(json_object_get(files, "files"), file), "sha256")));
    json_decref(files);
}

/* One that does not come from the Hub: it lies in the models folder. */
static void pull_placed(const char *name, const char *content, const char *file) {
    hub_run_pull(&run, name);
    if (run.status != CLINFER_OK) fail_msg("%s: %s", name, run.message);
    check_bytes(run.pulled.path, content, 1, file);
    assert_memory_equal(run.pulled.path, run.settings.models, strlen(run.settings.models));
    assert_int_equal(hub_run_listed(&run), 1);
    hub_run_pull(&run, name);
    assert_int_equal(run.status, CLINFER_OK);
    assert_int_equal(hub_run_sent(&run), 0);
}

static void fail_placed(const char *name, enum clinfer_status status, const char *says) {
    hub_run_pull(&run, name);
    hub_run_check_bad(&run, status, says);
}

/* ---- Ollama's registry ---- */

static void test_ollama_pulls_by_manifest(void **state) {
    (void)state;
    pull_placed("ollama:tiny", "tiny", tiny);
}

static void test_ollama_with_namespace_and_tag(void **state) {
    (void)state;
    pull_placed("ollama:user/tiny:1b", "tiny", tiny);
}

static void test_ollama_asks_for_a_token_once(void **state) {
    (void)state;
    pull_placed("ollama:x.auth/tiny", "tiny", tiny);
}

static void test_ollama_goes_on_after_a_cut(void **state) {
    (void)state;
    hub_run_pull(&run, "ollama:x.cut_50000_once/tiny");
    if (run.status != CLINFER_OK) fail_msg("%s", run.message);
    assert_true(hub_run_sent(&run) < TINY + 5000);
    check_bytes(run.pulled.path, "tiny", 1, tiny);
}

static void test_ollama_finds_a_flipped_bit(void **state) {
    (void)state;
    fail_placed("ollama:x.flip_100000/tiny", CLINFER_BAD_FILE, "checksum");
}

static void test_ollama_says_which_tag_is_missing(void **state) {
    (void)state;
    fail_placed("ollama:tiny:70b", CLINFER_NOT_FOUND, "70b");
}

static void test_ollama_says_which_model_is_missing(void **state) {
    (void)state;
    fail_placed("ollama:nothing-like-it", CLINFER_NOT_FOUND, "nothing-like-it");
}

static void test_ollama_manifest_that_is_garbage(void **state) {
    (void)state;
    fail_placed("ollama:x.manifest-html/tiny", CLINFER_REMOTE_FAILED, NULL);
    fail_placed("ollama:x.manifest-garbage/tiny", CLINFER_REMOTE_FAILED, NULL);
    fail_placed("ollama:x.manifest-broken-json/tiny", CLINFER_REMOTE_FAILED, NULL);
}

static void make_folders(char *path) {
    for (char *slash = strchr(path + 1, '/'); slash; slash = strchr(slash + 1, '/')) {
        *slash = 0;
        mkdir(path, 0755);
        *slash = '/';
    }
}

/* Of Ollama's own store, by hand: the model's blob lies there. */
static void put_into_ollama(const char *digest, const char *from) {
    char *path;
    size_t size;
    char *bytes = process_read(from, &size);
    assert_true(asprintf(&path, "%s/.ollama/models/blobs/sha256-%s", run.home, digest) > 0);
    make_folders(path);
    FILE *file = fopen(path, "wbe");
    assert_true(file && fwrite(bytes, 1, size, file) == size && fclose(file) == 0);
    free(path);
    free(bytes);
}

static void test_what_ollama_has_is_not_fetched_from_the_hub(void **state) {
    (void)state;
    char digest[CI_DIGEST_BYTES], *blob;
    hub_run_pull(&run, "user/tiny");
    blob = realpath(run.pulled.path, NULL);
    hub_run_digest(blob, digest);
    put_into_ollama(digest, blob);
    free(blob);
    struct process_result removed;
    process_run(&removed, NULL, "rm", "-rf", run.cache, NULL);
    process_free(&removed);
    hub_run_pull(&run, "user/tiny");
    if (run.status != CLINFER_OK) fail_msg("%s", run.message);
    assert_int_equal(hub_run_sent(&run), 0);
    check_bytes(run.pulled.path, "tiny", 1, tiny);
}

/* ---- any web server ---- */

static const char *address(const char *path) {
    static char url[600];
    /* Not by the Hub's own address, or it would be a name of the Hub. */
    snprintf(url, sizeof url, "http://localhost:%s%s", strrchr(run.server, ':') + 1, path);
    return url;
}

static void test_an_address_is_pulled(void **state) {
    (void)state;
    pull_placed(address("/plain/user/tiny/tiny-Q4_K_M.gguf"), "tiny", tiny);
}

static void test_an_address_goes_on_after_a_cut(void **state) {
    (void)state;
    hub_run_pull(&run, address("/plain/x.cut_50000_once/tiny/tiny-Q4_K_M.gguf"));
    if (run.status != CLINFER_OK) fail_msg("%s", run.message);
    check_bytes(run.pulled.path, "tiny", 1, tiny);
    assert_true(hub_run_sent(&run) < TINY + 5000);
}

static void test_an_address_of_a_page_is_no_model(void **state) {
    (void)state;
    fail_placed(address("/plain/x.html/tiny/tiny-Q4_K_M.gguf"), CLINFER_BAD_FILE, NULL);
    fail_placed(address("/plain/user/page/page-Q4_K_M.gguf"), CLINFER_BAD_FILE, NULL);
    fail_placed(address("/plain/user/empty/empty-Q4_K_M.gguf"), CLINFER_BAD_FILE, "0 bytes");
}

static void test_an_address_that_is_not_there(void **state) {
    (void)state;
    fail_placed(address("/plain/user/tiny/other.gguf"), CLINFER_NOT_FOUND, NULL);
}

static void test_a_secret_in_an_address_is_not_shown(void **state) {
    (void)state;
    hub_run_pull(&run, address("/plain/user/tiny/other.gguf?token=sk-of-somebody"));
    assert_int_equal(run.status, CLINFER_NOT_FOUND);
    assert_null(strstr(run.message, "sk-of-somebody"));
    assert_null(strstr(run.said, "sk-of-somebody"));
}

/* ---- folders and tokenizers ---- */

static void check_has(const char *name, bool wanted) {
    char path[4096];
    snprintf(path, sizeof path, "%s/%s", run.pulled.path, name);
    if ((access(path, F_OK) == 0) != wanted) fail_msg("%s is%s there", name, wanted ? " not" : "");
}

static void test_a_folder_of_safetensors_without_pickles(void **state) {
    (void)state;
    static const char *const wanted[] = {"model-00001-of-00002.safetensors",
                                         "model-00002-of-00002.safetensors",
                                         "model.safetensors.index.json",
                                         "config.json",
                                         "tokenizer.json",
                                         "tokenizer_config.json",
                                         "generation_config.json",
                                         "special_tokens_map.json",
                                         "chat_template.jinja"};
    static const char *const others[] = {"pytorch_model.bin", "training_args.bin", "original/consolidated.00.pth"};
    hub_run_pull(&run, "user/weights");
    if (run.status != CLINFER_OK) fail_msg("%s", run.message);
    for (size_t i = 0; i < sizeof wanted / sizeof *wanted; i++) check_has(wanted[i], true);
    for (size_t i = 0; i < sizeof others / sizeof *others; i++) check_has(others[i], false);
    const json_t *entry;
    size_t index;
    json_array_foreach(run.log, index, entry) {
        const char *path = json_string_value(json_object_get(entry, "path"));
        if (strstr(path, ".bin") || strstr(path, ".pth")) fail_msg("a pickle was asked for: %s", path);
    }
    assert_int_equal(hub_run_listed(&run), 1);
    hub_run_pull(&run, "user/weights");
    assert_int_equal(hub_run_sent(&run), 0);
}

static void test_one_of_two_files_fails_and_nothing_is_listed(void **state) {
    (void)state;
    hub_run_pull(&run, "x.small-status_503/weights");
    hub_run_check_bad(&run, CLINFER_REMOTE_FAILED, "503");
}

static void test_a_tokenizer_is_looked_for_where_the_model_came_from(void **state) {
    (void)state;
    static const struct ci_hub_pull_options options = {.tokenizer_only = true, .memory_bytes = UINT64_C(1) << 40};
    struct ci_hub_name name;
    hub_run_pull(&run, "user/without-tokenizer");
    if (run.status != CLINFER_OK) fail_msg("%s", run.message);
    assert_int_equal(ci_hub_name_parse("user/without-tokenizer", run.settings.endpoint, &name), CLINFER_OK);
    ci_hub_pulled_free(&run.pulled);
    if (ci_hub_pull(&run.hub, &name, &options, &run.pulled) != CLINFER_OK) fail_msg("%s", clinfer_error());
    check_bytes(run.pulled.path, "base", 1, "tokenizer.json");
}

/* ---- versions ---- */

static void test_another_version_is_fetched_and_the_first_one_stays(void **state) {
    (void)state;
    json_t *described = json_pack("{s:s, s:i, s:{s:{s:i}, s:s}}", "name", "moved", "version", 1, "files",
                                  "moved-Q4_K_M.gguf", "size", 100000, "README.md", "one");
    hub_server_put(described);
    described = json_pack("{s:s, s:i, s:{s:{s:i}, s:s}}", "name", "moved", "version", 2, "files", "moved-Q4_K_M.gguf",
                          "size", 120000, "README.md", "two");
    hub_server_put(described);
    hub_run_pull(&run, "user/moved");
    hub_run_check_good(&run, "moved", 1, "moved-Q4_K_M.gguf", 1);
    char *first = strdup(run.pulled.path);
    hub_server_set_version("user/moved", 2);
    hub_run_pull(&run, "user/moved");
    hub_run_check_good(&run, "moved", 2, "moved-Q4_K_M.gguf", 2);
    check_bytes(first, "moved", 1, "moved-Q4_K_M.gguf");
    free(first);
}

static void test_a_part_of_another_version_is_not_gone_on_with(void **state) {
    (void)state;
    run.cancel_at = 1 << 20;
    hub_run_pull(&run, "x.rate_20000000/large");
    assert_int_equal(run.status, CLINFER_CANCELLED);
    run.cancel_at = 0;
    hub_server_set_version("x.rate_20000000/large", 2);
    hub_run_pull(&run, "x.rate_20000000/large");
    if (run.status != CLINFER_OK) fail_msg("%s", run.message);
    check_bytes(run.pulled.path, "large", 2, "large-Q4_K_M.gguf");
}

static void test_the_same_bytes_in_two_repos_are_fetched_once(void **state) {
    (void)state;
    hub_run_pull(&run, "user/shared-one");
    assert_int_equal(run.status, CLINFER_OK);
    hub_run_pull(&run, "user/shared-two");
    if (run.status != CLINFER_OK) fail_msg("%s", run.message);
    assert_int_equal(hub_run_sent(&run), 0);
    check_bytes(run.pulled.path, "shared-two", 1, "other-Q4_K_M.gguf");
}

static void test_a_branch_has_a_ref_of_its_own(void **state) {
    (void)state;
    size_t size;
    hub_run_pull(&run, "user/tiny@dev");
    if (run.status != CLINFER_OK) fail_msg("%s", run.message);
    char *ref = process_read(hub_run_path(&run, "models--user--tiny/refs/dev"), &size);
    assert_int_equal(size, 40);
    free(ref);
}

/* ---- without a net ---- */

static void test_offline_asks_nobody(void **state) {
    (void)state;
    hub_run_pull(&run, "user/tiny");
    assert_int_equal(run.status, CLINFER_OK);
    ci_hub_settings_go_offline(&run.settings, "--offline");
    hub_run_pull(&run, "user/tiny");
    hub_run_check_good(&run, "tiny", 1, tiny, 1);
    assert_int_equal(json_array_size(run.log), 0);
    hub_run_pull(&run, "user/large");
    assert_int_equal(run.status, CLINFER_NOT_FOUND);
    assert_non_null(strstr(run.message, "--offline"));
    assert_non_null(strstr(run.message, "; "));
    assert_int_equal(json_array_size(run.log), 0);
}

static void test_what_is_here_is_used_when_the_hub_is_not(void **state) {
    (void)state;
    hub_run_pull(&run, "user/tiny");
    assert_int_equal(run.status, CLINFER_OK);
    free(run.settings.endpoint);
    run.settings.endpoint = strdup(hub_server_url("closed"));
    hub_run_pull(&run, "user/tiny");
    hub_run_check_good(&run, "tiny", 1, tiny, 1);
    if (!strstr(run.said, "warning")) fail_msg("it was not said: %s", run.said);
    hub_run_pull(&run, "user/large");
    assert_int_equal(run.status, CLINFER_REMOTE_FAILED);
}

static void test_what_is_here_is_used_when_the_hub_is_broken(void **state) {
    (void)state;
    hub_run_pull(&run, "x.refs-status_503_99times/tiny");
    assert_int_equal(run.status, CLINFER_REMOTE_FAILED);
    assert_true(hub_server_count(run.log, "refs", NULL) == 3);
}

static void test_a_byte_a_second_can_be_cancelled(void **state) {
    (void)state;
    run.settings.silence_seconds = 3;
    run.cancel_at = 1;
    hub_run_pull(&run, "x.slow_1000/tiny");
    hub_run_check_bad(&run, CLINFER_CANCELLED, NULL);
    assert_true(run.seconds < 6);
    assert_true(hub_run_sent(&run) > 0);
}

#define CASE(test) cmocka_unit_test_setup_teardown(test, open_run, close_run)

int main(void) {
    const struct CMUnitTest tests[] = {
        CASE(test_ollama_pulls_by_manifest),
        CASE(test_ollama_with_namespace_and_tag),
        CASE(test_ollama_asks_for_a_token_once),
        CASE(test_ollama_goes_on_after_a_cut),
        CASE(test_ollama_finds_a_flipped_bit),
        CASE(test_ollama_says_which_tag_is_missing),
        CASE(test_ollama_says_which_model_is_missing),
        CASE(test_ollama_manifest_that_is_garbage),
        CASE(test_what_ollama_has_is_not_fetched_from_the_hub),
        CASE(test_an_address_is_pulled),
        CASE(test_an_address_goes_on_after_a_cut),
        CASE(test_an_address_of_a_page_is_no_model),
        CASE(test_an_address_that_is_not_there),
        CASE(test_a_secret_in_an_address_is_not_shown),
        CASE(test_a_folder_of_safetensors_without_pickles),
        CASE(test_one_of_two_files_fails_and_nothing_is_listed),
        CASE(test_a_tokenizer_is_looked_for_where_the_model_came_from),
        CASE(test_another_version_is_fetched_and_the_first_one_stays),
        CASE(test_a_part_of_another_version_is_not_gone_on_with),
        CASE(test_the_same_bytes_in_two_repos_are_fetched_once),
        CASE(test_a_branch_has_a_ref_of_its_own),
        CASE(test_offline_asks_nobody),
        CASE(test_what_is_here_is_used_when_the_hub_is_not),
        CASE(test_what_is_here_is_used_when_the_hub_is_broken),
        CASE(test_a_byte_a_second_can_be_cancelled),
    };
    return cmocka_run_group_tests_name("sources", tests, hub_server_start, hub_server_stop);
}
