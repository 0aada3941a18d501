/* cmocka.h with the headers it forgets to include, in the order it needs. */
#ifndef TESTS_HARNESS_CMOCKA_H
#define TESTS_HARNESS_CMOCKA_H

/* clang-format off */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
/* clang-format on */

#endif
