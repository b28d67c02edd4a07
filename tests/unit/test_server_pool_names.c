/* Which models a server has (server/pool.h), and which one a name means. */
#define _GNU_SOURCE
#include "support/hub_folder.h"
#include "support/imagined_pool.h"

static atomic_int released;
static void release(void *owner) {
    (void)owner;
    atomic_fetch_add(&released, 1);
}

static void test_a_new_list_leaves_what_is_the_same(void **state) {
    (void)state;
    static const char *const alias[] = {"the-first"};
    struct ci_pool_options options = usual;
    struct ci_pool_entry entries[] = {entry_of("a"), entry_of("b"), entry_of("c")};
    struct ci_pool *pool;
    struct ci_pool_info *list;
    struct ci_pool_model *busy, *model;
    size_t count;
    for (int i = 0; i < 3; i++) entries[i].release = release;
    entries[0].aliases = alias;
    entries[0].alias_count = 1;
    options.entries = entries;
    options.count = 3;
    options.methods = &methods;
    atomic_store(&opened, 0);
    assert_ok(ci_pool_create(&options, &pool));
    assert_ok(ci_pool_take(pool, "the-first", NULL, NULL, &busy));
    assert_string_equal(ci_pool_name(busy), "a");
    use(pool, "b", (double)NAN);
    use(pool, "c", (double)NAN);
    struct ci_pool_entry later[] = {entries[1], entries[2], entry_of("slow")};
    later[1].version = 2;
    assert_ok(ci_pool_set(pool, later, 3));
    assert_int_equal(ci_pool_take(pool, "a", NULL, NULL, &model), CLINFER_NOT_FOUND);
    assert_ok(ci_pool_list(pool, &list, &count));
    assert_int_equal(count, 3);
    assert_string_equal(list[0].name, "b");
    assert_int_equal(list[0].state, CI_POOL_LOADED);
    assert_int_equal(list[0].facts.vocabulary, 7);
    assert_string_equal(list[1].name, "c");
    assert_string_equal(list[2].name, "slow");
    free(list);
    use(pool, "c", (double)NAN); /* the new one */
    assert_int_equal(atomic_load(&opened), 4);
    ci_pool_give_back(pool, busy, (double)NAN);
    double until = ci_now() + 10;
    while (atomic_load(&released) < 3 && ci_now() < until) usleep(1000);
    assert_int_equal(atomic_load(&released), 3); /* the new b, the old c, a */
    ci_pool_destroy(pool);
    assert_int_equal(atomic_load(&released), 5);
}

static void test_any_name_means_the_only_model(void **state) {
    (void)state;
    struct ci_pool_options options = usual;
    struct ci_pool_entry entry = entry_of("a");
    struct ci_pool *pool;
    struct ci_pool_model *model;
    options.entries = &entry;
    options.count = 1;
    options.methods = &methods;
    assert_ok(ci_pool_create(&options, &pool));
    static const char *const said[] = {"gpt-4", "", NULL, "a:latest", "A"};
    for (int i = 0; i < 5; i++) {
        assert_ok(ci_pool_take(pool, said[i], NULL, NULL, &model));
        assert_string_equal(ci_pool_name(model), "a");
        ci_pool_give_back(pool, model, (double)NAN);
    }
    /* To be answered, and not to be changed. */
    struct ci_pool_info *info;
    for (int i = 0; i < 3; i++) {
        assert_int_equal(ci_pool_find(pool, said[i], &info), CLINFER_NOT_FOUND);
        assert_int_equal(ci_pool_load(pool, said[i]), CLINFER_NOT_FOUND);
        assert_int_equal(ci_pool_unload(pool, said[i]), CLINFER_NOT_FOUND);
        assert_ok(ci_pool_look(pool, said[i], &model, &info));
        assert_string_equal(info->name, "a");
        ci_pool_looked(pool, model);
        free(info);
    }
    assert_int_equal(state_of(pool, "A"), CI_POOL_LOADED);
    ci_pool_destroy(pool);
}

