/* Out of memory while a Hub is asked: each allocation fails in turn, with what jansson and libcurl allocate for
 * themselves as it is. Nothing is lost, and the next request is as the undisturbed one. */
#define _GNU_SOURCE
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "hub/hub.h"
#include "support/fail_each.h"
#include "support/failing_malloc.h"
#include "support/hub_server.h"

enum { MOST = 400 };

static enum clinfer_status read_settings(char text[FAIL_EACH_TEXT]) {
    struct ci_hub_settings settings;
    enum clinfer_status status = ci_hub_settings_read(&settings);
    if (status == CLINFER_OK)
        snprintf(text, FAIL_EACH_TEXT, "%s %s %s %d", settings.endpoint, settings.cache,
                 settings.token ? settings.token : "no token", settings.models != NULL);
    ci_hub_settings_free(&settings);
    return status;
}

/* Settings as they are, and whoever asks then. */
static enum clinfer_status with_hub(char text[FAIL_EACH_TEXT],
                                    enum clinfer_status (*ask)(struct ci_hub *hub, char text[FAIL_EACH_TEXT])) {
    struct ci_hub_settings settings;
    struct ci_hub hub = {.settings = &settings};
    enum clinfer_status status = ci_hub_settings_read(&settings);
    settings.first_pause = 0;
    if (status == CLINFER_OK) status = ci_fetcher_create(&hub.fetcher);
    if (status == CLINFER_OK) status = ask(&hub, text);
    ci_fetcher_destroy(hub.fetcher);
    ci_hub_settings_free(&settings);
    return status;
}

static enum clinfer_status get_tree(struct ci_hub *hub, char text[FAIL_EACH_TEXT]) {
    struct ci_hub_tree tree;
    enum clinfer_status status = ci_hub_tree_get(hub, "x.pages_2.renamed_307/tiny", "feature/one", &tree);
    size_t used = 0;
    for (size_t i = 0; i < tree.count; i++)
        used +=
            (size_t)snprintf(text + used, FAIL_EACH_TEXT - used, "%s %s\n", tree.files[i].path, tree.files[i].digest);
    ci_hub_tree_free(&tree);
    return status;
}

static enum clinfer_status get_facts(struct ci_hub *hub, char text[FAIL_EACH_TEXT]) {
    struct ci_hub_facts facts;
    char *url = ci_hub_resolve_url(hub->settings, "user/tiny", "main", "tiny-Q4_K_M.gguf"), *config = NULL;
    size_t length = 0;
    enum clinfer_status status = url ? ci_hub_head(hub, url, &facts) : CLINFER_OUT_OF_MEMORY;
    if (status == CLINFER_OK) snprintf(text, FAIL_EACH_TEXT, "%s %s", facts.commit, facts.digest);
    free(url);
    url = status == CLINFER_OK ? ci_hub_resolve_url(hub->settings, "user/tiny", "main", "config.json") : NULL;
    if (url) status = ci_hub_get(hub, url, 1000, &config, &length);
    if (!url && status == CLINFER_OK) status = CLINFER_OUT_OF_MEMORY;
    free(url);
    free(config);
    return status;
}

static enum clinfer_status tree(char text[FAIL_EACH_TEXT]) { return with_hub(text, get_tree); }
static enum clinfer_status facts(char text[FAIL_EACH_TEXT]) { return with_hub(text, get_facts); }

static void test_requests(void **state) {
    (void)state;
    setenv("HF_ENDPOINT", hub_server_url("http"), 1);
    setenv("HF_TOKEN", HUB_TOKEN, 1);
    fail_each("settings", read_settings, MOST);
    fail_each("tree", tree, MOST);
    fail_each("facts", facts, MOST);
    fail_each_end();
}

int main(void) {
    static const struct CMUnitTest tests[] = {cmocka_unit_test(test_requests)};
    return cmocka_run_group_tests(tests, hub_server_start, hub_server_stop);
}
