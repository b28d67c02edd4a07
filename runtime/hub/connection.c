#define _GNU_SOURCE
#include "hub/connection.h"

#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "base/clock.h"
#include "base/status.h"
#include "hub/ranges.h"

/* ---- headers ---- */

static bool parse_total(const char *text, uint64_t *total) {
    *total = UINT64_MAX;
    if (*text++ != '/') return false;
    if (*text == '*') return !text[1];
    return ci_ranges_number(&text, total) && !*text;
}

bool ci_content_range_parse(const char *text, struct ci_content_range *range) {
    *range = (struct ci_content_range){UINT64_MAX, UINT64_MAX, UINT64_MAX};
    if (!text || strncasecmp(text, "bytes ", 6) != 0) return false;
    text += 6 + strspn(text + 6, " ");
    if (*text == '*') return parse_total(text + 1, &range->total);
    uint64_t last;
    if (!ci_ranges_number(&text, &range->from) || *text++ != '-' || !ci_ranges_number(&text, &last) ||
        last == UINT64_MAX || !parse_total(text, &range->total))
        return false;
    range->to = last + 1;
    return range->from <= last && range->to <= range->total;
}

static uint64_t content_length(const struct ci_fetch *fetch) {
    const char *text = ci_fetch_header(fetch, "Content-Length");
    uint64_t length;
    return text && ci_ranges_number(&text, &length) && !*text ? length : UINT64_MAX;
}

/* What the server calls this version of the file, as If-Range wants it: a strong ETag, or else the date. "": nothing.
 */
static const char *version_of(const struct ci_fetch *fetch) {
    const char *etag = ci_fetch_header(fetch, "ETag"), *date = ci_fetch_header(fetch, "Last-Modified");
    if (etag && *etag == '"') return etag;
    return date ? date : "";
}

/* ---- the head of an answer ---- */

static bool stop(struct ci_connection *connection, enum ci_connection_stop why) {
    connection->stop = why;
    return false;
}

/* What a call for the part or the digest has said; its message is this thread's. */
static bool go_on(struct ci_connection *connection, enum clinfer_status status) {
    connection->status = status;
    return status == CLINFER_OK || stop(connection, CI_STOP_LOCAL);
}

static bool is_web_page(const struct ci_fetch *fetch) {
    static const char html[] = "text/html";
    const char *type = ci_fetch_header(fetch, "Content-Type");
    return type && strncasecmp(type, html, sizeof html - 1) == 0;
}

/* A size that the answer tells, UINT64_MAX: none. */
static bool check_size(struct ci_connection *connection, const struct ci_fetch *fetch, uint64_t told) {
    struct ci_download_work *work = connection->all->work;
    if (told == UINT64_MAX || told == work->size) return true;
    connection->told = told;
    if (work->size != UINT64_MAX && is_web_page(fetch)) {
        snprintf(connection->page, sizeof connection->page, "<"); /* as if it had been read */
        return stop(connection, CI_STOP_FORMAT);
    }
    if (work->size != UINT64_MAX) return stop(connection, CI_STOP_SIZE);
    return go_on(connection, ci_download_set_size(work, told));
}

static bool check_version(struct ci_connection *connection, const struct ci_fetch *fetch) {
    struct ci_part *part = connection->all->work->part;
    const char *known = ci_part_version(part), *now = version_of(fetch);
    if (!*known && *now)
        ci_part_set_version(part, now);
    else if (*now && strcmp(known, now) != 0 && !connection->all->ignore_version)
        return stop(connection, CI_STOP_CHANGED);
    return true;
}

/* 200: all of it, whatever was asked: the server gives no ranges, or what was begun is of another version. */
static bool take_whole(struct ci_connection *connection, const struct ci_fetch *fetch) {
    struct ci_connections *all = connection->all;
    const char *known = ci_part_version(all->work->part), *now = version_of(fetch);
    bool changed = *known && *now && strcmp(known, now) != 0;
    if (connection->ranged && !changed) all->no_ranges = true;
    if (!check_size(connection, fetch, content_length(fetch))) return false;
    if (ci_part_done(all->work->part)->count || connection->from) {
        for (int i = 0; i < CI_CONNECTIONS; i++) all->at[i].buffered = 0; /* of what is forgotten */
        if (!go_on(connection, ci_download_restart(all->work))) return false;
    }
    all->only = connection;
    connection->from = connection->at = 0;
    connection->to = all->work->size;
    return check_version(connection, fetch);
}

static bool take_range(struct ci_connection *connection, const struct ci_fetch *fetch) {
    struct ci_content_range range;
    if (!connection->ranged || !ci_content_range_parse(ci_fetch_header(fetch, "Content-Range"), &range) ||
        range.from != connection->from || range.to > connection->to)
        return stop(connection, CI_STOP_RANGE);
    if (!check_size(connection, fetch, range.total) || !check_version(connection, fetch)) return false;
    connection->to = range.to;
    connection->all->ranges_proven = true;
    return true;
}

