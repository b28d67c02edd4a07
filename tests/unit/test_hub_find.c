/* Which model a word means, in the stores of a home of the test's own: the models folder, caches of the Hub with links
 * of all kinds and without any, LLAMA_CACHE, Ollama's store, files that lie about; and what is said when it is none. */
#define _GNU_SOURCE
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/file.h"
#include "hub/find.h"
#include "hub/near.h"
#include "support/process.h"

#define COMMIT_A "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
#define COMMIT_B "bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb"
#define HUB ".cache/huggingface/hub/"
#define REPO HUB "models--user--repo/"
#define OWN ".local/share/clinfer/models/"

static char home[300];

/* A path in the home; the folders above it are made. */
static char *at(const char *name) {
    char *path = NULL;
    assert_true(asprintf(&path, "%s/%s", home, name) > 0);
    assert_int_equal(ci_file_make_parents(path), 0);
    return path;
}

static void put(const char *name, const char *text) {
    char *path = at(name);
    FILE *file = fopen(path, "we");
    assert_non_null(file);
    assert_int_equal(fwrite(text, 1, strlen(text), file), strlen(text));
    assert_int_equal(fclose(file), 0);
    free(path);
}

static void put_link(const char *name, const char *target) {
    char *path = at(name);
    assert_int_equal(symlink(target, path), 0);
    free(path);
}

/* A home for each test, and nothing of the user's. */
static int set_up(void **state) {
    static const char *const unset[] = {"HF_ENDPOINT",    "HF_HOME",        "HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE",
                                        "HF_HUB_OFFLINE", "XDG_CACHE_HOME", "LLAMA_CACHE",  "XDG_DATA_HOME",
                                        "OLLAMA_MODELS",  "HF_TOKEN",       "HF_TOKEN_PATH"};
    static int number;
    (void)state;
    for (size_t i = 0; i < sizeof unset / sizeof *unset; i++) unsetenv(unset[i]);
    snprintf(home, sizeof home, "%s/home-%d", process_folder(), number++);
    assert_int_equal(mkdir(home, 0700), 0);
    return setenv("HOME", home, 1);
}

static struct ci_hub_name missing;

static enum clinfer_status look(const char *wanted, struct ci_hub_found *found) {
    struct ci_hub_settings settings;
    assert_int_equal(ci_hub_settings_read(&settings), CLINFER_OK);
    enum clinfer_status status = ci_hub_find(&settings, wanted, found, &missing);
    ci_hub_settings_free(&settings);
    return status;
}

/* `path`: from the home. */
static void assert_finds(const char *wanted, const char *path, const char *store) {
    struct ci_hub_found found;
    enum clinfer_status status = look(wanted, &found);
    if (status != CLINFER_OK) fail_msg("%s: %s", wanted, clinfer_error());
    if (strncmp(found.path, home, strlen(home)) != 0 || strcmp(found.path + strlen(home) + 1, path) != 0)
        fail_msg("%s: found %s, not %s", wanted, found.path, path);
    if (strcmp(found.store ? found.store : "", store) != 0) fail_msg("%s: found in %s", wanted, found.store);
    ci_hub_found_free(&found);
}

static void assert_fails(const char *wanted, enum clinfer_status expected, const char *message) {
    struct ci_hub_found found;
    enum clinfer_status status = look(wanted, &found);
    if (status != expected) fail_msg("%s: status %d: %s", wanted, status, status ? clinfer_error() : found.path);
    if (!strstr(clinfer_error(), message)) fail_msg("\"%s\" does not say \"%s\"", clinfer_error(), message);
    ci_hub_found_free(&found);
}

