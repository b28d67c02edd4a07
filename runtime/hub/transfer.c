#define _GNU_SOURCE
#include "hub/transfer.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/clock.h"
#include "base/status.h"
#include "hub/connection.h"
#include "hub/space.h"
#include "net/url.h"

enum { PIECES = 64, SMALLEST_PIECE = 64 * 1024, NUMBER = 32, FEWEST_BYTES = 1024 };

/* How much faster more connections have to be; how long before the end of a piece the next one is asked for. */
static const double worth_it = 1.15, ahead_seconds = 0.3;

struct transfer {
    struct ci_download_work *work;
    struct ci_connections connections;
    char *signed_url; /* where the redirects led, on another host; NULL: not known, or no longer good */
    bool complete;
    int attempt;       /* failures since the last byte came */
    uint64_t came;     /* bytes, when the last failure was */
    double not_before; /* when to ask again, as ci_now() */
    int sizes;         /* answers of another size */

    int wanted;         /* connections */
    bool settled;       /* no more are tried */
    bool disliked;      /* a server does not want as many */
    double since, rate; /* of the measurement at hand, as ci_now(); bytes a second of the last one */
    uint64_t since_came;
};

/* ---- what is asked for ---- */

static int running(const struct transfer *transfer) {
    int count = 0;
    for (int i = 0; i < CI_CONNECTIONS; i++) count += transfer->connections.at[i].fetch != NULL;
    return count;
}

static bool in_pieces(const struct transfer *transfer) {
    uint64_t size = transfer->work->size;
    return size != UINT64_MAX && size > transfer->work->hub->settings->parallel_bytes &&
           !transfer->connections.no_ranges;
}

static uint64_t piece_bytes(const struct transfer *transfer) {
    uint64_t piece = transfer->work->hub->settings->parallel_bytes / 4, size = transfer->work->size;
    if (piece < size / PIECES) piece = size / PIECES;
    return piece < SMALLEST_PIECE ? SMALLEST_PIECE : piece;
}

/* The first bytes that are neither there nor on their way. */
static bool next_range(const struct transfer *transfer, struct ci_range *range) {
    struct ci_ranges taken = *ci_part_done(transfer->work->part);
    bool room = true;
    for (int i = 0; i < CI_CONNECTIONS; i++) {
        const struct ci_connection *connection = &transfer->connections.at[i];
        if (connection->fetch && connection->at < connection->to)
            room = ci_ranges_add(&taken, connection->at, connection->to) && room;
    }
    /* As many ranges as can be told apart: those that run go on, and close gaps. */
    if (running(transfer) && (!room || taken.count + 2 >= CI_RANGES)) return false;
    if (!ci_ranges_missing(&taken, transfer->work->size, range)) return false;
    uint64_t piece = in_pieces(transfer) ? piece_bytes(transfer) : UINT64_MAX;
    if (range->to - range->from > piece) range->to = range->from + piece;
    return true;
}

/* Nothing, where all is under way. */
static enum clinfer_status start_one(struct transfer *transfer, struct ci_connection *connection) {
    const struct ci_download_work *work = transfer->work;
    struct ci_range range = {0, work->size};
    /* Without a size, and where the server gives no ranges, all is one request. */
    bool whole = work->size == UINT64_MAX || transfer->connections.no_ranges;
    if (whole ? running(transfer) > 0 : !next_range(transfer, &range)) return CLINFER_OK;
    if (whole && !transfer->connections.no_ranges) range.from = ci_ranges_front(ci_part_done(work->part));
    bool ranged = range.from > 0 || range.to < work->size;
    const char *url = transfer->signed_url ? transfer->signed_url : work->download->url;
    return ci_connection_start(connection, url, transfer->signed_url != NULL, ranged, range.from, range.to);
}

/* Whether one of those that run is so near to its end that the next may be asked for: an answer takes its time, in
 * which the line would be idle. */
static bool ends_soon(const struct transfer *transfer) {
    double ahead = transfer->rate * ahead_seconds, half = (double)piece_bytes(transfer) / 2;
    for (int i = 0; i < CI_CONNECTIONS; i++) {
        const struct ci_connection *connection = &transfer->connections.at[i];
        double left = (double)(connection->to - connection->at);
        if (connection->fetch && left < ahead && left < half) return true;
    }
    return false;
}

static enum clinfer_status start_more(struct transfer *transfer) {
    enum clinfer_status status = CLINFER_OK;
    bool many = in_pieces(transfer) && transfer->connections.ranges_proven && !transfer->connections.only;
    int wanted = many ? transfer->wanted + (!transfer->disliked && ends_soon(transfer)) : 1;
    if (ci_now() < transfer->not_before || transfer->complete) return status;
    for (int i = 0; i < CI_CONNECTIONS && status == CLINFER_OK && running(transfer) < wanted; i++)
        if (!transfer->connections.at[i].fetch) status = start_one(transfer, &transfer->connections.at[i]);
    return status;
}

