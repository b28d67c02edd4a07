/* curl.h: libcurl, loaded when the first server is asked. Linked in the usual way it and its thirty libraries would
 * cost every start 9 ms, three times what `clinfer version` takes, and most runs ask none. */
#ifndef CI_NET_CURL_H
#define CI_NET_CURL_H

#include <curl/curl.h>

#include <clinfer.h>

/* curl_<name>() is ci_curl->name(); without the macros of curl.h that check options' types. */
#define CI_CURL_LIST(X)                                                                                                \
    X(easy_cleanup)                                                                                                    \
    X(easy_getinfo)                                                                                                    \
    X(easy_init)                                                                                                       \
    X(easy_reset)                                                                                                      \
    X(easy_setopt)                                                                                                     \
    X(easy_strerror)                                                                                                   \
    X(free)                                                                                                            \
    X(global_init)                                                                                                     \
    X(multi_add_handle)                                                                                                \
    X(multi_cleanup)                                                                                                   \
    X(multi_info_read)                                                                                                 \
    X(multi_init)                                                                                                      \
    X(multi_perform)                                                                                                   \
    X(multi_poll)                                                                                                      \
    X(multi_remove_handle)                                                                                             \
    X(slist_append)                                                                                                    \
    X(slist_free_all)                                                                                                  \
    X(url)                                                                                                             \
    X(url_cleanup)                                                                                                     \
    X(url_get)                                                                                                         \
    X(url_set)                                                                                                         \
    X(url_strerror)

struct ci_curl {
#define CI_CURL_MEMBER(name) __typeof__(curl_##name) *name;
    CI_CURL_LIST(CI_CURL_MEMBER)
#undef CI_CURL_MEMBER
};

/* For whoever has had CLINFER_OK of ci_curl_load(). */
extern const struct ci_curl *const ci_curl;

/* From any thread. CLINFER_UNSUPPORTED: there is no libcurl, or too old a one. */
enum clinfer_status ci_curl_load(void);

#endif
