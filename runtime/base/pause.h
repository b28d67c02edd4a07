/* pause.h: what a loop that watches memory does between two looks. */
#ifndef CI_BASE_PAUSE_H
#define CI_BASE_PAUSE_H

/* Tells the processor that nothing is in a hurry: the other thread of the core, or the power, is better spent. */
static inline void ci_pause(void) {
#if defined(__x86_64__) || defined(__i386__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ volatile("yield");
#endif
}

#endif
