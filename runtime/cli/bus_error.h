/* bus_error.h: the end of a process that read from a mapped model after somebody had cut its file. */
#ifndef CI_CLI_BUS_ERROR_H
#define CI_CLI_BUS_ERROR_H

/* From now on SIGBUS in a model's file is a message with its name and the exit status of CLINFER_IO. */
void ci_bus_error_catch(void);

#endif
