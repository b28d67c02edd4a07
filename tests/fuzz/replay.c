/* Runs a fuzz target over its recorded inputs, without libFuzzer: what once was found stays mended. Linked with one
 * fuzz_<name>.c as replay_<name>; reads every file of tests/fuzz/corpus/<name>. Prints TAP, one test; the input at
 * work is named before it runs, so that a crash says which it was. */
#include <dirent.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* malloc of exactly the size, so that AddressSanitizer sees the first byte beyond it. */
static int replay(const char *path) {
    FILE *file = fopen(path, "rb");
    if (!file || fseek(file, 0, SEEK_END) != 0) {
        perror(path);
        if (file) fclose(file);
        return -1;
    }
    long size = ftell(file);
    rewind(file);
    uint8_t *data = malloc(size > 0 ? (size_t)size : 1);
    int result = -1;
    if (data && size >= 0 && fread(data, 1, (size_t)size, file) == (size_t)size) {
        printf("# %s\n", path);
        fflush(stdout);
        LLVMFuzzerTestOneInput(data, (size_t)size);
        result = 0;
    } else {
        perror(path);
    }
    free(data);
    fclose(file);
    return result;
}

int main(int count, char **arguments) {
    const char *name = count > 0 ? strrchr(arguments[0], '/') : NULL;
    name = name ? name + 1 : arguments[0];
    if (strncmp(name, "replay_", 7) == 0) name += 7;
    char folder[256];
    snprintf(folder, sizeof folder, "tests/fuzz/corpus/%s", name);
    printf("1..1\n");
    DIR *directory = opendir(folder);
    if (!directory) {
        perror(folder);
        printf("not ok 1 - replay of %s\n", name);
        return 1;
    }
    int inputs = 0, failed = 0;
    for (const struct dirent *entry; (entry = readdir(directory)) != NULL;) {
        if (entry->d_name[0] == '.') continue;
        char path[1024];
        snprintf(path, sizeof path, "%s/%s", folder, entry->d_name);
        inputs++;
        failed += replay(path) != 0;
    }
    closedir(directory);
    int bad = failed > 0 || inputs == 0;
    printf("%sok 1 - replay of %d inputs of %s\n", bad ? "not " : "", inputs, name);
    return bad;
}