/* Of the same name in two places the first counts. */
static void test_order_is_path_own_folder_alias_hub(void **state) {
    (void)state;
    char *here = at("cwd/x");
    *strrchr(here, '/') = 0;
    char *before = getcwd(NULL, 0);
    assert_int_equal(chdir(here), 0);
    put(HUB "models--Qwen--Qwen3-0.6B-GGUF/blobs/b", "GGUF");
    put_link(HUB "models--Qwen--Qwen3-0.6B-GGUF/snapshots/" COMMIT_A "/Qwen3-0.6B-Q8_0.gguf", "../../blobs/b");
    assert_finds("qwen3-0.6b", HUB "models--Qwen--Qwen3-0.6B-GGUF/snapshots/" COMMIT_A "/Qwen3-0.6B-Q8_0.gguf", "hub");
    put(OWN "qwen3-0.6b.gguf", "GGUF own");
    assert_finds("qwen3-0.6b", OWN "qwen3-0.6b.gguf", "models");
    put("cwd/qwen3-0.6b", "GGUF here");
    struct ci_hub_found found;
    assert_int_equal(look("qwen3-0.6b", &found), CLINFER_OK);
    assert_string_equal(found.path, "qwen3-0.6b");
    assert_null(found.store);
    ci_hub_found_free(&found);
    assert_int_equal(chdir(before), 0);
    free(before);
    free(here);
}

static void test_repos_are_found_by_quant_file_and_revision(void **state) {
    (void)state;
    put(REPO "blobs/4", "GGUF 4");
    put(REPO "blobs/8", "GGUF 8");
    put_link(REPO "snapshots/" COMMIT_A "/m-Q4_K_M.gguf", "../../blobs/4");
    put_link(REPO "snapshots/" COMMIT_A "/m-Q8_0.gguf", "../../blobs/8");
    put(REPO "blobs/8b", "GGUF 8 of another commit");
    put_link(REPO "snapshots/" COMMIT_B "/m-Q8_0.gguf", "../../blobs/8b");
    put_link(REPO "snapshots/" COMMIT_B "/n-Q6_K.gguf", "../../blobs/4");
    put_link(REPO "snapshots/" COMMIT_A "/n-Q6_K.gguf", "../../blobs/4");
    put(REPO "refs/main", COMMIT_A);
    put(REPO "refs/v2", COMMIT_B);
    static const char *const fours[] = {"user/repo",
                                        "user/repo:Q4_K_M",
                                        "user/repo:q4_k_m",
                                        "User/Repo:Q4_K_M",
                                        "user/repo/m-Q4_K_M.gguf",
                                        "hf.co/user/repo:Q4_K_M",
                                        "https://huggingface.co/user/repo/blob/main/m-Q4_K_M.gguf",
                                        ("user/repo:Q4_K_M@" COMMIT_A),
                                        "m-Q4_K_M.gguf",
                                        "m-Q4_K_M"};
    for (size_t i = 0; i < sizeof fours / sizeof *fours; i++)
        assert_finds(fours[i], REPO "snapshots/" COMMIT_A "/m-Q4_K_M.gguf", "hub");
    assert_finds("user/repo:Q8_0", REPO "snapshots/" COMMIT_A "/m-Q8_0.gguf", "hub");
    assert_finds("user/repo:Q8_0@v2", REPO "snapshots/" COMMIT_B "/m-Q8_0.gguf", "hub");
    assert_finds("user/repo:Q6_K@v2", REPO "snapshots/" COMMIT_A "/n-Q6_K.gguf", "hub"); /* the same there */
    assert_fails("user/repo:Q4_K_M@v2", CLINFER_NOT_FOUND, "`clinfer pull user/repo:Q4_K_M@v2` fetches it");
    assert_string_equal(missing.repo, "user/repo");
    assert_string_equal(missing.revision, "v2");
    assert_fails("user/repo:Q5_0", CLINFER_NOT_FOUND, "(of this repo there is: user/repo:Q4_K_M, user/repo:Q8_0");
    assert_fails("user/rep:Q4_K_M", CLINFER_NOT_FOUND, "did you mean user/repo:Q4_K_M");
}

