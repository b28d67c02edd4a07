#define _GNU_SOURCE
#include "support/folder.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static void must(int fine, const char *what) {
    if (fine) return;
    perror(what);
    exit(1);
}

static FILE *open_in(const char *path, const char *file, const char *mode) {
    char *full;
    must(asprintf(&full, "%s/%s", path, file) > 0, file);
    FILE *stream = fopen(full, mode);
    must(stream != NULL, full);
    free(full);
    return stream;
}

char *folder_read(const char *path, const char *file, size_t *size) {
    FILE *stream = open_in(path, file, "rb");
    must(fseek(stream, 0, SEEK_END) == 0, file);
    *size = (size_t)ftell(stream);
    rewind(stream);
    char *data = calloc(1, *size + 1);
    must(data && fread(data, 1, *size, stream) == *size, file);
    fclose(stream);
    return data;
}

void folder_write(const char *path, const char *file, const void *data, size_t size) {
    FILE *stream = open_in(path, file, "wb");
    must(fwrite(data, 1, size, stream) == size && fclose(stream) == 0, file);
}

char *folder_copy(const char *source) {
    char *path = strdup("/tmp/clinfer-folder-XXXXXX");
    must(path && mkdtemp(path), "mkdtemp");
    DIR *folder = opendir(source);
    must(folder != NULL, source);
    for (struct dirent *entry; (entry = readdir(folder));) {
        size_t size;
        if (entry->d_name[0] == '.') continue;
        char *data = folder_read(source, entry->d_name, &size);
        folder_write(path, entry->d_name, data, size);
        free(data);
    }
    closedir(folder);
    return path;
}

void folder_remove(char *path) {
    DIR *folder = opendir(path);
    must(folder != NULL, path);
    for (struct dirent *entry; (entry = readdir(folder));) {
        char *inner;
        if (entry->d_name[0] == '.') continue;
        must(asprintf(&inner, "%s/%s", path, entry->d_name) > 0, path);
        if (unlink(inner) == 0)
            free(inner);
        else
            folder_remove(inner);
    }
    closedir(folder);
    must(rmdir(path) == 0, path);
    free(path);
}

void folder_restore(const char *path, const char *source, const char *file) {
    char *original;
    size_t size;
    must(asprintf(&original, "%s/%s", source, file) > 0, file);
    if (access(original, F_OK) == 0) {
        char *data = folder_read(source, file, &size);
        folder_write(path, file, data, size);
        free(data);
    } else {
        folder_patch(path, file, NULL, NULL);
    }
    free(original);
}

static size_t header_bytes(const char *data) {
    size_t length = 0;
    for (int i = 0; i < 8; i++) length |= (size_t)(unsigned char)data[i] << (8 * i);
    return length;
}

int folder_patch(const char *path, const char *file, const char *find, const char *put) {
    size_t size, dot = strlen(file) > 12 ? strlen(file) - 12 : 0;
    if (!put) {
        char *full;
        must(asprintf(&full, "%s/%s", path, file) > 0 && unlink(full) == 0, file);
        free(full);
    } else if (!find) {
        folder_write(path, file, put, strlen(put));
    }
    if (!put || !find) return 1;
    char *data = folder_read(path, file, &size);
    int header = strcmp(file + dot, ".safetensors") == 0;
    char *at = memmem(data, size, find, strlen(find));
    if (at) {
        size_t before = (size_t)(at - data), behind = size - before - strlen(find), length = strlen(put);
        char *changed = malloc(size + length);
        must(changed != NULL, file);
        memcpy(changed, data, before);
        memcpy(changed + before, put, length);
        memcpy(changed + before + length, at + strlen(find), behind);
        size_t bytes = header ? header_bytes(data) - strlen(find) + length : 0;
        for (int i = 0; header && i < 8; i++) changed[i] = (char)(bytes >> (8 * i));
        folder_write(path, file, changed, before + length + behind);
        free(changed);
    }
    free(data);
    return at != NULL;
}