/* ---- how many connections ---- */

static void measure(struct transfer *transfer) {
    const struct ci_hub_settings *settings = transfer->work->hub->settings;
    int most = settings->most_ranges < CI_CONNECTIONS ? settings->most_ranges : CI_CONNECTIONS;
    double now = ci_now(), seconds = now - transfer->since;
    if (transfer->settled || !in_pieces(transfer) || !transfer->connections.ranges_proven) {
        transfer->since = now;
        transfer->since_came = transfer->connections.came;
        return;
    }
    if (seconds < settings->probe_seconds) return;
    double rate = (double)(transfer->connections.came - transfer->since_came) / seconds;
    bool better = rate > transfer->rate * worth_it;
    if (better && transfer->wanted < most) {
        transfer->wanted = transfer->wanted * 2 < most ? transfer->wanted * 2 : most;
    } else {
        if (!better && transfer->wanted > 1) transfer->wanted /= 2;
        transfer->settled = true;
    }
    transfer->rate = rate;
    transfer->since = now;
    transfer->since_came = transfer->connections.came;
}

/* ---- how connections end ---- */

static void stop_all(struct transfer *transfer) {
    for (int i = 0; i < CI_CONNECTIONS; i++) {
        ci_fetch_free(transfer->connections.at[i].fetch);
        transfer->connections.at[i].fetch = NULL;
        transfer->connections.at[i].buffered = 0;
    }
    transfer->connections.only = NULL;
}

static void forget_url(struct transfer *transfer) {
    free(transfer->signed_url);
    transfer->signed_url = NULL;
}

/* Whether the redirects led to another host. */
static bool is_elsewhere(const struct transfer *transfer, const char *url) {
    struct ci_url_origin first, last;
    return ci_url_origin(transfer->work->download->url, &first) && ci_url_origin(url, &last) &&
           !ci_url_same_origin(&first, &last);
}

/* Where the next piece is asked for: the address behind the redirects, if that needs no credentials. */
static void remember_url(struct transfer *transfer, const struct ci_fetch *fetch) {
    const char *url = ci_fetch_url(fetch);
    if (!transfer->signed_url && is_elsewhere(transfer, url)) transfer->signed_url = strdup(url);
}

static enum clinfer_status fail_for_good(struct transfer *transfer, const struct ci_hub_failure *failure) {
    const struct ci_download_work *work = transfer->work;
    uint64_t done = ci_ranges_bytes(ci_part_done(work->part));
    char there[NUMBER], kept[NUMBER + 48] = "";
    if (done) snprintf(kept, sizeof kept, " (%s have come and are kept)", ci_hub_size_text(done, there, sizeof there));
    return ci_fail(failure->status, "%s; %s%s", failure->cause, failure->advice, kept);
}

/* Again, if that may help and there were not too many failures since something came. */
static enum clinfer_status try_again(struct transfer *transfer, const struct ci_hub_failure *failure) {
    const struct ci_hub_settings *settings = transfer->work->hub->settings;
    if (transfer->connections.came > transfer->came) transfer->attempt = 0;
    transfer->came = transfer->connections.came;
    transfer->attempt++;
    double pause = settings->first_pause;
    for (int i = 1; i < transfer->attempt; i++) pause *= 2;
    if (failure->after >= 0) pause = failure->after + (failure->after > 0 ? settings->first_pause : 0);
    if (!failure->may_pass || transfer->attempt >= settings->tries || pause > settings->longest_wait)
        return fail_for_good(transfer, failure);
    if (running(transfer)) {
        transfer->wanted = running(transfer);
        transfer->settled = transfer->disliked = true;
    }
    ci_hub_say(transfer->work->hub, true, "%s: trying again in %.3g s", failure->cause, pause);
    transfer->not_before = ci_now() + pause;
    return CLINFER_OK;
}

static enum clinfer_status again_because(struct transfer *transfer, const char *cause) {
    struct ci_hub_failure failure = {
        .status = CLINFER_REMOTE_FAILED, .may_pass = true, .after = -1, .advice = "try again later"};
    snprintf(failure.cause, sizeof failure.cause, "%s: %s", transfer->work->download->name, cause);
    return try_again(transfer, &failure);
}

static enum clinfer_status fail_of_size(struct transfer *transfer, uint64_t told) {
    if (transfer->sizes++ == 0 && transfer->signed_url) {
        forget_url(transfer);
        return again_because(transfer, "the server's file has another length");
    }
    return ci_fail(CLINFER_BAD_FILE,
                   "%s: %llu bytes were announced, and the server's file has %llu; it is being changed, or a cache "
                   "between has another version: pull again later",
                   transfer->work->download->name, (unsigned long long)transfer->work->size, (unsigned long long)told);
}

