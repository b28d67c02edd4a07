#define _GNU_SOURCE
#include "remote/retry.h"

#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>

#include "base/clock.h"
#include "base/hash.h"
#include "base/random.h"

enum { REMEMBERED = 16 };

#define SHIPPED                                                                                                        \
    { .retries = 2, .first_seconds = 1, .all_seconds = 60, .cooldown_seconds = 60 }

/* `url` is its hash; until 0: free. */
struct failed {
    uint64_t url;
    double until;
    char why[CI_RETRY_WHY_BYTES];
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER; /* of all below */
static struct ci_retry_policy policy = SHIPPED;
static struct failed failures[REMEMBERED];
static uint64_t plain[REMEMBERED]; /* hashes of URL and model; 0: free */
static unsigned plain_count;       /* that were noted; the newest are kept */
static uint64_t random_state;

void ci_retry_set_policy(const struct ci_retry_policy *wanted) {
    pthread_mutex_lock(&lock);
    policy = wanted ? *wanted : (struct ci_retry_policy)SHIPPED;
    memset(failures, 0, sizeof failures);
    memset(plain, 0, sizeof plain);
    pthread_mutex_unlock(&lock);
}

double ci_retry_delay(int failed, double spent, double retry_after) {
    pthread_mutex_lock(&lock);
    /* Where the system has none to give, the clock still differs from process to process. */
    if (!random_state && getrandom(&random_state, sizeof random_state, GRND_NONBLOCK) < 0)
        random_state = (uint64_t)(ci_now() * 1e9);
    double limit = policy.first_seconds * (double)(1 << (failed - 1));
    double delay = retry_after + limit * (double)ci_random_float(&random_state);
    bool again = failed <= policy.retries && spent + delay < policy.all_seconds;
    pthread_mutex_unlock(&lock);
    return again ? delay : -1;
}

static struct failed *find(uint64_t url) {
    for (int i = 0; i < REMEMBERED; i++)
        if (failures[i].until > 0 && failures[i].url == url) return &failures[i];
    return NULL;
}

static uint64_t hash_of(const char *url) { return ci_hash(CI_HASH_START, url, strlen(url)); }

static uint64_t hash_of_model(const char *url, const char *model) {
    return model ? ci_hash(hash_of(url), model, strlen(model) + 1) : hash_of(url);
}

bool ci_retry_is_cooling(const char *url, double *seconds_left, char why[CI_RETRY_WHY_BYTES]) {
    pthread_mutex_lock(&lock);
    const struct failed *entry = find(hash_of(url));
    *seconds_left = entry ? entry->until - ci_now() : 0;
    bool cooling = *seconds_left > 0;
    snprintf(why, CI_RETRY_WHY_BYTES, "%s", cooling ? entry->why : "");
    pthread_mutex_unlock(&lock);
    return cooling;
}

/* Where there are more than can be remembered, the oldest is forgotten. */
void ci_retry_note_failure(const char *url, const char *why) {
    pthread_mutex_lock(&lock);
    struct failed *entry = find(hash_of(url));
    if (!entry) {
        entry = &failures[0];
        for (int i = 1; i < REMEMBERED; i++)
            if (failures[i].until < entry->until) entry = &failures[i];
    }
    entry->url = hash_of(url);
    entry->until = ci_now() + policy.cooldown_seconds;
    snprintf(entry->why, sizeof entry->why, "%s", why);
    pthread_mutex_unlock(&lock);
}

void ci_retry_note_success(const char *url) {
    pthread_mutex_lock(&lock);
    struct failed *entry = find(hash_of(url));
    if (entry) entry->until = 0;
    pthread_mutex_unlock(&lock);
}

static bool is_plain(uint64_t hash) {
    for (int i = 0; i < REMEMBERED; i++)
        if (plain[i] == hash) return true;
    return false;
}

bool ci_retry_is_plain(const char *url, const char *model) {
    pthread_mutex_lock(&lock);
    bool found = is_plain(hash_of_model(url, model));
    pthread_mutex_unlock(&lock);
    return found;
}

void ci_retry_note_plain(const char *url, const char *model) {
    pthread_mutex_lock(&lock);
    uint64_t hash = hash_of_model(url, model);
    if (!is_plain(hash)) plain[plain_count++ % REMEMBERED] = hash;
    pthread_mutex_unlock(&lock);
}
