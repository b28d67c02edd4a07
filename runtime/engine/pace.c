/* pace.c: a step beside answers may take somewhat less than a tenth of a second, or somewhat more than what decoding
 * alone takes.
 *
 * A step has a fixed part, reading the weights and the rows that decode, and one that grows with the piece, by more the
 * deeper into its prompt the piece lies. So the last piece is scaled by what it should have taken: that comes near from
 * either side, and follows the depth. Down at once, but up by a quarter at most: on a machine where some steps are held
 * up by other programs, most steps are then shorter than they may be, and few are longer. */
#include "engine/pace.h"

/* The least and the first piece of a prompt. */
enum { LEAST_PIECE = 4, FIRST_PIECE = 32 };

static const double most_seconds = 0.09, most_times_decode = 1.7, most_growth = 1.25;

static int64_t within(int64_t value, int64_t least, int64_t most) {
    return value < least ? least : value > most ? most : value;
}

double ci_pace_seconds_allowed(const struct ci_pace *pace) {
    double seconds = most_times_decode * pace->decode_seconds;
    return seconds > most_seconds ? seconds : most_seconds;
}

int64_t ci_pace_piece(const struct ci_pace *pace) { return pace->piece ? pace->piece : FIRST_PIECE; }

/* Nearer to the short steps than to the long ones, which other programs have held up: some of those in a row must not
 * allow what answers then wait for. */
static double decode_after(double before, double seconds) {
    if (before <= 0) return seconds;
    if (seconds < before) return 0.8 * before + 0.2 * seconds;
    return 0.9 * before + 0.1 * (seconds < most_growth * before ? seconds : most_growth * before);
}

/* Where more answers have come since decoding was alone last, nothing else says that it takes longer now, and a prompt
 * would go on by the least of pieces: it takes about the share that its rows are of a step, or more. */
static void take_share(struct ci_pace *pace, const struct ci_pace_step *step) {
    const double share = step->seconds * (double)step->decoding / (double)(step->decoding + step->prompt);
    if (step->decoding > pace->decoding && step->prompt < FIRST_PIECE && share > pace->decode_seconds)
        pace->decode_seconds = decode_after(pace->decode_seconds, share);
}

void ci_pace_take(struct ci_pace *pace, const struct ci_pace_step *step, int64_t most) {
    if (step->seconds <= 0) return;
    if (step->prompt == 0) {
        pace->decode_seconds = decode_after(pace->decode_seconds, step->seconds);
        pace->decoding = step->decoding;
        return;
    }
    take_share(pace, step);
    int64_t prompt = step->prompt;
    int64_t fits = (int64_t)((double)prompt * ci_pace_seconds_allowed(pace) / step->seconds);
    if (pace->piece == 0 && prompt >= FIRST_PIECE) pace->piece = within(fits, LEAST_PIECE, most);
    /* A prompt that ended before the piece did says only whether that was too much. */
    if (step->decoding > 0 && (step->cut || fits < prompt))
        pace->piece = within(within(fits, prompt / 4, prompt + prompt / 4 + 1), LEAST_PIECE, most);
}
