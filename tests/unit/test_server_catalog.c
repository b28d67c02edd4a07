/* Which models a server has by its settings (server/catalog.h): presets, folders, and both read again. */
#define _GNU_SOURCE
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "server/catalog.h"
#include "support/asserts.h"
#include "support/hub_folder.h"

static struct clinfer_router_options router;

static struct ci_pool_entry *read_all(struct ci_catalog *catalog, size_t *count) {
    struct ci_pool_entry *entries;
    router.engine.threads = 3;
    catalog->router = &router;
    assert_ok(ci_catalog_read(catalog, &entries, count));
    return entries;
}

static void free_all(struct ci_pool_entry *entries, size_t count) {
    for (size_t i = 0; i < count; i++)
        if (entries[i].release) entries[i].release(entries[i].owner);
    free(entries);
}

static void test_presets_are_sections(void **state) {
    (void)state;
    hub_put("presets.ini", "; what comes first has no section\n"
                           "version = 1\n"
                           "[*]\n"
                           "ctx-size = 64\n"
                           "  # a remark\n"
                           "[first]\r\n"
                           "hf-repo = some/repo\r\n"
                           "hf-file = a/b.gguf\r\n"
                           "alias = one,uno\r\n"
                           "keep-alive = 12\r\n"
                           "[second]\n"
                           "\t--model=/models/x.gguf \n"
                           "c = 128\n"
                           "device = cpu\n"
                           "embeddings = true\n"
                           "nobody-knows = 1\n"
                           "[user/third:Q4_0]");
    struct ci_catalog catalog = {.presets = hub_path("presets.ini")};
    size_t count;
    struct ci_pool_entry *entries = read_all(&catalog, &count);
    assert_int_equal(count, 3);
    assert_string_equal(entries[0].name, "first");
    assert_string_equal(entries[0].router.engine.model, "some/repo/a/b.gguf");
    assert_int_equal(entries[0].alias_count, 2);
    assert_string_equal(entries[0].aliases[1], "uno");
    assert_true(entries[0].keep_alive == 12);
    assert_int_equal(entries[0].router.engine.context, 64);
    assert_int_equal(entries[0].router.engine.threads, 3);
    assert_string_equal(entries[1].router.engine.model, "/models/x.gguf");
    assert_int_equal(entries[1].router.engine.context, 128);
    assert_string_equal(entries[1].router.engine.device, "cpu");
    assert_true(entries[1].router.engine.embeddings);
    assert_true(isnan(entries[1].keep_alive));
    assert_string_equal(entries[2].router.engine.model, "user/third:Q4_0");
    free_all(entries, count);
}

static void test_another_version_is_another_number(void **state) {
    (void)state;
    static const char *const texts[] = {"[a]\nc = 1\n[b]\nc = 2\n", "[a]\nc = 1\n[b]\nc = 3\n", "[a]\nc = 1\n"};
    uint64_t versions[3][2] = {{0}};
    struct ci_catalog catalog = {.presets = hub_path("presets.ini")};
    for (int i = 0; i < 3; i++) {
        size_t count;
        hub_put("presets.ini", texts[i]);
        struct ci_pool_entry *entries = read_all(&catalog, &count);
        for (size_t k = 0; k < count; k++) versions[i][k] = entries[k].version;
        free_all(entries, count);
    }
    assert_true(versions[0][0] == versions[1][0] && versions[0][0] == versions[2][0]);
    assert_true(versions[0][1] != versions[1][1]);
}

static void test_what_cannot_be_read_is_said(void **state) {
    (void)state;
    static const struct {
        const char *text, *message;
    } cases[] = {{"[a]\nctx-size = many\n", "[a]: ctx-size: 'many' is no number"},
                 {"[a\nctx-size = 1\n", "a section is \"[name]\""},
                 {"[]\n", "a section is \"[name]\""}};
    struct ci_pool_entry *entries;
    size_t count;
    struct ci_catalog catalog = {.presets = hub_path("presets.ini"), .router = &router};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        hub_put("presets.ini", cases[i].text);
        assert_int_equal(ci_catalog_read(&catalog, &entries, &count), CLINFER_BAD_FILE);
        assert_message(cases[i].message);
        assert_null(entries);
    }
    hub_remove("presets.ini");
    assert_int_equal(ci_catalog_read(&catalog, &entries, &count), CLINFER_NOT_FOUND);
    catalog = (struct ci_catalog){.folder = "/nowhere", .router = &router};
    assert_int_equal(ci_catalog_read(&catalog, &entries, &count), CLINFER_IO);
    assert_message("--models-dir /nowhere");
}