static enum clinfer_status fail_of_format(const struct transfer *transfer, const struct ci_connection *connection) {
    const char *name = transfer->work->download->name, *page = connection->page + strspn(connection->page, " \r\n\t");
    if (*page == '<')
        return ci_fail(CLINFER_BAD_FILE,
                       "%s: a web page came instead of a model; open the address in a browser: the network may want a "
                       "login first (captive portal), or HF_ENDPOINT is no Hub",
                       name);
    if (!strncmp(page, "version https://git-lfs", 23))
        return ci_fail(CLINFER_BAD_FILE,
                       "%s: a pointer of git-lfs came instead of a model; the mirror has no large files: unset "
                       "HF_ENDPOINT, or name another",
                       name);
    return ci_fail(CLINFER_BAD_FILE,
                   "%s: what came is no GGUF file (it does not begin with \"GGUF\"); pull another file", name);
}

/* Everything that was begun is of another version. */
static enum clinfer_status start_anew(struct transfer *transfer, const char *why) {
    stop_all(transfer);
    /* Mirrors name the same file differently, each time another: the digest can tell better. */
    if (*transfer->work->download->digest) transfer->connections.ignore_version = true;
    enum clinfer_status status = ci_download_restart(transfer->work);
    return status == CLINFER_OK ? again_because(transfer, why) : status;
}

static enum clinfer_status settle_stopped(struct transfer *transfer, const struct ci_connection *connection) {
    switch (connection->stop) {
    case CI_STOP_CHANGED: return start_anew(transfer, "the server has another version now: from the start");
    case CI_STOP_RANGE:
        transfer->connections.no_ranges = true;
        return start_anew(transfer, "the server sends other bytes than were asked for: from the start, in one piece");
    case CI_STOP_SIZE: return fail_of_size(transfer, connection->told);
    case CI_STOP_LONG:
        if (*transfer->work->download->digest) return CLINFER_OK; /* it says whether those before are right */
        return ci_fail(CLINFER_BAD_FILE,
                       "%s: the server sends more than the %llu bytes that were announced; pull again later",
                       transfer->work->download->name, (unsigned long long)transfer->work->size);
    case CI_STOP_FORMAT: return fail_of_format(transfer, connection);
    case CI_STOP_LOCAL: return connection->status;
    default: return CLINFER_OK;
    }
}

/* 416: what is there is all, or it is of another version. */
static enum clinfer_status settle_unsatisfied(struct transfer *transfer, const struct ci_fetch *fetch) {
    struct ci_content_range range;
    const struct ci_ranges *done = ci_part_done(transfer->work->part);
    uint64_t front = ci_ranges_front(done);
    bool told = ci_content_range_parse(ci_fetch_header(fetch, "Content-Range"), &range) && range.total != UINT64_MAX;
    if (told && done->count == 1 && range.total == front &&
        (transfer->work->size == UINT64_MAX || transfer->work->size == front)) {
        transfer->complete = true;
        return transfer->work->size == UINT64_MAX ? ci_download_set_size(transfer->work, front) : CLINFER_OK;
    }
    transfer->connections.no_ranges |= done->count == 0;
    return start_anew(transfer, "the server has another file than what was begun: from the start");
}

static enum clinfer_status settle_answer(struct transfer *transfer, const struct ci_connection *connection,
                                         const struct ci_fetch *fetch) {
    struct ci_hub_failure failure;
    long status = ci_fetch_status(fetch);
    if (status == 416) return settle_unsatisfied(transfer, fetch);
    bool expired = status == 401 || status == 403 || status == 404 || status == 410;
    if (expired && connection->signed_url) {
        forget_url(transfer);
        return CLINFER_OK;
    }
    ci_hub_failure_of(transfer->work->hub, fetch, connection->page, transfer->work->download->name, &failure);
    /* A signed address that is refused at once: perhaps it was signed too long ago, and kept by a cache. */
    if (status == 403 && is_elsewhere(transfer, ci_fetch_url(fetch))) {
        failure.status = CLINFER_REMOTE_FAILED;
        failure.may_pass = true;
    }
    return try_again(transfer, &failure);
}

/* A body that ended without an error. */
static enum clinfer_status settle_body(struct transfer *transfer, const struct ci_connection *connection,
                                       const struct ci_fetch *fetch) {
    remember_url(transfer, fetch);
    if (transfer->work->size == UINT64_MAX && connection->at > 0) {
        transfer->complete = true; /* there was no length to hold it to */
        return ci_download_set_size(transfer->work, connection->at);
    }
    return connection->at >= connection->to ? CLINFER_OK : again_because(transfer, "the connection ended too early");
}

