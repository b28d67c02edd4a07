/* Stores of models as programs and people leave them: each layout is built by hand, and the list says what is there. */
#define _GNU_SOURCE
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "hub/stores.h"
#include "support/asserts.h"
#include "support/hub_folder.h"

static struct ci_stored *models;
static size_t count;
static char listed[1 << 15];

/* "store name bytes parts whole", a line each, in the order of the list. */
static const char *list_all(void) {
    size_t length = 0;
    ci_stores_free(models, count);
    assert_ok(ci_stores_list(&hub_settings, &models, &count));
    listed[0] = 0;
    for (size_t i = 0; i < count; i++)
        length += (size_t)snprintf(listed + length, sizeof listed - length, "%s %s %llu%s%s\n", models[i].store,
                                   models[i].name, (unsigned long long)models[i].bytes,
                                   models[i].whole ? "" : " incomplete", models[i].placed ? " placed" : "");
    return listed;
}

static const struct ci_stored *called(const char *name) {
    for (size_t i = 0; i < count; i++)
        if (strcmp(models[i].name, name) == 0) return &models[i];
    fail_msg("%s: not listed:\n%s", name, listed);
    return NULL;
}

static int end(void **state) {
    ci_stores_free(models, count);
    models = NULL;
    count = 0;
    return hub_folder_unset(state);
}

#define FILE_Q4 "tiny-Q4_K_M.gguf"

/* ---- the Hub's cache ---- */

static void test_a_repo_is_named_by_quants(void **state) {
    (void)state;
    hub_blob("user--repo", HUB_COMMIT, FILE_Q4, HUB_DIGEST("a"), 100);
    hub_blob("user--repo", HUB_COMMIT, "Q8_0/tiny-Q8_0.gguf", HUB_DIGEST("b"), 200);
    hub_blob("user--repo", HUB_COMMIT, "mmproj-tiny-F16.gguf", HUB_DIGEST("c"), 300);
    hub_blob("user--repo", HUB_COMMIT, "README.md", HUB_DIGEST("d"), 400);
    hub_blob("gpt2", HUB_COMMIT, "noquant.gguf", HUB_DIGEST("e"), 500);
    hub_ref("user--repo", "main", HUB_COMMIT);
    assert_string_equal(list_all(), "hub gpt2/noquant.gguf 500\nhub user/repo:Q4_K_M 100\nhub user/repo:Q8_0 200\n");
    const struct ci_stored *model = called("user/repo:Q8_0");
    assert_string_equal(model->repo, "user/repo");
    assert_string_equal(model->revision, HUB_COMMIT);
    assert_string_equal(model->file, "Q8_0/tiny-Q8_0.gguf");
    assert_string_equal(model->digest, HUB_DIGEST("b"));
    assert_string_equal(model->path, hub_path("hub/models--user--repo/snapshots/" HUB_COMMIT "/Q8_0/tiny-Q8_0.gguf"));
    assert_true(model->removable && !model->placed && model->parts == 1 && !model->folder);
}

static void test_two_files_of_one_quant_are_named_by_file(void **state) {
    (void)state;
    hub_blob("user--repo", HUB_COMMIT, "a-Q4_K_M.gguf", HUB_DIGEST("a"), 1);
    hub_blob("user--repo", HUB_COMMIT, "b-Q4_K_M.gguf", HUB_DIGEST("b"), 2);
    hub_blob("user--repo", HUB_COMMIT, "c-Q8_0.gguf", HUB_DIGEST("c"), 3);
    assert_string_equal(list_all(),
                        "hub user/repo/a-Q4_K_M.gguf 1\nhub user/repo/b-Q4_K_M.gguf 2\nhub user/repo:Q8_0 3\n");
}