static void test_a_folder_has_files_and_folders_of_models(void **state) {
    (void)state;
    static const char *const files[] = {"m/plain.gguf",
                                        "m/split-00001-of-00002.gguf",
                                        "m/split-00002-of-00002.gguf",
                                        "m/mmproj-plain.gguf",
                                        "m/sub/b.gguf",
                                        "m/sub/a.GGUF",
                                        "m/notes.txt",
                                        "m/.hidden.gguf",
                                        "m/empty/readme"};
    struct ci_pool_entry named = {.name = "plain", .keep_alive = -1};
    for (size_t i = 0; i < sizeof files / sizeof *files; i++) hub_put(files[i], "GGUF");
    struct ci_catalog catalog = {.folder = hub_path("m")};
    size_t count;
    struct ci_pool_entry *entries = read_all(&catalog, &count);
    assert_int_equal(count, 3);
    assert_string_equal(entries[0].name, "plain");
    assert_string_equal(entries[0].router.engine.model, hub_path("m/plain.gguf"));
    assert_string_equal(entries[1].name, "split-00001-of-00002");
    assert_string_equal(entries[2].name, "sub");
    assert_string_equal(entries[2].router.engine.model, hub_path("m/sub/a.GGUF"));
    free_all(entries, count);
    catalog.named = &named;
    catalog.named_count = 1;
    entries = read_all(&catalog, &count);
    assert_int_equal(count, 3);
    assert_true(entries[0].keep_alive == -1); /* the one that was named goes first */
    free_all(entries, count);
}

static bool encodes(const struct clinfer_engine_options *options) { return !options; }
static enum clinfer_status open_one(const struct clinfer_router_options *options, bool unproven,
                                    clinfer_router **made) {
    (void)options;
    (void)unproven;
    *made = malloc(1);
    return CLINFER_OK;
}
static void describe(clinfer_router *made, struct ci_pool_facts *facts) {
    (void)made;
    (void)facts;
}
static void close_one(clinfer_router *made) { free(made); }
static const struct ci_pool_methods methods = {encodes, open_one, describe, close_one, NULL};

static void test_a_pool_reads_its_list_again(void **state) {
    (void)state;
    hub_put("presets.ini", "[a]\nmodel = x\n[b]\nmodel = y\n");
    struct ci_catalog catalog = {.presets = hub_path("presets.ini"), .router = &router};
    const struct ci_pool_options options = {.read = ci_catalog_read,
                                            .user = &catalog,
                                            .router = router,
                                            .load_on_demand = true,
                                            .keep_alive = -1,
                                            .methods = &methods};
    struct ci_pool *pool;
    struct ci_pool_model *model;
    struct ci_pool_info *list;
    size_t count;
    assert_ok(ci_pool_create(&options, &pool));
    assert_ok(ci_pool_take(pool, "a", NULL, NULL, &model));
    hub_put("presets.ini", "[b]\nmodel = y\n[c]\nmodel = z\n");
    assert_ok(ci_pool_reload(pool));
    assert_ok(ci_pool_list(pool, &list, &count));
    assert_int_equal(count, 2);
    assert_string_equal(list[0].name, "b");
    assert_string_equal(list[1].name, "c");
    assert_string_equal(list[1].path, "z");
    free(list);
    ci_pool_give_back(pool, model, (double)NAN);
    hub_put("presets.ini", "[b\n");
    assert_int_equal(ci_pool_reload(pool), CLINFER_BAD_FILE); /* and all stays as it was */
    assert_ok(ci_pool_take(pool, "c", NULL, NULL, &model));
    ci_pool_give_back(pool, model, (double)NAN);
    ci_pool_destroy(pool);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_presets_are_sections, hub_folder_set, hub_folder_unset),
        cmocka_unit_test_setup_teardown(test_another_version_is_another_number, hub_folder_set, hub_folder_unset),
        cmocka_unit_test_setup_teardown(test_what_cannot_be_read_is_said, hub_folder_set, hub_folder_unset),
        cmocka_unit_test_setup_teardown(test_a_folder_has_files_and_folders_of_models, hub_folder_set,
                                        hub_folder_unset),
        cmocka_unit_test_setup_teardown(test_a_pool_reads_its_list_again, hub_folder_set, hub_folder_unset),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
