/* What goes with a model, and what stays; and what nobody needs. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "hub/remove.h"
#include "support/asserts.h"
#include "support/hub_folder.h"

#define REPO "hub/models--u--r"
#define SNAPSHOT REPO "/snapshots/" HUB_COMMIT
#define OLDER REPO "/snapshots/" HUB_OLDER
#define BLOB(digit) REPO "/blobs/" HUB_DIGEST(digit)
#define FILE_Q4 "tiny-Q4_K_M.gguf"

static char notes[2048];

static enum clinfer_status try_to_remove(const char *name, bool force, uint64_t *freed) {
    struct ci_stored *models;
    size_t count, at = 0;
    struct ci_removal removal;
    assert_ok(ci_stores_scan(&hub_settings, NULL, &models, &count));
    while (at < count && strcmp(models[at].name, name) != 0) at++;
    if (at == count) fail_msg("%s: not listed", name);
    enum clinfer_status status = ci_removal_of(&hub_settings, &models[at], force, &removal);
    *freed = 0;
    if (status == CLINFER_OK) {
        uint64_t planned = ci_removal_bytes(&removal, NULL);
        status = ci_removal_do(&removal, freed);
        if (status == CLINFER_OK) assert_int_equal(*freed, planned);
    }
    snprintf(notes, sizeof notes, "%s", removal.notes ? removal.notes : "");
    ci_removal_free(&removal);
    ci_stores_free(models, count);
    return status;
}

static void remove_model(const char *name, size_t freed) {
    uint64_t got;
    assert_ok(try_to_remove(name, false, &got));
    assert_int_equal(got, freed);
}

static void expect_refusal(const char *name, bool force, enum clinfer_status status, const char *text) {
    uint64_t freed;
    assert_int_equal(try_to_remove(name, force, &freed), status);
    assert_int_equal(freed, 0);
    assert_message(text);
}

static void prune(bool all, size_t freed) {
    struct ci_removal removal;
    uint64_t got;
    assert_ok(ci_removal_prune(&hub_settings, all, &removal));
    assert_ok(ci_removal_do(&removal, &got));
    snprintf(notes, sizeof notes, "%s", removal.notes ? removal.notes : "");
    ci_removal_free(&removal);
    assert_int_equal(got, freed);
}

/* ---- the Hub's cache ---- */

static void test_the_last_model_takes_the_repo_with_it(void **state) {
    (void)state;
    hub_blob("u--r", HUB_COMMIT, "sub/" FILE_Q4, HUB_DIGEST("a"), 1000);
    hub_blob("u--r", HUB_COMMIT, "tokenizer.json", HUB_DIGEST("b"), 10);
    hub_ref("u--r", "main", HUB_COMMIT);
    hub_ref("u--r", "refs/pr/1", HUB_COMMIT);
    hub_put(REPO "/trees/" HUB_COMMIT ".json", "{}");
    hub_put(REPO "/.no_exist/" HUB_COMMIT "/sub/config.json", "");
    hub_put("hub/.locks/models--u--r/" HUB_DIGEST("a") ".lock", "");
    hub_put("hub/version.txt", "1");
    remove_model("u/r:Q4_K_M", 1010);
    assert_false(hub_is(REPO));
    assert_int_equal(hub_count("hub"), 2);
}

static void test_other_quants_stay_with_what_they_need(void **state) {
    (void)state;
    hub_blob("u--r", HUB_COMMIT, FILE_Q4, HUB_DIGEST("a"), 1000);
    hub_blob("u--r", HUB_COMMIT, "tiny-Q8_0.gguf", HUB_DIGEST("b"), 2000);
    hub_blob("u--r", HUB_COMMIT, "tokenizer.json", HUB_DIGEST("c"), 10);
    hub_ref("u--r", "main", HUB_COMMIT);
    remove_model("u/r:Q4_K_M", 1000);
    assert_false(hub_is(SNAPSHOT "/" FILE_Q4) || hub_is(BLOB("a")));
    assert_true(hub_is(SNAPSHOT "/tiny-Q8_0.gguf") && hub_is(SNAPSHOT "/tokenizer.json") && hub_is(REPO "/refs/main"));
    hub_blob("u--r", HUB_COMMIT, "mmproj.gguf", HUB_DIGEST("d"), 7);
    remove_model("u/r:Q8_0", 2000);
    assert_true(hub_is(SNAPSHOT "/mmproj.gguf") && hub_is(SNAPSHOT "/tokenizer.json") && hub_is(REPO "/refs/main"));
}

