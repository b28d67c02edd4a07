/* record.h: --profile and --trace: where the time of a run went, of every command that has them. */
#ifndef CI_CLI_RECORD_H
#define CI_CLI_RECORD_H

#include <clinfer.h>
#include <jansson.h>
#include <stdbool.h>

#include "cli/options.h"

struct ci_record_flags {
    bool profile;
    const char *trace;
};

#define CI_RECORD_OPTIONS(flags)                                                                                       \
    CI_FLAG("--profile", &(flags)->profile,                                                                            \
            "time, bytes, GB/s and share of the measured limits of every op, and what the host did"),                  \
        CI_TEXT("--trace", &(flags)->trace, "FILE", "write every op and wait for Perfetto (ui.perfetto.dev)")

/* Whether the engine has to record: options.record. */
bool ci_record_wanted(const struct ci_record_flags *flags);

/* Before the model is loaded: whether the trace can be written at all. CLINFER_IO. An existing file stays as it is. */
enum clinfer_status ci_record_check(const struct ci_record_flags *flags);

/* What the flags ask for, after the last request: the table on standard error (unless `json`), the trace into its file.
 */
enum clinfer_status ci_record_report(const struct ci_record_flags *flags, bool json, clinfer_engine *engine);

/* The table as JSON; NULL, *status tells why. */
json_t *ci_record_json(clinfer_engine *engine, enum clinfer_status *status);

#endif