/* D6: relative, absolute and chained links, files without links; a link that leads nowhere is no model. */
static void test_links_of_all_kinds_and_none(void **state) {
    (void)state;
    char *blob = at("volume/blob"), absolute[400];
    put("volume/blob", "GGUF");
    snprintf(absolute, sizeof absolute, "%s", blob);
    free(blob);
    put_link(HUB "models--u--absolute/snapshots/" COMMIT_A "/a-Q4_0.gguf", absolute);
    put_link(HUB "models--u--chained/blobs/" COMMIT_A, absolute);
    put_link(HUB "models--u--chained/snapshots/" COMMIT_A "/b-Q4_0.gguf", "../../blobs/" COMMIT_A);
    put(HUB "models--u--plain/snapshots/" COMMIT_A "/c-Q4_0.gguf", "GGUF");
    put_link(HUB "models--u--dangling/snapshots/" COMMIT_A "/d-Q4_0.gguf", "../../blobs/gone");
    assert_finds("u/absolute", HUB "models--u--absolute/snapshots/" COMMIT_A "/a-Q4_0.gguf", "hub");
    assert_finds("u/chained:Q4_0", HUB "models--u--chained/snapshots/" COMMIT_A "/b-Q4_0.gguf", "hub");
    assert_finds("u/plain", HUB "models--u--plain/snapshots/" COMMIT_A "/c-Q4_0.gguf", "hub");
    assert_fails("u/dangling", CLINFER_NOT_FOUND, "`clinfer pull u/dangling` fetches it");
}

/* D7: with wget, into the Hub's folder, a folder of one's own there, or the models folder. */
static void test_files_put_there_by_hand(void **state) {
    (void)state;
    put(HUB "by-hand-Q4_0.gguf", "GGUF 1");
    put(HUB "mine/deeper-Q4_0.gguf", "GGUF 2");
    put(OWN "user/local-repo/local-Q4_0.gguf", "GGUF 3");
    assert_finds("by-hand-Q4_0.gguf", HUB "by-hand-Q4_0.gguf", "hub");
    assert_finds("by-hand-Q4_0", HUB "by-hand-Q4_0.gguf", "hub");
    assert_finds("deeper-Q4_0", HUB "mine/deeper-Q4_0.gguf", "hub");
    assert_finds("user/local-repo", OWN "user/local-repo/local-Q4_0.gguf", "models");
    assert_finds("user/local-repo:Q4_0", OWN "user/local-repo/local-Q4_0.gguf", "models");
    assert_fails("user/local-repo:Q8_0", CLINFER_NOT_FOUND, "not on this machine");
}

/* LLAMA_CACHE goes first, with llama.cpp's older layout and with the Hub's. */
static void test_llama_cache_is_searched_first(void **state) {
    (void)state;
    char *cache = at("llama/x");
    *strrchr(cache, '/') = 0;
    put(REPO "snapshots/" COMMIT_A "/m-Q4_0.gguf", "GGUF hub");
    assert_finds("user/repo", REPO "snapshots/" COMMIT_A "/m-Q4_0.gguf", "hub");
    setenv("LLAMA_CACHE", cache, 1);
    put("llama/user_repo_m-Q4_0.gguf", "GGUF old");
    put("llama/user_repo_m-Q4_0.gguf.json", "{}");
    assert_finds("user/repo:Q4_0", "llama/user_repo_m-Q4_0.gguf", "llama.cpp");
    put("llama/models--user--repo/snapshots/" COMMIT_A "/m-Q4_0.gguf", "GGUF new");
    assert_finds("user/repo:Q4_0", "llama/models--user--repo/snapshots/" COMMIT_A "/m-Q4_0.gguf", "hub");
    unsetenv("LLAMA_CACHE");
    free(cache);
}

static void test_ollama_only_by_its_own_name(void **state) {
    static const char hex[] = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";
    char manifest[400], blob[200];
    (void)state;
    snprintf(
        manifest, sizeof manifest,
        "{\"layers\": [{\"mediaType\": \"application/vnd.ollama.image.model\", \"digest\": \"sha256:%s\", \"size\": "
        "4}]}",
        hex);
    snprintf(blob, sizeof blob, ".ollama/models/blobs/sha256-%s", hex);
    put(".ollama/models/manifests/registry.ollama.ai/library/llama3.2/1b", manifest);
    put(".ollama/models/manifests/registry.ollama.ai/me/mine/latest", manifest);
    put(blob, "GGUF");
    assert_finds("ollama:llama3.2:1b", blob, "ollama");
    assert_finds("ollama:me/mine", blob, "ollama");
    assert_fails("llama3.2:1b", CLINFER_NOT_FOUND, "did you mean ollama:llama3.2:1b");
    assert_int_equal(missing.repo[0], 0);
    assert_fails("ollama:llama3.2:3b", CLINFER_NOT_FOUND, "`clinfer pull ollama:llama3.2:3b` fetches it");
    assert_int_equal(missing.kind, CI_HUB_OLLAMA);
}