/* The same bytes leave all snapshots; another version stays, with its refs. */
static void test_other_snapshots(void **state) {
    (void)state;
    hub_blob("u--r", HUB_COMMIT, FILE_Q4, HUB_DIGEST("a"), 1000);
    hub_blob("u--r", HUB_OLDER, "tiny-Q8_0.gguf", HUB_DIGEST("b"), 2000);
    hub_link(OLDER "/" FILE_Q4, "../../blobs/" HUB_DIGEST("a"));
    hub_ref("u--r", "main", HUB_COMMIT);
    hub_ref("u--r", "v1", HUB_OLDER);
    remove_model("u/r:Q4_K_M", 1000);
    assert_false(hub_is(SNAPSHOT) || hub_is(REPO "/refs/main") || hub_is(OLDER "/" FILE_Q4));
    assert_true(hub_is(OLDER "/tiny-Q8_0.gguf") && hub_is(BLOB("b")) && hub_is(REPO "/refs/v1"));
    hub_blob("u--r", HUB_COMMIT, "tiny-Q8_0.gguf", HUB_DIGEST("c"), 3000); /* a newer version */
    hub_ref("u--r", "main", HUB_COMMIT);
    remove_model("u/r:Q8_0", 3000);
    assert_true(hub_is(OLDER "/tiny-Q8_0.gguf") && hub_is(BLOB("b")));
    assert_false(hub_is(SNAPSHOT));
}

static void test_all_parts_go(void **state) {
    (void)state;
    hub_blob("u--r", HUB_COMMIT, "m-Q4_0-00001-of-00003.gguf", HUB_DIGEST("a"), 100);
    hub_blob("u--r", HUB_COMMIT, "m-Q4_0-00003-of-00003.gguf", HUB_DIGEST("c"), 300);
    hub_link(SNAPSHOT "/m-Q4_0-00002-of-00003.gguf", "../../blobs/" HUB_DIGEST("b"));
    hub_blob("u--r", HUB_COMMIT, "n-Q8_0-00001-of-00001.gguf", HUB_DIGEST("d"), 400);
    remove_model("u/r:Q4_0", 400); /* incomplete, and removed all the same */
    assert_int_equal(hub_count(REPO), 2);
    remove_model("u/r:Q8_0", 400);
    assert_false(hub_is(REPO));
}

static void test_folders_of_safetensors_go_with_their_companions(void **state) {
    (void)state;
    hub_blob("u--r", HUB_COMMIT, "model-00001-of-00002.safetensors", HUB_DIGEST("a"), 100);
    hub_blob("u--r", HUB_COMMIT, "model-00002-of-00002.safetensors", HUB_DIGEST("b"), 200);
    hub_blob("u--r", HUB_COMMIT, "model.safetensors.index.json", HUB_DIGEST("c"), 3);
    hub_blob("u--r", HUB_COMMIT, "config.json", HUB_DIGEST("d"), 4);
    hub_blob("u--r", HUB_COMMIT, "pytorch_model.bin", HUB_DIGEST("e"), 500);
    remove_model("u/r", 303); /* config.json belongs to the other weights as well */
    assert_true(hub_is(SNAPSHOT "/config.json") && hub_is(SNAPSHOT "/pytorch_model.bin"));
    hub_blob("u--r", HUB_COMMIT, "model.safetensors", HUB_DIGEST("a"), 100);
    hub_remove(SNAPSHOT "/pytorch_model.bin");
    hub_remove(BLOB("e"));
    remove_model("u/r", 104);
    assert_false(hub_is(REPO));
}

