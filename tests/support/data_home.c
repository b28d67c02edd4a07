#define _GNU_SOURCE
#include "support/data_home.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <clinfer.h>

#include "profile/profile.h"
#include "support/process.h"

char data_home_messages[4096];

static void listen(void *user, enum clinfer_log_level level, const char *message) {
    (void)user;
    (void)level;
    size_t used = strlen(data_home_messages);
    snprintf(data_home_messages + used, sizeof data_home_messages - used, "%s\n", message);
}

int data_home_set(void **state) {
    static int number;
    char folder[256];
    (void)state;
    snprintf(folder, sizeof folder, "%s/home%d", process_folder(), number++);
    data_home_messages[0] = '\0';
    clinfer_log_to(listen, NULL);
    return setenv("XDG_DATA_HOME", folder, 1);
}

int data_home_unset(void **state) {
    (void)state;
    clinfer_log_to(NULL, NULL);
    return 0;
}

int data_home_count(const char *below) {
    char *folder = ci_profile_folder(), command[512];
    snprintf(command, sizeof command, "ls -A '%s/%s' | wc -l", folder, below);
    FILE *pipe = popen(command, "r");
    int count = -1;
    assert_true(pipe && fscanf(pipe, "%d", &count) == 1);
    pclose(pipe);
    free(folder);
    return count;
}