static void test_what_is_half_there_is_never_found(void **state) {
    (void)state;
    put(REPO "snapshots/" COMMIT_A "/m-Q4_0-00001-of-00002.gguf", "GGUF");
    put(REPO "blobs/" COMMIT_A ".clinfer.incomplete", "GGUF");
    assert_fails("user/repo", CLINFER_NOT_FOUND, "not whole on this machine");
    assert_fails("m-Q4_0-00001-of-00002", CLINFER_NOT_FOUND, "no such model");
    put(REPO "snapshots/" COMMIT_A "/m-Q4_0-00002-of-00002.gguf", "GGUF");
    assert_finds("user/repo/m-Q4_0-00002-of-00002.gguf", REPO "snapshots/" COMMIT_A "/m-Q4_0-00001-of-00002.gguf",
                 "hub");
}

static void test_what_can_be_no_name_is_told(void **state) {
    (void)state;
    put(OWN "alone.gguf", "GGUF");
    assert_fails("alon", CLINFER_NOT_FOUND, "did you mean alone.gguf?");
    assert_fails("smollm2-135m", CLINFER_NOT_FOUND, "smollm2-135m: not on this machine; `clinfer pull smollm2-135m`");
    assert_fails("nothing-like-it", CLINFER_NOT_FOUND, "there is: alone.gguf. Choose one");
    put(HUB "models--user--repo/blobs/b", "GGUF hub");
    put_link(HUB "models--user--repo/snapshots/" COMMIT_A "/r-Q8_0.gguf", "../../blobs/b");
    put_link(HUB "models--user--other/snapshots/" COMMIT_A "/r-Q8_0.gguf", "../../../models--user--repo/blobs/b");
    assert_fails("nothing-like-it", CLINFER_NOT_FOUND, "`clinfer list` shows 1 more");
    assert_int_equal(missing.repo[0], 0);
    assert_fails("https://huggingface.co/datasets/a/b", CLINFER_INVALID_ARGUMENT, "a data set");
    assert_fails("https://example.org/x.gguf", CLINFER_UNSUPPORTED, "this is an address");
    assert_fails("ollama:a b", CLINFER_INVALID_ARGUMENT, "no name of Ollama's registry");
    /* A file that is missing in a folder that is there is not asked of the Hub. */
    put("cwd/dir/sub/x", "");
    char *here = at("cwd/x"), *before = getcwd(NULL, 0);
    *strrchr(here, '/') = 0;
    assert_int_equal(chdir(here), 0);
    assert_fails("dir/sub/typo.gguf", CLINFER_NOT_FOUND, "no such model");
    assert_int_equal(missing.repo[0], 0);
    assert_int_equal(chdir(before), 0);
    free(before);
    free(here);
}

static void test_no_near_name_is_none(void **state) {
    char list[64] = "left over";
    (void)state;
    ci_hub_near_names("zzzzzzzzzz", NULL, 0, list, sizeof list);
    assert_string_equal(list, "");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(test_order_is_path_own_folder_alias_hub, set_up),
        cmocka_unit_test_setup(test_repos_are_found_by_quant_file_and_revision, set_up),
        cmocka_unit_test_setup(test_links_of_all_kinds_and_none, set_up),
        cmocka_unit_test_setup(test_files_put_there_by_hand, set_up),
        cmocka_unit_test_setup(test_llama_cache_is_searched_first, set_up),
        cmocka_unit_test_setup(test_ollama_only_by_its_own_name, set_up),
        cmocka_unit_test_setup(test_what_is_half_there_is_never_found, set_up),
        cmocka_unit_test_setup(test_what_can_be_no_name_is_told, set_up),
        cmocka_unit_test(test_no_near_name_is_none),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