/* Two names of one blob: it stays with the second. */
static void test_a_blob_stays_while_a_link_needs_it(void **state) {
    (void)state;
    hub_blob("u--r", HUB_COMMIT, "a-Q4_0.gguf", HUB_DIGEST("a"), 100);
    hub_link(SNAPSHOT "/b-Q8_0.gguf", "a-Q4_0.gguf"); /* through the other one */
    remove_model("u/r:Q4_0", 0);
    assert_true(hub_is(BLOB("a")));
    char target[200];
    ssize_t length = readlink(hub_path(SNAPSHOT "/b-Q8_0.gguf"), target, sizeof target - 1);
    assert_true(length > 0);
    target[length] = 0;
    assert_string_equal(target, "../../blobs/" HUB_DIGEST("a"));
    remove_model("u/r:Q8_0", 100);
    assert_false(hub_is(REPO));
}

static void test_shared_blobs_stay(void **state) {
    (void)state;
    hub_put("hub/blobs/.huggingface-shared-blobs", "1\n");
    hub_put_bytes("hub/blobs/ee/" HUB_DIGEST("e"), 1000);
    hub_link(BLOB("a"), "../../blobs/ee/" HUB_DIGEST("e"));
    hub_link(SNAPSHOT "/" FILE_Q4, "../../blobs/" HUB_DIGEST("a"));
    remove_model("u/r:Q4_K_M", 0);
    assert_false(hub_is(REPO));
    assert_true(hub_is("hub/blobs/ee/" HUB_DIGEST("e")));
    assert_non_null(strstr(notes, "share"));
    /* and what another repo's blobs/ leads to */
    hub_blob("u--r", HUB_COMMIT, FILE_Q4, HUB_DIGEST("a"), 1000);
    hub_link("hub/models--u--other/blobs/" HUB_DIGEST("a"), "../../models--u--r/blobs/" HUB_DIGEST("a"));
    hub_link("hub/models--u--other/snapshots/" HUB_COMMIT "/" FILE_Q4, "../../blobs/" HUB_DIGEST("a"));
    remove_model("u/r:Q4_K_M", 0);
    assert_true(hub_is(BLOB("a")));
    assert_non_null(strstr(notes, "u/other needs it"));
}

/* A hard link is another name of the same bytes: none of them is free. */
static void test_hard_links_free_nothing(void **state) {
    (void)state;
    hub_blob("u--r", HUB_COMMIT, FILE_Q4, HUB_DIGEST("a"), 1000);
    hub_folder("hub/models--u--other/blobs");
    hub_put("hub/models--u--other/blobs/x", "");
    assert_int_equal(link(hub_path(BLOB("a")), hub_path("hub/models--u--other/blobs/" HUB_DIGEST("a"))), 0);
    remove_model("u/r:Q4_K_M", 0);
    assert_false(hub_is(REPO));
    assert_true(hub_is("hub/models--u--other/blobs/" HUB_DIGEST("a")));
}

static void test_links_out_of_the_cache_are_not_followed(void **state) {
    (void)state;
    hub_put_bytes("outside/real.gguf", 1000);
    hub_link(SNAPSHOT "/" FILE_Q4, hub_path("outside/real.gguf"));
    remove_model("u/r:Q4_K_M", 0);
    assert_true(hub_is("outside/real.gguf"));
    assert_false(hub_is(REPO));
    /* a blob elsewhere, by its digest */
    hub_put_bytes("outside/blobs/" HUB_DIGEST("a"), 1000);
    hub_link(BLOB("a"), hub_path("outside/blobs/" HUB_DIGEST("a")));
    hub_link(SNAPSHOT "/" FILE_Q4, "../../blobs/" HUB_DIGEST("a"));
    remove_model("u/r:Q4_K_M", 0);
    assert_true(hub_is("outside/blobs/" HUB_DIGEST("a")));
    assert_false(hub_is(REPO));
    /* a whole repo on another disk */
    hub_put_bytes("outside/repo/snapshots/" HUB_COMMIT "/" FILE_Q4, 1000);
    hub_link(REPO, hub_path("outside/repo"));
    expect_refusal("u/r:Q4_K_M", true, CLINFER_REFUSED, "is a link out of");
    assert_true(hub_is("outside/repo/snapshots/" HUB_COMMIT "/" FILE_Q4));
}

