/* hub_folder.h: a home of the test's own, in which caches and stores of models are built by hand. */
#ifndef TESTS_SUPPORT_HUB_FOLDER_H
#define TESTS_SUPPORT_HUB_FOLDER_H

#include <stdbool.h>
#include <stddef.h>

#include "hub/settings.h"

/* Setup and teardown of a test: an empty folder, HOME, no variable that says where models are. */
int hub_folder_set(void **state);
int hub_folder_unset(void **state);

extern char hub_home[64];
extern struct ci_hub_settings hub_settings; /* cache: HOME/hub, its only one; models: HOME/models */
#define HUB_COMMIT "0123456789abcdef0123456789abcdef01234567"
#define HUB_OLDER "fedcba9876543210fedcba9876543210fedcba98"
/* Digests that differ in the first digit. */
#define HUB_DIGEST(digit) digit "111111111111111111111111111111111111111111111111111111111111111"

/* All paths are below the home, folders above are made. Every failure ends the process. */
const char *hub_path(const char *path); /* whole; until the eighth call after this one */
void hub_put(const char *path, const char *text);
void hub_put_bytes(const char *path, size_t size); /* so many, zeros */
void hub_link(const char *path, const char *target);
void hub_folder(const char *path);
void hub_remove(const char *path);           /* a file or a link */
bool hub_is(const char *path);               /* something is there, be it a link that leads nowhere */
size_t hub_count(const char *path);          /* files and links below, folders not */
void hub_age(const char *path, int seconds); /* a file or folder is so much older */

/* models--REPO in HOME/hub, REPO being user--repo: a blob of so many bytes and its link in a snapshot; refs. */
void hub_blob(const char *repo, const char *commit, const char *file, const char *digest, size_t size);
void hub_ref(const char *repo, const char *ref, const char *commit);

#endif