/* Links of all kinds are files, and those that lead nowhere are nothing. */
static void test_links_are_resolved_by_stat(void **state) {
    (void)state;
    char target[600];
    hub_put_bytes("elsewhere/real.gguf", 10);
    hub_put_bytes("hub/models--u--r/blobs/" HUB_DIGEST("a"), 20);
    snprintf(target, sizeof target, "%s", hub_path("elsewhere/real.gguf"));
    hub_link("hub/models--u--r/snapshots/" HUB_COMMIT "/absolute-Q4_0.gguf", target);
    hub_link("hub/models--u--r/snapshots/" HUB_COMMIT "/chain-Q8_0.gguf", "../" HUB_OLDER "/first.gguf");
    hub_link("hub/models--u--r/snapshots/" HUB_OLDER "/first.gguf", "../../blobs/" HUB_DIGEST("a"));
    hub_link("hub/models--u--r/snapshots/" HUB_COMMIT "/gone-F16.gguf", "../../blobs/" HUB_DIGEST("f"));
    hub_link("hub/models--u--r/snapshots/" HUB_COMMIT "/loop-Q6_K.gguf", "loop-Q6_K.gguf");
    hub_ref("u--r", "main", HUB_COMMIT);
    assert_string_equal(list_all(), "hub u/r:Q4_0 10\nhub u/r:Q8_0 20\n");
    assert_string_equal(called("u/r:Q8_0")->digest, HUB_DIGEST("a"));
    assert_int_equal(called("u/r:Q8_0")->place_count, 1); /* the older snapshot calls it otherwise */
    assert_string_equal(called("u/r:Q8_0")->places[0].name, "u/r/first.gguf");
}

/* Newer versions share blobs between repos; the link in blobs/ has the digest, the file is called otherwise. */
static void test_shared_blobs_have_the_digest_of_the_repos_link(void **state) {
    (void)state;
    hub_put("hub/blobs/.huggingface-shared-blobs", "");
    hub_put_bytes("hub/blobs/ee/" HUB_DIGEST("e"), 30);
    hub_link("hub/models--u--r/blobs/" HUB_DIGEST("a"), "../../blobs/ee/" HUB_DIGEST("e"));
    hub_link("hub/models--u--r/snapshots/" HUB_COMMIT "/" FILE_Q4, "../../blobs/" HUB_DIGEST("a"));
    assert_string_equal(list_all(), "hub u/r:Q4_K_M 30\n");
    assert_string_equal(called("u/r:Q4_K_M")->digest, HUB_DIGEST("a"));
    hub_link("hub/models--u--s/snapshots/" HUB_COMMIT "/" FILE_Q4, "../../../blobs/ee/" HUB_DIGEST("e"));
    struct ci_stored *all;
    size_t all_count;
    assert_ok(ci_stores_scan(&hub_settings, NULL, &all, &all_count));
    assert_int_equal(all_count, 2);
    assert_string_equal(all[1].digest, ""); /* the other hash is none */
    ci_stores_free(all, all_count);
}

/* FAT, or HF_HUB_DISABLE_SYMLINKS: the file itself is in the snapshot. */
static void test_caches_without_links(void **state) {
    (void)state;
    hub_put_bytes("hub/models--u--r/snapshots/" HUB_COMMIT "/" FILE_Q4, 40);
    hub_ref("u--r", "main", HUB_COMMIT);
    assert_string_equal(list_all(), "hub u/r:Q4_K_M 40\n");
    assert_string_equal(called("u/r:Q4_K_M")->digest, "");
}

/* What refs/main says counts first, the newest snapshot without it; the same file is listed once. */
static void test_older_snapshots(void **state) {
    (void)state;
    hub_blob("u--r", HUB_OLDER, FILE_Q4, HUB_DIGEST("a"), 1);
    hub_blob("u--r", HUB_COMMIT, FILE_Q4, HUB_DIGEST("b"), 2);
    hub_blob("u--r", HUB_OLDER, "tiny-Q8_0.gguf", HUB_DIGEST("c"), 3);
    hub_link("hub/models--u--r/snapshots/" HUB_COMMIT "/tiny-Q8_0.gguf", "../../blobs/" HUB_DIGEST("c"));
    hub_blob("u--r", HUB_OLDER, "tiny-F16.gguf", HUB_DIGEST("d"), 4);
    hub_age("hub/models--u--r/snapshots/" HUB_OLDER, 100);
    assert_string_equal(list_all(), "hub u/r:Q4_K_M 2\nhub u/r:Q8_0 3\nhub u/r:F16 4\nhub u/r:Q4_K_M@fedcba98 1\n");
    assert_int_equal(called("u/r:Q8_0")->place_count, 0);
    hub_age("hub/models--u--r/snapshots/" HUB_COMMIT, 200); /* now the other one is newer */
    assert_string_equal(list_all(), "hub u/r:F16 4\nhub u/r:Q4_K_M 1\nhub u/r:Q8_0 3\nhub u/r:Q4_K_M@01234567 2\n");
    hub_age("hub/models--u--r/snapshots/" HUB_OLDER, 200);
    hub_ref("u--r", "main", HUB_OLDER "\n"); /* with a line break, as some write it */
    hub_ref("u--r", "refs/pr/1", HUB_COMMIT);
    assert_string_equal(list_all(), "hub u/r:F16 4\nhub u/r:Q4_K_M 1\nhub u/r:Q8_0 3\nhub u/r:Q4_K_M@refs/pr/1 2\n");
}

