#include "base/array.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

bool ci_array_grow(void *array, size_t *capacity, size_t count, size_t size) {
    void *items, *moved;
    if (count < *capacity) return true;
    size_t wanted = *capacity ? *capacity * 2 : 16;
    if (count >= SIZE_MAX / 2 / size) return false;
    memcpy(&items, array, sizeof items); /* of whatever type the pointer is */
    moved = realloc(items, wanted * size);
    if (!moved) return false;
    memcpy(array, &moved, sizeof moved);
    *capacity = wanted;
    return true;
}
