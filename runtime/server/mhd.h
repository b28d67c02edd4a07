/* mhd.h: libmicrohttpd, loaded when a server starts. Linked in the usual way it and GnuTLS behind it would cost every
 * start of the tool several milliseconds, and would keep it from starting where the library is missing. */
#ifndef CI_SERVER_MHD_H
#define CI_SERVER_MHD_H

#include <stdint.h>
#include <sys/socket.h>
#include <sys/types.h>

#include <microhttpd.h>

#include <clinfer.h>

/* MHD_<name>() is ci_mhd->name(). */
#define CI_MHD_LIST(X)                                                                                                 \
    X(add_response_header)                                                                                             \
    X(create_response_from_buffer)                                                                                     \
    X(create_response_from_callback)                                                                                   \
    X(destroy_response)                                                                                                \
    X(get_connection_info)                                                                                             \
    X(get_connection_values_n)                                                                                         \
    X(get_reason_phrase_for)                                                                                           \
    X(is_feature_supported)                                                                                            \
    X(queue_response)                                                                                                  \
    X(quiesce_daemon)                                                                                                  \
    X(resume_connection)                                                                                               \
    X(start_daemon)                                                                                                    \
    X(stop_daemon)                                                                                                     \
    X(suspend_connection)

struct ci_mhd {
#define CI_MHD_MEMBER(name) __typeof__(MHD_##name) *name;
    CI_MHD_LIST(CI_MHD_MEMBER)
#undef CI_MHD_MEMBER
};

/* For whoever has had CLINFER_OK of ci_mhd_load(). */
extern const struct ci_mhd *const ci_mhd;

/* From any thread. CLINFER_UNSUPPORTED: there is no libmicrohttpd, or too old a one. */
enum clinfer_status ci_mhd_load(void);

#endif
