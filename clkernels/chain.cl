/* chain.cl: many launches as one, for CPU devices, where a launch costs more than what it computes (ops/chain.h).
 *
 *     script:   step 0          step 1          step 2 ...        each: its words, stage, grid, arguments
 *               [task 0][1]     [task 0]        [task 0][1]..     a task: one work-item of the launch
 *     workers:   w0    w1        w0              w0   w1   w0     each takes the next, first of its own share
 *                     |               |                    |      until all tasks of the step are done
 *
 * The work-items of this launch are workers. A worker takes the next task, runs it to its end, and waits only when
 * there is none left, for tasks that others have begun. So each step ends as long as one worker runs: work-groups may
 * begin when they like, one after the other even, and nothing has to be resident at the same time.
 *
 * A launch's kernel is a function here, compiled by itself with its own options and linked (ops/chain.c). Given by the
 * text before this: MOST_BUFFERS, BUFFERS (their parameters), BASES (their names) and run(), which calls stage `stage`.
 * Words of a step: their number, stage, both sizes of its grid, then the arguments; of a tensor the number of its
 * buffer and its offset.
 *
 * state: twice the same lines of 16 ints: of each step one for each worker, the next task of its share, and one for the
 * tasks that are done. Every second launch uses the second half, so that meanwhile the workers set the other one to 0.
 */
#define LINE 16

/* PoCL's mem_fence() is nothing at all. Its atomics order what is around them, but the read that ends a wait is none.
 * Loads of x86 stay in order, so that there the compiler alone has to be told. */
#if defined(__x86_64__)
#define PAUSE __asm__ volatile("pause")
#define FENCE __asm__ volatile("" ::: "memory")
#elif defined(__aarch64__)
#define PAUSE __asm__ volatile("yield")
#define FENCE __asm__ volatile("dmb ish" ::: "memory")
#else
#define PAUSE
#define FENCE mem_fence(CLK_GLOBAL_MEM_FENCE)
#endif

/* A wait is soon over, some microseconds, or long: then who is waited for has no processor, as where more threads run
 * than there are. So who has waited for SPINS pauses, some 20 us, lets others run: sched_yield(), by its number. */
#define SPINS 1024
#if defined(__linux__) && defined(__x86_64__)
#define YIELD                                                                                                          \
    {                                                                                                                  \
        long call = 24;                                                                                                \
        __asm__ volatile("syscall" : "+a"(call) : : "rcx", "r11", "memory");                                           \
    }
#elif defined(__linux__) && defined(__aarch64__)
#define YIELD __asm__ volatile("mov x8, #124\n\tsvc #0" : : : "x0", "x8", "memory")
#else
#define YIELD PAUSE
#endif

__kernel void chain(const __global ulong *script, __global int *state, int steps, int second, BUFFERS) {
    __global uchar *const bases[MOST_BUFFERS] = {BASES};
    const int worker = get_global_id(0), workers = get_global_size(0), lines = (workers + 1) * LINE;
    volatile __global int *line = state + second * steps * lines, *other = state + (1 - second) * steps * lines;
    const __global ulong *words = script;
    for (int step = 0; step < steps; step++, words += words[0], line += lines, other += lines) {
        volatile __global int *done = line + workers * LINE;
        const int size0 = (int)words[2], size1 = (int)words[3], tasks = size0 * size1;
        int mine = 0;
        other[worker * LINE] = 0;
        if (worker == 0) other[workers * LINE] = 0;
        for (int i = 0; i < workers; i++) {
            const int owner = worker + i < workers ? worker + i : worker + i - workers;
            const int first = tasks * owner / workers, last = tasks * (owner + 1) / workers;
            volatile __global int *next = line + owner * LINE;
            while (first + *next < last) {
                const int task = first + atomic_inc(next);
                if (task >= last) break;
                run((int)words[1], task % size0, task / size0, size0, size1, words + 4, bases);
                mine++;
            }
        }
        FENCE;
        if (mine) atomic_add(done, mine);
        for (int spins = 0; *done < tasks; spins += spins < SPINS) {
            if (spins < SPINS)
                PAUSE;
            else
                YIELD;
        }
        FENCE;
    }
}
