/* slowness.h: how much slower than a release build this one may be, for tests that look at the clock. */
#ifndef TESTS_SUPPORT_SLOWNESS_H
#define TESTS_SUPPORT_SLOWNESS_H

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define SLOWNESS 20
#elif defined(__has_feature) /* clang */
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define SLOWNESS 20
#endif
#endif
#if !defined(SLOWNESS) && defined(__OPTIMIZE__)
#define SLOWNESS 1
#elif !defined(SLOWNESS)
#define SLOWNESS 5
#endif

#endif
