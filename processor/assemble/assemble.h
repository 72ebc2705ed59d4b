/*
 * assemble.h: a lane that puts large files together.
 *
 * A thread that is a member of a consumer group of its own, reads the pieces
 * that the module cuts large files into, and announces each whole file to the
 * topic that the other lanes read, as a reference to its object.  So those
 * never wait for a slow upload.  docs/design.md, section 4.11.
 */

#ifndef SLUICE_ASSEMBLE_ASSEMBLE_H
#define SLUICE_ASSEMBLE_ASSEMBLE_H

#include "lane/lane.h"

typedef struct assemble_s  assemble_t;

/* setup is borrowed.  The spool is opened by the thread, for it may be away. */
rc_t assemble_open(assemble_t **a, const lane_setup_t *setup, int number,
    err_t *err);

/* Works until *setup->stop is set, then leaves the group in order. */
void assemble_run(assemble_t *a);
void assemble_close(assemble_t *a);                    /* takes NULL */

/* For -t: the spool can be written to. */
rc_t assemble_probe(const lane_conf_t *conf, err_t *err);

#endif /* SLUICE_ASSEMBLE_ASSEMBLE_H */