/* Of the machine only what is listed can be loaded, by its name and never by a path. */
static void test_models_of_the_machine_are_loaded_by_name(void **state) {
    (void)state;
    struct ci_pool_options options = usual;
    struct ci_pool *pool;
    struct ci_pool_info *list;
    struct ci_pool_model *model;
    size_t count;
    hub_put(".local/share/clinfer/models/first.gguf", "GGUF");
    hub_put("other.gguf", "GGUF");
    assert_int_equal(chdir(hub_path(".local/share/clinfer/models")), 0);
    options.of_machine = true;
    options.methods = &methods;
    assert_ok(ci_pool_create(&options, &pool));
    assert_ok(ci_pool_list(pool, &list, &count));
    assert_int_equal(count, 1);
    assert_string_equal(list[0].name, "first.gguf");
    assert_int_equal(list[0].bytes, 4);
    free(list);
    use(pool, "first.gguf", (double)NAN);
    assert_ok(ci_pool_take(pool, "first", NULL, NULL, &model));
    assert_string_equal(ci_pool_name(model), "first.gguf");
    ci_pool_give_back(pool, model, (double)NAN);
    assert_int_equal(ci_pool_take(pool, hub_path("other.gguf"), NULL, NULL, &model), CLINFER_NOT_FOUND);
    assert_int_equal(ci_pool_take(pool, "../../../../other.gguf", NULL, NULL, &model), CLINFER_NOT_FOUND);
    assert_int_equal(ci_pool_take(pool, "nobody/nothing", NULL, NULL, &model), CLINFER_NOT_FOUND);
    assert_int_equal(chdir("/"), 0);
    ci_pool_destroy(pool);
}

/* "b" is an encoder; what writes text is opened once more, and goes with what it was made of. */
static void test_vectors_are_made_by_a_form_of_its_own(void **state) {
    (void)state;
    struct ci_pool *pool = make(usual);
    struct ci_pool_model *model, *writes, *vectors;
    struct ci_pool_info *list;
    size_t count;
    assert_ok(ci_pool_take_vectors(pool, "b", NULL, NULL, &vectors));
    assert_ok(ci_pool_take(pool, "b", NULL, NULL, &model));
    assert_ptr_equal(model, vectors);
    ci_pool_give_back(pool, model, (double)NAN);
    ci_pool_give_back(pool, vectors, (double)NAN);
    assert_ok(ci_pool_take(pool, "a", NULL, NULL, &writes));
    for (int i = 0; i < 2; i++) {
        assert_ok(ci_pool_take_vectors(pool, "a", NULL, NULL, &vectors));
        assert_ptr_not_equal(writes, vectors);
        assert_string_equal(ci_pool_name(vectors), "a");
        ci_pool_give_back(pool, vectors, (double)NAN);
    }
    assert_int_equal(atomic_load(&opened), 3);
    assert_ok(ci_pool_list(pool, &list, &count));
    assert_int_equal(count, NAMES);
    free(list);
    ci_pool_give_back(pool, writes, (double)NAN);
    assert_ok(ci_pool_unload(pool, "a"));
    double until = ci_now() + 10;
    while (atomic_load(&closed) < 2 && ci_now() < until) usleep(1000);
    assert_int_equal(atomic_load(&closed), 2);
    assert_ok(ci_pool_take_vectors(pool, "a", NULL, NULL, &vectors));
    assert_ok(ci_pool_set(pool, NULL, 0)); /* while somebody has it */
    ci_pool_give_back(pool, vectors, (double)NAN);
    ci_pool_destroy(pool);
    assert_int_equal(atomic_load(&open_now), 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_new_list_leaves_what_is_the_same),
        cmocka_unit_test(test_any_name_means_the_only_model),
        cmocka_unit_test_setup_teardown(test_models_of_the_machine_are_loaded_by_name, hub_folder_set,
                                        hub_folder_unset),
        cmocka_unit_test(test_vectors_are_made_by_a_form_of_its_own),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
