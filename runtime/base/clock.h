/* clock.h: seconds on a clock that only goes forward; from where it counts means nothing. */
#ifndef CI_BASE_CLOCK_H
#define CI_BASE_CLOCK_H

double ci_now(void);

#endif
