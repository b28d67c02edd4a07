/* stack.h: how much stack the calling thread has left, for recursion that goes as deep as a file says. */
#ifndef CI_BASE_STACK_H
#define CI_BASE_STACK_H

#include <stddef.h>
#include <stdint.h>

/* The address down to which recursion may go from here: `reserve` bytes above the end of the thread's stack (for what
 * the deepest level calls), but at most `most` bytes below the caller. */
uintptr_t ci_stack_floor(size_t reserve, size_t most);

/* Where the stack is now; it grows downwards. Not the address of a variable: sanitizers keep those elsewhere. */
#define CI_STACK_HERE() ((uintptr_t)__builtin_frame_address(0))

#endif