static bool on_head(void *user, const struct ci_fetch *fetch) {
    struct ci_connection *connection = user;
    switch (ci_fetch_status(fetch)) {
    case 200: return take_whole(connection, fetch);
    case 206: return take_range(connection, fetch);
    default: return true;
    }
}

/* ---- its bytes ---- */

static void keep_page(struct ci_connection *connection, const char *bytes, size_t length) {
    size_t room = sizeof connection->page - 1 - connection->page_length;
    if (length > room) length = room;
    memcpy(connection->page + connection->page_length, bytes, length);
    connection->page_length += length;
    connection->page[connection->page_length] = '\0';
}

static bool begins_well(const struct ci_connection *connection, const char *bytes, size_t length) {
    static const char magic[] = "GGUF";
    for (uint64_t i = connection->at; i < 4 && i - connection->at < length; i++)
        if (bytes[i - connection->at] != magic[i]) return false;
    return true;
}

/* Bytes that are in the part now. */
static void count_written(struct ci_connection *connection, size_t length) {
    struct ci_download_work *work = connection->all->work;
    work->fetched += length;
    connection->all->came += length;
    if (work->hasher) ci_hasher_advance(work->hasher, ci_ranges_front(ci_part_done(work->part)));
}

enum clinfer_status ci_connection_flush(struct ci_connection *connection) {
    size_t length = connection->buffered;
    if (!length) return CLINFER_OK;
    connection->buffered = 0;
    enum clinfer_status status =
        ci_part_write(connection->all->work->part, connection->at - length, connection->buffer, length);
    if (status == CLINFER_OK) count_written(connection, length);
    return status;
}

/* There is room for them in the buffer, or they are more than it holds. */
static enum clinfer_status take_bytes(struct ci_connection *connection, const char *bytes, size_t length) {
    enum clinfer_status status = CLINFER_OK;
    if (length <= sizeof connection->buffer) {
        memcpy(connection->buffer + connection->buffered, bytes, length);
        connection->buffered += length;
    } else {
        status = ci_part_write(connection->all->work->part, connection->at, bytes, length);
        if (status == CLINFER_OK) count_written(connection, length);
    }
    connection->at += length;
    return status;
}

static bool on_body(void *user, const struct ci_fetch *fetch, const char *bytes, size_t length) {
    struct ci_connection *connection = user;
    struct ci_connections *all = connection->all;
    struct ci_download_work *work = all->work;
    long status = ci_fetch_status(fetch);
    if (status != 200 && status != 206) {
        keep_page(connection, bytes, length);
        return true;
    }
    if (all->only && all->only != connection) return stop(connection, CI_STOP_OTHER);
    if (work->download->gguf && connection->at < 4 && !begins_well(connection, bytes, length)) {
        keep_page(connection, bytes, length);
        return stop(connection, CI_STOP_FORMAT);
    }
    uint64_t room = connection->to - connection->at;
    size_t taken = length < room ? length : (size_t)room;
    if (connection->buffered + taken > sizeof connection->buffer && !go_on(connection, ci_connection_flush(connection)))
        return false;
    if (!go_on(connection, take_bytes(connection, bytes, taken))) return false;
    if (taken == length) return true;
    return stop(connection, connection->to == work->size ? CI_STOP_LONG : CI_STOP_FULL);
}

enum clinfer_status ci_connection_start(struct ci_connection *connection, const char *url, bool signed_url, bool ranged,
                                        uint64_t from, uint64_t to) {
    static const int redirects = 10;
    struct ci_connections *all = connection->all;
    const struct ci_download *download = all->work->download;
    const struct ci_hub_settings *settings = all->work->hub->settings;
    const char *version = ci_part_version(all->work->part);
    connection->from = connection->at = connection->watched_at = from;
    connection->watched = ci_now();
    connection->to = to;
    connection->ranged = ranged;
    connection->signed_url = signed_url;
    connection->stop = CI_STOP_NONE;
    connection->status = CLINFER_OK;
    connection->page_length = connection->buffered = 0;
    connection->page[0] = '\0';
    struct ci_fetch_request request = {.url = url,
                                       .authorization = signed_url ? NULL : download->authorization,
                                       .trusted = download->trusted,
                                       .ranged = ranged,
                                       .from = from,
                                       .to = to,
                                       .if_range = *version && !all->ignore_version ? version : NULL,
                                       .max_redirects = redirects,
                                       .connect_seconds = settings->connect_seconds,
                                       .silence_seconds = settings->silence_seconds,
                                       .cancel = all->work->hub->cancel,
                                       .on_head = on_head,
                                       .on_body = on_body,
                                       .user = connection};
    return ci_fetch_start(all->work->hub->fetcher, &request, &connection->fetch);
}
