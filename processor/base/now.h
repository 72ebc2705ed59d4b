/*
 * now.h: the clocks.
 *
 * Two of them, in ms: the wall's is for what is compared with times of records
 * and rows, the other for how long something took, since it never jumps.  core/
 * asks neither; times are its arguments.
 */

#ifndef SLUICE_BASE_NOW_H
#define SLUICE_BASE_NOW_H

#include <stdint.h>

#define NOW_TEXT_LEN  32

int64_t now_wall_ms(void);           /* since the epoch, UTC */
int64_t now_mono_ms(void);           /* since some moment */

/* The wall's clock as RFC 3339, such as 2026-11-20T12:00:30.123Z. */
void now_text(char text[NOW_TEXT_LEN]);

#endif /* SLUICE_BASE_NOW_H */
