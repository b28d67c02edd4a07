/* array.h: arrays that grow at their end. */
#ifndef CI_BASE_ARRAY_H
#define CI_BASE_ARRAY_H

#include <stdbool.h>
#include <stddef.h>

/* Makes room for one element more than `count` in an array of elements of `size` bytes, which begins as NULL with a
 * capacity of 0 and is its owner's to free. Takes the address of the array's pointer. false: memory is out, and all is
 * as before. */
#define ci_array_reserve(array, capacity, count) ci_array_grow((array), (capacity), (count), sizeof **(array))
bool ci_array_grow(void *array, size_t *capacity, size_t count, size_t size);

#endif
