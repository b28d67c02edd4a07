/* data_home.h: an empty folder for profiles and the quarantine, of the test's own, and what the library says. */
#ifndef TESTS_SUPPORT_DATA_HOME_H
#define TESTS_SUPPORT_DATA_HOME_H

/* Setup and teardown of a test. */
int data_home_set(void **state);
int data_home_unset(void **state);

/* How many files are there, or in a folder of that name below. */
int data_home_count(const char *below);

extern char data_home_messages[4096]; /* of the log since then, a line each */

#endif
