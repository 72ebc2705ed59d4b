/*
 * file.h: objects in a directory.
 *
 * An object is written under a temporary name in .incoming/ of the same
 * directory, synced, renamed into place, and the directories touched are
 * synced too: after RC_OK bytes and name survive a power cut, and no reader
 * ever sees half of one.  Lanes, processes and hosts may share the directory.
 */

#ifndef SLUICE_STORE_FILE_H
#define SLUICE_STORE_FILE_H

#include "core/store.h"

typedef struct {
    char  *path;              /* the directory; it exists already */
} store_file_conf_t;

extern const store_ops_t  store_file;

#endif /* SLUICE_STORE_FILE_H */