static void test_caches_without_links(void **state) {
    (void)state;
    hub_put_bytes(SNAPSHOT "/" FILE_Q4, 1000);
    hub_put_bytes(OLDER "/" FILE_Q4, 1000); /* a copy */
    hub_ref("u--r", "main", HUB_COMMIT);
    remove_model("u/r:Q4_K_M", 1000);
    assert_true(hub_is(OLDER "/" FILE_Q4));
    assert_false(hub_is(SNAPSHOT) || hub_is(REPO "/refs"));
}

/* What somebody is fetching stays, whoever it is. */
static void test_locks_are_respected(void **state) {
    (void)state;
    uint64_t freed;
    hub_blob("u--r", HUB_COMMIT, FILE_Q4, HUB_DIGEST("a"), 1000);
    hub_put("hub/.locks/models--u--r/" HUB_DIGEST("b") ".lock", "");
    hub_put_bytes(REPO "/blobs/" HUB_DIGEST("b") ".clinfer.incomplete", 10);
    static const char *const held[] = {"hub/.locks/models--u--r/" HUB_DIGEST("b") ".lock",
                                       REPO "/blobs/" HUB_DIGEST("b") ".clinfer.incomplete"};
    for (int i = 0; i < 2; i++) {
        int lock = open(hub_path(held[i]), O_RDWR);
        assert_int_equal(flock(lock, LOCK_EX), 0);
        expect_refusal("u/r:Q4_K_M", true, CLINFER_IO, "another process is fetching");
        prune(true, 0);
        assert_non_null(strstr(notes, "u/r is left alone"));
        assert_true(hub_is(held[1]));
        close(lock);
    }
    assert_ok(try_to_remove("u/r:Q4_K_M", false, &freed));
    assert_int_equal(freed, 1000);
    assert_true(hub_is(held[1]) && hub_is(REPO "/snapshots")); /* huggingface_hub wants the folder */
    prune(false, 10);
    assert_false(hub_is(REPO));
}

/* ---- other stores, and what was placed by hand ---- */

static void test_other_programs_stores_are_refused(void **state) {
    (void)state;
    hub_put_bytes(".lmstudio/models/a/b/c-Q4_0.gguf", 10);
    hub_put(".ollama/models/manifests/registry.ollama.ai/library/tiny/1b",
            "{\"layers\":[{\"mediaType\":\"application/vnd.ollama.image.model\",\"digest\":\"sha256:" HUB_DIGEST(
                "a") "\",\"size\":10}]}");
    expect_refusal("a/b:Q4_0", true, CLINFER_REFUSED, "LM Studio's store");
    expect_refusal("ollama:tiny:1b", true, CLINFER_REFUSED, "`ollama rm tiny:1b`");
    assert_int_equal(hub_count(".lmstudio"), 1);
}

