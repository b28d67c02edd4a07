/* perfetto.h: a trace as a file that Perfetto (ui.perfetto.dev) and chrome://tracing open: the JSON of
 * "Trace Event Format" (Google, docs.google.com/document/d/1CvAClvFfyA5R-PhYUmn5OOQtYMH4h6I0nSsKchNAySU). */
#ifndef CI_TRACE_PERFETTO_H
#define CI_TRACE_PERFETTO_H

#include "trace/trace.h"

/* Tracks: requests; steps (runs of a plan: a token, a piece of a prompt); the host; the CPU's ops; of each device its
 * ops, and its queue from the first kernel of a step that lies in it to the last that leaves it. CLINFER_IO names the
 * file. */
enum clinfer_status ci_trace_write_perfetto(const struct ci_trace *trace, const char *path);

#endif
