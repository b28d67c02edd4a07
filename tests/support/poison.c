#include "support/poison.h"

#include <dirent.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/file.h"
#include "device/kernels.h"
#include "support/process.h"

static const char *folder(void) {
    static char path[512];
    snprintf(path, sizeof path, "%s/poison", process_folder());
    return path;
}

void poison(const char *name, const char *from, const char *to) {
    char *text, path[1024];
    unsetenv("CLINFER_KERNELS");
    assert_int_equal(ci_kernel_source_load(name, &text), 0);
    size_t most = strlen(text) + 16 * (strlen(to) + 1), used = 0;
    char *out = calloc(1, most);
    assert_non_null(out);
    int found = 0;
    for (const char *at = text; *at;) {
        bool here = strncmp(at, from, strlen(from)) == 0;
        const char *what = here ? to : at;
        size_t length = here ? strlen(to) : 1;
        assert_true(used + length < most);
        memcpy(out + used, what, length);
        used += length;
        at += here ? strlen(from) : 1;
        found += here;
    }
    if (found == 0) fail_msg("%s does not have \"%s\"", name, from);
    snprintf(path, sizeof path, "%s/%s", folder(), name);
    assert_int_equal(ci_file_write(path, out, used), 0);
    setenv("CLINFER_KERNELS", folder(), 1);
    free(out);
    free(text);
}

void poison_end(void) {
    unsetenv("CLINFER_KERNELS");
    DIR *directory = opendir(folder());
    if (!directory) return;
    for (struct dirent *entry; (entry = readdir(directory));) {
        char path[1024];
        snprintf(path, sizeof path, "%s/%s", folder(), entry->d_name);
        if (entry->d_name[0] != '.') unlink(path);
    }
    closedir(directory);
}

void poison_fresh_data(void) {
    static int number;
    char path[512];
    snprintf(path, sizeof path, "%s/data%d", process_folder(), number++);
    setenv("XDG_DATA_HOME", path, 1);
}
