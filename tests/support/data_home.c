#define _GNU_SOURCE
#include "support/data_home.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <clinfer.h>

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