static enum clinfer_status settle(struct transfer *transfer, const struct ci_connection *connection,
                                  const struct ci_fetch *fetch) {
    struct ci_hub_failure failure;
    long status = ci_fetch_status(fetch);
    bool bytes = status == 200 || status == 206;
    switch (ci_fetch_end(fetch)) {
    case CI_FETCH_CANCELLED: return ci_fail(CLINFER_CANCELLED, "%s: cancelled", transfer->work->download->name);
    case CI_FETCH_STOPPED: return settle_stopped(transfer, connection);
    case CI_FETCH_DONE:
        return bytes ? settle_body(transfer, connection, fetch) : settle_answer(transfer, connection, fetch);
    default: break;
    }
    if (bytes && connection->at == connection->to) return CLINFER_OK; /* what is broken is not ours */
    ci_hub_failure_of(transfer->work->hub, fetch, "", transfer->work->download->name, &failure);
    return try_again(transfer, &failure);
}

static enum clinfer_status write_all(struct transfer *transfer) {
    enum clinfer_status status = CLINFER_OK;
    for (int i = 0; i < CI_CONNECTIONS && status == CLINFER_OK; i++)
        status = ci_connection_flush(&transfer->connections.at[i]);
    return status;
}

static enum clinfer_status settle_all(struct transfer *transfer) {
    enum clinfer_status status = CLINFER_OK;
    for (int i = 0; i < CI_CONNECTIONS && status == CLINFER_OK; i++) {
        struct ci_connection *connection = &transfer->connections.at[i];
        struct ci_fetch *fetch = connection->fetch;
        if (!fetch || ci_fetch_end(fetch) == CI_FETCH_RUNNING) continue;
        if (transfer->connections.only == connection) transfer->connections.only = NULL;
        connection->fetch = NULL; /* idle; nothing is begun before the next round */
        status = settle(transfer, connection, fetch);
        ci_fetch_free(fetch);
    }
    return status;
}

/* A byte now and then is no silence, and no download: that range is asked for again. Not where the server gives no
 * ranges, since what has come would be lost. */
static enum clinfer_status drop_drips(struct transfer *transfer) {
    double now = ci_now(), patience = transfer->work->hub->settings->silence_seconds;
    for (int i = 0; i < CI_CONNECTIONS; i++) {
        struct ci_connection *connection = &transfer->connections.at[i];
        bool begun = connection->fetch && connection->at > connection->from && connection->at < connection->to;
        if (!begun || transfer->connections.no_ranges) continue;
        if (connection->at - connection->watched_at >= FEWEST_BYTES) {
            connection->watched_at = connection->at;
            connection->watched = now;
        } else if (now - connection->watched > patience) {
            if (transfer->connections.only == connection) transfer->connections.only = NULL;
            ci_fetch_free(connection->fetch);
            connection->fetch = NULL;
            return again_because(transfer, "hardly a byte comes");
        }
    }
    return CLINFER_OK;
}

/* ---- all of it ---- */

static void move(struct transfer *transfer) {
    static const double step = 0.1;
    if (running(transfer))
        ci_fetcher_run(transfer->work->hub->fetcher, step);
    else if (ci_now() < transfer->not_before)
        nanosleep(&(struct timespec){.tv_nsec = 10000000}, NULL);
}

static bool is_complete(const struct transfer *transfer) {
    const struct ci_download_work *work = transfer->work;
    /* Without a digest the server's word that this was all is waited for. */
    if (!*work->download->digest && running(transfer)) return false;
    return transfer->complete || (work->size != UINT64_MAX && ci_ranges_front(ci_part_done(work->part)) == work->size);
}

enum clinfer_status ci_hub_transfer(struct ci_download_work *work) {
    struct transfer *transfer = calloc(1, sizeof *transfer);
    if (!transfer) return ci_fail(CLINFER_OUT_OF_MEMORY, "%s: out of memory", work->download->name);
    transfer->work = work;
    transfer->wanted = 1;
    transfer->since = ci_now();
    transfer->connections.work = work;
    for (int i = 0; i < CI_CONNECTIONS; i++) transfer->connections.at[i].all = &transfer->connections;
    enum clinfer_status status = CLINFER_OK;
    while (status == CLINFER_OK && !is_complete(transfer)) {
        status = ci_download_is_cancelled(work) ? ci_fail(CLINFER_CANCELLED, "%s: cancelled", work->download->name)
                                                : start_more(transfer);
        if (status == CLINFER_OK) move(transfer);
        if (status == CLINFER_OK) status = write_all(transfer);
        if (status == CLINFER_OK) status = settle_all(transfer);
        if (status == CLINFER_OK && !is_complete(transfer)) status = drop_drips(transfer);
        measure(transfer);
        ci_download_tell(work, "download", ci_ranges_bytes(ci_part_done(work->part)), false);
    }
    stop_all(transfer);
    forget_url(transfer);
    free(transfer);
    return status;
}
