/* probes.h: where perf, bpftrace and SystemTap may listen: USDT probes of the provider "clinfer" (user-level statically
 * defined tracing, by <sys/sdt.h> of SystemTap). Each is one no-op instruction and a note in the ELF file that says
 * where it is and in which registers its arguments lie; nobody listens, nothing happens. So arguments are values at
 * hand: nothing is computed for them where it would be felt. Rejected: semaphores, which would skip even the loading of
 * arguments, but which not every listener raises.
 *
 * Texts are pointers to bytes that end in zero; times are nanoseconds. docs/profiling.md says what each means to its
 * listener.
 *
 *   op_begin       step, op, label, variant, rows, k, n      the CPU backend: its first thread begins a step of the
 * plan op_end         step                                      and has ended it, with all threads op_done        op,
 * label, variant, phase, k, n, more, start, end a kernel of a device has ended; only with a record
 *                                                            (--profile, --trace), for only then devices tell; start
 *                                                            and end are on CLOCK_MONOTONIC
 *   run_begin      phase, rows, sequences                    a run of a plan, whose ops follow
 *   token          request, index, id, known                 a token of a request is there
 *   request_begin  request, prompt tokens, of these cached, most tokens
 *   request_end    request, tokens, finish, status
 *   kernel_build   kernel, options, key, time, from the cache, status
 *   fallback       op, label, reason                         could not run on the device that was asked for
 *   rung           name, kind, status, tokens, time          a rung of the request ladder has ended a request, or not
 *   quarantine     op, variant, types, reason
 *   transfer       label, bytes, from, to                    activations have gone from place to place
 *   tune_trial     op, variant, outcome, time of one call, time of the trial
 *   probe_begin, probe_end                                   nothing between them, and arguments as those of op_begin
 *                                                            and op_end: what a pair costs its listener; only with a
 *                                                            record, some hundred at the begin of a request
 *
 * Without the header, or with -DCLINFER_NO_PROBES, there are none. */
#ifndef CI_TRACE_PROBES_H
#define CI_TRACE_PROBES_H

#if defined __has_include && !defined CLINFER_NO_PROBES
#if __has_include(<sys/sdt.h>)
/* Constants or registers: a listener in the kernel does not understand every address that a compiler can write. */
#if defined __x86_64__ || defined __aarch64__
#define STAP_SDT_ARG_CONSTRAINT nr
#endif
#define SDT_USE_VARIADIC
#include <sys/sdt.h>
#define CI_PROBE(...) STAP_PROBEV(clinfer, __VA_ARGS__)
#endif
#endif

#ifndef CI_PROBE
/* Its arguments count as used. */
static inline void ci_probe_nothing(const char *name, ...) { (void)name; }
#define CI_PROBE(name, ...)                                                                                            \
    do {                                                                                                               \
        if (0) ci_probe_nothing(#name, __VA_ARGS__);                                                                   \
    } while (0)
#endif

#define CI_PROBE_NANOSECONDS(seconds) ((long long)(1e9 * (seconds)))

#endif
