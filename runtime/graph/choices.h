/* choices.h: which variants a node may get at a place, best first: what the user forced; else what `clinfer tune` found
 * fastest and right on this device; else the order of the table. Never what is in quarantine there: what another
 * version of clinfer has put there proves itself again, when it would be chosen, and leaves it or stays. */
#ifndef CI_GRAPH_CHOICES_H
#define CI_GRAPH_CHOICES_H

#include "graph/graph.h"
#include "profile/profile.h"
#include "profile/quarantine.h"

enum ci_force_kind { CI_FORCE_VARIANT, CI_FORCE_CPU, CI_FORCE_OPENCL };

/* One --op of the user. */
struct ci_forced {
    const struct ci_op *op;
    enum ci_force_kind kind;
    const struct ci_variant *variant; /* of CI_FORCE_VARIANT */
    int tunables[CI_MAX_TUNABLES];
};

/* What is known about the devices of one engine, by place. */
struct ci_choices {
    struct ci_place_choices {
        struct ci_profile profile; /* empty without one */
        enum ci_profile_origin origin;
        char *path;      /* of the profile, for people; may be NULL */
        uint64_t device; /* ci_quarantine_device() */
    } places[CI_MAX_PLACES];
    struct ci_quarantine quarantine;
    bool *passed_over; /* [quarantine.count]: it would have been chosen */
    struct ci_forced *forced;
    int forced_count;
    struct ci_looked_up *looked_up; /* what a profile says of calls that were asked for: layers are alike */
};

/* What a choice is made for: a place, with everything that is known there. */
struct ci_chooser {
    struct ci_choices *choices; /* NULL: nothing is known, the order of the table decides */
    int place;
    struct ci_device *device; /* of the place; NULL: the CPU */
    const struct ci_caps *caps;
};

enum ci_choice_origin { CI_CHOICE_TABLE, CI_CHOICE_TUNED, CI_CHOICE_FORCED };

struct ci_choice {
    const struct ci_variant *variant;
    int rank; /* in the table */
    int tunables[CI_MAX_TUNABLES];
    enum ci_choice_origin origin;
    const struct ci_profile_entry *entry; /* of a tuned one */
};

/* Whether options.tuning names a file, which then has to be a profile of these kernels: CLINFER_NOT_FOUND or
 * CLINFER_BAD_FILE where it is none. */
bool ci_choices_is_file(const char *tuning);
enum clinfer_status ci_choices_check_tuning(const char *tuning);

/* Reads the profile of one place as options.tuning of clinfer.h says: "auto", "none", "shipped" or a path.
 * CLINFER_BAD_FILE and CLINFER_NOT_FOUND only for a path that the user gave. */
enum clinfer_status ci_choices_load(struct ci_choices *choices, int place, const struct ci_caps *caps,
                                    const char *tuning);
void ci_choices_free(struct ci_choices *choices);

/* Whether the times of the profile are of this device, though perhaps with another driver. */
bool ci_choices_measured_here(const struct ci_place_choices *at);

/* Parses "NAME=VARIANT[:TUNABLE=VALUE,...]", "NAME=cpu", "NAME=opencl". CLINFER_INVALID_ARGUMENT lists what is
 * possible. */
enum clinfer_status ci_choices_force(struct ci_choices *choices, const char *text);

/* From now on nothing that this item stands for is chosen by this engine; on disk it is the caller's business. */
enum clinfer_status ci_choices_quarantine(struct ci_choices *choices, const struct ci_quarantined *item);

/* How many kernels were passed over since they are in quarantine here; `names` gets their ops. */
int ci_choices_passed_over(const struct ci_choices *choices, char *names, size_t size);

/* All variants that fit the node here, best first, at most `capacity`; `reason` [size] gets why not what would have
 * come before: the quarantine's words, or "forced by --op"; "" when there is nothing to say. Weights that have a place
 * keep their layout; others are judged in view.layout and may be packed. */
int ci_choices_list(const struct ci_chooser *chooser, const struct ci_node *node, struct ci_choice *list, int capacity,
                    char *reason, size_t size);

/* The first of them; false: none. */
bool ci_choices_first(const struct ci_chooser *chooser, const struct ci_node *node, struct ci_choice *choice);

/* Three questions that only those entries of the profile answer which would be used: what is stale, unknown or in
 * quarantine counts as not measured.
 *
 * Measured seconds of the node here, with any layout; 0: not measured. */
double ci_choices_seconds(const struct ci_chooser *chooser, const struct ci_node *node);

/* Whether the parts of a fused op were measured to be faster. */
bool ci_choices_unfused(const struct ci_chooser *chooser, const struct ci_node *node);

/* The layout in which the node's weights cost least over a prompt and an answer as measured; NULL: not known. */
const struct ci_layout *ci_choices_layout(const struct ci_chooser *chooser, const struct ci_node *node);

/* Whether the profile has an entry for the node whose kernel has changed since it was measured: it is not used. */
bool ci_choices_stale(const struct ci_chooser *chooser, const struct ci_node *node);

/* Whether the user said --op NAME=cpu (or opencl) for this op. */
bool ci_choices_forced_to(const struct ci_choices *choices, const struct ci_op *op, enum ci_force_kind kind);

#endif
