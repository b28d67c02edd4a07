/* fake_pool.c: a queue as PoCL has it, for tests/fault/test_driver_threads.c: a mutex and a condition variable in a
 * shared object's own data, and numbers that are put there one at a time. */
#include <pthread.h>

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t wake = PTHREAD_COND_INITIALIZER;
static int held;

void fake_pool_put(int number);
int fake_pool_take(void);

void fake_pool_put(int number) {
    pthread_mutex_lock(&lock);
    held = number;
    pthread_cond_broadcast(&wake);
    pthread_mutex_unlock(&lock);
}

/* Waits for a number. */
int fake_pool_take(void) {
    pthread_mutex_lock(&lock);
    while (held == 0) pthread_cond_wait(&wake, &lock);
    int number = held;
    held = 0;
    pthread_mutex_unlock(&lock);
    return number;
}
