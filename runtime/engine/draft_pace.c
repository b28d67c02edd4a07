/* draft_pace.c: how many guesses pay: what steps of so many rows take, and how often guesses are right. */
#include "engine/draft.h"

enum { FADE = 32, TRUST = 2 };

/* Another row may cost this share of the first one, until it is known: little, so that it is tried. */
static const double guessed_share = 0.03, least_gain = 1.03;

/* Steps of 1, 2, 3..4, 5..8, 9..16, 17..32 and more rows. */
static int pace_of(int64_t rows) {
    int pace = 0;
    while (pace + 1 < CI_DRAFT_PACES && rows > (int64_t)1 << pace) pace++;
    return pace;
}

void ci_draft_pace_note(struct ci_draft_engine *draft, int64_t rows, double seconds) {
    struct ci_draft_pace *pace = &draft->paces[pace_of(rows)];
    const double share = pace->seconds > 0 ? 0.2 : 1;
    pace->rows += share * ((double)rows - pace->rows);
    pace->seconds += share * (seconds - pace->seconds);
}

/* Between what is known of fewer and of more rows. */
double ci_draft_pace(const struct ci_draft_engine *draft, int64_t count) {
    const struct ci_draft_pace *below = NULL, *above = NULL;
    const double rows = (double)count;
    for (int i = 0; i < CI_DRAFT_PACES; i++) {
        const struct ci_draft_pace *pace = &draft->paces[i];
        if (pace->seconds <= 0) continue;
        if (pace->rows <= rows) below = pace;
        if (pace->rows >= rows && !above) above = pace;
    }
    if (!below && !above) return 1 + guessed_share * (rows - 1);
    if (!below) return above->seconds;
    if (!above) return below->seconds * (1 + guessed_share * (rows - below->rows));
    if (above->rows <= below->rows) return below->seconds;
    double at = (rows - below->rows) / (above->rows - below->rows);
    return below->seconds + at * (above->seconds - below->seconds);
}

int ci_draft_best(const struct ci_draft_engine *draft, int64_t rows, int64_t tokens, int most, double chance,
                  double seconds) {
    int best = 0;
    double right = 1, made = (double)tokens, best_rate = least_gain * made / ci_draft_pace(draft, rows);
    for (int count = 1; count <= most; count++) {
        right *= chance;
        made += right;
        double rate = made / (ci_draft_pace(draft, rows + count) + count * seconds);
        if (rate <= best_rate) continue;
        best_rate = rate;
        best = count;
    }
    return best;
}

double ci_draft_chance(const struct ci_draft_rate *rate, double start) {
    return (rate->right + TRUST * start) / (rate->tried + TRUST);
}

/* Behind the first wrong one nothing was tried. */
void ci_draft_rate_note(struct ci_draft_rate *rate, int tried, int right) {
    rate->tried += right < tried ? right + 1 : right;
    rate->right += right;
    if (rate->tried <= FADE) return;
    rate->right *= FADE / rate->tried;
    rate->tried = FADE;
}
