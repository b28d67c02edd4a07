/* transfer.h: the bytes of one file into its part, over one connection or several, until all are there.
 *
 * A small file is one request. A larger one is asked for in pieces, in order, by one connection at first; more are
 * added while that makes it faster. Shortly before a piece ends the next one is asked for, so that the line is not idle
 * while an answer is waited for. Nothing is asked for twice: a piece ends where the next one begins. A range that has
 * stalled or broken is asked for again from where it stopped, by the address from before the redirects when the signed
 * one has expired. Rejected: halving what the slowest connection still has to fetch, which needs fewer requests, but
 * drops what is under way behind the cut. */
#ifndef CI_HUB_TRANSFER_H
#define CI_HUB_TRANSFER_H

#include "hub/download.h"
#include "hub/hasher.h"
#include "hub/part.h"

/* A download at work: what download.c, transfer.c and answer.c share. */
struct ci_download_work {
    struct ci_hub *hub;
    const struct ci_download *download;
    struct ci_part *part;
    struct ci_hasher *hasher; /* NULL: no digest to compare with, or the size is not known yet */
    uint64_t size;            /* UINT64_MAX: not known yet */
    uint64_t fetched;         /* bytes that came and were kept */
    double progress_at;       /* when it was told last, as ci_now() */
};

/* Until all bytes are there: work->size is known then. Statuses as ci_hub_download. */
enum clinfer_status ci_hub_transfer(struct ci_download_work *work);

/* Tells progress, ten times a second at most unless `always`. */
void ci_download_tell(struct ci_download_work *work, const char *phase, uint64_t completed, bool always);

/* The size is known now: the part learns it, and the digest begins. */
enum clinfer_status ci_download_set_size(struct ci_download_work *work, uint64_t size);

/* Everything from the first byte again: part and digest forget what they have. */
enum clinfer_status ci_download_restart(struct ci_download_work *work);

bool ci_download_is_cancelled(const struct ci_download_work *work);

#endif