static void test_what_is_placed_by_hand_needs_force(void **state) {
    (void)state;
    uint64_t freed;
    hub_put_bytes("hub/mine/wget.gguf", 10);
    hub_put_bytes("models/own/a-00001-of-00002.gguf", 20);
    hub_put_bytes("models/own/a-00002-of-00002.gguf", 30);
    hub_put_bytes("models/own/b.gguf", 40);
    hub_put_bytes("outside/x.gguf", 50);
    hub_put_bytes("outside/folder/model.safetensors", 60);
    hub_put("outside/folder/config.json", "{}");
    hub_link("models/linked.gguf", hub_path("outside/x.gguf"));
    hub_link("models/folder", hub_path("outside/folder"));
    hub_put_bytes("models/weights/model.safetensors", 70);
    hub_put("models/weights/config.json", "{}");
    hub_put("models/weights/notes", "mine");
    expect_refusal("wget.gguf", false, CLINFER_REFUSED, "--force");
    expect_refusal("own/a-00001-of-00002.gguf", false, CLINFER_REFUSED, "by hand");
    assert_ok(try_to_remove("wget.gguf", true, &freed));
    assert_int_equal(freed, 10);
    assert_false(hub_is("hub/mine"));
    assert_ok(try_to_remove("own/a-00001-of-00002.gguf", true, &freed));
    assert_int_equal(freed, 50);
    assert_true(hub_is("models/own/b.gguf"));
    assert_ok(try_to_remove("linked.gguf", true, &freed));
    assert_ok(try_to_remove("folder", true, &freed));
    assert_int_equal(freed, 0);
    assert_true(hub_is("outside/x.gguf") && hub_is("outside/folder/model.safetensors") && !hub_is("models/folder"));
    hub_put_bytes("models2/y.gguf", 80);
    hub_link("models/beside", "../models2");
    expect_refusal("beside/y.gguf", true, CLINFER_REFUSED, "is a link out of");
    assert_true(hub_is("models2/y.gguf"));
    assert_ok(try_to_remove("weights", true, &freed));
    assert_int_equal(freed, 70);
    assert_int_equal(hub_count("models/weights"), 2);
}

/* ---- prune ---- */

static void test_prune_takes_only_what_is_of_no_use(void **state) {
    (void)state;
    hub_blob("u--r", HUB_COMMIT, FILE_Q4, HUB_DIGEST("a"), 1000);
    hub_ref("u--r", "main", HUB_COMMIT);
    hub_link(OLDER "/" FILE_Q4, "../../blobs/" HUB_DIGEST("f"));
    hub_link(SNAPSHOT "/away.gguf", "/nowhere/at/all");
    hub_ref("u--r", "v1", HUB_OLDER);
    hub_put_bytes(BLOB("b"), 200); /* unused */
    hub_put_bytes(BLOB("c") ".clinfer.incomplete", 10);
    hub_put_bytes(BLOB("c") ".clinfer.state.incomplete", 5);
    hub_put_bytes(BLOB("c") ".1234abcd.incomplete", 7); /* huggingface_hub's */
    hub_put_bytes(BLOB("d") ".downloadInProgress", 8);  /* llama.cpp's */
    hub_put_bytes("models/x.gguf.clinfer.incomplete", 20);
    hub_put_bytes("models/x.gguf", 30);
    hub_link("models/gone.gguf", "nowhere");
    prune(false, 35);
    assert_false(hub_is(OLDER) || hub_is(REPO "/refs/v1") || hub_is("models/x.gguf.clinfer.incomplete"));
    assert_true(hub_is(BLOB("b")) && hub_is(BLOB("c") ".1234abcd.incomplete") && hub_is(SNAPSHOT "/away.gguf"));
    assert_true(hub_is(BLOB("d") ".downloadInProgress") && hub_is("models/gone.gguf") && hub_is(REPO "/refs/main"));
    assert_non_null(strstr(notes, "away.gguf leads out of the cache"));
    prune(true, 200);
    assert_false(hub_is(BLOB("b")) || hub_is(SNAPSHOT "/away.gguf"));
    assert_true(hub_is(SNAPSHOT "/" FILE_Q4) && hub_is(BLOB("a")) && hub_is("models/x.gguf"));
    prune(true, 0);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, hub_folder_set, hub_folder_unset)

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(test_the_last_model_takes_the_repo_with_it),
        TEST(test_other_quants_stay_with_what_they_need),
        TEST(test_other_snapshots),
        TEST(test_all_parts_go),
        TEST(test_folders_of_safetensors_go_with_their_companions),
        TEST(test_a_blob_stays_while_a_link_needs_it),
        TEST(test_shared_blobs_stay),
        TEST(test_hard_links_free_nothing),
        TEST(test_links_out_of_the_cache_are_not_followed),
        TEST(test_caches_without_links),
        TEST(test_locks_are_respected),
        TEST(test_other_programs_stores_are_refused),
        TEST(test_what_is_placed_by_hand_needs_force),
        TEST(test_prune_takes_only_what_is_of_no_use),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
