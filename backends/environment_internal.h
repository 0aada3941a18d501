/* Shared by the environment_*.c files only. */
#ifndef BACKENDS_ENVIRONMENT_INTERNAL_H
#define BACKENDS_ENVIRONMENT_INTERNAL_H

#include "backends/environment.h"

/* Zeroed, with the promised figures as its policy. */
struct environment *environment_new(const void *context);

/* Its argument; aborts when that is NULL (out of memory). */
void *environment_must(void *pointer);

#endif