static void test_split_models_are_one_and_whole_or_not(void **state) {
    (void)state;
    hub_blob("u--r", HUB_COMMIT, "m-Q4_0-00001-of-00002.gguf", HUB_DIGEST("a"), 10);
    hub_blob("u--r", HUB_COMMIT, "m-Q4_0-00002-of-00002.gguf", HUB_DIGEST("b"), 5);
    hub_blob("u--r", HUB_COMMIT, "m-Q8_0-00002-of-00003.gguf", HUB_DIGEST("c"), 7);
    hub_link("hub/models--u--r/snapshots/" HUB_COMMIT "/m-Q8_0-00001-of-00003.gguf", "../../blobs/gone");
    assert_string_equal(list_all(), "hub u/r:Q4_0 15\nhub u/r:Q8_0 7 incomplete\n");
    assert_int_equal(called("u/r:Q4_0")->parts, 2);
    assert_string_equal(called("u/r:Q4_0")->file, "m-Q4_0-00001-of-00002.gguf");
    assert_int_equal(called("u/r:Q8_0")->parts, 3);
    assert_int_equal(called("u/r:Q8_0")->missing, 2);
}

static void test_folders_of_safetensors(void **state) {
    (void)state;
    hub_blob("u--whole", HUB_COMMIT, "model-00001-of-00002.safetensors", HUB_DIGEST("a"), 10);
    hub_blob("u--whole", HUB_COMMIT, "model-00002-of-00002.safetensors", HUB_DIGEST("b"), 20);
    hub_blob("u--whole", HUB_COMMIT, "config.json", HUB_DIGEST("c"), 5);
    hub_blob("u--whole", HUB_COMMIT, "part/model.safetensors", HUB_DIGEST("d"), 5); /* of a pipeline */
    hub_blob("u--part", HUB_COMMIT, "model-00001-of-00002.safetensors", HUB_DIGEST("a"), 10);
    hub_blob("u--part", HUB_COMMIT, "config.json", HUB_DIGEST("c"), 5);
    hub_blob("u--plain", HUB_COMMIT, "model.safetensors", HUB_DIGEST("e"), 3);
    hub_blob("u--only", HUB_COMMIT, "tokenizer.json", HUB_DIGEST("f"), 9);
    hub_blob("u--lora", HUB_COMMIT, "adapter_model.safetensors", HUB_DIGEST("g"), 9);
    assert_string_equal(list_all(), "hub u/part 10 incomplete\nhub u/plain 3 incomplete\nhub u/whole 30\n");
    assert_true(called("u/whole")->folder && called("u/whole")->parts == 2);
    assert_string_equal(called("u/whole")->path, hub_path("hub/models--u--whole/snapshots/" HUB_COMMIT));
}

