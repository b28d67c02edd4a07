#define _GNU_SOURCE
#include "support/layer.h"

#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

int (*layer_calls)(void), (*layer_alive)(void);
const char *(*layer_failed)(void);
void (*layer_arm)(int call, int error);

bool layer_load(void) {
    char path[512];
    ssize_t length = readlink("/proc/self/exe", path, sizeof path - 32);
    path[length > 0 ? length : 0] = '\0';
    char *slash = strrchr(path, '/');
    if (!slash) return false;
    memcpy(slash, "/fake_layer.so", sizeof "/fake_layer.so");
    void *layer = dlopen(path, RTLD_NOW);
    if (!layer) {
        fprintf(stderr, "%s\n", dlerror());
        return false;
    }
    setenv("OPENCL_LAYERS", path, 1);
    *(void **)&layer_calls = dlsym(layer, "fake_layer_calls");
    *(void **)&layer_alive = dlsym(layer, "fake_layer_alive");
    *(void **)&layer_failed = dlsym(layer, "fake_layer_failed");
    *(void **)&layer_arm = dlsym(layer, "fake_layer_arm");
    return layer_calls && layer_alive && layer_failed && layer_arm;
}