/* What a pull leaves before it is done is nothing. */
static void test_unfinished_downloads_are_not_listed(void **state) {
    (void)state;
    hub_put_bytes("hub/models--u--r/blobs/" HUB_DIGEST("a") ".clinfer.incomplete", 10);
    hub_put_bytes("hub/models--u--r/blobs/" HUB_DIGEST("b") ".1234abcd.incomplete", 10);
    hub_put_bytes("hub/models--u--r/blobs/" HUB_DIGEST("c"), 10); /* without a link */
    hub_put_bytes("hub/models--u--r/snapshots/" HUB_COMMIT "/empty-Q4_0.gguf", 0);
    hub_put("hub/.locks/models--u--r/x.gguf", "");
    hub_put_bytes("hub/datasets--u--r/snapshots/" HUB_COMMIT "/x.gguf", 10);
    assert_string_equal(list_all(), "hub u/r:Q4_0 0 incomplete\n");
}

static void test_files_placed_by_hand_are_models(void **state) {
    (void)state;
    hub_put_bytes("hub/wget.gguf", 1);
    hub_put_bytes("hub/mine/deep/Other.GGUF", 2);
    hub_put_bytes("hub/models--u--r/loose.gguf", 3);
    hub_put_bytes("hub/models--u--r/blobs/blob.gguf", 4);
    hub_put_bytes("hub/models--u--r/snapshots/lost.gguf", 5);
    hub_put_bytes("hub/models--u--r/snapshots/" HUB_COMMIT "/known-Q4_0.gguf", 6);
    hub_put_bytes("hub/mmproj-x.gguf", 7);
    assert_string_equal(list_all(), "hub u/r:Q4_0 6\nhub loose.gguf 3 placed\nhub blob.gguf 4 placed\n"
                                    "hub lost.gguf 5 placed\nhub wget.gguf 1 placed\nhub Other.GGUF 2 placed\n");
    assert_false(called("wget.gguf")->removable);
    assert_string_equal(called("wget.gguf")->path, hub_path("hub/wget.gguf"));
}

/* ---- other stores ---- */

static void test_the_models_folder(void **state) {
    (void)state;
    hub_put_bytes("models/b.gguf", 1);
    hub_put_bytes("models/a-00001-of-00002.gguf", 2);
    hub_put_bytes("models/sub/c.gguf", 3);
    hub_put_bytes("models/tiny/model.safetensors", 4);
    hub_put("models/tiny/config.json", "{}");
    hub_put_bytes("models/.hidden/d.gguf", 5);
    hub_link("models/sub/loop", "..");
    hub_link("models/gone.gguf", "nowhere");
    hub_folder("models/named.gguf");
    assert_string_equal(list_all(), "models a-00001-of-00002.gguf 2 incomplete placed\nmodels b.gguf 1 placed\n"
                                    "models sub/c.gguf 3 placed\nmodels tiny 4 placed\n");
}

/* What clinfer fetched there itself can be fetched again. */
static void test_what_was_pulled_into_the_models_folder(void **state) {
    (void)state;
    hub_put_bytes("models/ollama/tiny:1b.gguf", 1);
    hub_put_bytes("models/ollama/me/tiny:2b.gguf", 2);
    hub_put_bytes("models/ollama/by-hand.gguf", 3);
    hub_put_bytes("models/url.gguf", 4);
    ci_store_mark(hub_path("models/url.gguf"), "https://example.org/url.gguf");
    hub_put_bytes("models/hand.gguf", 5);
    list_all();
    assert_int_equal(count, 5);
    assert_true(called("ollama:tiny:1b")->removable && called("ollama:me/tiny:2b")->removable);
    assert_true(called("ollama/by-hand.gguf")->placed && called("hand.gguf")->placed);
    assert_true(called("url.gguf")->removable != called("url.gguf")->placed); /* not on every file system */
}

#define MANIFEST(digest, size)                                                                                         \
    "{\"layers\":[{\"mediaType\":\"application/vnd.ollama.image.template\",\"digest\":\"sha256:" HUB_DIGEST(           \
        "0") "\",\"size\":1},{\"mediaType\":\"application/vnd.ollama.image.model\",\"digest\":\"sha256:" digest        \
             "\",\"size\":" size "}]}"

static void test_ollama(void **state) {
    (void)state;
#define OLLAMA ".ollama/models/manifests/"
    hub_put(OLLAMA "registry.ollama.ai/library/llama3.2/1b", MANIFEST(HUB_DIGEST("a"), "10"));
    hub_put(OLLAMA "registry.ollama.ai/me/mine/latest", MANIFEST(HUB_DIGEST("b"), "10"));
    hub_put(OLLAMA "hf.co/user/repo/Q4_K_M", MANIFEST(HUB_DIGEST("c"), "10"));
    hub_put(OLLAMA "hf.co/user/repo/Q8_0", MANIFEST(HUB_DIGEST("d"), "20"));
    hub_put(OLLAMA "hf.co/user/repo/bad", "{\"layers\":[{\"mediaType\":7}]");
    hub_put(OLLAMA "hf.co/user/repo/path",
            MANIFEST("../../../../../../../../../../../../../../../../../etc/passwd", "1"));
    hub_put_bytes(".ollama/models/blobs/sha256-" HUB_DIGEST("a"), 10);
    hub_put_bytes(".ollama/models/blobs/sha256-" HUB_DIGEST("b"), 9); /* cut */
    assert_string_equal(list_all(), "ollama ollama:hf.co/user/repo:Q4_K_M 0 incomplete\n"
                                    "ollama ollama:hf.co/user/repo:Q8_0 0 incomplete\nollama ollama:llama3.2:1b 10\n"
                                    "ollama ollama:me/mine:latest 9 incomplete\n");
    assert_string_equal(called("ollama:llama3.2:1b")->digest, HUB_DIGEST("a"));
    setenv("OLLAMA_MODELS", hub_path(".ollama/models"), 1); /* the same by another way */
    list_all();
    assert_int_equal(count, 4);
}

static void test_stores_of_other_programs(void **state) {
    (void)state;
    hub_put_bytes(".lmstudio/models/maker/repo-GGUF/m-Q4_K_M.gguf", 1);
    hub_put_bytes(".lmstudio/models/maker/repo-GGUF/mmproj-m.gguf", 1);
    hub_put_bytes(".cache/lm-studio/models/old/repo/x.gguf", 2);
    hub_put_bytes("big/maker/moved/m-Q8_0.gguf", 3);
    char text[200];
    snprintf(text, sizeof text, "{\"downloadsFolder\": \"%s\"}", hub_path("big"));
    hub_put(".lmstudio/settings.json", text);
    hub_put_bytes(".local/share/nomic.ai/GPT4All/Llama.Q4_0.gguf", 4);
    hub_put_bytes(".local/share/nomic.ai/GPT4All/incomplete-Other.gguf", 4);
    hub_put_bytes(".local/share/Jan/data/llamacpp/models/maker/jan-nano/model.gguf", 5);
    hub_put_bytes(".cache/llama.cpp/user_repo_m-Q4_0.gguf", 6);
    hub_put(".cache/llama.cpp/user_repo_m-Q4_0.gguf.json",
            "{\"url\": \"https://example.org/user/repo/resolve/main/m-Q4_0.gguf\", \"etag\": \"x\"}");
    hub_put_bytes(".cache/llama.cpp/user_other_m.gguf", 7);
    hub_put(".cache/llama.cpp/user_other_m.gguf.etag", "x");
    hub_put_bytes(".cache/llama.cpp/mine.gguf", 8);
    assert_string_equal(list_all(), "llama.cpp mine.gguf 8 placed\nllama.cpp user_other_m.gguf 7\n"
                                    "llama.cpp user/repo:Q4_0 6\nlm-studio maker/moved:Q8_0 3\n"
                                    "lm-studio maker/repo-GGUF:Q4_K_M 1\nlm-studio old/repo/x.gguf 2\n"
                                    "jan jan:maker/jan-nano 5\ngpt4all Llama.Q4_0.gguf 4\n");
    for (size_t i = 0; i < count; i++) assert_false(models[i].removable || ci_store_is_ours(models[i].store));
}

/* llama.cpp's folder may have both layouts. */
static void test_llama_cache_has_both_layouts(void **state) {
    (void)state;
    setenv("LLAMA_CACHE", hub_path("hub"), 1);
    hub_blob("u--r", HUB_COMMIT, FILE_Q4, HUB_DIGEST("a"), 1);
    hub_put_bytes("hub/u_old_m.gguf", 2);
    hub_put("hub/u_old_m.gguf.etag", "x");
    hub_put_bytes("hub/mine.gguf", 3);
    assert_string_equal(list_all(), "hub u/r:Q4_K_M 1\nhub mine.gguf 3 placed\nllama.cpp u_old_m.gguf 2\n");
}

static void test_the_same_digest_is_one_model(void **state) {
    (void)state;
    hub_blob("u--r", HUB_COMMIT, FILE_Q4, HUB_DIGEST("a"), 10);
    hub_blob("u--copy", HUB_COMMIT, FILE_Q4, HUB_DIGEST("a"), 10);
    hub_put(OLLAMA "registry.ollama.ai/library/tiny/latest", MANIFEST(HUB_DIGEST("a"), "10"));
    hub_put_bytes(".ollama/models/blobs/sha256-" HUB_DIGEST("a"), 10);
    hub_put_bytes(".lmstudio/models/a/b/c-Q4_0.gguf", 10);
    hub_link("models/linked.gguf", hub_path(".lmstudio/models/a/b/c-Q4_0.gguf"));
    assert_string_equal(list_all(), "models linked.gguf 10 placed\nhub u/copy:Q4_K_M 10\n");
    assert_int_equal(models[0].place_count, 1);
    assert_string_equal(models[0].places[0].name, "a/b:Q4_0");
    assert_int_equal(models[1].place_count, 2);
    assert_string_equal(models[1].places[0].name, "u/r:Q4_K_M");
    assert_string_equal(models[1].places[1].name, "ollama:tiny:latest");
    struct ci_stored *all;
    size_t all_count;
    assert_ok(ci_stores_scan(&hub_settings, NULL, &all, &all_count));
    assert_int_equal(all_count, 5);
    ci_stores_free(all, all_count);
    assert_ok(ci_stores_scan(&hub_settings, "ollama", &all, &all_count));
    assert_int_equal(all_count, 1);
    ci_stores_free(all, all_count);
}

static void test_nothing_is_no_failure(void **state) {
    (void)state;
    assert_string_equal(list_all(), "");
    hub_settings.models = NULL;
    hub_settings.caches = NULL;
    unsetenv("HOME");
    assert_string_equal(list_all(), "");
}

/* The list for completion is asked at every press of a key. */
static void test_two_hundred_models_take_milliseconds(void **state) {
    (void)state;
    char repo[64];
    for (int i = 0; i < 200; i++) {
        snprintf(repo, sizeof repo, "user--repo-%d-GGUF", i);
        hub_blob(repo, HUB_COMMIT, FILE_Q4, HUB_DIGEST("a"), (size_t)i + 1);
        hub_ref(repo, "main", HUB_COMMIT);
    }
    double best = 1;
    for (int i = 0; i < 5; i++) {
        struct timespec begin, done;
        clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &begin);
        list_all();
        clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &done);
        double took = (double)(done.tv_sec - begin.tv_sec) + (double)(done.tv_nsec - begin.tv_nsec) * 1e-9;
        if (took < best) best = took;
    }
    assert_int_equal(count, 200);
    print_message("200 models in %.1f ms\n", best * 1e3);
    assert_true(best < 0.03 * 4); /* sanitizers */
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, hub_folder_set, end)

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(test_a_repo_is_named_by_quants),
        TEST(test_two_files_of_one_quant_are_named_by_file),
        TEST(test_links_are_resolved_by_stat),
        TEST(test_shared_blobs_have_the_digest_of_the_repos_link),
        TEST(test_caches_without_links),
        TEST(test_older_snapshots),
        TEST(test_split_models_are_one_and_whole_or_not),
        TEST(test_folders_of_safetensors),
        TEST(test_unfinished_downloads_are_not_listed),
        TEST(test_files_placed_by_hand_are_models),
        TEST(test_the_models_folder),
        TEST(test_what_was_pulled_into_the_models_folder),
        TEST(test_ollama),
        TEST(test_stores_of_other_programs),
        TEST(test_llama_cache_has_both_layouts),
        TEST(test_the_same_digest_is_one_model),
        TEST(test_nothing_is_no_failure),
        TEST(test_two_hundred_models_take_milliseconds),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
